package session_test

import (
	"context"
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
	"github.com/joinednode/jwtauth/session"
)

// decisions are what an observer was told, in order.
type decisions struct {
	mu  sync.Mutex
	all []jwtauth.Decision
}

func (d *decisions) observe(_ context.Context, one jwtauth.Decision) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.all = append(d.all, one)
}

// last is the only decision since the last call, as a line.
func (d *decisions) last(t *testing.T) string {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	require.Len(t, d.all, 1, "one decision, one call")
	one := d.all[0]
	d.all = nil
	if one.Allowed {
		return one.Operation + " allowed " + one.Reason
	}
	return one.Operation + " refused: " + one.Reason
}

func TestEachDecisionAboutASessionIsObservedOnce(t *testing.T) {
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
		{"a list of sessions of nobody", func() { a.call(t, "GET", "/auth/jwt/sessions/", "") }, "verify refused: no_token"},
		{"a logout of nobody", func() { a.call(t, "POST", "/auth/jwt/logout/", "") }, "verify refused: no_token"},
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
	require.Empty(t, seen.all, "what is no question is no decision")
}

func TestOutagesAndCallbacksAreObserved(t *testing.T) {
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

	gone = session.ErrCredentials // which is for those who authenticate
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

func TestPagesOfOtherOriginsAreObserved(t *testing.T) {
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

func TestARefreshTokenThatAClientOfSimpleJWTVerifiesIsObservedOnce(t *testing.T) {
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

// Of those there may be many, and none is an outage.
func TestAClientThatHangsUpIsNoErrorOfTheLog(t *testing.T) {
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

func TestACallThatTheStoreCancelledIsAnErrorOfTheLog(t *testing.T) {
	f := newFaulty()
	logs := &logBuffer{}
	m := newManagerOver(t, faultyStore{f}, session.WithLogger(slog.New(slog.NewTextHandler(logs, nil))))
	f.fault = &fault{call: "Create", err: context.Canceled}
	_, err := m.Login(t.Context(), "alice")
	require.ErrorIs(t, err, jwtauth.ErrUnavailable)
	require.Contains(t, logs.String(), "level=ERROR")
}
