package jwtauth_test

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"weak"

	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/internal/authtest"
	"github.com/joinednode/jwtauth/keys"
	"github.com/joinednode/jwtauth/revoke"
)

func TestNew_RefusesABadConfigurationAndNamesIt(t *testing.T) {
	type options = []jwtauth.Option
	for name, test := range map[string]struct {
		opts options
		want []string // the error must contain all of these
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
		"a nil option":                        {options{authtest.AtNow(), nil}, []string{"option 2 is nil"}},
		"two mistakes at once":                {options{jwtauth.WithTTL(-1), jwtauth.WithIssuer("")}, []string{"WithTTL", "WithIssuer"}},
	} {
		t.Run(name, func(t *testing.T) {
			auth, err := jwtauth.New(keys.HS256(authtest.Secret), test.opts...)
			require.Nil(t, auth)
			require.Error(t, err)
			for _, want := range test.want {
				require.ErrorContains(t, err, want)
			}
		})
	}
}

// A client that chooses one value of a token must not be able to add or change other
// claims with it.
func TestIssue_NoValueBreaksOutOfItsPlace(t *testing.T) {
	for _, text := range []string{`x","admin":true,"y":"z`, `\`, `\","admin":true,"\`, "</script>&", "\x00\x1f\n\t", "\u2028é", `x","exp":9999999999,"container":"other`} {
		auth, err := jwtauth.New(keys.HS256(authtest.Secret).WithID(text), authtest.AtNow(), jwtauth.WithIssuer(text), jwtauth.WithTypes(text), jwtauth.WithAudience(text), jwtauth.WithContainerClaim(text+"c"))
		require.NoError(t, err)
		token := authtest.Issue(t, auth, text, jwtauth.Subject(text), jwtauth.ID(text), jwtauth.Claim(text+"p", text))
		claims, err := auth.Verify(t.Context(), token, text)
		require.NoError(t, err)
		var got map[string]any
		require.NoError(t, claims.Decode(&got))
		require.Len(t, got, 8)
		for _, name := range []string{"iss", "sub", "aud", "jti", text + "c", text + "p"} {
			require.Equal(t, text, got[name], name)
		}
		require.Equal(t, text, claims.Subject)
		require.Equal(t, authtest.Now.Add(jwtauth.DefaultTTL), claims.ExpiresAt)
		_, err = auth.Verify(t.Context(), token, "other")
		require.ErrorIs(t, err, jwtauth.ErrContainer)
	}
}

func TestNew_RefusesABadKeyAndSaysWhatIsWrong(t *testing.T) {
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
		"a short secret": {keys.HS256(authtest.Secret[:31]), "31 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := jwtauth.New(test.source)
			require.ErrorContains(t, err, test.want)
		})
	}
}

func TestIssue_SaysWhatItShould(t *testing.T) {
	auth := authtest.NewAuth(t, jwtauth.WithIssuer(authtest.Issuer), jwtauth.WithAudience("api", "admin"))
	token := authtest.Issue(t, auth, "demo", jwtauth.Subject("alice"), jwtauth.Claim("plan", "pro"))

	claims, err := auth.Verify(t.Context(), token, "demo")
	require.NoError(t, err)
	require.Equal(t, authtest.Issuer, claims.Issuer)
	require.Equal(t, "alice", claims.Subject)
	require.Equal(t, "demo", claims.Container)
	require.Equal(t, []string{"api", "admin"}, claims.Audience)
	require.Equal(t, authtest.Now, claims.IssuedAt)
	require.Equal(t, authtest.Now.Add(10*24*time.Hour), claims.ExpiresAt)
	require.True(t, claims.NotBefore.IsZero())
	require.GreaterOrEqual(t, len(claims.ID), 22, "128 random bits need 22 characters of base64url or more")

	var own struct{ Plan, Jti string }
	require.NoError(t, claims.Decode(&own))
	require.Equal(t, "pro", own.Plan)
	require.Equal(t, claims.ID, own.Jti)

	again, err := auth.Verify(t.Context(), authtest.Issue(t, auth, "demo"), "demo")
	require.NoError(t, err)
	require.NotEqual(t, claims.ID, again.ID)
}

func TestIssue_OptionsReplaceTheDefaults(t *testing.T) {
	auth := authtest.NewAuth(t, jwtauth.WithTTL(time.Hour), jwtauth.WithAudience("api"))
	token := authtest.Issue(t, auth, "demo",
		jwtauth.ID("chosen"), jwtauth.SessionID("s1"), jwtauth.TTL(90*time.Minute+600*time.Millisecond), jwtauth.Audience("x", "api"), jwtauth.NotBefore(authtest.Now.Add(-time.Minute)))
	claims, err := auth.Verify(t.Context(), token, "demo")
	require.NoError(t, err)
	require.Equal(t, "chosen", claims.ID)
	require.Equal(t, "s1", claims.SessionID)
	require.Equal(t, authtest.Now.Add(90*time.Minute), claims.ExpiresAt)
	require.Equal(t, []string{"x", "api"}, claims.Audience)
	require.Equal(t, authtest.Now.Add(-time.Minute), claims.NotBefore)
}

func TestIssue_GivesATokenAgainAsItWas(t *testing.T) {
	clock := authtest.Now
	auth := authtest.NewAuth(t, jwtauth.WithClock(func() time.Time { return clock }))
	opts := []jwtauth.IssueOption{jwtauth.ID("1"), authtest.IssuedAt(authtest.Now), jwtauth.TTL(time.Hour)}
	first := authtest.Issue(t, auth, "demo", opts...)
	clock = clock.Add(time.Minute)
	require.Equal(t, first, authtest.Issue(t, auth, "demo", opts...))
	claims, err := auth.Verify(t.Context(), first, "demo")
	require.NoError(t, err)
	require.Equal(t, authtest.Now, claims.IssuedAt)
	require.Equal(t, authtest.Now.Add(time.Hour), claims.ExpiresAt)
}

func TestWithTTL_RaisesTheLongestLifetime(t *testing.T) {
	auth := authtest.NewAuth(t, jwtauth.WithTTL(365*24*time.Hour))
	claims, err := auth.Verify(t.Context(), authtest.Issue(t, auth, "demo"), "demo")
	require.NoError(t, err)
	require.Equal(t, authtest.Now.Add(365*24*time.Hour), claims.ExpiresAt)
}

func TestNew_KeepsNoneOfTheCallersMemory(t *testing.T) {
	audience := []string{"api"}
	extractors := []jwtauth.Extractor{jwtauth.FromHeader("Authorization", "Bearer")}
	auth := authtest.NewAuth(t, jwtauth.WithAudience(audience...), jwtauth.WithExtractors(extractors...))
	audience[0], extractors[0] = "changed", nil
	_, s := authtest.Serve(auth.Private, authtest.Request("GET", authtest.DemoPath, authtest.Bearer(authtest.Issue(t, auth, "demo"))))
	require.True(t, s.OK)
	require.Equal(t, []string{"api"}, s.Claims.Audience)
}

func TestIssue_Refuses(t *testing.T) {
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
		"a start behind the end":                {"demo", options{jwtauth.NotBefore(authtest.Now.Add(240 * time.Hour))}, "NotBefore"},
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
			token, err := authtest.NewAuth(t).Issue(test.container, test.opts...)
			require.Empty(t, token)
			require.ErrorContains(t, err, test.want)
		})
	}
}

type rawJSON string

func (r rawJSON) MarshalJSON() ([]byte, error) { return []byte(r), nil }

func TestIssue_OfAVerifierSaysThatItCannot(t *testing.T) {
	public, _, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	auth, err := jwtauth.New(keys.Verifier(public))
	require.NoError(t, err)
	_, err = auth.Issue("demo")
	require.ErrorIs(t, err, jwtauth.ErrNoSigningKey)
}

func TestVerify_RejectsEachBadTokenForItsReason(t *testing.T) {
	auth := authtest.NewAuth(t)
	_, err := auth.Verify(t.Context(), authtest.GoodToken(), "demo")
	require.NoError(t, err)
	for name, test := range authtest.BadTokens() {
		t.Run("a token "+name, func(t *testing.T) {
			claims, err := auth.Verify(t.Context(), test.Token, "demo")
			require.ErrorIs(t, err, test.Want)
			require.Zero(t, claims, "the claims of a rejected token must not be returned")
		})
	}
}

func TestVerify_ComparesContainersByteForByte(t *testing.T) {
	auth := authtest.NewAuth(t)
	token := authtest.Issue(t, auth, "Caf\u00e9")
	for _, container := range []string{"caf\u00e9", "Cafe\u0301", "Caf\u00e9 ", "Caf%C3%A9", "Caf", "demo"} {
		_, err := auth.Verify(t.Context(), token, container)
		require.ErrorIs(t, err, jwtauth.ErrContainer, "container %q", container)
	}
	log := authtest.CaptureDefaultLog(t)
	_, err := auth.Verify(t.Context(), token, "")
	require.ErrorIs(t, err, jwtauth.ErrNoContainer)
	require.Contains(t, log.String(), "level=ERROR")
	_, err = auth.Verify(t.Context(), token, "Caf\u00e9")
	require.NoError(t, err)
}

func TestVerifyAnyContainer_LeavesTheContainerToTheCaller(t *testing.T) {
	auth := authtest.NewAuth(t)
	claims, err := auth.VerifyAnyContainer(t.Context(), authtest.Issue(t, auth, "demo"))
	require.NoError(t, err)
	require.Equal(t, "demo", claims.Container)
	_, err = auth.VerifyAnyContainer(t.Context(), "garbage")
	require.ErrorIs(t, err, jwtauth.ErrMalformed)
}

func TestWithAnyContainer_IsForAServiceWithoutContainers(t *testing.T) {
	auth := authtest.NewAuth(t, jwtauth.WithAnyContainer())
	token := authtest.Issue(t, auth, "")
	claims, err := auth.Verify(t.Context(), token, "")
	require.NoError(t, err)
	require.Empty(t, claims.Container)
	require.NotContains(t, authtest.DecodePayload(t, token), "container")

	_, err = auth.Verify(t.Context(), token, "demo")
	require.ErrorIs(t, err, jwtauth.ErrContainer, "a container that the caller names must be compared even here")

	_, s := authtest.Serve(auth.Private, authtest.Request("GET", authtest.DemoPath, authtest.Bearer(token)))
	require.True(t, s.OK)
}

func TestWithContainerClaim_RenamesTheClaim(t *testing.T) {
	auth := authtest.NewAuth(t, jwtauth.WithContainerClaim("tenant"))
	token := authtest.Issue(t, auth, "demo", jwtauth.Claim("container", 7))
	require.Contains(t, authtest.DecodePayload(t, token), `"tenant":"demo"`)
	claims, err := auth.Verify(t.Context(), token, "demo")
	require.NoError(t, err)
	require.Equal(t, "demo", claims.Container)
	_, err = auth.Verify(t.Context(), authtest.GoodToken(), "demo")
	require.ErrorIs(t, err, jwtauth.ErrContainer)
}

func TestVerify_KeysThatCannotBeHadAreAnOutage(t *testing.T) {
	outage := errors.New("connection refused")
	for name, source := range map[string]keys.Source{
		"a source that fails":           authtest.SourceFunc(func(context.Context, string) (*keys.Set, error) { return nil, outage }),
		"a source that answers nothing": authtest.SourceFunc(func(context.Context, string) (*keys.Set, error) { return nil, nil }),
	} {
		t.Run(name, func(t *testing.T) {
			auth, err := jwtauth.New(source, authtest.AtNow())
			require.NoError(t, err)
			_, err = auth.Verify(t.Context(), authtest.GoodToken(), "demo")
			require.ErrorIs(t, err, jwtauth.ErrUnavailable)
			_, err = auth.Issue("demo")
			require.ErrorIs(t, err, jwtauth.ErrUnavailable)
			w, s := authtest.Serve(auth.Private, authtest.Request("GET", authtest.DemoPath, authtest.Bearer(authtest.GoodToken())))
			require.Equal(t, http.StatusServiceUnavailable, w.Code)
			require.Equal(t, "unavailable", authtest.BodyOf(t, w).Code)
			require.Empty(t, authtest.BodyOf(t, w).Reason)
			require.NotEmpty(t, w.Header().Get("Retry-After"))
			require.False(t, s.Ran)
		})
	}
}

func TestVerify_AsksTheSourceWithTheContextAndTheTokensKeyID(t *testing.T) {
	type key struct{}
	var askedFor []any
	auth, err := jwtauth.New(authtest.SourceFunc(func(ctx context.Context, kid string) (*keys.Set, error) {
		askedFor = append(askedFor, ctx.Value(key{}), kid)
		return keys.HS256(authtest.Secret).Keys(ctx, kid)
	}), authtest.AtNow())
	require.NoError(t, err)
	token := authtest.Sign(`{"alg":"HS256","kid":"k-1"}`, authtest.ClaimsJSON(nil))
	_, err = auth.Verify(context.WithValue(t.Context(), key{}, "mine"), token, "demo")
	require.NoError(t, err)
	require.Equal(t, []any{"mine", "k-1"}, askedFor)
}

func TestRecheck_ChecksTimeAndRevocationAgain(t *testing.T) {
	clock := authtest.Now
	revoked, outage := false, error(nil)
	auth := authtest.NewAuth(t,
		jwtauth.WithClock(func() time.Time { return clock }),
		jwtauth.WithRevocations(authtest.CheckerFunc(func(context.Context, jwtauth.Claims) (bool, error) { return revoked, outage })))
	claims, err := auth.Verify(t.Context(), authtest.GoodToken(), "demo")
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
	require.ErrorIs(t, auth.Recheck(t.Context(), jwtauth.Claims{}), jwtauth.ErrExpired, "claims without an expiry must count as expired")
}

func TestInspect_KnowsAuthenticTokensThatAreRejected(t *testing.T) {
	clock, revoked := authtest.Now, false
	auth := authtest.NewAuth(t, jwtauth.WithIssuer(authtest.Issuer), jwtauth.WithAudience("api"),
		jwtauth.WithClock(func() time.Time { return clock }),
		jwtauth.WithRevocations(authtest.CheckerFunc(func(context.Context, jwtauth.Claims) (bool, error) { return revoked, nil })))
	token := authtest.Issue(t, auth, "demo", jwtauth.NotBefore(authtest.Now.Add(time.Minute)), jwtauth.Claim("role", "cook"))
	var seen []jwtauth.Claims
	for name, test := range map[string]struct {
		at      time.Duration
		revoked bool
		want    error
	}{
		"not valid yet": {0, false, jwtauth.ErrNotYetValid},
		"live":          {time.Minute, false, nil},
		"revoked":       {time.Minute, true, jwtauth.ErrRevoked},
		"expired":       {jwtauth.DefaultTTL, false, jwtauth.ErrExpired},
	} {
		clock, revoked = authtest.Now.Add(test.at), test.revoked
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
	require.Equal(t, []string{"api"}, seen[1].Audience, "a change to one result must not show in another")

	clock, revoked = authtest.Now, false
	foreign := map[string]string{
		"of another issuer":   `{"iss":"other","aud":"api"`,
		"without an issuer":   `{"aud":"api"`,
		"of another audience": `{"iss":"` + authtest.Issuer + `","aud":"other"`,
	}
	for name, claims := range foreign {
		for when, exp := range map[string]int64{"expired": authtest.Now.Unix() - 1, "to come": authtest.Now.Unix() + 60} {
			payload := fmt.Sprintf(`%s,"iat":%d,"nbf":%d,"exp":%d,"container":"demo"}`, claims, authtest.Now.Unix(), authtest.Now.Unix()+1, exp)
			c, err := auth.Inspect(t.Context(), authtest.Sign(authtest.Header, payload))
			require.Error(t, err)
			require.Zero(t, c, "%s, %s", name, when)
		}
	}
	for name, test := range authtest.BadTokens() {
		c, err := authtest.NewAuth(t).Inspect(t.Context(), test.Token)
		if errors.Is(test.Want, jwtauth.ErrContainer) || errors.Is(test.Want, jwtauth.ErrNoContainer) {
			continue // Inspect does not check the container
		}
		require.ErrorIs(t, err, test.Want, name)
		if err != nil && !errors.Is(err, jwtauth.ErrExpired) && !errors.Is(err, jwtauth.ErrNotYetValid) {
			require.Zero(t, c, name)
		}
	}
}

// failing is a key source that always returns an error.
type failing struct{ err error }

func (f failing) Keys(context.Context, string) (*keys.Set, error) { return nil, f.err }

func TestInspect_TakesNoErrorOfASourceForItsOwn(t *testing.T) {
	auth, err := jwtauth.New(failing{fmt.Errorf("fetching the keys: %w", jwtauth.ErrExpired)})
	require.NoError(t, err)
	c, err := auth.Inspect(t.Context(), authtest.GoodToken())
	require.ErrorIs(t, err, jwtauth.ErrUnavailable)
	require.Zero(t, c)

	auth = authtest.NewAuth(t, jwtauth.WithRevocations(authtest.CheckerFunc(func(context.Context, jwtauth.Claims) (bool, error) {
		return false, fmt.Errorf("asking: %w", jwtauth.ErrRevoked)
	})))
	c, err = auth.Inspect(t.Context(), authtest.GoodToken())
	require.ErrorIs(t, err, jwtauth.ErrUnavailable)
	require.Zero(t, c)
}

func TestCheck_IsPrivateWithoutAResponse(t *testing.T) {
	auth := authtest.NewAuth(t)
	check := func(r *http.Request) (claims jwtauth.Claims, err error) {
		mux := http.NewServeMux()
		mux.HandleFunc("/run/{container}/{recipe}", func(_ http.ResponseWriter, r *http.Request) {
			claims, err = auth.Check(r)
			require.Contains(t, r.URL.String()+r.Header.Get("Authorization"), "ey", "Check must not cut the token from the request")
		})
		mux.ServeHTTP(nil, r)
		return claims, err
	}
	claims, err := check(authtest.Request("GET", authtest.DemoPath, authtest.Bearer(authtest.GoodToken())))
	require.NoError(t, err)
	require.Equal(t, "the-jti", claims.ID)
	_, err = check(authtest.Request("GET", authtest.DemoPath+"?token="+authtest.GoodToken(), nil))
	require.NoError(t, err)
	_, err = check(authtest.Request("GET", "/run/other/notify", authtest.Bearer(authtest.GoodToken())))
	require.ErrorIs(t, err, jwtauth.ErrContainer)

	_, err = auth.Check(authtest.Request("GET", authtest.DemoPath, nil))
	require.ErrorIs(t, err, jwtauth.ErrNoToken)
	_, err = auth.Check(authtest.Request("CONNECT", authtest.DemoPath, authtest.Bearer(authtest.GoodToken())))
	require.ErrorIs(t, err, jwtauth.ErrForbidden)
}

// A stream can last longer than the key that signed its token. If that key was dropped, for
// example because it leaked, Recheck must return an error, so that the stream ends. Each
// case says which error, and runs with a token seen once and with a cached one.
func TestRecheck_OfAKeyThatIsGone(t *testing.T) {
	leaked, next := mustGet(keys.Generate("EdDSA")), mustGet(keys.Generate("EdDSA"))
	another := mustGet(keys.Generate("EdDSA"))
	const other = "https://idp.example.com"
	type change struct {
		source keys.Source
		issue  keys.Source // the key that signs the token; if nil, source signs
		change func(t *testing.T)
		issuer string
		want   error
	}
	for name, build := range map[string]func(t *testing.T) change{
		"a ring retires the key": func(t *testing.T) change {
			ring := mustGet(keys.NewRing(leaked, next))
			return change{ring, nil, func(t *testing.T) {
				require.NoError(t, ring.Rotate(next))
				require.NoError(t, ring.Retire(leaked.ID()))
			}, authtest.Issuer, jwtauth.ErrUnknownKey}
		},
		"a ring rotates, and keeps the key": func(t *testing.T) change {
			ring := mustGet(keys.NewRing(leaked, next))
			return change{ring, nil, func(t *testing.T) { require.NoError(t, ring.Rotate(next)) }, authtest.Issuer, nil}
		},
		"a ring gets one more key": func(t *testing.T) change {
			ring := mustGet(keys.NewRing(leaked))
			return change{ring, nil, func(t *testing.T) { require.NoError(t, ring.Add(next)) }, authtest.Issuer, nil}
		},
		"a JWK Set of an issuer drops the key": func(t *testing.T) change {
			remote, publish := published(t, leaked, next)
			return change{remote, leaked, func(t *testing.T) { publish(next) }, authtest.Issuer, jwtauth.ErrUnknownKey}
		},
		"a JWK Set of an issuer has another key under the id": func(t *testing.T) change {
			remote, publish := published(t, leaked)
			return change{remote, leaked, func(t *testing.T) { publish(another.WithID(leaked.ID())) }, authtest.Issuer, jwtauth.ErrSignature}
		},
		"a JWK Set of an issuer stays": func(t *testing.T) change {
			remote, publish := published(t, leaked)
			return change{remote, leaked, func(t *testing.T) { publish(leaked, next) }, authtest.Issuer, nil}
		},
		"the source cannot answer": func(t *testing.T) change {
			down := false
			return change{authtest.SourceFunc(func(ctx context.Context, kid string) (*keys.Set, error) {
				if down {
					return nil, errors.New("down")
				}
				return leaked.Keys(ctx, kid)
			}), nil, func(*testing.T) { down = true }, authtest.Issuer, jwtauth.ErrUnavailable}
		},
		"a trusted issuer's JWK Set drops the key": func(t *testing.T) change {
			remote, publish := published(t, leaked, next)
			return change{remote, leaked, func(t *testing.T) { publish(next) }, other, jwtauth.ErrUnknownKey}
		},
		"a trusted issuer's keys stay, and one's own go": func(t *testing.T) change {
			return change{leaked, nil, func(*testing.T) {}, other, nil}
		},
	} {
		for _, cached := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, cached: %v", name, cached), func(t *testing.T) {
				c := build(t)
				opts := []jwtauth.Option{jwtauth.WithIssuer(authtest.Issuer), jwtauth.WithAnyContainer()}
				own := c.source
				if c.issuer == other {
					ring := mustGet(keys.NewRing(next))
					own, opts = ring, append(opts, jwtauth.WithTrustedIssuer(other, c.source))
					c.change = func(change func(*testing.T)) func(*testing.T) {
						return func(t *testing.T) { change(t); require.NoError(t, ring.Rotate(another)) }
					}(c.change)
				}
				auth, err := jwtauth.New(own, opts...)
				require.NoError(t, err)
				issuing, err := jwtauth.New(orElse(c.issue, c.source), jwtauth.WithIssuer(c.issuer), jwtauth.WithAnyContainer())
				require.NoError(t, err)
				token := authtest.Issue(t, issuing, "")
				claims, err := auth.VerifyAnyContainer(t.Context(), token)
				require.NoError(t, err)
				if cached {
					claims, err = auth.VerifyAnyContainer(t.Context(), token)
					require.NoError(t, err)
				}
				require.NoError(t, auth.Recheck(t.Context(), claims))
				c.change(t)
				for range 2 {
					require.ErrorIs(t, auth.Recheck(t.Context(), claims), c.want)
				}
			})
		}
	}
}

func orElse(a, b keys.Source) keys.Source {
	if a != nil {
		return a
	}
	return b
}

// mustGet returns the value, and panics if there is an error.
func mustGet[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// published starts a server that publishes a JWK Set, and returns a Remote that fetches it.
// The function that it returns replaces the published keys, and waits until the Remote has
// fetched the new ones.
func published(t *testing.T, first ...keys.Key) (*keys.Remote, func(...keys.Key)) {
	var text atomic.Value
	set := func(all ...keys.Key) {
		w := httptest.NewRecorder()
		mustGet(keys.NewRing(all[0], all[1:]...)).JWKS().ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
		text.Store(w.Body.String())
	}
	set(first...)
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, text.Load().(string))
	}))
	t.Cleanup(server.Close)
	remote, err := keys.NewRemote(server.URL, keys.WithHTTPClient(server.Client()), keys.WithLogger(slog.New(slog.DiscardHandler)))
	require.NoError(t, err)
	return remote, func(all ...keys.Key) {
		before := mustGet(remote.Keys(t.Context(), ""))
		set(all...)
		for try := 0; mustGet(remote.Keys(t.Context(), fmt.Sprint("unknown ", try))) == before; try++ { // an unknown key ID makes the Remote fetch
			require.Less(t, try, 4)
		}
	}
}

// Claims that were not read from a token have no key to check.
func TestRecheck_OfClaimsOfNoToken(t *testing.T) {
	asked := false
	auth, err := jwtauth.New(authtest.SourceFunc(func(context.Context, string) (*keys.Set, error) {
		asked = true
		return nil, errors.New("down")
	}), authtest.AtNow())
	require.NoError(t, err)
	require.NoError(t, auth.Recheck(t.Context(), jwtauth.Claims{Subject: "alice", ExpiresAt: authtest.Now.Add(time.Hour)}))
	require.ErrorIs(t, auth.Recheck(t.Context(), jwtauth.Claims{Subject: "alice", ExpiresAt: authtest.Now}), jwtauth.ErrExpired)
	require.False(t, asked)
}

// Claims hold the token that they were read from. Programs print, log and compare claims,
// and the token must not show.
func TestClaims_HoldTheirTokenWhereNothingShowsIt(t *testing.T) {
	auth, token := authtest.NewAuth(t), authtest.GoodToken()
	first, err := auth.Verify(t.Context(), token, "demo")
	require.NoError(t, err)
	second, err := auth.Verify(t.Context(), token, "demo")
	require.NoError(t, err)
	require.Equal(t, first, second)
	again, err := authtest.NewAuth(t).Verify(t.Context(), token, "demo")
	require.NoError(t, err)
	require.Equal(t, first.Subject, again.Subject)
	holder := struct{ C jwtauth.Claims }{first}
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
		for _, v := range []any{first, &first, holder, &holder, []jwtauth.Claims{first}} {
			text := fmt.Sprintf(format, v)
			require.NotContains(t, text, token)
			require.NotContains(t, text, token[len(token)-20:], "the signature of the token")
		}
	}
	text, err := json.Marshal(first)
	require.NoError(t, err)
	require.NotContains(t, string(text), token[len(token)-20:])
}

func TestClaims_KeepNoRetiredKeyAlive(t *testing.T) {
	old := mustGet(keys.Generate("EdDSA"))
	ring := mustGet(keys.NewRing(old))
	auth, err := jwtauth.New(ring, jwtauth.WithAnyContainer())
	require.NoError(t, err)
	claims, err := auth.VerifyAnyContainer(t.Context(), authtest.Issue(t, auth, ""))
	require.NoError(t, err)
	set := weak.Make(mustGet(ring.Keys(t.Context(), "")))
	require.NoError(t, ring.Rotate(mustGet(keys.Generate("EdDSA"))))
	authtest.Issue(t, auth, "") // the Auth now keeps the header for the new key set, not the old one
	for try := 0; set.Value() != nil; try++ {
		require.Less(t, try, 100, "something holds the set")
		runtime.GC()
	}
	require.NoError(t, auth.Recheck(t.Context(), claims))
}

// odd is a checker. If part is a slice, a map or a function, comparing it with == panics.
type odd struct {
	jwtauth.RevocationChecker
	part any
}

func TestNew_TakesACheckerThatCannotBeCompared(t *testing.T) {
	revoked := authtest.CheckerFunc(func(context.Context, jwtauth.Claims) (bool, error) { return true, nil })
	list, err := revoke.New(revoke.NewMemory())
	require.NoError(t, err)
	require.NoError(t, list.RevokeContainer(t.Context(), "", "demo"))
	for name, part := range map[string]any{"a slice": []int{1}, "a map": map[string]int{}, "a function": func() {}, "a number": 1, "nothing": nil} {
		for kind, checker := range map[string]jwtauth.RevocationChecker{"a function": revoked, "a list": list} {
			t.Run(name+" beside "+kind, func(t *testing.T) {
				auth := authtest.NewAuth(t, jwtauth.WithRevocations(odd{checker, part}))
				_, err := auth.Verify(t.Context(), authtest.GoodToken(), "demo")
				require.ErrorIs(t, err, jwtauth.ErrRevoked)
			})
		}
	}
}

func TestIssue_TheStampIsNoClaimOfOnesOwn(t *testing.T) {
	for _, name := range []string{"iat_us", "IAT_US", "Iat_us"} {
		_, err := authtest.NewAuth(t).Issue("demo", jwtauth.Claim(name, authtest.Now.Add(time.Hour).UnixMicro()))
		require.ErrorContains(t, err, "reserved", name)
	}
}
