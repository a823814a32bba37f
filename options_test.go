package jwtauth_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/internal/authtest"
	"github.com/joinednode/jwtauth/keys"
	"github.com/joinednode/jwtauth/revoke"
)

// The tests trust two issuers besides their own: provider, which signs with EdDSA, and
// elder, which signs with HS256, as the tests' own issuer does. All three keys have the
// same kid.
const (
	provider = "https://id.example.com"
	elder    = "https://old.example.com"

	hsHeader = `{"alg":"HS256","kid":"the-kid","typ":"JWT"}`
	edHeader = `{"alg":"EdDSA","kid":"the-kid","typ":"JWT"}`
)

var (
	providerKey = ed25519.NewKeyFromSeed(bytes.Repeat([]byte("p"), 32))
	providerPub = providerKey.Public().(ed25519.PublicKey)
	elderSecret = []byte(strings.Repeat("another!", 4))

	ownSource      = keys.HS256(authtest.Secret).WithID("the-kid")
	providerSource = keys.Verifier(providerPub).WithID("the-kid")
	elderSource    = keys.HS256(elderSecret).WithID("the-kid")
)

// trusting returns an Auth that accepts tokens of all three issuers.
func trusting(t testing.TB, opts ...jwtauth.Option) *jwtauth.Auth {
	t.Helper()
	return trustingKeys(t, ownSource, providerSource, elderSource, opts...)
}

func trustingKeys(t testing.TB, own, provided, old keys.Source, opts ...jwtauth.Option) *jwtauth.Auth {
	t.Helper()
	auth, err := jwtauth.New(own, append([]jwtauth.Option{
		authtest.AtNow(), jwtauth.WithTrustedIssuer(provider, provided), jwtauth.WithIssuer(authtest.Issuer), jwtauth.WithTrustedIssuer(elder, old),
	}, opts...)...)
	require.NoError(t, err)
	return auth
}

func ofIssuer(iss any) string { return authtest.ClaimsJSON(map[string]any{"iss": iss}) }

func byOwn(payload string) string   { return authtest.Sign(hsHeader, payload) }
func byElder(payload string) string { return authtest.SignWith(elderSecret, hsHeader, payload) }
func byProvider(payload string) string {
	signed := authtest.B64(edHeader) + "." + authtest.B64(payload)
	return signed + "." + authtest.B64(string(ed25519.Sign(providerKey, []byte(signed))))
}

