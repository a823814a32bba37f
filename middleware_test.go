package jwtauth_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth"
)

func TestPolicies(t *testing.T) {
	auth := newAuth(t)
	expired := sign(header, claimsJSON(map[string]any{"exp": 1}))
	const allowed, anonymous, denied = "claims", "no claims", "denied"
	for name, test := range map[string]struct {
		path, token               string
		private, public, optional string
	}{
		"no token":                        {demoPath, "", denied, anonymous, anonymous},
		"a good token":                    {demoPath, goodToken(), allowed, allowed, allowed},
		"a token of another container":    {"/run/other/notify", goodToken(), denied, anonymous, denied},
		"an expired token":                {demoPath, expired, denied, anonymous, denied},
		"garbage":                         {demoPath, "garbage", denied, anonymous, denied},
		"an escaped container":            {"/run/d%65mo/notify", goodToken(), allowed, allowed, allowed},
		"a container escaped twice":       {"/run/d%2565mo/notify", goodToken(), denied, anonymous, denied},
		"a container in another case":     {"/run/Demo/notify", goodToken(), denied, anonymous, denied},
		"a route that names no container": {"/elsewhere", goodToken(), denied, allowed, allowed},
	} {
		for policy, want := range map[jwtauth.Policy]string{jwtauth.Private: test.private, jwtauth.Public: test.public, jwtauth.Optional: test.optional} {
			fixed := map[jwtauth.Policy]func(http.Handler) http.Handler{
				jwtauth.Private: auth.Private, jwtauth.Public: auth.Public, jwtauth.Optional: auth.Optional}[policy]
			protect := auth.Protect(func(*http.Request) (jwtauth.Rule, error) { return jwtauth.Rule{Policy: policy}, nil })
			for way, wrap := range map[string]func(http.Handler) http.Handler{"by itself": fixed, "by Protect": protect} {
				t.Run(fmt.Sprintf("%s, %v, %s", name, policy, way), func(t *testing.T) {
					captureDefaultLog(t)
					var s seen
					mux := http.NewServeMux()
					mux.Handle("/run/{container}/{recipe}", wrap(&s))
					mux.Handle("/elsewhere", wrap(&s))
					r := request("GET", test.path, nil)
					if test.token != "" {
						r.Header = bearer(test.token)
					}
					w := httptest.NewRecorder()
					mux.ServeHTTP(w, r)

					require.Equal(t, want != denied, s.ran)
					require.Equal(t, want == allowed, s.ok)
					require.Equal(t, want == allowed, s.claims.ID == "the-jti")
					require.Equal(t, want == denied, w.Code == http.StatusForbidden)
					if policy != jwtauth.Private {
						require.Equal(t, []string{"Authorization"}, w.Header()["Vary"])
					}
				})
			}
		}
	}
}

func TestProtectComparesWithTheContainerOfTheRule(t *testing.T) {
	auth := newAuth(t)
	rule := func(container string) func(http.Handler) http.Handler {
		return auth.Protect(func(*http.Request) (jwtauth.Rule, error) { return jwtauth.Rule{Container: container}, nil })
	}
	_, s := serve(rule("demo"), request("GET", "/run/alias/notify", bearer(goodToken())))
	require.True(t, s.ok)
	_, s = serve(rule("other"), request("GET", demoPath, bearer(goodToken())))
	require.False(t, s.ran)
	_, s = serve(rule(""), request("GET", demoPath, bearer(goodToken())))
	require.True(t, s.ok)
}

func TestProtect_ComparesWithTheContainerOfTheRuleBesideWithAnyContainer(t *testing.T) {
	auth := newAuth(t, jwtauth.WithAnyContainer())
	for container, want := range map[string]bool{"demo": true, "": true, "other": false} {
		rule := func(*http.Request) (jwtauth.Rule, error) { return jwtauth.Rule{Container: container}, nil }
		_, s := serve(auth.Protect(rule), request("GET", "/run/alias/notify", bearer(goodToken())))
		require.Equal(t, want, s.ran, "a rule for %q", container)
	}
}

