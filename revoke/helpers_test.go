package revoke_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/jwtauthtest"
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

// newAuth returns an Auth that asks the list whether a token is revoked.
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

// wallClock is a clock that a test sets.
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

// network is the fake of a log that several processes share. It wraps a Memory, so that a
// List must read it like any shared log, and does not see new entries at once. A test can
// make its methods fail.
type network struct {
	mu     sync.Mutex
	log    *revoke.Memory
	faults map[string]error  // maps the name of a method to the error that it returns
	hooks  map[string]func() // maps the name of a method to a function that it calls before it returns
	page   *revoke.Page      // if not nil, what Since returns instead of entries of the log
}

func newNetwork() *network {
	return &network{log: revoke.NewMemory(), faults: map[string]error{}, hooks: map[string]func(){}}
}

// fail makes the named methods return err, or all methods if none is named. If err is nil,
// they work again.
func (n *network) fail(err error, methods ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(methods) == 0 {
		methods = []string{"Append", "Since", "Purge"}
	}
	for _, method := range methods {
		n.faults[method] = err
	}
}

// onReturn makes a method call hook before it returns.
func (n *network) onReturn(method string, hook func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.hooks[method] = hook
}

// answer makes Since return page instead of entries of the log.
func (n *network) answer(page revoke.Page) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.page = &page
}

// replace replaces the log with another one.
func (n *network) replace(log *revoke.Memory) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.log = log
}

// reach returns what a method needs: the log, the function to call before it returns, and
// the error to return.
func (n *network) reach(method string) (log *revoke.Memory, done func(), err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	done = n.hooks[method]
	if done == nil {
		done = func() {}
	}
	return n.log, done, n.faults[method]
}

func (n *network) Append(ctx context.Context, e revoke.Entry) error {
	log, done, err := n.reach("Append")
	defer done()
	if err != nil {
		return err
	}
	return log.Append(ctx, e)
}

func (n *network) Since(ctx context.Context, cursor string, limit int) (revoke.Page, error) {
	log, done, err := n.reach("Since")
	defer done()
	if err != nil {
		return revoke.Page{}, err
	}
	n.mu.Lock()
	page := n.page
	n.mu.Unlock()
	if page != nil {
		return *page, nil
	}
	return log.Since(ctx, cursor, limit)
}

func (n *network) Purge(ctx context.Context, before time.Time) error {
	log, done, err := n.reach("Purge")
	defer done()
	if err != nil {
		return err
	}
	return log.Purge(ctx, before)
}

// logBuffer keeps what a logger writes. It is safe for concurrent use.
type logBuffer struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logBuffer) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(line)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// signed returns a token with these claims, signed with jwtauthtest.Key.
func signed(t *testing.T, claims map[string]any) string {
	t.Helper()
	set, err := jwtauthtest.Key().Keys(t.Context(), "")
	require.NoError(t, err)
	alg, kid, err := set.SigningKey()
	require.NoError(t, err)
	encode := func(v any) string {
		text, err := json.Marshal(v)
		require.NoError(t, err)
		return base64.RawURLEncoding.EncodeToString(text)
	}
	message := encode(map[string]string{"alg": alg, "kid": kid, "typ": "JWT"}) + "." + encode(claims)
	signature, err := set.Sign([]byte(message))
	require.NoError(t, err)
	return message + "." + base64.RawURLEncoding.EncodeToString(signature)
}
