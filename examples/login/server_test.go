package main

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth/revoke"
	"github.com/joinednode/jwtauth/session"
)

const (
	alicePassword = "the password of alice"
	bobPassword   = "the password of bob"
)

// serveUsers starts a server whose users are alice and bob, and returns its URL.
func serveUsers(t *testing.T) string {
	t.Helper()
	return serveUsersAndLog(t, slog.New(slog.DiscardHandler))
}

func serveUsersAndLog(t *testing.T, logger *slog.Logger) string {
	t.Helper()
	ring, err := openRing(filepath.Join(t.TempDir(), "keys.jwks"))
	require.NoError(t, err)
	list, err := revoke.New(revoke.NewMemory())
	require.NoError(t, err)
	sessions, err := newSessions(ring, session.NewMemory(), list, session.DefaultAccessTTL, session.DefaultGrace, logger)
	require.NoError(t, err)
	all, err := newUsers(alicePassword, bobPassword, logger)
	require.NoError(t, err)
	server := httptest.NewServer(newHandler(sessions, all))
	t.Cleanup(server.Close)
	return server.URL
}

// response is a response whose body has been read.
type response struct {
	status int
	header http.Header
	body   string
}

// request returns a request. fields are the names and values of its header, in turn.
func request(t *testing.T, method, url, body string, fields ...string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	require.NoError(t, err)
	for i := 0; i < len(fields); i += 2 {
		r.Header.Add(fields[i], fields[i+1])
	}
	return r
}

// transport keeps no connections. An unused connection would delay a server's shutdown
// for seconds.
var transport = &http.Transport{DisableKeepAlives: true}

// send sends a request without following redirects. It requires that caches may not store
// the response.
func send(t *testing.T, r *http.Request) response {
	t.Helper()
	resp, err := transport.RoundTrip(r)
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Equal(t, "no-store", resp.Header.Get("Cache-Control"))
	return response{resp.StatusCode, resp.Header, string(body)}
}

func post(t *testing.T, url string, body map[string]string, fields ...string) response {
	t.Helper()
	text, err := json.Marshal(body)
	require.NoError(t, err)
	return send(t, request(t, "POST", url, string(text), append(fields, "Content-Type", "application/json")...))
}

func create(t *testing.T, base, email, password string) response {
	t.Helper()
	return post(t, base+"/auth/jwt/create/", map[string]string{"email": email, "password": password})
}

func refreshed(t *testing.T, base, token string) response {
	t.Helper()
	return post(t, base+"/auth/jwt/refresh/", map[string]string{"refresh_token": token})
}

func logOut(t *testing.T, base, token string) response {
	t.Helper()
	return send(t, request(t, "POST", base+"/auth/jwt/logout/", "", "Authorization", "Bearer "+token))
}

func call(t *testing.T, base, token string) response {
	t.Helper()
	return send(t, request(t, "GET", base+"/api/me", "", "Authorization", "Bearer "+token))
}

func (r response) pair(t *testing.T) (p session.Pair) {
	t.Helper()
	require.Equal(t, 200, r.status, r.body)
	require.NoError(t, json.Unmarshal([]byte(r.body), &p))
	return p
}

func signIn(t *testing.T, base, email, password string) session.Pair {
	t.Helper()
	return create(t, base, email, password).pair(t)
}

type caller struct{ Subject, Session, Expires string }

func subjectOf(t *testing.T, base, token string) string {
	t.Helper()
	return meOf(t, base, token).Subject
}

func meOf(t *testing.T, base, token string) (who caller) {
	t.Helper()
	got := call(t, base, token)
	require.Equal(t, 200, got.status, got.body)
	require.Equal(t, "application/json", got.header.Get("Content-Type"))
	require.NoError(t, json.Unmarshal([]byte(got.body), &who))
	require.NotEmpty(t, who.Session)
	require.NotEmpty(t, who.Expires)
	return who
}

func TestEachUserIsWhoTheyAre(t *testing.T) {
	base := serveUsers(t)
	alice := signIn(t, base, "alice@example.com", alicePassword)
	bob := signIn(t, base, "bob@example.com", bobPassword)
	require.NotEqual(t, subjectOf(t, base, alice.AccessToken), subjectOf(t, base, bob.AccessToken))
	again := signIn(t, base, "alice@example.com", alicePassword)
	require.Equal(t, subjectOf(t, base, alice.AccessToken), subjectOf(t, base, again.AccessToken))
	require.NotContains(t, subjectOf(t, base, alice.AccessToken), "alice")

	got := send(t, request(t, "GET", base+"/auth/jwt/sessions/", "", "Authorization", "Bearer "+alice.AccessToken, "User-Agent", "x"))
	require.Equal(t, 200, got.status)
	require.Equal(t, 2, strings.Count(got.body, `"id"`), "the list has alice's sessions and not bob's")
}

func TestWhoIsNotAUserIsToldNothing(t *testing.T) {
	base := serveUsers(t)
	first := create(t, base, "alice@example.com", "wrong")
	require.Equal(t, 401, first.status)
	for name, c := range map[string]struct{ email, password string }{
		"another user's password":              {"alice@example.com", bobPassword},
		"no password":                          {"alice@example.com", ""},
		"no user":                              {"", ""},
		"an unknown user":                      {"nobody@example.com", alicePassword},
		"a password too long for bcrypt":       {"alice@example.com", strings.Repeat("x", 100)},
		"an unknown user with such a password": {"nobody@example.com", strings.Repeat("x", 100)},
	} {
		t.Run(name, func(t *testing.T) {
			got := create(t, base, c.email, c.password)
			require.Equal(t, 401, got.status)
			require.Equal(t, first.body, got.body)
		})
	}
}

func TestGuessingEndsSoonForOneUserAlone(t *testing.T) {
	log := &lockedBuffer{}
	base := serveUsersAndLog(t, slog.New(slog.NewTextHandler(log, nil)))
	for range 15 {
		require.Equal(t, 200, create(t, base, "alice@example.com", alicePassword).status, "right passwords do not count")
	}
	require.NotContains(t, log.String(), "locked")
	for range 12 {
		require.Equal(t, 401, create(t, base, "alice@example.com", "guess").status)
	}
	require.Equal(t, 401, create(t, base, "alice@example.com", alicePassword).status, "even the right password is rejected")
	require.Equal(t, 1, strings.Count(log.String(), "level=WARN msg=\"login: too many wrong passwords"), log.String())
	require.Contains(t, log.String(), "subject=user-1")
	require.NotContains(t, log.String(), "alice@example.com")
	require.Equal(t, 200, create(t, base, "bob@example.com", bobPassword).status)
}

func TestATokenIsNotTakenFromTheURL(t *testing.T) {
	base := serveUsers(t)
	p := signIn(t, base, "alice@example.com", alicePassword)
	require.Equal(t, 401, send(t, request(t, "GET", base+"/api/me?token="+p.AccessToken, "")).status)
	require.Equal(t, 401, call(t, base, p.RefreshToken).status)
}
