package session_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/session"
)

// The users of these tests. Their e-mails and passwords must never come back.
const (
	aliceEmail    = "alice@mail.invalid"
	alicePassword = "correct-horse-of-alice"
	bobEmail      = "bob@mail.invalid"
	bobPassword   = "battery-staple-of-bob"
	wrongPassword = "wrong-guess-by-somebody"

	aliceLogin = `{"email":"` + aliceEmail + `","password":"` + alicePassword + `"}`
	bobLogin   = `{"email":"` + bobEmail + `","password":"` + bobPassword + `"}`
)

// checkUser is the callback of most tests. Its errors differ, so that an answer
// that let them through would show.
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

// api is a service under test on a real port. Whatever it answers and logs is
// looked through for what must not be there.
type api struct {
	*session.Manager
	clock *clock
	url   string // of the server, without a slash at the end
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
		w.Header().Set("Cache-Control", "no-store") // as do checks all of them for it
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

// logBuffer is written by the server's goroutines.
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

// known are the tokens that were given out.
func (a *api) known() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.tokens)
}

// lookThrough fails if a text holds a user's secret, or one of the tokens, or as
// much of one as its signature or payload.
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

// call sends a request with header fields given as names and values. A body that
// is not empty is application/json unless they say otherwise.
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
		before = nil // a replay gives the same again
	}
	a.lookThrough(t, "an answer", fmt.Sprint(got.header, got.body), before)
	return got
}

// problem is the body of a failure, which has no other fields.
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

// pair is that of a 200, whose fields have exactly these names.
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

// live says whether the tokens of a pair are good.
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
	// Not by a refresh, which would make the pair an old one.
	listed, err := a.Sessions(t.Context(), decode(t, p.AccessToken).Subject)
	require.NoError(t, err)
	require.True(t, slices.ContainsFunc(listed, func(s session.Session) bool { return s.ID == decode(t, p.AccessToken).SessionID }))
}
