package session_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/keys"
	"github.com/joinednode/jwtauth/revoke"
	"github.com/joinednode/jwtauth/session"
)

func TestRefresh_NoKindOfTokenIsAcceptedAsAnother(t *testing.T) {
	m := newManager(t)
	pair := login(t, m, "alice")
	_, err := m.Auth().VerifyAnyContainer(t.Context(), pair.RefreshToken)
	require.ErrorIs(t, err, jwtauth.ErrType)
	_, err = m.Refresh(t.Context(), pair.AccessToken)
	require.ErrorIs(t, err, jwtauth.ErrType)

	plain, err := jwtauth.New(keys.HS256(secret), jwtauth.WithAnyContainer(), jwtauth.WithClock(newClock().now))
	require.NoError(t, err)
	for _, token := range []string{pair.AccessToken, pair.RefreshToken} {
		_, err := plain.VerifyAnyContainer(t.Context(), token)
		require.ErrorIs(t, err, jwtauth.ErrType)
	}
	forRefresh, err := jwtauth.New(keys.HS256(secret), jwtauth.WithAnyContainer(), jwtauth.WithTypes(session.RefreshType), jwtauth.WithClock(newClock().now))
	require.NoError(t, err)
	for name, opts := range map[string][]jwtauth.IssueOption{
		"nothing":       nil,
		"no generation": {jwtauth.Subject("alice"), jwtauth.SessionID(pair.SessionID)},
		"a foreign jti": {jwtauth.Subject("alice"), jwtauth.SessionID(pair.SessionID), jwtauth.Claim("gen", 1)},
		"another type":  {jwtauth.Subject("alice"), jwtauth.SessionID(pair.SessionID), jwtauth.Claim("gen", "1")},
	} {
		token, err := forRefresh.Issue("", append(opts, jwtauth.TTL(time.Hour))...)
		require.NoError(t, err)
		_, err = m.Refresh(t.Context(), token)
		require.Error(t, err, name)
		require.NotErrorIs(t, err, jwtauth.ErrUnavailable, name)
	}
	refresh(t, m, pair.RefreshToken)
}

func TestRefresh_TwoTabsAtTheSameTimeGetTheSameSuccessor(t *testing.T) {
	s := newScene(t)
	var other session.Pair
	s.faults.first["Advance"] = func() { other = s.refreshes(s.first, session.Refreshed) }
	one := s.refreshes(s.first, session.Retried)
	s.alike(one, other)
}

func TestRefresh_ALogoutDuringItWins(t *testing.T) {
	s := newScene(t)
	s.faults.first["Advance"] = func() { require.NoError(t, s.m.Logout(t.Context(), "alice", s.first.SessionID)) }
	s.fails(s.first, jwtauth.ErrRevoked, session.LoggedOut)
	s.ended(s.first)
}

func TestRefresh_ALostAnswerIsGivenAgainAndToASecondTab(t *testing.T) {
	s := newScene(t)
	lost := s.refreshes(s.first, session.Refreshed)
	s.advance(10 * time.Second)
	lostToo := s.refreshes(s.first, session.Retried)
	s.advance(20 * time.Second)
	got := s.refreshes(s.first, session.Retried)
	s.alike(lost, lostToo)
	s.alike(lost, got)
	s.advance(24 * time.Hour)
	s.refreshes(got, session.Refreshed)
}

func TestRefresh_ALostAnswerIsGivenAgainThoughTheOldTokenHasExpiredMeanwhile(t *testing.T) {
	s := newScene(t)
	s.set(start.Truncate(time.Second).Add(session.DefaultRefreshTTL - time.Second))
	lost := s.refreshes(s.first, session.Refreshed)
	s.advance(2 * time.Second)
	got := s.refreshes(s.first, session.Retried) // the session lives for 14 more days
	s.alike(lost, got)
}