// notAuthentic returns tokens that an Auth with several issuers must reject without
// returning their claims. The name of each says what is wrong with the token.
func notAuthentic(t testing.TB) map[string]struct {
	token string
	want  error
} {
	t.Helper()
	type bad = struct {
		token string
		want  error
	}
	der, err := x509.MarshalPKIXPublicKey(providerPub)
	require.NoError(t, err)
	inPEM := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	twice := func(first, name, second string) string {
		return strings.Replace(ofIssuer(first), "{", fmt.Sprintf(`{%s:%q,`, name, second), 1)
	}
	return map[string]bad{
		"our key for the provider":        {byOwn(ofIssuer(provider)), jwtauth.ErrUnknownKey},
		"our key for the elder":           {byOwn(ofIssuer(elder)), jwtauth.ErrSignature},
		"the elder's key for us":          {byElder(ofIssuer(authtest.Issuer)), jwtauth.ErrSignature},
		"the elder's key for a provider":  {byElder(ofIssuer(provider)), jwtauth.ErrUnknownKey},
		"the provider's key for us":       {byProvider(ofIssuer(authtest.Issuer)), jwtauth.ErrUnknownKey},
		"the provider's key for the old":  {byProvider(ofIssuer(elder)), jwtauth.ErrUnknownKey},
		"the elder's iss made ours":       {authtest.Splice(byElder(ofIssuer(elder)), byOwn(ofIssuer(authtest.Issuer))), jwtauth.ErrSignature},
		"our iss made the elder's":        {authtest.Splice(byOwn(ofIssuer(authtest.Issuer)), byElder(ofIssuer(elder))), jwtauth.ErrSignature},
		"our iss made the provider's":     {authtest.Splice(byOwn(ofIssuer(authtest.Issuer)), byProvider(ofIssuer(provider))), jwtauth.ErrUnknownKey},
		"one provider's claims changed":   {authtest.Splice(byProvider(ofIssuer(provider)), byProvider(authtest.ClaimsJSON(map[string]any{"iss": provider, "sub": "root"}))), jwtauth.ErrSignature},
		"a public key as a secret, ours":  {authtest.SignWith(providerPub, hsHeader, ofIssuer(authtest.Issuer)), jwtauth.ErrSignature},
		"a public key as a secret":        {authtest.SignWith(providerPub, hsHeader, ofIssuer(provider)), jwtauth.ErrUnknownKey},
		"a public key's PEM as a secret":  {authtest.SignWith(inPEM, hsHeader, ofIssuer(provider)), jwtauth.ErrUnknownKey},
		"no signature for the provider":   {authtest.B64(`{"alg":"none","kid":"the-kid"}`) + "." + authtest.B64(ofIssuer(provider)) + "." + authtest.B64("x"), jwtauth.ErrUnknownKey},
		"an attacker's key":               {authtest.SignWith(bytes.Repeat([]byte("s"), 32), hsHeader, ofIssuer(elder)), jwtauth.ErrSignature},
		"an attacker's key, and expired":  {authtest.SignWith(bytes.Repeat([]byte("s"), 32), hsHeader, authtest.ClaimsJSON(map[string]any{"iss": elder, "exp": 1})), jwtauth.ErrSignature},
		"an issuer that nobody knows":     {byOwn(ofIssuer("https://nobody.example.com")), jwtauth.ErrUnknownKey},
		"the same, by the provider":       {byProvider(ofIssuer("https://nobody.example.com")), jwtauth.ErrUnknownKey},
		"the same, by nobody":             {authtest.B64(hsHeader) + "." + authtest.B64(ofIssuer("https://nobody.example.com")) + "." + authtest.B64("x"), jwtauth.ErrUnknownKey},
		"the same, expired":               {byOwn(authtest.ClaimsJSON(map[string]any{"iss": "https://nobody.example.com", "exp": 1})), jwtauth.ErrUnknownKey},
		"no issuer":                       {byOwn(authtest.ClaimsJSON(nil)), jwtauth.ErrUnknownKey},
		"no issuer, by the provider":      {byProvider(authtest.ClaimsJSON(nil)), jwtauth.ErrUnknownKey},
		"an empty issuer":                 {byOwn(ofIssuer("")), jwtauth.ErrUnknownKey},
		"an issuer with a slash behind":   {byProvider(ofIssuer(provider + "/")), jwtauth.ErrUnknownKey},
		"an issuer cut short":             {byProvider(ofIssuer(provider[:len(provider)-1])), jwtauth.ErrUnknownKey},
		"an issuer in capitals":           {byProvider(ofIssuer(strings.ToUpper(provider))), jwtauth.ErrUnknownKey},
		"an issuer with a NUL behind":     {byProvider(ofIssuer(provider + "\x00")), jwtauth.ErrUnknownKey},
		"an issuer deeper down":           {byOwn(authtest.ClaimsJSON(map[string]any{"x": map[string]any{"iss": authtest.Issuer}})), jwtauth.ErrUnknownKey},
		"ours, then the elder":            {byElder(twice(elder, `"iss"`, authtest.Issuer)), jwtauth.ErrMalformed},
		"the elder, then ours":            {byElder(twice(authtest.Issuer, `"iss"`, elder)), jwtauth.ErrMalformed},
		"ours twice":                      {byOwn(twice(authtest.Issuer, `"iss"`, authtest.Issuer)), jwtauth.ErrMalformed},
		"ours, then the elder by escapes": {byElder(twice(elder, `"i\u0073s"`, authtest.Issuer)), jwtauth.ErrMalformed},
		"an ISS besides":                  {byElder(twice(elder, `"ISS"`, authtest.Issuer)), jwtauth.ErrMalformed},
		"an iss by an odd fold":           {byElder(twice(elder, `"i\u017fs"`, authtest.Issuer)), jwtauth.ErrMalformed},
		"both in an array":                {byElder(ofIssuer([]string{authtest.Issuer, elder})), jwtauth.ErrMalformed},
		"an issuer that is null":          {byOwn(strings.Replace(ofIssuer(authtest.Issuer), `"`+authtest.Issuer+`"`, "null", 1)), jwtauth.ErrMalformed},
		"a payload with data behind":      {byElder(ofIssuer(elder) + ofIssuer(authtest.Issuer)), jwtauth.ErrMalformed},
		"a payload that is no object":     {byOwn(`"` + authtest.Issuer + `"`), jwtauth.ErrMalformed},
		"no exp":                          {byProvider(authtest.ClaimsJSON(map[string]any{"iss": provider, "exp": nil})), jwtauth.ErrMalformed},
	}
}

