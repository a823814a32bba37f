package jwtauthtest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/jwtauthtest"
)

// t takes the place of the *testing.T that examples do not have.
var t jwtauthtest.TB = panics{}

// panics is a minimal jwtauthtest.TB.
type panics struct{}

func (panics) Helper() {}

func (panics) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

// hello greets the subject of the token.
var hello = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	claims, _ := jwtauth.FromContext(r.Context())
	fmt.Fprintf(w, "hello, %s", claims.Subject)
})

// send prints the response of a handler.
func send(h http.Handler, r *http.Request) {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	fmt.Println(w.Code, w.Body)
}

// refused prints whether an Auth rejects a token of the container demo with the given
// error.
func refused(auth *jwtauthtest.Auth, token string, want error) {
	_, err := auth.Verify(context.Background(), token, "demo")
	fmt.Println(errors.Is(err, want))
}

// This example sends every bad token to a route, which must deny each request.
func Example() {
	auth := jwtauthtest.New(t, jwtauth.WithIssuer("https://api.example.com"))
	mux := http.NewServeMux()
	mux.Handle("/run/{container}/hello", auth.Private(hello))

	send(mux, jwtauthtest.Request("GET", "/run/demo/hello", auth.Token("demo", jwtauth.Subject("alice"))))
	for _, bad := range auth.Bad("demo") {
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, jwtauthtest.Request("GET", "/run/demo/hello", bad.Token))
		fmt.Printf("%d: a token %s\n", w.Code, bad.Name)
	}
	// Output:
	// 200 hello, alice
	// 403: a token cut short
	// 403: a token that is unsigned
	// 403: a token of another algorithm
	// 403: a token of an unknown key
	// 403: a token forged with another key
	// 403: a token changed after it was signed
	// 403: a token without an expiry
	// 403: a token of another type
	// 403: a token that has expired
	// 403: a token that is not valid yet
	// 403: a token of another issuer
	// 403: a token for another audience
	// 403: a token of another container
}

// New takes the options that the program passes to jwtauth.New.
func ExampleNew() {
	options := []jwtauth.Option{jwtauth.WithTTL(time.Hour), jwtauth.WithTypes("invite+jwt")}

	auth := jwtauthtest.New(t, options...)
	claims, err := auth.Verify(context.Background(), auth.Token("demo"), "demo")
	fmt.Println(claims.ExpiresAt, err)
	// Output: 2026-01-01 01:00:00 +0000 UTC <nil>
}

// A program that creates its own Auth needs the key.
func ExampleKey() {
	auth, err := jwtauth.New(jwtauthtest.Key())
	fmt.Println(jwtauthtest.Key(), err)

	token, err := auth.Issue("demo")
	fmt.Println(token != "", err)
	// Output:
	// EdDSA key "jwtauthtest" <nil>
	// true <nil>
}

// The service creates its own Auth. It gets the key and the clock of the test, and For
// issues tokens according to the options of the service.
func ExampleAuth_For() {
	auth := jwtauthtest.New(t)
	service, err := jwtauth.New(jwtauthtest.Key(), jwtauth.WithClock(auth.Clock.Now),
		jwtauth.WithIssuer("https://api.example.com"))
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = service.Verify(context.Background(), auth.For(service).WrongIssuer("demo"), "demo")
	fmt.Println(errors.Is(err, jwtauth.ErrIssuer))
	// Output: true
}

// Where a *jwtauth.Auth is required, pass the embedded field.
func ExampleAuth() {
	auth := jwtauthtest.New(t)
	serve := func(auth *jwtauth.Auth, r *http.Request) {
		r.SetPathValue("container", "demo")
		send(auth.Private(hello), r)
	}
	serve(auth.Auth, jwtauthtest.Request("GET", "/", auth.Token("demo", jwtauth.Subject("alice"))))
	// Output: 200 hello, alice
}

