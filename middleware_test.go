package jwtauth_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/internal/authtest"
	"github.com/joinednode/jwtauth/keys"
)

func TestPolicy_WhatEachAllows(t *testing.T) {
	auth := authtest.NewAuth(t)
	expired := authtest.Sign(authtest.Header, authtest.ClaimsJSON(map[string]any{"exp": 1}))
	const allowed, anonymous, denied = "claims", "no claims", "denied"
	for name, test := range map[string]struct {
		path, token               string
		private, public, optional string
	}{
		"no token":                        {authtest.DemoPath, "", denied, anonymous, anonymous},
		"a good token":                    {authtest.DemoPath, authtest.GoodToken(), allowed, allowed, allowed},
		"a token of another container":    {"/run/other/notify", authtest.GoodToken(), denied, anonymous, denied},
		"an expired token":                {authtest.DemoPath, expired, denied, anonymous, denied},
		"garbage":                         {authtest.DemoPath, "garbage", denied, anonymous, denied},
		"an escaped container":            {"/run/d%65mo/notify", authtest.GoodToken(), allowed, allowed, allowed},
		"a container escaped twice":       {"/run/d%2565mo/notify", authtest.GoodToken(), denied, anonymous, denied},
		"a container in another case":     {"/run/Demo/notify", authtest.GoodToken(), denied, anonymous, denied},
		"a route that names no container": {"/elsewhere", authtest.GoodToken(), denied, allowed, allowed},
	} {
		for policy, want := range map[jwtauth.Policy]string{jwtauth.Private: test.private, jwtauth.Public: test.public, jwtauth.Optional: test.optional} {
			fixed := map[jwtauth.Policy]func(http.Handler) http.Handler{
				jwtauth.Private: auth.Private, jwtauth.Public: auth.Public, jwtauth.Optional: auth.Optional}[policy]
			protect := auth.Protect(func(*http.Request) (jwtauth.Rule, error) { return jwtauth.Rule{Policy: policy}, nil })
			for way, wrap := range map[string]func(http.Handler) http.Handler{"by itself": fixed, "by Protect": protect} {
				t.Run(fmt.Sprintf("%s, %v, %s", name, policy, way), func(t *testing.T) {
					authtest.CaptureDefaultLog(t)
					var s authtest.Seen
					mux := http.NewServeMux()
					mux.Handle("/run/{container}/{recipe}", wrap(&s))
					mux.Handle("/elsewhere", wrap(&s))
					r := authtest.Request("GET", test.path, nil)
					if test.token != "" {
						r.Header = authtest.Bearer(test.token)
					}
					w := httptest.NewRecorder()
					mux.ServeHTTP(w, r)

					require.Equal(t, want != denied, s.Ran)
					require.Equal(t, want == allowed, s.OK)
					require.Equal(t, want == allowed, s.Claims.ID == "the-jti")
					require.Equal(t, want == denied, w.Code == http.StatusForbidden)
					if policy != jwtauth.Private {
						require.Equal(t, []string{"Authorization"}, w.Header()["Vary"])
					}
				})
			}
		}
	}
}

func TestProtect_ComparesWithTheContainerOfTheRule(t *testing.T) {
	auth := authtest.NewAuth(t)
	rule := func(container string) func(http.Handler) http.Handler {
		return auth.Protect(func(*http.Request) (jwtauth.Rule, error) { return jwtauth.Rule{Container: container}, nil })
	}
	_, s := authtest.Serve(rule("demo"), authtest.Request("GET", "/run/alias/notify", authtest.Bearer(authtest.GoodToken())))
	require.True(t, s.OK)
	_, s = authtest.Serve(rule("other"), authtest.Request("GET", authtest.DemoPath, authtest.Bearer(authtest.GoodToken())))
	require.False(t, s.Ran)
	_, s = authtest.Serve(rule(""), authtest.Request("GET", authtest.DemoPath, authtest.Bearer(authtest.GoodToken())))
	require.True(t, s.OK)
}

func TestProtect_ComparesWithTheContainerOfTheRuleBesideWithAnyContainer(t *testing.T) {
	auth := authtest.NewAuth(t, jwtauth.WithAnyContainer())
	for container, want := range map[string]bool{"demo": true, "": true, "other": false} {
		rule := func(*http.Request) (jwtauth.Rule, error) { return jwtauth.Rule{Container: container}, nil }
		_, s := authtest.Serve(auth.Protect(rule), authtest.Request("GET", "/run/alias/notify", authtest.Bearer(authtest.GoodToken())))
		require.Equal(t, want, s.Ran, "a rule for %q", container)
	}
}

func TestProtect_ARuleAndAHandlerSeeOneRequest(t *testing.T) {
	post := func(target, body string) *http.Request {
		r := httptest.NewRequest("POST", target, strings.NewReader(body))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		return r
	}
	rule := func(r *http.Request) (jwtauth.Rule, error) {
		r.SetPathValue("set", r.FormValue("x"))
		return jwtauth.Rule{}, nil
	}
	_, s := authtest.Serve(authtest.NewAuth(t).Protect(rule), post(authtest.DemoPath+"?token="+authtest.GoodToken(), "x=1"))
	require.True(t, s.OK)
	require.Equal(t, "1", s.R.FormValue("x"))
	require.Equal(t, "1", s.R.PathValue("set"))

	formFirst := authtest.NewAuth(t, jwtauth.WithExtractors(jwtauth.FromForm("token"), jwtauth.FromQuery("token")))
	_, s = authtest.Serve(formFirst.Protect(rule), post(authtest.DemoPath+"?token="+authtest.GoodToken(), "token=garbage&x=1"))
	require.False(t, s.Ran, "a bad token is not covered up by a good one, whatever the rule read")
	_, s = authtest.Serve(formFirst.Protect(rule), post(authtest.DemoPath+"?token=garbage", "token="+authtest.GoodToken()))
	require.True(t, s.OK)
}

