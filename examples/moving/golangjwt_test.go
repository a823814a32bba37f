package moving_test

import (
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"expvar"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/golang-jwt/jwt/v5/request"
	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/keys"
)

// byHand returns a handler that checks tokens with golang-jwt, as many programs do.
func byHand(alg string, key any) http.Handler {
	type tenantClaims struct {
		Tenant string `json:"tenant"`
		jwt.RegisteredClaims
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{tenant}/orders", func(w http.ResponseWriter, r *http.Request) {
		text, err := request.BearerExtractor{}.ExtractToken(r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusUnauthorized)
			return
		}
		var claims tenantClaims
		_, err = jwt.ParseWithClaims(text, &claims, func(*jwt.Token) (any, error) { return key, nil }, jwt.WithValidMethods([]string{alg}))
		switch {
		case err != nil:
			http.Error(w, err.Error(), http.StatusUnauthorized)
		case claims.Tenant != r.PathValue("tenant"):
			http.Error(w, "another tenant's", http.StatusForbidden)
		default:
			fmt.Fprintf(w, "the orders of %s, for %s", claims.Tenant, claims.Subject)
		}
	})
	return mux
}

func ordersMux(middleware func(http.Handler) http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /{tenant}/orders", middleware(http.HandlerFunc(orders)))
	return mux
}

func orders(w http.ResponseWriter, r *http.Request) {
	claims, _ := jwtauth.FromContext(r.Context())
	fmt.Fprintf(w, "the orders of %s, for %s", claims.Container, claims.Subject)
}

// After the move, when there are no old tokens any more, this is the whole server.
func Example_fromGolangJWT() {
	key, err := keys.Generate("EdDSA")
	if err != nil {
		fmt.Println(err)
		return
	}
	auth, err := jwtauth.New(key,
		jwtauth.WithContainerClaim("tenant"),
		jwtauth.WithContainer(func(r *http.Request) string { return r.PathValue("tenant") }),
		jwtauth.WithStatus(jwtauth.BearerStatus),
	)
	if err != nil {
		fmt.Println(err)
		return
	}
	mux := http.NewServeMux()
	mux.Handle("GET /{tenant}/orders", auth.Private(http.HandlerFunc(orders)))

	token, err := auth.Issue("acme", jwtauth.Subject("alice"), jwtauth.TTL(time.Hour))
	if err != nil {
		fmt.Println(err)
		return
	}
	get("her tenant", mux, "/acme/orders", token)
	get("another", mux, "/other/orders", token)
	// Output:
	// her tenant: 200 the orders of acme, for alice
	// another: 403 {"code":"token_not_valid","detail":"The token is not valid.","reason":"wrong_container"}
}

// golangJWTTransition returns two Auths that share a ring. verifying also accepts old
// tokens, and is dropped when they have expired. issuing issues the new tokens, and later
// verifies them, too.
func golangJWTTransition(newKey, oldKey keys.Key) (ring *keys.Ring, verifying, issuing *jwtauth.Auth, err error) {
	ring, err = keys.NewRing(newKey, oldKey) // the first signs, both verify
	if err != nil {
		return nil, nil, nil, err
	}
	options := []jwtauth.Option{
		jwtauth.WithContainerClaim("tenant"),
		jwtauth.WithContainer(func(r *http.Request) string { return r.PathValue("tenant") }),
		jwtauth.WithStatus(jwtauth.BearerStatus),
	}
	verifying, err = jwtauth.New(ring, options...)
	if err != nil {
		return nil, nil, nil, err
	}
	issuing, err = jwtauth.New(ring, append(options, jwtauth.WithIssuer("https://api.example.com"))...)
	return ring, verifying, issuing, err
}

// Old tokens are accepted until the old secret is retired. New tokens are always
// accepted.
func Example_fromGolangJWTTransition() {
	old := sign(jwt.SigningMethodHS256, oldSecret, nil, with(jwt.MapClaims{"sub": "alice", "tenant": "acme"}))
	get("by hand, an old token", byHand("HS256", oldSecret), "/acme/orders", old)

	newKey, _ := newPair()
	ring, verifying, issuing, err := golangJWTTransition(newKey, keys.HS256(oldSecret))
	if err != nil {
		fmt.Println(err)
		return
	}
	var oldTokens expvar.Int
	mux := ordersMux(func(next http.Handler) http.Handler {
		return verifying.Private(countOld(issuing.Issuer(), &oldTokens, next))
	})
	fresh := must(issuing.Issue("acme", jwtauth.Subject("alice")))
	get("here, the old token", mux, "/acme/orders", old)
	get("here, a new token", mux, "/acme/orders", fresh)
	fmt.Println("old tokens seen:", oldTokens.Value())

	if err := ring.Retire(""); err != nil { // the key without an ID
		fmt.Println(err)
		return
	}
	get("later, the old token", mux, "/acme/orders", old)
	get("later, the new token, and issuing alone", ordersMux(issuing.Private), "/acme/orders", fresh)
	// Output:
	// by hand, an old token: 200 the orders of acme, for alice
	// here, the old token: 200 the orders of acme, for alice
	// here, a new token: 200 the orders of acme, for alice
	// old tokens seen: 1
	// later, the old token: 401 {"code":"token_not_valid","detail":"The token is not valid."}
	// later, the new token, and issuing alone: 200 the orders of acme, for alice
}

