package jwtauth_test

import (
	"context"
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
	"github.com/joinednode/jwtauth/keys"
)

func TestEveryRefusedTokenIsOneLineOfTheLog(t *testing.T) {
	for name, test := range map[string]struct {
		token string
		level string
		want  []string
		not   []string
	}{
		"a forged one tells the kid, not the jti": {
			signWith([]byte("not the secret of this server..."), `{"alg":"HS256","kid":"k-7"}`, claimsJSON(nil)),
			"DEBUG", []string{"reason=wrong_signature", "kid=k-7"}, []string{"the-jti"}},
		"a genuine one tells the jti": {
			sign(header, claimsJSON(map[string]any{"exp": 1})),
			"DEBUG", []string{"reason=expired", "jti=the-jti"}, []string{"kid="}},
		"a very long jti is cut": {
			sign(header, claimsJSON(map[string]any{"exp": 1, "jti": strings.Repeat("j", 999)})),
			"DEBUG", []string{"jti=" + strings.Repeat("j", 64) + "…"}, []string{strings.Repeat("j", 65)}},
		"a very long kid is cut": {
			signWith([]byte("not the secret of this server..."), `{"alg":"HS256","kid":"`+strings.Repeat("k", 999)+`"}`, claimsJSON(nil)),
			"DEBUG", []string{"kid=" + strings.Repeat("k", 64) + "…"}, []string{strings.Repeat("k", 65)}},
	} {
		t.Run(name, func(t *testing.T) {
			var log logBuffer
			auth := newAuth(t, jwtauth.WithLogger(log.logger()))
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

func TestOutagesAreErrorsOfTheLogAndClientsThatHangUpAreNone(t *testing.T) {
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
			var log logBuffer
			auth := newAuth(t, jwtauth.WithLogger(log.logger()), jwtauth.WithRevocations(checkerFunc(func(context.Context, jwtauth.Claims) (bool, error) {
				return false, test.err
			})))
			ctx, hangUp := context.WithCancel(t.Context())
			defer hangUp()
			if test.hungUp {
				hangUp()
			}
			serve(auth.Private, request("GET", demoPath, bearer(goodToken())).WithContext(ctx))
			require.Contains(t, log.String(), test.want)
			require.Contains(t, log.String(), "reason=unavailable")
		})
	}
}

func TestNoTokenIsLoggedWhereOneIsNeeded(t *testing.T) {
	var log logBuffer
	auth := newAuth(t, jwtauth.WithLogger(log.logger()))
	serve(auth.Public, request("GET", demoPath, nil))
	serve(auth.Optional, request("GET", demoPath, nil))
	require.Empty(t, log.String())
	serve(auth.Private, request("GET", demoPath, nil))
	require.Contains(t, log.String(), "level=DEBUG")
	require.Contains(t, log.String(), "reason=no_token")
}

func TestAMissingContainerGoesToTheLoggerThatIsSet(t *testing.T) {
	byDefault := captureDefaultLog(t)
	var log logBuffer
	_, err := newAuth(t, jwtauth.WithLogger(log.logger())).Verify(t.Context(), goodToken(), "")
	require.ErrorIs(t, err, jwtauth.ErrNoContainer)
	require.Contains(t, log.String(), "level=ERROR")
	require.Empty(t, byDefault.String())
}

func TestAnAcceptedTokenIsNotLogged(t *testing.T) {
	var log logBuffer
	_, err := newAuth(t, jwtauth.WithLogger(log.logger())).Verify(t.Context(), goodToken(), "demo")
	require.NoError(t, err)
	require.Empty(t, log.String())
}

func TestAPrivateRouteOutsideOfTheMuxIsDeniedAndSeenInTheDefaultLog(t *testing.T) {
	log := captureDefaultLog(t)
	var s seen
	mux := http.NewServeMux()
	mux.Handle("/run/{container}/{recipe}", &s)
	w := httptest.NewRecorder()
	newAuth(t).Private(mux).ServeHTTP(w, request("GET", demoPath, bearer(goodToken())))
	require.Equal(t, http.StatusForbidden, w.Code)
	require.False(t, s.ran)
	require.Empty(t, bodyOf(t, w).Reason)
	require.Contains(t, log.String(), "level=ERROR")
	require.Contains(t, log.String(), "reason=no_container")
}

// decisions are what an observer was told, in order.
type decisions struct{ all []jwtauth.Decision }

func (d *decisions) observe(_ context.Context, one jwtauth.Decision) { d.all = append(d.all, one) }

// last is the only decision since the last call.
func (d *decisions) last(t *testing.T) jwtauth.Decision {
	t.Helper()
	require.Len(t, d.all, 1, "one decision, one call")
	one := d.all[0]
	d.all = nil
	return one
}

func TestEachDecisionOfAMiddlewareIsObservedOnce(t *testing.T) {
	const good, private, public, optional = "", jwtauth.Private, jwtauth.Public, jwtauth.Optional
	expired := sign(header, claimsJSON(map[string]any{"exp": 1}))
	cookie := func(token string) http.Header { return http.Header{"Cookie": {"session=" + token}} }
	for name, test := range map[string]struct {
		path   string
		header http.Header
		reason string
		source jwtauth.Location
		passes []jwtauth.Policy
	}{
		"a good token in the header":      {demoPath, bearer(goodToken()), good, jwtauth.InHeader, []jwtauth.Policy{private, public, optional}},
		"a good token in the URL":         {demoPath + "?token=" + goodToken(), nil, good, jwtauth.InQuery, []jwtauth.Policy{private, public, optional}},
		"a good token in a cookie":        {demoPath, cookie(goodToken()), good, jwtauth.InCookie, []jwtauth.Policy{private, public, optional}},
		"no token":                        {demoPath, nil, "no_token", 0, []jwtauth.Policy{public, optional}},
		"an expired token":                {demoPath, bearer(expired), "expired", jwtauth.InHeader, []jwtauth.Policy{public}},
		"a token of another container":    {"/run/other/notify", bearer(goodToken()), "wrong_container", jwtauth.InHeader, []jwtauth.Policy{public}},
		"garbage":                         {demoPath, bearer("garbage"), "malformed", jwtauth.InHeader, []jwtauth.Policy{public}},
		"a forged token":                  {demoPath, bearer(goodToken()[:len(goodToken())-3]), "wrong_signature", jwtauth.InHeader, []jwtauth.Policy{public}},
		"two tokens":                      {demoPath + "?token=a&token=b", nil, "ambiguous", jwtauth.InQuery, []jwtauth.Policy{public}},
		"a query that does not parse":     {demoPath + "?%", bearer(goodToken()), "malformed", 0, nil}, // on Public: below
		"a path with two meanings":        {"/run/demo/a%5cb", bearer(goodToken()), "forbidden", 0, []jwtauth.Policy{public}},
		"such a path, and no token":       {"/run/demo/a%5cb", nil, "forbidden", 0, []jwtauth.Policy{public}},
		"a cookie of another's page":      {demoPath, http.Header{"Cookie": {"session=" + goodToken()}, "Sec-Fetch-Site": {"cross-site"}, "Upgrade": {"websocket"}}, "cross_origin", jwtauth.InCookie, []jwtauth.Policy{public}},
		"keys that cannot be had":         {demoPath, bearer(sign(`{"alg":"HS256","kid":"outage"}`, claimsJSON(nil))), "unavailable", jwtauth.InHeader, []jwtauth.Policy{public}},
		"a kid that nobody has":           {demoPath, bearer(sign(`{"alg":"HS512","kid":"x"}`, claimsJSON(nil))), "unknown_key", jwtauth.InHeader, []jwtauth.Policy{public}},
		"a token of another kind of ours": {demoPath, bearer(sign(`{"alg":"HS256","typ":"refresh+jwt"}`, claimsJSON(nil))), "wrong_type", jwtauth.InHeader, []jwtauth.Policy{public}},
	} {
		var seen decisions
		auth, err := jwtauth.New(sourceFunc(func(_ context.Context, kid string) (*keys.Set, error) {
			if kid == "outage" {
				return nil, errors.New("down")
			}
			return keys.HS256(secret).Keys(context.Background(), kid)
		}), atNow(), jwtauth.WithObserver(seen.observe), jwtauth.WithExtractors(
			jwtauth.FromHeader("Authorization", "Bearer"), jwtauth.FromQuery("token"), jwtauth.FromCookie("session")))
		require.NoError(t, err)
		for _, policy := range []jwtauth.Policy{private, public, optional} {
			if test.path == demoPath+"?%" && policy == public { // what does not parse is dropped, the rest is judged
				continue
			}
			protect := auth.Protect(func(*http.Request) (jwtauth.Rule, error) { return jwtauth.Rule{Policy: policy}, nil })
			fixed := map[jwtauth.Policy]middleware{private: auth.Private, public: auth.Public, optional: auth.Optional}[policy]
			for way, wrap := range map[string]middleware{"by itself": fixed, "by Protect": protect} {
				t.Run(fmt.Sprintf("%s, %v, %s", name, policy, way), func(t *testing.T) {
					_, ran := serve(wrap, request("GET", test.path, test.header))
					got := seen.last(t)
					want := jwtauth.Decision{Operation: "request", Policy: policy, Allowed: ran.ran, Reason: test.reason, In: test.source, Cached: got.Cached}
					if test.reason == "forbidden" && way == "by Protect" { // before its rule was asked
						want.Policy = private
					} else {
						require.Equal(t, slices.Contains(test.passes, policy), ran.ran)
					}
					require.Equal(t, want, got)
				})
			}
		}
	}
}

func TestARuleThatDeniesIsObserved(t *testing.T) {
	var seen decisions
	auth := newAuth(t, jwtauth.WithObserver(seen.observe))
	for want, err := range map[string]error{"unavailable": errors.New("down"), "forbidden": jwtauth.ErrForbidden} {
		_, s := serve(auth.Protect(func(*http.Request) (jwtauth.Rule, error) { return jwtauth.Rule{}, err }), request("GET", demoPath, nil))
		require.False(t, s.ran)
		require.Equal(t, jwtauth.Decision{Operation: "request", Reason: want}, seen.last(t))
	}
}

func TestWhatIsDecidedOutsideOfAMiddlewareIsObservedOnce(t *testing.T) {
	var seen decisions
	auth := newAuth(t, jwtauth.WithObserver(seen.observe))
	good, expired := goodToken(), sign(header, claimsJSON(map[string]any{"exp": 1}))
	allowed := func(operation string, remembered bool) jwtauth.Decision {
		return jwtauth.Decision{Operation: operation, Allowed: true, Cached: remembered}
	}
	refused := func(operation, reason string) jwtauth.Decision {
		return jwtauth.Decision{Operation: operation, Reason: reason}
	}
	inHeader := func(d jwtauth.Decision) jwtauth.Decision {
		d.In = jwtauth.InHeader
		return d
	}
	check := func(token string) func() {
		return func() {
			r := request("GET", demoPath, bearer(token))
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
		{"Inspect of an expired token", func() { auth.Inspect(t.Context(), expired) }, refused("verify", "expired")},
		{"Check", check(good), inHeader(allowed("request", true))},
		{"Check of an expired token", check(expired), inHeader(refused("request", "expired"))},
		{"Recheck", func() { auth.Recheck(t.Context(), jwtauth.Claims{ExpiresAt: now.Add(time.Hour)}) }, allowed("recheck", false)},
		{"Recheck of claims that expired", func() { auth.Recheck(t.Context(), jwtauth.Claims{ExpiresAt: now}) }, refused("recheck", "expired")},
		{"a token that is minted", func() { mint(mux(auth, everyone), request("POST", "/create-token/demo", nil)) }, allowed("mint", false)},
		{"a token that may not be minted", func() {
			mint(mux(auth, func(*http.Request, string) ([]jwtauth.IssueOption, error) { return nil, errors.New("no") }),
				request("POST", "/create-token/demo", nil))
		}, refused("mint", "forbidden")},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.do()
			require.Equal(t, test.want, seen.last(t))
		})
	}
	auth.Extract(request("GET", demoPath, nil))
	auth.Issue("demo")
	auth.Deny(httptest.NewRecorder(), request("GET", demoPath, nil), jwtauth.ErrForbidden)
	mint(mux(auth, everyone), request("GET", "/create-token/demo", nil))
	require.Empty(t, seen.all, "these decide nothing")
}