func TestARuleAndAHandlerSeeOneRequest(t *testing.T) {
	post := func(target, body string) *http.Request {
		r := httptest.NewRequest("POST", target, strings.NewReader(body))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		return r
	}
	rule := func(r *http.Request) (jwtauth.Rule, error) {
		r.SetPathValue("set", r.FormValue("x"))
		return jwtauth.Rule{}, nil
	}
	_, s := serve(newAuth(t).Protect(rule), post(demoPath+"?token="+goodToken(), "x=1"))
	require.True(t, s.ok)
	require.Equal(t, "1", s.r.FormValue("x"))
	require.Equal(t, "1", s.r.PathValue("set"))

	formFirst := newAuth(t, jwtauth.WithExtractors(jwtauth.FromForm("token"), jwtauth.FromQuery("token")))
	_, s = serve(formFirst.Protect(rule), post(demoPath+"?token="+goodToken(), "token=garbage&x=1"))
	require.False(t, s.ran, "a bad token is not covered up by a good one, whatever the rule read")
	_, s = serve(formFirst.Protect(rule), post(demoPath+"?token=garbage", "token="+goodToken()))
	require.True(t, s.ok)
}

func TestARequestThatIsDeniedForItsPathOrQuerySaysWhetherATokenCame(t *testing.T) {
	auth := newAuth(t)
	for _, target := range []string{"/run/demo/%2e%2e", demoPath + "?q=100%25&"} {
		r := request("GET", target, nil)
		r.URL.RawQuery = strings.Replace(r.URL.RawQuery, "%25", "%", 1)
		for name, wrap := range policies(auth) {
			if name == "Public" {
				continue
			}
			w, s := serve(wrap, r)
			require.False(t, s.ran)
			require.Equal(t, "not_authenticated", bodyOf(t, w).Code, name+target)
			require.Equal(t, "Bearer", w.Header().Get("WWW-Authenticate"), name+target)
			r2 := r.Clone(t.Context())
			r2.Header = bearer(goodToken())
			w, _ = serve(wrap, r2)
			require.Equal(t, "token_not_valid", bodyOf(t, w).Code, name+target)
		}
	}
}

func TestAnOutageThatSpeaksOfNoTokenIsAnOutage(t *testing.T) {
	auth := newAuth(t, jwtauth.WithRevocations(checkerFunc(func(context.Context, jwtauth.Claims) (bool, error) {
		return false, fmt.Errorf("introspection: %w", jwtauth.ErrNoToken)
	})))
	w, s := serve(auth.Optional, request("GET", demoPath, bearer(goodToken())))
	require.False(t, s.ran)
	require.Equal(t, http.StatusServiceUnavailable, w.Code)
}

func TestClaimsOfTwoReadersOfOneContextAreTheirOwn(t *testing.T) {
	ctx := jwtauth.NewContext(t.Context(), jwtauth.Claims{Audience: []string{"api"}})
	mine, _ := jwtauth.FromContext(ctx)
	mine.Audience[0] = "changed"
	yours, _ := jwtauth.FromContext(ctx)
	require.Equal(t, []string{"api"}, yours.Audience)
}

func TestProtectFailsClosed(t *testing.T) {
	auth := newAuth(t)
	for name, test := range map[string]struct {
		rule   jwtauth.Rule
		err    error
		status int
	}{
		"a rule that fails":                      {jwtauth.Rule{Policy: jwtauth.Public}, errors.New("database is down"), http.StatusServiceUnavailable},
		"a policy that does not exist":           {jwtauth.Rule{Policy: 3}, nil, http.StatusForbidden},
		"a policy below those that do not exist": {jwtauth.Rule{Policy: -1}, nil, http.StatusForbidden},
	} {
		t.Run(name, func(t *testing.T) {
			wrap := auth.Protect(func(*http.Request) (jwtauth.Rule, error) { return test.rule, test.err })
			w, s := serve(wrap, request("GET", demoPath, bearer(goodToken())))
			require.False(t, s.ran)
			require.Equal(t, test.status, w.Code)
			require.NotContains(t, w.Body.String(), "database")
		})
	}
}

func TestProtectDeniesAPathOfTwoMeaningsWithoutAskingTheRule(t *testing.T) {
	wrap := newAuth(t).Protect(func(*http.Request) (jwtauth.Rule, error) {
		t.Error("asked")
		return jwtauth.Rule{Policy: jwtauth.Public}, nil
	})
	w, s := serve(wrap, request("GET", "/run/demo/%2e%2e", bearer(goodToken())))
	require.Equal(t, http.StatusForbidden, w.Code)
	require.False(t, s.ran)
}

func TestARuleSeesTheRequestWithoutTheTokenOfItsURL(t *testing.T) {
	auth := newAuth(t)
	wrap := auth.Protect(func(r *http.Request) (jwtauth.Rule, error) {
		require.Equal(t, "a=1", r.URL.RawQuery)
		require.Equal(t, demoPath+"?a=1", r.RequestURI)
		_, err := auth.Check(r)
		require.NoError(t, err, "but can have it judged")
		return jwtauth.Rule{}, nil
	})
	_, s := serve(wrap, request("GET", demoPath+"?a=1&token="+goodToken(), nil))
	require.True(t, s.ok)
}

