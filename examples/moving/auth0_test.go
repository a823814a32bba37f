package moving_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"expvar"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	jwtmiddleware "github.com/auth0/go-jwt-middleware/v3"
	"github.com/auth0/go-jwt-middleware/v3/jwks"
	"github.com/auth0/go-jwt-middleware/v3/validator"
	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/keys"
)

const api = "https://api.example.com"

// provider is an identity provider that publishes its key.
type provider struct {
	*httptest.Server
	key *rsa.PrivateKey
}

func newProvider() provider {
	p := provider{key: must(rsa.GenerateKey(rand.Reader, 2048))}
	ring := must(keys.NewRing(keys.Signer(p.key).WithID("p1")))
	mux := http.NewServeMux()
	mux.Handle("/.well-known/jwks.json", ring.JWKS())
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q}`, p.issuer(), p.issuer()+".well-known/jwks.json")
	})
	p.Server = httptest.NewTLSServer(mux)
	return p
}

func (p provider) issuer() string { return p.URL + "/" }

// token returns a token that the provider issued for the API. changes replace claims, or
// remove them if they are nil.
func (p provider) token(head map[string]any, changes jwt.MapClaims) string {
	claims := jwt.MapClaims{"iss": p.issuer(), "aud": []string{api, p.URL + "/userinfo"}, "sub": "auth0|alice", "scope": "openid read:orders"}
	for name, value := range changes {
		claims[name] = value
	}
	if head == nil {
		head = map[string]any{"kid": "p1"}
	}
	return sign(jwt.SigningMethodRS256, p.key, head, with(claims))
}

// auth0Before returns a handler with auth0's middleware, set up as in its README.
func auth0Before(p provider) http.Handler {
	cache := must(jwks.NewCachingProvider(jwks.WithIssuerURL(must(url.Parse(p.issuer()))), jwks.WithCustomClient(p.Client())))
	v := must(validator.New(
		validator.WithKeyFunc(cache.KeyFunc),
		validator.WithAlgorithm(validator.RS256),
		validator.WithIssuer(p.issuer()),
		validator.WithAudience(api),
	))
	middleware := must(jwtmiddleware.New(jwtmiddleware.WithValidator(v)))
	return middleware.CheckJWT(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		claims := jwtmiddleware.MustGetClaims[*validator.ValidatedClaims](r.Context())
		fmt.Fprint(w, "hello, ", claims.RegisteredClaims.Subject)
	}))
}

var hello = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	claims, _ := jwtauth.FromContext(r.Context())
	fmt.Fprint(w, "hello, ", claims.Subject)
})

// fromProvider returns the Auth of an API that accepts the tokens of one provider.
func fromProvider(ctx context.Context, issuer string, client *http.Client) (*jwtauth.Auth, error) {
	remote, err := keys.NewRemote(issuer+".well-known/jwks.json", keys.WithHTTPClient(client))
	if err != nil {
		return nil, err
	}
	go remote.Run(ctx)
	return jwtauth.New(remote,
		jwtauth.WithIssuer(issuer), // byte for byte, including a slash at its end
		jwtauth.WithAudience("https://api.example.com"),
		jwtauth.WithAnyContainer(),
		jwtauth.WithExtractors(jwtauth.FromHeader("Authorization", "Bearer")),
		jwtauth.WithStatus(jwtauth.BearerStatus),
	)
}

// requireScope is for handlers behind auth.Private. It replaces CustomClaims.Validate.
func requireScope(auth *jwtauth.Auth, scope string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		claims, _ := jwtauth.FromContext(r.Context())
		var own struct {
			Scope string `json:"scope"`
		}
		if err := claims.Decode(&own); err != nil || !slices.Contains(strings.Fields(own.Scope), scope) {
			auth.Deny(w, r, jwtauth.ErrForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// Both libraries accept the provider's tokens, so no user must log in again.
func Example_fromAuth0() {
	p := newProvider()
	defer p.Close()
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	auth, err := fromProvider(ctx, p.issuer(), p.Client())
	if err != nil {
		fmt.Println(err)
		return
	}
	token := p.token(nil, nil)
	get("auth0's middleware", auth0Before(p), "/", token)
	get("here", auth.Private(hello), "/", token)
	get("with its scope", auth.Private(requireScope(auth, "read:orders", hello)), "/", token)
	get("with another", auth.Private(requireScope(auth, "write:orders", hello)), "/", token)
	// Output:
	// auth0's middleware: 200 hello, auth0|alice
	// here: 200 hello, auth0|alice
	// with its scope: 200 hello, auth0|alice
	// with another: 403 {"code":"token_not_valid","detail":"The token is not valid."}
}

// twoIssuers returns the Auth of an API that now issues its own tokens, and still accepts
// the provider's tokens.
func twoIssuers(newKey keys.Source, oldIssuer string, oldKeys *keys.Remote) (*jwtauth.Auth, error) {
	return jwtauth.New(newKey,
		jwtauth.WithIssuer("https://api.example.com"),
		jwtauth.WithAudience("https://api.example.com"),
		jwtauth.WithTrustedIssuer(oldIssuer, oldKeys),
		jwtauth.WithAnyContainer(),
		jwtauth.WithExtractors(jwtauth.FromHeader("Authorization", "Bearer")),
		jwtauth.WithStatus(jwtauth.BearerStatus),
	)
}

// An API stops using its provider, and issues tokens itself. Until the provider's tokens
// have expired, it accepts both.
func Example_fromAuth0Transition() {
	p := newProvider()
	defer p.Close()
	remote := must(keys.NewRemote(p.issuer()+".well-known/jwks.json", keys.WithHTTPClient(p.Client())))
	newKey, _ := newPair()
	auth, err := twoIssuers(newKey, p.issuer(), remote)
	if err != nil {
		fmt.Println(err)
		return
	}
	var oldTokens expvar.Int
	handler := auth.Private(countOld(auth.Issuer(), &oldTokens, hello))
	old, fresh := p.token(nil, nil), must(auth.Issue("", jwtauth.Subject("alice")))
	get("auth0's middleware, the provider's token", auth0Before(p), "/", old)
	get("here, the provider's token", handler, "/", old)
	get("here, our own", handler, "/", fresh)
	fmt.Println("tokens of the provider seen:", oldTokens.Value())

	alone := must(jwtauth.New(newKey, jwtauth.WithIssuer(api), jwtauth.WithAudience(api), jwtauth.WithAnyContainer(), jwtauth.WithStatus(jwtauth.BearerStatus)))
	get("later, the provider's token", alone.Private(hello), "/", old)
	get("later, our own", alone.Private(hello), "/", fresh)
	// Output:
	// auth0's middleware, the provider's token: 200 hello, auth0|alice
	// here, the provider's token: 200 hello, auth0|alice
	// here, our own: 200 hello, alice
	// tokens of the provider seen: 1
	// later, the provider's token: 401 {"code":"token_not_valid","detail":"The token is not valid."}
	// later, our own: 200 hello, alice
}

func TestWhatIsOtherThanWithAuth0(t *testing.T) {
	p := newProvider()
	defer p.Close()
	auth, err := fromProvider(t.Context(), p.issuer(), p.Client())
	require.NoError(t, err)
	give := func(head map[string]any, changes jwt.MapClaims) []func(*http.Request) {
		return []func(*http.Request){bearer(p.token(head, changes))}
	}
	good := p.token(nil, nil)
	testDifferences(t, "/", auth0Before(p), auth.Private(hello), []difference{
		{"a good token passes both", "", give(nil, nil), 200, 200},
		{"no token", "", nil, 401, 401},
		{"a token without exp", "", give(nil, jwt.MapClaims{"exp": nil}), 200, 401},
		{"an expired token", "", give(nil, jwt.MapClaims{"exp": 1}), 401, 401},
		{"a token of another issuer", "", give(nil, jwt.MapClaims{"iss": strings.TrimSuffix(p.issuer(), "/")}), 401, 401},
		{"a token for another audience", "", give(nil, jwt.MapClaims{"aud": "x"}), 401, 401},
		{"a token without audience", "", give(nil, jwt.MapClaims{"aud": nil}), 401, 401},
		{"a token without kid", "", give(map[string]any{"kid": nil}, nil), 401, 401},
		{"a token of the type at+jwt", "", give(map[string]any{"kid": "p1", "typ": "at+jwt"}, nil), 200, 401},
		{"a token that is bound to a key of the client", "", give(nil, jwt.MapClaims{"cnf": map[string]string{"jkt": "x"}}), 401, 200},
		{"two Authorization fields", "", []func(*http.Request){bearer(good), bearer(good)}, 400, 400},
		{"another scheme", "", []func(*http.Request){header("Authorization", "Basic YTpi")}, 400, 401},
		{"garbage", "", []func(*http.Request){bearer("garbage")}, 401, 401},
	})
	t.Run("a provider that was never reached", func(t *testing.T) {
		p := newProvider()
		good := p.token(nil, nil)
		p.Close() // before the keys were ever fetched
		old := auth0Before(p)
		auth, err := fromProvider(t.Context(), p.issuer(), p.Client())
		require.NoError(t, err)
		status, body := call(old, "GET", "/", bearer(good))
		require.Equal(t, 401, status, body)
		status, body = call(auth.Private(hello), "GET", "/", bearer(good))
		require.Equal(t, 503, status, body)
	})
	t.Run("WithTypes accepts at+jwt, and nothing else", func(t *testing.T) {
		remote, err := keys.NewRemote(p.issuer()+".well-known/jwks.json", keys.WithHTTPClient(p.Client()))
		require.NoError(t, err)
		auth, err := jwtauth.New(remote, jwtauth.WithTypes("at+jwt"), jwtauth.WithIssuer(p.issuer()), jwtauth.WithAudience(api), jwtauth.WithAnyContainer())
		require.NoError(t, err)
		_, err = auth.Verify(t.Context(), p.token(map[string]any{"kid": "p1", "typ": "at+jwt"}, nil), "")
		require.NoError(t, err)
		_, err = auth.Verify(t.Context(), good, "")
		require.ErrorIs(t, err, jwtauth.ErrType)
	})
}

func TestHostileTokensWhileMovingFromAuth0(t *testing.T) {
	p := newProvider()
	defer p.Close()
	remote, err := keys.NewRemote(p.issuer()+".well-known/jwks.json", keys.WithHTTPClient(p.Client()))
	require.NoError(t, err)
	newKey, public := newPair()
	auth, err := twoIssuers(newKey, p.issuer(), remote)
	require.NoError(t, err)
	fresh, err := auth.Issue("", jwtauth.Subject("alice"))
	require.NoError(t, err)
	handler := auth.Private(hello)
	t.Run("made of the provider's token", func(t *testing.T) { testHostile(t, handler, "/", p.token(nil, nil), "p1", &p.key.PublicKey) })
	t.Run("made of ours", func(t *testing.T) { testHostile(t, handler, "/", fresh, newKey.ID(), public) })
	t.Run("the provider signs in our name", func(t *testing.T) {
		for _, kid := range []string{"p1", newKey.ID()} {
			status, body := call(handler, "GET", "/", bearer(p.token(map[string]any{"kid": kid}, jwt.MapClaims{"iss": api})))
			require.Equal(t, 401, status, body)
		}
	})
	t.Run("a token without an issuer", func(t *testing.T) {
		status, body := call(handler, "GET", "/", bearer(p.token(nil, jwt.MapClaims{"iss": nil})))
		require.Equal(t, 401, status, body)
	})
}
