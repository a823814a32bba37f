package session_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/keys"
	"github.com/joinednode/jwtauth/revoke"
	"github.com/joinednode/jwtauth/session"
)

// secret is the key of every test that is not about keys.
var secret = []byte("0123456789abcdef0123456789abcdef")

// start is the time at which each clock starts. It is not a whole second, so that the tests
// notice which times are truncated to seconds.
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

// newManager returns a Manager with the test key and its own store. Its clock stands at
// start, unless session.WithClock is given.
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

// quiet is a logger that discards everything, for tests that cause outages and thefts.
var quiet = slog.New(slog.DiscardHandler)

// payload holds the claims that the tests read.
type payload struct {
	Subject    string `json:"sub"`
	SessionID  string `json:"sid"`
	ID         string `json:"jti"`
	IssuedAt   int64  `json:"iat"`
	Expires    int64  `json:"exp"`
	Generation int64  `json:"gen"`
	MaxExpires int64  `json:"max_exp"`
}

// decode reads the payload of a token with the standard library, without verifying it.
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

// take returns the events since the previous call of take or kinds.
func (r *recorder) take() []session.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	events := r.events
	r.events = nil
	return events
}

// kinds returns the kinds of the events since the previous call of take or kinds.
func (r *recorder) kinds() []session.EventKind {
	var kinds []session.EventKind
	for _, e := range r.take() {
		kinds = append(kinds, e.Kind)
	}
	return kinds
}

// fault describes how the calls of one method fail.
type fault struct {
	call  string // such as "Advance", or everything
	skip  int    // how many calls succeed first
	after bool   // the call takes effect before it fails
	hangs bool   // the call returns only when its context ends
	lasts bool   // all calls fail until the fault is removed; otherwise only one
	err   error  // errOutage if nil
	fired bool   // the fault has happened
}

// everything means every call, whatever its name.
const everything = "everything"

var errOutage = errors.New("the wire was cut")

func (f *fault) error() error {
	if f.err != nil {
		return f.err
	}
	return errOutage
}

// outage returns a fault that makes every call fail until it is removed.
func outage() *fault { return &fault{call: everything, lasts: true} }

// hanging returns a fault that makes calls of this name hang until it is removed.
func hanging(call string) *fault { return &fault{call: call, hangs: true, lasts: true} }

// faulty fakes what a Manager depends on: a store, a revocation log, keys and a callback.
// All of them fail as the fault says. Apart from fleetStore, it is the only fake of a
// session.Store. Set its fields only while no call is under way.
type faulty struct {
	fault *fault // nil for no fault

	store session.Store
	log   revoke.Store
	key   keys.Key

	first    map[string]func()     // called once before a call of that name
	then     map[string]func()     // called after each call of that name
	advanced func(session.Session) // called after each step that the store took

	mu    sync.Mutex
	calls map[string]int // the number of calls, by name
}

// newFaulty returns a faulty without a fault, with its own stores and the test key.
func newFaulty() *faulty {
	return &faulty{
		store: session.NewMemory(), log: revoke.NewMemory(), key: keys.HS256(secret),
		first: map[string]func(){}, then: map[string]func(){}, calls: map[string]int{},
	}
}

// call runs do. If the fault is due, call returns its error, and may not run do at all.
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

// due returns the fault if a call of this name must fail now, otherwise nil.
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

// faultyStore, faultyLog and faultyKeys make a faulty serve as a store, a log and a key
// source. They are three types, because a store and a log both have a method Purge.
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

// List returns sessions in the order of logins, so that a fault's effect depends only on
// the seed.
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

func (l faultyLog) Since(ctx context.Context, cursor string, limit int) (page revoke.Page, err error) {
	err = l.f.call(ctx, "Since", func() (err error) { page, err = l.f.log.Since(ctx, cursor, limit); return err })
	return page, err
}

func (l faultyLog) Purge(ctx context.Context, before time.Time) error {
	return l.f.log.Purge(ctx, before)
}