func TestRefresh_ARetryThatComesLateSkipsTheLostAnswer(t *testing.T) {
	s := newScene(t)
	lost := s.refreshes(s.first, session.Refreshed)
	for _, after := range []time.Duration{late, time.Hour, 9 * 24 * time.Hour} {
		s.advance(after)
		lost = s.refreshes(s.first, session.Recovered)
	}
	s.advance(settled)
	next := s.refreshes(lost, session.Refreshed) // this response arrived
	s.advance(settled)
	s.fails(s.first, session.ErrReused, session.Reused)
	s.ended(s.first, lost, next)
}

func TestRefresh_ATokenThatWasSkippedIsStolen(t *testing.T) {
	for _, after := range []time.Duration{0, time.Second, late, time.Hour} {
		s := newScene(t)
		thief := s.refreshes(s.first, session.Refreshed)
		s.advance(time.Hour)
		right := s.refreshes(s.first, session.Recovered)
		s.advance(after)
		s.fails(thief, session.ErrReused, session.Reused)
		s.ended(s.first, thief, right)
	}
}

func TestRefresh_WithoutRecoveryARetryThatComesLateIsTakenForTheft(t *testing.T) {
	s := newScene(t, session.WithoutRecovery())
	lost := s.refreshes(s.first, session.Refreshed)
	s.advance(late)
	s.fails(s.first, session.ErrReused, session.Reused)
	s.ended(s.first, lost)
}

func TestRefresh_ATokenIsGivenAgainUntilItsAnswerHasArrivedForSure(t *testing.T) {
	s := newScene(t)
	s.first = s.login()
	s.advance(-settled)
	s.alike(s.first, s.refreshes(s.first, session.Retried))
	s.advance(settled - time.Microsecond)
	s.alike(s.first, s.refreshes(s.first, session.Retried))
	s.advance(time.Microsecond)
	next := s.refreshes(s.first, session.Refreshed)
	s.alike(next, s.refreshes(next, session.Retried))
}

// If the current token is given again late in the window, the window begins anew. Another
// retry shortly afterwards must then get the same token, and not skip it.
func TestRefresh_AWindowBeginsAnewWhenItsTokenIsGivenAgainLate(t *testing.T) {
	s := newScene(t)
	next := s.refreshes(s.first, session.Refreshed)
	s.advance(session.DefaultGrace + 10*time.Second)
	s.alike(next, s.refreshes(s.first, session.Retried))
	s.advance(time.Second)
	s.alike(next, s.refreshes(s.first, session.Retried))
	s.advance(time.Second)
	s.alike(next, s.refreshes(next, session.Retried))
	s.advance(settled)
	s.refreshes(next, session.Refreshed)
}

func TestRefresh_WhatIsGivenAgainIsWrittenOnlyWhenItIsLate(t *testing.T) {
	s := newScene(t)
	next := s.refreshes(s.first, session.Refreshed)
	writes := 0
	s.faults.advanced = func(session.Session) { writes++ }
	for _, c := range []struct {
		after  time.Duration
		token  session.Pair
		writes int
	}{{0, s.first, 0}, {20 * time.Second, s.first, 0}, {0, next, 0}, {time.Microsecond, s.first, 1}, {0, s.first, 1}, {settled - time.Microsecond, next, 1}} {
		s.advance(c.after)
		s.refreshes(c.token, session.Retried)
		require.Equal(t, c.writes, writes)
	}
}

func TestRefresh_AThiefWhoComesSecondEndsTheSession(t *testing.T) {
	s := newScene(t)
	right := s.refreshes(s.first, session.Refreshed)
	s.advance(time.Hour)
	right2 := s.refreshes(right, session.Refreshed)
	s.fails(s.first, session.ErrReused, session.Reused)
	s.ended(s.first, right, right2)
}

