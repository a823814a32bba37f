package revoke_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"time"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/keys"
	"github.com/joinednode/jwtauth/revoke"
)

// exampleAuth returns an Auth that uses the list.
func exampleAuth(list *revoke.List) *jwtauth.Auth {
	auth, err := jwtauth.New(keys.HS256(secret), jwtauth.WithIssuer("https://api.example.com"), jwtauth.WithRevocations(list))
	if err != nil {
		panic(err)
	}
	return auth
}

func exampleList() *revoke.List {
	list, err := revoke.New(revoke.NewMemory())
	if err != nil {
		panic(err)
	}
	return list
}

func exampleIssue(auth *jwtauth.Auth, opts ...jwtauth.IssueOption) string {
	token, err := auth.Issue("my-container", opts...)
	if err != nil {
		panic(err)
	}
	return token
}

func printVerdict(auth *jwtauth.Auth, token string) {
	_, err := auth.Verify(context.Background(), token, "my-container")
	fmt.Println("revoked:", errors.Is(err, jwtauth.ErrRevoked))
}

func ExampleNew() {
	list, err := revoke.New(revoke.NewMemory())
	if err != nil {
		fmt.Println(err)
		return
	}
	auth, err := jwtauth.New(keys.HS256(secret), jwtauth.WithRevocations(list))
	if err != nil {
		fmt.Println(err)
		return
	}
	token := exampleIssue(auth)
	printVerdict(auth, token)
	fmt.Println(list.RevokeContainer(context.Background(), auth.Issuer(), "my-container"))
	printVerdict(auth, token)
	// Output:
	// revoked: false
	// <nil>
	// revoked: true
}

// RevokeToken needs three claims of the token: its issuer, ID and expiry.
func ExampleList_RevokeToken() {
	list := exampleList()
	auth := exampleAuth(list)
	leaked, other := exampleIssue(auth), exampleIssue(auth)
	claims, err := auth.Inspect(context.Background(), leaked)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(list.RevokeToken(context.Background(), claims.Issuer, claims.ID, claims.ExpiresAt))
	printVerdict(auth, leaked)
	printVerdict(auth, other)
	// Output:
	// <nil>
	// revoked: true
	// revoked: false
}

// A container gets a new owner. The tokens of the old owner are revoked, and new tokens are
// valid.
func ExampleList_RevokeContainer() {
	list := exampleList()
	auth := exampleAuth(list)
	old := exampleIssue(auth)
	fmt.Println(list.RevokeContainer(context.Background(), auth.Issuer(), "my-container"))
	printVerdict(auth, old)
	printVerdict(auth, exampleIssue(auth))
	// Output:
	// <nil>
	// revoked: true
	// revoked: false
}

// All tokens of a dismissed user are revoked. The tokens of other users stay valid.
func ExampleList_RevokeSubject() {
	list := exampleList()
	auth := exampleAuth(list)
	alice, bob := exampleIssue(auth, jwtauth.Subject("alice")), exampleIssue(auth, jwtauth.Subject("bob"))
	fmt.Println(list.RevokeSubject(context.Background(), auth.Issuer(), "alice"))
	printVerdict(auth, alice)
	printVerdict(auth, bob)
	// Output:
	// <nil>
	// revoked: true
	// revoked: false
}

// A list follows a shared log in the background. No token is accepted before the first
// reading.
func ExampleList_Run() {
	var shared revoke.Store = sharedLog{revoke.NewMemory()} // a service would use the log of a database
	list, err := revoke.New(shared, revoke.WithStaleness(5*time.Second))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("ready:", list.Status().Ready)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- list.Run(ctx) }()
	for !list.Status().Ready { // as a readiness probe does
		time.Sleep(time.Millisecond)
	}
	stop()
	fmt.Println(<-ended)
	// Output:
	// ready: false
	// context canceled
}

// sharedLog hides that the log is a Memory, so that the list must read it like a shared one.
type sharedLog struct{ revoke.Store }

// The owner of a container revokes one of its tokens. A string that is not a token is no
// error. A client that is not authenticated learns nothing about any token.
func ExampleList_Handler() {
	list, err := revoke.New(revoke.NewMemory())
	if err != nil {
		fmt.Println(err)
		return
	}
	auth, err := jwtauth.New(keys.HS256(secret), jwtauth.WithRevocations(list))
	if err != nil {
		fmt.Println(err)
		return
	}
	ownerMayRevoke := func(r *http.Request, c jwtauth.Claims) error {
		user, password, _ := r.BasicAuth()
		if password != "the key of "+user { // a real service asks its user database
			return errors.New("an unknown user")
		}
		if c.ExpiresAt.IsZero() {
			return nil // not authentic: nothing is revoked
		}
		if c.Container != user {
			return errors.New("another owner's token")
		}
		return nil
	}
	mux := http.NewServeMux()
	mux.Handle("/revoke", list.Handler(auth, ownerMayRevoke))

	token, err := auth.Issue("demo")
	if err != nil {
		fmt.Println(err)
		return
	}
	post := func(user, token string) {
		r := httptest.NewRequest("POST", "/revoke", strings.NewReader(url.Values{"token": {token}}.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.SetBasicAuth(user, "the key of demo")
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, r)
		_, err := auth.Verify(r.Context(), token, "demo")
		fmt.Println(w.Code, strings.TrimSpace(w.Body.String()), errors.Is(err, jwtauth.ErrRevoked))
	}
	post("unknown", token)
	post("demo", token)
	post("demo", "garbage")
	// Output:
	// 403 {"error":"access_denied","error_description":"You may not revoke this token."} false
	// 200  true
	// 200  false
}
