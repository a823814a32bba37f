package revoke

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"slices"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/internal/revocation"
)

// maxForm is the largest body of a revocation request, in bytes.
const maxForm = 64 << 10

// retryAfter is how many seconds a client should wait after a 503.
const retryAfter = "5"

// TokenKind is a kind of token that [List.Handler] revokes besides those of its Auth, such
// as the refresh tokens of a session.Manager. It must be safe for concurrent use.
type TokenKind interface {
	// Inspect returns the claims of an authentic token of this kind, ExpiresAt included,
	// even if the error says that it has expired or is revoked. For any other token it
	// returns the zero Claims and an error, which is [jwtauth.ErrUnavailable] for an
	// outage.
	Inspect(ctx context.Context, token string) (jwtauth.Claims, error)
	// Revoke revokes the token with these claims. An error means that it may still be
	// accepted: the response is 503.
	Revoke(ctx context.Context, c jwtauth.Claims) error
}

// Handler returns a handler that revokes tokens over HTTP (RFC 7009): see "Revocation
// over HTTP" in the package comment. auth verifies the tokens, and must use this list
// ([jwtauth.WithRevocations]). others are further kinds of tokens that it revokes.
//
// authorize decides whether the client may revoke the token with the claims c. It first
// authenticates the client by the request, then compares the client with c. For a token
// that is not authentic, c is the zero Claims, and authorize returns nil for an
// authenticated client. Handler panics if an argument is nil.
func (l *List) Handler(auth *jwtauth.Auth, authorize func(r *http.Request, c jwtauth.Claims) error, others ...TokenKind) http.Handler {
	if auth == nil {
		panic("revoke: Handler: auth is nil, and without it no token can be verified")
	}
	if authorize == nil {
		panic("revoke: Handler: authorize is nil, and without it anyone could ask about any token")
	}
	if slices.Contains(others, nil) {
		panic("revoke: Handler: a TokenKind is nil; leave it out")
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("Cache-Control", "no-store")
		header.Set("X-Content-Type-Options", "nosniff")
		p := l.answer(w, r, auth, authorize, others)
		if p == nil {
			w.WriteHeader(http.StatusOK)
			return
		}
		switch p.status {
		case http.StatusMethodNotAllowed:
			header.Set("Allow", http.MethodPost)
		case http.StatusServiceUnavailable:
			header.Set("Retry-After", retryAfter)
		}
		header.Set("Content-Type", "application/json")
		w.WriteHeader(p.status)
		json.NewEncoder(w).Encode(p) // an error means that the client is gone
	})
}

// problem is an error response of RFC 6749, section 5.2.
type problem struct {
	status      int
	Code        string `json:"error"`
	Description string `json:"error_description"`
}

// Responses whose content tells nothing about the token.
var (
	notPOST     = &problem{http.StatusMethodNotAllowed, "invalid_request", "Use POST."}
	notAForm    = &problem{http.StatusBadRequest, "invalid_request", "Send an application/x-www-form-urlencoded body."}
	noForm      = &problem{http.StatusBadRequest, "invalid_request", "The form cannot be read."}
	tooLarge    = &problem{http.StatusRequestEntityTooLarge, "invalid_request", "The form has more than 64 KiB."}
	notOneToken = &problem{http.StatusBadRequest, "invalid_request", "The form needs the parameter token, once."}
	notAllowed  = &problem{http.StatusForbidden, "access_denied", "You may not revoke this token."}
	unavailable = &problem{http.StatusServiceUnavailable, "temporarily_unavailable", "The token cannot be revoked now. Try again."}
)

// Responses for clients that may revoke the token.
var (
	noID      = &problem{http.StatusBadRequest, "unsupported_token_type", "This token cannot be revoked by itself."}
	otherKind = &problem{http.StatusBadRequest, "unsupported_token_type", "This kind of token cannot be revoked here."}
	notAsking = &problem{http.StatusInternalServerError, "server_error", "The token is still accepted."}
)

