package moving_test

import (
	"expvar"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	chijwtauth "github.com/go-chi/jwtauth/v5"
	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/keys"
)

// chiBefore returns a handler with go-chi/jwtauth, set up as in its README.
func chiBefore(tokenAuth *chijwtauth.JWTAuth) http.Handler {
	router := chi.NewRouter()
	router.Group(func(r chi.Router) {
		r.Use(chijwtauth.Verifier(tokenAuth))
		r.Use(chijwtauth.Authenticator(tokenAuth))
		hello := func(w http.ResponseWriter, r *http.Request) {
			_, claims, _ := chijwtauth.FromContext(r.Context())
			fmt.Fprintf(w, "hello, user %v", claims["user_id"])
		}
		r.Get("/admin", hello)
		r.Post("/admin", hello)
	})
	return router
}

// chiAuth returns the Auth that replaces the middleware of chiBefore.
func chiAuth(key keys.Source) (*jwtauth.Auth, error) {
	return jwtauth.New(key,
		jwtauth.WithAnyContainer(),
		jwtauth.WithExtractors(jwtauth.FromHeader("Authorization", "Bearer"), jwtauth.FromCookie("jwt")),
		jwtauth.WithStatus(jwtauth.BearerStatus),
	)
}

func chiRouter(auth *jwtauth.Auth, middlewares ...func(http.Handler) http.Handler) http.Handler {
	router := chi.NewRouter()
	router.Group(func(r chi.Router) {
		r.Use(auth.Private)
		r.Use(middlewares...)
		r.Get("/admin", admin)
		r.Post("/admin", admin)
	})
	return router
}

func admin(w http.ResponseWriter, r *http.Request) {
	claims, _ := jwtauth.FromContext(r.Context())
	var own struct {
		UserID int `json:"user_id"`
	}
	if err := claims.Decode(&own); err != nil {
		http.Error(w, "the token names no user", http.StatusForbidden)
		return
	}
	fmt.Fprintf(w, "hello, user %d", own.UserID)
}

// After the move, when there are no old tokens any more, this is the whole server.
func Example_fromChi() {
	key, err := keys.Generate("EdDSA")
	if err != nil {
		fmt.Println(err)
		return
	}
	auth, err := jwtauth.New(key,
		jwtauth.WithAnyContainer(),
		jwtauth.WithExtractors(jwtauth.FromHeader("Authorization", "Bearer"), jwtauth.FromCookie("jwt")),
		jwtauth.WithStatus(jwtauth.BearerStatus),
	)
	if err != nil {
		fmt.Println(err)
		return
	}
	router := chi.NewRouter()
	router.Group(func(r chi.Router) {
		r.Use(auth.Private)
		r.Get("/admin", admin)
	})
	token, err := auth.Issue("", jwtauth.Claim("user_id", 123), jwtauth.TTL(time.Hour))
	if err != nil {
		fmt.Println(err)
		return
	}
	get("with a token", router, "/admin", token)
	get("with garbage", router, "/admin", "garbage")
	// Output:
	// with a token: 200 hello, user 123
	// with garbage: 401 {"code":"token_not_valid","detail":"The token is not valid."}
}

