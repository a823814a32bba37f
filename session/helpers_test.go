package session_test

import (
	"context"
	"crypto"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/keys"
	"github.com/joinednode/jwtauth/revoke"
	"github.com/joinednode/jwtauth/session"
)

// secret is the key of every test that is not about keys.
var secret = []byte("0123456789abcdef0123456789abcdef")

// start is what every clock says at first. It is not a whole second, since the
// moments of a session are cut to microseconds, and its ends to seconds.
var start = time.Date(2026, time.March, 14, 15, 9, 26, 535897_000, time.UTC)

// clock is a clock that stands still until it is moved.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func newClock() *clock { return &clock{at: start} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

// advance moves the clock; a negative d sets it back.
func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

func (c *clock) set(at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = at
}

// newManager makes a Manager with the test key over a store of its own, whose
// clock stands at start unless session.WithClock says otherwise.
func newManager(t testing.TB, opts ...session.Option) *session.Manager {
	t.Helper()
	return newManagerOver(t, session.NewMemory(), opts...)
}

func newManagerOver(t testing.TB, store session.Store, opts ...session.Option) *session.Manager {
	t.Helper()
	m, err := session.New(keys.HS256(secret), store, append([]session.Option{session.WithClock(newClock().now), session.WithLogger(quiet)}, opts...)...)
	require.NoError(t, err)
	return m
}

// quiet is a logger for tests that provoke outages and thefts.
var quiet = slog.New(slog.DiscardHandler)

// payload is what the tests look at in a token.
type payload struct {
	Subject    string `json:"sub"`
	SessionID  string `json:"sid"`
	ID         string `json:"jti"`
	IssuedAt   int64  `json:"iat"`
	Expires    int64  `json:"exp"`
	Generation int64  `json:"gen"`
	MaxExpires int64  `json:"max_exp"`
}

// decode reads the payload of a token, by the standard library alone, and does not
// look at its signature.
func decode(t testing.TB, token string) payload {
	t.Helper()
	parts := strings.Split(token, ".")
	require.Len(t, parts, 3, "the token %q", token)
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	require.NoError(t, err)
	var p payload
	require.NoError(t, json.Unmarshal(text, &p))
	return p
}

// recorder collects events.
type recorder struct {
	mu     sync.Mutex
	events []session.Event
}

func (r *recorder) report(e session.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
}

// take returns what has happened since it was last called.
func (r *recorder) take() []session.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	events := r.events
	r.events = nil
	return events
}

// kinds are the kinds of what has happened since take or kinds was last called.
func (r *recorder) kinds() []session.EventKind {
	var kinds []session.EventKind
	for _, e := range r.take() {
		kinds = append(kinds, e.Kind)
	}
	return kinds
}

// fault is what is to go wrong next, once. What may fail asks it with its name.
type fault struct {
	call  string // such as "Advance"
	after bool   // the effect takes place all the same
	skip  int    // calls of that name that still go well
	err   error  // errOutage unless set
	fired bool
}

var errOutage = errors.New("the wire was cut")

// hit does what a call of that name does, or fails before or after it. A nil
// fault never does.
func (f *fault) hit(call string, do func() error) error {
	if f == nil || f.fired || f.call != call {
		return do()
	}
	if f.skip > 0 {
		f.skip--
		return do()
	}
	f.fired = true
	if f.after {
		if err := do(); err != nil {
			return err
		}
	}
	if f.err != nil {
		return f.err
	}
	return errOutage
}

// faulty are a store, a revocation log and keys that fail as the fault says, which
// may be nil and is changed between calls. It is not for concurrent use.
type faulty struct {
	fault *fault

	store session.Store
	log   revoke.Store
	key   keys.Key

	// before is called when Advance is, and once: what others do at that moment.
	before func()
	// got is called after each reading of a session.
	got func()
	// advanced is called after each rotation that took place in the store.
	advanced func(session.Session)
}

// faultyStore, faultyLog and faultyKeys are the three faces of a faulty, whose
// methods have names in common.
type (
	faultyStore struct{ *faulty }
	faultyLog   struct{ *faulty }
	faultyKeys  struct{ *faulty }
)