func ExampleAuth_Token() {
	auth := jwtauthtest.New(t)
	token := auth.Token("demo", jwtauth.Subject("alice"), jwtauth.TTL(time.Minute))

	claims, err := auth.Verify(context.Background(), token, "demo")
	fmt.Println(claims.Subject, err)
	auth.Clock.Advance(time.Minute)
	refused(auth, token, jwtauth.ErrExpired)
	// Output:
	// alice <nil>
	// true
}

// Err lets a test also compare the response that the client gets.
func ExampleAuth_Bad() {
	auth := jwtauthtest.New(t, jwtauth.WithStatus(jwtauth.BearerStatus))
	private := auth.Private(hello)
	for _, bad := range auth.Bad("demo") {
		r := jwtauthtest.Request("GET", "/", bad.Token)
		r.SetPathValue("container", "demo")
		w := httptest.NewRecorder()
		private.ServeHTTP(w, r)
		if want := jwtauth.BearerStatus(bad.Err); w.Code != want {
			fmt.Printf("a token %s: status %d, want %d\n", bad.Name, w.Code, want)
		}
	}
	fmt.Println("done")
	// Output: done
}

// Err is the error that Verify returns.
func ExampleBadToken() {
	auth := jwtauthtest.New(t)
	for _, bad := range auth.Bad("demo")[:3] {
		fmt.Printf("a token %s: %v\n", bad.Name, bad.Err)
	}
	// Output:
	// a token cut short: jwtauth: malformed token
	// a token that is unsigned: jwtauth: malformed token
	// a token of another algorithm: jwtauth: no key for the token's alg and kid
}

func ExampleAuth_Malformed() {
	auth := jwtauthtest.New(t)
	refused(auth, auth.Malformed("demo"), jwtauth.ErrMalformed)
	// Output: true
}

func ExampleAuth_Unsigned() {
	auth := jwtauthtest.New(t)
	refused(auth, auth.Unsigned("demo"), jwtauth.ErrMalformed)
	// Output: true
}

func ExampleAuth_WrongAlgorithm() {
	auth := jwtauthtest.New(t)
	refused(auth, auth.WrongAlgorithm("demo"), jwtauth.ErrUnknownKey)
	// Output: true
}

func ExampleAuth_UnknownKey() {
	auth := jwtauthtest.New(t)
	refused(auth, auth.UnknownKey("demo"), jwtauth.ErrUnknownKey)
	// Output: true
}

func ExampleAuth_Forged() {
	auth := jwtauthtest.New(t)
	refused(auth, auth.Forged("demo"), jwtauth.ErrSignature)
	// Output: true
}

func ExampleAuth_Tampered() {
	auth := jwtauthtest.New(t)
	refused(auth, auth.Tampered("demo"), jwtauth.ErrSignature)
	// Output: true
}

func ExampleAuth_WithoutExpiry() {
	auth := jwtauthtest.New(t)
	refused(auth, auth.WithoutExpiry("demo"), jwtauth.ErrMalformed)
	// Output: true
}

func ExampleAuth_WrongType() {
	auth := jwtauthtest.New(t, jwtauth.WithTypes("invite+jwt"))
	refused(auth, auth.WrongType("demo"), jwtauth.ErrType)
	// Output: true
}

// An hour earlier, the expired token was valid.
func ExampleAuth_Expired() {
	auth := jwtauthtest.New(t)
	token := auth.Expired("demo")
	refused(auth, token, jwtauth.ErrExpired)

	auth.Clock.Advance(-time.Hour)
	_, err := auth.Verify(context.Background(), token, "demo")
	fmt.Println(err)
	// Output:
	// true
	// <nil>
}

func ExampleAuth_NotYetValid() {
	auth := jwtauthtest.New(t)
	token := auth.NotYetValid("demo")
	refused(auth, token, jwtauth.ErrNotYetValid)

	auth.Clock.Advance(time.Hour)
	_, err := auth.Verify(context.Background(), token, "demo")
	fmt.Println(err)
	// Output:
	// true
	// <nil>
}