func TestAnObserverGetsTheContextOfTheRequestBeforeTheHandlerRuns(t *testing.T) {
	type key struct{}
	var order []string
	auth := newAuth(t, jwtauth.WithObserver(func(ctx context.Context, _ jwtauth.Decision) {
		order = append(order, "observed", ctx.Value(key{}).(string))
		_, ok := jwtauth.FromContext(ctx)
		require.False(t, ok, "claims are for the handler alone")
	}))
	h := auth.Public(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { order = append(order, "handled") }))
	r := request("GET", "/", bearer(goodToken()))
	h.ServeHTTP(httptest.NewRecorder(), r.WithContext(context.WithValue(t.Context(), key{}, "in the request's context")))
	require.Equal(t, []string{"observed", "in the request's context", "handled"}, order)
}

func TestALocationHasAName(t *testing.T) {
	names := map[jwtauth.Location]string{
		jwtauth.InHeader: "header", jwtauth.InQuery: "query", jwtauth.InForm: "form", jwtauth.InCookie: "cookie",
		0: "Location(0)", 9: "Location(9)",
	}
	for location, name := range names {
		require.Equal(t, name, location.String())
	}
}

// A client that hangs up is no outage, and must not fill the log of errors.
func TestAClientThatDoesNotWaitForKeysIsNoErrorOfTheServer(t *testing.T) {
	var log logBuffer
	auth, err := jwtauth.New(sourceFunc(func(ctx context.Context, _ string) (*keys.Set, error) { return nil, ctx.Err() }),
		atNow(), jwtauth.WithLogger(log.logger()))
	require.NoError(t, err)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = auth.Verify(gone, goodToken(), "demo")
	require.ErrorIs(t, err, jwtauth.ErrUnavailable)
	require.Contains(t, log.String(), "level=DEBUG")
	require.NotContains(t, log.String(), "level=ERROR")
}