func (k faultyKeys) Keys(ctx context.Context, kid string) (set *keys.Set, err error) {
	err = k.f.call(ctx, "Keys", func() (err error) { set, err = k.f.key.Keys(ctx, kid); return err })
	return set, err
}

// faultySigner is a private key that fails if the fault is about "Sign".
type faultySigner struct {
	f   *faulty
	key ed25519.PrivateKey
}

// newSigner returns a key that signs with a faultySigner, like a key in a KMS.
func (f *faulty) newSigner() keys.Key {
	return keys.Signer(faultySigner{f, ed25519.NewKeyFromSeed(secret)})
}

func (s faultySigner) Public() crypto.PublicKey { return s.key.Public() }

func (s faultySigner) Sign(random io.Reader, digest []byte, opts crypto.SignerOpts) (signature []byte, err error) {
	err = s.f.call(context.Background(), "Sign", func() (err error) { signature, err = s.key.Sign(random, digest, opts); return err })
	return signature, err
}

// claims is a callback of session.WithClaims that fails if the fault is about "Claims".
func (f *faulty) claims(ctx context.Context, _ session.Session) (string, []jwtauth.IssueOption, error) {
	return "", nil, f.call(ctx, "Claims", func() error { return nil })
}

// newList returns a list that has read the log. Its Run is never called, so it reads a
// shared log again only with Sync. A revoke.Memory behind a wrapper is such a log.
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

// The users of these tests. Their e-mails and passwords must not appear in any response
// or log.
const (
	aliceEmail    = "alice@mail.invalid"
	alicePassword = "correct-horse-of-alice"
	bobEmail      = "bob@mail.invalid"
	bobPassword   = "battery-staple-of-bob"
	wrongPassword = "wrong-guess-of-an-attacker"

	aliceLogin = `{"email":"` + aliceEmail + `","password":"` + alicePassword + `"}`
	bobLogin   = `{"email":"` + bobEmail + `","password":"` + bobPassword + `"}`
)

// checkUser is the callback that authenticates users in most tests. It returns different
// errors, so that a test notices a response that reveals one.
func checkUser(r *http.Request, c session.Credentials) (string, []session.LoginOption, error) {
	label := []session.LoginOption{session.Label(r.UserAgent())}
	switch {
	case c.Email == aliceEmail && c.Password == alicePassword, c.Username == "alice" && c.Password == alicePassword:
		return "user-1", label, nil
	case c.Email == bobEmail && c.Password == bobPassword:
		return "user-2", label, nil
	case c.Email == aliceEmail || c.Email == bobEmail:
		return "", nil, fmt.Errorf("the password is wrong: %w", session.ErrCredentials)
	case c.Email == "locked@mail.invalid":
		return "user-3", label, fmt.Errorf("locked: %w", session.ErrCredentials)
	}
	return "", nil, session.ErrCredentials
}

type authenticate = func(*http.Request, session.Credentials) (string, []session.LoginOption, error)

// api is a service on a real port. Its responses and its log are searched for secrets.
type api struct {
	*session.Manager
	clock *clock
	url   string // the server's address, without a slash at the end
	logs  *logBuffer

	mu     sync.Mutex
	tokens []string
}

func newAPI(t *testing.T, opts ...session.Option) *api {
	t.Helper()
	return newAPIWith(t, session.NewMemory(), checkUser, opts...)
}

func newAPIWith(t *testing.T, store session.Store, check authenticate, opts ...session.Option) *api {
	t.Helper()
	a := &api{clock: newClock(), logs: &logBuffer{}}
	logger := slog.New(slog.NewJSONHandler(a.logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
	a.Manager = newManagerOver(t, store, append([]session.Option{
		session.WithClock(a.clock.now), session.WithLogger(logger), session.WithAccess(jwtauth.WithLogger(logger)),
	}, opts...)...)
	handler := a.Handler(check)
	hello := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store") // call requires it of every response
		claims, _ := jwtauth.FromContext(r.Context())
		io.WriteString(w, claims.Subject)
	})
	mux := http.NewServeMux()
	mux.Handle("/auth/jwt/", handler)
	mux.Handle("/api/me", a.Require(hello))
	mux.Handle("/of/{container}/me", a.Require(hello))
	mux.Handle("/v1/users/", http.StripPrefix("/v1/users", handler))
	mux.Handle("/v2/users/", http.StripPrefix("/v2/users/", handler))
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	t.Cleanup(func() { a.lookThrough(t, "the log", a.logs.String(), a.known()) })
	a.url = server.URL
	return a
}

