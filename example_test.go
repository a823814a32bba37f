package jwtauth_test

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"time"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/internal/authtest"
	"github.com/joinednode/jwtauth/keys"
)

// hello greets the subject of the token.
var hello = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	if claims, ok := jwtauth.FromContext(r.Context()); ok {
		fmt.Fprintf(w, "hello, %s", claims.Subject)
		return
	}
	io.WriteString(w, "hello, guest")
})

// must returns the value, and panics if there is an error. A server would log the error and
// stop.
func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

// exampleAuth returns an Auth with a fixed secret, for examples that are not about keys.
func exampleAuth(opts ...jwtauth.Option) *jwtauth.Auth {
	return must(jwtauth.New(keys.HS256(authtest.Secret), opts...))
}

// get sends a request to a handler and prints the response.
func get(h http.Handler, target, token string) {
	r := httptest.NewRequest("GET", target, nil)
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	send(h, r)
}

func send(h http.Handler, r *http.Request) {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	fmt.Println(w.Code, strings.TrimSpace(w.Body.String()))
}

func Example() {
	auth, err := jwtauth.New(keys.HS256(authtest.Secret), jwtauth.WithIssuer("https://api.example.com"))
	if err != nil {
		fmt.Println(err)
		return
	}
	mux := http.NewServeMux()
	mux.Handle("/run/{container}/hello", auth.Public(hello))
	mux.Handle("/run/{container}/notify", auth.Private(hello))

	token, err := auth.Issue("my-container", jwtauth.Subject("alice"))
	if err != nil {
		fmt.Println(err)
		return
	}
	get(mux, "/run/my-container/notify", token)
	get(mux, "/run/my-container/notify?token="+token, "")
	get(mux, "/run/my-container/notify", "")
	get(mux, "/run/others/notify", token)
	get(mux, "/run/others/hello", "")
	// Output:
	// 200 hello, alice
	// 200 hello, alice
	// 403 {"code":"not_authenticated","detail":"A token is needed."}
	// 403 {"code":"token_not_valid","detail":"The token is not valid.","reason":"wrong_container"}
	// 200 hello, guest
}

func ExampleNew() {
	_, err := jwtauth.New(keys.HS256([]byte("too short")), jwtauth.WithLeeway(time.Hour))
	fmt.Println(err)
	// Output:
	// jwtauth: New: keys: the secret for HS256 has 9 bytes; it needs at least 32 random ones
	// WithLeeway(1h0m0s): it must lie between 0 and 5m0s
}

func ExampleAuth_Issue() {
	auth := exampleAuth()
	token := must(auth.Issue("my-container",
		jwtauth.Subject("alice"), jwtauth.TTL(time.Hour), jwtauth.Claim("plan", "pro")))
	claims := must(auth.Verify(context.Background(), token, "my-container"))
	fmt.Println(claims.Container, claims.Subject, claims.ExpiresAt.Sub(claims.IssuedAt))

	_, err := auth.Issue("")
	fmt.Println(errors.Is(err, jwtauth.ErrNoContainer))
	// Output:
	// my-container alice 1h0m0s
	// true
}

func ExampleAuth_Verify() {
	auth := exampleAuth()
	token := must(auth.Issue("my-container", jwtauth.Subject("alice")))
	claims, err := auth.Verify(context.Background(), token, "my-container")
	fmt.Println(claims.Subject, err)
	_, err = auth.Verify(context.Background(), token, "others")
	fmt.Println(errors.Is(err, jwtauth.ErrContainer))
	// Output:
	// alice <nil>
	// true
}

func ExampleAuth_VerifyAnyContainer() {
	auth := exampleAuth()
	token := must(auth.Issue("my-container"))
	claims, err := auth.VerifyAnyContainer(context.Background(), token)
	fmt.Println(claims.Container, err)
	// Output: my-container <nil>
}

