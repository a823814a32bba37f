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

// Handler takes tokens back over HTTP (RFC 7009): whoever holds a token, and may,
// posts it as the parameter token of a form (application/x-www-form-urlencoded).
// auth verifies the tokens; it must ask this list ([jwtauth.WithRevocations]).
//
// authorize decides who may. It is asked about every well-formed request before
// anything about the token is answered, with the claims of a genuine token, be it
// live, to come, expired or taken back. Of any other it gets the zero Claims, whose
// ExpiresAt is zero. So it does two things, in this order:
//
//   - It authenticates the caller, by the request alone (HTTP Basic, a session, a
//     client certificate), and returns an error if that fails. Then a stranger
//     gets one and the same answer to every token, and learns nothing.
//   - It compares the caller with the claims, such as c.Container, and returns an
//     error if the token is somebody else's. For the zero Claims it returns nil:
//     that token is nobody's, nothing will be done, and RFC 7009, section 2.2,
//     wants 200.
//
// A known caller thus learns whether a token is genuine and somebody else's: no
// more than presenting it anywhere would tell. Where callers need not be known,
// since whoever holds a token may take it back, it returns nil at once.
// The request that authorize gets is without the query and the token; further
// parameters of the body are in its PostForm.
//
// The answers, all with Cache-Control: no-store, errors in the form of RFC 6749,
// section 5.2:
//
//   - 200, empty: the token is refused from now on; or it was before: no token of
//     ours, expired, taken back.
//   - 400 invalid_request: another media type (that section has no 415), a form
//     that does not parse, no token or more than one. A token in the query does not
//     count.
//   - 400 unsupported_token_type (RFC 7009, section 2.2.1): a token without a jti,
//     or with one longer than [MaxText]. It cannot be taken back by itself, and is as
//     good as it was.
//   - 403 access_denied: an error of authorize, or a page of another origin, as
//     [http.CrossOriginProtection] sees it; origins that auth trusts are no exception.
//   - 405 for other methods than POST, 413 for more than 64 KiB.
//   - 500 server_error: auth does not ask this list, and accepts the live token
//     still.
//   - 503 temporarily_unavailable with Retry-After: authorize returned
//     [jwtauth.ErrUnavailable], keys or revocations cannot be consulted, or the store
//     failed. The client must assume that the token is good, and try again.
//
// It fails closed: 200 for a live token means that the entry is in the store. token_type_hint is
// ignored: there is one kind of token. No answer and no log line holds a token.
// The handler is safe for concurrent use. Handler panics if auth or authorize is
// nil.
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

// And those that whoever may revoke it sees.
var (
	noID      = &problem{http.StatusBadRequest, "unsupported_token_type", "This token cannot be revoked by itself."}
	notAsking = &problem{http.StatusInternalServerError, "server_error", "The token is still accepted."}
)

// answer is the line that every request passes; nil means that the token is
// refused.
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
	// One that was taken back is so again: the store may have failed the first
	// time, when this process alone refused the token. So is one that has expired:
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
	// Like net/http, whatever follows the type.
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

// withoutToken returns the request for authorize, which may log what it gets. A
// token in the query does not count, but is one.
func withoutToken(r *http.Request, form url.Values) *http.Request {
	delete(form, "token")
	r = r.WithContext(r.Context())
	u := *r.URL
	u.RawQuery, u.ForceQuery = "", false
	r.URL, r.RequestURI = &u, u.RequestURI()
	r.PostForm, r.Form = form, maps.Clone(form)
	return r
}