func TestDeny_ForAPathOrQuerySaysWhetherATokenCame(t *testing.T) {
	auth := authtest.NewAuth(t)
	for _, target := range []string{"/run/demo/%2e%2e", authtest.DemoPath + "?q=100%25&"} {
		r := authtest.Request("GET", target, nil)
		r.URL.RawQuery = strings.Replace(r.URL.RawQuery, "%25", "%", 1)
		for name, wrap := range authtest.Policies(auth) {
			if name == "Public" {
				continue
			}
			w, s := authtest.Serve(wrap, r)
			require.False(t, s.Ran)
			require.Equal(t, "not_authenticated", authtest.BodyOf(t, w).Code, name+target)
			require.Equal(t, "Bearer", w.Header().Get("WWW-Authenticate"), name+target)
			r2 := r.Clone(t.Context())
			r2.Header = authtest.Bearer(authtest.GoodToken())
			w, _ = authtest.Serve(wrap, r2)
			require.Equal(t, "token_not_valid", authtest.BodyOf(t, w).Code, name+target)
		}
	}
}

func TestDeny_AnOutageThatSpeaksOfNoTokenIsAnOutage(t *testing.T) {
	auth := authtest.NewAuth(t, jwtauth.WithRevocations(authtest.CheckerFunc(func(context.Context, jwtauth.Claims) (bool, error) {
		return false, fmt.Errorf("introspection: %w", jwtauth.ErrNoToken)
	})))
	w, s := authtest.Serve(auth.Optional, authtest.Request("GET", authtest.DemoPath, authtest.Bearer(authtest.GoodToken())))
	require.False(t, s.Ran)
	require.Equal(t, http.StatusServiceUnavailable, w.Code)
}

func TestFromContext_ClaimsOfTwoReadersAreTheirOwn(t *testing.T) {
	ctx := jwtauth.NewContext(t.Context(), jwtauth.Claims{Audience: []string{"api"}})
	mine, _ := jwtauth.FromContext(ctx)
	mine.Audience[0] = "changed"
	yours, _ := jwtauth.FromContext(ctx)
	require.Equal(t, []string{"api"}, yours.Audience)
}

func TestProtect_FailsClosed(t *testing.T) {
	auth := authtest.NewAuth(t)
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
			w, s := authtest.Serve(wrap, authtest.Request("GET", authtest.DemoPath, authtest.Bearer(authtest.GoodToken())))
			require.False(t, s.Ran)
			require.Equal(t, test.status, w.Code)
			require.NotContains(t, w.Body.String(), "database")
		})
	}
}

func TestProtect_DeniesAPathOfTwoMeaningsWithoutAskingTheRule(t *testing.T) {
	wrap := authtest.NewAuth(t).Protect(func(*http.Request) (jwtauth.Rule, error) {
		t.Error("asked")
		return jwtauth.Rule{Policy: jwtauth.Public}, nil
	})
	w, s := authtest.Serve(wrap, authtest.Request("GET", "/run/demo/%2e%2e", authtest.Bearer(authtest.GoodToken())))
	require.Equal(t, http.StatusForbidden, w.Code)
	require.False(t, s.Ran)
}

func TestProtect_ARuleSeesTheRequestWithoutTheTokenOfItsURL(t *testing.T) {
	auth := authtest.NewAuth(t)
	wrap := auth.Protect(func(r *http.Request) (jwtauth.Rule, error) {
		require.Equal(t, "a=1", r.URL.RawQuery)
		require.Equal(t, authtest.DemoPath+"?a=1", r.RequestURI)
		_, err := auth.Check(r)
		require.NoError(t, err, "Check must still find the token that was cut")
		return jwtauth.Rule{}, nil
	})
	_, s := authtest.Serve(wrap, authtest.Request("GET", authtest.DemoPath+"?a=1&token="+authtest.GoodToken(), nil))
	require.True(t, s.OK)
}

func TestProtect_MissingFunctionsPanicWhenTheMiddlewareIsBuilt(t *testing.T) {
	auth := authtest.NewAuth(t)
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

func TestPrivate_AHandlersPanicPassesThrough(t *testing.T) {
	auth := authtest.NewAuth(t)
	boom := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("mine") })
	require.PanicsWithValue(t, "mine", func() {
		authtest.Serve(func(http.Handler) http.Handler { return auth.Private(boom) }, authtest.Request("GET", authtest.DemoPath, authtest.Bearer(authtest.GoodToken())))
	})
}

func TestFromContext_TheInnermostMiddlewareDecides(t *testing.T) {
	auth := authtest.NewAuth(t)
	others := authtest.NewAuth(t, jwtauth.WithIssuer("https://elsewhere.example"))
	_, s := authtest.Serve(func(next http.Handler) http.Handler { return auth.Private(others.Public(next)) },
		authtest.Request("GET", authtest.DemoPath, authtest.Bearer(authtest.GoodToken())))
	require.True(t, s.Ran)
	require.False(t, s.OK, "the claims of the outer middleware must not show")
	w, _ := authtest.Serve(func(next http.Handler) http.Handler { return auth.Public(auth.Optional(next)) },
		authtest.Request("GET", authtest.DemoPath, nil))
	require.Equal(t, []string{"Authorization"}, w.Header()["Vary"], "Vary must name the field only once")
	_, s = authtest.Serve(func(next http.Handler) http.Handler { return others.Public(auth.Private(next)) },
		authtest.Request("GET", authtest.DemoPath, authtest.Bearer(authtest.GoodToken())))
	require.True(t, s.OK)
}

