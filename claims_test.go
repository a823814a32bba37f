package jwtauth_test

import (
	"context"
	"errors"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth"
)

// verdictOf returns what auth says of a token of the container demo.
func verdictOf(t testing.TB, auth *jwtauth.Auth, header string, changes map[string]any) error {
	t.Helper()
	_, err := auth.Verify(t.Context(), sign(header, claimsJSON(changes)), "demo")
	return err
}

func TestTimeIsJudgedToTheSecond(t *testing.T) {
	at := func(d time.Duration) any { return float64(now.Add(d).UnixMilli()) / 1000 }
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
			require.ErrorIs(t, verdictOf(t, newAuth(t, jwtauth.WithLeeway(test.leeway)), header, test.changes), test.want)
		})
	}
}

func TestIssuerAndAudience(t *testing.T) {
	type options = []jwtauth.Option
	ours := options{jwtauth.WithIssuer(issuer), jwtauth.WithAudience("api", "admin")}
	for name, test := range map[string]struct {
		opts    options
		changes map[string]any
		want    error
	}{
		"ours":                                   {ours, map[string]any{"iss": issuer, "aud": "api"}, nil},
		"ours, one of several":                   {ours, map[string]any{"iss": issuer, "aud": []string{"x", "admin"}}, nil},
		"another issuer":                         {ours, map[string]any{"iss": issuer + "/", "aud": "api"}, jwtauth.ErrIssuer},
		"no issuer":                              {ours, map[string]any{"aud": "api"}, jwtauth.ErrIssuer},
		"another audience":                       {ours, map[string]any{"iss": issuer, "aud": "apis"}, jwtauth.ErrAudience},
		"no audience":                            {ours, map[string]any{"iss": issuer}, jwtauth.ErrAudience},
		"an empty list of audiences":             {ours, map[string]any{"iss": issuer, "aud": []string{}}, jwtauth.ErrAudience},
		"any issuer where none is configured":    {nil, map[string]any{"iss": "whoever"}, nil},
		"an audience where none is configured":   {nil, map[string]any{"aud": "api"}, jwtauth.ErrAudience},
		"an empty list where none is configured": {nil, map[string]any{"aud": []string{}}, jwtauth.ErrAudience},
	} {
		t.Run(name, func(t *testing.T) {
			require.ErrorIs(t, verdictOf(t, newAuth(t, test.opts...), header, test.changes), test.want)
		})
	}
}

func TestNoKindOfTokenPassesForAnother(t *testing.T) {
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
			auth := newAuth(t, test.opts...)
			require.ErrorIs(t, verdictOf(t, auth, test.header, nil), test.want)
			_, err := auth.Verify(t.Context(), mustIssue(t, auth, "demo"), "demo")
			require.NoError(t, err, "what is issued must be accepted")
		})
	}
}

func TestRevocation(t *testing.T) {
	answer := func(revoked bool, err error) jwtauth.Option {
		return jwtauth.WithRevocations(checkerFunc(func(_ context.Context, c jwtauth.Claims) (bool, error) {
			if c.ID != "the-jti" || c.Container != "demo" {
				return true, nil
			}
			return revoked, err
		}))
	}
	forever := map[string]any{"exp": now.Add(240*time.Hour + time.Second).Unix()}
	for name, test := range map[string]struct {
		opts    []jwtauth.Option
		changes map[string]any
		want    error
	}{
		"not revoked": {[]jwtauth.Option{answer(false, nil)}, nil, nil},
		"revoked":     {[]jwtauth.Option{answer(true, nil)}, nil, jwtauth.ErrRevoked},
		"not known":   {[]jwtauth.Option{answer(false, errors.New("down"))}, nil, jwtauth.ErrUnavailable},
		"not known, though the checker said revoked too": {[]jwtauth.Option{answer(true, errors.New("down"))}, nil, jwtauth.ErrUnavailable},
		"without iat, so that nobody knows its age":      {[]jwtauth.Option{answer(false, nil)}, map[string]any{"iat": nil}, jwtauth.ErrRevoked},
		"without iat, though any lifetime will do":       {[]jwtauth.Option{answer(false, nil), jwtauth.WithMaxLifetime(math.MaxInt64)}, map[string]any{"iat": nil}, jwtauth.ErrRevoked},
		"living longer than the list remembers":          {[]jwtauth.Option{answer(false, nil)}, forever, jwtauth.ErrRevoked},
		"living as long as the list remembers":           {[]jwtauth.Option{answer(false, nil), jwtauth.WithMaxLifetime(241 * time.Hour)}, forever, nil},
		"living long where nothing is revoked":           {nil, forever, nil},
	} {
		t.Run(name, func(t *testing.T) {
			require.ErrorIs(t, verdictOf(t, newAuth(t, test.opts...), header, test.changes), test.want)
		})
	}
}

func TestRevocationIsAskedOnlyAboutTokensThatAreOtherwiseGood(t *testing.T) {
	auth := newAuth(t, jwtauth.WithRevocations(checkerFunc(func(context.Context, jwtauth.Claims) (bool, error) {
		t.Error("asked")
		return false, nil
	})))
	for name, test := range badTokens() {
		if errors.Is(test.want, jwtauth.ErrContainer) {
			continue // the container is judged last
		}
		_, err := auth.Verify(t.Context(), test.token, "demo")
		require.ErrorIs(t, err, test.want, name)
	}
}

func TestDecodeOfClaimsFromNowhereIsAnError(t *testing.T) {
	var v map[string]any
	require.ErrorContains(t, jwtauth.Claims{Subject: "alice"}.Decode(&v), "not read from a token")
}

func TestClaimsOfOneCallerAreNotThoseOfAnother(t *testing.T) {
	auth := newAuth(t, jwtauth.WithAudience("api"))
	token := mustIssue(t, auth, "demo", jwtauth.Claim("list", []int{1, 2, 3}))
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

// jsonBytes keeps the very bytes that it was decoded from, as a careless
// UnmarshalJSON would.
type jsonBytes []byte

func (b *jsonBytes) UnmarshalJSON(text []byte) error {
	*b = text
	return nil
}

func TestWithTypes_IssuesTheFirstAndAcceptsAll(t *testing.T) {
	issuing := func(typ ...string) string { return mustIssue(t, newAuth(t, jwtauth.WithTypes(typ...)), "demo") }
	auth := newAuth(t, jwtauth.WithTypes("at+jwt", "JWT"))
	for name, test := range map[string]struct {
		token string
		want  error
	}{
		"its own":                    {mustIssue(t, auth, "demo"), nil},
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
	onlyFirst := newAuth(t, jwtauth.WithTypes("at+jwt"))
	_, err := onlyFirst.Verify(t.Context(), mustIssue(t, auth, "demo"), "demo")
	require.NoError(t, err, "the first one is issued")
}
