package session_test

import (
	"context"
	"crypto"
	"crypto/ed25519"
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

// fault is what goes wrong with the calls of one name.
type fault struct {
	call  string // such as "Advance", or everything
	skip  int    // how many calls go well before
	after bool   // the call takes effect all the same
	hangs bool   // the call answers only when its context ends
	lasts bool   // it goes wrong until the fault is taken away; else once
	err   error  // by default errOutage
	fired bool   // it went wrong
}

// everything stands for the name of every call.
const everything = "everything"

var errOutage = errors.New("the wire was cut")

func (f *fault) error() error {
	if f.err != nil {
		return f.err
	}
	return errOutage
}

// outage returns a fault of everything, until it is taken away.
func outage() *fault { return &fault{call: everything, lasts: true} }

// hanging returns a fault by which calls hang, until it is taken away.
func hanging(call string) *fault { return &fault{call: call, hangs: true, lasts: true} }

// faulty is what a Manager depends on: a store, a revocation log, keys and a callback. All
// of them work as the one fault says. It is the only fake of a session.Store, except that of
// the simulated fleet. The fields are set while no call is under way.
type faulty struct {
	fault *fault // nil if all is well

	store session.Store
	log   revoke.Store
	key   keys.Key

	first    map[string]func()     // what happens when a call of that name is made, once
	then     map[string]func()     // what happens after each call of that name
	advanced func(session.Session) // what happens after each step that took place in the store

	mu    sync.Mutex
	calls map[string]int // how many there were of each name
}

// newFaulty returns one that is well, over stores of its own and the test key.
func newFaulty() *faulty {
	return &faulty{
		store: session.NewMemory(), log: revoke.NewMemory(), key: keys.HS256(secret),
		first: map[string]func(){}, then: map[string]func(){}, calls: map[string]int{},
	}
}

// call does what a call of that name does, or goes wrong before or after it.
func (f *faulty) call(ctx context.Context, name string, do func() error) error {
	f.mu.Lock()
	f.calls[name]++
	first, then := f.first[name], f.then[name]
	delete(f.first, name)
	f.mu.Unlock()
	if first != nil {
		first()
	}
	err := f.try(ctx, f.due(name), do)
	if then != nil {
		then()
	}
	return err
}

// due returns the fault of a call, nil if it goes well.
func (f *faulty) due(name string) *fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	due := f.fault
	switch {
	case due == nil, due.call != name && due.call != everything, due.fired && !due.lasts:
		return nil
	case due.skip > 0:
		due.skip--
		return nil
	}
	due.fired = true
	return due
}

func (f *faulty) try(ctx context.Context, due *fault, do func() error) error {
	switch {
	case due == nil:
		return do()
	case due.hangs:
		<-ctx.Done()
		return ctx.Err()
	case due.after:
		if err := do(); err != nil {
			return err
		}
	}
	return due.error()
}

// faultyStore, faultyLog and faultyKeys are the three faces of a faulty, whose
// methods have names in common.
type (
	faultyStore struct{ f *faulty }
	faultyLog   struct{ f *faulty }
	faultyKeys  struct{ f *faulty }
)

func (s faultyStore) Create(ctx context.Context, row session.Session) error {
	return s.f.call(ctx, "Create", func() error { return s.f.store.Create(ctx, row) })
}

func (s faultyStore) Get(ctx context.Context, subject, id string) (row session.Session, found bool, err error) {
	err = s.f.call(ctx, "Get", func() (err error) { row, found, err = s.f.store.Get(ctx, subject, id); return err })
	return row, found, err
}

func (s faultyStore) Advance(ctx context.Context, from, next session.Session, now time.Time) (won bool, err error) {
	err = s.f.call(ctx, "Advance", func() (err error) {
		won, err = s.f.store.Advance(ctx, from, next, now)
		if won && s.f.advanced != nil {
			s.f.advanced(next)
		}
		return err
	})
	return won, err
}

func (s faultyStore) Revoke(ctx context.Context, subject, id, reason string, at time.Time) (was bool, err error) {
	err = s.f.call(ctx, "Revoke", func() (err error) { was, err = s.f.store.Revoke(ctx, subject, id, reason, at); return err })
	return was, err
}

// List is in the order of logins, so that what a fault meets follows from the seed.
func (s faultyStore) List(ctx context.Context, subject string, now time.Time) (all []session.Session, err error) {
	err = s.f.call(ctx, "List", func() (err error) { all, err = s.f.store.List(ctx, subject, now); return err })
	slices.SortFunc(all, func(a, b session.Session) int { return a.Created.Compare(b.Created) })
	return all, err
}

func (s faultyStore) Purge(ctx context.Context, before time.Time) error {
	return s.f.call(ctx, "Purge", func() error { return s.f.store.Purge(ctx, before) })
}

func (l faultyLog) Append(ctx context.Context, e revoke.Entry) error {
	return l.f.call(ctx, "Append", func() error { return l.f.log.Append(ctx, e) })
}

func (l faultyLog) Since(ctx context.Context, cursor string, limit int) (revoke.Page, error) {
	return l.f.log.Since(ctx, cursor, limit)
}

func (l faultyLog) Purge(ctx context.Context, before time.Time) error {
	return l.f.log.Purge(ctx, before)
}

func (k faultyKeys) Keys(ctx context.Context, kid string) (set *keys.Set, err error) {
	err = k.f.call(ctx, "Keys", func() (err error) { set, err = k.f.key.Keys(ctx, kid); return err })
	return set, err
}

// faultySigner is a private key that fails as the fault says, by the name "Sign".
type faultySigner struct {
	f   *faulty
	key ed25519.PrivateKey
}

// newSigner returns a key whose private part is somewhere else, such as in a KMS.
func (f *faulty) newSigner() keys.Key {
	return keys.Signer(faultySigner{f, ed25519.NewKeyFromSeed(secret)})
}

func (s faultySigner) Public() crypto.PublicKey { return s.key.Public() }

func (s faultySigner) Sign(random io.Reader, digest []byte, opts crypto.SignerOpts) (signature []byte, err error) {
	err = s.f.call(context.Background(), "Sign", func() (err error) { signature, err = s.key.Sign(random, digest, opts); return err })
	return signature, err
}

// claims is a callback of session.WithClaims that fails as the fault says, by the name
// "Claims".
func (f *faulty) claims(ctx context.Context, _ session.Session) (string, []jwtauth.IssueOption, error) {
	return "", nil, f.call(ctx, "Claims", func() error { return nil })
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
