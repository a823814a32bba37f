// Package jwtauthtest helps to test programs that use package jwtauth. It provides an Auth
// with a fixed key, a clock that the test moves, and a token for each possible defect.
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
// Most tests need only [New], [Auth.Token], [Auth.Bad] and [Request]. A test that calls a
// handler without a middleware needs only [Context]. [New] takes the options of the
// program's Auth. If a constructor of the program makes that Auth, see [Auth.For].
// [TestSessionStore] and [TestRevocationStore] are only for authors of stores.
//
// # Only in tests
//
// The key is in this package's source, so anyone can sign with it. Therefore [Key] and
// [New] panic in a program that "go test" did not build.
//
// # Concurrency
//
// [Auth], [Clock], [Claims] and [Context] start no goroutine and do not read the wall
// clock, so they work in parallel tests and in the bubbles of testing/synctest. A failure
// fails the test that New was given, and ends the calling goroutine. So call New in the
// subtest that uses it, and do not call the methods of [Auth] in goroutines that a test
// starts.
//
// # Testing a store
//
// A test of a store calls the suite with a function that returns a new, empty store each
// time:
//
//	func TestSessions(t *testing.T) {
//		jwtauthtest.TestSessionStore(t, func(t *testing.T) session.Store {
//			db := open(t) // and t.Cleanup(...)
//			return db.Sessions()
//		})
//	}
//
// A test uses several stores at once. They may share a database if their tables or keys
// have different names. Each subtest calls the function with its own t, and can run alone.
// Up to 64 goroutines call a store at once. TestSessionStore makes some 5,500 calls, or
// many more if the store answers within microseconds. One subtest waits some seconds for
// sessions to expire. TestRevocationStore appends some 1,100 entries and reads some 1,500
// times.
//
// The suites do not depend on how fast a store is, except that a call whose context has
// ended must return within 30 seconds. A store may delete sessions that have expired by
// the wall clock. It may return the Expires of an entry truncated to the microsecond, or
// up to a second late.
//
// Each store needs its own tests for what the suites cannot test:
//   - Rows, entries and cursors are the same after a restart or a crash.
//   - The store works with several processes, and with connections that hold transactions
//     open for long.
//   - A call returns an error in an outage, and if its context ends during the call.
//     ([TestHeldStep] tests one such case.)
//   - The store works with replicas that lag behind, and with a log that was restored from
//     a backup.
//   - Purge deletes what has expired.
//   - One subject cannot take the ID of another. This is optional: a store may keep each
//     subject apart, since IDs are random.
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

// TB is the part of a test that this package needs. A *testing.T, *testing.B and *testing.F
// have it, and types of other test frameworks may have it. Fatalf must not return.
type TB interface {
	Helper()
	Fatalf(format string, args ...any)
}

// keyID is the kid of [Key]. A key without an ID would ignore the kid of a token, and could
// not reject a token of an unknown key.
const keyID = "jwtauthtest"

var (
	private  = fixed("the key of jwtauthtest, known to everyone")
	stranger = fixed("a key that is not the key of jwtauthtest")
	key      = keys.Signer(private).WithID(keyID)
)

// fixed returns a private key that depends only on text.
func fixed(text string) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte(text))
	return ed25519.NewKeyFromSeed(seed[:])
}

// Key returns the key of every [Auth] of this package: EdDSA, with a key ID, and always
// the same. Pass it to a constructor that makes an Auth itself, see [Auth.For]. The key
// is public. Key panics in a program that "go test" did not build.
func Key() keys.Key {
	inTestsAlone()
	return key
}

func inTestsAlone() {
	if !testing.Testing() {
		panic("jwtauthtest: the key of this package is public, so it works only in programs built by go test")
	}
}

// Auth is a [jwtauth.Auth] for tests. It issues and verifies tokens by a clock that the
// test moves, and also makes tokens that it rejects: see [Auth.Bad], and the methods that
// each make one.
//
// Those methods take the container that the request will name, and options of
// [jwtauth.Auth.Issue]. Each returns a token that is valid except for the defect that the
// method is named after. The token is rejected only for this defect, whatever the leeway.
// Two things can add another defect: an option such as jwtauth.NotBefore or
// jwtauth.Audience, and a small [jwtauth.WithMaxTokenSize]. If a token cannot be made,
// the test fails.
type Auth struct {
	*jwtauth.Auth
	Clock *Clock // never nil

	t TB
}

// New returns an Auth made with [Key], a new [Clock] and these options, which should be
// those of the program. [jwtauth.WithClock] has no effect. If jwtauth.New returns an
// error, the test fails. New panics in a program that "go test" did not build.
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

// For returns an Auth for tests that wraps the Auth of a program. So the test need not know
// the program's options. The new Auth has the Clock and the test of a. If the program's
// Auth does not sign with [Key], the test fails, since every bad token would be rejected
// for its key. The program's Auth uses a.Clock only if it was made with
// jwtauth.WithClock(a.Clock.Now).
func (a *Auth) For(auth *jwtauth.Auth) *Auth {
	a.t.Helper()
	if auth == nil {
		a.t.Fatalf("jwtauthtest: For: the Auth is nil")
	}
	b := &Auth{Auth: auth, Clock: a.Clock, t: a.t}
	b.draft("For", keyID, nil)
	return b
}

// Token returns a valid token from [jwtauth.Auth.Issue]. If Issue returns an error, the test
// fails.
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

// Claims returns the claims of a token that was issued with these options and verified,
// so that [jwtauth.Claims.Decode] works. If the token is rejected, the test fails.
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

// Claims is like [Auth.Claims], for tests that need no Auth. It uses an Auth whose only
// option is [jwtauth.WithAnyContainer], at the time at which a [Clock] starts. The
// container may be "".
func Claims(t TB, container string, opts ...jwtauth.IssueOption) jwtauth.Claims {
	t.Helper()
	return New(t, jwtauth.WithAnyContainer()).claims("Claims", container, opts)
}

// Context returns a context in which [jwtauth.FromContext] finds the claims that [Claims]
// returns. It is for tests that call a handler without a token and a middleware.
func Context(t TB, container string, opts ...jwtauth.IssueOption) context.Context {
	t.Helper()
	return jwtauth.NewContext(context.Background(), New(t, jwtauth.WithAnyContainer()).claims("Context", container, opts))
}

// Request returns a request as a server receives it, with the token in "Authorization:
// Bearer" (RFC 6750, section 2.1). If token is "", the request has no token. Request panics
// if [httptest.NewRequest] does.
func Request(method, target, token string) *http.Request {
	r := httptest.NewRequest(method, target, nil)
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	return r
}

// QueryRequest is like [Request], with the token in the URL parameter "token".
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

// Clock is a clock that only a test moves. It starts at 2026-01-01 00:00:00 UTC. The zero
// Clock is ready to use. It is safe for concurrent use, and must not be copied.
type Clock struct {
	mu    sync.Mutex
	moved bool
	now   time.Time
}

var start = time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)

// Now returns the time. Pass the method to [jwtauth.WithClock].
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.read()
}

// Advance moves the clock forward, or back if d is negative.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now, c.moved = c.read().Add(d), true
}

// Set moves the clock to a time, which may be earlier than Now.
func (c *Clock) Set(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now, c.moved = t.Round(0), true // without the monotonic reading
}

// read returns the time. The caller must hold c.mu.
func (c *Clock) read() time.Time {
	if !c.moved {
		return start
	}
	return c.now
}