func ExampleAuth_Inspect() {
	clock := time.Now()
	auth := exampleAuth(jwtauth.WithClock(func() time.Time { return clock }))
	token := must(auth.Issue("my-container", jwtauth.TTL(time.Minute)))
	clock = clock.Add(time.Hour)
	claims, err := auth.Inspect(context.Background(), token)
	fmt.Println(claims.Container, errors.Is(err, jwtauth.ErrExpired))
	// Output: my-container true
}

func ExampleAuth_Check() {
	auth := exampleAuth()
	mux := http.NewServeMux()
	mux.HandleFunc("/run/{container}/notify", func(w http.ResponseWriter, r *http.Request) {
		claims, err := auth.Check(r)
		if err != nil {
			auth.Deny(w, r, err)
			return
		}
		fmt.Fprint(w, claims.Container)
	})
	get(mux, "/run/my-container/notify", must(auth.Issue("my-container")))
	get(mux, "/run/my-container/notify", "garbage")
	// Output:
	// 200 my-container
	// 403 {"code":"token_not_valid","detail":"The token is not valid."}
}

func ExampleAuth_Extract() {
	auth := exampleAuth()
	r := httptest.NewRequest("GET", "/run/my-container/notify", nil)
	r.Header.Set("Authorization", "Bearer "+must(auth.Issue("my-container")))
	presented, err := auth.Extract(r)
	fmt.Println(presented.In == jwtauth.InHeader, presented.Name, err)
	claims, err := auth.VerifyAnyContainer(r.Context(), presented.Token)
	fmt.Println(claims.Container, err)
	// Output:
	// true Authorization <nil>
	// my-container <nil>
}

func ExampleAuth_Recheck() {
	clock := time.Now()
	auth := exampleAuth(jwtauth.WithClock(func() time.Time { return clock }))
	claims := must(auth.Verify(context.Background(), must(auth.Issue("my-container", jwtauth.TTL(time.Minute))), "my-container"))

	// ... later, in a stream:
	fmt.Println(auth.Recheck(context.Background(), claims))
	clock = clock.Add(time.Minute)
	fmt.Println(errors.Is(auth.Recheck(context.Background(), claims), jwtauth.ErrExpired))
	// Output:
	// <nil>
	// true
}

func ExampleAuth_Private() {
	auth := exampleAuth()
	mux := http.NewServeMux()
	mux.Handle("/run/{container}/notify", auth.Private(hello))
	get(mux, "/run/my-container/notify", must(auth.Issue("my-container", jwtauth.Subject("alice"))))
	get(mux, "/run/my-container/notify", "")
	// Output:
	// 200 hello, alice
	// 403 {"code":"not_authenticated","detail":"A token is needed."}
}

func ExampleAuth_Public() {
	auth := exampleAuth()
	mux := http.NewServeMux()
	mux.Handle("/run/{container}/hello", auth.Public(hello))
	get(mux, "/run/my-container/hello", must(auth.Issue("my-container", jwtauth.Subject("alice"))))
	get(mux, "/run/my-container/hello", "garbage")
	// Output:
	// 200 hello, alice
	// 200 hello, guest
}

func ExampleAuth_Optional() {
	auth := exampleAuth()
	mux := http.NewServeMux()
	mux.Handle("/run/{container}/hello", auth.Optional(hello))
	get(mux, "/run/my-container/hello", "")
	get(mux, "/run/my-container/hello", "garbage")
	// Output:
	// 200 hello, guest
	// 403 {"code":"token_not_valid","detail":"The token is not valid."}
}

func ExampleAuth_Protect() {
	auth := exampleAuth()
	public := map[string]bool{"hello": true} // in a server, this would be a database
	protect := auth.Protect(func(r *http.Request) (jwtauth.Rule, error) {
		if public[r.PathValue("recipe")] {
			return jwtauth.Rule{Policy: jwtauth.Public}, nil
		}
		return jwtauth.Rule{Policy: jwtauth.Private}, nil
	})
	mux := http.NewServeMux()
	mux.Handle("/run/{container}/{recipe}", protect(hello))
	get(mux, "/run/my-container/hello", "")
	get(mux, "/run/my-container/notify", "")
	// Output:
	// 200 hello, guest
	// 403 {"code":"not_authenticated","detail":"A token is needed."}
}