// chiTransition returns two Auths that share a ring. verifying also accepts old tokens, and
// is dropped when they have expired. issuing issues the new tokens, and later verifies
// them, too.
func chiTransition(newKey keys.Key, oldSecret []byte) (ring *keys.Ring, verifying, issuing *jwtauth.Auth, err error) {
	ring, err = keys.NewRing(newKey, keys.HS256(oldSecret)) // the first signs, both verify
	if err != nil {
		return nil, nil, nil, err
	}
	options := []jwtauth.Option{
		jwtauth.WithAnyContainer(),
		jwtauth.WithExtractors(jwtauth.FromHeader("Authorization", "Bearer"), jwtauth.FromCookie("jwt")),
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
func Example_fromChiTransition() {
	tokenAuth := chijwtauth.New("HS256", oldSecret, nil)
	claims := map[string]any{"user_id": 7}
	chijwtauth.SetExpiryIn(claims, time.Hour)
	_, old, _ := tokenAuth.Encode(claims)
	get("go-chi/jwtauth, an old token", chiBefore(tokenAuth), "/admin", old)

	newKey, _ := newPair()
	ring, verifying, issuing, err := chiTransition(newKey, oldSecret)
	if err != nil {
		fmt.Println(err)
		return
	}
	var oldTokens expvar.Int
	router := chiRouter(verifying, func(next http.Handler) http.Handler {
		return countOld(issuing.Issuer(), &oldTokens, next)
	})
	fresh := must(issuing.Issue("", jwtauth.Claim("user_id", 7)))
	get("here, the old token", router, "/admin", old)
	get("here, a new token", router, "/admin", fresh)
	fmt.Println("old tokens seen:", oldTokens.Value())

	if err := ring.Retire(""); err != nil { // the key without an ID
		fmt.Println(err)
		return
	}
	get("later, the old token", router, "/admin", old)
	get("later, the new token, and issuing alone", chiRouter(issuing), "/admin", fresh)
	// Output:
	// go-chi/jwtauth, an old token: 200 hello, user 7
	// here, the old token: 200 hello, user 7
	// here, a new token: 200 hello, user 7
	// old tokens seen: 1
	// later, the old token: 401 {"code":"token_not_valid","detail":"The token is not valid."}
	// later, the new token, and issuing alone: 200 hello, user 7
}

func TestWhatIsStricterThanChi(t *testing.T) {
	token := func(head map[string]any, changes jwt.MapClaims) string {
		changes["user_id"] = 7
		return sign(jwt.SigningMethodHS256, oldSecret, head, with(changes))
	}
	good := token(nil, jwt.MapClaims{})
	cookie := header("Cookie", "jwt="+good)
	auth, err := chiAuth(keys.HS256(oldSecret))
	require.NoError(t, err)
	testDifferences(t, "/admin", chiBefore(chijwtauth.New("HS256", oldSecret, nil)), chiRouter(auth), []difference{
		{"a good token passes both", "", []func(*http.Request){bearer(good)}, 200, 200},
		{"so it does in the cookie", "", []func(*http.Request){cookie}, 200, 200},
		{"no token", "", nil, 401, 401},
		{"an expired token", "", []func(*http.Request){bearer(token(nil, jwt.MapClaims{"exp": 1}))}, 401, 401},
		{"a token without exp", "", []func(*http.Request){bearer(token(nil, jwt.MapClaims{"exp": nil}))}, 200, 401},
		{"a token with an audience", "", []func(*http.Request){bearer(token(nil, jwt.MapClaims{"aud": "x"}))}, 200, 401},
		{"a token with an issuer", "", []func(*http.Request){bearer(token(nil, jwt.MapClaims{"iss": "x"}))}, 200, 200},
		{"a token of another type", "", []func(*http.Request){bearer(token(map[string]any{"typ": "at+jwt"}, jwt.MapClaims{}))}, 200, 401},
		{"a token without typ", "", []func(*http.Request){bearer(token(map[string]any{"typ": nil}, jwt.MapClaims{}))}, 200, 200},
		{"a token with a kid", "", []func(*http.Request){bearer(token(map[string]any{"kid": "x"}, jwt.MapClaims{}))}, 200, 200},
		{"a claim that differs from exp by case", "", []func(*http.Request){bearer(token(nil, jwt.MapClaims{"Exp": 1}))}, 200, 401},
		{"two tokens in two Authorization fields", "", []func(*http.Request){bearer(good), bearer(good)}, 200, 400},
		{"two equal cookies", "", []func(*http.Request){cookie, cookie}, 200, 200},
		{"two different cookies", "", []func(*http.Request){cookie, header("Cookie", "jwt="+token(nil, jwt.MapClaims{"jti": "x"}))}, 200, 400},
		{"a scheme without a token, and a cookie", "", []func(*http.Request){header("Authorization", "Bearer "), cookie}, 200, 401},
		{"a POST of another origin with the cookie", "POST", []func(*http.Request){cookie, header("Sec-Fetch-Site", "cross-site")}, 200, 403},
		{"a POST of another origin with the header", "POST", []func(*http.Request){bearer(good), header("Sec-Fetch-Site", "cross-site")}, 200, 200},
	})

	t.Run("a Verifier alone lets everything through, as Public does", func(t *testing.T) {
		ok := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, has := jwtauth.FromContext(r.Context())
			_, _, err := chijwtauth.FromContext(r.Context())
			fmt.Fprint(w, has, err)
		})
		status, body := call(chijwtauth.Verifier(chijwtauth.New("HS256", oldSecret, nil))(ok), "GET", "/", bearer("garbage"))
		require.Equal(t, 200, status)
		require.Equal(t, "false token is unauthorized", body)
		status, body = call(auth.Public(ok), "GET", "/", bearer("garbage"))
		require.Equal(t, 200, status)
		require.Equal(t, "false <nil>", body)
	})
	t.Run("the default status is 403", func(t *testing.T) {
		auth, err := jwtauth.New(keys.HS256(oldSecret), jwtauth.WithAnyContainer())
		require.NoError(t, err)
		status, _ := call(chiRouter(auth), "GET", "/admin")
		require.Equal(t, 403, status)
	})
	t.Run("a secret under 32 bytes", func(t *testing.T) {
		_, _, err := chijwtauth.New("HS256", []byte("secret"), nil).Encode(map[string]any{})
		require.NoError(t, err)
		_, err = chiAuth(keys.HS256([]byte("secret")))
		require.ErrorContains(t, err, "it needs at least 32 random ones")
	})
}

func TestHostileTokensWhileMovingFromChi(t *testing.T) {
	newKey, public := newPair()
	_, verifying, issuing, err := chiTransition(newKey, oldSecret)
	require.NoError(t, err)
	_, old, err := chijwtauth.New("HS256", oldSecret, nil).Encode(with(jwt.MapClaims{"user_id": 7}))
	require.NoError(t, err)
	t.Run("made of an old token", func(t *testing.T) { testHostile(t, chiRouter(verifying), "/admin", old, newKey.ID(), public) })
	fresh, err := issuing.Issue("", jwtauth.Claim("user_id", 7))
	require.NoError(t, err)
	t.Run("made of a new token", func(t *testing.T) { testHostile(t, chiRouter(verifying), "/admin", fresh, newKey.ID(), public) })
}
