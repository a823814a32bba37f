package jwtauth_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/internal/authtest"
	"github.com/joinednode/jwtauth/keys"
)

// verdictOf signs a token with the given header, and with changes made to good claims. It
// returns the error of verifying the token for the container demo.
func verdictOf(t testing.TB, auth *jwtauth.Auth, header string, changes map[string]any) error {
	t.Helper()
	_, err := auth.Verify(t.Context(), authtest.Sign(header, authtest.ClaimsJSON(changes)), "demo")
	return err
}

func TestVerify_ChecksTimeToTheSecond(t *testing.T) {
	at := func(d time.Duration) any { return float64(authtest.Now.Add(d).UnixMilli()) / 1000 }
	for name, test := range map[string]struct {
		leeway  time.Duration
		changes map[string]any
		want    error
	}{
		"alive a moment before exp":                   {0, map[string]any{"exp": at(time.Millisecond)}, nil},
		"expired at exp, not after it":                {0, map[string]any{"exp": at(0)}, jwtauth.ErrExpired},
		"expired after exp":                           {0, map[string]any{"exp": at(-time.Hour)}, jwtauth.ErrExpired},
		"expired since 1970":                          {0, map[string]any{"exp": 0}, jwtauth.ErrExpired},
		"alive within the leeway":                     {time.Minute, map[string]any{"exp": at(-time.Minute + time.Millisecond)}, nil},
		"expired at the end of the leeway":            {time.Minute, map[string]any{"exp": at(-time.Minute)}, jwtauth.ErrExpired},
		"valid from nbf on":                           {0, map[string]any{"nbf": at(0)}, nil},
		"not valid a moment before nbf":               {0, map[string]any{"nbf": at(time.Millisecond)}, jwtauth.ErrNotYetValid},
		"valid within the leeway before nbf":          {time.Minute, map[string]any{"nbf": at(time.Minute)}, nil},
		"not valid outside the leeway before nbf":     {time.Minute, map[string]any{"nbf": at(time.Minute + time.Millisecond)}, jwtauth.ErrNotYetValid},
		"iat ahead by what clocks differ":             {0, map[string]any{"iat": at(5 * time.Second)}, nil},
		"iat ahead by more than clocks differ":        {0, map[string]any{"iat": at(5*time.Second + time.Millisecond)}, jwtauth.ErrNotYetValid},
		"iat ahead within a leeway over five seconds": {time.Minute, map[string]any{"iat": at(time.Minute)}, nil},
		"iat ahead outside such a leeway":             {time.Minute, map[string]any{"iat": at(time.Minute + time.Millisecond)}, jwtauth.ErrNotYetValid},
		"iat ahead with a leeway under five seconds":  {time.Second, map[string]any{"iat": at(5 * time.Second)}, nil},
		"no iat at all":                               {0, map[string]any{"iat": nil}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			require.ErrorIs(t, verdictOf(t, authtest.NewAuth(t, jwtauth.WithLeeway(test.leeway)), authtest.Header, test.changes), test.want)
		})
	}
}

func TestVerify_ChecksIssuerAndAudience(t *testing.T) {
	type options = []jwtauth.Option
	ours := options{jwtauth.WithIssuer(authtest.Issuer), jwtauth.WithAudience("api", "admin")}
	for name, test := range map[string]struct {
		opts    options
		changes map[string]any
		want    error
	}{
		"ours":                                   {ours, map[string]any{"iss": authtest.Issuer, "aud": "api"}, nil},
		"ours, one of several":                   {ours, map[string]any{"iss": authtest.Issuer, "aud": []string{"x", "admin"}}, nil},
		"another issuer":                         {ours, map[string]any{"iss": authtest.Issuer + "/", "aud": "api"}, jwtauth.ErrIssuer},
		"no issuer":                              {ours, map[string]any{"aud": "api"}, jwtauth.ErrIssuer},
		"another audience":                       {ours, map[string]any{"iss": authtest.Issuer, "aud": "apis"}, jwtauth.ErrAudience},
		"no audience":                            {ours, map[string]any{"iss": authtest.Issuer}, jwtauth.ErrAudience},
		"an empty list of audiences":             {ours, map[string]any{"iss": authtest.Issuer, "aud": []string{}}, jwtauth.ErrAudience},
		"any issuer where none is configured":    {nil, map[string]any{"iss": "whoever"}, nil},
		"an audience where none is configured":   {nil, map[string]any{"aud": "api"}, jwtauth.ErrAudience},
		"an empty list where none is configured": {nil, map[string]any{"aud": []string{}}, jwtauth.ErrAudience},
	} {
		t.Run(name, func(t *testing.T) {
			require.ErrorIs(t, verdictOf(t, authtest.NewAuth(t, test.opts...), authtest.Header, test.changes), test.want)
		})
	}
}