func TestRefresh_AThiefWhoComesFirstIsEndedByTheRightClient(t *testing.T) {
	s := newScene(t)
	thief := s.refreshes(s.first, session.Refreshed)
	s.advance(settled)
	thief2 := s.refreshes(thief, session.Refreshed)
	assert.True(t, lives(t.Context(), s.m, thief2.AccessToken))
	s.fails(s.first, session.ErrReused, session.Reused)
	s.ended(s.first, thief, thief2)
}

// This test shows a limit that the package comment admits: a thief who always comes within
// the grace is served, and causes only Retried events.
func TestRefresh_AThiefWithinTheGraceIsSeenAsRetriedAlone(t *testing.T) {
	s := newScene(t)
	thief := s.refreshes(s.first, session.Refreshed)
	s.advance(5 * time.Second)
	right := s.refreshes(s.first, session.Retried)
	s.alike(thief, right)
	for range 3 {
		s.advance(time.Hour)
		right2 := s.refreshes(right, session.Refreshed)
		s.advance(5 * time.Second)
		thief = s.refreshes(thief, session.Retried)
		s.alike(right2, thief)
		right = right2
	}
	// This ends when one of the two is late, and then the other one comes again.
	s.advance(time.Hour)
	right2 := s.refreshes(right, session.Refreshed)
	s.advance(late)
	thief2 := s.refreshes(thief, session.Recovered)
	s.fails(right2, session.ErrReused, session.Reused)
	s.ended(right, right2, thief, thief2)
}

// Even if a thief hangs up at once, the session must end, and the event must be reported.
func TestRefresh_AThiefWhoHangsUpIsReportedAllTheSame(t *testing.T) {
	clock := newClock()
	logs, events := &logBuffer{}, &recorder{}
	f := newFaulty()
	m := newManagerOver(t, faultyStore{f}, session.WithClock(clock.now), session.WithEvents(events.report),
		session.WithLogger(slog.New(slog.NewTextHandler(logs, nil))))
	pair := login(t, m, "alice")
	for next := pair; len(events.events) < 3; {
		clock.advance(time.Hour)
		next = refresh(t, m, next.RefreshToken)
	}
	ctx, hangUp := context.WithCancel(t.Context())
	f.then["Get"] = hangUp
	_, err := m.Refresh(ctx, pair.RefreshToken)
	require.ErrorIs(t, err, session.ErrReused)
	require.Equal(t, []session.EventKind{session.LoggedIn, session.Refreshed, session.Refreshed, session.Reused}, events.kinds())
	require.Contains(t, logs.String(), "used again")
}

func TestRefresh_ATheftThatMeetsAnOutageIsEndedOnceItIsOver(t *testing.T) {
	for _, c := range []fault{{call: "Append"}, {call: "Revoke"}} {
		t.Run(c.call+" fails", func(t *testing.T) {
			s := newScene(t)
			right := s.refreshes(s.first, session.Refreshed)
			s.advance(time.Hour)
			right = s.refreshes(right, session.Refreshed)
			s.faults.fault = &c
			s.fails(s.first, jwtauth.ErrUnavailable, session.Reused) // the thief may never come again

			// If the same token comes again, the theft is found again.
			s.fails(s.first, session.ErrReused, session.Reused)
			all, err := s.m.Sessions(t.Context(), "alice")
			require.NoError(t, err)
			assert.Empty(t, all, "the session must not be listed any more")

			// other stands for a process with a list of its own, or one that has just started.
			other := s.manager(newList(t, revoke.NewMemory(), s.now))
			_, err = other.Refresh(t.Context(), right.RefreshToken)
			require.ErrorIs(t, err, jwtauth.ErrRevoked, "the client with the newer token must be logged out too")
		})
	}
}

