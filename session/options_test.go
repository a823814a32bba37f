package session_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
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

func TestWithAccessTTL_AShorterOneEndsNoSession(t *testing.T) {
	clock, store := newClock(), session.NewMemory()
	before := newManagerOver(t, store, session.WithClock(clock.now), session.WithAccessTTL(time.Hour))
	after := newManagerOver(t, store, session.WithClock(clock.now), session.WithAccessTTL(time.Minute), session.WithRefreshTTL(24*time.Hour))
	pair := login(t, before, "alice")
	claimsOf(t, after, pair.AccessToken)
	clock.advance(settled)
	require.EqualValues(t, 24*3600, refresh(t, after, pair.RefreshToken).RefreshExpiresIn)
}

func TestWithContainers_CannotBeTurnedOffBesides(t *testing.T) {
	_, err := session.New(keys.HS256(secret), session.NewMemory(), session.WithContainers(), claimsSay("demo", nil, nil), session.WithAccess(jwtauth.WithAnyContainer()))
	require.ErrorContains(t, err, "WithAnyContainer")
}

func TestWithClaims_AreAskedForAtEveryLoginAndRefresh(t *testing.T) {
	clock := newClock()
	var seen []session.Session
	role, failure := "cook", error(nil)
	m := newManager(t, session.WithClock(clock.now), session.WithContainers(),
		session.WithClaims(func(_ context.Context, s session.Session) (string, []jwtauth.IssueOption, error) {
			seen = append(seen, s)
			return "demo", []jwtauth.IssueOption{jwtauth.Claim("role", role), jwtauth.Subject("mallory"), jwtauth.TTL(time.Hour)}, failure
		}))
	roleOf := func(pair session.Pair) string {
		c, err := m.Auth().Verify(t.Context(), pair.AccessToken, "demo")
		require.NoError(t, err)
		require.Equal(t, "alice", c.Subject, "a claim that the Manager sets must win")
		require.Equal(t, 15*time.Minute, c.ExpiresAt.Sub(c.IssuedAt))
		require.Equal(t, clock.now().Truncate(time.Second), c.IssuedAt)
		require.GreaterOrEqual(t, c.Stamp, clock.now().UnixMicro())
		var own struct{ Role string }
		require.NoError(t, c.Decode(&own))
		return own.Role
	}
	pair := login(t, m, "alice", session.Label("phone"))
	require.Equal(t, "cook", roleOf(pair))
	_, err := m.Auth().Verify(t.Context(), pair.AccessToken, "other")
	require.ErrorIs(t, err, jwtauth.ErrContainer)
	role = "chef"
	clock.advance(settled)
	next := refresh(t, m, pair.RefreshToken)
	require.Equal(t, "chef", roleOf(next))
	role = "owner"
	require.Equal(t, "owner", roleOf(refresh(t, m, pair.RefreshToken)), "the callback must be called for a retry, too")
	require.Len(t, seen, 3)
	require.Equal(t, "phone", seen[2].Label)
	require.EqualValues(t, 2, seen[2].Generation)

	failure = errors.New("no connection")
	_, err = m.Refresh(t.Context(), next.RefreshToken)
	require.ErrorIs(t, err, jwtauth.ErrUnavailable)
	require.ErrorIs(t, err, failure)
	failure = nil
	clock.advance(time.Hour)
	last := refresh(t, m, next.RefreshToken) // the outage changed nothing

	failure = session.ErrSubjectGone
	_, err = m.Refresh(t.Context(), last.RefreshToken)
	require.ErrorIs(t, err, session.ErrSubjectGone)
	require.ErrorIs(t, err, jwtauth.ErrRevoked)
	failure = nil
	requireEnded(t, m, last)
	failure = session.ErrSubjectGone
	_, err = m.Login(t.Context(), "alice")
	require.ErrorIs(t, err, session.ErrSubjectGone)
}