func TestWithTypes_NoKindOfTokenPassesForAnother(t *testing.T) {
	type options = []jwtauth.Option
	own := options{jwtauth.WithTypes("x+jwt")}
	exact := options{jwtauth.WithTypes("JWT")}
	for name, test := range map[string]struct {
		opts   options
		header string
		want   error
	}{
		"JWT":                                 {nil, `{"alg":"HS256","typ":"JWT"}`, nil},
		"no typ":                              {nil, `{"alg":"HS256"}`, nil},
		"an empty typ":                        {nil, `{"alg":"HS256","typ":""}`, jwtauth.ErrType},
		"JWT in lower case":                   {nil, `{"alg":"HS256","typ":"jwt"}`, jwtauth.ErrType},
		"another kind":                        {nil, `{"alg":"HS256","typ":"x+jwt"}`, jwtauth.ErrType},
		"the kind configured":                 {own, `{"alg":"HS256","typ":"x+jwt"}`, nil},
		"the kind configured, as a long name": {own, `{"alg":"HS256","typ":"application/x+jwt"}`, jwtauth.ErrType},
		"no typ where one is configured":      {own, `{"alg":"HS256"}`, jwtauth.ErrType},
		"JWT where another is configured":     {own, `{"alg":"HS256","typ":"JWT"}`, jwtauth.ErrType},
		"no typ where JWT is configured":      {exact, `{"alg":"HS256"}`, jwtauth.ErrType},
	} {
		t.Run(name, func(t *testing.T) {
			auth := authtest.NewAuth(t, test.opts...)
			require.ErrorIs(t, verdictOf(t, auth, test.header, nil), test.want)
			_, err := auth.Verify(t.Context(), authtest.Issue(t, auth, "demo"), "demo")
			require.NoError(t, err, "an Auth must accept the tokens that it issues")
		})
	}
}

func TestWithRevocations_AsksTheChecker(t *testing.T) {
	answer := func(revoked bool, err error) jwtauth.Option {
		return jwtauth.WithRevocations(authtest.CheckerFunc(func(_ context.Context, c jwtauth.Claims) (bool, error) {
			if c.ID != "the-jti" || c.Container != "demo" {
				return true, nil
			}
			return revoked, err
		}))
	}
	forever := map[string]any{"exp": authtest.Now.Add(240*time.Hour + time.Second).Unix()}
	for name, test := range map[string]struct {
		opts    []jwtauth.Option
		changes map[string]any
		want    error
	}{
		"not revoked": {[]jwtauth.Option{answer(false, nil)}, nil, nil},
		"revoked":     {[]jwtauth.Option{answer(true, nil)}, nil, jwtauth.ErrRevoked},
		"not known":   {[]jwtauth.Option{answer(false, errors.New("down"))}, nil, jwtauth.ErrUnavailable},
		"not known, though the checker said revoked too": {[]jwtauth.Option{answer(true, errors.New("down"))}, nil, jwtauth.ErrUnavailable},
		"without iat, so its age is unknown":             {[]jwtauth.Option{answer(false, nil)}, map[string]any{"iat": nil}, jwtauth.ErrRevoked},
		"without iat, though any lifetime will do":       {[]jwtauth.Option{answer(false, nil), jwtauth.WithMaxLifetime(math.MaxInt64)}, map[string]any{"iat": nil}, jwtauth.ErrRevoked},
		"living longer than the list remembers":          {[]jwtauth.Option{answer(false, nil)}, forever, jwtauth.ErrRevoked},
		"living as long as the list remembers":           {[]jwtauth.Option{answer(false, nil), jwtauth.WithMaxLifetime(241 * time.Hour)}, forever, nil},
		"living long where nothing is revoked":           {nil, forever, nil},
	} {
		t.Run(name, func(t *testing.T) {
			require.ErrorIs(t, verdictOf(t, authtest.NewAuth(t, test.opts...), authtest.Header, test.changes), test.want)
		})
	}
}