// logBuffer keeps what a logger writes. It is safe for concurrent use.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// known returns the tokens that the service has given out.
func (a *api) known() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.tokens)
}

// lookThrough fails if text contains the email or password of a user, or the payload or
// signature of a token.
func (a *api) lookThrough(t testing.TB, what, text string, tokens []string) {
	t.Helper()
	secrets := []string{aliceEmail, bobEmail, alicePassword, bobPassword, wrongPassword, "mail.invalid", "hunter2-one-time"}
	for _, token := range tokens {
		if parts := strings.Split(token, "."); len(parts) == 3 {
			secrets = append(secrets, parts[1], parts[2])
		}
	}
	for _, s := range secrets {
		if s != "" && strings.Contains(text, s) {
			require.Fail(t, what+" holds a secret", "%q in\n%s", s, text)
		}
	}
}

type apiAnswer struct {
	status int
	header http.Header // without Date
	body   string
}

// call sends a request. fields holds the names and values of header fields in turn. The
// type of a body is application/json, unless fields has another Content-Type.
func (a *api) call(t testing.TB, method, path, body string, fields ...string) apiAnswer {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, a.url+path, strings.NewReader(body))
	require.NoError(t, err)
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(fields); i += 2 {
		r.Header.Set(fields[i], fields[i+1])
	}
	return a.send(t, r)
}

func (a *api) send(t testing.TB, r *http.Request) apiAnswer {
	t.Helper()
	resp, err := http.DefaultTransport.RoundTrip(r)
	require.NoError(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	got := apiAnswer{resp.StatusCode, resp.Header, string(text)}
	got.header.Del("Date")

	require.Equal(t, []string{"no-store"}, got.header["Cache-Control"], "%s %s: %d", r.Method, r.URL.Path, got.status)
	challenges := got.header["Www-Authenticate"]
	if got.status == http.StatusUnauthorized {
		require.Len(t, challenges, 1)
		require.Regexp(t, `^Bearer( error="invalid_token")?$`, challenges[0])
	}
	if got.status == http.StatusServiceUnavailable {
		require.Equal(t, []string{"5"}, got.header["Retry-After"])
	}
	if got.status >= 400 && r.Method != http.MethodHead {
		require.Equal(t, "application/json", got.header.Get("Content-Type"))
		require.Equal(t, "nosniff", got.header.Get("X-Content-Type-Options"))
		p := got.problem(t)
		require.NotEmpty(t, p.Code)
		require.NotEmpty(t, p.Detail)
	}
	var pair struct {
		Access  string `json:"access_token"`
		Refresh string `json:"refresh_token"`
	}
	before := a.known()
	if got.status == http.StatusOK && json.Unmarshal(text, &pair) == nil && pair != (struct {
		Access  string `json:"access_token"`
		Refresh string `json:"refresh_token"`
	}{}) {
		a.mu.Lock()
		a.tokens = append(a.tokens, pair.Access, pair.Refresh)
		a.mu.Unlock()
		before = nil // a retry returns the same token again
	}
	a.lookThrough(t, "an answer", fmt.Sprint(got.header, got.body), before)
	return got
}

// problem is the body of an error response, which has no other fields.
type problem struct{ Code, Detail, Reason string }

func (r apiAnswer) problem(t testing.TB) (p problem) {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(r.body))
	d.DisallowUnknownFields()
	require.NoError(t, d.Decode(&p), r.body)
	return p
}

func (r apiAnswer) failed(t testing.TB, status int, code, reason string) {
	t.Helper()
	require.Equal(t, status, r.status, r.body)
	p := r.problem(t)
	require.Equal(t, code, p.Code)
	require.Equal(t, reason, p.Reason)
	require.Equal(t, reason != "", strings.Contains(r.body, `"reason"`))
}