func TestNewContext_IsWhatFromContextFinds(t *testing.T) {
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

func TestPrivate_ResponsesThatCachesCannotTellApartStayPrivate(t *testing.T) {
	auth := authtest.NewAuth(t, jwtauth.WithExtractors(jwtauth.FromHeader("X-Token", ""), jwtauth.FromCookie("session")))
	w, s := authtest.Serve(auth.Private, authtest.Request("GET", authtest.DemoPath, http.Header{"Cookie": {"session=" + authtest.GoodToken()}}))
	require.True(t, s.OK)
	require.Equal(t, "private", w.Header().Get("Cache-Control"))
	require.Equal(t, []string{"Cookie"}, w.Header()["Vary"])

	w, s = authtest.Serve(auth.Private, authtest.Request("GET", authtest.DemoPath, http.Header{"X-Token": {authtest.GoodToken()}}))
	require.True(t, s.OK)
	require.Equal(t, "private", w.Header().Get("Cache-Control"), "caches treat only Authorization specially")
	require.Equal(t, []string{"X-Token"}, w.Header()["Vary"])

	w, s = authtest.Serve(authtest.NewAuth(t).Private, authtest.Request("GET", authtest.DemoPath, authtest.Bearer(authtest.GoodToken())))
	require.True(t, s.OK)
	require.Empty(t, w.Header().Get("Cache-Control"))

	w, s = authtest.Serve(func(next http.Handler) http.Handler { return authtest.NewAuth(t).Public(auth.Private(next)) },
		authtest.Request("GET", authtest.DemoPath+"?token=x", http.Header{"Cookie": {"session=" + authtest.GoodToken()}}))
	require.True(t, s.OK)
	require.Equal(t, "private, no-store", w.Header().Get("Cache-Control"), "the inner middleware must not loosen Cache-Control")

	w, _ = authtest.Serve(auth.Optional, authtest.Request("GET", authtest.DemoPath, nil))
	require.Equal(t, []string{"Authorization", "X-Token", "Cookie"}, w.Header()["Vary"], "an anonymous response must vary by Authorization and by each field that an extractor reads")
}

// denials lists every error and the response that clients get by default.
var denials = []struct {
	err          error
	status       int
	code, reason string
	challenge    string
}{
	{jwtauth.ErrNoToken, 403, "not_authenticated", "", `Bearer`},
	{jwtauth.ErrAmbiguousToken, 403, "token_not_valid", "", `Bearer error="invalid_token"`},
	{jwtauth.ErrMalformed, 403, "token_not_valid", "", `Bearer error="invalid_token"`},
	{jwtauth.ErrUnknownKey, 403, "token_not_valid", "", `Bearer error="invalid_token"`},
	{jwtauth.ErrSignature, 403, "token_not_valid", "", `Bearer error="invalid_token"`},
	{jwtauth.ErrCrossOrigin, 403, "token_not_valid", "", `Bearer error="invalid_token"`},
	{jwtauth.ErrForbidden, 403, "token_not_valid", "", `Bearer`},
	{jwtauth.ErrNoContainer, 403, "token_not_valid", "", `Bearer error="invalid_token"`},
	{jwtauth.ErrType, 403, "token_not_valid", "wrong_type", `Bearer error="invalid_token"`},
	{jwtauth.ErrExpired, 403, "token_not_valid", "expired", `Bearer error="invalid_token"`},
	{jwtauth.ErrNotYetValid, 403, "token_not_valid", "not_yet_valid", `Bearer error="invalid_token"`},
	{jwtauth.ErrIssuer, 403, "token_not_valid", "wrong_issuer", `Bearer error="invalid_token"`},
	{jwtauth.ErrAudience, 403, "token_not_valid", "wrong_audience", `Bearer error="invalid_token"`},
	{jwtauth.ErrRevoked, 403, "token_not_valid", "revoked", `Bearer error="invalid_token"`},
	{jwtauth.ErrContainer, 403, "token_not_valid", "wrong_container", `Bearer error="insufficient_scope"`},
	{jwtauth.ErrUnavailable, 503, "unavailable", "", `Bearer`},
	{errors.New("somebody else's"), 403, "token_not_valid", "", `Bearer error="invalid_token"`},
	{nil, 403, "token_not_valid", "", `Bearer`},
}

func TestDeny_WhatItLooksLike(t *testing.T) {
	auth := authtest.NewAuth(t)
	for _, test := range denials {
		t.Run(fmt.Sprint(test.err), func(t *testing.T) {
			w := httptest.NewRecorder()
			err := test.err
			if err != nil {
				err = fmt.Errorf("wrapped: %w", err)
			}
			auth.Deny(w, authtest.Request("GET", authtest.DemoPath, nil), err)
			require.Equal(t, test.status, w.Code)
			body := authtest.BodyOf(t, w)
			require.Equal(t, test.code, body.Code)
			require.Equal(t, test.reason, body.Reason)
			require.NotEmpty(t, body.Detail)
			require.NotContains(t, w.Body.String(), "wrapped")
			require.Equal(t, test.reason != "", strings.Contains(w.Body.String(), `"reason"`))
			require.Equal(t, []string{test.challenge}, w.Header()["Www-Authenticate"])
			require.Equal(t, "no-store", w.Header().Get("Cache-Control"))
			require.Equal(t, "application/json", w.Header().Get("Content-Type"))
			require.Equal(t, "nosniff", w.Header().Get("X-Content-Type-Options"))
			require.Equal(t, test.status == 503, w.Header().Get("Retry-After") != "")
		})
	}
}

// A browser that was denied also asks for the site's icon. It would send the page's address,
// and the token in it, in the Referer field.
func TestDeny_ItsAddressGoesIntoNoReferer(t *testing.T) {
	auth := authtest.NewAuth(t)
	deny := func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { auth.Deny(w, r, jwtauth.ErrExpired) })
	}
	for name, wrap := range map[string]func(http.Handler) http.Handler{
		"private":           auth.Private,
		"optional":          auth.Optional,
		"a rule that fails": auth.Protect(func(*http.Request) (jwtauth.Rule, error) { return jwtauth.Rule{}, errors.New("down") }),
		"Deny":              deny,
		"a token endpoint that denies": func(http.Handler) http.Handler {
			return auth.TokenEndpoint(func(*http.Request, string) ([]jwtauth.IssueOption, error) { return nil, errors.New("no") })
		},
	} {
		t.Run(name, func(t *testing.T) {
			for query, want := range map[string]string{"?token=x.y.z": "no-referrer", "?a=1": ""} {
				if want == "" && name == "optional" {
					continue // this request is allowed
				}
				for _, method := range []string{"POST", "GET"} {
					w, _ := authtest.Serve(wrap, authtest.Request(method, authtest.DemoPath+query, nil))
					require.GreaterOrEqual(t, w.Code, 400)
					require.Equal(t, want, w.Header().Get("Referrer-Policy"), method)
					if want != "" {
						require.Contains(t, w.Header().Get("Cache-Control"), "no-store")
					}
				}
			}
		})
	}
}

func TestBearerStatus_IsThatOfRFC6750(t *testing.T) {
	auth := authtest.NewAuth(t, jwtauth.WithStatus(jwtauth.BearerStatus))
	want := map[error]struct {
		status    int
		challenge string
	}{
		jwtauth.ErrNoToken:        {401, "Bearer"},
		jwtauth.ErrAmbiguousToken: {400, `Bearer error="invalid_request"`},
		jwtauth.ErrContainer:      {403, `Bearer error="insufficient_scope"`},
		jwtauth.ErrCrossOrigin:    {403, `Bearer error="invalid_token"`},
		jwtauth.ErrForbidden:      {403, "Bearer"},
		jwtauth.ErrUnavailable:    {503, "Bearer"},
	}
	for _, test := range denials {
		expected, listed := want[test.err]
		if !listed {
			expected.status, expected.challenge = 401, `Bearer error="invalid_token"`
		}
		if test.err == nil {
			expected.status, expected.challenge = 403, "Bearer"
		}
		w := httptest.NewRecorder()
		auth.Deny(w, authtest.Request("GET", authtest.DemoPath, nil), test.err)
		require.Equal(t, expected.status, w.Code, "%v", test.err)
		require.Equal(t, expected.challenge, w.Header().Get("WWW-Authenticate"), "%v", test.err)
	}
}