func TestWithTrustedIssuer_EachHasItsOwnKeys(t *testing.T) {
	for name, token := range map[string]string{
		"our own":                             byOwn(ofIssuer(authtest.Issuer)),
		"the provider's":                      byProvider(ofIssuer(provider)),
		"the elder's":                         byElder(ofIssuer(elder)),
		"the elder's, iss written by escapes": byElder(strings.Replace(ofIssuer(elder), `"iss":"h`, `"\u0069ss":"\u0068`, 1)),
		"one that is issued":                  authtest.Issue(t, trusting(t), "demo"),
	} {
		t.Run(name, func(t *testing.T) {
			auth := trusting(t)
			remember(t, auth, token)
			_, s := authtest.Serve(auth.Private, authtest.Request("GET", authtest.DemoPath, authtest.Bearer(token)))
			require.True(t, s.OK)
			var own struct{ Iss string }
			require.NoError(t, s.Claims.Decode(&own))
			require.Equal(t, own.Iss, s.Claims.Issuer)
		})
	}
}

func TestWithTrustedIssuer_NoneSignsForAnother(t *testing.T) {
	garbage := byOwn(ofIssuer(authtest.Issuer))
	garbage = garbage[:len(garbage)-10] + authtest.Flip(garbage[len(garbage)-10:])
	for name, test := range notAuthentic(t) {
		t.Run(name, func(t *testing.T) {
			var log authtest.LogBuffer
			auth := trusting(t, jwtauth.WithLogger(log.Logger()))
			// It must make no difference that valid tokens were accepted before.
			for _, good := range []string{byOwn(ofIssuer(authtest.Issuer)), byProvider(ofIssuer(provider)), byElder(ofIssuer(elder))} {
				remember(t, auth, good)
			}
			for range 2 {
				claims, err := auth.Verify(t.Context(), test.token, "demo")
				require.ErrorIs(t, err, test.want)
				require.NotErrorIs(t, err, jwtauth.ErrIssuer)
				require.Zero(t, claims)
				claims, err = auth.Inspect(t.Context(), test.token)
				require.ErrorIs(t, err, test.want)
				require.Zero(t, claims, "claims without a good signature must not be returned")
			}
			require.False(t, auth.Cached(test.token))
			require.NotContains(t, log.String(), "jti=", "the log must not show the jti of a token that is not authentic")
			authtest.Leaks(t, "the log", log.String(), test.token)

			for _, opts := range [][]jwtauth.Option{nil, {jwtauth.WithStatus(jwtauth.BearerStatus)}} {
				auth := trusting(t, opts...)
				for policy, wrap := range authtest.Policies(auth) {
					want, _ := authtest.Serve(wrap, authtest.Request("GET", authtest.DemoPath, authtest.Bearer(garbage)))
					got, s := authtest.Serve(wrap, authtest.Request("GET", authtest.DemoPath, authtest.Bearer(test.token)))
					require.False(t, s.OK)
					require.Equal(t, policy == "Public", s.Ran)
					require.Equal(t, answer(want), answer(got), "a client without an authentic token learns nothing")
				}
			}
		})
	}
}

// answer returns the parts of a response that a client sees.
func answer(w *httptest.ResponseRecorder) string {
	return fmt.Sprintf("%d %v %s", w.Code, w.Result().Header, w.Body)
}

func TestWithTrustedIssuer_TheLogSaysWhichIsNotTrusted(t *testing.T) {
	for name, test := range map[string]struct{ iss, want, not string }{
		"one with a slash too many": {provider + "/", `the issuer \"https://id.example.com/\" is not one of`, "jti="},
		"none":                      {"", `the issuer \"\" is not one of`, "jti="},
		"a very long one":           {strings.Repeat("i", 999), `\"` + strings.Repeat("i", 64) + "…", strings.Repeat("i", 65)},
		"one that breaks the line":  {"a\nlevel=ERROR", `a\\nlevel=ERROR`, "a\n"},
	} {
		t.Run(name, func(t *testing.T) {
			var log authtest.LogBuffer
			_, err := trusting(t, jwtauth.WithLogger(log.Logger())).Verify(t.Context(), byOwn(ofIssuer(test.iss)), "demo")
			require.ErrorIs(t, err, jwtauth.ErrUnknownKey)
			require.Contains(t, log.String(), "reason=unknown_key")
			require.Contains(t, log.String(), test.want)
			require.NotContains(t, log.String(), test.not)
			require.Equal(t, 1, strings.Count(log.String(), "\n"))
		})
	}
}