func TestWithRevocations_AsksOnlyAboutTokensThatAreOtherwiseGood(t *testing.T) {
	auth := authtest.NewAuth(t, jwtauth.WithRevocations(authtest.CheckerFunc(func(context.Context, jwtauth.Claims) (bool, error) {
		t.Error("asked")
		return false, nil
	})))
	for name, test := range authtest.BadTokens() {
		if errors.Is(test.Want, jwtauth.ErrContainer) {
			continue // the container is checked last
		}
		_, err := auth.Verify(t.Context(), test.Token, "demo")
		require.ErrorIs(t, err, test.Want, name)
	}
}

func TestDecode_OfClaimsFromNowhereIsAnError(t *testing.T) {
	var v map[string]any
	require.ErrorContains(t, jwtauth.Claims{Subject: "alice"}.Decode(&v), "not read from a token")
}

func TestClaims_OfOneCallerAreNotThoseOfAnother(t *testing.T) {
	auth := authtest.NewAuth(t, jwtauth.WithAudience("api"))
	token := authtest.Issue(t, auth, "demo", jwtauth.Claim("list", []int{1, 2, 3}))
	mine, err := auth.Verify(t.Context(), token, "demo")
	require.NoError(t, err)
	mine.Audience[0] = "changed"
	var list struct{ List jsonBytes }
	require.NoError(t, mine.Decode(&list))
	for i := range list.List {
		list.List[i] = 'x'
	}

	yours, err := auth.Verify(t.Context(), token, "demo")
	require.NoError(t, err)
	require.Equal(t, []string{"api"}, yours.Audience)
	for _, c := range []jwtauth.Claims{mine, yours} {
		var again struct{ List []int }
		require.NoError(t, c.Decode(&again))
		require.Equal(t, []int{1, 2, 3}, again.List)
	}
}

// jsonBytes is a json.Unmarshaler that keeps the bytes it is given instead of copying
// them.
type jsonBytes []byte

func (b *jsonBytes) UnmarshalJSON(text []byte) error {
	*b = text
	return nil
}

func TestWithTypes_IssuesTheFirstAndAcceptsAll(t *testing.T) {
	issuing := func(typ ...string) string {
		return authtest.Issue(t, authtest.NewAuth(t, jwtauth.WithTypes(typ...)), "demo")
	}
	auth := authtest.NewAuth(t, jwtauth.WithTypes("at+jwt", "JWT"))
	for name, test := range map[string]struct {
		token string
		want  error
	}{
		"its own":                    {authtest.Issue(t, auth, "demo"), nil},
		"one of the first type":      {issuing("at+jwt"), nil},
		"one of the second type":     {issuing("JWT"), nil},
		"one of both, of the first":  {issuing("JWT", "at+jwt"), nil},
		"one of another type":        {issuing("logout+jwt"), jwtauth.ErrType},
		"one whose type is both":     {issuing("at+jwt or JWT"), jwtauth.ErrType},
		"one that differs by case":   {issuing("AT+JWT"), jwtauth.ErrType},
		"one of a type that is half": {issuing("at"), jwtauth.ErrType},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := auth.Verify(t.Context(), test.token, "demo")
			require.ErrorIs(t, err, test.want)
		})
	}
	onlyFirst := authtest.NewAuth(t, jwtauth.WithTypes("at+jwt"))
	_, err := onlyFirst.Verify(t.Context(), authtest.Issue(t, auth, "demo"), "demo")
	require.NoError(t, err, "Issue must use the first type")
}