// pair returns the pair in the body. It requires status 200, and a body with exactly the
// fields of a pair.
func (r apiAnswer) pair(t testing.TB) session.Pair {
	t.Helper()
	require.Equal(t, http.StatusOK, r.status, r.body)
	require.Equal(t, "application/json", r.header.Get("Content-Type"))
	require.Equal(t, []string{"access_token", "expires_in", "refresh_expires_in", "refresh_token", "token_type"}, fieldsOf(t, r.body))
	var p session.Pair
	require.NoError(t, json.Unmarshal([]byte(r.body), &p))
	require.Equal(t, "Bearer", p.TokenType)
	return p
}

func fieldsOf(t testing.TB, body string) []string {
	t.Helper()
	var all map[string]any
	require.NoError(t, json.Unmarshal([]byte(body), &all), body)
	return slices.Sorted(maps.Keys(all))
}

func (a *api) login(t testing.TB, body string, fields ...string) session.Pair {
	t.Helper()
	return a.call(t, "POST", "/auth/jwt/create/", body, fields...).pair(t)
}

func (a *api) refresh(t testing.TB, token string) apiAnswer {
	t.Helper()
	return a.call(t, "POST", "/auth/jwt/refresh/", object("refresh_token", token))
}

func (a *api) me(t testing.TB, token string) apiAnswer {
	t.Helper()
	return a.call(t, "GET", "/api/me", "", "Authorization", "Bearer "+token)
}

func object(name, value string) string {
	text, _ := json.Marshal(map[string]string{name: value})
	return string(text)
}

func bearer(token string) []string { return []string{"Authorization", "Bearer " + token} }

// live requires that the tokens of a pair are accepted or rejected, as want says.
func (a *api) live(t testing.TB, p session.Pair, want bool) {
	t.Helper()
	status := http.StatusUnauthorized
	if want {
		status = http.StatusOK
	}
	require.Equal(t, status, a.me(t, p.AccessToken).status)
	require.Equal(t, status, a.call(t, "POST", "/auth/jwt/verify/", object("token", p.AccessToken)).status)
	if !want {
		a.refresh(t, p.RefreshToken).failed(t, 401, "token_not_valid", "revoked")
		return
	}
	// The refresh token is not tried, because a refresh might replace it.
	listed, err := a.Sessions(t.Context(), decode(t, p.AccessToken).Subject)
	require.NoError(t, err)
	require.True(t, slices.ContainsFunc(listed, func(s session.Session) bool { return s.ID == decode(t, p.AccessToken).SessionID }))
}

func login(t testing.TB, m *session.Manager, subject string, opts ...session.LoginOption) session.Pair {
	t.Helper()
	pair, err := m.Login(t.Context(), subject, opts...)
	require.NoError(t, err)
	return pair
}

func refresh(t testing.TB, m *session.Manager, token string) session.Pair {
	t.Helper()
	pair, err := m.Refresh(t.Context(), token)
	require.NoError(t, err)
	return pair
}

func claimsOf(t testing.TB, m *session.Manager, access string) jwtauth.Claims {
	t.Helper()
	c, err := m.Auth().VerifyAnyContainer(t.Context(), access)
	require.NoError(t, err)
	return c
}

// requireEnded requires that every token of a pair is rejected.
func requireEnded(t testing.TB, m *session.Manager, pair session.Pair) {
	t.Helper()
	if pair.AccessToken != "" {
		_, err := m.Auth().VerifyAnyContainer(t.Context(), pair.AccessToken)
		require.ErrorIs(t, err, jwtauth.ErrRevoked)
	}
	if pair.RefreshToken != "" {
		_, err := m.Refresh(t.Context(), pair.RefreshToken)
		require.ErrorIs(t, err, jwtauth.ErrRevoked)
	}
}

func claimsSay(container string, opts []jwtauth.IssueOption, err error) session.Option {
	return session.WithClaims(func(context.Context, session.Session) (string, []jwtauth.IssueOption, error) {
		return container, opts, err
	})
}