// A revocation on the list must also end sessions. The next login must be valid at once,
// even within the same second.
func TestWithRevocations_WhatTheListRevokesIsEnded(t *testing.T) {
	clock := newClock()
	list, err := revoke.New(revoke.NewMemory(), revoke.WithClock(clock.now))
	require.NoError(t, err)
	m := newManager(t, session.WithClock(clock.now), session.WithRevocations(list))
	for range 5 {
		pair := login(t, m, "alice")
		next := refresh(t, m, pair.RefreshToken)
		require.NoError(t, list.RevokeSubject(t.Context(), m.Auth().Issuer(), "alice"))
		for _, p := range []session.Pair{pair, next} {
			requireEnded(t, m, p)
		}
	}
	refresh(t, m, login(t, m, "alice").RefreshToken)
}

func TestWithRefreshKeys_SignRefreshTokensAlone(t *testing.T) {
	other := []byte("another secret of 32 bytes, or so")
	store := session.NewMemory()
	m := newManagerOver(t, store, session.WithRefreshKeys(keys.HS256(other)))
	pair := login(t, m, "alice")
	_, err := newManagerOver(t, store).Refresh(t.Context(), pair.RefreshToken)
	require.ErrorIs(t, err, jwtauth.ErrSignature)
	refresh(t, m, pair.RefreshToken)
}

func TestWithoutAccess_OneKindOfTokenMayBeEnough(t *testing.T) {
	clock := newClock()
	t.Run("access alone", func(t *testing.T) {
		m := newManager(t, session.WithClock(clock.now), session.WithoutRefresh(), session.WithAccessTTL(time.Hour))
		pair := login(t, m, "alice")
		require.Empty(t, pair.RefreshToken)
		require.Zero(t, pair.RefreshExpiresIn)
		require.EqualValues(t, 3600, pair.ExpiresIn)
		claimsOf(t, m, pair.AccessToken)
		all, err := m.Sessions(t.Context(), "alice")
		require.NoError(t, err)
		require.Len(t, all, 1)
		require.NoError(t, m.Logout(t.Context(), "alice", pair.SessionID))
		requireEnded(t, m, pair)
		login(t, m, "alice")
		clock.advance(time.Hour)
		all, err = m.Sessions(t.Context(), "alice")
		require.NoError(t, err)
		require.Empty(t, all, "the session must end with its access token")
	})
	t.Run("refresh alone", func(t *testing.T) {
		m := newManager(t, session.WithClock(clock.now), session.WithoutAccess())
		pair := login(t, m, "alice")
		require.Empty(t, pair.AccessToken)
		require.Zero(t, pair.ExpiresIn)
		clock.advance(settled)
		next := refresh(t, m, pair.RefreshToken)
		require.Empty(t, next.AccessToken)
		require.NotEqual(t, pair.RefreshToken, next.RefreshToken)
	})
}

func TestWithoutAccess_TheCallbackSaysWhichSubjectIsGone(t *testing.T) {
	var gone error
	m := newManager(t, session.WithoutAccess(), session.WithClaims(func(context.Context, session.Session) (string, []jwtauth.IssueOption, error) {
		return "", nil, gone
	}))
	pair := login(t, m, "alice")
	gone = session.ErrSubjectGone
	_, err := m.Refresh(t.Context(), pair.RefreshToken)
	require.ErrorIs(t, err, session.ErrSubjectGone)
	_, err = m.Login(t.Context(), "alice")
	require.ErrorIs(t, err, session.ErrSubjectGone)
	gone = nil
	requireEnded(t, m, pair)
}