// remember verifies a token for the container demo twice, and checks that it is cached.
func remember(t testing.TB, auth *jwtauth.Auth, token string) {
	t.Helper()
	_, err := auth.Verify(t.Context(), token, "demo")
	require.NoError(t, err)
	require.True(t, auth.Cached(token))
	_, err = auth.Verify(t.Context(), token, "demo")
	require.NoError(t, err)
}

// A cached token is still checked for everything that can change before it expires.
func TestCache_ATokenIsCheckedAnewBy(t *testing.T) {
	ctx := context.Background()
	outage := errors.New("outage")
	// present checks the token with Verify and with a private route. Both must accept the
	// token if want is nil, and Verify must otherwise return want.
	present := func(t *testing.T, auth *jwtauth.Auth, token, container string, want error) {
		t.Helper()
		_, err := auth.Verify(ctx, token, container)
		require.ErrorIs(t, err, want)
		_, s := authtest.Serve(auth.Private, authtest.Request("GET", "/run/"+container+"/notify", authtest.Bearer(token)))
		require.Equal(t, want == nil, s.Ran)
	}

	t.Run("time: it expires", func(t *testing.T) {
		at := authtest.Now
		auth := authtest.NewAuth(t, jwtauth.WithClock(func() time.Time { return at }))
		token := authtest.Issue(t, auth, "demo", jwtauth.TTL(time.Minute))
		remember(t, auth, token)
		at = authtest.Now.Add(time.Minute - 1)
		present(t, auth, token, "demo", nil)
		at = authtest.Now.Add(time.Minute)
		present(t, auth, token, "demo", jwtauth.ErrExpired)
		require.False(t, auth.Cached(token), "an expired token must leave the cache")
		present(t, auth, token, "demo", jwtauth.ErrExpired)
	})
	t.Run("time: the clock is set back to before its nbf and its iat", func(t *testing.T) {
		at := authtest.Now
		auth := authtest.NewAuth(t, jwtauth.WithClock(func() time.Time { return at }))
		for _, token := range []string{
			authtest.Sign(authtest.Header, authtest.ClaimsJSON(map[string]any{"nbf": authtest.Now.Unix(), "iat": nil})),
			authtest.Sign(authtest.Header, authtest.ClaimsJSON(nil)),
		} {
			at = authtest.Now
			remember(t, auth, token)
			at = authtest.Now.Add(-time.Minute)
			present(t, auth, token, "demo", jwtauth.ErrNotYetValid)
			at = authtest.Now
			present(t, auth, token, "demo", nil)
		}
	})
	t.Run("revocation", func(t *testing.T) {
		var revoked bool
		var err error
		auth := authtest.NewAuth(t, jwtauth.WithRevocations(authtest.CheckerFunc(func(context.Context, jwtauth.Claims) (bool, error) { return revoked, err })))
		token := authtest.Issue(t, auth, "demo")
		remember(t, auth, token)
		revoked = true
		present(t, auth, token, "demo", jwtauth.ErrRevoked)
		revoked, err = false, outage
		present(t, auth, token, "demo", jwtauth.ErrUnavailable)
		err = nil
		present(t, auth, token, "demo", nil)
	})
	t.Run("container", func(t *testing.T) {
		auth := authtest.NewAuth(t)
		token := authtest.Issue(t, auth, "demo")
		remember(t, auth, token)
		present(t, auth, token, "other", jwtauth.ErrContainer)
		present(t, auth, token, "Demo", jwtauth.ErrContainer)
		present(t, auth, token, "demo", nil)
	})
	t.Run("its key, which is retired", func(t *testing.T) {
		key := keys.HS256(authtest.Secret).WithID("first")
		ring, err := keys.NewRing(key)
		require.NoError(t, err)
		auth, err := jwtauth.New(ring, authtest.AtNow())
		require.NoError(t, err)
		token := authtest.Issue(t, auth, "demo")
		remember(t, auth, token)
		require.NoError(t, ring.Rotate(keys.HS256([]byte(strings.Repeat("another!", 4))).WithID("second")))
		present(t, auth, token, "demo", nil)
		remember(t, auth, authtest.Issue(t, auth, "demo"))
		require.NoError(t, ring.Retire("first"))
		present(t, auth, token, "demo", jwtauth.ErrUnknownKey)
		require.NoError(t, ring.Add(key))
		present(t, auth, token, "demo", nil)
	})
	t.Run("its key, which another one replaces under the same id", func(t *testing.T) {
		key := keys.HS256(authtest.Secret).WithID("the-id")
		auth, err := jwtauth.New(authtest.SourceFunc(func(ctx context.Context, kid string) (*keys.Set, error) { return key.Keys(ctx, kid) }), authtest.AtNow())
		require.NoError(t, err)
		token := authtest.Issue(t, auth, "demo")
		remember(t, auth, token)
		key = keys.HS256([]byte(strings.Repeat("another!", 4))).WithID("the-id")
		present(t, auth, token, "demo", jwtauth.ErrSignature)
	})
	t.Run("the source of keys, which is out", func(t *testing.T) {
		key, asked := keys.HS256(authtest.Secret).WithID("the-id"), []string(nil)
		var err error
		auth, newErr := jwtauth.New(authtest.SourceFunc(func(ctx context.Context, kid string) (*keys.Set, error) {
			asked = append(asked, kid)
			set, _ := key.Keys(ctx, kid)
			return set, err
		}), authtest.AtNow())
		require.NoError(t, newErr)
		token := authtest.Issue(t, auth, "demo")
		remember(t, auth, token)
		asked = nil
		present(t, auth, token, "demo", nil)
		require.Equal(t, []string{"the-id", "the-id"}, asked, "each of the two checks must ask once, for the key ID of the token")
		err = outage
		present(t, auth, token, "demo", jwtauth.ErrUnavailable)
		err = nil
		present(t, auth, token, "demo", nil)
	})
	t.Run("the source of keys, which is asked once whatever it says", func(t *testing.T) {
		key, asked := keys.HS256(authtest.Secret), 0
		var err error
		auth, newErr := jwtauth.New(authtest.SourceFunc(func(ctx context.Context, kid string) (*keys.Set, error) {
			asked++
			set, _ := key.Keys(ctx, kid)
			return set, err
		}), authtest.AtNow())
		require.NoError(t, newErr)
		token := authtest.Issue(t, auth, "demo")
		ask := func(want error) {
			t.Helper()
			asked = 0
			_, err := auth.Verify(ctx, token, "demo")
			require.ErrorIs(t, err, want)
			require.Equal(t, 1, asked)
		}
		remember(t, auth, token)
		err = outage
		ask(jwtauth.ErrUnavailable)
		err, key = nil, keys.HS256(authtest.Secret)
		ask(nil)
		key = keys.HS256([]byte(strings.Repeat("another!", 4)))
		ask(jwtauth.ErrSignature)
		require.False(t, auth.Cached(token), "a token of a replaced key must leave the cache")
	})
	t.Run("its text, byte for byte", func(t *testing.T) {
		auth := authtest.NewAuth(t)
		token := authtest.Issue(t, auth, "demo")
		remember(t, auth, token)
		for i := range token {
			other := []byte(token)
			if other[i]++; token[i] == 'z' {
				other[i] = 'a'
			}
			_, err := auth.Verify(ctx, string(other), "demo")
			require.Error(t, err, "a change of byte %d", i)
		}
		for _, other := range []string{token[:len(token)-1], token + "A", token + "=", " " + token, token + "." + token} {
			_, err := auth.Verify(ctx, other, "demo")
			require.Error(t, err)
		}
	})
}