func TestWithStatus_IsNeverAskedAboutOutagesAndCannotAllow(t *testing.T) {
	for _, answer := range []int{0, 200, 302, 399, 600} {
		auth := authtest.NewAuth(t, jwtauth.WithStatus(func(err error) int {
			require.NotErrorIs(t, err, jwtauth.ErrUnavailable)
			return answer
		}))
		w := httptest.NewRecorder()
		auth.Deny(w, authtest.Request("GET", authtest.DemoPath, nil), jwtauth.ErrExpired)
		require.Equal(t, http.StatusForbidden, w.Code)
		w = httptest.NewRecorder()
		auth.Deny(w, authtest.Request("GET", authtest.DemoPath, nil), fmt.Errorf("%w: %w", jwtauth.ErrUnavailable, jwtauth.ErrExpired))
		require.Equal(t, http.StatusServiceUnavailable, w.Code)
		require.Empty(t, authtest.BodyOf(t, w).Reason)
	}
}

func TestDeny_AClientWithoutAnAuthenticTokenLearnsNothing(t *testing.T) {
	auth := authtest.NewAuth(t)
	responses := map[string][]string{}
	for name, test := range authtest.BadTokens() {
		w, _ := authtest.Serve(auth.Private, authtest.Request("GET", authtest.DemoPath, authtest.Bearer(test.Token)))
		if reason := authtest.BodyOf(t, w).Reason; reason == "" {
			dump := fmt.Sprint(w.Code, w.Header(), w.Body)
			responses[dump] = append(responses[dump], name)
		} else {
			require.Contains(t, []error{jwtauth.ErrType, jwtauth.ErrExpired, jwtauth.ErrNotYetValid, jwtauth.ErrAudience, jwtauth.ErrContainer}, test.Want)
		}
	}
	for _, r := range []*http.Request{
		authtest.Request("GET", authtest.DemoPath, http.Header{"Authorization": {"Bearer"}}),
		authtest.Request("GET", authtest.DemoPath, http.Header{"Authorization": {"Bearer a", "Bearer b"}}),
		authtest.Request("GET", authtest.DemoPath+"?token=a&token=b", nil),
		authtest.Request("GET", authtest.DemoPath+"?%&token="+authtest.GoodToken(), nil),
	} {
		w, _ := authtest.Serve(auth.Private, r)
		w.Header().Del("Referrer-Policy") // depends only on the URL, which the client knows
		dump := fmt.Sprint(w.Code, w.Header(), w.Body)
		responses[dump] = append(responses[dump], r.URL.RawQuery)
	}
	require.Len(t, responses, 1, "all of these must be answered alike")
}

func TestWithDenial_WritesItsOwnResponse(t *testing.T) {
	var denied jwtauth.Denial
	var request2 *http.Request
	auth := authtest.NewAuth(t, jwtauth.WithDenial(func(w http.ResponseWriter, r *http.Request, d jwtauth.Denial) {
		denied, request2 = d, r
		w.Header().Set("Content-Type", "text/plain")
		w.WriteHeader(http.StatusTeapot)
	}))
	token := authtest.Sign(authtest.Header, authtest.ClaimsJSON(map[string]any{"exp": 1}))
	w, s := authtest.Serve(auth.Private, authtest.Request("GET", authtest.DemoPath+"?a=1&token="+token, nil))
	require.False(t, s.Ran)
	require.Equal(t, http.StatusTeapot, w.Code)
	require.Equal(t, "no-store", w.Header().Get("Cache-Control"))
	require.NotEmpty(t, w.Header().Get("WWW-Authenticate"))
	require.ErrorIs(t, denied.Err, jwtauth.ErrExpired)
	require.Equal(t, "expired", denied.Reason)
	require.Equal(t, http.StatusForbidden, denied.Status)
	require.Equal(t, authtest.DemoPath+"?a=1", request2.RequestURI)
	require.Equal(t, "a=1", request2.URL.RawQuery)

	r := authtest.Request("GET", authtest.DemoPath+"?token="+token, nil)
	auth.Deny(httptest.NewRecorder(), r, jwtauth.ErrForbidden)
	require.Equal(t, authtest.DemoPath, request2.RequestURI, "Deny must cut the token from the URL too")
}

func mux(auth *jwtauth.Auth, authorize func(*http.Request, string) ([]jwtauth.IssueOption, error)) *http.ServeMux {
	mux := http.NewServeMux()
	mux.Handle("/create-token/{container}", auth.TokenEndpoint(authorize))
	return mux
}

func mint(h http.Handler, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func everyone(*http.Request, string) ([]jwtauth.IssueOption, error) { return nil, nil }

func TestTokenEndpoint_IssuesWhatIsAuthorized(t *testing.T) {
	auth := authtest.NewAuth(t)
	h := mux(auth, func(r *http.Request, container string) ([]jwtauth.IssueOption, error) {
		user, _, _ := r.BasicAuth()
		if user != container {
			return nil, errors.New("not the owner")
		}
		return []jwtauth.IssueOption{jwtauth.Subject(user), jwtauth.TTL(time.Hour)}, nil
	})
	r := authtest.Request("POST", "/create-token/de%20mo", nil)
	r.SetBasicAuth("de mo", "x")
	w := mint(h, r)
	require.Equal(t, http.StatusOK, w.Code)
	require.Equal(t, "no-store", w.Header().Get("Cache-Control"))
	require.Equal(t, "application/json", w.Header().Get("Content-Type"))
	var body map[string]any
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &body))
	claims, err := auth.Verify(t.Context(), body["token"].(string), "de mo")
	require.NoError(t, err)
	require.Equal(t, "de mo", claims.Subject)
	delete(body, "token")
	require.Equal(t, map[string]any{"token_type": "Bearer", "expires_in": 3600.0, "container": "de mo"}, body)

	r = authtest.Request("POST", "/create-token/other", nil)
	r.SetBasicAuth("demo", "x")
	w = mint(h, r)
	require.Equal(t, http.StatusForbidden, w.Code)
	require.Equal(t, "not_authenticated", authtest.BodyOf(t, w).Code)
	require.Equal(t, "Bearer", w.Header().Get("WWW-Authenticate"), "never a Basic challenge")
	require.NotContains(t, w.Body.String(), "owner")
}