func ExampleAuth_Routes() {
	auth := exampleAuth()
	wrap, err := auth.Routes(map[string]jwtauth.Policy{
		"/run/{container}/{recipe}": jwtauth.Private,
		"/run/{container}/hello":    jwtauth.Public,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	mux := http.NewServeMux() // or any other router
	mux.Handle("/run/{container}/{recipe}", hello)
	mux.Handle("/forgotten", hello)
	handler := wrap(mux)

	get(handler, "/run/my-container/hello", "")
	get(handler, "/run/my-container/notify", "")
	get(handler, "/run/my-container/notify", must(auth.Issue("my-container", jwtauth.Subject("alice"))))
	get(handler, "/forgotten", "")

	_, err = auth.Routes(map[string]jwtauth.Policy{"/run/../x": jwtauth.Public})
	fmt.Println(err)
	// Output:
	// 200 hello, guest
	// 403 {"code":"not_authenticated","detail":"A token is needed."}
	// 200 hello, alice
	// 403 {"code":"not_authenticated","detail":"A token is needed."}
	// jwtauth: Routes: "/run/../x": a path with an empty or dotted segment, or a backslash, is always denied; leave it out
}

func ExampleAuth_TokenEndpoint() {
	auth := exampleAuth()
	ownerKey := []byte("made at random, and kept")
	ownerMayMint := func(r *http.Request, container string) ([]jwtauth.IssueOption, error) {
		user, password, _ := r.BasicAuth()
		if user != container || subtle.ConstantTimeCompare([]byte(password), ownerKey) != 1 {
			return nil, errors.New("not the owner")
		}
		return []jwtauth.IssueOption{jwtauth.Subject(user)}, nil
	}
	mux := http.NewServeMux()
	mux.Handle("POST /create-token/{container}", auth.TokenEndpoint(ownerMayMint))

	r := httptest.NewRequest("POST", "/create-token/my-container", nil)
	r.SetBasicAuth("my-container", string(ownerKey))
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, r)
	fmt.Println(w.Code, strings.Contains(w.Body.String(), `"token_type":"Bearer","expires_in":864000`))

	send(mux, httptest.NewRequest("POST", "/create-token/my-container", nil))
	// Output:
	// 200 true
	// 403 {"code":"not_authenticated","detail":"You may not have a token of this container."}
}

func ExampleAuth_Deny() {
	auth := exampleAuth()
	w := httptest.NewRecorder()
	auth.Deny(w, httptest.NewRequest("GET", "/", nil), jwtauth.ErrExpired)
	fmt.Println(w.Code, w.Header().Get("WWW-Authenticate"), w.Body)
	// Output:
	// 403 Bearer error="invalid_token" {"code":"token_not_valid","detail":"The token is not valid.","reason":"expired"}
}

func ExampleFromContext() {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		claims, ok := jwtauth.FromContext(r.Context())
		fmt.Fprint(w, claims.Subject, " ", ok)
	})
	auth := exampleAuth()
	mux := http.NewServeMux()
	mux.Handle("/run/{container}/hello", auth.Public(handler))
	get(mux, "/run/my-container/hello", must(auth.Issue("my-container", jwtauth.Subject("alice"))))
	// Output: 200 alice true
}

func ExampleNewContext() {
	// A handler can be tested without a token.
	r := httptest.NewRequest("GET", "/", nil)
	r = r.WithContext(jwtauth.NewContext(r.Context(), jwtauth.Claims{Subject: "alice"}))
	send(hello, r)
	// Output: 200 hello, alice
}

func ExampleClaims_Decode() {
	auth := exampleAuth()
	token := must(auth.Issue("my-container", jwtauth.Claim("plan", "pro"), jwtauth.Claim("seats", 5)))
	claims := must(auth.Verify(context.Background(), token, "my-container"))
	var own struct {
		Plan  string `json:"plan"`
		Seats int    `json:"seats"`
	}
	err := claims.Decode(&own)
	fmt.Println(own.Plan, own.Seats, err)
	// Output: pro 5 <nil>
}

