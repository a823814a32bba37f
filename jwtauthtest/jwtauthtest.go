// Package jwtauthtest is for the tests of programs that use package jwtauth: an
// Auth with a fixed key, a clock to move, and tokens in every bad state.
//
//	package notify_test
//
//	import (
//		"net/http"
//		"net/http/httptest"
//		"testing"
//
//		"github.com/joinednode/jwtauth"
//		"github.com/joinednode/jwtauth/jwtauthtest"
//	)
//
//	func TestNotifyIsPrivate(t *testing.T) {
//		auth := jwtauthtest.New(t, jwtauth.WithIssuer("https://api.example.com"))
//		mux := http.NewServeMux()
//		mux.Handle("/run/{container}/notify", auth.Private(http.HandlerFunc(notify)))
//
//		status := func(token string) int {
//			w := httptest.NewRecorder()
//			mux.ServeHTTP(w, jwtauthtest.Request("GET", "/run/demo/notify", token))
//			return w.Code
//		}
//		good := auth.Token("demo", jwtauth.Subject("alice"))
//		if got := status(good); got != http.StatusNoContent {
//			t.Errorf("a good token: status %d", got)
//		}
//		if got := status(""); got != http.StatusForbidden {
//			t.Errorf("no token: status %d", got)
//		}
//		for _, bad := range auth.Bad("demo") {
//			if got := status(bad.Token); got != http.StatusForbidden {
//				t.Errorf("a token %s: status %d", bad.Name, got)
//			}
//		}
//		auth.Clock.Advance(jwtauth.DefaultTTL)
//		if got := status(good); got != http.StatusForbidden {
//			t.Errorf("ten days later: status %d", got)
//		}
//	}
//
//	func notify(w http.ResponseWriter, r *http.Request) {
//		w.WriteHeader(http.StatusNoContent)
//	}
//
// [New] takes the options of the Auth that the program has; where a constructor
// of its own makes that Auth, see [Auth.For].
//
// # Never outside of tests
//
// The key is in this package's source, so whoever has read that can sign with
// it. Therefore [Key] and [New] panic in a program that "go test" did not build:
// it fails closed.
//
// # Concurrency
//
// Nothing here starts a goroutine or looks at the time of day, so all of it
// works in parallel tests and in the bubbles of testing/synctest. What fails
// fails the test that New was given, and ends the calling goroutine: call New in
// the subtest that uses it, and not the methods of [Auth] in goroutines that a
// test starts.
package jwtauthtest

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/keys"
)

// TB is what this package needs of a test: a *testing.T, *testing.B or
// *testing.F, or what another framework has in its place. Fatalf must not
// return.
type TB interface {
	Helper()
	Fatalf(format string, args ...any)
}

// keyID is the kid of [Key]: a key without one would ignore what a token names.
const keyID = "jwtauthtest"

var (
	private  = fixed("the key of jwtauthtest, known to everyone")
	stranger = fixed("a key that is not the key of jwtauthtest")
	key      = keys.Signer(private).WithID(keyID)
)

// fixed is the same private key for the same text, everywhere and always.
func fixed(text string) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte(text))
	return ed25519.NewKeyFromSeed(seed[:])
}

// Key returns the key of every [Auth] of this package: EdDSA, with an id, and
// always the same. Give it to what makes an Auth by itself; see [Auth.For].
//
// It is known to everyone. Key panics in a program that "go test" did not build.
func Key() keys.Key {
	inTestsAlone()
	return key
}

func inTestsAlone() {
	if !testing.Testing() {
		panic("jwtauthtest: everyone knows its key, so it works only in programs that go test builds")
	}
}

// Auth is a [jwtauth.Auth] for tests: it issues and verifies as any other, by a
// clock that the test moves, and also makes tokens that it refuses: see
// [Auth.Bad], and the methods that make one each.
//
// Those take the container that the request will name, and options as
// [jwtauth.Auth.Issue] does. What they return is a good token but for the one
// thing that they are named after, so it is refused for that alone, also with
// the leeway of [jwtauth.WithLeeway]; unless an option makes a bad token by
// itself, as jwtauth.NotBefore and jwtauth.Audience may, or the good one hardly
// fits into [jwtauth.WithMaxTokenSize]. What cannot be made is fatal to the test.
type Auth struct {
	*jwtauth.Auth
	Clock *Clock // never nil

	t TB
}