func TestTokenEndpoint_ATokenLivesTenDays(t *testing.T) {
	w := mint(mux(authtest.NewAuth(t), everyone), authtest.Request("POST", "/create-token/demo", nil))
	require.Contains(t, w.Body.String(), `"expires_in":864000`)
}

func TestTokenEndpoint_Refuses(t *testing.T) {
	failing := func(err error) func(*http.Request, string) ([]jwtauth.IssueOption, error) {
		return func(*http.Request, string) ([]jwtauth.IssueOption, error) { return nil, err }
	}
	badOptions := func(*http.Request, string) ([]jwtauth.IssueOption, error) {
		return []jwtauth.IssueOption{jwtauth.Subject("")}, nil
	}
	never := func(*http.Request, string) ([]jwtauth.IssueOption, error) {
		t.Error("authorize was asked")
		return nil, nil
	}
	site := func(site string) http.Header { return http.Header{"Sec-Fetch-Site": {site}} }
	for name, test := range map[string]struct {
		authorize func(*http.Request, string) ([]jwtauth.IssueOption, error)
		method    string
		path      string
		header    http.Header
		status    int
	}{
		"another method":                 {never, "GET", "/create-token/demo", nil, 405},
		"HEAD":                           {never, "HEAD", "/create-token/demo", nil, 405},
		"OPTIONS":                        {never, "OPTIONS", "/create-token/demo", nil, 405},
		"a client without authorization": {failing(errors.New("no")), "POST", "/create-token/demo", nil, 403},
		"while nothing can be known":     {failing(fmt.Errorf("%w: ldap", jwtauth.ErrUnavailable)), "POST", "/create-token/demo", nil, 503},
		"a page of another origin":       {never, "POST", "/create-token/demo", site("cross-site"), 403},
		"options that make no token":     {badOptions, "POST", "/create-token/demo", nil, 503},
		"a container that is no UTF-8":   {never, "POST", "/create-token/%ff", nil, 403},
		"a path with two meanings":       {never, "POST", "/create-token/%2e%2e", nil, 403},
		"a path with a backslash":        {never, "POST", "/create-token/a%5cb", nil, 403},
	} {
		t.Run(name, func(t *testing.T) {
			w := mint(mux(authtest.NewAuth(t), test.authorize), authtest.Request(test.method, test.path, test.header))
			require.Equal(t, test.status, w.Code)
			require.NotContains(t, w.Body.String(), `"token"`)
			require.NotContains(t, fmt.Sprint(w.Header()), "Basic")
			if test.status == 405 {
				require.Equal(t, "POST", w.Header().Get("Allow"))
			} else {
				require.Equal(t, "no-store", w.Header().Get("Cache-Control"))
			}
		})
	}
	t.Run("a route that names no container", func(t *testing.T) {
		log := authtest.CaptureDefaultLog(t)
		w := mint(authtest.NewAuth(t).TokenEndpoint(never), authtest.Request("POST", "/create-token", nil))
		require.Equal(t, http.StatusForbidden, w.Code)
		require.Contains(t, log.String(), "level=ERROR")
	})
	t.Run("keys that cannot sign", func(t *testing.T) {
		auth, err := jwtauth.New(authtest.SourceFunc(func(context.Context, string) (*keys.Set, error) { return new(keys.Set), nil }))
		require.NoError(t, err)
		w := mint(mux(auth, everyone), authtest.Request("POST", "/create-token/demo", nil))
		require.Equal(t, http.StatusServiceUnavailable, w.Code)
	})
}

func TestTokenEndpoint_Answers403WhateverTheStatusOfTokens(t *testing.T) {
	auth := authtest.NewAuth(t, jwtauth.WithStatus(jwtauth.BearerStatus))
	for _, err := range []error{errors.New("no"), jwtauth.ErrAmbiguousToken, jwtauth.ErrExpired, jwtauth.ErrNoToken} {
		w := mint(mux(auth, func(*http.Request, string) ([]jwtauth.IssueOption, error) { return nil, err }),
			authtest.Request("POST", "/create-token/demo?token=x", nil))
		require.Equal(t, http.StatusForbidden, w.Code)
		require.Equal(t, "not_authenticated", authtest.BodyOf(t, w).Code)
		require.Empty(t, authtest.BodyOf(t, w).Reason)
	}
	w := mint(mux(auth, everyone), authtest.Request("POST", "/create-token/demo?token=x", nil))
	require.Equal(t, http.StatusOK, w.Code)
	require.Equal(t, "no-store", w.Header().Get("Cache-Control"))
	require.Equal(t, "no-referrer", w.Header().Get("Referrer-Policy"))
}

func TestTokenEndpoint_OfAServiceWithoutContainers(t *testing.T) {
	auth := authtest.NewAuth(t, jwtauth.WithAnyContainer())
	w := mint(auth.TokenEndpoint(everyone), authtest.Request("POST", "/token", nil))
	require.Equal(t, http.StatusOK, w.Code)
	require.NotContains(t, w.Body.String(), "container")
}

func TestTokenEndpoint_AuthorizeMayAskForATokenInTurn(t *testing.T) {
	auth := authtest.NewAuth(t)
	h := mux(auth, func(r *http.Request, _ string) ([]jwtauth.IssueOption, error) {
		require.Empty(t, r.URL.RawQuery)
		claims, err := auth.Check(r)
		return []jwtauth.IssueOption{jwtauth.Claim("from", claims.ID)}, err
	})
	require.Equal(t, http.StatusOK, mint(h, authtest.Request("POST", "/create-token/demo?token="+authtest.GoodToken(), nil)).Code)
	require.Equal(t, http.StatusForbidden, mint(h, authtest.Request("POST", "/create-token/other?token="+authtest.GoodToken(), nil)).Code)

	outer := http.NewServeMux()
	outer.Handle("/create-token/{container}", auth.Private(auth.TokenEndpoint(func(r *http.Request, _ string) ([]jwtauth.IssueOption, error) {
		_, ok := jwtauth.FromContext(r.Context())
		require.True(t, ok, "authorize must find the claims of the middleware around the endpoint")
		return nil, nil
	})))
	require.Equal(t, http.StatusOK, mint(outer, authtest.Request("POST", "/create-token/demo?token="+authtest.GoodToken(), nil)).Code)
}