func ExampleExtractor() {
	// fromTicket reads a token that follows the application's own prefix, "v1:".
	fromTicket := func(r *http.Request) (jwtauth.RawToken, error) {
		token, found := strings.CutPrefix(r.Header.Get("X-Ticket"), "v1:")
		if !found {
			return jwtauth.RawToken{}, nil
		}
		return jwtauth.RawToken{Token: token, In: jwtauth.InHeader, Name: "X-Ticket"}, nil
	}
	auth := exampleAuth(jwtauth.WithAnyContainer(), jwtauth.WithExtractors(fromTicket))
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("X-Ticket", "v1:"+must(auth.Issue("", jwtauth.Subject("alice"))))
	send(auth.Private(hello), r)
	// Output: 200 hello, alice
}

func ExampleFromHeader() {
	auth := exampleAuth(jwtauth.WithAnyContainer(), jwtauth.WithExtractors(jwtauth.FromHeader("X-Api-Token", "")))
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("X-Api-Token", must(auth.Issue("", jwtauth.Subject("alice"))))
	send(auth.Private(hello), r)
	// Output: 200 hello, alice
}

func ExampleFromQuery() {
	auth := exampleAuth(jwtauth.WithAnyContainer(), jwtauth.WithExtractors(jwtauth.FromQuery("access_token")))
	handler := auth.Private(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.URL)
	}))
	get(handler, "/report?access_token="+must(auth.Issue(""))+"&year=2026", "")
	// Output: 200 /report?year=2026
}

func ExampleFromCookie() {
	auth := exampleAuth(jwtauth.WithAnyContainer(), jwtauth.WithExtractors(jwtauth.FromCookie("__Host-session")))
	handler := auth.Private(hello)
	r := httptest.NewRequest("POST", "/", nil)
	r.AddCookie(&http.Cookie{Name: "__Host-session", Value: must(auth.Issue("", jwtauth.Subject("alice")))})
	r.Header.Set("Sec-Fetch-Site", "same-origin") // browsers send this field
	send(handler, r)
	r.Header.Set("Sec-Fetch-Site", "cross-site")
	send(handler, r)
	// Output:
	// 200 hello, alice
	// 403 {"code":"token_not_valid","detail":"The token is not valid."}
}

func ExampleFromForm() {
	auth := exampleAuth(jwtauth.WithAnyContainer(), jwtauth.WithExtractors(jwtauth.FromForm("access_token")))
	body := "access_token=" + must(auth.Issue("", jwtauth.Subject("alice")))
	r := httptest.NewRequest("POST", "/", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	send(auth.Private(hello), r)
	// Output: 200 hello, alice
}

func ExampleWithContainer() {
	auth := exampleAuth(jwtauth.WithContainer(func(r *http.Request) string {
		container, _, _ := strings.Cut(r.Host, ".") // my-container.example.com
		return container
	}))
	get(auth.Private(hello), "http://my-container.example.com/", must(auth.Issue("my-container", jwtauth.Subject("alice"))))
	// Output: 200 hello, alice
}

func ExampleWithStatus() {
	auth := exampleAuth(jwtauth.WithStatus(jwtauth.BearerStatus))
	get(auth.Private(hello), "/", "")
	// Output: 401 {"code":"not_authenticated","detail":"A token is needed."}
}

func ExampleWithDenial() {
	auth := exampleAuth(jwtauth.WithDenial(func(w http.ResponseWriter, _ *http.Request, d jwtauth.Denial) {
		http.Error(w, d.Detail, d.Status)
	}))
	get(auth.Private(hello), "/", "")
	// Output: 403 A token is needed.
}

func ExampleWithLogger() {
	logger := slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{
		Level: slog.LevelDebug,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	}))
	auth := exampleAuth(jwtauth.WithLogger(logger))
	auth.Verify(context.Background(), "not.a.token!", "my-container")
	// Output:
	// level=DEBUG msg="jwtauth: refused" reason=malformed error="jwtauth: malformed token: a character outside base64url"
}

