package revoke_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/keys"
	"github.com/joinednode/jwtauth/revoke"
)

const issuer = "https://api.example.com"

var secret = []byte("0123456789abcdef0123456789abcdef")

func newList(t testing.TB, store revoke.Store, opts ...revoke.Option) *revoke.List {
	t.Helper()
	list, err := revoke.New(store, opts...)
	require.NoError(t, err)
	return list
}

// newAuth is a service that asks a list. It knows no containers of requests: the
// tests name them.
func newAuth(t testing.TB, list *revoke.List, opts ...jwtauth.Option) *jwtauth.Auth {
	t.Helper()
	auth, err := jwtauth.New(keys.HS256(secret), append([]jwtauth.Option{jwtauth.WithIssuer(issuer), jwtauth.WithRevocations(list)}, opts...)...)
	require.NoError(t, err)
	return auth
}

func issue(t testing.TB, auth *jwtauth.Auth, container, subject string, opts ...jwtauth.IssueOption) string {
	t.Helper()
	token, err := auth.Issue(container, append(opts, jwtauth.Subject(subject))...)
	require.NoError(t, err)
	return token
}

func verdict(auth *jwtauth.Auth, token string) error {
	_, err := auth.VerifyAnyContainer(context.Background(), token)
	return err
}

func claimsOf(t testing.TB, auth *jwtauth.Auth, token string) jwtauth.Claims {
	t.Helper()
	c, err := auth.VerifyAnyContainer(t.Context(), token)
	require.NoError(t, err)
	return c
}

// wallClock is a clock that is set by hand.
type wallClock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *wallClock {
	return &wallClock{now: time.Date(2026, time.March, 14, 15, 9, 26, 0, time.UTC)}
}

func (c *wallClock) read() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *wallClock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// network is a log that several processes share: what Memory is, but without its
// short way, and with failures.
type network struct {
	log *revoke.Memory

	mu   sync.Mutex
	down error
}

func newNetwork() *network { return &network{log: revoke.NewMemory()} }

func (n *network) fail(err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.down = err
}

// replace puts another log in the place of this one.
func (n *network) replace(log *revoke.Memory) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.log = log
}

func (n *network) reach() (*revoke.Memory, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.log, n.down
}

func (n *network) Append(ctx context.Context, e revoke.Entry) error {
	log, err := n.reach()
	if err != nil {
		return err
	}
	return log.Append(ctx, e)
}

func (n *network) Since(ctx context.Context, cursor string, limit int) (revoke.Page, error) {
	log, err := n.reach()
	if err != nil {
		return revoke.Page{}, err
	}
	return log.Since(ctx, cursor, limit)
}

func (n *network) Purge(ctx context.Context, before time.Time) error {
	log, err := n.reach()
	if err != nil {
		return err
	}
	return log.Purge(ctx, before)
}