// answer makes all checks and revokes the token. It returns nil if the token is rejected
// from now on.
func (l *List) answer(w http.ResponseWriter, r *http.Request, auth *jwtauth.Auth, authorize func(*http.Request, jwtauth.Claims) error, others []TokenKind) *problem {
	ctx := r.Context()
	if r.Method != http.MethodPost {
		return notPOST
	}
	if err := crossOrigin.Check(r); err != nil {
		l.log().DebugContext(ctx, "revoke: refused", "error", err)
		return notAllowed
	}
	form, p := readForm(w, r)
	if p != nil {
		return p
	}
	if len(form["token"]) != 1 || form["token"][0] == "" {
		return notOneToken
	}
	token := form["token"][0]

	c, verdict := auth.Inspect(ctx, token)
	wrongType := errors.Is(verdict, jwtauth.ErrType)
	var kind TokenKind // nil for the tokens of auth
	if c.ExpiresAt.IsZero() {
		kind, c, verdict = kindOf(ctx, others, token, verdict)
	}
	switch err := authorize(withoutToken(r, form), c); {
	case errors.Is(err, jwtauth.ErrUnavailable):
		l.log().ErrorContext(ctx, "revoke: authorize is unavailable, so no token can be revoked", "error", err)
		return unavailable
	case err != nil:
		l.log().DebugContext(ctx, "revoke: refused", "error", err)
		return notAllowed
	}

	switch {
	case errors.Is(verdict, jwtauth.ErrUnavailable): // the token may be a live one
		return unavailable
	case kind != nil:
		if err := kind.Revoke(ctx, c); err != nil {
			l.log().ErrorContext(ctx, "revoke: a token of another kind could not be revoked", "error", err)
			return unavailable
		}
		return nil
	case c.ExpiresAt.IsZero() && wrongType:
		return otherKind // it is authentic, and may be accepted by another Auth
	case c.ExpiresAt.IsZero(), c.ID == "" && errors.Is(verdict, jwtauth.ErrRevoked):
		return nil
	case c.ID == "" || len(c.ID) > MaxText || len(c.Issuer) > MaxText:
		return noID
	}
	// A revoked token is revoked again: the store may have failed the first time, and
	// then only this process rejects it. So is an expired token: another clock, or an
	// Auth with leeway, may still accept it.
	switch err := l.RevokeToken(ctx, c.Issuer, c.ID, c.ExpiresAt); {
	case errors.Is(err, ErrIssuer):
		return l.isNotAsked(ctx)
	case err != nil:
		l.log().ErrorContext(ctx, "revoke: a token was revoked in this process, and others may still accept it", "error", err)
		return unavailable
	}
	if verdict == nil {
		if _, err := auth.VerifyAnyContainer(revocation.Unobserved(ctx), token); err == nil {
			return l.isNotAsked(ctx)
		}
	}
	return nil
}

// kindOf returns the kind of a token that is not one of auth's, with its claims and error.
// If it is of none of the kinds, the kind is nil, the claims are zero, and the error is
// verdict. An outage of one kind replaces verdict, since the token may be of that kind.
func kindOf(ctx context.Context, kinds []TokenKind, token string, verdict error) (TokenKind, jwtauth.Claims, error) {
	for _, kind := range kinds {
		c, err := kind.Inspect(ctx, token)
		switch {
		case !c.ExpiresAt.IsZero():
			return kind, c, err
		case errors.Is(err, jwtauth.ErrUnavailable):
			verdict = err
		}
	}
	return nil, jwtauth.Claims{}, verdict
}

func (l *List) isNotAsked(ctx context.Context) *problem {
	l.log().ErrorContext(ctx, "revoke: the Auth of a Handler does not use the Handler's list; make it with jwtauth.WithRevocations(list)")
	return notAsking
}

// crossOrigin trusts no other origin. It is safe for concurrent use.
var crossOrigin http.CrossOriginProtection

// readForm returns the parameters of the body, without those of the query.
func readForm(w http.ResponseWriter, r *http.Request) (url.Values, *problem) {
	// Parameters of the media type are ignored, as in net/http.
	if kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); kind != "application/x-www-form-urlencoded" {
		return nil, notAForm
	}
	if r.PostForm != nil { // a middleware has read the body
		return maps.Clone(r.PostForm), nil
	}
	if r.Body == nil { // only in tests
		return nil, nil
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxForm))
	if large := (*http.MaxBytesError)(nil); errors.As(err, &large) {
		return nil, tooLarge
	}
	if err != nil {
		return nil, noForm
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, noForm
	}
	return form, nil
}

// withoutToken returns the request for authorize, which may log it. It also removes a
// token in the query, which does not count.
func withoutToken(r *http.Request, form url.Values) *http.Request {
	delete(form, "token")
	r = r.WithContext(r.Context())
	u := *r.URL
	u.RawQuery, u.ForceQuery = "", false
	r.URL, r.RequestURI = &u, u.RequestURI()
	r.PostForm, r.Form = form, maps.Clone(form)
	return r
}