func ExampleAuth_WrongIssuer() {
	auth := jwtauthtest.New(t, jwtauth.WithIssuer("https://api.example.com"))
	refused(auth, auth.WrongIssuer("demo"), jwtauth.ErrIssuer)
	// Output: true
}

func ExampleAuth_WrongAudience() {
	auth := jwtauthtest.New(t, jwtauth.WithAudience("api"))
	refused(auth, auth.WrongAudience("demo"), jwtauth.ErrAudience)
	// Output: true
}

// The argument is the container of the request.
func ExampleAuth_WrongContainer() {
	auth := jwtauthtest.New(t)
	refused(auth, auth.WrongContainer("demo"), jwtauth.ErrContainer)
	// Output: true
}

// Claims returns verified claims, including those that the program defines.
func ExampleAuth_Claims() {
	auth := jwtauthtest.New(t)
	claims := auth.Claims("demo", jwtauth.Subject("alice"), jwtauth.Claim("role", "admin"))

	var own struct{ Role string }
	err := claims.Decode(&own)
	fmt.Println(claims.Container, claims.Subject, own.Role, err)
	// Output: demo alice admin <nil>
}

func ExampleClaims() {
	claims := jwtauthtest.Claims(t, "demo", jwtauth.Subject("alice"))
	fmt.Println(claims.Container, claims.Subject)
	// Output: demo alice
}

// Context calls a handler without a token.
func ExampleContext() {
	ctx := jwtauthtest.Context(t, "demo", jwtauth.Subject("alice"))
	send(hello, httptest.NewRequest("GET", "/", nil).WithContext(ctx))
	// Output: 200 hello, alice
}

func ExampleRequest() {
	auth := jwtauthtest.New(t)
	mux := http.NewServeMux()
	mux.Handle("POST /run/{container}/echo", auth.Private(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, r.FormValue("text"))
	})))
	send(mux, jwtauthtest.Request("POST", "/run/demo/echo?text=hello", auth.Token("demo")))
	// Output: 200 hello
}

// QueryRequest is for routes whose clients cannot set a header.
func ExampleQueryRequest() {
	auth := jwtauthtest.New(t)
	mux := http.NewServeMux()
	mux.Handle("/run/{container}/echo", auth.Private(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, r.URL.RawQuery)
	})))
	send(mux, jwtauthtest.QueryRequest("GET", "/run/demo/echo?text=hello", auth.Token("demo")))
	// Output: 200 text=hello
}

// Pass Now to everything that takes a function like time.Now.
func ExampleClock() {
	var clock jwtauthtest.Clock
	now := clock.Now
	fmt.Println(now())
	// Output: 2026-01-01 00:00:00 +0000 UTC
}

func ExampleClock_Now() {
	auth := jwtauthtest.New(t)
	fmt.Println(auth.Clock.Now())
	// Output: 2026-01-01 00:00:00 +0000 UTC
}

func ExampleClock_Advance() {
	auth := jwtauthtest.New(t)
	token := auth.Token("demo")
	auth.Clock.Advance(jwtauth.DefaultTTL)
	refused(auth, token, jwtauth.ErrExpired)
	// Output: true
}

func ExampleClock_Set() {
	auth := jwtauthtest.New(t)
	auth.Clock.Set(time.Date(2028, time.February, 29, 12, 0, 0, 0, time.UTC))
	fmt.Println(auth.Claims("demo", jwtauth.TTL(24*time.Hour)).ExpiresAt)
	// Output: 2028-03-01 12:00:00 +0000 UTC
}

// A *testing.T is a TB, and so is every type with these two methods.
func ExampleTB() {
	defer func() { fmt.Println(recover()) }()
	var t jwtauthtest.TB = panics{}
	jwtauthtest.New(t).WrongIssuer("demo")
	// Output: jwtauthtest: WrongIssuer: this Auth accepts tokens of every issuer; give it jwtauth.WithIssuer, or leave this token out
}
