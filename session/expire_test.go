package session_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/revoke"
	"github.com/joinednode/jwtauth/session"
)

// roles is a callback of WithClaims that gives every access token the current role.
type roles struct {
	role   string
	asked  func() // called after the role has been read
	called int
}

func (r *roles) claims(context.Context, session.Session) (string, []jwtauth.IssueOption, error) {
	role := r.role
	r.called++
	if r.asked != nil {
		r.asked()
	}
	return "", []jwtauth.IssueOption{jwtauth.Claim("role", role)}, nil
}

func roleOf(t *testing.T, m *session.Manager, access string) string {
	t.Helper()
	var c struct{ Role string }
	require.NoError(t, claimsOf(t, m, access).Decode(&c))
	return c.Role
}

func accessError(m *session.Manager, token string) error {
	_, err := m.Auth().VerifyAnyContainer(context.Background(), token)
	return err
}

func TestExpireAccess_ClientsRefreshAndGetNewClaims(t *testing.T) {
	r, clock := &roles{role: "member"}, newClock()
	m := newManager(t, session.WithClock(clock.now), session.WithClaims(r.claims))
	phone, laptop, bob := login(t, m, "alice"), login(t, m, "alice"), login(t, m, "bob")
	require.Equal(t, "member", roleOf(t, m, phone.AccessToken))
	apart, err := m.Auth().Issue("", jwtauth.Subject("alice"))
	require.NoError(t, err)

	r.role = "admin"
	require.NoError(t, m.ExpireAccess(t.Context(), "alice"))
	for name, old := range map[string]session.Pair{"phone": phone, "laptop": laptop} {
		// The token must be rejected again, whatever the cache holds.
		require.ErrorIs(t, accessError(m, old.AccessToken), jwtauth.ErrExpired, name)
		require.ErrorIs(t, accessError(m, old.AccessToken), jwtauth.ErrExpired, name)
		denial := httptest.NewRecorder()
		m.Require(http.NotFoundHandler()).ServeHTTP(denial, requestBy(old.AccessToken))
		require.Equal(t, http.StatusUnauthorized, denial.Code)
		require.JSONEq(t, `{"code":"token_not_valid","detail":"The token is not valid.","reason":"expired"}`, denial.Body.String())

		next := refresh(t, m, old.RefreshToken)
		require.Equal(t, "admin", roleOf(t, m, next.AccessToken), name)
		require.Equal(t, old.SessionID, next.SessionID)
	}
	require.Equal(t, "member", roleOf(t, m, bob.AccessToken), "a token of another subject must stay valid")
	require.NoError(t, accessError(m, apart), "a token that belongs to no session must stay valid")
	all, err := m.Sessions(t.Context(), "alice")
	require.NoError(t, err)
	require.Len(t, all, 2)
	clock.advance(settled)
	refresh(t, m, phone.RefreshToken)
}

func requestBy(access string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/logout/", nil)
	r.Header.Set("Authorization", "Bearer "+access)
	return r
}

// A refresh reads the old role, and signs the token after the role has changed. The token
// must be expired.
func TestExpireAccess_ReachesATokenWhoseClaimsWereReadBefore(t *testing.T) {
	r := &roles{role: "member"}
	m := newManager(t, session.WithClaims(r.claims))
	pair := login(t, m, "alice")
	r.asked = func() {
		r.role, r.asked = "admin", nil
		require.NoError(t, m.ExpireAccess(t.Context(), "alice"))
	}
	late := refresh(t, m, pair.RefreshToken)
	require.ErrorIs(t, accessError(m, late.AccessToken), jwtauth.ErrExpired)
	require.Equal(t, "admin", roleOf(t, m, refresh(t, m, late.RefreshToken).AccessToken))
}