const cookiePath = "/auth/cookie/"

// site is a service over TLS whose browsers keep cookies.
type site struct {
	*session.Manager
	*httptest.Server
	faults *faulty // the faults of the store
	clock  *clock
}

func newSite(t *testing.T, opts ...session.Option) *site {
	t.Helper()
	s := &site{faults: newFaulty(), clock: newClock()}
	s.Manager = newManagerOver(t, faultyStore{s.faults}, append([]session.Option{
		session.WithClock(s.clock.now),
		session.WithCookies(session.Cookies{Path: cookiePath, TrustedOrigins: []string{"https://app.example.com"}}),
	}, opts...)...)
	anyone := func(_ *http.Request, c session.Credentials) (string, []session.LoginOption, error) {
		if c.Password == "wrong" {
			return "", nil, session.ErrCredentials
		}
		return c.Email, nil, nil
	}
	mux := http.NewServeMux()
	// as behind a proxy that removes the prefix
	mux.Handle(cookiePath, http.StripPrefix("/auth/cookie", s.Handler(anyone)))
	mux.Handle("/auth/jwt/", s.JSONHandler(anyone))
	mux.Handle("/api/", s.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		claims, _ := jwtauth.FromContext(r.Context())
		io.WriteString(w, claims.Subject)
	})))
	s.Server = httptest.NewTLSServer(mux)
	t.Cleanup(s.Close)
	return s
}

// browser keeps cookies and sends header fields like a real browser.
type browser struct {
	site   *site
	client *http.Client
	fields http.Header // sent with every request
}

func (s *site) browser(t *testing.T) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	client := *s.Client()
	client.Jar = jar
	return &browser{s, &client, http.Header{"Sec-Fetch-Site": {"same-origin"}}}
}

type page struct {
	status  int
	body    string
	header  http.Header
	cookies map[string]*http.Cookie
}

func (b *browser) send(t *testing.T, method, path, body string, fields ...string) page {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, b.site.URL+path, strings.NewReader(body))
	require.NoError(t, err)
	r.Header = b.fields.Clone()
	r.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(fields); i += 2 {
		r.Header.Set(fields[i], fields[i+1])
	}
	response, err := b.client.Do(r)
	require.NoError(t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	p := page{response.StatusCode, string(text), response.Header, map[string]*http.Cookie{}}
	for _, c := range response.Cookies() {
		p.cookies[c.Name] = c
	}
	return p
}

func (b *browser) post(t *testing.T, endpoint, body string, fields ...string) page {
	t.Helper()
	return b.send(t, "POST", cookiePath+endpoint+"/", body, fields...)
}

func (b *browser) login(t *testing.T, email string) page {
	t.Helper()
	p := b.post(t, "create", `{"email":"`+email+`","password":"right"}`)
	require.Equal(t, 200, p.status, p.body)
	return p
}

func (b *browser) call(t *testing.T) page { t.Helper(); return b.send(t, "GET", "/api/me", "") }

// has returns the names of the cookies that are sent to a path.
func (b *browser) has(t *testing.T, path string) (names []string) {
	t.Helper()
	u, err := url.Parse(b.site.URL + path)
	require.NoError(t, err)
	for _, c := range b.client.Jar.Cookies(u) {
		names = append(names, c.Name)
	}
	return names
}

// takenAway requires that a response deletes all three cookies, each with its own path.
func (p page) takenAway(t *testing.T) {
	t.Helper()
	require.Len(t, p.cookies, 3)
	for name, path := range map[string]string{session.AccessCookie: "/", session.SessionCookie: "/", session.RefreshCookie: cookiePath} {
		c := p.cookies[name]
		require.NotNil(t, c)
		require.Equal(t, path, c.Path)
		require.Equal(t, -1, c.MaxAge)
		require.Empty(t, c.Value)
		require.True(t, c.Secure, "browsers ignore a cookie with such a name unless it is Secure")
	}
}

// late is a time after which a token that was replaced no longer counts as retried. Its
// successor is then replaced, or the token counts as stolen.
const late = session.DefaultGrace + 11*time.Second