func TestWithEvents_TellsTheStoryOfASession(t *testing.T) {
	var seen recorder
	clock := newClock()
	m := newManager(t, session.WithClock(clock.now), session.WithEvents(seen.report))
	pair := login(t, m, "alice")
	clock.advance(time.Minute)
	refresh(t, m, pair.RefreshToken)
	refresh(t, m, pair.RefreshToken)
	clock.advance(time.Minute)
	next := refresh(t, m, pair.RefreshToken)
	clock.advance(time.Minute)
	refresh(t, m, next.RefreshToken)
	_, err := m.Refresh(t.Context(), pair.RefreshToken)
	require.ErrorIs(t, err, session.ErrReused)
	_, err = m.Refresh(t.Context(), pair.RefreshToken)
	require.NotErrorIs(t, err, session.ErrReused, "the session had already ended")
	all := seen.take()
	var kinds []session.EventKind
	for _, e := range all {
		require.Equal(t, pair.SessionID, e.SessionID)
		require.Equal(t, "alice", e.Subject)
		kinds = append(kinds, e.Kind)
	}
	require.Equal(t, []session.EventKind{session.LoggedIn, session.Refreshed, session.Retried, session.Recovered, session.Refreshed, session.Reused}, kinds)
	require.Equal(t, session.ReasonAnswerLost, all[3].Reason)
	require.Equal(t, session.ReasonReused, all[5].Reason)
}

// decisions records what an observer was told, in order.
type decisions struct {
	mu  sync.Mutex
	all []jwtauth.Decision
}

func (d *decisions) observe(_ context.Context, one jwtauth.Decision) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.all = append(d.all, one)
}

// last returns the only decision since the previous call, as text.
func (d *decisions) last(t *testing.T) string {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	require.Len(t, d.all, 1, "the observer must be called exactly once")
	one := d.all[0]
	d.all = nil
	if one.Allowed {
		return one.Operation + " allowed " + one.Reason
	}
	return one.Operation + " refused: " + one.Reason
}

func TestWithObserver_SeesEachDecisionOnce(t *testing.T) {
	var seen decisions
	a := newAPI(t, session.WithObserver(seen.observe))
	create := func(body string) { a.call(t, "POST", "/auth/jwt/create/", body) }
	pair := a.login(t, aliceLogin)
	require.Equal(t, "login allowed ", seen.last(t))
	other := a.login(t, aliceLogin)
	require.Equal(t, "login allowed ", seen.last(t))
	var next session.Pair
	for _, step := range []struct {
		name string
		do   func()
		want string
	}{
		{"a wrong password", func() { create(`{"email":"` + aliceEmail + `","password":"x"}`) }, "login refused: wrong_credentials"},
		{"an unknown user", func() { create(`{"email":"nobody@mail.invalid","password":"x"}`) }, "login refused: wrong_credentials"},
		{"a call", func() { a.me(t, pair.AccessToken) }, "request allowed "},
		{"a call without a token", func() { a.call(t, "GET", "/api/me", "") }, "request refused: no_token"},
		{"a call with the refresh token", func() { a.me(t, pair.RefreshToken) }, "request refused: wrong_type"},
		{"a token that is verified", func() { a.call(t, "POST", "/auth/jwt/verify/", object("token", pair.AccessToken)) }, "verify allowed "},
		{"no token that is verified", func() { a.call(t, "POST", "/auth/jwt/verify/", object("token", "")) }, "verify refused: no_token"},
		{"a list of sessions", func() { a.call(t, "GET", "/auth/jwt/sessions/", "", bearer(pair.AccessToken)...) }, "verify allowed "},
		{"a list of sessions without a token", func() { a.call(t, "GET", "/auth/jwt/sessions/", "") }, "verify refused: no_token"},
		{"a logout without a token", func() { a.call(t, "POST", "/auth/jwt/logout/", "") }, "verify refused: no_token"},
		{"a logout by garbage", func() { a.call(t, "POST", "/auth/jwt/logout/", object("refresh_token", "garbage")) }, "verify refused: malformed"},
		{"a refresh", func() { a.clock.advance(settled); next = a.refresh(t, pair.RefreshToken).pair(t) }, "refresh allowed "},
		{"a second tab", func() { a.refresh(t, pair.RefreshToken) }, "refresh allowed retried"},
		{"a refresh without a token", func() { a.call(t, "POST", "/auth/jwt/refresh/", "{}") }, "refresh refused: no_token"},
		{"a refresh with garbage", func() { a.refresh(t, "garbage") }, "refresh refused: malformed"},
		{"a refresh with an access token", func() { a.refresh(t, pair.AccessToken) }, "refresh refused: wrong_type"},
		{"an answer that was lost", func() { a.clock.advance(time.Hour); next = a.refresh(t, pair.RefreshToken).pair(t) }, "refresh allowed recovered"},
		{"the next refresh", func() { a.clock.advance(time.Hour); next = a.refresh(t, next.RefreshToken).pair(t) }, "refresh allowed "},
		{"a stolen token", func() { a.refresh(t, pair.RefreshToken) }, "refresh refused: reused"},
		{"a logout by a refresh token", func() { a.call(t, "POST", "/auth/jwt/logout/", object("refresh_token", other.RefreshToken)) }, "verify allowed "},
		{"the victim of the thief", func() { a.refresh(t, next.RefreshToken) }, "refresh refused: revoked"},
		{"a call that comes too late", func() { a.me(t, pair.AccessToken) }, "request refused: expired"},
	} {
		t.Run(step.name, func(t *testing.T) {
			step.do()
			require.Equal(t, step.want, seen.last(t))
		})
	}
	a.call(t, "POST", "/auth/jwt/create/", `not JSON`)
	require.Empty(t, seen.all, "a malformed request must not be observed")
}

