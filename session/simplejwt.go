package session

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/joinednode/jwtauth"
)

// simpleJWT are those of djangorestframework-simplejwt 5.5 and Django REST framework
// 3.14, in their words, for all that such a client meets.
type simpleJWT struct{}

type detail struct {
	Detail string `json:"detail"`
	Code   string `json:"code,omitempty"`
}

func (simpleJWT) refreshField() string { return "refresh" }

func (simpleJWT) required(body fields, names ...string) (any, bool) {
	answer := map[string][]string{}
	for _, name := range names {
		switch value, ok := body[name]; {
		case !ok:
			answer[name] = []string{"This field is required."}
		case string(value) == "null":
			answer[name] = []string{"This field may not be null."}
		case string(value) == `""`:
			answer[name] = []string{"This field may not be blank."}
		}
	}
	return answer, len(answer) > 0
}

func (simpleJWT) pair(p Pair) any {
	return struct {
		Refresh string `json:"refresh,omitempty"`
		Access  string `json:"access,omitempty"`
	}{p.RefreshToken, p.AccessToken}
}

func (simpleJWT) problem(r *http.Request, p problem) any {
	switch p.code {
	case "not_found":
		return detail{Detail: "Not found."}
	case "method_not_allowed":
		return detail{Detail: fmt.Sprintf(`Method "%s" not allowed.`, r.Method)}
	case "unsupported_media_type":
		return detail{Detail: fmt.Sprintf(`Unsupported media type "%s" in request.`, r.Header.Get("Content-Type"))}
	case "malformed":
		return detail{Detail: "JSON parse error - " + p.detail}
	case "credentials_not_valid":
		return detail{Detail: "No active account found with the given credentials"}
	}
	return detail{Detail: p.detail}
}

func (simpleJWT) challenge(string) string { return `Bearer realm="api"` }

func (simpleJWT) wrongType(field string) any {
	return map[string][]string{field: {"Not a valid string."}}
}

func (simpleJWT) refused(d jwtauth.Denial, access bool) any {
	message := "Token is invalid"
	switch {
	case d.Status != http.StatusUnauthorized:
		return detail{d.Detail, d.Code}
	case errors.Is(d.Err, jwtauth.ErrNoToken):
		return detail{Detail: "Authentication credentials were not provided."}
	case d.Reason == "expired":
		message = "Token is expired"
	case d.Reason == "revoked", d.Reason == "reused":
		message = "Token is blacklisted"
	}
	if !access {
		return detail{message, d.Code}
	}
	type about struct {
		Class   string `json:"token_class"`
		Type    string `json:"token_type"`
		Message string `json:"message"`
	}
	return struct {
		detail
		Messages []about `json:"messages"`
	}{detail{"Given token not valid for any token type", d.Code}, []about{{"AccessToken", "access", message}}}
}

// WithSimpleJWTBodies has [Manager.Handler], [Manager.WritePair] and the denials of
// [Manager.Require] speak as djangorestframework-simplejwt does, behind djoser or
// without, so that clients that were written for those need no change:
//
//   - create/ answers {"refresh", "access"}, and refresh/ takes {"refresh"} and answers
//     the same, as with ROTATE_REFRESH_TOKENS;
//   - verify/ takes a refresh token, too, and does not tell whether it was replaced;
//   - logout/ takes {"refresh"} and answers 200 {}, and blacklist/ is another name of it;
//   - failures have "detail" and, of a token, the "code" token_not_valid and, at a
//     call, "messages", in the words of version 5.5; what is wrong with a field stands
//     beside its name, 400.
//
// What those do not know is as it was: sessions/, "everywhere" and "session_id" of
// logout/, the bodies without tokens of [WithCookies], 403 of another origin, and 503,
// after which a client must keep its tokens.
func WithSimpleJWTBodies() Option {
	return func(c *config) error {
		c.bodies = simpleJWT{}
		return nil
	}
}

func (m *Manager) simple() bool {
	_, is := m.bodies.(simpleJWT)
	return is
}
