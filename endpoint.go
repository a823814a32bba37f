package jwtauth

import (
	"fmt"
	"net/http"
	"unicode/utf8"
)

// TokenEndpoint issues tokens over HTTP: a POST to a route that names a
// container is answered with 200 and
//
//	{"token": "…", "token_type": "Bearer", "expires_in": 864000, "container": "…"}
//
// where expires_in is in seconds. authorize decides who may have a token of
// that container, and with which options: its error denies with 403 whatever
// [WithStatus] says, or with 503 if it is [ErrUnavailable]; options that make no token
// are 503, too. There is no door without it: TokenEndpoint panics if authorize is nil.
// Pages of other origins are refused, see
// [WithCrossOriginProtection]; other methods than POST get 405.
func (a *Auth) TokenEndpoint(authorize func(r *http.Request, container string) ([]IssueOption, error)) http.Handler {
	if authorize == nil {
		panic("jwtauth: TokenEndpoint: authorize is nil, and without it anyone could have a token")
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r, _ = a.cutURL(w, r)
		if r.Method != http.MethodPost {
			w.Header().Set("Allow", http.MethodPost)
			writeJSON(w, http.StatusMethodNotAllowed, map[string]string{"code": "method_not_allowed", "detail": "Use POST."})
			return
		}
		minted, err := a.mint(r, authorize)
		a.report(r.Context(), Decision{Operation: "mint", Allowed: err == nil}, verdict{err: err})
		if err != nil {
			d := a.denialOf(err)
			if d.Status != http.StatusServiceUnavailable { // no token was asked for: WithStatus has no say
				d.Status, d.Code, d.Reason = http.StatusForbidden, "not_authenticated", ""
				d.Detail = "You may not have a token of this container."
			}
			a.write(w, r, d)
			return
		}
		w.Header().Set("Cache-Control", "no-store")
		writeJSON(w, http.StatusOK, minted)
	})
}

// minted is the answer of the token endpoint (RFC 6749, section 5.1, but for
// the name of the token, which is the recipe model's).
type minted struct {
	Token     string `json:"token"`
	TokenType string `json:"token_type"`
	ExpiresIn int64  `json:"expires_in"`
	Container string `json:"container,omitempty"`
}

func (a *Auth) mint(r *http.Request, authorize func(*http.Request, string) ([]IssueOption, error)) (minted, error) {
	if err := judgePath(r); err != nil {
		return minted{}, err
	}
	if err := a.judgeOrigin(r); err != nil {
		return minted{}, err
	}
	container := a.containerOf(r, Rule{})
	switch {
	case container == "" && !a.anyContainer:
		return minted{}, ErrNoContainer
	case !utf8.ValidString(container):
		return minted{}, fmt.Errorf("%w: a container that is not UTF-8", ErrForbidden)
	}
	opts, err := authorize(r, container)
	if err != nil {
		return minted{}, fmt.Errorf("%w: %w", ErrForbidden, err) // of both, ErrUnavailable decides
	}
	token, ttl, err := a.issue(container, opts)
	if err != nil {
		// Not the client's fault: the options of authorize, or the keys.
		return minted{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return minted{token, "Bearer", int64(ttl.Seconds()), container}, nil
}