// An Auth with one issuer verifies the signature before it reads the payload. An Auth with
// several issuers reads the payload first, and must do so by the same rules.
func TestWithTrustedIssuer_APayloadIsReadAlikeBeforeAndBehindTheSignature(t *testing.T) {
	alone, err := jwtauth.New(ownSource, authtest.AtNow(), jwtauth.WithIssuer(authtest.Issuer))
	require.NoError(t, err)
	several := trusting(t)
	for name, payload := range map[string]string{
		"good":                 ofIssuer(authtest.Issuer),
		"no JSON":              "iss",
		"no UTF-8":             `{"iss":"` + authtest.Issuer + "\xff" + `","exp":9999999999}`,
		"a lone surrogate":     `{"iss":"\ud800","exp":9999999999}`,
		"a name twice":         `{"iss":"` + authtest.Issuer + `","exp":9999999999,"x":1,"x":2}`,
		"a name twice, deeper": `{"iss":"` + authtest.Issuer + `","exp":9999999999,"x":{"y":1,"y":2}}`,
		"a folded name":        strings.Replace(ofIssuer(authtest.Issuer), `"jti"`, `"JTI"`, 1),
		"a number as iss":      ofIssuer(7),
		"exp as a string":      authtest.ClaimsJSON(map[string]any{"iss": authtest.Issuer, "exp": "9999999999"}),
		"exp without end":      `{"iss":"` + authtest.Issuer + `","exp":1e999}`,
		"no exp":               authtest.ClaimsJSON(map[string]any{"iss": authtest.Issuer, "exp": nil}),
		"expired":              authtest.ClaimsJSON(map[string]any{"iss": authtest.Issuer, "exp": 1}),
		"an audience":          authtest.ClaimsJSON(map[string]any{"iss": authtest.Issuer, "aud": "elsewhere"}),
		"nested very deep":     `{"iss":"` + authtest.Issuer + `","exp":9999999999,"x":` + strings.Repeat("[", 99) + strings.Repeat("]", 99) + `}`,
	} {
		t.Run(name, func(t *testing.T) {
			want, wantErr := alone.Verify(t.Context(), byOwn(payload), "demo")
			got, gotErr := several.Verify(t.Context(), byOwn(payload), "demo")
			require.Equal(t, wantErr, gotErr)
			require.Equal(t, want, got)
			require.Equal(t, name == "good", gotErr == nil)
		})
	}
	forged := authtest.SignWith(elderSecret, hsHeader, "no JSON")
	_, err = alone.Verify(t.Context(), forged, "demo")
	require.ErrorIs(t, err, jwtauth.ErrSignature, "with one issuer, the signature is verified before the payload is read")
	_, err = several.Verify(t.Context(), forged, "demo")
	require.ErrorIs(t, err, jwtauth.ErrMalformed)
}

// asked is a key source that records the key IDs that it is asked for. If err is set, it
// returns err instead of keys.
type asked struct {
	key  keys.Source
	err  error
	kids []string
}

func (a *asked) Keys(ctx context.Context, kid string) (*keys.Set, error) {
	a.kids = append(a.kids, kid)
	if a.err != nil {
		return nil, a.err
	}
	return a.key.Keys(ctx, kid)
}

func TestWithTrustedIssuer_OnlyTheSourceOfTheTokensIssuerIsAsked(t *testing.T) {
	own, provided, old := &asked{key: ownSource}, &asked{key: providerSource}, &asked{key: elderSource}
	auth := trustingKeys(t, own, provided, old)
	present := func(name, token string, want ...*asked) {
		t.Helper()
		for _, a := range []*asked{own, provided, old} {
			a.kids = nil
		}
		auth.Verify(t.Context(), token, "demo")
		for _, a := range []*asked{own, provided, old} {
			if len(want) > 0 && a == want[0] {
				require.Equal(t, []string{"the-kid"}, a.kids, name)
			} else {
				require.Empty(t, a.kids, name)
			}
		}
	}
	for _, when := range []string{"first seen", "cached"} {
		present("ours, "+when, byOwn(ofIssuer(authtest.Issuer)), own)
		present("the provider's, "+when, byProvider(ofIssuer(provider)), provided)
		present("the elder's, "+when, byElder(ofIssuer(elder)), old)
		present("forged, "+when, byOwn(ofIssuer(elder)), old)
		present("an unknown issuer's, "+when, byOwn(ofIssuer("nobody")))
		present("without an issuer, "+when, byOwn(authtest.ClaimsJSON(nil)))
		present("malformed, "+when, byOwn("{}"))
	}
}

