package jwtauth_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/keys"
)

// verify prints what an Auth says of a token of my-container.
func verify(auth *jwtauth.Auth, token string) {
	claims, err := auth.Verify(context.Background(), token, "my-container")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("good, until", claims.ExpiresAt.Format(time.DateTime))
}

// atNoon is an Auth by a clock that has stopped.
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

// What the old service issued stays good, by its own key.
func ExampleWithTrustedIssuer() {
	old := must(jwtauth.New(keys.HS256([]byte("the secret of the old service...")), jwtauth.WithIssuer("https://old.example.com")))
	auth := exampleAuth(jwtauth.WithIssuer("https://api.example.com"), jwtauth.WithAnyContainer(),
		jwtauth.WithTrustedIssuer("https://old.example.com", keys.HS256([]byte("the secret of the old service..."))))
	get(auth.Private(hello), "/", must(old.Issue("my-container", jwtauth.Subject("alice"))))
	get(auth.Private(hello), "/", must(auth.Issue("", jwtauth.Subject("bob"))))

	// Whoever has one key cannot sign for the issuer of the other.
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
	// jwtauth: token not valid yet: nbf is to come
	// good, until 2026-03-24 12:00:00
}

func ExampleWithTypes() {
	invites := atNoon(jwtauth.WithTypes("invite+jwt"))
	token := must(invites.Issue("my-container"))
	verify(invites, token)
	verify(atNoon(), token)
	// Output:
	// good, until 2026-03-24 12:00:00
	// jwtauth: wrong type of token: "JWT" is wanted
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
	r.Header.Set("Authorization", "Bearer garbage") // judged first, and no further
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

// blocked is a list of token ids; an error would mean "cannot know now".
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

// Room for a million tokens, at most 1 GiB. A token that is remembered expires
// all the same.
func ExampleWithCache() {
	at := time.Date(2026, time.March, 14, 12, 0, 0, 0, time.UTC)
	auth := must(jwtauth.New(keys.HS256(secret), jwtauth.WithCache(1_000_000), jwtauth.WithClock(func() time.Time { return at })))
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
	// Output: jwtauth: token not valid yet: nbf is to come
}

func ExampleClaim() {
	auth := exampleAuth()
	_, err := auth.Issue("my-container", jwtauth.Claim("EXP", 0))
	fmt.Println(err)
	// Output: jwtauth: Issue: Claim("EXP"): the name is reserved, or would be taken for one that is; choose another
}

func ExampleRevocationChecker() {
	down := revocationsFunc(func(jwtauth.Claims) (bool, error) { return false, errors.New("no connection") })
	auth := must(jwtauth.New(keys.HS256(secret), jwtauth.WithAnyContainer(), jwtauth.WithRevocations(down)))
	get(auth.Private(hello), "/", must(auth.Issue("")))
	// Output: 503 {"code":"unavailable","detail":"The token cannot be judged now. Try again."}
}

type revocationsFunc func(jwtauth.Claims) (bool, error)

func (f revocationsFunc) Revoked(_ context.Context, c jwtauth.Claims) (bool, error) { return f(c) }

func ExamplePolicy() {
	var policy jwtauth.Policy
	fmt.Println(policy, jwtauth.Public, jwtauth.Optional)
	// Output: private public optional
}