// New returns an Auth made with [Key], a new [Clock] and these options, which
// should be the program's own. [jwtauth.WithClock] among them counts for
// nothing. Options that jwtauth.New refuses are fatal to the test.
//
// New panics in a program that "go test" did not build.
func New(t TB, opts ...jwtauth.Option) *Auth {
	t.Helper()
	inTestsAlone()
	clock := new(Clock)
	auth, err := jwtauth.New(key, append(slices.Clone(opts), jwtauth.WithClock(clock.Now))...)
	if err != nil {
		t.Fatalf("jwtauthtest: New: %v", err)
	}
	return &Auth{Auth: auth, Clock: clock, t: t}
}

// For returns the same for an Auth that the program made by itself, with options
// that the test need not know. It must have been made with [Key], else it is
// fatal to the test, since it would refuse all tokens for their key; and it goes
// by a.Clock only if it was made with jwtauth.WithClock(a.Clock.Now).
func (a *Auth) For(auth *jwtauth.Auth) *Auth {
	a.t.Helper()
	if auth == nil {
		a.t.Fatalf("jwtauthtest: For: the Auth is nil")
	}
	b := &Auth{Auth: auth, Clock: a.Clock, t: a.t}
	b.draft("For", keyID, nil)
	return b
}

// Token returns a good token, as [jwtauth.Auth.Issue] does. Where that has an
// error, it is fatal to the test.
func (a *Auth) Token(container string, opts ...jwtauth.IssueOption) string {
	a.t.Helper()
	return a.issue("Token", container, opts)
}

func (a *Auth) issue(method, container string, opts []jwtauth.IssueOption) string {
	a.t.Helper()
	token, err := a.Issue(container, opts...)
	if err != nil {
		a.t.Fatalf("jwtauthtest: %s: no token to begin with: %v", method, err)
	}
	return token
}

// Claims returns the claims of a token that was issued with these options and
// verified, so that [jwtauth.Claims.Decode] works. A token that is refused is
// fatal to the test.
func (a *Auth) Claims(container string, opts ...jwtauth.IssueOption) jwtauth.Claims {
	a.t.Helper()
	return a.claims("Claims", container, opts)
}

func (a *Auth) claims(method, container string, opts []jwtauth.IssueOption) jwtauth.Claims {
	a.t.Helper()
	claims, err := a.Verify(context.Background(), a.issue(method, container, opts), container)
	if err != nil {
		a.t.Fatalf("jwtauthtest: %s: the token is refused: %v", method, err)
	}
	return claims
}

// Claims returns what [Auth.Claims] does of an Auth without options, for tests
// that need no Auth. The container may be "".
func Claims(t TB, container string, opts ...jwtauth.IssueOption) jwtauth.Claims {
	t.Helper()
	return New(t, jwtauth.WithAnyContainer()).claims("Claims", container, opts)
}

// Context returns a context in which [jwtauth.FromContext] finds [Claims]: for
// tests of a handler by itself, without a token and what verifies it.
func Context(t TB, container string, opts ...jwtauth.IssueOption) context.Context {
	t.Helper()
	return jwtauth.NewContext(context.Background(), New(t, jwtauth.WithAnyContainer()).claims("Context", container, opts))
}

// Request returns a request as a server receives it, with the token in
// "Authorization: Bearer" (RFC 6750, section 2.1), or without one if token is
// "". It panics where [httptest.NewRequest] does.
func Request(method, target, token string) *http.Request {
	r := httptest.NewRequest(method, target, nil)
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	return r
}

// QueryRequest is [Request] with the token in the URL: target with the parameter
// "token" added to its query.
func QueryRequest(method, target, token string) *http.Request {
	if token != "" {
		separator := "?"
		if strings.Contains(target, "?") {
			separator = "&"
		}
		target += separator + "token=" + url.QueryEscape(token)
	}
	return httptest.NewRequest(method, target, nil)
}

// Clock is a clock that only a test moves. It starts at 2026-01-01 00:00:00 UTC;
// its zero value is ready. It is safe for concurrent use, and must not be
// copied.
type Clock struct {
	mu    sync.Mutex
	moved bool
	now   time.Time
}

var start = time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)

// Now returns the time. The method is what [jwtauth.WithClock] wants.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.read()
}

// Advance moves the clock on, or back if d is negative.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now, c.moved = c.read().Add(d), true
}

// Set moves the clock to a time, which may lie in its past.
func (c *Clock) Set(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now, c.moved = t.Round(0), true // without the monotonic reading, which moves by itself
}

// read returns the time; c.mu is held.
func (c *Clock) read() time.Time {
	if !c.moved {
		return start
	}
	return c.now
}