func TestWithObserver_SeesOutagesAndCallbacks(t *testing.T) {
	var seen decisions
	f, clock := newFaulty(), newClock()
	var gone error
	m := newManagerOver(t, faultyStore{f}, session.WithObserver(seen.observe), session.WithClock(clock.now),
		session.WithClaims(func(context.Context, session.Session) (string, []jwtauth.IssueOption, error) { return "", nil, gone }))
	pair := login(t, m, "alice")
	require.Equal(t, "login allowed ", seen.last(t))

	f.fault = &fault{call: "Create"}
	_, err := m.Login(t.Context(), "alice")
	require.Error(t, err)
	require.Equal(t, "login refused: unavailable", seen.last(t))

	clock.advance(settled)
	f.fault = &fault{call: "Advance"}
	_, err = m.Refresh(t.Context(), pair.RefreshToken)
	require.Error(t, err)
	require.Equal(t, "refresh refused: unavailable", seen.last(t))

	gone = session.ErrCredentials // only authenticate may return this error
	_, err = m.Refresh(t.Context(), pair.RefreshToken)
	require.ErrorIs(t, err, jwtauth.ErrUnavailable)
	require.Equal(t, "refresh refused: unavailable", seen.last(t))
	anyone := func(*http.Request, session.Credentials) (string, []session.LoginOption, error) {
		return "alice", nil, nil
	}
	w := httptest.NewRecorder()
	m.Handler(anyone).ServeHTTP(w, httptest.NewRequest("POST", "/create/", strings.NewReader(`{"email":"a","password":"b"}`)))
	require.Equal(t, http.StatusServiceUnavailable, w.Code)
	require.Equal(t, "login refused: unavailable", seen.last(t))

	gone = fmt.Errorf("dismissed: %w", session.ErrSubjectGone)
	_, err = m.Login(t.Context(), "alice")
	require.Error(t, err)
	require.Equal(t, "login refused: subject_gone", seen.last(t))
	_, err = m.Refresh(t.Context(), pair.RefreshToken)
	require.Error(t, err)
	require.Equal(t, "refresh refused: subject_gone", seen.last(t))

	w = httptest.NewRecorder()
	failing := func(*http.Request, session.Credentials) (string, []session.LoginOption, error) {
		return "", nil, errOutage
	}
	m.Handler(failing).ServeHTTP(w, httptest.NewRequest("POST", "/create/", strings.NewReader(`{"email":"a","password":"b"}`)))
	require.Equal(t, http.StatusServiceUnavailable, w.Code)
	require.Equal(t, "login refused: unavailable", seen.last(t))
}

