package jwtauth_test

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/internal/authtest"
	"github.com/joinednode/jwtauth/keys"
)

func TestNewRefusesABadConfigurationAndNamesIt(t *testing.T) {
	type options = []jwtauth.Option
	for name, test := range map[string]struct {
		opts options
		want []string // all of these stand in the error
	}{
		"an empty issuer":                     {options{jwtauth.WithIssuer("")}, []string{"WithIssuer", "leave it out"}},
		"an issuer that is not UTF-8":         {options{jwtauth.WithIssuer("\xff")}, []string{"WithIssuer", "UTF-8"}},
		"no audience":                         {options{jwtauth.WithAudience()}, []string{"WithAudience", "at least one"}},
		"an empty audience":                   {options{jwtauth.WithAudience("a", "")}, []string{"WithAudience"}},
		"a lifetime of nothing":               {options{jwtauth.WithTTL(0)}, []string{"WithTTL(0s)", "1s"}},
		"a negative longest lifetime":         {options{jwtauth.WithMaxLifetime(-time.Second)}, []string{"WithMaxLifetime(-1s)", "1s"}},
		"a lifetime over the longest":         {options{jwtauth.WithMaxLifetime(time.Hour)}, []string{"WithMaxLifetime(1h0m0s)", "240h0m0s"}},
		"a negative leeway":                   {options{jwtauth.WithLeeway(-1)}, []string{"WithLeeway(-1ns)", "5m0s"}},
		"a leeway over five minutes":          {options{jwtauth.WithLeeway(5*time.Minute + 1)}, []string{"WithLeeway", "5m0s"}},
		"an empty type":                       {options{jwtauth.WithTypes("")}, []string{"WithTypes"}},
		"no container function":               {options{jwtauth.WithContainer(nil)}, []string{"WithContainer", "nil"}},
		"containers that are and are not":     {options{jwtauth.WithAnyContainer(), jwtauth.WithContainer(func(*http.Request) string { return "" })}, []string{"WithAnyContainer", "WithContainer"}},
		"a registered container claim":        {options{jwtauth.WithContainerClaim("sub")}, []string{"WithContainerClaim", "sub"}},
		"a folded registered container claim": {options{jwtauth.WithContainerClaim("I\u017fS")}, []string{"WithContainerClaim"}},
		"an empty container claim":            {options{jwtauth.WithContainerClaim("")}, []string{"WithContainerClaim", "empty"}},
		"no extractors":                       {options{jwtauth.WithExtractors()}, []string{"WithExtractors", "none"}},
		"a nil extractor":                     {options{jwtauth.WithExtractors(jwtauth.FromQuery("t"), nil)}, []string{"WithExtractors", "extractor 2"}},
		"a header without a name":             {options{jwtauth.WithExtractors(jwtauth.FromHeader("", "Bearer"))}, []string{"FromHeader"}},
		"a header with a colon":               {options{jwtauth.WithExtractors(jwtauth.FromHeader("Authorization:", "Bearer"))}, []string{"FromHeader"}},
		"a scheme with a space":               {options{jwtauth.WithExtractors(jwtauth.FromHeader("Authorization", "Bearer "))}, []string{"FromHeader", "Bearer "}},
		"a parameter without a name":          {options{jwtauth.WithExtractors(jwtauth.FromQuery(""))}, []string{"FromQuery"}},
		"a cookie without a name":             {options{jwtauth.WithExtractors(jwtauth.FromCookie(""))}, []string{"FromCookie"}},
		"a field without a name":              {options{jwtauth.WithExtractors(jwtauth.FromForm(""))}, []string{"FromForm"}},
		"no cross-origin protection":          {options{jwtauth.WithCrossOriginProtection(nil)}, []string{"WithCrossOriginProtection"}},
		"no revocations":                      {options{jwtauth.WithRevocations(nil)}, []string{"WithRevocations"}},
		"no denial":                           {options{jwtauth.WithDenial(nil)}, []string{"WithDenial"}},
		"no status":                           {options{jwtauth.WithStatus(nil)}, []string{"WithStatus"}},
		"no logger":                           {options{jwtauth.WithLogger(nil)}, []string{"WithLogger"}},
		"no observer":                         {options{jwtauth.WithObserver(nil)}, []string{"WithObserver"}},
		"no clock":                            {options{jwtauth.WithClock(nil)}, []string{"WithClock"}},
		"tokens of no size":                   {options{jwtauth.WithMaxTokenSize(255)}, []string{"WithMaxTokenSize(255)", "256"}},
		"tokens of any size":                  {options{jwtauth.WithMaxTokenSize(1 << 20)}, []string{"WithMaxTokenSize(1048576)", "65536"}},
		"a nil option":                        {options{atNow(), nil}, []string{"option 2 is nil"}},
		"two mistakes at once":                {options{jwtauth.WithTTL(-1), jwtauth.WithIssuer("")}, []string{"WithTTL", "WithIssuer"}},
	} {
		t.Run(name, func(t *testing.T) {
			auth, err := jwtauth.New(keys.HS256(secret), test.opts...)
			require.Nil(t, auth)
			require.Error(t, err)
			for _, want := range test.want {
				require.ErrorContains(t, err, want)
			}
		})
	}
}

