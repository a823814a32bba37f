package session_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/session"
)

// differs holds the requests to which this package responds in another way than simplejwt,
// and why. The page docs/from-djoser-simplejwt.md lists them.
var differs = map[string]string{
	"create: empty body":         "without a name, the missing field is email",
	"create: empty object":       "without a name, the missing field is email",
	"create: no username":        "without a name, the missing field is email",
	"create: capitals":           "without a name, the missing field is email",
	"create: email instead":      "email is a name, too",
	"create: lone surrogate":     "the surrogate is replaced, so the name is unknown",
	"create: no type":            "a body without a media type is read as JSON",
	"refresh/: expired_access":   "the type is checked before the time",
	"blacklist/: expired_access": "the type is checked before the time",
	"blacklist/: blacklisted":    "a logout whose response was lost can be repeated",
	"me: lower":                  "a scheme is case-insensitive (RFC 9110, section 11.1)",
}

// recorded holds a request, and the response of djangorestframework-simplejwt 5.2.2 with
// Django REST framework 3.14. testdata/simplejwt.py made the recordings.
type recorded struct {
	Name, Method, Path, Type string
	Body, Auth               *string
	Status                   int
	WWW                      string
	Answer                   any
}

func TestSimpleJWT_AnswersAsTheRealPackage(t *testing.T) {
	text, err := os.ReadFile("testdata/simplejwt.json")
	require.NoError(t, err)
	var all []recorded
	require.NoError(t, json.Unmarshal(text, &all))
	require.Greater(t, len(all), 100)

	clock := newClock()
	m := newManager(t, session.WithClock(clock.now), session.WithSimpleJWTBodies(), session.WithAccess(jwtauth.WithExtractors(jwtauth.FromHeader("Authorization", "Bearer"))))
	handler := m.Handler(func(_ *http.Request, c session.Credentials) (string, []session.LoginOption, error) {
		name := c.Username + c.Email
		if name == "alice@example.com" && c.Password == "wonderland" || name == "12" && c.Password == "34" {
			return name, nil, nil
		}
		return "", nil, session.ErrCredentials
	})
	me := m.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, _ := jwtauth.FromContext(r.Context())
		json.NewEncoder(w).Encode(map[string]string{"user": c.Subject})
	}))
	expired := login(t, m, "alice@example.com")
	clock.advance(session.DefaultRefreshTTL + time.Hour)

	met := 0
	for _, one := range all {
		t.Run(one.Name, func(t *testing.T) {
			live, ended := login(t, m, "alice@example.com"), login(t, m, "alice@example.com")
			require.NoError(t, m.Logout(t.Context(), ended.Subject, ended.SessionID))
			fill := strings.NewReplacer("$refresh", live.RefreshToken, "$access", live.AccessToken, "$blacklisted", ended.RefreshToken,
				"$expired_refresh", expired.RefreshToken, "$expired_access", expired.AccessToken, "$tampered", live.AccessToken[:len(live.AccessToken)-4]+"AAAA").Replace
			var body io.Reader
			if one.Body != nil {
				body = strings.NewReader(fill(*one.Body))
			}
			r := httptest.NewRequest(one.Method, "/"+one.Path, body)
			if one.Type != "" {
				r.Header.Set("Content-Type", one.Type)
			}
			if one.Auth != nil {
				r.Header.Set("Authorization", strings.TrimSpace(fill(*one.Auth))) // net/http trims fields, too
			}
			w := httptest.NewRecorder()
			if one.Path == "me/" {
				me.ServeHTTP(w, r)
			} else {
				handler.ServeHTTP(w, r)
			}
			got := recorded{Status: w.Code, WWW: w.Header().Get("WWW-Authenticate")}
			require.NoError(t, json.Unmarshal(w.Body.Bytes(), &got.Answer), w.Body)
			same := assert.ObjectsAreEqual(comparable(one), comparable(got))
			if why, known := differs[one.Name]; known {
				require.False(t, same, "the responses do not differ any more: %s", why)
				met++
				return
			}
			require.Equal(t, comparable(one), comparable(got))
		})
	}
	require.Equal(t, len(differs), met)
}

// comparable returns the part of a response that must be equal. It treats expired and
// invalid tokens alike, because version 5.2 of simplejwt does so, and version 5.5 does not.
// It leaves out what is wrong with broken JSON, which Go and Python describe differently.
func comparable(r recorded) string {
	if answer, ok := r.Answer.(map[string]any); ok {
		for _, name := range []string{"access", "refresh"} {
			if text, ok := answer[name].(string); ok && text != "" {
				answer[name] = "TOKEN"
			}
		}
		if text, ok := answer["detail"].(string); ok && strings.HasPrefix(text, "JSON parse error - ") {
			answer["detail"] = "JSON parse error"
		}
	}
	text, _ := json.Marshal(recorded{Status: r.Status, WWW: r.WWW, Answer: r.Answer})
	return strings.NewReplacer("Token is invalid or expired", "Token is not good", "Token is invalid", "Token is not good", "Token is expired", "Token is not good").Replace(string(text))
}