func TestCache_HoldsOnlyAcceptedTokens(t *testing.T) {
	auth := authtest.NewAuth(t, jwtauth.WithRevocations(authtest.CheckerFunc(func(_ context.Context, c jwtauth.Claims) (bool, error) {
		return c.ID == "revoked", nil
	})))
	rejected := authtest.BadTokens()
	rejected["revoked"] = authtest.BadToken{Token: authtest.Sign(authtest.Header, authtest.ClaimsJSON(map[string]any{"jti": "revoked"})), Want: jwtauth.ErrRevoked}
	for name, bad := range rejected {
		t.Run(name, func(t *testing.T) {
			for range 3 {
				_, err := auth.Verify(t.Context(), bad.Token, "demo")
				require.ErrorIs(t, err, bad.Want)
			}
			// A token of another container is rejected only for this request, so it is
			// cached.
			require.Equal(t, bad.Want == jwtauth.ErrContainer, auth.Cached(bad.Token))
		})
	}
	require.False(t, authtest.NewAuth(t).Cached(authtest.GoodToken()))
}

func TestWithCache_OfNoneCachesNothing(t *testing.T) {
	auth := authtest.NewAuth(t, jwtauth.WithCache(0))
	for range 2 {
		_, err := auth.Verify(t.Context(), authtest.GoodToken(), "demo")
		require.NoError(t, err)
	}
	require.False(t, auth.Cached(authtest.GoodToken()))
}

