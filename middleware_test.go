package jwtauth_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/keys"
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

// denials are all errors and how clients see them by default.
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

func TestWhatADenialLooksLike(t *testing.T) {
	auth := newAuth(t)
	for _, test := range denials {
		t.Run(fmt.Sprint(test.err), func(t *testing.T) {
			w := httptest.NewRecorder()
			err := test.err
			if err != nil {
				err = fmt.Errorf("wrapped: %w", err)
			}
			auth.Deny(w, request("GET", demoPath, nil), err)
			require.Equal(t, test.status, w.Code)
			body := bodyOf(t, w)
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

func TestBearerStatusIsThatOfRFC6750(t *testing.T) {
	auth := newAuth(t, jwtauth.WithStatus(jwtauth.BearerStatus), jwtauth.WithRealm(`a "quoted" \ realm`))
	const realm = `Bearer realm="a \"quoted\" \\ realm"`
	want := map[error]struct {
		status    int
		challenge string
	}{
		jwtauth.ErrNoToken:        {401, realm},
		jwtauth.ErrAmbiguousToken: {400, realm + `, error="invalid_request"`},
		jwtauth.ErrContainer:      {403, realm + `, error="insufficient_scope"`},
		jwtauth.ErrCrossOrigin:    {403, realm + `, error="invalid_token"`},
		jwtauth.ErrForbidden:      {403, realm},
		jwtauth.ErrUnavailable:    {503, realm},
	}
	for _, test := range denials {
		expected, listed := want[test.err]
		if !listed {
			expected.status, expected.challenge = 401, realm+`, error="invalid_token"`
		}
		if test.err == nil {
			expected.status, expected.challenge = 403, realm
		}
		w := httptest.NewRecorder()
		auth.Deny(w, request("GET", demoPath, nil), test.err)
		require.Equal(t, expected.status, w.Code, "%v", test.err)
		require.Equal(t, expected.challenge, w.Header().Get("WWW-Authenticate"), "%v", test.err)
	}
}

func TestWithStatusIsNeverAskedAboutOutagesAndCannotLetIn(t *testing.T) {
	for _, answer := range []int{0, 200, 302, 399, 600} {
		auth := newAuth(t, jwtauth.WithStatus(func(err error) int {
			require.NotErrorIs(t, err, jwtauth.ErrUnavailable)
			return answer
		}))
		w := httptest.NewRecorder()
		auth.Deny(w, request("GET", demoPath, nil), jwtauth.ErrExpired)
		require.Equal(t, http.StatusForbidden, w.Code)
		w = httptest.NewRecorder()
		auth.Deny(w, request("GET", demoPath, nil), fmt.Errorf("%w: %w", jwtauth.ErrUnavailable, jwtauth.ErrExpired))
		require.Equal(t, http.StatusServiceUnavailable, w.Code)
		require.Empty(t, bodyOf(t, w).Reason)
	}
}

func TestWhoeverHasNoGenuineTokenLearnsNothing(t *testing.T) {
	auth := newAuth(t)
	responses := map[string][]string{}
	for name, test := range badTokens() {
		w, _ := serve(auth.Private, request("GET", demoPath, bearer(test.token)))
		if reason := bodyOf(t, w).Reason; reason == "" {
			dump := fmt.Sprint(w.Code, w.Header(), w.Body)
			responses[dump] = append(responses[dump], name)
		} else {
			require.Contains(t, []error{jwtauth.ErrType, jwtauth.ErrExpired, jwtauth.ErrNotYetValid, jwtauth.ErrAudience, jwtauth.ErrContainer}, test.want)
		}
	}
	for _, r := range []*http.Request{
		request("GET", demoPath, http.Header{"Authorization": {"Bearer"}}),
		request("GET", demoPath, http.Header{"Authorization": {"Bearer a", "Bearer b"}}),
		request("GET", demoPath+"?token=a&token=b", nil),
		request("GET", demoPath+"?%&token="+goodToken(), nil),
	} {
		w, _ := serve(auth.Private, r)
		dump := fmt.Sprint(w.Code, w.Header(), w.Body)
		responses[dump] = append(responses[dump], r.URL.RawQuery)
	}
	require.Len(t, responses, 1, "all of these must be answered alike")
}

func TestWithDenialWritesItsOwnResponse(t *testing.T) {
	var denied jwtauth.Denial
	var request2 *http.Request
	auth := newAuth(t, jwtauth.WithDenial(func(w http.ResponseWriter, r *http.Request, d jwtauth.Denial) {
		denied, request2 = d, r
		w.Header().Set("Content-Type", "text/plain")
		w.WriteHeader(http.StatusTeapot)
	}))
	token := sign(header, claimsJSON(map[string]any{"exp": 1}))
	w, s := serve(auth.Private, request("GET", demoPath+"?a=1&token="+token, nil))
	require.False(t, s.ran)
	require.Equal(t, http.StatusTeapot, w.Code)
	require.Equal(t, "no-store", w.Header().Get("Cache-Control"))
	require.NotEmpty(t, w.Header().Get("WWW-Authenticate"))
	require.ErrorIs(t, denied.Err, jwtauth.ErrExpired)
	require.Equal(t, "expired", denied.Reason)
	require.Equal(t, http.StatusForbidden, denied.Status)
	require.Equal(t, demoPath+"?a=1", request2.RequestURI)
	require.Equal(t, "a=1", request2.URL.RawQuery)

	r := request("GET", demoPath+"?token="+token, nil)
	auth.Deny(httptest.NewRecorder(), r, jwtauth.ErrForbidden)
	require.Equal(t, demoPath, request2.RequestURI, "Deny cuts the URL too")
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

func TestTheTokenEndpointMintsForWhoeverIsAuthorized(t *testing.T) {
	auth := newAuth(t)
	h := mux(auth, func(r *http.Request, container string) ([]jwtauth.IssueOption, error) {
		user, _, _ := r.BasicAuth()
		if user != container {
			return nil, errors.New("not the owner")
		}
		return []jwtauth.IssueOption{jwtauth.Subject(user), jwtauth.TTL(time.Hour)}, nil
	})
	r := request("POST", "/create-token/de%20mo", nil)
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

	r = request("POST", "/create-token/other", nil)
	r.SetBasicAuth("demo", "x")
	w = mint(h, r)
	require.Equal(t, http.StatusForbidden, w.Code)
	require.Equal(t, "not_authenticated", bodyOf(t, w).Code)
	require.Equal(t, "Bearer", w.Header().Get("WWW-Authenticate"), "never a Basic challenge")
	require.NotContains(t, w.Body.String(), "owner")
}

func TestATokenOfTheEndpointLivesTenDays(t *testing.T) {
	w := mint(mux(newAuth(t), everyone), request("POST", "/create-token/demo", nil))
	require.Contains(t, w.Body.String(), `"expires_in":864000`)
}

func TestTheTokenEndpointRefuses(t *testing.T) {
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
		"another method":               {never, "GET", "/create-token/demo", nil, 405},
		"HEAD":                         {never, "HEAD", "/create-token/demo", nil, 405},
		"OPTIONS":                      {never, "OPTIONS", "/create-token/demo", nil, 405},
		"whoever is not authorized":    {failing(errors.New("no")), "POST", "/create-token/demo", nil, 403},
		"while nothing can be known":   {failing(fmt.Errorf("%w: ldap", jwtauth.ErrUnavailable)), "POST", "/create-token/demo", nil, 503},
		"a page of another origin":     {never, "POST", "/create-token/demo", site("cross-site"), 403},
		"options that make no token":   {badOptions, "POST", "/create-token/demo", nil, 503},
		"a container that is no UTF-8": {never, "POST", "/create-token/%ff", nil, 403},
		"a path with two meanings":     {never, "POST", "/create-token/%2e%2e", nil, 403},
		"a path with a backslash":      {never, "POST", "/create-token/a%5cb", nil, 403},
	} {
		t.Run(name, func(t *testing.T) {
			w := mint(mux(newAuth(t), test.authorize), request(test.method, test.path, test.header))
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
		log := captureDefaultLog(t)
		w := mint(newAuth(t).TokenEndpoint(never), request("POST", "/create-token", nil))
		require.Equal(t, http.StatusForbidden, w.Code)
		require.Contains(t, log.String(), "level=ERROR")
	})
	t.Run("keys that cannot sign", func(t *testing.T) {
		auth, err := jwtauth.New(sourceFunc(func(context.Context, string) (*keys.Set, error) { return new(keys.Set), nil }))
		require.NoError(t, err)
		w := mint(mux(auth, everyone), request("POST", "/create-token/demo", nil))
		require.Equal(t, http.StatusServiceUnavailable, w.Code)
	})
}

func TestTheTokenEndpointAnswers403WhateverTheStatusOfTokens(t *testing.T) {
	auth := newAuth(t, jwtauth.WithStatus(jwtauth.BearerStatus))
	for _, err := range []error{errors.New("no"), jwtauth.ErrAmbiguousToken, jwtauth.ErrExpired, jwtauth.ErrNoToken} {
		w := mint(mux(auth, func(*http.Request, string) ([]jwtauth.IssueOption, error) { return nil, err }),
			request("POST", "/create-token/demo?token=x", nil))
		require.Equal(t, http.StatusForbidden, w.Code)
		require.Equal(t, "not_authenticated", bodyOf(t, w).Code)
		require.Empty(t, bodyOf(t, w).Reason)
	}
	w := mint(mux(auth, everyone), request("POST", "/create-token/demo?token=x", nil))
	require.Equal(t, http.StatusOK, w.Code)
	require.Equal(t, "no-store", w.Header().Get("Cache-Control"))
	require.Equal(t, "no-referrer", w.Header().Get("Referrer-Policy"))
}

func TestAServiceWithoutContainersMints(t *testing.T) {
	auth := newAuth(t, jwtauth.WithAnyContainer())
	w := mint(auth.TokenEndpoint(everyone), request("POST", "/token", nil))
	require.Equal(t, http.StatusOK, w.Code)
	require.NotContains(t, w.Body.String(), "container")
}

func TestAuthorizeMayAskForATokenInTurn(t *testing.T) {
	auth := newAuth(t)
	h := mux(auth, func(r *http.Request, _ string) ([]jwtauth.IssueOption, error) {
		require.Empty(t, r.URL.RawQuery)
		claims, err := auth.Check(r)
		return []jwtauth.IssueOption{jwtauth.Claim("from", claims.ID)}, err
	})
	require.Equal(t, http.StatusOK, mint(h, request("POST", "/create-token/demo?token="+goodToken(), nil)).Code)
	require.Equal(t, http.StatusForbidden, mint(h, request("POST", "/create-token/other?token="+goodToken(), nil)).Code)

	outer := http.NewServeMux()
	outer.Handle("/create-token/{container}", auth.Private(auth.TokenEndpoint(func(r *http.Request, _ string) ([]jwtauth.IssueOption, error) {
		_, ok := jwtauth.FromContext(r.Context())
		require.True(t, ok, "the verdict of a middleware around the endpoint stays")
		return nil, nil
	})))
	require.Equal(t, http.StatusOK, mint(outer, request("POST", "/create-token/demo?token="+goodToken(), nil)).Code)
}
