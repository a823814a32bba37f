// Package jwtauthtest helps to test programs that use package jwtauth. It provides
// an Auth with a fixed key, a clock that the test sets, and tokens that must be
// rejected for every reason.
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
// Pass to [New] the options that the program passes to jwtauth.New. If the program
// creates its Auth in a constructor of its own, use [Auth.For].
//
// Most tests need only [New], [Auth.Token], [Auth.Bad] and [Request]. A test that
// calls a handler without its middleware uses [Context]. [TestSessionStore],
// [TestRevocationStore] and [TestHeldStep] are rarely needed: they test stores that
// are not part of jwtauth.
//
// # Only in tests
//
// The private key is published in the source of this package, so anyone can sign
// with it. For this reason [Key] and [New] panic in a program that was not built by
// "go test".
//
// # Concurrency
//
// [Auth], [Clock], [Claims] and [Context] start no goroutine and do not read the wall
// clock. They work in parallel tests and in the bubbles of testing/synctest.
//
// When a method of Auth fails, it fails the test that was passed to New and ends the
// calling goroutine. Call New in the subtest that uses it, and do not call methods of
// Auth from goroutines that the test starts.
//
// # Testing a session store
//
// [TestSessionStore] tests what [session.Store] promises, and that a session.Manager
// works with the store.
//
// Each subtest creates its own stores, with its own t. A subtest may hold two stores
// at once. They may share a database if the names of their tables or keys differ. Up
// to 64 goroutines call a store at the same time. The suite makes about 5,500 calls,
// and one subtest waits a few seconds for sessions to expire.
//
// The suite allows for slow stores, with one limit: a call whose context has already
// ended must return within 30 seconds. A store may delete sessions by itself once they
// have expired by the wall clock.
//
// The suite cannot test the following, so the store needs its own tests for it:
//
//   - Sessions survive a restart and a crash.
//   - Several processes can use the store.
//   - Replicas that lag behind do no harm.
//   - A context may end during a call.
//   - The store's server may fail.
//   - Purge deletes expired sessions.
//   - A session ID is unique across all subjects. A store may keep each subject in a
//     place of its own, and IDs are random, so the suite does not require it.
//
// # Testing a revocation store
//
// [TestRevocationStore] tests what [revoke.Store] promises.
//
// Each subtest creates its own logs, with its own t. A subtest may hold several logs
// at once. They may share a database if the names of their tables or keys differ. The
// suite appends about 1,100 entries and reads about 1,500 times.
//
// The suite allows for slow stores, with the same limit of 30 seconds for a call whose
// context has already ended. A store may truncate Expires to the microsecond, or
// return it up to one second later.
//
// The suite cannot test the following, so the store needs its own tests for it:
//
//   - Entries and cursors survive a restart and a crash.
//   - Several processes can use the store, and several connections that keep
//     transactions open for long.
//   - A context may end during a call.
//   - The log may be restored from a backup.
//   - The store's server may fail.
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

// TB is the part of [testing.TB] that this package uses. A *testing.T, *testing.B or
// *testing.F is a TB, and other test frameworks can implement it. Fatalf must not
// return.
type TB interface {
	Helper()
	Fatalf(format string, args ...any)
}

// keyID is the kid of [Key]. A key without an ID would ignore the kid of a token.
const keyID = "jwtauthtest"

var (
	private  = fixed("the key of jwtauthtest, known to everyone")
	stranger = fixed("a key that is not the key of jwtauthtest")
	key      = keys.Signer(private).WithID(keyID)
)

// fixed derives a private key from a string. The same string always gives the same key.
func fixed(text string) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte(text))
	return ed25519.NewKeyFromSeed(seed[:])
}

// Key returns the key that every [Auth] of this package signs with. It is an EdDSA key
// with an ID, and always the same key. Pass it to a constructor that creates an Auth by
// itself; see [Auth.For].
//
// The private key is public knowledge. Key panics in a program that was not built by
// "go test".
func Key() keys.Key {
	inTestsAlone()
	return key
}

func inTestsAlone() {
	if !testing.Testing() {
		panic("jwtauthtest: the key of this package is public, so it works only in programs built by go test")
	}
}