// After the outage, the victim comes before the thief. The thief's token then belongs to an
// ended session, so the theft must not be reported a second time.
func TestRefresh_ATheftWhoseEndWasHalfDoneIsReportedOnceThoughTheVictimCompletesIt(t *testing.T) {
	for _, c := range []fault{{call: "Revoke"}, {call: "Revoke", after: true}} {
		t.Run(fmt.Sprintf("%s fails (after its effect: %v)", c.call, c.after), func(t *testing.T) {
			s := newScene(t)
			right := s.refreshes(s.first, session.Refreshed)
			s.advance(time.Hour)
			right = s.refreshes(right, session.Refreshed)
			s.faults.fault = &c
			s.fails(s.first, jwtauth.ErrUnavailable, session.Reused)
			_, err := s.m.Refresh(t.Context(), right.RefreshToken)
			require.ErrorIs(t, err, jwtauth.ErrRevoked)
			_, err = s.m.Refresh(t.Context(), s.first.RefreshToken)
			require.ErrorIs(t, err, jwtauth.ErrRevoked)
			require.NotContains(t, s.kinds(), session.Reused)
			all, err := s.m.Sessions(t.Context(), "alice")
			require.NoError(t, err)
			require.Empty(t, all)
		})
	}
}

// If a subject is gone, its session must end, even if the client hangs up at once.
func TestRefresh_ASubjectThatIsGoneIsGoneThoughItsClientHangsUp(t *testing.T) {
	events := &recorder{}
	hangUp := func() {}
	var gone error
	m := newManager(t, session.WithEvents(events.report), session.WithClaims(func(context.Context, session.Session) (string, []jwtauth.IssueOption, error) {
		hangUp()
		return "", nil, gone
	}))
	pair := login(t, m, "alice")
	ctx, cancel := context.WithCancel(t.Context())
	hangUp, gone = cancel, session.ErrSubjectGone
	_, err := m.Refresh(ctx, pair.RefreshToken)
	require.ErrorIs(t, err, session.ErrSubjectGone)
	require.Equal(t, []session.EventKind{session.LoggedIn, session.LoggedOut}, events.kinds())
}

func TestRefresh_AFailureOfAnythingChangesNothingAndTheSameTokenWorks(t *testing.T) {
	for _, c := range []struct {
		fault
		again session.EventKind
	}{
		{fault{call: "Get"}, session.Refreshed},
		{fault{call: "Advance"}, session.Refreshed},
		{fault{call: "Advance", after: true}, session.Retried},
		{fault{call: "Claims"}, session.Refreshed},
		{fault{call: "Keys"}, session.Refreshed},
		{fault{call: "Keys", skip: 1}, session.Refreshed},
		{fault{call: "Keys", skip: 2}, session.Refreshed},
	} {
		t.Run(fmt.Sprintf("%s fails (after its effect: %v, after %d others)", c.call, c.after, c.skip), func(t *testing.T) {
			s := newScene(t)
			s.m = s.managerWithFaults()
			s.faults.fault = &c.fault
			s.fails(s.first, jwtauth.ErrUnavailable)
			require.True(t, c.fired)
			s.advance(session.DefaultGrace)
			got := s.refreshes(s.first, c.again)
			assert.Equal(t, int64(2), decode(t, got.RefreshToken).Generation)
		})
	}
}