func (f faultyStore) Create(ctx context.Context, s session.Session) error {
	return f.fault.hit("Create", func() error { return f.store.Create(ctx, s) })
}

func (f faultyStore) Get(ctx context.Context, subject, id string) (s session.Session, found bool, err error) {
	err = f.fault.hit("Get", func() (err error) { s, found, err = f.store.Get(ctx, subject, id); return err })
	if f.got != nil {
		f.got()
	}
	return s, found, err
}

func (f faultyStore) Advance(ctx context.Context, from, next session.Session, now time.Time) (won bool, err error) {
	if before := f.before; before != nil {
		f.before = nil
		before()
	}
	err = f.fault.hit("Advance", func() (err error) {
		won, err = f.store.Advance(ctx, from, next, now)
		if won && f.advanced != nil {
			f.advanced(next)
		}
		return err
	})
	return won, err
}

func (f faultyStore) Revoke(ctx context.Context, subject, id, reason string, at time.Time) (was bool, err error) {
	err = f.fault.hit("Revoke", func() (err error) { was, err = f.store.Revoke(ctx, subject, id, reason, at); return err })
	return was, err
}

// List is in the order of logins, so that what a fault meets follows from the seed.
func (f faultyStore) List(ctx context.Context, subject string, now time.Time) (all []session.Session, err error) {
	err = f.fault.hit("List", func() (err error) { all, err = f.store.List(ctx, subject, now); return err })
	slices.SortFunc(all, func(a, b session.Session) int { return a.Created.Compare(b.Created) })
	return all, err
}

func (f faultyStore) Purge(ctx context.Context, before time.Time) error {
	return f.fault.hit("Purge", func() error { return f.store.Purge(ctx, before) })
}

func (f faultyLog) Append(ctx context.Context, e revoke.Entry) error {
	return f.fault.hit("Append", func() error { return f.log.Append(ctx, e) })
}

func (f faultyLog) Since(ctx context.Context, cursor string, limit int) (revoke.Page, error) {
	return f.log.Since(ctx, cursor, limit)
}

func (f faultyLog) Purge(ctx context.Context, before time.Time) error {
	return f.log.Purge(ctx, before)
}

func (f faultyKeys) Keys(ctx context.Context, kid string) (set *keys.Set, err error) {
	err = f.fault.hit("Keys", func() (err error) { set, err = f.key.Keys(ctx, kid); return err })
	return set, err
}

// faultySigner is a private key that fails as the fault says, by the name "Sign".
type faultySigner struct {
	*faulty
	crypto.Signer
}

func (f faultySigner) Sign(random io.Reader, digest []byte, opts crypto.SignerOpts) (signature []byte, err error) {
	err = f.fault.hit("Sign", func() (err error) { signature, err = f.Signer.Sign(random, digest, opts); return err })
	return signature, err
}

// newFaulty is all well, over stores of its own and the test key.
func newFaulty() *faulty {
	return &faulty{store: session.NewMemory(), log: revoke.NewMemory(), key: keys.HS256(secret)}
}

// newList makes a revocation list over a log, which it follows by List.Sync alone:
// a revoke.Memory behind a wrapper is like any shared log.
func newList(t testing.TB, log revoke.Store, now func() time.Time) *revoke.List {
	t.Helper()
	list, err := revoke.New(log, revoke.WithClock(now), revoke.WithStaleness(7*24*time.Hour), revoke.WithMaxLifetime(session.DefaultRefreshTTL))
	require.NoError(t, err)
	require.NoError(t, list.Sync(t.Context()))
	return list
}

// lives reports whether an access token is accepted.
func lives(ctx context.Context, m *session.Manager, accessToken string) bool {
	_, err := m.Auth().VerifyAnyContainer(ctx, accessToken)
	return err == nil
}

// claims is a callback of session.WithClaims that fails as the fault says, by the
// name "Claims".
func (f *faulty) claims(context.Context, session.Session) (string, []jwtauth.IssueOption, error) {
	return "", nil, f.fault.hit("Claims", func() error { return nil })
}