func TestWithLogger_EveryRejectedTokenIsOneLine(t *testing.T) {
	for name, test := range map[string]struct {
		token string
		level string
		want  []string
		not   []string
	}{
		"a forged one tells the kid, not the jti": {
			authtest.SignWith([]byte("not the secret of this server..."), `{"alg":"HS256","kid":"k-7"}`, authtest.ClaimsJSON(nil)),
			"DEBUG", []string{"reason=wrong_signature", "kid=k-7"}, []string{"the-jti"}},
		"the log has the jti of an authentic token": {
			authtest.Sign(authtest.Header, authtest.ClaimsJSON(map[string]any{"exp": 1})),
			"DEBUG", []string{"reason=expired", "jti=the-jti"}, []string{"kid="}},
		"a very long jti is cut": {
			authtest.Sign(authtest.Header, authtest.ClaimsJSON(map[string]any{"exp": 1, "jti": strings.Repeat("j", 999)})),
			"DEBUG", []string{"jti=" + strings.Repeat("j", 64) + "…"}, []string{strings.Repeat("j", 65)}},
		"a very long kid is cut": {
			authtest.SignWith([]byte("not the secret of this server..."), `{"alg":"HS256","kid":"`+strings.Repeat("k", 999)+`"}`, authtest.ClaimsJSON(nil)),
			"DEBUG", []string{"kid=" + strings.Repeat("k", 64) + "…"}, []string{strings.Repeat("k", 65)}},
	} {
		t.Run(name, func(t *testing.T) {
			var log authtest.LogBuffer
			auth := authtest.NewAuth(t, jwtauth.WithLogger(log.Logger()))
			_, err := auth.Verify(t.Context(), test.token, "demo")
			require.Error(t, err)
			require.Equal(t, 1, strings.Count(log.String(), "\n"), log.String())
			require.Contains(t, log.String(), "level="+test.level)
			for _, want := range test.want {
				require.Contains(t, log.String(), want)
			}
			for _, not := range test.not {
				require.NotContains(t, log.String(), not)
			}
		})
	}
}

func TestWithLogger_OutagesAreErrorsAndClientsThatHangUpAreNone(t *testing.T) {
	for _, test := range []struct {
		name   string
		err    error
		hungUp bool
		want   string
	}{
		{"an outage", errors.New("down"), false, "level=ERROR"},
		{"an outage that something else cancelled", context.Canceled, false, "level=ERROR"},
		{"a client that hangs up", context.Canceled, true, "level=DEBUG"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var log authtest.LogBuffer
			auth := authtest.NewAuth(t, jwtauth.WithLogger(log.Logger()), jwtauth.WithRevocations(authtest.CheckerFunc(func(context.Context, jwtauth.Claims) (bool, error) {
				return false, test.err
			})))
			ctx, hangUp := context.WithCancel(t.Context())
			defer hangUp()
			if test.hungUp {
				hangUp()
			}
			authtest.Serve(auth.Private, authtest.Request("GET", authtest.DemoPath, authtest.Bearer(authtest.GoodToken())).WithContext(ctx))
			require.Contains(t, log.String(), test.want)
			require.Contains(t, log.String(), "reason=unavailable")
		})
	}
}

func TestWithLogger_NoTokenIsLoggedWhereOneIsNeeded(t *testing.T) {
	var log authtest.LogBuffer
	auth := authtest.NewAuth(t, jwtauth.WithLogger(log.Logger()))
	authtest.Serve(auth.Public, authtest.Request("GET", authtest.DemoPath, nil))
	authtest.Serve(auth.Optional, authtest.Request("GET", authtest.DemoPath, nil))
	require.Empty(t, log.String())
	authtest.Serve(auth.Private, authtest.Request("GET", authtest.DemoPath, nil))
	require.Contains(t, log.String(), "level=DEBUG")
	require.Contains(t, log.String(), "reason=no_token")
}

func TestWithLogger_AMissingContainerGoesToTheLoggerThatIsSet(t *testing.T) {
	byDefault := authtest.CaptureDefaultLog(t)
	var log authtest.LogBuffer
	_, err := authtest.NewAuth(t, jwtauth.WithLogger(log.Logger())).Verify(t.Context(), authtest.GoodToken(), "")
	require.ErrorIs(t, err, jwtauth.ErrNoContainer)
	require.Contains(t, log.String(), "level=ERROR")
	require.Empty(t, byDefault.String())
}

func TestWithLogger_AnAcceptedTokenIsNotLogged(t *testing.T) {
	var log authtest.LogBuffer
	_, err := authtest.NewAuth(t, jwtauth.WithLogger(log.Logger())).Verify(t.Context(), authtest.GoodToken(), "demo")
	require.NoError(t, err)
	require.Empty(t, log.String())
}

func TestPrivate_OutsideOfTheMuxIsDeniedAndSeenInTheDefaultLog(t *testing.T) {
	log := authtest.CaptureDefaultLog(t)
	var s authtest.Seen
	mux := http.NewServeMux()
	mux.Handle("/run/{container}/{recipe}", &s)
	w := httptest.NewRecorder()
	authtest.NewAuth(t).Private(mux).ServeHTTP(w, authtest.Request("GET", authtest.DemoPath, authtest.Bearer(authtest.GoodToken())))
	require.Equal(t, http.StatusForbidden, w.Code)
	require.False(t, s.Ran)
	require.Empty(t, authtest.BodyOf(t, w).Reason)
	require.Contains(t, log.String(), "level=ERROR")
	require.Contains(t, log.String(), "reason=no_container")
}

// decisions records what an observer is told, in order.
type decisions struct{ all []jwtauth.Decision }

func (d *decisions) observe(_ context.Context, one jwtauth.Decision) { d.all = append(d.all, one) }

// last returns the only decision since the previous call. The test fails if there is none,
// or more than one.
func (d *decisions) last(t *testing.T) jwtauth.Decision {
	t.Helper()
	require.Len(t, d.all, 1, "the observer must be called exactly once")
	one := d.all[0]
	d.all = nil
	return one
}