func TestWithTrustedIssuer_AnOutageOfItsKeysIsItsTokensAlone(t *testing.T) {
	sources := map[string]*asked{authtest.Issuer: {key: ownSource}, provider: {key: providerSource}, elder: {key: elderSource}}
	tokens := map[string]string{authtest.Issuer: byOwn(ofIssuer(authtest.Issuer)), provider: byProvider(ofIssuer(provider)), elder: byElder(ofIssuer(elder))}
	for down := range sources {
		for _, cached := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, cached: %v", down, cached), func(t *testing.T) {
				auth := trustingKeys(t, sources[authtest.Issuer], sources[provider], sources[elder])
				if cached {
					for _, token := range tokens {
						remember(t, auth, token)
					}
				}
				sources[down].err = errors.New("connection refused")
				defer func() { sources[down].err = nil }()
				for iss, token := range tokens {
					w, s := authtest.Serve(auth.Private, authtest.Request("GET", authtest.DemoPath, authtest.Bearer(token)))
					require.Equal(t, iss != down, s.Ran, iss)
					if iss == down {
						require.Equal(t, http.StatusServiceUnavailable, w.Code)
						require.Equal(t, "unavailable", authtest.BodyOf(t, w).Code)
					}
				}
				w, _ := authtest.Serve(auth.Private, authtest.Request("GET", authtest.DemoPath, authtest.Bearer(byOwn(ofIssuer("nobody")))))
				require.Equal(t, http.StatusForbidden, w.Code, "no key could make this token valid, so an outage must not change the response")
				_, err := auth.Issue("demo")
				require.Equal(t, down == authtest.Issuer, errors.Is(err, jwtauth.ErrUnavailable), "Issue must need only our own keys")
				sources[down].err = nil
				_, err = auth.Verify(t.Context(), tokens[down], "demo")
				require.NoError(t, err)
			})
		}
	}
}

func TestWithTrustedIssuer_ACachedTokenIsVerifiedByTheKeysOfItsIssuer(t *testing.T) {
	tokens := map[string]string{authtest.Issuer: byOwn(ofIssuer(authtest.Issuer)), provider: byProvider(ofIssuer(provider)), elder: byElder(ofIssuer(elder))}
	for rotated := range tokens {
		t.Run(rotated, func(t *testing.T) {
			rings := map[string]*keys.Ring{}
			for iss, key := range map[string]keys.Key{authtest.Issuer: ownSource, provider: keys.Signer(providerKey).WithID("the-kid"), elder: elderSource} {
				ring, err := keys.NewRing(key)
				require.NoError(t, err)
				rings[iss] = ring
			}
			auth := trustingKeys(t, rings[authtest.Issuer], rings[provider], rings[elder])
			for _, token := range tokens {
				remember(t, auth, token)
			}
			require.NoError(t, rings[rotated].Rotate(keys.HS256([]byte(strings.Repeat("the next", 4))).WithID("next")))
			for _, token := range tokens {
				remember(t, auth, token)
			}
			require.NoError(t, rings[rotated].Retire("the-kid"))
			for iss, token := range tokens {
				_, err := auth.Verify(t.Context(), token, "demo")
				if iss == rotated {
					require.ErrorIs(t, err, jwtauth.ErrUnknownKey)
					require.False(t, auth.Cached(token), "a token of a retired key must leave the cache")
				} else {
					require.NoError(t, err)
					require.True(t, auth.Cached(token), "a token must stay cached if another issuer's key is retired")
				}
			}
		})
	}
}