// Each error has a name: one that is new must not be counted as "other".
func TestEveryErrorHasAReason(t *testing.T) {
	names := map[string]error{}
	for _, test := range denials {
		if name := jwtauth.Reason(test.err); test.err == nil {
			require.Empty(t, name)
		} else {
			require.NotContains(t, names, name, "one name for two errors")
			names[name] = test.err
			require.Equal(t, name, jwtauth.Reason(fmt.Errorf("wrapped: %w", test.err)))
			require.Contains(t, []string{"", name}, test.reason, "clients and logs know one name")
		}
	}
	require.Equal(t, "no_signing_key", jwtauth.Reason(jwtauth.ErrNoSigningKey))
	require.EqualError(t, names["other"], "somebody else's")
}

func TestAnObserverCostsNoAllocation(t *testing.T) {
	cost := func(opts ...jwtauth.Option) float64 {
		auth := newAuth(t, opts...)
		handler := auth.Private(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
		r := request("GET", demoPath, bearer(mustIssue(t, auth, "demo")))
		r.SetPathValue("container", "demo")
		return testing.AllocsPerRun(100, func() { handler.ServeHTTP(discard{}, r) })
	}
	count := 0
	require.Equal(t, cost(), cost(jwtauth.WithObserver(func(context.Context, jwtauth.Decision) { count++ })))
	require.NotZero(t, count)
}