func TestWithCache_RefusesWhatCannotBe(t *testing.T) {
	for _, n := range []int{-1, 1<<24 + 1} {
		_, err := jwtauth.New(keys.HS256(authtest.Secret), jwtauth.WithCache(n))
		require.ErrorContains(t, err, fmt.Sprintf("WithCache(%d): it must lie between 0, which turns it off, and 16777216", n))
	}
}

func TestCache_WhatOneRequestDoesToItsClaimsIsNotSeenByAnother(t *testing.T) {
	spoil := func(c jwtauth.Claims) { c.Audience[0] = "spoilt" }
	auth := authtest.NewAuth(t, jwtauth.WithAudience("api"), jwtauth.WithRevocations(authtest.CheckerFunc(func(_ context.Context, c jwtauth.Claims) (bool, error) {
		require.Equal(t, "api", c.Audience[0])
		spoil(c)
		return false, nil
	})))
	token := authtest.Issue(t, auth, "demo")
	for range 3 {
		c, err := auth.Verify(t.Context(), token, "demo")
		require.NoError(t, err)
		require.Equal(t, []string{"api"}, c.Audience)
		spoil(c)
		_, s := authtest.Serve(auth.Private, authtest.Request("GET", authtest.DemoPath, authtest.Bearer(token)))
		require.Equal(t, []string{"api"}, s.Claims.Audience)
		spoil(s.Claims)
	}
	c := jwtauth.Claims{Audience: []string{"api"}}
	ctx := jwtauth.NewContext(t.Context(), c)
	spoil(c)
	c, _ = jwtauth.FromContext(ctx)
	require.Equal(t, []string{"api"}, c.Audience)
}

// heap returns the bytes in use on the heap.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// A client that can get tokens must not be able to fill the memory: neither with many or
// large tokens, nor with claims that grow when decoded, nor with long header fields.
func TestCache_IsBoundedUnderAttack(t *testing.T) {
	const entries = 500
	for name, private := range map[string]func(i int) (claims map[string]any){
		"typical tokens":  func(int) map[string]any { return map[string]any{"iss": authtest.Issuer, "sub": "alice"} },
		"large tokens":    func(int) map[string]any { return map[string]any{"sub": strings.Repeat("a", 5000)} },
		"many audiences":  func(int) map[string]any { return map[string]any{"aud": append(make([]string, 1500), "api")} },
		"escaped strings": func(int) map[string]any { return map[string]any{"sub": "<" + strings.Repeat("a", 5000)} },
		"long key ids":    func(int) map[string]any { return map[string]any{} },
		"other headers":   func(int) map[string]any { return map[string]any{} },
	} {
		t.Run(name, func(t *testing.T) {
			opts := []jwtauth.Option{jwtauth.WithCache(entries)}
			if name == "many audiences" {
				opts = append(opts, jwtauth.WithAudience("api"))
			}
			auth := authtest.NewAuth(t, opts...)
			header := authtest.Header
			switch name {
			case "long key ids":
				header = `{"alg":"HS256","kid":"` + strings.Repeat("k", 3000) + `"}`
			case "other headers":
				header = `{"alg":"HS256","kid":"k","other":"` + strings.Repeat("o", 3000) + `"}`
			}
			before := heap()
			var last string
			for i := range 5 * entries {
				claims := private(i)
				claims["jti"] = fmt.Sprint(i)
				// In a server, all header fields of a request are parts of one string. The
				// cache must not keep that string alive.
				field := strings.Repeat("x", 20<<10) + authtest.Sign(header, authtest.ClaimsJSON(claims))
				last = field[20<<10:]
				_, err := auth.Verify(t.Context(), last, "demo")
				require.NoError(t, err)
			}
			require.True(t, auth.Cached(last))
			require.Less(t, heap()-before, int64(entries<<10)*5/4)
			runtime.KeepAlive(auth)
		})
	}
}