func TestWithObserver_SeesPagesOfOtherOrigins(t *testing.T) {
	var seen decisions
	b := newSite(t, session.WithObserver(seen.observe)).browser(t)
	b.login(t, "alice")
	require.Equal(t, "login allowed ", seen.last(t))
	for endpoint, want := range map[string]string{
		"create": "login refused: cross_origin", "refresh": "refresh refused: cross_origin",
		"verify": "verify refused: cross_origin", "logout": "verify refused: cross_origin",
	} {
		require.Equal(t, 403, b.post(t, endpoint, "{}", "Sec-Fetch-Site", "cross-site").status)
		require.Equal(t, want, seen.last(t))
	}
}

func TestWithObserver_SeesOnceWhatAClientOfSimpleJWTVerifies(t *testing.T) {
	var seen decisions
	s := newSite(t, session.WithSimpleJWTBodies(), session.WithObserver(seen.observe))
	pair := login(t, s.Manager, "alice")
	require.Equal(t, "login allowed ", seen.last(t))
	for _, test := range []struct {
		name, token string
		later       time.Duration
		want        string
	}{
		{"a refresh token", pair.RefreshToken, 0, "verify allowed "},
		{"an access token", pair.AccessToken, 0, "verify allowed "},
		{"garbage", "garbage", 0, "verify refused: malformed"},
		{"an expired access token", pair.AccessToken, session.DefaultAccessTTL, "verify refused: expired"},
		{"an expired refresh token", pair.RefreshToken, session.DefaultRefreshTTL, "verify refused: expired"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s.clock.advance(test.later)
			s.browser(t).send(t, "POST", "/auth/jwt/verify/", object("token", test.token))
			require.Equal(t, test.want, seen.last(t))
		})
	}
}

// Clients often hang up. That is no outage, and must not be logged.
func TestWithLogger_AClientThatHangsUpIsNoError(t *testing.T) {
	logs := &logBuffer{}
	m := newManager(t, session.WithLogger(slog.New(slog.NewTextHandler(logs, nil))))
	pair := login(t, m, "alice")
	ctx, hangUp := context.WithCancel(t.Context())
	hangUp()
	_, err := m.Refresh(ctx, pair.RefreshToken)
	require.ErrorIs(t, err, jwtauth.ErrUnavailable)
	require.Empty(t, logs.String())
	refresh(t, m, pair.RefreshToken)
}

func TestWithLogger_ACallThatTheStoreCancelledIsAnError(t *testing.T) {
	f := newFaulty()
	logs := &logBuffer{}
	m := newManagerOver(t, faultyStore{f}, session.WithLogger(slog.New(slog.NewTextHandler(logs, nil))))
	f.fault = &fault{call: "Create", err: context.Canceled}
	_, err := m.Login(t.Context(), "alice")
	require.ErrorIs(t, err, jwtauth.ErrUnavailable)
	require.Contains(t, logs.String(), "level=ERROR")
}

func TestLabel_IsMadeHarmless(t *testing.T) {
	m := newManager(t)
	for given, want := range map[string]string{
		"Firefox on Linux":            "Firefox on Linux",
		"a\x00b\x1b[31mc\r\nd\u0085e": "ab[31mcde",
		"\xff\xfex":                   "x",
		strings.Repeat("ä", 200):      strings.Repeat("ä", 128),
		"":                            "",
	} {
		subject := "user of " + want
		login(t, m, subject, session.Label(given))
		all, err := m.Sessions(t.Context(), subject)
		require.NoError(t, err)
		require.Len(t, all, 1)
		require.Equal(t, want, all[0].Label)
	}
}
