// Package routertest has the tests that every router of these examples must pass. The
// handler must use the container that was checked, however the path is encoded. A token in
// the URL must not reach the handler.
package routertest

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/keys"
)

// Answer holds what the handler of a program saw of a request.
type Answer struct {
	Container string `json:"container"`
	Caller    string `json:"caller"`  // the container of the claims, "" without a token
	URI       string `json:"uri"`     // r.RequestURI
	Query     string `json:"query"`   // r.URL.RawQuery
	Token     string `json:"token"`   // the parameter, from the router's own accessor
	Channel   string `json:"channel"` // another parameter, from the same accessor
	Body      string `json:"body"`
}

// New returns an Auth with a new random key.
func New(t *testing.T, opts ...jwtauth.Option) *jwtauth.Auth {
	t.Helper()
	secret := make([]byte, 32)
	rand.Read(secret)
	auth, err := jwtauth.New(keys.HS256(secret), opts...)
	require.NoError(t, err)
	return auth
}

// Issue returns a token for a container.
func Issue(t *testing.T, auth *jwtauth.Auth, container string, opts ...jwtauth.IssueOption) string {
	t.Helper()
	token, err := auth.Issue(container, opts...)
	require.NoError(t, err)
	return token
}

// Send calls the handler with a request, as a server reads it from the network. If bearer
// is "", the request has no Authorization field.
func Send(t *testing.T, handler http.Handler, method, target, bearer, body string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, target, strings.NewReader(body))
	if bearer != "" {
		r.Header.Set("Authorization", "Bearer "+bearer)
	}
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	return w
}

// Read returns the Answer in a response. It requires the status 200, and that exactly one
// handler has written the response.
func Read(t *testing.T, w *httptest.ResponseRecorder) Answer {
	t.Helper()
	require.Equal(t, 200, w.Code, w.Body.String())
	var answer Answer
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &answer), w.Body.String())
	return answer
}

// RequireDenied requires that the response is a denial with this code and reason, and that
// no handler has added to it.
func RequireDenied(t *testing.T, w *httptest.ResponseRecorder, code, reason string) {
	t.Helper()
	require.Equal(t, 403, w.Code, w.Body.String())
	require.Equal(t, "no-store", w.Header().Get("Cache-Control"))
	require.True(t, strings.HasPrefix(w.Header().Get("WWW-Authenticate"), "Bearer"))
	var denial struct{ Code, Reason string }
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &denial), w.Body.String())
	require.Equal(t, code, denial.Code)
	require.Equal(t, reason, denial.Reason)
}

// RequireNoContainer tests a handler whose middleware runs where the container is not known
// yet. It requires that even a valid token is denied, and that the reason is logged.
func RequireNoContainer(t *testing.T, build func(*jwtauth.Auth) http.Handler, opts ...jwtauth.Option) {
	t.Helper()
	var logs bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&logs, nil))
	auth := New(t, append(opts, jwtauth.WithLogger(logger))...)
	w := Send(t, build(auth), "GET", "/run/demo/notify", Issue(t, auth, "demo"), "")
	RequireDenied(t, w, "token_not_valid", "")
	require.Contains(t, logs.String(), "level=ERROR")
	require.Contains(t, logs.String(), "reason=no_container")
}