func TestRefresh_ASessionEndsAtItsExpiries(t *testing.T) {
	const idle, age = time.Hour, 90 * time.Minute
	for _, c := range []struct {
		name string
		at   []time.Duration // the times of earlier refreshes, since the full second of the login
		end  time.Duration
	}{
		{name: "idle since its login", end: idle},
		{name: "idle since its refresh", at: []time.Duration{20 * time.Minute}, end: 20*time.Minute + idle},
		{name: "too old", at: []time.Duration{50 * time.Minute}, end: age},
	} {
		second := start.Truncate(time.Second)
		begin := func(t *testing.T) (*scene, session.Pair) {
			s := newScene(t, session.WithRefreshTTL(idle), session.WithMaxAge(age))
			pair := s.first
			for _, at := range c.at {
				s.set(second.Add(at))
				pair = s.refreshes(pair, session.Refreshed)
			}
			assert.Equal(t, second.Add(c.end).Unix(), decode(t, pair.RefreshToken).Expires)
			return s, pair
		}
		t.Run(c.name+", a microsecond before", func(t *testing.T) {
			s, pair := begin(t)
			s.set(second.Add(c.end - time.Microsecond))
			next := s.refreshes(pair, session.Refreshed)
			assert.LessOrEqual(t, decode(t, next.AccessToken).Expires, second.Add(age).Unix())
			assert.LessOrEqual(t, decode(t, next.RefreshToken).Expires, second.Add(age).Unix())
		})
		t.Run(c.name+", exactly", func(t *testing.T) {
			s, pair := begin(t)
			s.set(second.Add(c.end))
			s.fails(pair, jwtauth.ErrExpired)
			assert.False(t, lives(t.Context(), s.m, pair.AccessToken))
			s.set(second.Add(c.end + clocksApart))
			require.ErrorIs(t, s.m.Logout(t.Context(), "alice", pair.SessionID), session.ErrNoSession)
			all, err := s.m.Sessions(t.Context(), "alice")
			require.NoError(t, err)
			assert.Empty(t, all)
		})
	}
}

func TestRefresh_ASessionThatEndsMeanwhileHasExpired(t *testing.T) {
	t.Run("in a slow store", func(t *testing.T) {
		s := newScene(t)
		s.faults.then["Get"] = func() { s.advance(2 * time.Second) }
		s.set(start.Truncate(time.Second).Add(session.DefaultRefreshTTL - time.Second))
		s.fails(s.first, jwtauth.ErrExpired)
	})
	t.Run("in a slow callback", func(t *testing.T) {
		s := newScene(t)
		slow := func(context.Context, session.Session) (string, []jwtauth.IssueOption, error) {
			s.advance(2 * time.Second)
			return "", nil, nil
		}
		s.m = s.manager(s.list, session.WithClaims(slow))
		s.set(start.Truncate(time.Second).Add(session.DefaultRefreshTTL - time.Second))
		s.fails(s.first, jwtauth.ErrExpired)
	})
}

func TestRefresh_AClockThatWasAheadAnHourAndIsSetBackLogsNoClientOut(t *testing.T) {
	s := newScene(t)
	s.advance(time.Hour)
	ahead := s.refreshes(s.first, session.Refreshed)
	atLogin := s.login()
	s.advance(-time.Hour - settled)
	for range 2 { // the same tokens are given again until the clock has caught up
		s.alike(ahead, s.refreshes(s.first, session.Retried))
		s.alike(ahead, s.refreshes(ahead, session.Retried))
		s.alike(atLogin, s.refreshes(atLogin, session.Retried))
		s.advance(30 * time.Minute)
	}
	s.advance(2 * settled)
	s.refreshes(ahead, session.Refreshed)
	s.refreshes(atLogin, session.Refreshed)
	s.fails(s.first, session.ErrReused, session.Reused)
}

// By their own claims, these tokens are not valid yet, or have expired. The row in the store
// overrules the claims, but the list must still be asked.
func TestRefresh_WhatTheListAloneRevokedIsRejectedWhateverTheTime(t *testing.T) {
	t.Run("the clock is set back", func(t *testing.T) {
		s := newScene(t)
		s.advance(time.Hour)
		ahead := s.refreshes(s.first, session.Refreshed)
		require.NoError(t, s.list.RevokeSession(t.Context(), "", s.first.SessionID))
		s.advance(-time.Hour)
		s.fails(ahead, jwtauth.ErrRevoked, session.LoggedOut) // the session is then revoked in the store, too
		s.ended(s.first, ahead)
	})
	t.Run("the token has expired, and its successor lives", func(t *testing.T) {
		s := newScene(t)
		s.set(start.Truncate(time.Second).Add(session.DefaultRefreshTTL - time.Second))
		next := s.refreshes(s.first, session.Refreshed)
		require.NoError(t, s.list.RevokeSession(t.Context(), "", s.first.SessionID))
		s.advance(2 * time.Second)
		s.fails(s.first, jwtauth.ErrRevoked, session.LoggedOut)
		s.ended(s.first, next)
	})
}