// One process rejects an access token, and the client refreshes with another process, which
// has not read the log since. The new token must be accepted: many clients log out if their
// token is rejected twice.
func TestExpireAccess_ARefreshWithAnotherProcessIsEnough(t *testing.T) {
	for name, after := range map[string]time.Duration{
		"just after the login":                        time.Second,
		"just before the access token would expire":   session.DefaultAccessTTL - 2*time.Second,
		"when a token that was given again is as old": session.DefaultAccessTTL + 45*time.Second,
	} {
		t.Run(name, func(t *testing.T) {
			clock, f := newClock(), newFaulty()
			lists := []*revoke.List{newList(t, faultyLog{f}, clock.now), newList(t, faultyLog{f}, clock.now)}
			var managers []*session.Manager
			for _, list := range lists {
				require.NoError(t, list.Sync(t.Context()))
				managers = append(managers, newManagerOver(t, f.store, session.WithClock(clock.now), session.WithRevocations(list)))
			}
			here, there := managers[0], managers[1]
			pair := login(t, there, "alice")
			clock.advance(after)
			require.NoError(t, here.ExpireAccess(t.Context(), "alice"))
			require.ErrorIs(t, accessError(here, pair.AccessToken), jwtauth.ErrExpired)
			next := refresh(t, there, pair.RefreshToken)
			require.NoError(t, accessError(here, next.AccessToken))
			require.NoError(t, accessError(there, next.AccessToken))
			require.NoError(t, lists[1].Sync(t.Context()))
			require.NoError(t, accessError(there, next.AccessToken))
		})
	}
}

func TestExpireAccess_ALogThatHangsDelaysARefreshByOneSecondAtMost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFaulty()
		list := newList(t, faultyLog{f}, time.Now)
		require.NoError(t, list.Sync(t.Context()))
		m := newManagerOver(t, f.store, session.WithClock(time.Now), session.WithRevocations(list))
		pair := login(t, m, "alice")
		f.fault = hanging("Since")
		before := time.Now()
		refresh(t, m, pair.RefreshToken)
		require.LessOrEqual(t, time.Since(before), time.Second)
	})
}

// A hundred sessions refresh while the log hangs. They must not wait for each other.
func TestExpireAccess_ManyRefreshesDoNotQueueBehindALogThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFaulty()
		list := newList(t, faultyLog{f}, time.Now)
		m := newManagerOver(t, f.store, session.WithClock(time.Now), session.WithRevocations(list))
		var pairs []session.Pair
		for range 100 {
			pairs = append(pairs, login(t, m, "alice"))
		}
		f.fault = hanging("Since")
		ctx, cancel := context.WithCancel(t.Context())
		var follower, all sync.WaitGroup
		follower.Go(func() { _ = list.Sync(ctx) }) // reads the log, as Run does, and waits longer than a refresh
		synctest.Wait()
		before := time.Now()
		for _, pair := range pairs {
			all.Go(func() {
				_, err := m.Refresh(t.Context(), pair.RefreshToken)
				assert.NoError(t, err)
			})
		}
		all.Wait()
		require.LessOrEqual(t, time.Since(before), time.Second)
		require.NoError(t, list.Status().Err, "a refresh that stops waiting must not stop the reading")
		cancel()
		follower.Wait()
	})
}

func TestExpireAccess_TheTokenStillLogsItsOwnSessionOut(t *testing.T) {
	m := newManager(t)
	pair, other := login(t, m, "alice"), login(t, m, "alice")
	require.NoError(t, m.ExpireAccess(t.Context(), "alice"))
	answer := httptest.NewRecorder()
	m.Handler(checkUser).ServeHTTP(answer, requestBy(pair.AccessToken))
	require.Equal(t, http.StatusNoContent, answer.Code, answer.Body)
	requireEnded(t, m, pair)
	refresh(t, m, other.RefreshToken)
}

func TestExpireAccess_Refuses(t *testing.T) {
	m := newManager(t)
	require.ErrorContains(t, m.ExpireAccess(t.Context(), ""), "a subject must be valid UTF-8")
	require.NotErrorIs(t, m.ExpireAccess(t.Context(), ""), jwtauth.ErrUnavailable)
	require.ErrorContains(t, newManager(t, session.WithoutAccess()).ExpireAccess(t.Context(), "alice"), "WithoutAccess")

	f, clock := newFaulty(), newClock()
	m = newManagerOver(t, f.store, session.WithClock(clock.now), session.WithRevocations(newList(t, faultyLog{f}, clock.now)))
	f.fault = &fault{call: "Append"}
	require.ErrorIs(t, m.ExpireAccess(t.Context(), "alice"), jwtauth.ErrUnavailable)
	require.NoError(t, m.ExpireAccess(t.Context(), "alice"))
}