// Whoever may choose one text of a token must not be able to say more with it.
func TestNoTextBreaksOutOfItsPlaceInAToken(t *testing.T) {
	for _, text := range []string{`x","admin":true,"y":"z`, `\`, `\","admin":true,"\`, "</script>&", "\x00\x1f\n\t", "\u2028é", `x","exp":9999999999,"container":"other`} {
		auth, err := jwtauth.New(keys.HS256(secret).WithID(text), atNow(), jwtauth.WithIssuer(text), jwtauth.WithTypes(text), jwtauth.WithAudience(text), jwtauth.WithContainerClaim(text+"c"))
		require.NoError(t, err)
		token := mustIssue(t, auth, text, jwtauth.Subject(text), jwtauth.ID(text), jwtauth.Claim(text+"p", text))
		claims, err := auth.Verify(t.Context(), token, text)
		require.NoError(t, err)
		var got map[string]any
		require.NoError(t, claims.Decode(&got))
		require.Len(t, got, 8)
		for _, name := range []string{"iss", "sub", "aud", "jti", text + "c", text + "p"} {
			require.Equal(t, text, got[name], name)
		}
		require.Equal(t, text, claims.Subject)
		require.Equal(t, now.Add(jwtauth.DefaultTTL), claims.ExpiresAt)
		_, err = auth.Verify(t.Context(), token, "other")
		require.ErrorIs(t, err, jwtauth.ErrContainer)
	}
}

func TestNewRefusesABadKeyAndSaysWhatIsWrong(t *testing.T) {
	for name, test := range map[string]struct {
		source keys.Source
		want   string
	}{
		"no source":      {nil, "keys.HS256(secret)"},
		"the zero key":   {keys.Key{}, "zero Key"},
		"a nil key":      {(*keys.Key)(nil), "nil *keys.Key"},
		"a bad key":      {new(keys.Key), "zero Key"},
		"a nil ring":     {(*keys.Ring)(nil), "keys.NewRing"},
		"a nil remote":   {(*keys.Remote)(nil), "keys.NewRemote"},
		"a short secret": {keys.HS256(secret[:31]), "31 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := jwtauth.New(test.source)
			require.ErrorContains(t, err, test.want)
		})
	}
}

func TestIssuedTokensSayWhatTheyShould(t *testing.T) {
	auth := newAuth(t, jwtauth.WithIssuer(issuer), jwtauth.WithAudience("api", "admin"))
	token := mustIssue(t, auth, "demo", jwtauth.Subject("alice"), jwtauth.Claim("plan", "pro"))

	claims, err := auth.Verify(t.Context(), token, "demo")
	require.NoError(t, err)
	require.Equal(t, issuer, claims.Issuer)
	require.Equal(t, "alice", claims.Subject)
	require.Equal(t, "demo", claims.Container)
	require.Equal(t, []string{"api", "admin"}, claims.Audience)
	require.Equal(t, now, claims.IssuedAt)
	require.Equal(t, now.Add(10*24*time.Hour), claims.ExpiresAt)
	require.True(t, claims.NotBefore.IsZero())
	require.GreaterOrEqual(t, len(claims.ID), 22, "128 random bits need 22 characters of base64url or more")

	var own struct{ Plan, Jti string }
	require.NoError(t, claims.Decode(&own))
	require.Equal(t, "pro", own.Plan)
	require.Equal(t, claims.ID, own.Jti)

	again, err := auth.Verify(t.Context(), mustIssue(t, auth, "demo"), "demo")
	require.NoError(t, err)
	require.NotEqual(t, claims.ID, again.ID)
}

func TestIssueOptionsReplaceTheDefaults(t *testing.T) {
	auth := newAuth(t, jwtauth.WithTTL(time.Hour), jwtauth.WithAudience("api"))
	token := mustIssue(t, auth, "demo",
		jwtauth.ID("chosen"), jwtauth.SessionID("s1"), jwtauth.TTL(90*time.Minute+600*time.Millisecond), jwtauth.Audience("x", "api"), jwtauth.NotBefore(now.Add(-time.Minute)))
	claims, err := auth.Verify(t.Context(), token, "demo")
	require.NoError(t, err)
	require.Equal(t, "chosen", claims.ID)
	require.Equal(t, "s1", claims.SessionID)
	require.Equal(t, now.Add(90*time.Minute), claims.ExpiresAt)
	require.Equal(t, []string{"x", "api"}, claims.Audience)
	require.Equal(t, now.Add(-time.Minute), claims.NotBefore)
}

func TestATokenCanBeIssuedAgainAsItWas(t *testing.T) {
	clock := now
	auth := newAuth(t, jwtauth.WithClock(func() time.Time { return clock }))
	opts := []jwtauth.IssueOption{jwtauth.ID("1"), authtest.IssuedAt(now), jwtauth.TTL(time.Hour)}
	first := mustIssue(t, auth, "demo", opts...)
	clock = clock.Add(time.Minute)
	require.Equal(t, first, mustIssue(t, auth, "demo", opts...))
	claims, err := auth.Verify(t.Context(), first, "demo")
	require.NoError(t, err)
	require.Equal(t, now, claims.IssuedAt)
	require.Equal(t, now.Add(time.Hour), claims.ExpiresAt)
}

func TestALongerLifetimeRaisesTheLongest(t *testing.T) {
	auth := newAuth(t, jwtauth.WithTTL(365*24*time.Hour))
	claims, err := auth.Verify(t.Context(), mustIssue(t, auth, "demo"), "demo")
	require.NoError(t, err)
	require.Equal(t, now.Add(365*24*time.Hour), claims.ExpiresAt)
}

func TestOptionsKeepNoneOfTheCallersMemory(t *testing.T) {
	audience := []string{"api"}
	extractors := []jwtauth.Extractor{jwtauth.FromHeader("Authorization", "Bearer")}
	auth := newAuth(t, jwtauth.WithAudience(audience...), jwtauth.WithExtractors(extractors...))
	audience[0], extractors[0] = "changed", nil
	_, s := serve(auth.Private, request("GET", demoPath, bearer(mustIssue(t, auth, "demo"))))
	require.True(t, s.ok)
	require.Equal(t, []string{"api"}, s.claims.Audience)
}

func TestIssueRefuses(t *testing.T) {
	type options = []jwtauth.IssueOption
	for name, test := range map[string]struct {
		container string
		opts      options
		want      string
	}{
		"an empty container":                    {"", nil, "WithAnyContainer"},
		"a container that is not UTF-8":         {"\xffdemo", nil, "UTF-8"},
		"an empty subject":                      {"demo", options{jwtauth.Subject("")}, "Subject"},
		"a subject that is not UTF-8":           {"demo", options{jwtauth.Subject("\xc3")}, "Subject"},
		"an empty session":                      {"demo", options{jwtauth.SessionID("")}, "SessionID"},
		"a session that is not UTF-8":           {"demo", options{jwtauth.SessionID("\xff")}, "SessionID"},
		"a moment before 1970":                  {"demo", options{authtest.IssuedAt(time.Unix(-1, 0))}, "iat"},
		"an empty id":                           {"demo", options{jwtauth.ID("")}, "ID"},
		"no audience":                           {"demo", options{jwtauth.Audience()}, "Audience"},
		"an empty audience":                     {"demo", options{jwtauth.Audience("")}, "Audience"},
		"a nil option":                          {"demo", options{jwtauth.Subject("alice"), nil}, "option 2 is nil"},
		"a lifetime under a second":             {"demo", options{jwtauth.TTL(time.Second - 1)}, "TTL"},
		"a negative lifetime":                   {"demo", options{jwtauth.TTL(-time.Hour)}, "TTL"},
		"a lifetime over the longest":           {"demo", options{jwtauth.TTL(240*time.Hour + 1)}, "WithMaxLifetime"},
		"a start behind the end":                {"demo", options{jwtauth.NotBefore(now.Add(240 * time.Hour))}, "NotBefore"},
		"a start before 1970":                   {"demo", options{jwtauth.NotBefore(time.Unix(-1, 0))}, "nbf"},
		"a reserved claim":                      {"demo", options{jwtauth.Claim("exp", 1)}, `Claim("exp")`},
		"the container's claim":                 {"demo", options{jwtauth.Claim("container", "other")}, `Claim("container")`},
		"the container's claim in another case": {"demo", options{jwtauth.Claim("Container", "other")}, `Claim("Container")`},
		"a reserved claim by an odd fold":       {"demo", options{jwtauth.Claim("\u017fub", "x")}, "Claim"},
		"a claim without a name":                {"demo", options{jwtauth.Claim("", 1)}, "Claim"},
		"a claim whose name is not UTF-8":       {"demo", options{jwtauth.Claim("\xff", 1)}, "Claim"},
		"a claim that is not UTF-8":             {"demo", options{jwtauth.Claim("x", "\xff")}, "UTF-8"},
		"a claim that JSON cannot hold":         {"demo", options{jwtauth.Claim("f", func() {})}, "json"},
		"a claim that two readers read apart":   {"demo", options{jwtauth.Claim("r", rawJSON(`{"a":1,"a":2}`))}, "twice"},
		"a token over the size accepted":        {"demo", options{jwtauth.Claim("big", strings.Repeat("x", 8<<10))}, "WithMaxTokenSize"},
	} {
		t.Run(name, func(t *testing.T) {
			token, err := newAuth(t).Issue(test.container, test.opts...)
			require.Empty(t, token)
			require.ErrorContains(t, err, test.want)
		})
	}
}

type rawJSON string

func (r rawJSON) MarshalJSON() ([]byte, error) { return []byte(r), nil }

func TestIssueOfAVerifierSaysThatItCannot(t *testing.T) {
	public, _, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	auth, err := jwtauth.New(keys.Verifier(public))
	require.NoError(t, err)
	_, err = auth.Issue("demo")
	require.ErrorIs(t, err, jwtauth.ErrNoSigningKey)
}

func TestVerifyRefusesEachBadTokenForItsReason(t *testing.T) {
	auth := newAuth(t)
	_, err := auth.Verify(t.Context(), goodToken(), "demo")
	require.NoError(t, err)
	for name, test := range badTokens() {
		t.Run("a token "+name, func(t *testing.T) {
			claims, err := auth.Verify(t.Context(), test.token, "demo")
			require.ErrorIs(t, err, test.want)
			require.Zero(t, claims, "claims of a refused token must not get out")
		})
	}
}

func TestContainersAreComparedByteForByte(t *testing.T) {
	auth := newAuth(t)
	token := mustIssue(t, auth, "Caf\u00e9")
	for _, container := range []string{"caf\u00e9", "Cafe\u0301", "Caf\u00e9 ", "Caf%C3%A9", "Caf", "demo"} {
		_, err := auth.Verify(t.Context(), token, container)
		require.ErrorIs(t, err, jwtauth.ErrContainer, "container %q", container)
	}
	log := captureDefaultLog(t)
	_, err := auth.Verify(t.Context(), token, "")
	require.ErrorIs(t, err, jwtauth.ErrNoContainer)
	require.Contains(t, log.String(), "level=ERROR")
	_, err = auth.Verify(t.Context(), token, "Caf\u00e9")
	require.NoError(t, err)
}

func TestVerifyAnyContainerLeavesTheContainerToTheCaller(t *testing.T) {
	auth := newAuth(t)
	claims, err := auth.VerifyAnyContainer(t.Context(), mustIssue(t, auth, "demo"))
	require.NoError(t, err)
	require.Equal(t, "demo", claims.Container)
	_, err = auth.VerifyAnyContainer(t.Context(), "garbage")
	require.ErrorIs(t, err, jwtauth.ErrMalformed)
}

func TestAServiceWithoutContainers(t *testing.T) {
	auth := newAuth(t, jwtauth.WithAnyContainer())
	token := mustIssue(t, auth, "")
	claims, err := auth.Verify(t.Context(), token, "")
	require.NoError(t, err)
	require.Empty(t, claims.Container)
	require.NotContains(t, decodePayload(t, token), "container")

	_, err = auth.Verify(t.Context(), token, "demo")
	require.ErrorIs(t, err, jwtauth.ErrContainer, "a container that is asked for is compared all the same")

	_, s := serve(auth.Private, request("GET", demoPath, bearer(token)))
	require.True(t, s.ok)
}

func TestAnotherNameForTheContainersClaim(t *testing.T) {
	auth := newAuth(t, jwtauth.WithContainerClaim("tenant"))
	token := mustIssue(t, auth, "demo", jwtauth.Claim("container", 7))
	require.Contains(t, decodePayload(t, token), `"tenant":"demo"`)
	claims, err := auth.Verify(t.Context(), token, "demo")
	require.NoError(t, err)
	require.Equal(t, "demo", claims.Container)
	_, err = auth.Verify(t.Context(), goodToken(), "demo")
	require.ErrorIs(t, err, jwtauth.ErrContainer)
}

func TestKeysThatCannotBeHadAreNobodysFault(t *testing.T) {
	outage := errors.New("connection refused")
	for name, source := range map[string]keys.Source{
		"a source that fails":           sourceFunc(func(context.Context, string) (*keys.Set, error) { return nil, outage }),
		"a source that answers nothing": sourceFunc(func(context.Context, string) (*keys.Set, error) { return nil, nil }),
	} {
		t.Run(name, func(t *testing.T) {
			auth, err := jwtauth.New(source, atNow())
			require.NoError(t, err)
			_, err = auth.Verify(t.Context(), goodToken(), "demo")
			require.ErrorIs(t, err, jwtauth.ErrUnavailable)
			_, err = auth.Issue("demo")
			require.ErrorIs(t, err, jwtauth.ErrUnavailable)
			w, s := serve(auth.Private, request("GET", demoPath, bearer(goodToken())))
			require.Equal(t, http.StatusServiceUnavailable, w.Code)
			require.Equal(t, "unavailable", bodyOf(t, w).Code)
			require.Empty(t, bodyOf(t, w).Reason)
			require.NotEmpty(t, w.Header().Get("Retry-After"))
			require.False(t, s.ran)
		})
	}
}

func TestTheSourceIsAskedWithTheContextAndTheTokensKeyID(t *testing.T) {
	type key struct{}
	var askedFor []any
	auth, err := jwtauth.New(sourceFunc(func(ctx context.Context, kid string) (*keys.Set, error) {
		askedFor = append(askedFor, ctx.Value(key{}), kid)
		return keys.HS256(secret).Keys(ctx, kid)
	}), atNow())
	require.NoError(t, err)
	token := sign(`{"alg":"HS256","kid":"k-1"}`, claimsJSON(nil))
	_, err = auth.Verify(context.WithValue(t.Context(), key{}, "mine"), token, "demo")
	require.NoError(t, err)
	require.Equal(t, []any{"mine", "k-1"}, askedFor)
}

func TestRecheckJudgesTimeAndRevocationAgain(t *testing.T) {
	clock := now
	revoked, outage := false, error(nil)
	auth := newAuth(t,
		jwtauth.WithClock(func() time.Time { return clock }),
		jwtauth.WithRevocations(checkerFunc(func(context.Context, jwtauth.Claims) (bool, error) { return revoked, outage })))
	claims, err := auth.Verify(t.Context(), goodToken(), "demo")
	require.NoError(t, err)
	require.NoError(t, auth.Recheck(t.Context(), claims))

	revoked = true
	require.ErrorIs(t, auth.Recheck(t.Context(), claims), jwtauth.ErrRevoked)
	revoked, outage = false, errors.New("down")
	require.ErrorIs(t, auth.Recheck(t.Context(), claims), jwtauth.ErrUnavailable)
	outage = nil
	clock = claims.ExpiresAt.Add(-1)
	require.NoError(t, auth.Recheck(t.Context(), claims))
	clock = claims.ExpiresAt
	require.ErrorIs(t, auth.Recheck(t.Context(), claims), jwtauth.ErrExpired)
	require.ErrorIs(t, auth.Recheck(t.Context(), jwtauth.Claims{}), jwtauth.ErrExpired, "claims from nowhere are not alive")
}

func TestInspectKnowsGenuineTokensThatAreRefused(t *testing.T) {
	clock, revoked := now, false
	auth := newAuth(t, jwtauth.WithIssuer(issuer), jwtauth.WithAudience("api"),
		jwtauth.WithClock(func() time.Time { return clock }),
		jwtauth.WithRevocations(checkerFunc(func(context.Context, jwtauth.Claims) (bool, error) { return revoked, nil })))
	token := mustIssue(t, auth, "demo", jwtauth.NotBefore(now.Add(time.Minute)), jwtauth.Claim("role", "cook"))
	var seen []jwtauth.Claims
	for name, test := range map[string]struct {
		at      time.Duration
		revoked bool
		want    error
	}{
		"not valid yet": {0, false, jwtauth.ErrNotYetValid},
		"live":          {time.Minute, false, nil},
		"taken back":    {time.Minute, true, jwtauth.ErrRevoked},
		"expired":       {jwtauth.DefaultTTL, false, jwtauth.ErrExpired},
	} {
		clock, revoked = now.Add(test.at), test.revoked
		c, err := auth.Inspect(t.Context(), token)
		require.ErrorIs(t, err, test.want, name)
		require.Equal(t, "demo", c.Container, name)
		var own struct{ Role string }
		require.NoError(t, c.Decode(&own))
		require.Equal(t, "cook", own.Role)
		seen = append(seen, c)
	}
	for _, c := range seen {
		require.Equal(t, seen[0], c)
	}
	seen[0].Audience[0] = "spoilt"
	require.Equal(t, []string{"api"}, seen[1].Audience, "nobody's memory but the caller's")

	clock, revoked = now, false
	strangers := map[string]string{
		"of another issuer":   `{"iss":"other","aud":"api"`,
		"without an issuer":   `{"aud":"api"`,
		"of another audience": `{"iss":"` + issuer + `","aud":"other"`,
	}
	for name, claims := range strangers {
		for when, exp := range map[string]int64{"expired": now.Unix() - 1, "to come": now.Unix() + 60} {
			payload := fmt.Sprintf(`%s,"iat":%d,"nbf":%d,"exp":%d,"container":"demo"}`, claims, now.Unix(), now.Unix()+1, exp)
			c, err := auth.Inspect(t.Context(), sign(header, payload))
			require.Error(t, err)
			require.Zero(t, c, "%s, %s", name, when)
		}
	}
	for name, test := range badTokens() {
		c, err := newAuth(t).Inspect(t.Context(), test.token)
		if errors.Is(test.want, jwtauth.ErrContainer) || errors.Is(test.want, jwtauth.ErrNoContainer) {
			continue // which is not looked at
		}
		require.ErrorIs(t, err, test.want, name)
		if err != nil && !errors.Is(err, jwtauth.ErrExpired) && !errors.Is(err, jwtauth.ErrNotYetValid) {
			require.Zero(t, c, name)
		}
	}
}

// failing is a source of keys that cannot be had.
type failing struct{ err error }

func (f failing) Keys(context.Context, string) (*keys.Set, error) { return nil, f.err }

func TestInspectTakesNoErrorOfOthersForItsOwn(t *testing.T) {
	auth, err := jwtauth.New(failing{fmt.Errorf("fetching the keys: %w", jwtauth.ErrExpired)})
	require.NoError(t, err)
	c, err := auth.Inspect(t.Context(), goodToken())
	require.ErrorIs(t, err, jwtauth.ErrUnavailable)
	require.Zero(t, c)

	auth = newAuth(t, jwtauth.WithRevocations(checkerFunc(func(context.Context, jwtauth.Claims) (bool, error) {
		return false, fmt.Errorf("asking: %w", jwtauth.ErrRevoked)
	})))
	c, err = auth.Inspect(t.Context(), goodToken())
	require.ErrorIs(t, err, jwtauth.ErrUnavailable)
	require.Zero(t, c)
}

func TestCheckIsPrivateWithoutAResponse(t *testing.T) {
	auth := newAuth(t)
	check := func(r *http.Request) (claims jwtauth.Claims, err error) {
		mux := http.NewServeMux()
		mux.HandleFunc("/run/{container}/{recipe}", func(_ http.ResponseWriter, r *http.Request) {
			claims, err = auth.Check(r)
			require.Contains(t, r.URL.String()+r.Header.Get("Authorization"), "ey", "Check cuts nothing")
		})
		mux.ServeHTTP(nil, r)
		return claims, err
	}
	claims, err := check(request("GET", demoPath, bearer(goodToken())))
	require.NoError(t, err)
	require.Equal(t, "the-jti", claims.ID)
	_, err = check(request("GET", demoPath+"?token="+goodToken(), nil))
	require.NoError(t, err)
	_, err = check(request("GET", "/run/other/notify", bearer(goodToken())))
	require.ErrorIs(t, err, jwtauth.ErrContainer)

	_, err = auth.Check(request("GET", demoPath, nil))
	require.ErrorIs(t, err, jwtauth.ErrNoToken)
	_, err = auth.Check(request("CONNECT", demoPath, bearer(goodToken())))
	require.ErrorIs(t, err, jwtauth.ErrForbidden)
}