// Auth is a [jwtauth.Auth] for tests. Its clock is set by the test, and it also issues
// tokens that it must reject: [Auth.Bad] returns all of them.
//
// Each such method takes the request's container and the options of [jwtauth.Auth.Issue].
// The token has one defect, which the method is named after, and is rejected for that
// reason whatever the leeway. Two things can cause another error: an option that makes the
// token invalid by itself, such as jwtauth.NotBefore or jwtauth.Audience, and a token whose
// size is close to the limit of [jwtauth.WithMaxTokenSize]. If a token cannot be issued, the
// test fails at once.
type Auth struct {
	*jwtauth.Auth
	Clock *Clock // never nil

	t TB
}

// New returns an Auth with [Key], a new [Clock] and the given options, which should be
// those of the program under test. New ignores [jwtauth.WithClock]. If jwtauth.New
// returns an error, the test fails at once.
//
// New panics in a program that was not built by "go test".
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

// For returns a test Auth for an Auth that the program created itself. The test need not
// know its options.
//
// The program's Auth must sign with [Key]; otherwise the test fails at once. To be
// controlled by a.Clock, it must be created with jwtauth.WithClock(a.Clock.Now).
func (a *Auth) For(auth *jwtauth.Auth) *Auth {
	a.t.Helper()
	if auth == nil {
		a.t.Fatalf("jwtauthtest: For: the Auth is nil")
	}
	b := &Auth{Auth: auth, Clock: a.Clock, t: a.t}
	b.draft("For", keyID, nil)
	return b
}

// Token returns a valid token, issued by [jwtauth.Auth.Issue]. If Issue returns an error,
// the test fails at once.
func (a *Auth) Token(container string, opts ...jwtauth.IssueOption) string {
	a.t.Helper()
	return a.issue("Token", container, opts)
}

func (a *Auth) issue(method, container string, opts []jwtauth.IssueOption) string {
	a.t.Helper()
	token, err := a.Issue(container, opts...)
	if err != nil {
		a.t.Fatalf("jwtauthtest: %s: cannot issue a token: %v", method, err)
	}
	return token
}

// Claims issues a token with the given options, verifies it and returns its claims.
// [jwtauth.Claims.Decode] works on them. If the token is rejected, the test fails at once.
func (a *Auth) Claims(container string, opts ...jwtauth.IssueOption) jwtauth.Claims {
	a.t.Helper()
	return a.claims("Claims", container, opts)
}

func (a *Auth) claims(method, container string, opts []jwtauth.IssueOption) jwtauth.Claims {
	a.t.Helper()
	claims, err := a.Verify(context.Background(), a.issue(method, container, opts), container)
	if err != nil {
		a.t.Fatalf("jwtauthtest: %s: the token is rejected: %v", method, err)
	}
	return claims
}

// Claims returns verified claims, for tests that need no Auth. It calls [Auth.Claims] on a
// new Auth that has only [jwtauth.WithAnyContainer], so the container may be "".
func Claims(t TB, container string, opts ...jwtauth.IssueOption) jwtauth.Claims {
	t.Helper()
	return New(t, jwtauth.WithAnyContainer()).claims("Claims", container, opts)
}

// Context returns a context that carries the result of [Claims], where
// [jwtauth.FromContext] finds it. Use it to test a handler without its middleware.
func Context(t TB, container string, opts ...jwtauth.IssueOption) context.Context {
	t.Helper()
	return jwtauth.NewContext(context.Background(), New(t, jwtauth.WithAnyContainer()).claims("Context", container, opts))
}

// Request returns a server request with the token in its "Authorization: Bearer" header
// (RFC 6750, section 2.1). If token is "", the request has no such header. Request panics
// if [httptest.NewRequest] does.
func Request(method, target, token string) *http.Request {
	r := httptest.NewRequest(method, target, nil)
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	return r
}

// QueryRequest is like [Request], but sends the token in the URL. It adds the parameter
// "token" to the query of target.
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

// Clock is a clock that stands still until a test moves it. It starts at
// 2026-01-01 00:00:00 UTC. The zero value is ready to use. A Clock is safe for concurrent
// use, and must not be copied.
type Clock struct {
	mu    sync.Mutex
	moved bool
	now   time.Time
}

var start = time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)

// Now returns the time of the clock. Pass the method to [jwtauth.WithClock].
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.read()
}

// Advance moves the clock forward by d, or back if d is negative.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now, c.moved = c.read().Add(d), true
}

// Set sets the clock to t, which may be earlier than the current time of the clock.
func (c *Clock) Set(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now, c.moved = t.Round(0), true // Round strips the monotonic reading
}

// read returns the time of the clock. The caller holds c.mu.
func (c *Clock) read() time.Time {
	if !c.moved {
		return start
	}
	return c.now
}