func TestMissingFunctionsPanicWhenTheMiddlewareIsBuilt(t *testing.T) {
	auth := newAuth(t)
	rule := func(*http.Request) (jwtauth.Rule, error) { return jwtauth.Rule{}, nil }
	for name, build := range map[string]func(){
		"a handler of Private":       func() { auth.Private(nil) },
		"a handler of Public":        func() { auth.Public(nil) },
		"a handler of Optional":      func() { auth.Optional(nil) },
		"a handler of Protect":       func() { auth.Protect(rule)(nil) },
		"a rule":                     func() { auth.Protect(nil) },
		"authorize of TokenEndpoint": func() { auth.TokenEndpoint(nil) },
	} {
		require.Panics(t, build, name)
	}
}

func TestAHandlersPanicPassesThrough(t *testing.T) {
	auth := newAuth(t)
	boom := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("mine") })
	require.PanicsWithValue(t, "mine", func() {
		serve(func(http.Handler) http.Handler { return auth.Private(boom) }, request("GET", demoPath, bearer(goodToken())))
	})
}

func TestTheInnermostMiddlewareDecidesWhatTheContextSays(t *testing.T) {
	auth := newAuth(t)
	others := newAuth(t, jwtauth.WithIssuer("https://elsewhere.example"))
	_, s := serve(func(next http.Handler) http.Handler { return auth.Private(others.Public(next)) },
		request("GET", demoPath, bearer(goodToken())))
	require.True(t, s.ran)
	require.False(t, s.ok, "an outer verdict must not show through")
	w, _ := serve(func(next http.Handler) http.Handler { return auth.Public(auth.Optional(next)) },
		request("GET", demoPath, nil))
	require.Equal(t, []string{"Authorization"}, w.Header()["Vary"], "said once")
	_, s = serve(func(next http.Handler) http.Handler { return others.Public(auth.Private(next)) },
		request("GET", demoPath, bearer(goodToken())))
	require.True(t, s.ok)
}

func TestNewContextIsWhatFromContextFinds(t *testing.T) {
	_, ok := jwtauth.FromContext(context.Background())
	require.False(t, ok)
	type key struct{}
	ctx := jwtauth.NewContext(context.WithValue(context.Background(), key{}, "mine"), jwtauth.Claims{Subject: "alice"})
	claims, ok := jwtauth.FromContext(ctx)
	require.True(t, ok)
	require.Equal(t, "alice", claims.Subject)
	require.Equal(t, "mine", ctx.Value(key{}))
	ctx, cancel := context.WithCancel(ctx)
	cancel()
	claims, ok = jwtauth.FromContext(ctx)
	require.True(t, ok)
	require.Equal(t, "alice", claims.Subject)
}

func TestResponsesThatCachesCannotTellApartStayPrivate(t *testing.T) {
	auth := newAuth(t, jwtauth.WithExtractors(jwtauth.FromHeader("X-Token", ""), jwtauth.FromCookie("session")))
	w, s := serve(auth.Private, request("GET", demoPath, http.Header{"Cookie": {"session=" + goodToken()}}))
	require.True(t, s.ok)
	require.Equal(t, "private", w.Header().Get("Cache-Control"))
	require.Equal(t, []string{"Cookie"}, w.Header()["Vary"])

	w, s = serve(auth.Private, request("GET", demoPath, http.Header{"X-Token": {goodToken()}}))
	require.True(t, s.ok)
	require.Equal(t, "private", w.Header().Get("Cache-Control"), "caches know of Authorization alone")
	require.Equal(t, []string{"X-Token"}, w.Header()["Vary"])

	w, s = serve(newAuth(t).Private, request("GET", demoPath, bearer(goodToken())))
	require.True(t, s.ok)
	require.Empty(t, w.Header().Get("Cache-Control"))

	w, s = serve(func(next http.Handler) http.Handler { return newAuth(t).Public(auth.Private(next)) },
		request("GET", demoPath+"?token=x", http.Header{"Cookie": {"session=" + goodToken()}}))
	require.True(t, s.ok)
	require.Equal(t, "private, no-store", w.Header().Get("Cache-Control"), "a cookie further in loosens nothing")

	w, _ = serve(auth.Optional, request("GET", demoPath, nil))
	require.Equal(t, []string{"Authorization", "X-Token", "Cookie"}, w.Header()["Vary"], "what an anonymous response varies by")
}