func TestWithTrustedIssuer_ARevocationIsOfOneIssuersTokens(t *testing.T) {
	payload := func(iss string) string {
		return authtest.ClaimsJSON(map[string]any{"iss": iss, "sub": "alice", "sid": "s1"})
	}
	tokens := map[string]string{authtest.Issuer: byOwn(payload(authtest.Issuer)), provider: byProvider(payload(provider)), elder: byElder(payload(elder))}
	for revoked := range tokens {
		for kind, take := range map[string]func(*revoke.List) error{
			"token": func(l *revoke.List) error {
				return l.RevokeToken(t.Context(), revoked, "the-jti", authtest.Now.Add(time.Hour))
			},
			"session":   func(l *revoke.List) error { return l.RevokeSession(t.Context(), revoked, "s1") },
			"subject":   func(l *revoke.List) error { return l.RevokeSubject(t.Context(), revoked, "alice") },
			"container": func(l *revoke.List) error { return l.RevokeContainer(t.Context(), revoked, "demo") },
		} {
			for _, cached := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s of %s, cached: %v", kind, revoked, cached), func(t *testing.T) {
					list, err := revoke.New(revoke.NewMemory(), revoke.WithClock(func() time.Time { return authtest.Now }))
					require.NoError(t, err)
					auth := trusting(t, jwtauth.WithRevocations(list))
					held := map[string]jwtauth.Claims{}
					for iss, token := range tokens {
						if cached {
							remember(t, auth, token)
						}
						held[iss], err = trusting(t).Verify(t.Context(), token, "demo")
						require.NoError(t, err)
					}
					require.NoError(t, take(list))
					for iss, token := range tokens {
						var want error
						if iss == revoked {
							want = jwtauth.ErrRevoked
						}
						_, err := auth.Verify(t.Context(), token, "demo")
						require.ErrorIs(t, err, want, iss)
						require.ErrorIs(t, auth.Recheck(t.Context(), held[iss]), want, iss)
						c, err := auth.Inspect(t.Context(), token)
						require.ErrorIs(t, err, want, iss)
						require.Equal(t, iss, c.Issuer)
					}
				})
			}
		}
	}
}

func TestWithTrustedIssuer_TheAudienceIsThatOfTheIssuer(t *testing.T) {
	api, recipes := jwtauth.WithAudience("api"), []string{"recipes", "kitchen"}
	for name, test := range map[string]struct {
		own    jwtauth.Option
		theirs []string
		iss    string
		aud    any
		want   error
	}{
		"theirs, with theirs":                         {api, recipes, elder, "recipes", nil},
		"theirs, with another of theirs":              {api, recipes, elder, []string{"x", "kitchen"}, nil},
		"theirs, with ours":                           {api, recipes, elder, "api", jwtauth.ErrAudience},
		"theirs, with none":                           {api, recipes, elder, nil, jwtauth.ErrAudience},
		"theirs, with an empty list":                  {api, recipes, elder, []string{}, jwtauth.ErrAudience},
		"ours, with ours":                             {api, recipes, authtest.Issuer, "api", nil},
		"ours, with theirs":                           {api, recipes, authtest.Issuer, "recipes", jwtauth.ErrAudience},
		"ours, with none":                             {api, recipes, authtest.Issuer, nil, jwtauth.ErrAudience},
		"a third one's, with ours":                    {api, recipes, provider, "api", nil},
		"a third one's, with theirs":                  {api, recipes, provider, "recipes", jwtauth.ErrAudience},
		"theirs where none is said, with ours":        {api, nil, elder, "api", nil},
		"theirs where none is said, with none":        {api, nil, elder, nil, jwtauth.ErrAudience},
		"theirs, with theirs, where we have none":     {nil, recipes, elder, "recipes", nil},
		"theirs, with none, where we have none":       {nil, recipes, elder, nil, jwtauth.ErrAudience},
		"ours, with none, where we have none":         {nil, recipes, authtest.Issuer, nil, nil},
		"ours, with theirs, where we have none":       {nil, recipes, authtest.Issuer, "recipes", jwtauth.ErrAudience},
		"theirs, with none, where no issuer has one":  {nil, nil, elder, nil, nil},
		"theirs, with any, where no issuer has one":   {nil, nil, elder, "api", jwtauth.ErrAudience},
		"a third one's, with any, where it says none": {nil, recipes, provider, "recipes", jwtauth.ErrAudience},
	} {
		t.Run(name, func(t *testing.T) {
			theirs := append([]string(nil), test.theirs...)
			opts := []jwtauth.Option{
				authtest.AtNow(), jwtauth.WithIssuer(authtest.Issuer),
				jwtauth.WithTrustedIssuer(elder, elderSource, theirs...), jwtauth.WithTrustedIssuer(provider, providerSource),
			}
			if test.own != nil {
				opts = append(opts, test.own)
			}
			auth, err := jwtauth.New(ownSource, opts...)
			require.NoError(t, err)
			clear(theirs) // New must have copied it
			signer := map[string]func(string) string{authtest.Issuer: byOwn, elder: byElder, provider: byProvider}[test.iss]
			claims := map[string]any{"iss": test.iss, "aud": test.aud}
			for range 2 {
				_, err = auth.Verify(t.Context(), signer(authtest.ClaimsJSON(claims)), "demo")
				require.ErrorIs(t, err, test.want)
			}
			claims["exp"] = authtest.Now.Unix() - 1
			c, err := auth.Inspect(t.Context(), signer(authtest.ClaimsJSON(claims)))
			require.ErrorIs(t, err, jwtauth.ErrExpired)
			require.Equal(t, test.want == nil, c.Issuer == test.iss, "Inspect must return claims only if the audience is accepted")
		})
	}
}