// settled is the time after which the current refresh token rotates. Before that, the same
// token is given again.
const settled = session.DefaultGrace + 20*time.Second

// clocksApart is how long an expired session can still be logged out. By the clock of
// another process, it may not have expired yet.
const clocksApart = 10 * time.Second

// scene holds a Manager with its fakes, and one session of alice.
type scene struct {
	*testing.T
	*clock
	*recorder
	faults *faulty
	list   *revoke.List
	m      *session.Manager
	first  session.Pair
}

func newScene(t *testing.T, opts ...session.Option) *scene {
	t.Helper()
	s := &scene{T: t, clock: newClock(), recorder: &recorder{}, faults: newFaulty()}
	s.list = newList(t, faultyLog{s.faults}, s.now)
	s.m = s.manager(s.list, opts...)
	s.first = s.login()
	return s
}

// manager returns another Manager over the same store.
func (s *scene) manager(list *revoke.List, opts ...session.Option) *session.Manager {
	s.Helper()
	return newManagerOver(s.T, faultyStore{s.faults}, append([]session.Option{
		session.WithClock(s.now), session.WithEvents(s.report), session.WithRevocations(list),
	}, opts...)...)
}

// login logs alice in, and lets time pass until her first token would rotate.
func (s *scene) login() session.Pair {
	s.Helper()
	pair, err := s.m.Login(s.Context(), "alice")
	require.NoError(s, err)
	s.take()
	s.advance(settled)
	return pair
}

// refreshes requires that a refresh succeeds, and causes exactly this event.
func (s *scene) refreshes(p session.Pair, want session.EventKind) session.Pair {
	s.Helper()
	pair, err := s.m.Refresh(s.Context(), p.RefreshToken)
	require.NoError(s, err)
	assert.Equal(s, []session.EventKind{want}, s.kinds())
	assert.True(s, lives(s.Context(), s.m, pair.AccessToken), "the new access token must be accepted")
	return pair
}

// fails requires that a refresh fails with this error, and causes exactly these events.
func (s *scene) fails(p session.Pair, want error, events ...session.EventKind) {
	s.Helper()
	pair, err := s.m.Refresh(s.Context(), p.RefreshToken)
	require.ErrorIs(s, err, want)
	assert.Zero(s, pair)
	assert.Equal(s, events, s.kinds())
}

// ended requires that all tokens of these pairs are rejected.
func (s *scene) ended(pairs ...session.Pair) {
	s.Helper()
	for _, p := range pairs {
		_, err := s.m.Refresh(s.Context(), p.RefreshToken)
		require.ErrorIs(s, err, jwtauth.ErrRevoked)
		require.NotErrorIs(s, err, session.ErrReused, "only the call that ends the session may return ErrReused")
		assert.False(s, lives(s.Context(), s.m, p.AccessToken), "an access token of an ended session must be rejected")
	}
	assert.Empty(s, s.take(), "an ended session must cause no event")
}

func (s *scene) alike(a, b session.Pair) {
	s.Helper()
	assert.Equal(s, decode(s, a.RefreshToken), decode(s, b.RefreshToken), "the chain must not fork")
}

// putBack runs fn, and then puts the session back to its state before fn, as if the store
// were restored from a backup.
func (s *scene) putBack(id string, fn func()) {
	s.Helper()
	backup, found, err := s.faults.store.Get(s.Context(), "alice", id)
	require.NoError(s, err)
	require.True(s, found)
	fn()
	s.faults.store = session.NewMemory()
	require.NoError(s, s.faults.store.Create(s.Context(), backup))
}

// managerWithFaults returns a Manager whose keys and WithClaims callback can fail, too.
func (s *scene) managerWithFaults() *session.Manager {
	s.Helper()
	m, err := session.New(faultyKeys{s.faults}, faultyStore{s.faults}, session.WithClock(s.now), session.WithEvents(s.report),
		session.WithRevocations(s.list), session.WithLogger(quiet), session.WithClaims(s.faults.claims))
	require.NoError(s, err)
	return m
}
