package session_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/revoke"
	"github.com/joinednode/jwtauth/session"
)

// A user is dismissed while one of his refreshes is under way.
func TestARefreshDoesNotOutrunARevocationOfItsSubject(t *testing.T) {
	for name, replay := range map[string]bool{"a rotation": false, "a replay": true} {
		t.Run(name, func(t *testing.T) {
			f, clock := newFaulty(), newClock()
			list := newList(t, f.log, clock.now)
			m := newManagerOver(t, faultyStore{f}, session.WithClock(clock.now), session.WithRevocations(list))
			pair := login(t, m, "alice")
			if replay {
				refresh(t, m, pair.RefreshToken)
			}
			clock.advance(time.Second)
			f.first["Get"] = func() { require.NoError(t, list.RevokeSubject(t.Context(), m.Auth().Issuer(), "alice")) }
			_, err := m.Refresh(t.Context(), pair.RefreshToken)
			require.ErrorIs(t, err, jwtauth.ErrRevoked)
			refresh(t, m, login(t, m, "alice").RefreshToken)
		})
	}
}

// A process that has not yet heard that a user was dismissed refreshes his session:
// what it gives must not outlive the news.
func TestASessionDoesNotOutliveARevocationThatWasReadLate(t *testing.T) {
	clock, f := newClock(), newFaulty()
	here, there := newList(t, faultyLog{f}, clock.now), newList(t, faultyLog{f}, clock.now)
	m := newManagerOver(t, f.store, session.WithClock(clock.now), session.WithRevocations(there))
	pair := login(t, m, "alice")
	clock.advance(time.Minute)
	require.NoError(t, here.RevokeSubject(t.Context(), m.Auth().Issuer(), "alice"))
	clock.advance(5 * time.Second)
	late := refresh(t, m, pair.RefreshToken)
	require.NoError(t, there.Sync(t.Context()))
	for range 3 {
		clock.advance(20 * time.Minute)
		_, err := m.Refresh(t.Context(), late.RefreshToken)
		require.ErrorIs(t, err, jwtauth.ErrRevoked)
		require.False(t, lives(t.Context(), m, late.AccessToken))
	}
	refresh(t, m, login(t, m, "alice").RefreshToken)
}

func TestAShorterLifetimeEndsNoSession(t *testing.T) {
	clock, store := newClock(), session.NewMemory()
	before := newManagerOver(t, store, session.WithClock(clock.now), session.WithAccessTTL(time.Hour))
	after := newManagerOver(t, store, session.WithClock(clock.now), session.WithAccessTTL(time.Minute), session.WithRefreshTTL(24*time.Hour))
	pair := login(t, before, "alice")
	claimsOf(t, after, pair.AccessToken)
	clock.advance(settled)
	require.EqualValues(t, 24*3600, refresh(t, after, pair.RefreshToken).RefreshExpiresIn)
}

// logoutOf posts to logout/ and returns the status.
func logoutOf(t *testing.T, m *session.Manager, body, accessToken string) int {
	t.Helper()
	handler := m.Handler(func(*http.Request, session.Credentials) (string, []session.LoginOption, error) {
		return "", nil, session.ErrCredentials
	})
	r := httptest.NewRequest("POST", "/logout/", strings.NewReader(body))
	if accessToken != "" {
		r.Header.Set("Authorization", "Bearer "+accessToken)
	}
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	return w.Code
}

func TestALogoutEverywhereThatFailsMayBeTriedAgain(t *testing.T) {
	for _, call := range []string{"Get", "List", "Append", "Revoke"} {
		for skip := range 3 {
			f := newFaulty()
			list := newList(t, faultyLog{f}, newClock().now)
			m := newManagerOver(t, faultyStore{f}, session.WithRevocations(list))
			thief, other, mine := login(t, m, "alice"), login(t, m, "alice"), login(t, m, "alice")
			f.fault = &fault{call: call, skip: skip}
			status := logoutOf(t, m, `{"everywhere":true}`, mine.AccessToken)
			if f.fault.fired {
				require.Equal(t, 503, status, "%s %d", call, skip)
				if call != "Append" && call != "Revoke" || skip < 2 { // else its own session, the last, is half ended
					status = logoutOf(t, m, `{"everywhere":true}`, mine.AccessToken)
					require.Equal(t, 204, status, "%s %d, again", call, skip)
				} else {
					require.Equal(t, 204, logoutOf(t, m, ``, mine.AccessToken))
				}
			}
			f.fault = nil
			for _, pair := range []session.Pair{thief, other, mine} {
				requireEnded(t, m, pair)
			}
		}
	}
}