// either allows a request that one of two Auths allows. It asks old if no key of auth
// has signed the token.
func either(auth, old *jwtauth.Auth, next http.Handler) http.Handler {
	ours, theirs := auth.Private(next), old.Private(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, err := auth.Check(r)
		if errors.Is(err, jwtauth.ErrUnknownKey) || errors.Is(err, jwtauth.ErrSignature) {
			theirs.ServeHTTP(w, r)
			return
		}
		ours.ServeHTTP(w, r)
	})
}

func rsaAuths(newKey keys.Key, public *rsa.PublicKey) (auth, old *jwtauth.Auth, err error) {
	tenant := func(r *http.Request) string { return r.PathValue("tenant") }
	auth, err = jwtauth.New(newKey, jwtauth.WithContainerClaim("tenant"), jwtauth.WithContainer(tenant),
		jwtauth.WithIssuer("https://api.example.com"), jwtauth.WithStatus(jwtauth.BearerStatus))
	if err != nil {
		return nil, nil, err
	}
	old, err = jwtauth.New(keys.Verifier(public), jwtauth.WithContainerClaim("tenant"), jwtauth.WithContainer(tenant),
		jwtauth.WithAudience("orders"), jwtauth.WithStatus(jwtauth.BearerStatus))
	return auth, old, err
}

// The old key is a key pair whose tokens have no kid. A ring cannot verify such tokens, so
// there is an Auth for each key.
func Example_fromGolangJWTKeyPair() {
	private := must(rsa.GenerateKey(rand.Reader, 2048))
	old := sign(jwt.SigningMethodRS256, private, nil, with(jwt.MapClaims{"sub": "alice", "tenant": "acme", "aud": "orders"}))
	get("by hand, an old token", byHand("RS256", &private.PublicKey), "/acme/orders", old)

	newKey, _ := newPair()
	auth, former, err := rsaAuths(newKey, &private.PublicKey)
	if err != nil {
		fmt.Println(err)
		return
	}
	mux := ordersMux(func(next http.Handler) http.Handler { return either(auth, former, next) })
	get("here, the old token", mux, "/acme/orders", old)
	get("here, a new token", mux, "/acme/orders", must(auth.Issue("acme", jwtauth.Subject("alice"))))
	// Output:
	// by hand, an old token: 200 the orders of acme, for alice
	// here, the old token: 200 the orders of acme, for alice
	// here, a new token: 200 the orders of acme, for alice
}