func TestCache_ARequestAllocatesLittle(t *testing.T) {
	auth := authtest.NewAuth(t)
	handler := auth.Private(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	r := authtest.Request("GET", authtest.DemoPath, authtest.Bearer(authtest.Issue(t, auth, "demo")))
	r.SetPathValue("container", "demo")
	w := discard{}
	require.LessOrEqual(t, testing.AllocsPerRun(100, func() { handler.ServeHTTP(w, r) }), 3.0)
}

// discard is a ResponseWriter that discards the status and the body.
type discard http.Header

func (d discard) Header() http.Header       { return http.Header(d) }
func (discard) Write(p []byte) (int, error) { return len(p), nil }
func (discard) WriteHeader(int)             {}

// Many goroutines verify the same tokens while one of two keys is added and retired again
// and again. Tokens of that key must be rejected whenever it is retired, and tokens of the
// other key must always be accepted.
func TestCache_UnderLoad(t *testing.T) {
	stays, goes := keys.HS256(authtest.Secret).WithID("stays"), keys.HS256([]byte(strings.Repeat("another!", 4))).WithID("goes")
	ring, err := keys.NewRing(stays)
	require.NoError(t, err)
	auth, err := jwtauth.New(ring, authtest.AtNow(), jwtauth.WithCache(64))
	require.NoError(t, err)
	byGoing, err := jwtauth.New(goes, authtest.AtNow())
	require.NoError(t, err)
	var good, bad []string
	for range 32 {
		good, bad = append(good, authtest.Issue(t, auth, "demo")), append(bad, authtest.Issue(t, byGoing, "demo"))
	}
	var out atomic.Bool // whether the key "goes" is retired; it changes only while gate is locked
	out.Store(true)
	done, ctx := make(chan struct{}), context.Background()
	var group sync.WaitGroup
	var gate sync.RWMutex // a worker holds its read lock while it relies on out
	for worker := range 8 {
		group.Go(func() {
			for i := worker; ; i++ {
				select {
				case <-done:
					return
				default:
				}
				if _, err := auth.Verify(ctx, good[i%len(good)], "demo"); err != nil {
					t.Error("a good token was rejected:", err)
					return
				}
				gate.RLock()
				_, err := auth.Verify(ctx, bad[i%len(bad)], "demo")
				if (err == nil) == out.Load() {
					t.Error("the key is retired:", out.Load(), "but Verify returned the error", err)
				}
				gate.RUnlock()
			}
		})
	}
	for range 300 {
		gate.Lock()
		require.NoError(t, ring.Add(goes))
		out.Store(false)
		gate.Unlock()
		runtime.Gosched()
		gate.Lock()
		require.NoError(t, ring.Retire("goes"))
		out.Store(true)
		gate.Unlock()
	}
	close(done)
	group.Wait()
}

// Even if a source returns a new set each time, the cache must not fill the memory with old
// sets, or keep retired secrets alive.
func TestCache_KeepsNoSetOfKeysForItsTokens(t *testing.T) {
	const entries = 500
	var others []keys.Key
	for i := range 20 {
		others = append(others, keys.HS256(authtest.Secret).WithID(fmt.Sprint(i)))
	}
	auth, err := jwtauth.New(authtest.SourceFunc(func(ctx context.Context, kid string) (*keys.Set, error) {
		ring, err := keys.NewRing(keys.HS256(authtest.Secret), others...)
		if err != nil {
			return nil, err
		}
		return ring.Keys(ctx, kid)
	}), authtest.AtNow(), jwtauth.WithCache(entries))
	require.NoError(t, err)
	before := heap()
	for range entries {
		_, err := auth.Verify(t.Context(), authtest.Issue(t, auth, "demo"), "demo")
		require.NoError(t, err)
	}
	require.Less(t, heap()-before, int64(entries<<10)*5/4)
	runtime.KeepAlive(auth)
}

// An Auth keeps the parsed header of the last token that it accepted. A header of the same
// length, or with the same beginning, must not be mistaken for the kept one.
func TestVerify_AHeaderThatIsKnownIsKnownToTheLastByte(t *testing.T) {
	known := `{"alg":"HS256","kid":"one","typ":"JWT"}`
	for name, other := range map[string]string{
		"another type":         `{"alg":"HS256","kid":"one","typ":"XXX"}`,
		"another key id":       `{"alg":"HS256","kid":"two","typ":"JWT"}`,
		"another algorithm":    `{"alg":"HS384","kid":"one","typ":"JWT"}`,
		"a critical extension": `{"alg":"HS256","crit":[1],"typ":"JWT"}`,
		"one more member":      `{"alg":"HS256","kid":"one","typ":"JWT","x":1}`,
		"the known one twice":  known + known,
	} {
		t.Run(name, func(t *testing.T) {
			key := keys.HS256(authtest.Secret).WithID("one")
			fresh, err := jwtauth.New(key, authtest.AtNow())
			require.NoError(t, err)
			used, err := jwtauth.New(key, authtest.AtNow())
			require.NoError(t, err)
			_, err = used.Verify(t.Context(), authtest.Sign(known, authtest.ClaimsJSON(nil)), "demo")
			require.NoError(t, err)
			_, want := fresh.Verify(t.Context(), authtest.Sign(other, authtest.ClaimsJSON(nil)), "demo")
			_, got := used.Verify(t.Context(), authtest.Sign(other, authtest.ClaimsJSON(nil)), "demo")
			if name != "one more member" {
				require.Error(t, want)
			}
			require.Equal(t, want, got)
		})
	}
}

// FuzzSigned signs any header and payload. A token is accepted only if the standard
// library reads the same values from it.
func FuzzSigned(f *testing.F) {
	f.Add(authtest.Header, authtest.ClaimsJSON(nil))
	f.Add(`{"alg":"HS256"}`, authtest.ClaimsJSON(map[string]any{"aud": []string{"api"}, "nbf": 1, "x": map[string]any{"y": []any{nil}}}))
	f.Add(`{"alg":"HS256","alg":"none"}`, `{"container":"demo","exp":1e9999}`)
	auth := authtest.NewAuth(f, jwtauth.WithAudience("api"))
	f.Fuzz(func(t *testing.T, header, payload string) {
		claims, err := auth.Verify(t.Context(), authtest.Sign(header, payload), "demo")
		if err != nil {
			require.Zero(t, claims)
			return
		}
		var h struct{ Alg, Typ string }
		require.NoError(t, json.Unmarshal([]byte(header), &h))
		require.Equal(t, "HS256", h.Alg)
		require.Contains(t, []string{"", "JWT"}, h.Typ)
		var c struct {
			Container string
			Exp       float64
			Nbf, Iat  *float64
			Jti, Sub  string
		}
		require.NoError(t, json.Unmarshal([]byte(payload), &c))
		require.Equal(t, "demo", c.Container)
		require.Greater(t, c.Exp, float64(authtest.Now.Unix()))
		require.True(t, c.Nbf == nil || *c.Nbf <= float64(authtest.Now.Unix()))
		require.True(t, c.Iat == nil || *c.Iat <= float64(authtest.Now.Unix()+5))
		require.Equal(t, claims.ID, c.Jti)
		require.Equal(t, claims.Subject, c.Sub)
		require.Contains(t, claims.Audience, "api")
		var all map[string]any
		require.NoError(t, claims.Decode(&all))
	})
}