func ExampleWithObserver() {
	auth := exampleAuth(jwtauth.WithObserver(func(_ context.Context, d jwtauth.Decision) {
		fmt.Println(d.Operation, d.Allowed, d.Reason)
	}))
	auth.Verify(context.Background(), "not.a.token!", "my-container")
	// Output: verify false malformed
}

func ExampleReason() {
	_, err := exampleAuth().Verify(context.Background(), "not.a.token!", "my-container")
	fmt.Println(jwtauth.Reason(err))
	// Output: malformed
}

func ExampleBearerStatus() {
	fmt.Println(jwtauth.BearerStatus(jwtauth.ErrExpired), jwtauth.BearerStatus(jwtauth.ErrContainer))
	// Output: 401 403
}

// verify prints the result of verifying a token for my-container.
func verify(auth *jwtauth.Auth, token string) {
	claims, err := auth.Verify(context.Background(), token, "my-container")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("good, until", claims.ExpiresAt.Format(time.DateTime))
}

// atNoon returns an Auth whose clock stands still at noon.
func atNoon(opts ...jwtauth.Option) *jwtauth.Auth {
	noon := time.Date(2026, time.March, 14, 12, 0, 0, 0, time.UTC)
	return exampleAuth(append(opts, jwtauth.WithClock(func() time.Time { return noon }))...)
}

func ExampleWithIssuer() {
	token := must(atNoon(jwtauth.WithIssuer("https://a.example.com")).Issue("my-container"))
	verify(atNoon(jwtauth.WithIssuer("https://a.example.com")), token)
	verify(atNoon(jwtauth.WithIssuer("https://b.example.com")), token)
	// Output:
	// good, until 2026-03-24 12:00:00
	// jwtauth: wrong issuer
}

func ExampleWithAudience() {
	token := must(atNoon(jwtauth.WithAudience("api")).Issue("my-container"))
	verify(atNoon(jwtauth.WithAudience("api", "admin")), token)
	verify(atNoon(jwtauth.WithAudience("billing")), token)
	verify(atNoon(), token)
	// Output:
	// good, until 2026-03-24 12:00:00
	// jwtauth: wrong audience
	// jwtauth: wrong audience
}

// Tokens of the old service stay valid, and are verified with its own key.
func ExampleWithTrustedIssuer() {
	old := must(jwtauth.New(keys.HS256([]byte("the secret of the old service...")), jwtauth.WithIssuer("https://old.example.com")))
	auth := exampleAuth(jwtauth.WithIssuer("https://api.example.com"), jwtauth.WithAnyContainer(),
		jwtauth.WithTrustedIssuer("https://old.example.com", keys.HS256([]byte("the secret of the old service..."))))
	get(auth.Private(hello), "/", must(old.Issue("my-container", jwtauth.Subject("alice"))))
	get(auth.Private(hello), "/", must(auth.Issue("", jwtauth.Subject("bob"))))

	// An attacker with another key cannot sign for the old issuer.
	forger := exampleAuth(jwtauth.WithIssuer("https://old.example.com"))
	get(auth.Private(hello), "/", must(forger.Issue("my-container", jwtauth.Subject("alice"))))
	// Output:
	// 200 hello, alice
	// 200 hello, bob
	// 403 {"code":"token_not_valid","detail":"The token is not valid."}
}

func ExampleWithTTL() {
	auth := atNoon(jwtauth.WithTTL(15 * time.Minute))
	verify(auth, must(auth.Issue("my-container")))
	// Output: good, until 2026-03-14 12:15:00
}