func TestWithObserver_EachDecisionOfAMiddlewareIsObservedOnce(t *testing.T) {
	const good, private, public, optional = "", jwtauth.Private, jwtauth.Public, jwtauth.Optional
	expired := authtest.Sign(authtest.Header, authtest.ClaimsJSON(map[string]any{"exp": 1}))
	cookie := func(token string) http.Header { return http.Header{"Cookie": {"session=" + token}} }
	for name, test := range map[string]struct {
		path   string
		header http.Header
		reason string
		source jwtauth.Location
		passes []jwtauth.Policy
	}{
		"a good token in the header":      {authtest.DemoPath, authtest.Bearer(authtest.GoodToken()), good, jwtauth.InHeader, []jwtauth.Policy{private, public, optional}},
		"a good token in the URL":         {authtest.DemoPath + "?token=" + authtest.GoodToken(), nil, good, jwtauth.InQuery, []jwtauth.Policy{private, public, optional}},
		"a good token in a cookie":        {authtest.DemoPath, cookie(authtest.GoodToken()), good, jwtauth.InCookie, []jwtauth.Policy{private, public, optional}},
		"no token":                        {authtest.DemoPath, nil, "no_token", 0, []jwtauth.Policy{public, optional}},
		"an expired token":                {authtest.DemoPath, authtest.Bearer(expired), "expired", jwtauth.InHeader, []jwtauth.Policy{public}},
		"a token of another container":    {"/run/other/notify", authtest.Bearer(authtest.GoodToken()), "wrong_container", jwtauth.InHeader, []jwtauth.Policy{public}},
		"garbage":                         {authtest.DemoPath, authtest.Bearer("garbage"), "malformed", jwtauth.InHeader, []jwtauth.Policy{public}},
		"a forged token":                  {authtest.DemoPath, authtest.Bearer(authtest.GoodToken()[:len(authtest.GoodToken())-3]), "wrong_signature", jwtauth.InHeader, []jwtauth.Policy{public}},
		"two tokens":                      {authtest.DemoPath + "?token=a&token=b", nil, "ambiguous", jwtauth.InQuery, []jwtauth.Policy{public}},
		"a query that does not parse":     {authtest.DemoPath + "?%", authtest.Bearer(authtest.GoodToken()), "malformed", 0, nil}, // Public is skipped below
		"a path with two meanings":        {"/run/demo/a%5cb", authtest.Bearer(authtest.GoodToken()), "forbidden", 0, []jwtauth.Policy{public}},
		"such a path, and no token":       {"/run/demo/a%5cb", nil, "forbidden", 0, []jwtauth.Policy{public}},
		"a cookie of another's page":      {authtest.DemoPath, http.Header{"Cookie": {"session=" + authtest.GoodToken()}, "Sec-Fetch-Site": {"cross-site"}, "Upgrade": {"websocket"}}, "cross_origin", jwtauth.InCookie, []jwtauth.Policy{public}},
		"keys that cannot be had":         {authtest.DemoPath, authtest.Bearer(authtest.Sign(`{"alg":"HS256","kid":"outage"}`, authtest.ClaimsJSON(nil))), "unavailable", jwtauth.InHeader, []jwtauth.Policy{public}},
		"a kid that no key has":           {authtest.DemoPath, authtest.Bearer(authtest.Sign(`{"alg":"HS512","kid":"x"}`, authtest.ClaimsJSON(nil))), "unknown_key", jwtauth.InHeader, []jwtauth.Policy{public}},
		"a token of another kind of ours": {authtest.DemoPath, authtest.Bearer(authtest.Sign(`{"alg":"HS256","typ":"refresh+jwt"}`, authtest.ClaimsJSON(nil))), "wrong_type", jwtauth.InHeader, []jwtauth.Policy{public}},
	} {
		var seen decisions
		auth, err := jwtauth.New(authtest.SourceFunc(func(_ context.Context, kid string) (*keys.Set, error) {
			if kid == "outage" {
				return nil, errors.New("down")
			}
			return keys.HS256(authtest.Secret).Keys(context.Background(), kid)
		}), authtest.AtNow(), jwtauth.WithObserver(seen.observe), jwtauth.WithExtractors(
			jwtauth.FromHeader("Authorization", "Bearer"), jwtauth.FromQuery("token"), jwtauth.FromCookie("session")))
		require.NoError(t, err)
		for _, policy := range []jwtauth.Policy{private, public, optional} {
			if test.path == authtest.DemoPath+"?%" && policy == public { // Public drops a query that does not parse, and verifies the header
				continue
			}
			protect := auth.Protect(func(*http.Request) (jwtauth.Rule, error) { return jwtauth.Rule{Policy: policy}, nil })
			fixed := map[jwtauth.Policy]middleware{private: auth.Private, public: auth.Public, optional: auth.Optional}[policy]
			for way, wrap := range map[string]middleware{"by itself": fixed, "by Protect": protect} {
				t.Run(fmt.Sprintf("%s, %v, %s", name, policy, way), func(t *testing.T) {
					_, ran := authtest.Serve(wrap, authtest.Request("GET", test.path, test.header))
					got := seen.last(t)
					want := jwtauth.Decision{Operation: "request", Policy: policy, Allowed: ran.Ran, Reason: test.reason, In: test.source, Cached: got.Cached}
					if test.reason == "forbidden" && way == "by Protect" { // denied before the rule was called
						want.Policy = private
					} else {
						require.Equal(t, slices.Contains(test.passes, policy), ran.Ran)
					}
					require.Equal(t, want, got)
				})
			}
		}
	}
}

func TestWithObserver_ARuleThatDeniesIsObserved(t *testing.T) {
	var seen decisions
	auth := authtest.NewAuth(t, jwtauth.WithObserver(seen.observe))
	for want, err := range map[string]error{"unavailable": errors.New("down"), "forbidden": jwtauth.ErrForbidden} {
		_, s := authtest.Serve(auth.Protect(func(*http.Request) (jwtauth.Rule, error) { return jwtauth.Rule{}, err }), authtest.Request("GET", authtest.DemoPath, nil))
		require.False(t, s.Ran)
		require.Equal(t, jwtauth.Decision{Operation: "request", Reason: want}, seen.last(t))
	}
}

