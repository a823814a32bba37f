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

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/internal/revocation"
)

// maxForm is how many bytes the body of a revocation request may have.
const maxForm = 64 << 10

// retryAfter is how many seconds a client should wait after a 503.
const retryAfter = "5"

// Handler returns a handler that revokes tokens over HTTP (RFC 7009). The client posts
// a token as the parameter token of a form (application/x-www-form-urlencoded). auth
// verifies the tokens. It must ask this list ([jwtauth.WithRevocations]).
//
// authorize decides whether the client may revoke the token. It is called for every
// well-formed request, before the answer tells anything about the token. c holds the
// claims of an authentic token, be it live, not valid yet, expired or revoked. For any
// other token c is the zero Claims, whose ExpiresAt is zero. authorize does two things,
// in this order:
//
//   - It authenticates the client, by the request alone (HTTP Basic, a session, a
//     client certificate), and returns an error if that fails. So a client that is not
//     authenticated gets the same answer for every token, and learns nothing.
//   - It compares the client with the claims, such as c.Container, and returns an
//     error if the token is another client's. For the zero Claims it returns nil:
//     nothing will be done, and RFC 7009, section 2.2, wants 200.
//
// A client that is authenticated thus learns whether a token is authentic and another
// client's: no more than sending it anywhere would tell. If every client that holds a
// token may revoke it, authorize returns nil at once. The request that authorize gets
// is without the query and the token. Further parameters of the body are in its
// PostForm.
//
// The answers all have Cache-Control: no-store. Errors have the form of RFC 6749,
// section 5.2:
//
//   - 200, empty: the token is rejected from now on, or was rejected before, since it
//     is not one of ours, has expired or is revoked.
//   - 400 invalid_request: another media type (that section has no 415), a form
//     that does not parse, no token or more than one. A token in the query does not
//     count.
//   - 400 unsupported_token_type (RFC 7009, section 2.2.1): a token without a jti,
//     or with one longer than [MaxText]. It cannot be revoked by itself, and is as
//     good as it was.
//   - 403 access_denied: an error of authorize, or a page of another origin, as
//     [http.CrossOriginProtection] sees it; origins that auth trusts are no exception.
//   - 405 for other methods than POST, 413 for more than 64 KiB.
//   - 500 server_error: auth does not ask this list, and still accepts the live token.
//   - 503 temporarily_unavailable with Retry-After: authorize returned
//     [jwtauth.ErrUnavailable], keys or revocations cannot be consulted, or the store
//     failed. The client must assume that the token is good, and try again.
//
// It fails closed: 200 for a live token means that the entry is in the store.
// token_type_hint is ignored, since there is one kind of token. No answer and no log
// line holds a token. The handler is safe for concurrent use. Handler panics if auth or
// authorize is nil.
func (l *List) Handler(auth *jwtauth.Auth, authorize func(r *http.Request, c jwtauth.Claims) error) http.Handler {
	if auth == nil {
		panic("revoke: Handler: auth is nil, and nothing could tell a genuine token")
	}
	if authorize == nil {
		panic("revoke: Handler: authorize is nil, and without it anyone could ask about any token")
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("Cache-Control", "no-store")
		header.Set("X-Content-Type-Options", "nosniff")
		p := l.answer(w, r, auth, authorize)
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
		json.NewEncoder(w).Encode(p) // a client that is gone needs no answer
	})
}

// problem is an error response of RFC 6749, section 5.2.
type problem struct {
	status      int
	Code        string `json:"error"`
	Description string `json:"error_description"`
}

// The answers that tell nothing about the token.
var (
	notPOST     = &problem{http.StatusMethodNotAllowed, "invalid_request", "Use POST."}
	notAForm    = &problem{http.StatusBadRequest, "invalid_request", "Send an application/x-www-form-urlencoded body."}
	noForm      = &problem{http.StatusBadRequest, "invalid_request", "The form cannot be read."}
	tooLarge    = &problem{http.StatusRequestEntityTooLarge, "invalid_request", "The form has more than 64 KiB."}
	notOneToken = &problem{http.StatusBadRequest, "invalid_request", "The form needs the parameter token, once."}
	notAllowed  = &problem{http.StatusForbidden, "access_denied", "You may not revoke this token."}
	unavailable = &problem{http.StatusServiceUnavailable, "temporarily_unavailable", "The token cannot be revoked now. Try again."}
)

// The answers that only a client that may revoke the token gets.
var (
	noID      = &problem{http.StatusBadRequest, "unsupported_token_type", "This token cannot be revoked by itself."}
	notAsking = &problem{http.StatusInternalServerError, "server_error", "The token is still accepted."}
)

// answer is the line that every request passes. It returns nil if the token is
// rejected from now on.
func (l *List) answer(w http.ResponseWriter, r *http.Request, auth *jwtauth.Auth, authorize func(*http.Request, jwtauth.Claims) error) *problem {
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
	switch err := authorize(withoutToken(r, form), c); {
	case errors.Is(err, jwtauth.ErrUnavailable):
		l.log().ErrorContext(ctx, "revoke: nobody can say who may revoke", "error", err)
		return unavailable
	case err != nil:
		l.log().DebugContext(ctx, "revoke: refused", "error", err)
		return notAllowed
	}

	switch {
	case errors.Is(verdict, jwtauth.ErrUnavailable): // which auth has logged
		return unavailable
	case c.ExpiresAt.IsZero(), c.ID == "" && errors.Is(verdict, jwtauth.ErrRevoked):
		return nil
	case c.ID == "" || len(c.ID) > MaxText || len(c.Issuer) > MaxText:
		return noID
	}
	// A token that was revoked is revoked again: the store may have failed the first
	// time, when this process alone rejected the token. So is one that has expired:
	// other clocks, and an Auth with leeway, may think otherwise.
	switch err := l.RevokeToken(ctx, c.Issuer, c.ID, c.ExpiresAt); {
	case errors.Is(err, ErrIssuer):
		return l.isNotAsked(ctx)
	case err != nil:
		l.log().ErrorContext(ctx, "revoke: a token could not be taken back everywhere", "error", err)
		return unavailable
	}
	if verdict == nil {
		if _, err := auth.VerifyAnyContainer(revocation.Unobserved(ctx), token); err == nil {
			return l.isNotAsked(ctx)
		}
	}
	return nil
}

func (l *List) isNotAsked(ctx context.Context) *problem {
	l.log().ErrorContext(ctx, "revoke: the Auth of a Handler does not ask its list; make it with jwtauth.WithRevocations")
	return notAsking
}

// crossOrigin trusts no other origin. It is safe for concurrent use.
var crossOrigin http.CrossOriginProtection

// readForm returns the parameters of the body; those of the query do not count.
func readForm(w http.ResponseWriter, r *http.Request) (url.Values, *problem) {
	// Like net/http, it ignores what follows the type.
	if kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); kind != "application/x-www-form-urlencoded" {
		return nil, notAForm
	}
	if r.PostForm != nil { // a middleware has read the body
		return maps.Clone(r.PostForm), nil
	}
	if r.Body == nil { // no server makes such a request, but tests do
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

// withoutToken returns the request for authorize, which may log what it gets. So a
// token in the query, though it does not count, is removed, too.
func withoutToken(r *http.Request, form url.Values) *http.Request {
	delete(form, "token")
	r = r.WithContext(r.Context())
	u := *r.URL
	u.RawQuery, u.ForceQuery = "", false
	r.URL, r.RequestURI = &u, u.RequestURI()
	r.PostForm, r.Form = form, maps.Clone(form)
	return r
}