// Run tests a handler with two routes: /run/{container}/hello, which is public, and
// /run/{container}/notify, which needs a token of the container.
func Run(t *testing.T, auth *jwtauth.Auth, handler http.Handler) {
	demo, other := Issue(t, auth, "demo"), Issue(t, auth, "other")

	t.Run("policies", func(t *testing.T) {
		get := func(target, bearer string) *httptest.ResponseRecorder {
			return Send(t, handler, "GET", target, bearer, "")
		}
		t.Run("private, without a token", func(t *testing.T) {
			RequireDenied(t, get("/run/demo/notify", ""), "not_authenticated", "")
		})
		t.Run("private, with garbage", func(t *testing.T) {
			RequireDenied(t, get("/run/demo/notify", "a.b.c"), "token_not_valid", "")
			RequireDenied(t, get("/run/demo/notify?token=a.b.c", ""), "token_not_valid", "")
		})
		t.Run("private, with another container's token", func(t *testing.T) {
			RequireDenied(t, get("/run/demo/notify", other), "token_not_valid", "wrong_container")
			RequireDenied(t, get("/run/demo/notify?token="+other, ""), "token_not_valid", "wrong_container")
		})
		t.Run("private, with the container's token", func(t *testing.T) {
			require.Equal(t, "demo", Read(t, get("/run/demo/notify", demo)).Caller)
			require.Equal(t, "demo", Read(t, get("/run/demo/notify?token="+demo, "")).Caller)
			require.Equal(t, "other", Read(t, get("/run/other/notify", other)).Caller)
		})
		t.Run("public, without a token", func(t *testing.T) {
			answer := Read(t, get("/run/demo/hello", ""))
			require.Equal(t, "demo", answer.Container)
			require.Empty(t, answer.Caller)
		})
		t.Run("public, with the container's token", func(t *testing.T) {
			require.Equal(t, "demo", Read(t, get("/run/demo/hello", demo)).Caller)
		})
		t.Run("public, with another container's token", func(t *testing.T) {
			require.Empty(t, Read(t, get("/run/demo/hello", other)).Caller)
		})
	})

	t.Run("the container of a path is decoded once", func(t *testing.T) {
		for name, c := range map[string]struct {
			path, container string
			never           []string // containers that a wrong reading would find
		}{
			"a space":                         {"/run/a%20b/notify", "a b", []string{"a%20b", "a+b"}},
			"a letter beyond ASCII":           {"/run/caf%C3%A9/notify", "café", []string{"caf%C3%A9"}},
			"a letter encoded without need":   {"/run/%64emo/notify", "demo", []string{"%64emo"}},
			"a plus, which is no space here":  {"/run/a+b/notify", "a+b", []string{"a b"}},
			"a plus beside an encoded letter": {"/run/%61+b/notify", "a+b", []string{"a b", "%61+b"}},
			"an encoded plus":                 {"/run/a%2Bb/notify", "a+b", []string{"a b", "a%2Bb"}},
			"a per cent sign":                 {"/run/100%25/notify", "100%", []string{"100%25"}},
			// Of the next two paths, net/url sets RawPath only for the second. Some routers
			// match RawPath if it is set.
			"encoded twice":                          {"/run/%2561/notify", "%61", []string{"a", "%2561"}},
			"encoded twice beside an encoded letter": {"/run/%2561%62/notify", "%61b", []string{"ab", "%2561%62"}},
			"an escaped slash":                       {"/run/a%2Fb/notify", "a/b", []string{"a", "b", "a%2Fb"}},
		} {
			t.Run(name, func(t *testing.T) {
				own := Issue(t, auth, c.container)
				for _, w := range []*httptest.ResponseRecorder{
					Send(t, handler, "GET", c.path, own, ""),
					Send(t, handler, "GET", c.path+"?token="+own, "", ""),
				} {
					answer := Read(t, w)
					require.Equal(t, c.container, answer.Container, "the container that the handler uses")
					require.Equal(t, c.container, answer.Caller, "the container that was checked")
				}
				for _, container := range c.never {
					w := Send(t, handler, "GET", c.path, Issue(t, auth, container), "")
					RequireDenied(t, w, "token_not_valid", "wrong_container")
				}
				public := strings.TrimSuffix(c.path, "notify") + "hello"
				require.Equal(t, c.container, Read(t, Send(t, handler, "GET", public, "", "")).Container)
			})
		}
		t.Run("a slash that is not escaped ends it", func(t *testing.T) {
			w := Send(t, handler, "GET", "/run/a/b/notify", Issue(t, auth, "a/b"), "")
			require.Contains(t, []int{403, 404}, w.Code)
		})
	})

	t.Run("a token in the URL goes no further", func(t *testing.T) {
		for _, path := range []string{"/run/demo/notify", "/run/demo/hello"} {
			w := Send(t, handler, "GET", path+"?a=1&token="+demo+"&channel=b%20c", "", "")
			answer := Read(t, w)
			require.Equal(t, "demo", answer.Caller)
			require.Equal(t, path+"?a=1&channel=b%20c", answer.URI)
			require.Equal(t, "a=1&channel=b%20c", answer.Query)
			require.Empty(t, answer.Token)
			require.Equal(t, "b c", answer.Channel)
			require.Equal(t, "private, no-store", w.Header().Get("Cache-Control"))
			require.Equal(t, "no-referrer", w.Header().Get("Referrer-Policy"))
		}
		t.Run("nor does one that is not needed", func(t *testing.T) {
			answer := Read(t, Send(t, handler, "GET", "/run/demo/notify?token="+other, demo, ""))
			require.Equal(t, "/run/demo/notify", answer.URI)
			require.Empty(t, answer.Token)
		})
	})

	t.Run("the handler reads the body", func(t *testing.T) {
		const body = "token=mine&text=hi"
		require.Equal(t, body, Read(t, Send(t, handler, "POST", "/run/demo/notify", demo, body)).Body)
		require.Equal(t, body, Read(t, Send(t, handler, "POST", "/run/demo/notify?token="+demo, "", body)).Body)
		require.Equal(t, body, Read(t, Send(t, handler, "POST", "/run/demo/hello", "", body)).Body)
	})

	t.Run("a hostile path reaches no private handler, and is redirected nowhere", func(t *testing.T) {
		for _, path := range []string{
			"/run/other/..%2fdemo/notify",
			"/run/other%2f..%2fdemo/notify",
			"/run/other/../demo/notify",
			"/run/other/%2e%2e/demo/notify",
			"/run/..%2frun%2fdemo/notify",
			"/run/./demo/notify",
			"/run//demo/notify",
			"//run/demo/notify",
			"/run/demo//notify",
			"/run/demo/notify/",
			"/run/demo/hello/../notify",
			"/run/demo/hello%2f..%2fnotify",
			"/run/demo%5cnotify/notify",
			"/run/demo",
			"/run//notify",
			"/run/%2f/notify",
			"/nowhere",
		} {
			for _, token := range []string{demo, other} {
				for _, w := range []*httptest.ResponseRecorder{
					Send(t, handler, "GET", path, token, ""),
					Send(t, handler, "GET", path+"?token="+token, "", ""),
				} {
					require.Contains(t, []int{403, 404}, w.Code, path)
					require.Empty(t, w.Header().Get("Location"), "%s: a redirect would repeat the token", path)
					require.NotContains(t, w.Body.String(), token, path)
				}
			}
		}
	})
}