func TestWithTrustedIssuer_IssueUsesOurOwnKeysAlone(t *testing.T) {
	auth := trusting(t, jwtauth.WithAudience("api"))
	token := authtest.Issue(t, auth, "demo")
	require.Contains(t, authtest.DecodePayload(t, token), `"iss":"`+authtest.Issuer+`"`)
	require.Equal(t, authtest.Issuer, auth.Issuer())
	alone, err := jwtauth.New(ownSource, authtest.AtNow(), jwtauth.WithIssuer(authtest.Issuer), jwtauth.WithAudience("api"))
	require.NoError(t, err)
	_, err = alone.Verify(t.Context(), token, "demo")
	require.NoError(t, err)

	_, err = trustingKeys(t, providerSource, ownSource, elderSource).Issue("demo")
	require.ErrorIs(t, err, jwtauth.ErrNoSigningKey, "although the keys of the others could sign")
}

func TestWithTrustedIssuer_WhatElseIsConfiguredHoldsForAll(t *testing.T) {
	for name, test := range map[string]struct {
		opt     jwtauth.Option
		changes map[string]any
		want    error
	}{
		"the type":      {jwtauth.WithTypes("at+jwt"), nil, jwtauth.ErrType},
		"the expiry":    {jwtauth.WithLeeway(0), map[string]any{"exp": authtest.Now.Unix()}, jwtauth.ErrExpired},
		"the container": {jwtauth.WithLeeway(0), map[string]any{"container": "other"}, jwtauth.ErrContainer},
		"the lifetime":  {jwtauth.WithRevocations(authtest.CheckerFunc(func(context.Context, jwtauth.Claims) (bool, error) { return false, nil })), map[string]any{"exp": authtest.Now.Add(jwtauth.DefaultTTL).Unix() + 1}, jwtauth.ErrRevoked},
		"the size":      {jwtauth.WithMaxTokenSize(256), map[string]any{"x": strings.Repeat("x", 256)}, jwtauth.ErrMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			claims := map[string]any{"iss": provider}
			for name, value := range test.changes {
				claims[name] = value
			}
			_, err := trusting(t, test.opt).Verify(t.Context(), byProvider(authtest.ClaimsJSON(claims)), "demo")
			require.ErrorIs(t, err, test.want)
		})
	}
}