func ExampleWithMaxLifetime() {
	auth := atNoon(jwtauth.WithTTL(time.Hour), jwtauth.WithMaxLifetime(24*time.Hour))
	_, err := auth.Issue("my-container", jwtauth.TTL(48*time.Hour))
	fmt.Println(err)
	// Output: jwtauth: Issue: TTL(48h0m0s): it must lie between 1s and the 24h0m0s of WithMaxLifetime
}

func ExampleWithLeeway() {
	auth := atNoon()
	token := must(auth.Issue("my-container", jwtauth.NotBefore(time.Date(2026, time.March, 14, 12, 0, 20, 0, time.UTC))))
	verify(auth, token)
	verify(atNoon(jwtauth.WithLeeway(30*time.Second)), token)
	// Output:
	// jwtauth: token not valid yet: nbf is in the future
	// good, until 2026-03-24 12:00:00
}

func ExampleWithTypes() {
	invites := atNoon(jwtauth.WithTypes("invite+jwt"))
	token := must(invites.Issue("my-container"))
	verify(invites, token)
	verify(atNoon(), token)
	// Output:
	// good, until 2026-03-24 12:00:00
	// jwtauth: wrong type of token: typ must be "JWT"
}

func ExampleWithAnyContainer() {
	auth := exampleAuth(jwtauth.WithAnyContainer())
	get(auth.Private(hello), "/", must(auth.Issue("", jwtauth.Subject("alice"))))
	// Output: 200 hello, alice
}

func ExampleWithContainerClaim() {
	auth := atNoon(jwtauth.WithContainerClaim("tenant"))
	claims := must(auth.Verify(context.Background(), must(auth.Issue("my-container")), "my-container"))
	var own struct{ Tenant string }
	err := claims.Decode(&own)
	fmt.Println(own.Tenant, err)
	// Output: my-container <nil>
}

func ExampleWithExtractors() {
	auth := exampleAuth(jwtauth.WithAnyContainer(), jwtauth.WithExtractors(
		jwtauth.FromHeader("Authorization", "Bearer"), jwtauth.FromCookie("__Host-session")))
	r := httptest.NewRequest("GET", "/", nil)
	r.AddCookie(&http.Cookie{Name: "__Host-session", Value: must(auth.Issue("", jwtauth.Subject("alice")))})
	send(auth.Private(hello), r)
	r.Header.Set("Authorization", "Bearer garbage") // found first, so the cookie is not read
	send(auth.Private(hello), r)
	// Output:
	// 200 hello, alice
	// 403 {"code":"token_not_valid","detail":"The token is not valid."}
}

func ExampleWithCrossOriginProtection() {
	protection := http.NewCrossOriginProtection()
	if err := protection.AddTrustedOrigin("https://app.example.com"); err != nil {
		fmt.Println(err)
		return
	}
	auth := exampleAuth(jwtauth.WithAnyContainer(), jwtauth.WithExtractors(jwtauth.FromCookie("session")),
		jwtauth.WithCrossOriginProtection(protection))
	r := httptest.NewRequest("POST", "/", nil)
	r.AddCookie(&http.Cookie{Name: "session", Value: must(auth.Issue("", jwtauth.Subject("alice")))})
	r.Header.Set("Sec-Fetch-Site", "same-site")
	r.Header.Set("Origin", "https://app.example.com")
	send(auth.Private(hello), r)
	// Output: 200 hello, alice
}

// blocked is a set of revoked token IDs.
type blocked map[string]bool

func (b blocked) Revoked(_ context.Context, c jwtauth.Claims) (bool, error) { return b[c.ID], nil }

func ExampleWithRevocations() {
	auth := atNoon(jwtauth.WithRevocations(blocked{"leaked": true}))
	verify(auth, must(auth.Issue("my-container")))
	verify(auth, must(auth.Issue("my-container", jwtauth.ID("leaked"))))
	// Output:
	// good, until 2026-03-24 12:00:00
	// jwtauth: token revoked
}