func TestWhatIsStricterThanGolangJWT(t *testing.T) {
	token := func(head map[string]any, changes jwt.MapClaims) []func(*http.Request) {
		claims := jwt.MapClaims{"sub": "alice", "tenant": "acme"}
		for name, value := range changes {
			claims[name] = value
		}
		return []func(*http.Request){bearer(sign(jwt.SigningMethodHS256, oldSecret, head, with(claims)))}
	}
	good := token(nil, nil)
	twice := append(token(nil, nil), good...)
	auth, err := jwtauth.New(keys.HS256(oldSecret), jwtauth.WithContainerClaim("tenant"),
		jwtauth.WithContainer(func(r *http.Request) string { return r.PathValue("tenant") }), jwtauth.WithStatus(jwtauth.BearerStatus))
	require.NoError(t, err)
	testDifferences(t, "/acme/orders", byHand("HS256", oldSecret), ordersMux(auth.Private), []difference{
		{"a good token passes both", "", good, 200, 200},
		{"no token", "", nil, 401, 401},
		{"an expired token", "", token(nil, jwt.MapClaims{"exp": 1}), 401, 401},
		{"a token without exp", "", token(nil, jwt.MapClaims{"exp": nil}), 200, 401},
		{"a token of another tenant", "", token(nil, jwt.MapClaims{"tenant": "other"}), 403, 403},
		{"a token with an audience", "", token(nil, jwt.MapClaims{"aud": "x"}), 200, 401},
		{"a token of tomorrow", "", token(nil, jwt.MapClaims{"iat": time.Now().Add(time.Minute).Unix()}), 200, 401},
		{"a claim that differs from jti by case", "", token(nil, jwt.MapClaims{"Jti": "x"}), 200, 401},
		{"a token of another type", "", token(map[string]any{"typ": "at+jwt"}, nil), 200, 401},
		{"a token with a kid", "", token(map[string]any{"kid": "x"}, nil), 200, 200},
		{"exp with a fraction", "", token(nil, jwt.MapClaims{"exp": float64(time.Now().Unix()) + 60.5}), 200, 200},
		{"two tokens in two Authorization fields", "", twice, 200, 400},
	})
	t.Run("a sub that is a number", func(t *testing.T) {
		text := sign(jwt.SigningMethodHS256, oldSecret, nil, with(jwt.MapClaims{"sub": 42, "tenant": "acme"}))
		_, err := jwt.Parse(text, func(*jwt.Token) (any, error) { return oldSecret, nil }, jwt.WithValidMethods([]string{"HS256"}))
		require.NoError(t, err, "into a MapClaims")
		_, err = auth.Verify(t.Context(), text, "acme")
		require.ErrorIs(t, err, jwtauth.ErrMalformed)
	})
	t.Run("in a ring, a key pair without an ID needs the thumbprint as kid", func(t *testing.T) {
		private, err := rsa.GenerateKey(rand.Reader, 2048)
		require.NoError(t, err)
		newKey, _ := newPair()
		_, verifying, _, err := golangJWTTransition(newKey, keys.Verifier(&private.PublicKey))
		require.NoError(t, err)
		claims := with(jwt.MapClaims{"tenant": "acme"})
		_, err = verifying.Verify(t.Context(), sign(jwt.SigningMethodRS256, private, nil, claims), "acme")
		require.ErrorIs(t, err, jwtauth.ErrUnknownKey)
		_, verifying, _, err = golangJWTTransition(newKey, keys.Verifier(&private.PublicKey).WithID("k1"))
		require.NoError(t, err)
		_, err = verifying.Verify(t.Context(), sign(jwt.SigningMethodRS256, private, map[string]any{"kid": "k1"}, claims), "acme")
		require.NoError(t, err, "a key with the ID that the tokens name verifies them")
	})
	t.Run("WithIssuer rejects old tokens without iss", func(t *testing.T) {
		newKey, _ := newPair()
		_, _, issuing, err := golangJWTTransition(newKey, keys.HS256(oldSecret))
		require.NoError(t, err)
		_, err = issuing.Verify(t.Context(), sign(jwt.SigningMethodHS256, oldSecret, nil, with(jwt.MapClaims{"tenant": "acme"})), "acme")
		require.ErrorIs(t, err, jwtauth.ErrIssuer)
	})
	t.Run("WithMaxLifetime applies only with WithRevocations", func(t *testing.T) {
		_, err := auth.Verify(t.Context(), sign(jwt.SigningMethodHS256, oldSecret, nil, with(jwt.MapClaims{"tenant": "acme", "exp": time.Now().Add(1000 * time.Hour).Unix()})), "acme")
		require.NoError(t, err)
	})
}

func TestHostileTokensWhileMovingFromGolangJWT(t *testing.T) {
	newKey, public := newPair()
	_, verifying, issuing, err := golangJWTTransition(newKey, keys.HS256(oldSecret))
	require.NoError(t, err)
	old := sign(jwt.SigningMethodHS256, oldSecret, nil, with(jwt.MapClaims{"sub": "alice", "tenant": "acme"}))
	fresh, err := issuing.Issue("acme", jwtauth.Subject("alice"))
	require.NoError(t, err)
	for name, authentic := range map[string]string{"made of an old token": old, "made of a new token": fresh} {
		t.Run(name, func(t *testing.T) {
			testHostile(t, ordersMux(verifying.Private), "/acme/orders", authentic, newKey.ID(), public)
		})
	}
	t.Run("with an Auth for each key", func(t *testing.T) {
		private, err := rsa.GenerateKey(rand.Reader, 2048)
		require.NoError(t, err)
		auth, former, err := rsaAuths(newKey, &private.PublicKey)
		require.NoError(t, err)
		mux := ordersMux(func(next http.Handler) http.Handler { return either(auth, former, next) })
		old := sign(jwt.SigningMethodRS256, private, nil, with(jwt.MapClaims{"sub": "alice", "tenant": "acme", "aud": "orders"}))
		testHostile(t, mux, "/acme/orders", old, newKey.ID(), public)
		testHostile(t, mux, "/acme/orders", old, "", &private.PublicKey)
		status, body := call(mux, "GET", "/acme/orders", bearer(strings.Repeat("x", 9000)))
		require.Equal(t, http.StatusUnauthorized, status, body)
	})
}