func TestWithObserver_WhatIsDecidedOutsideOfAMiddlewareIsObservedOnce(t *testing.T) {
	var seen decisions
	auth := authtest.NewAuth(t, jwtauth.WithObserver(seen.observe))
	good, expired := authtest.GoodToken(), authtest.Sign(authtest.Header, authtest.ClaimsJSON(map[string]any{"exp": 1}))
	allowed := func(operation string, cached bool) jwtauth.Decision {
		return jwtauth.Decision{Operation: operation, Allowed: true, Cached: cached}
	}
	denied := func(operation, reason string) jwtauth.Decision {
		return jwtauth.Decision{Operation: operation, Reason: reason}
	}
	inHeader := func(d jwtauth.Decision) jwtauth.Decision {
		d.In = jwtauth.InHeader
		return d
	}
	check := func(token string) func() {
		return func() {
			r := authtest.Request("GET", authtest.DemoPath, authtest.Bearer(token))
			r.SetPathValue("container", "demo")
			auth.Check(r)
		}
	}
	for _, test := range []struct {
		name string
		do   func()
		want jwtauth.Decision
	}{
		{"Verify of a token first seen", func() { auth.Verify(t.Context(), good, "demo") }, allowed("verify", false)},
		{"Verify of a token seen before", func() { auth.Verify(t.Context(), good, "demo") }, allowed("verify", true)},
		{"Verify for another container", func() { auth.Verify(t.Context(), good, "other") },
			jwtauth.Decision{Operation: "verify", Reason: "wrong_container", Cached: true}},
		{"VerifyAnyContainer", func() { auth.VerifyAnyContainer(t.Context(), good) }, allowed("verify", true)},
		{"Inspect of an expired token", func() { auth.Inspect(t.Context(), expired) }, denied("verify", "expired")},
		{"Check", check(good), inHeader(allowed("request", true))},
		{"Check of an expired token", check(expired), inHeader(denied("request", "expired"))},
		{"Recheck", func() { auth.Recheck(t.Context(), jwtauth.Claims{ExpiresAt: authtest.Now.Add(time.Hour)}) }, allowed("recheck", false)},
		{"Recheck of claims that expired", func() { auth.Recheck(t.Context(), jwtauth.Claims{ExpiresAt: authtest.Now}) }, denied("recheck", "expired")},
		{"a token that is minted", func() { mint(mux(auth, everyone), authtest.Request("POST", "/create-token/demo", nil)) }, allowed("mint", false)},
		{"a token that may not be minted", func() {
			mint(mux(auth, func(*http.Request, string) ([]jwtauth.IssueOption, error) { return nil, errors.New("no") }),
				authtest.Request("POST", "/create-token/demo", nil))
		}, denied("mint", "forbidden")},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.do()
			require.Equal(t, test.want, seen.last(t))
		})
	}
	auth.Extract(authtest.Request("GET", authtest.DemoPath, nil))
	auth.Issue("demo")
	auth.Deny(httptest.NewRecorder(), authtest.Request("GET", authtest.DemoPath, nil), jwtauth.ErrForbidden)
	mint(mux(auth, everyone), authtest.Request("GET", "/create-token/demo", nil))
	require.Empty(t, seen.all, "none of these calls may be observed")
}

func TestWithObserver_GetsTheContextOfTheRequestBeforeTheHandlerRuns(t *testing.T) {
	type key struct{}
	var order []string
	auth := authtest.NewAuth(t, jwtauth.WithObserver(func(ctx context.Context, _ jwtauth.Decision) {
		order = append(order, "observed", ctx.Value(key{}).(string))
		_, ok := jwtauth.FromContext(ctx)
		require.False(t, ok, "the observer's context must not hold the claims")
	}))
	h := auth.Public(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { order = append(order, "handled") }))
	r := authtest.Request("GET", "/", authtest.Bearer(authtest.GoodToken()))
	h.ServeHTTP(httptest.NewRecorder(), r.WithContext(context.WithValue(t.Context(), key{}, "in the request's context")))
	require.Equal(t, []string{"observed", "in the request's context", "handled"}, order)
}

func TestLocation_HasAName(t *testing.T) {
	names := map[jwtauth.Location]string{
		jwtauth.InHeader: "header", jwtauth.InQuery: "query", jwtauth.InForm: "form", jwtauth.InCookie: "cookie",
		0: "Location(0)", 9: "Location(9)",
	}
	for location, name := range names {
		require.Equal(t, name, location.String())
	}
}

// A client that hangs up is not an outage, and must not fill the log with errors.
func TestWithLogger_AClientThatDoesNotWaitForKeysIsNoErrorOfTheServer(t *testing.T) {
	var log authtest.LogBuffer
	auth, err := jwtauth.New(authtest.SourceFunc(func(ctx context.Context, _ string) (*keys.Set, error) { return nil, ctx.Err() }),
		authtest.AtNow(), jwtauth.WithLogger(log.Logger()))
	require.NoError(t, err)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = auth.Verify(gone, authtest.GoodToken(), "demo")
	require.ErrorIs(t, err, jwtauth.ErrUnavailable)
	require.Contains(t, log.String(), "level=DEBUG")
	require.NotContains(t, log.String(), "level=ERROR")
}

// Reason must have a name for each error of this package. Only foreign errors may be counted
// as "other".
func TestReason_OfEveryError(t *testing.T) {
	names := map[string]error{}
	for _, test := range denials {
		if name := jwtauth.Reason(test.err); test.err == nil {
			require.Empty(t, name)
		} else {
			require.NotContains(t, names, name, "one name for two errors")
			names[name] = test.err
			require.Equal(t, name, jwtauth.Reason(fmt.Errorf("wrapped: %w", test.err)))
			require.Contains(t, []string{"", name}, test.reason, "the reason in a response must be the name that Reason returns")
		}
	}
	require.Equal(t, "no_signing_key", jwtauth.Reason(jwtauth.ErrNoSigningKey))
	require.EqualError(t, names["other"], "somebody else's")
}

func TestWithObserver_CostsNoAllocation(t *testing.T) {
	cost := func(opts ...jwtauth.Option) float64 {
		auth := authtest.NewAuth(t, opts...)
		handler := auth.Private(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
		r := authtest.Request("GET", authtest.DemoPath, authtest.Bearer(authtest.Issue(t, auth, "demo")))
		r.SetPathValue("container", "demo")
		return testing.AllocsPerRun(100, func() { handler.ServeHTTP(discard{}, r) })
	}
	count := 0
	require.Equal(t, cost(), cost(jwtauth.WithObserver(func(context.Context, jwtauth.Decision) { count++ })))
	require.NotZero(t, count)
}