func ExampleWithClock() {
	now := time.Date(2026, time.March, 14, 12, 0, 0, 0, time.UTC)
	auth := exampleAuth(jwtauth.WithClock(func() time.Time { return now }))
	token := must(auth.Issue("my-container"))
	verify(auth, token)
	now = now.Add(jwtauth.DefaultTTL)
	verify(auth, token)
	// Output:
	// good, until 2026-03-24 12:00:00
	// jwtauth: token expired
}

// The cache holds up to a million tokens in at most 1 GiB. A cached token still expires.
func ExampleWithCache() {
	at := time.Date(2026, time.March, 14, 12, 0, 0, 0, time.UTC)
	auth := must(jwtauth.New(keys.HS256(authtest.Secret), jwtauth.WithCache(1_000_000), jwtauth.WithClock(func() time.Time { return at })))
	token := must(auth.Issue("my-container"))
	verify(auth, token)
	at = at.Add(jwtauth.DefaultTTL)
	verify(auth, token)
	// Output:
	// good, until 2026-03-24 12:00:00
	// jwtauth: token expired
}

func ExampleWithMaxTokenSize() {
	auth := exampleAuth(jwtauth.WithMaxTokenSize(512))
	_, err := auth.Issue("my-container", jwtauth.Claim("essay", make([]byte, 500)))
	fmt.Println(err)
	// Output: jwtauth: Issue: the token would have 1116 bytes, and WithMaxTokenSize allows 512
}

func ExampleSubject() {
	auth := exampleAuth()
	claims := must(auth.Verify(context.Background(), must(auth.Issue("my-container", jwtauth.Subject("alice"))), "my-container"))
	fmt.Println(claims.Subject)
	// Output: alice
}

func ExampleTTL() {
	auth := atNoon()
	verify(auth, must(auth.Issue("my-container", jwtauth.TTL(time.Hour))))
	// Output: good, until 2026-03-14 13:00:00
}

func ExampleID() {
	auth := exampleAuth()
	claims := must(auth.Verify(context.Background(), must(auth.Issue("my-container", jwtauth.ID("order-4711"))), "my-container"))
	fmt.Println(claims.ID)
	// Output: order-4711
}

func ExampleSessionID() {
	auth := exampleAuth()
	claims := must(auth.Verify(context.Background(), must(auth.Issue("my-container", jwtauth.SessionID("laptop"))), "my-container"))
	fmt.Println(claims.SessionID)
	// Output: laptop
}

func ExampleAudience() {
	auth := exampleAuth(jwtauth.WithAudience("api", "admin"))
	claims := must(auth.Verify(context.Background(), must(auth.Issue("my-container", jwtauth.Audience("admin"))), "my-container"))
	fmt.Println(claims.Audience)
	// Output: [admin]
}

func ExampleNotBefore() {
	auth := atNoon()
	verify(auth, must(auth.Issue("my-container", jwtauth.NotBefore(time.Date(2026, time.March, 15, 0, 0, 0, 0, time.UTC)))))
	// Output: jwtauth: token not valid yet: nbf is in the future
}

func ExampleClaim() {
	auth := exampleAuth()
	_, err := auth.Issue("my-container", jwtauth.Claim("EXP", 0))
	fmt.Println(err)
	// Output: jwtauth: Issue: Claim("EXP"): the name is reserved, or differs from a reserved one only in case; choose another
}

func ExampleRevocationChecker() {
	down := revocationsFunc(func(jwtauth.Claims) (bool, error) { return false, errors.New("no connection") })
	auth := must(jwtauth.New(keys.HS256(authtest.Secret), jwtauth.WithAnyContainer(), jwtauth.WithRevocations(down)))
	get(auth.Private(hello), "/", must(auth.Issue("")))
	// Output: 503 {"code":"unavailable","detail":"The token cannot be verified now. Try again."}
}

type revocationsFunc func(jwtauth.Claims) (bool, error)

func (f revocationsFunc) Revoked(_ context.Context, c jwtauth.Claims) (bool, error) { return f(c) }

func ExamplePolicy() {
	var policy jwtauth.Policy
	fmt.Println(policy, jwtauth.Public, jwtauth.Optional)
	// Output: private public optional
}