// Whoever finds an old refresh token must not be able to log its owner out of
// everything.
func TestADeadTokenEndsNothingButItsOwnSession(t *testing.T) {
	everywhere := func(token string) string { return `{"everywhere":true,"refresh_token":"` + token + `"}` }
	t.Run("of a session that was ended, and forgotten by the list", func(t *testing.T) {
		store := session.NewMemory()
		old := newManagerOver(t, store)
		dead := login(t, old, "alice")
		require.NoError(t, old.Logout(t.Context(), "alice", dead.SessionID))
		m := newManagerOver(t, store) // after a restart
		mine := login(t, m, "alice")
		require.Equal(t, 401, logoutOf(t, m, everywhere(dead.RefreshToken), ""))
		require.Equal(t, 401, logoutOf(t, m, `{"everywhere":true}`, dead.AccessToken))
		require.Equal(t, 401, logoutOf(t, m, `{"session_id":"`+mine.SessionID+`"}`, dead.AccessToken))
		refresh(t, m, mine.RefreshToken)
	})
	t.Run("that was replaced long ago", func(t *testing.T) {
		clock := newClock()
		m := newManager(t, session.WithClock(clock.now))
		dead, mine := login(t, m, "alice"), login(t, m, "alice")
		next := dead
		for range 2 {
			clock.advance(time.Hour)
			next = refresh(t, m, next.RefreshToken)
		}
		require.Equal(t, 401, logoutOf(t, m, everywhere(dead.RefreshToken), ""))
		refresh(t, m, mine.RefreshToken)
	})
}

func TestNoStoreIsAskedAboutWhatCannotBeASession(t *testing.T) {
	f := newFaulty()
	m := newManagerOver(t, faultyStore{f})
	for _, id := range []string{"", "x", strings.Repeat("A", 25), strings.Repeat("A", 27), strings.Repeat("a", 26), strings.Repeat("A", 25) + "\x00", strings.Repeat("A", 60_000)} {
		require.ErrorIs(t, m.Logout(t.Context(), "alice", id), session.ErrNoSession)
	}
	require.Zero(t, f.calls["Get"])
	require.ErrorIs(t, m.Logout(t.Context(), "alice", strings.Repeat("A", 26)), session.ErrNoSession)
	require.Equal(t, 1, f.calls["Get"])
}

func TestContainersCannotBeTurnedOffBesides(t *testing.T) {
	_, err := session.New(newFaulty().key, session.NewMemory(), session.WithContainers(), claimsSay("demo", nil, nil), session.WithAccess(jwtauth.WithAnyContainer()))
	require.ErrorContains(t, err, "WithAnyContainer")
}

// A client may post a token of a session that was logged out again and again.
func TestLogout_ByADeadTokenDoesNotGrowTheLog(t *testing.T) {
	log := revoke.NewMemory()
	clock := newClock()
	list := newList(t, log, clock.now)
	m := newManager(t, session.WithClock(clock.now), session.WithRevocations(list))
	pair := login(t, m, "alice")
	entries := func() int {
		part, err := log.Since(t.Context(), "", 1000)
		require.NoError(t, err)
		return len(part.Entries)
	}
	body := `{"refresh_token":"` + pair.RefreshToken + `"}`
	for range 50 {
		require.Equal(t, 204, logoutOf(t, m, body, ""))
		require.Equal(t, 204, logoutOf(t, m, "", pair.AccessToken))
		_, err := m.Refresh(t.Context(), pair.RefreshToken)
		require.ErrorIs(t, err, jwtauth.ErrRevoked)
	}
	require.Equal(t, 1, entries())
}