func TestRefresh_ATokenThatIsRevokedAloneLeavesItsSessionAsItIs(t *testing.T) {
	s := newScene(t)
	next := s.refreshes(s.first, session.Refreshed)
	p := decode(t, s.first.RefreshToken)
	require.NoError(t, s.list.RevokeToken(t.Context(), "", p.ID, time.Unix(p.Expires, 0)))
	s.fails(s.first, jwtauth.ErrRevoked)
	s.advance(settled)
	s.refreshes(next, session.Refreshed)
}

// If a subject is revoked during a refresh, the refresh must be rejected.
func TestRefresh_DoesNotOutrunARevocationOfItsSubject(t *testing.T) {
	for name, retry := range map[string]bool{"a rotation": false, "a retry": true} {
		t.Run(name, func(t *testing.T) {
			f, clock := newFaulty(), newClock()
			list := newList(t, f.log, clock.now)
			m := newManagerOver(t, faultyStore{f}, session.WithClock(clock.now), session.WithRevocations(list))
			pair := login(t, m, "alice")
			if retry {
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

// A process refreshes a session before it has read that the subject was revoked. Once the
// process has read the revocation, it must reject the new tokens.
func TestRefresh_ASessionDoesNotOutliveARevocationThatWasReadLate(t *testing.T) {
	clock, f := newClock(), newFaulty()
	here, there := newList(t, faultyLog{f}, clock.now), newList(t, faultyLog{f}, clock.now)
	m := newManagerOver(t, f.store, session.WithClock(clock.now), session.WithRevocations(there))
	pair := login(t, m, "alice")
	clock.advance(time.Minute)
	require.NoError(t, here.RevokeSubject(t.Context(), m.Auth().Issuer(), "alice"))
	clock.advance(5 * time.Second)
	f.fault = &fault{call: "Since", lasts: true} // an early refresh would otherwise read the log
	late := refresh(t, m, pair.RefreshToken)
	f.fault = nil
	require.NoError(t, there.Sync(t.Context()))
	for range 3 {
		clock.advance(20 * time.Minute)
		_, err := m.Refresh(t.Context(), late.RefreshToken)
		require.ErrorIs(t, err, jwtauth.ErrRevoked)
		require.False(t, lives(t.Context(), m, late.AccessToken))
	}
	refresh(t, m, login(t, m, "alice").RefreshToken)
}

func TestRefresh_AStoreThatWasPutBackFollowsItsClients(t *testing.T) {
	for _, refreshes := range []int{1, 2, 5} {
		t.Run(fmt.Sprint("to before so many refreshes: ", refreshes), func(t *testing.T) {
			s := newScene(t)
			older := s.refreshes(s.first, session.Refreshed)
			newer := older
			s.putBack(s.first.SessionID, func() {
				for range refreshes {
					s.advance(time.Hour)
					newer = s.refreshes(newer, session.Refreshed)
				}
			})
			got := s.refreshes(newer, session.Recovered)
			assert.Equal(t, decode(t, newer.RefreshToken).Generation+1, decode(t, got.RefreshToken).Generation)
			s.alike(got, s.refreshes(newer, session.Retried)) // from another tab
			s.advance(time.Hour)
			got = s.refreshes(got, session.Refreshed)
			s.fails(older, session.ErrReused, session.Reused)
			s.ended(got, newer, older)
		})
	}
}

func TestRefresh_AStoreThatWasPutBackIsLoggedOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logs := &logBuffer{}
		s := newScene(t, session.WithLogger(slog.New(slog.NewTextHandler(logs, nil))))
		warnings := func() int { return strings.Count(logs.String(), "newer than its row") }
		behind := func() {
			p := s.login()
			var newer session.Pair
			s.putBack(p.SessionID, func() { newer = s.refreshes(p, session.Refreshed) })
			s.refreshes(newer, session.Recovered)
		}
		for range 3 {
			behind()
		}
		require.Equal(t, 1, warnings())
		require.Contains(t, logs.String(), "level=WARN")
		time.Sleep(time.Minute)
		behind()
		behind()
		require.Equal(t, 2, warnings())
	})
}

func TestRefresh_ASlowCallbackTakesNothingFromTheGrace(t *testing.T) {
	clock := newClock()
	slow := time.Duration(0)
	m := newManager(t, session.WithClock(clock.now), session.WithClaims(func(context.Context, session.Session) (string, []jwtauth.IssueOption, error) {
		clock.advance(slow)
		return "", nil, nil
	}))
	pair := login(t, m, "alice")
	clock.advance(settled)
	slow = 41 * time.Second
	next := refresh(t, m, pair.RefreshToken)
	slow = 0
	clock.advance(session.DefaultGrace)
	again := refresh(t, m, pair.RefreshToken)
	require.Equal(t, decode(t, next.RefreshToken), decode(t, again.RefreshToken))
}

// Whether a token counts as stolen depends on when the request arrived, not on how long the
// callback took.
func TestRefresh_ATabWhoseCallbackWasSlowGetsTheTokenThatIsCurrent(t *testing.T) {
	for _, test := range []struct {
		name      string
		before    int             // how often another tab refreshed before
		meanwhile []time.Duration // how much time passes before each refresh of another tab during the callback
	}{
		{"another was faster", 0, []time.Duration{time.Second}},
		{"another was faster twice", 0, []time.Duration{time.Second, settled}},
		{"another was faster three times", 0, []time.Duration{time.Second, settled, settled}},
		{"it came second, and then another was faster", 1, []time.Duration{settled}},
		{"it came second, and then another was faster twice", 1, []time.Duration{settled, settled}},
	} {
		t.Run(test.name, func(t *testing.T) {
			clock := newClock()
			var m *session.Manager
			var newest session.Pair
			slow := false
			m = newManager(t, session.WithClock(clock.now), session.WithClaims(func(context.Context, session.Session) (string, []jwtauth.IssueOption, error) {
				if slow {
					slow = false
					for _, passes := range test.meanwhile {
						clock.advance(passes)
						newest = refresh(t, m, newest.RefreshToken)
					}
				}
				return "", nil, nil
			}))
			first := login(t, m, "alice")
			clock.advance(settled)
			newest = first
			for range test.before {
				newest = refresh(t, m, newest.RefreshToken)
			}
			slow = true
			got := refresh(t, m, first.RefreshToken)
			require.Equal(t, decode(t, newest.RefreshToken), decode(t, got.RefreshToken))
			require.EqualValues(t, 1+test.before+len(test.meanwhile), decode(t, got.RefreshToken).Generation)
			refresh(t, m, got.RefreshToken)
		})
	}
}

func TestRefresh_ASessionThatIsGoneAfterTheCallbackOfARetryStaysSo(t *testing.T) {
	store := session.NewMemory()
	end, lost := false, false
	m := newManagerOver(t, store, session.WithClaims(func(ctx context.Context, s session.Session) (string, []jwtauth.IssueOption, error) {
		if end { // by another process, whose revocation has not arrived here
			_, err := store.Revoke(ctx, s.Subject, s.ID, session.ReasonLogout, time.Now())
			require.NoError(t, err)
		}
		if lost {
			require.NoError(t, store.Purge(ctx, s.MaxExpires.Add(time.Hour)))
		}
		return "", nil, nil
	}))
	for name, how := range map[string]*bool{"ended": &end, "lost": &lost} {
		t.Run(name, func(t *testing.T) {
			first := login(t, m, "alice")
			refresh(t, m, first.RefreshToken)
			*how = true
			defer func() { *how = false }()
			_, err := m.Refresh(t.Context(), first.RefreshToken)
			require.ErrorIs(t, err, jwtauth.ErrRevoked)
		})
	}
}

func TestRefresh_SigningThatEatsUpTheGraceIsAnOutage(t *testing.T) {
	f, clock := newFaulty(), newClock()
	slow := time.Duration(0)
	f.then["Sign"] = func() { clock.advance(slow) }
	m, err := session.New(f.newSigner(), f.store, session.WithClock(clock.now), session.WithLogger(quiet))
	require.NoError(t, err)
	pair := login(t, m, "alice")
	clock.advance(settled)
	slow = 5 * time.Second // two tokens are signed in 10 s, the longest time that a rotation may take
	pair = refresh(t, m, pair.RefreshToken)
	clock.advance(settled)
	slow = 6 * time.Second
	_, err = m.Refresh(t.Context(), pair.RefreshToken)
	require.ErrorIs(t, err, jwtauth.ErrUnavailable)
	clock.advance(time.Hour)
	slow = 0
	refresh(t, m, pair.RefreshToken)
}

// A store may be as slow as its timeout, and a key slower than a rotation allows. Even then,
// a client that retries after a lost response must not be taken for a thief.
func TestRefresh_ARetryMayBeSlow(t *testing.T) {
	f, clock := newFaulty(), newClock()
	signing, reading := time.Duration(0), time.Duration(0)
	f.then["Get"] = func() { clock.advance(reading) }
	f.then["Sign"] = func() { clock.advance(signing) }
	m, err := session.New(f.newSigner(), faultyStore{f},
		session.WithClock(clock.now), session.WithLogger(quiet), session.WithGrace(0), // the allowed clock skew adds 10 s
		session.WithClaims(func(context.Context, session.Session) (string, []jwtauth.IssueOption, error) { return "", nil, nil }))
	require.NoError(t, err)
	for name, slow := range map[string]*time.Duration{"a store": &reading, "a key": &signing} {
		t.Run(name, func(t *testing.T) {
			pair := login(t, m, "alice")
			clock.advance(settled)
			next := refresh(t, m, pair.RefreshToken)
			*slow = 3 * time.Second
			defer func() { *slow = 0 }()
			again := refresh(t, m, pair.RefreshToken)
			require.Equal(t, decode(t, next.RefreshToken), decode(t, again.RefreshToken))
		})
	}
}

// A token that came within the grace must not count as stolen only because the store was
// slow.
func TestRefresh_WhatCountsIsWhenAReplacedTokenCame(t *testing.T) {
	f, clock := newFaulty(), newClock()
	m := newManagerOver(t, faultyStore{f}, session.WithClock(clock.now))
	pair := login(t, m, "alice")
	clock.advance(settled)
	next := refresh(t, m, pair.RefreshToken)
	clock.advance(session.DefaultGrace + 8*time.Second)
	f.then["Get"] = func() { clock.advance(4 * time.Second) }
	again := refresh(t, m, pair.RefreshToken)
	require.Equal(t, decode(t, next.RefreshToken), decode(t, again.RefreshToken))
}

func TestRefresh_AReplacedTokenCameBeforeItsKeyWasLookedUp(t *testing.T) {
	f, clock := newFaulty(), newClock()
	slow := time.Duration(0)
	f.then["Keys"] = func() { clock.advance(slow) }
	m, err := session.New(faultyKeys{f}, f.store, session.WithClock(clock.now), session.WithLogger(quiet))
	require.NoError(t, err)
	pair := login(t, m, "alice")
	clock.advance(settled)
	next := refresh(t, m, pair.RefreshToken)
	clock.advance(session.DefaultGrace + 8*time.Second)
	slow = 4 * time.Second
	again := refresh(t, m, pair.RefreshToken)
	require.Equal(t, decode(t, next.RefreshToken), decode(t, again.RefreshToken))
}