func TestWithTrustedIssuer_RefusesWhatCannotBe(t *testing.T) {
	ours, theirs := jwtauth.WithIssuer(authtest.Issuer), jwtauth.WithTrustedIssuer(elder, elderSource)
	for name, test := range map[string]struct {
		opts []jwtauth.Option
		want []string
	}{
		"without an issuer of our own":  {[]jwtauth.Option{theirs}, []string{"WithTrustedIssuer needs WithIssuer"}},
		"our own":                       {[]jwtauth.Option{jwtauth.WithTrustedIssuer(authtest.Issuer, elderSource), ours}, []string{`WithTrustedIssuer("` + authtest.Issuer + `"): it is that of WithIssuer`}},
		"one twice":                     {[]jwtauth.Option{ours, theirs, jwtauth.WithTrustedIssuer(provider, providerSource), theirs}, []string{`WithTrustedIssuer("` + elder + `") was given twice`}},
		"one without a name":            {[]jwtauth.Option{ours, jwtauth.WithTrustedIssuer("", elderSource)}, []string{"WithTrustedIssuer was given an empty string"}},
		"one that is not UTF-8":         {[]jwtauth.Option{ours, jwtauth.WithTrustedIssuer("\xff", elderSource)}, []string{"WithTrustedIssuer was given invalid UTF-8"}},
		"no source":                     {[]jwtauth.Option{ours, jwtauth.WithTrustedIssuer(elder, nil)}, []string{`WithTrustedIssuer("` + elder + `"): the source of keys is nil`}},
		"a nil key":                     {[]jwtauth.Option{ours, jwtauth.WithTrustedIssuer(elder, (*keys.Key)(nil))}, []string{`WithTrustedIssuer("` + elder + `"): the source of keys is a nil *keys.Key`}},
		"a nil ring":                    {[]jwtauth.Option{ours, jwtauth.WithTrustedIssuer(elder, (*keys.Ring)(nil))}, []string{`WithTrustedIssuer("` + elder + `"): the source of keys is a nil *keys.Ring`}},
		"a bad key":                     {[]jwtauth.Option{ours, jwtauth.WithTrustedIssuer(elder, keys.HS256(authtest.Secret[:31]))}, []string{`WithTrustedIssuer("` + elder + `"): `, "31 bytes"}},
		"an empty audience":             {[]jwtauth.Option{ours, jwtauth.WithTrustedIssuer(elder, elderSource, "api", "")}, []string{`WithTrustedIssuer("` + elder + `"): its audience was given an empty string`}},
		"an audience that is not UTF-8": {[]jwtauth.Option{ours, jwtauth.WithTrustedIssuer(elder, elderSource, "\xff")}, []string{`WithTrustedIssuer("` + elder + `"): its audience was given invalid UTF-8`}},
		"several at once":               {[]jwtauth.Option{jwtauth.WithTrustedIssuer(elder, nil, ""), jwtauth.WithTTL(0)}, []string{"source of keys is nil", "its audience", "WithTTL", "needs WithIssuer"}},
	} {
		t.Run(name, func(t *testing.T) {
			auth, err := jwtauth.New(ownSource, test.opts...)
			require.Nil(t, auth)
			for _, want := range test.want {
				require.ErrorContains(t, err, want)
			}
		})
	}
	_, err := jwtauth.New(ownSource, ours, theirs, jwtauth.WithTrustedIssuer(provider, elderSource))
	require.NoError(t, err, "two issuers may share keys, for example two tenants of one server")
}

// A token is parsed only once, whatever its issuer.
func TestWithTrustedIssuer_CostsNoAllocation(t *testing.T) {
	token := byOwn(ofIssuer(authtest.Issuer))
	for name, opt := range map[string]jwtauth.Option{"first seen": jwtauth.WithCache(0), "cached": jwtauth.WithCache(8)} {
		t.Run(name, func(t *testing.T) {
			alone, err := jwtauth.New(ownSource, authtest.AtNow(), jwtauth.WithIssuer(authtest.Issuer), opt)
			require.NoError(t, err)
			// The race detector makes a sync.Pool drop some buffers at random, so count
			// returns the lowest of several results.
			count := func(auth *jwtauth.Auth) float64 {
				best := math.Inf(1)
				for range 10 {
					best = min(best, testing.AllocsPerRun(100, func() { auth.Verify(context.Background(), token, "demo") }))
				}
				return best
			}
			// Reading the claims twice would cost more than one allocation.
			require.InDelta(t, count(alone), count(trusting(t, opt)), 1)
		})
	}
}

// FuzzTrustedIssuer signs any payload with the keys of three issuers. A token may be
// accepted only if its iss, as the standard library reads it, is the issuer of the key.
func FuzzTrustedIssuer(f *testing.F) {
	for _, iss := range []any{authtest.Issuer, provider, elder, "nobody", nil, 7, []string{authtest.Issuer, elder}} {
		f.Add(ofIssuer(iss))
	}
	f.Add(`{"iss":"` + elder + `","i\u0073s":"` + authtest.Issuer + `","container":"demo","exp":9999999999}`)
	auth := trusting(f)
	f.Fuzz(func(t *testing.T, payload string) {
		for iss, token := range map[string]string{authtest.Issuer: byOwn(payload), provider: byProvider(payload), elder: byElder(payload)} {
			claims, err := auth.Verify(t.Context(), token, "demo")
			if err != nil {
				require.Zero(t, claims)
				require.NotErrorIs(t, err, jwtauth.ErrIssuer)
				continue
			}
			var c struct{ Iss string }
			require.NoError(t, json.Unmarshal([]byte(payload), &c))
			require.Equal(t, iss, c.Iss)
			require.Equal(t, iss, claims.Issuer)
		}
	})
}
