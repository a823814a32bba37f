package session_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/revoke"
	"github.com/joinednode/jwtauth/session"
)

// late is when a retry is no longer taken for one, whosever clock measures it.
const late = session.DefaultGrace + 11*time.Second

// settled is when a token that was given rotates.
const settled = session.DefaultGrace + 20*time.Second

// scene is one session of alice, for the scenarios that are told in words.
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

// manager makes another Manager over the same store.
func (s *scene) manager(list *revoke.List, opts ...session.Option) *session.Manager {
	s.Helper()
	return newManagerOver(s.T, faultyStore{s.faults}, append([]session.Option{
		session.WithClock(s.now), session.WithEvents(s.report), session.WithRevocations(list),
	}, opts...)...)
}

// login also waits until the first token rotates.
func (s *scene) login() session.Pair {
	s.Helper()
	pair, err := s.m.Login(s.Context(), "alice")
	require.NoError(s, err)
	s.take()
	s.advance(settled)
	return pair
}

// refreshes wants a refresh to go well, and the event it makes.
func (s *scene) refreshes(p session.Pair, want session.EventKind) session.Pair {
	s.Helper()
	pair, err := s.m.Refresh(s.Context(), p.RefreshToken)
	require.NoError(s, err)
	assert.Equal(s, []session.EventKind{want}, s.kinds())
	assert.True(s, lives(s.Context(), s.m, pair.AccessToken), "the new access token is accepted")
	return pair
}

// fails wants a refresh to be refused.
func (s *scene) fails(p session.Pair, want error, events ...session.EventKind) {
	s.Helper()
	pair, err := s.m.Refresh(s.Context(), p.RefreshToken)
	require.ErrorIs(s, err, want)
	assert.Zero(s, pair)
	assert.Equal(s, events, s.kinds())
}

// ended wants nothing of these pairs to be accepted any more.
func (s *scene) ended(pairs ...session.Pair) {
	s.Helper()
	for _, p := range pairs {
		_, err := s.m.Refresh(s.Context(), p.RefreshToken)
		require.ErrorIs(s, err, jwtauth.ErrRevoked)
		require.NotErrorIs(s, err, session.ErrReused, "only the call that ends a session says so")
		assert.False(s, lives(s.Context(), s.m, p.AccessToken), "an access token of an ended session")
	}
	assert.Empty(s, s.take(), "nothing happens to what has ended")
}

func (s *scene) alike(a, b session.Pair) {
	s.Helper()
	assert.Equal(s, decode(s, a.RefreshToken), decode(s, b.RefreshToken), "the chain must not fork")
}

func TestTwoTabsAtTheSameMomentGetTheSameSuccessor(t *testing.T) {
	s := newScene(t)
	var other session.Pair
	s.faults.first["Advance"] = func() { other = s.refreshes(s.first, session.Refreshed) }
	one := s.refreshes(s.first, session.Retried)
	s.alike(one, other)
}

func TestALogoutDuringARefreshWins(t *testing.T) {
	s := newScene(t)
	s.faults.first["Advance"] = func() { require.NoError(t, s.m.Logout(t.Context(), "alice", s.first.SessionID)) }
	s.fails(s.first, jwtauth.ErrRevoked, session.LoggedOut)
	s.ended(s.first)
}

func TestALostAnswerIsGivenAgainAndToASecondTab(t *testing.T) {
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

func TestALostAnswerIsGivenAgainThoughTheOldTokenHasExpiredMeanwhile(t *testing.T) {
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
	next := s.refreshes(lost, session.Refreshed) // the last answer came
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

// What is given again late is not skipped by whoever comes a moment later.
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

func TestRefresh_WhatIsGivenAgainIsWrittenNowhereButLate(t *testing.T) {
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

func TestAThiefWhoComesSecondEndsTheSession(t *testing.T) {
	s := newScene(t)
	right := s.refreshes(s.first, session.Refreshed)
	s.advance(time.Hour)
	right2 := s.refreshes(right, session.Refreshed)
	s.fails(s.first, session.ErrReused, session.Reused)
	s.ended(s.first, right, right2)
}

func TestAThiefWhoComesFirstIsEndedByTheRightClient(t *testing.T) {
	s := newScene(t)
	thief := s.refreshes(s.first, session.Refreshed)
	s.advance(settled)
	thief2 := s.refreshes(thief, session.Refreshed)
	assert.True(t, lives(t.Context(), s.m, thief2.AccessToken))
	s.fails(s.first, session.ErrReused, session.Reused)
	s.ended(s.first, thief, thief2)
}

// TestAThiefWithinTheGraceIsSeenAsReplayedAlone is what the package's documentation
// says it does not give.
func TestAThiefWithinTheGraceIsSeenAsReplayedAlone(t *testing.T) {
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
	// Until one of them is late, and the other comes again.
	s.advance(time.Hour)
	right2 := s.refreshes(right, session.Refreshed)
	s.advance(late)
	thief2 := s.refreshes(thief, session.Recovered)
	s.fails(right2, session.ErrReused, session.Reused)
	s.ended(right, right2, thief, thief2)
}

func TestAClockThatWasAheadAnHourAndIsSetBackLogsNobodyOut(t *testing.T) {
	s := newScene(t)
	s.advance(time.Hour)
	ahead := s.refreshes(s.first, session.Refreshed)
	atLogin := s.login()
	s.advance(-time.Hour - settled)
	for range 2 { // they are given again until the clock has caught up
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

func TestALogoutCountsThoughTheClockIsSetBack(t *testing.T) {
	s := newScene(t)
	s.advance(time.Hour)
	ahead := s.refreshes(s.first, session.Refreshed)
	s.advance(-time.Hour)
	require.NoError(t, s.m.Logout(t.Context(), "alice", s.first.SessionID))
	s.take()
	s.ended(s.first, ahead)
	s.advance(time.Hour)
	s.ended(s.first, ahead)
}

// TestWhatTheListAloneRefusesIsRefusedWhateverTheTime: where the row has the last
// word about the time of a token, the list is asked all the same.
func TestWhatTheListAloneRefusesIsRefusedWhateverTheTime(t *testing.T) {
	t.Run("the clock is set back", func(t *testing.T) {
		s := newScene(t)
		s.advance(time.Hour)
		ahead := s.refreshes(s.first, session.Refreshed)
		require.NoError(t, s.list.RevokeSession(t.Context(), "", s.first.SessionID))
		s.advance(-time.Hour)
		s.fails(ahead, jwtauth.ErrRevoked, session.LoggedOut) // the store learns of it
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

func TestATokenThatIsTakenBackAloneLeavesItsSessionAsItIs(t *testing.T) {
	s := newScene(t)
	next := s.refreshes(s.first, session.Refreshed)
	p := decode(t, s.first.RefreshToken)
	require.NoError(t, s.list.RevokeToken(t.Context(), "", p.ID, time.Unix(p.Expires, 0)))
	s.fails(s.first, jwtauth.ErrRevoked)
	s.advance(settled)
	s.refreshes(next, session.Refreshed)
}

func TestASessionThatEndsWhileItIsRefreshedHasExpired(t *testing.T) {
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

func TestASessionEndsAtItsExpiries(t *testing.T) {
	const idle, age = time.Hour, 90 * time.Minute
	for _, c := range []struct {
		name string
		at   []time.Duration // the refreshes before, since the login's second
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

func TestAnAccessTokenDoesNotOutliveItsSessionThoughTheCallbackIsSlow(t *testing.T) {
	clock := newClock()
	slow := func(context.Context, session.Session) (string, []jwtauth.IssueOption, error) {
		clock.advance(10 * time.Second)
		return "", nil, nil
	}
	m := newManager(t, session.WithClock(clock.now), session.WithClaims(slow), session.WithRefreshTTL(time.Minute), session.WithMaxAge(time.Minute))
	pair, err := m.Login(t.Context(), "alice")
	require.NoError(t, err)
	assert.LessOrEqual(t, decode(t, pair.AccessToken).Expires, decode(t, pair.RefreshToken).MaxExpires)
}

// putBack has the store be as it was before fn.
func (s *scene) putBack(id string, fn func()) {
	s.Helper()
	backup, found, err := s.faults.store.Get(s.Context(), "alice", id)
	require.NoError(s, err)
	require.True(s, found)
	fn()
	s.faults.store = session.NewMemory()
	require.NoError(s, s.faults.store.Create(s.Context(), backup))
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
			s.alike(got, s.refreshes(newer, session.Retried)) // another tab
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

func TestATheftThatMeetsAnOutageIsEndedOnceItIsOver(t *testing.T) {
	for _, c := range []fault{{call: "Append"}, {call: "Revoke"}} {
		t.Run(c.call+" fails", func(t *testing.T) {
			s := newScene(t)
			right := s.refreshes(s.first, session.Refreshed)
			s.advance(time.Hour)
			right = s.refreshes(right, session.Refreshed)
			s.faults.fault = &c
			s.fails(s.first, jwtauth.ErrUnavailable, session.Reused) // who may never come again

			// The same token again: as good, or as bad, as before.
			s.fails(s.first, session.ErrReused, session.Reused)
			all, err := s.m.Sessions(t.Context(), "alice")
			require.NoError(t, err)
			assert.Empty(t, all, "the session is not listed any more")

			// A process that has a list of its own, or starts now.
			other := s.manager(newList(t, revoke.NewMemory(), s.now))
			_, err = other.Refresh(t.Context(), right.RefreshToken)
			require.ErrorIs(t, err, jwtauth.ErrRevoked, "whoever has the other token does not stay")
		})
	}
}

// The victim comes before the thief does again, whose token is that of an ended session
// then.
func TestATheftWhoseEndWasHalfDoneIsReportedOnceThoughTheVictimCompletesIt(t *testing.T) {
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

func TestAFailureOfAnythingChangesNothingAndTheSameTokenWorks(t *testing.T) {
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

// managerWithFaults is one whose keys and callback fail, too.
func (s *scene) managerWithFaults() *session.Manager {
	s.Helper()
	m, err := session.New(faultyKeys{s.faults}, faultyStore{s.faults}, session.WithClock(s.now), session.WithEvents(s.report),
		session.WithRevocations(s.list), session.WithLogger(quiet), session.WithClaims(s.faults.claims))
	require.NoError(s, err)
	return m
}

func TestALogoutThatMeetsAnOutageIsCalledAgain(t *testing.T) {
	for _, c := range []fault{
		{call: "Get"}, {call: "Append"}, {call: "Append", after: true}, {call: "Revoke"}, {call: "Revoke", after: true},
	} {
		t.Run(fmt.Sprintf("%s fails (after its effect: %v)", c.call, c.after), func(t *testing.T) {
			s := newScene(t)
			s.faults.fault = &c
			require.ErrorIs(t, s.m.Logout(t.Context(), "alice", s.first.SessionID), jwtauth.ErrUnavailable)
			require.True(t, c.fired)
			require.NoError(t, s.m.Logout(t.Context(), "alice", s.first.SessionID))
			s.take()
			s.ended(s.first)
			other := s.manager(newList(t, s.faults.log, s.now))
			_, err := other.Refresh(t.Context(), s.first.RefreshToken)
			require.ErrorIs(t, err, jwtauth.ErrRevoked)
			assert.False(t, lives(t.Context(), other, s.first.AccessToken))
		})
	}
}

// TestModel lets clients, thieves, networks, clocks and outages do what they like to
// two Managers, which a seed decides, and compares each answer with a model: what
// the package's documentation promises, told by who holds what and when it came.
func TestModel(t *testing.T) {
	seeds, steps := 400, 180
	if testing.Short() {
		seeds = 60
	}
	met := map[string]int{}
	for seed := range seeds {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			w := newWorld(t, uint64(seed))
			w.met = met
			for range steps {
				w.step()
			}
			w.finish()
		})
	}
	t.Log("met:", met)
	for _, kind := range []string{
		"refresh", "retried", "recovered", "reused", "expired", "ended", "outage", "lost", "late", "two tabs", "race", "thief served", "gone", "logout", "logout of all",
	} {
		assert.Greater(t, met[kind], seeds/10, "the model must meet what it is about: %s", kind)
	}
}

// world is everything there is. Real time only goes on; the wall clock, which the
// Managers read, may be set back.
type world struct {
	testing.TB
	*rand.Rand
	*recorder
	wall     *clock
	real     time.Duration // since the start
	managers [2]*session.Manager
	ahead    [2]time.Duration // of each Manager's clock before the wall clock
	faults   *faulty
	rules    rules
	kinds    []string // of faults
	devices  []*device
	thieves  []*thief
	chains   []*chain
	trace    []string
	met      map[string]int
}

type rules struct{ access, idle, age time.Duration }

// chain is what the model knows of one session.
type chain struct {
	id, subject string
	generation  int64
	prev        int64             // the generation that it was made from
	window      time.Time         // when it was last given late, or made
	given       map[int64]payload // what was given out of each generation
	access      []string          // the last access tokens
	rotated     time.Time         // the latest moment that any clock showed at a rotation
	expires     time.Time
	maxExpires  time.Time

	ended    bool // nothing of it may be accepted any more
	doubtful bool // an attempt to end it failed, which may have ended it
	robbed   bool // a thief has used a token of it
	ends     int  // events that said it ended
	fouled   bool // an outage met its end, which may have cost the event
}

// device is a right client, whose tabs share what it stores.
type device struct {
	subject string
	chain   *chain // nil before its login
	token   string
	number  int64 // the token's generation
}

type thief struct {
	chain  *chain
	token  string
	number int64
}

func newWorld(t testing.TB, seed uint64) *world {
	w := &world{TB: t, Rand: rand.New(rand.NewPCG(seed, 1)), recorder: &recorder{}, wall: newClock(), faults: newFaulty()}
	w.kinds = []string{"Create", "Get", "Advance", "Advance", "Revoke", "List", "Append", "Claims", "Keys", "Keys"}
	w.rules = []rules{
		{session.DefaultAccessTTL, session.DefaultRefreshTTL, session.DefaultMaxAge},
		{5 * time.Minute, 24 * time.Hour, 72 * time.Hour},
		{time.Minute, 2 * time.Minute, 5 * time.Minute},
		{time.Hour, time.Hour, 90 * time.Minute},
	}[seed%4]
	var opts []session.Option
	if seed%16 == 7 {
		w.kinds = append(w.kinds, "Sign", "Sign")
		opts = append(opts, session.WithRefreshKeys(w.faults.newSigner()))
	}
	list := newList(t, faultyLog{w.faults}, w.wall.now)
	w.ahead[1] = []time.Duration{0, 5 * time.Second, -5 * time.Second, 1234 * time.Microsecond}[seed/4%4]
	for i := range w.managers {
		m, err := session.New(faultyKeys{w.faults}, faultyStore{w.faults}, append(opts,
			session.WithClock(func() time.Time { return w.clockOf(i) }), session.WithRevocations(list), session.WithLogger(quiet),
			session.WithEvents(w.report), session.WithClaims(w.faults.claims),
			session.WithAccessTTL(w.rules.access), session.WithRefreshTTL(w.rules.idle), session.WithMaxAge(w.rules.age))...)
		require.NoError(t, err)
		w.managers[i] = m
	}
	w.faults.advanced = w.advancedTo
	for i := range 6 {
		w.devices = append(w.devices, &device{subject: []string{"alice", "bob", "Zoë"}[i/2]})
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("what happened, seed %d:\n%s", seed, strings.Join(w.trace[max(0, len(w.trace)-60):], "\n"))
		}
	})
	return w
}

func (w *world) clockOf(manager int) time.Time { return w.wall.now().Add(w.ahead[manager]) }

func (w *world) say(format string, args ...any) {
	w.trace = append(w.trace, fmt.Sprintf("%s (%v) ", w.wall.now().Format("02T15:04:05.000000"), w.real)+fmt.Sprintf(format, args...))
}

// chance is true once in n times.
func (w *world) chance(n int) bool { return w.IntN(n) == 0 }

// advancedTo follows the store: an answer may be lost, or become an error, on its
// way.
func (w *world) advancedTo(next session.Session) {
	c := w.chainOf(next.ID)
	c.window = next.Given
	if next.Generation == c.generation { // it was given again, late
		require.Equal(w, c.prev, next.Prev)
		return
	}
	require.Equal(w, c.generation+1, next.Generation, "a generation is replaced once, by the next")
	c.generation, c.prev = next.Generation, next.Prev
}

func (w *world) chainOf(id string) *chain {
	i := slices.IndexFunc(w.chains, func(c *chain) bool { return c.id == id })
	require.GreaterOrEqual(w, i, 0, "a session that nobody made")
	return w.chains[i]
}

// pass lets time go by.
func (w *world) pass(d time.Duration) {
	w.faults.fault = nil
	w.real += d
	w.wall.advance(d)
}

func (w *world) step() {
	switch n := w.IntN(100); {
	case n < 20:
		w.pass(time.Duration(w.Int64N(int64(15 * time.Second))))
	case n < 28:
		w.pass(time.Duration(w.Int64N(int64(w.rules.idle / 2))))
	case n < 29:
		w.pass(time.Duration(w.Int64N(int64(9 * 24 * time.Hour))))
	case n < 32:
		back := []time.Duration{time.Second, 5 * time.Second, time.Minute, 5 * time.Minute}[w.IntN(4)]
		w.say("the clock is set back by %v", back)
		w.wall.advance(-back)
	case n < 36:
		w.toTheBrink()
	case n < 64:
		w.arm()
		w.refreshOf(w.devices[w.IntN(len(w.devices))], false)
	case n < 70:
		w.twoTabs(w.devices[w.IntN(len(w.devices))])
	case n < 74:
		w.comeLate(w.devices[w.IntN(len(w.devices))])
	case n < 79:
		w.steal(w.devices[w.IntN(len(w.devices))])
	case n < 90:
		if len(w.thieves) > 0 {
			w.arm()
			w.rob(w.thieves[w.IntN(len(w.thieves))])
		}
	case n < 94:
		w.arm()
		w.logout(w.devices[w.IntN(len(w.devices))])
	case n < 96:
		w.arm()
		w.logoutAll(w.devices[w.IntN(len(w.devices))].subject)
	case n < 98:
		w.subjectGone(w.devices[w.IntN(len(w.devices))])
	default:
		if len(w.chains) > 0 {
			w.dead(w.chains[w.IntN(len(w.chains))])
		}
	}
}

// finish has everybody come once more while all is well.
func (w *world) finish() {
	w.pass(late)
	for _, dev := range w.devices {
		w.refreshOf(dev, true)
	}
	for _, th := range w.thieves {
		w.rob(th)
	}
	for _, c := range w.chains {
		w.dead(c)
		if c.ended && !c.fouled && c.ends != 1 {
			require.Equal(w, 1, c.ends, "a session that ended was reported once")
		}
	}
}

// arm has something fail in what follows, now and then.
func (w *world) arm() {
	w.faults.fault = nil
	if w.chance(3) {
		f := &fault{call: w.kinds[w.IntN(len(w.kinds))], after: w.chance(2), skip: w.IntN(2) * w.IntN(3)}
		w.faults.fault = f
	}
}

func (w *world) fired() bool { return w.faults.fault != nil && w.faults.fault.fired }

// toTheBrink passes time until just before, or at, the end of a session.
func (w *world) toTheBrink() {
	dev := w.devices[w.IntN(len(w.devices))]
	if dev.chain == nil {
		return
	}
	left := []time.Duration{0, time.Microsecond, time.Second, 10 * time.Second, time.Minute}[w.IntN(5)]
	if d := dev.chain.expires.Add(-left).Sub(w.wall.now()); d > 0 {
		w.pass(d)
		w.say("%s stands %v before the end of the session", dev.subject, left)
	}
}

// login gives a device a new session, once it needs one.
func (w *world) login(dev *device) {
	k := w.IntN(2)
	now := w.clockOf(k).Truncate(time.Microsecond)
	pair, err := w.managers[k].Login(w.Context(), dev.subject)
	events := w.take()
	w.say("%s logs in: %v", dev.subject, err)
	if w.fired() {
		require.ErrorIs(w, err, jwtauth.ErrUnavailable)
		require.Empty(w, events)
		return
	}
	require.NoError(w, err)
	require.Len(w, events, 1)
	require.Equal(w, session.LoggedIn, events[0].Kind)
	c := &chain{
		id: pair.SessionID, subject: dev.subject, generation: 1, given: map[int64]payload{},
		rotated: now, window: now, maxExpires: now.Truncate(time.Second).Add(w.rules.age),
	}
	w.chains = append(w.chains, c)
	c.setExpires(w.rules)
	*dev = device{subject: dev.subject, chain: c, token: pair.RefreshToken, number: 1}
	w.check(c, 1, pair, now)
}

func (c *chain) setExpires(r rules) {
	c.expires = c.rotated.Truncate(time.Second).Add(r.idle)
	if c.maxExpires.Before(c.expires) {
		c.expires = c.maxExpires
	}
}

// check judges what was given out: never two of one generation that differ (I3),
// and nothing that outlives the session (I6).
func (w *world) check(c *chain, generation int64, pair session.Pair, now time.Time) {
	p, second := decode(w, pair.RefreshToken), now.Truncate(time.Second)
	require.Equal(w, payload{
		Subject: c.subject, SessionID: c.id, ID: p.ID, IssuedAt: p.IssuedAt,
		Expires: c.expires.Unix(), Generation: generation, MaxExpires: c.maxExpires.Unix(),
	}, p, "the refresh token says what the session is")
	if before, ok := c.given[generation]; ok {
		require.Equal(w, before, p, "the chain must not fork")
	}
	for g, other := range c.given {
		require.Equal(w, g == generation, other.ID == p.ID, "each generation has an id of its own")
	}
	c.given[generation] = p

	a := decode(w, pair.AccessToken)
	life := min(w.rules.access, c.expires.Sub(second))
	require.Equal(w, second.Add(life).Unix(), a.Expires)
	require.Equal(w, []any{c.subject, c.id, int64(life / time.Second)}, []any{a.Subject, a.SessionID, pair.ExpiresIn})
	require.Equal(w, []any{c.subject, c.id, c.expires.Unix() - second.Unix()}, []any{pair.Subject, pair.SessionID, pair.RefreshExpiresIn})
	c.access = append(c.access, pair.AccessToken)
	c.access = c.access[max(0, len(c.access)-3):]
}

// came is what a refresh did.
type came int

const (
	served came = iota
	refused
	failed // an outage
)

// refresh presents a token of a generation to a Manager, and compares the answer
// with what is promised.
func (w *world) refresh(who string, k int, c *chain, token string, number int64) (session.Pair, came) {
	generation, prev, now := c.generation, c.prev, w.clockOf(k).Truncate(time.Microsecond)
	age := now.Sub(c.window)
	over := !now.Before(c.expires)
	rests := w.rests(c, now)
	outlived := !now.Before(time.Unix(c.given[number].Expires, 0))

	pair, err := w.managers[k].Refresh(w.Context(), token)
	events := w.take()
	rotated := c.generation > generation
	w.say("%s presents generation %d of %d of %s to manager %d: %v %v", who, number, generation, c.id[:4], k, err, events)
	if rotated {
		// By whom a rotation is asked for is all that decides whether there is one.
		require.True(w, number == generation && !rests || number == prev && age > window, "the current generation rotates, or the one before is recovered")
		require.False(w, c.ended || over, "a session that ended does not rotate")
		require.Equal(w, number, c.prev)
		if now.After(c.rotated) {
			c.rotated = now
		}
		c.setExpires(w.rules)
	}
	var kinds []session.EventKind
	for _, e := range events {
		kinds = append(kinds, e.Kind)
		require.Equal(w, []string{c.id, c.subject}, []string{e.SessionID, e.Subject})
		if e.Kind == session.Reused || e.Kind == session.LoggedOut {
			c.ends++
		}
	}
	require.LessOrEqual(w, c.ends, 1, "a session ends once")
	current, before := number == generation, number == prev
	stolen := !current && !before

	for _, kind := range kinds {
		w.met[string(kind)]++
	}
	if w.fired() {
		w.met["outage"]++
		require.ErrorIs(w, err, jwtauth.ErrUnavailable, "an outage")
		require.Zero(w, pair)
		require.True(w, !rotated || w.faults.fault.call == "Advance", "whatever else fails changes nothing")
		if call := w.faults.fault.call; call == "Append" || call == "Revoke" {
			require.True(w, stolen || c.fouled, "only theft ends a session, and what an outage left half done")
			c.doubtful, c.fouled = !c.ended, true
			if stolen { // an event each time, until the session has ended
				require.Equal(w, []session.EventKind{session.Reused}, kinds)
				c.ends--
				return pair, failed
			}
		}
		require.Empty(w, events)
		return pair, failed
	}
	require.NotErrorIs(w, err, jwtauth.ErrUnavailable, "an outage where nothing failed")
	if err != nil {
		require.Zero(w, pair)
		require.False(w, rotated)
	}
	switch {
	case c.doubtful && errors.Is(err, jwtauth.ErrRevoked):
		c.doubtful, c.ended = false, true // so it had ended, and has for good
	case c.ended:
		w.met["ended"]++
		require.Error(w, err, "a session that ended (I4)")
		require.True(w, errors.Is(err, jwtauth.ErrRevoked) || errors.Is(err, jwtauth.ErrExpired))
		if !c.fouled {
			require.Empty(w, events)
		}
	case over:
		w.met["expired"]++
		require.ErrorIs(w, err, jwtauth.ErrExpired)
		require.Empty(w, events)
	case current && rests:
		require.NoError(w, err, "the current token, again")
		require.False(w, rotated)
		require.Equal(w, []session.EventKind{session.Retried}, kinds)
	case current:
		require.NoError(w, err, "the current token")
		require.True(w, rotated)
		require.Equal(w, []session.EventKind{session.Refreshed}, kinds)
	case (stolen || age > window) && outlived:
		require.ErrorIs(w, err, jwtauth.ErrExpired)
		require.Empty(w, events, "a token that nobody could use by itself ends nothing")
	case stolen:
		require.ErrorIs(w, err, session.ErrReused, "theft (I2)")
		require.ErrorIs(w, err, jwtauth.ErrRevoked)
		require.Equal(w, []session.EventKind{session.Reused}, kinds)
		c.ended, c.doubtful = true, false
	case age > window:
		require.NoError(w, err, "a token whose successor was never used")
		require.True(w, rotated)
		require.Equal(w, []session.EventKind{session.Recovered}, kinds)
	default: // replaced a moment ago
		require.NoError(w, err, "a token that was replaced a moment ago")
		require.False(w, rotated)
		require.Equal(w, []session.EventKind{session.Retried}, kinds)
	}
	if err != nil {
		if c.ended {
			w.dead(c)
		}
		return pair, refused
	}
	w.check(c, c.generation, pair, now)
	w.faults.fault = nil
	require.True(w, c.doubtful || lives(w.Context(), w.managers[k], pair.AccessToken), "the new access token is accepted")
	return pair, served
}

// rests reports whether the current token is given again as it is.
func (w *world) rests(c *chain, now time.Time) bool {
	left := c.expires.Sub(now)
	nearEnd := c.expires.Before(c.maxExpires) && left < min(settled, c.expires.Sub(c.rotated)/2)
	return now.Sub(c.window) < settled && now.Sub(c.rotated) < 5*settled && !nearEnd
}

// refreshOf has a right client refresh. Unless all must be well the answer may be lost,
// and the client comes again whenever it likes.
func (w *world) refreshOf(dev *device, well bool) {
	if well {
		w.faults.fault = nil
	}
	if dev.chain == nil {
		w.login(dev)
		return
	}
	c, k := dev.chain, w.IntN(2)
	now := w.clockOf(k)
	// What the documentation promises to a right client (I1), whatever else is true.
	right := !c.robbed && !c.ended && !c.doubtful && now.Before(c.expires) && now.Before(time.Unix(c.given[dev.number].Expires, 0))
	pair, came := w.refresh(dev.subject, k, c, dev.token, dev.number)
	if right {
		require.NotEqual(w, refused, came, "a right client is never logged out (I1)")
	}
	lost := !well && came == served && w.chance(5)
	switch {
	case came == refused:
		*dev = device{subject: dev.subject} // and logs in again
	case came == served && !lost:
		dev.token, dev.number = pair.RefreshToken, c.generation
	default:
		w.say("%s has no answer", dev.subject)
		w.met["lost"]++
	}
}

// twoTabs has two tabs use the stored token, one a while after the other or both at
// once.
func (w *world) twoTabs(dev *device) {
	c := dev.chain
	if c == nil || c.robbed || c.doubtful {
		return
	}
	w.faults.fault = nil
	w.say("%s has two tabs", dev.subject)
	token, number := dev.token, dev.number
	if w.chance(2) {
		w.race(dev)
		return
	}
	w.refreshOf(dev, true)
	if dev.chain != c {
		return
	}
	w.pass(time.Duration(w.Int64N(int64(session.DefaultGrace) + 1)))
	k := w.IntN(2)
	if c.ended || !w.clockOf(k).Before(c.expires) || !w.clockOf(k).Before(time.Unix(c.given[number].Expires, 0)) {
		return
	}
	pair, came := w.refresh(dev.subject+"'s other tab", k, c, token, number)
	require.Equal(w, served, came, "the other tab")
	w.met["two tabs"]++
	dev.token, dev.number = pair.RefreshToken, c.generation
}

// race has one tab refresh in the very moment in which the other rotates.
func (w *world) race(dev *device) {
	c, k := dev.chain, w.IntN(2)
	if c.ended || !w.clockOf(k).Before(c.expires) || !w.clockOf(1-k).Before(c.expires) || dev.number != c.generation ||
		w.rests(c, w.clockOf(k)) || w.rests(c, w.clockOf(1-k)) {
		return
	}
	var other session.Pair
	w.faults.first["Advance"] = func() {
		var came came
		other, came = w.refresh(dev.subject+"'s faster tab", 1-k, c, dev.token, dev.number)
		require.Equal(w, served, came)
	}
	pair, err := w.managers[k].Refresh(w.Context(), dev.token)
	require.NoError(w, err)
	events := w.take()
	require.Len(w, events, 1)
	require.Equal(w, session.Retried, events[0].Kind)
	require.Equal(w, decode(w, other.RefreshToken), decode(w, pair.RefreshToken), "the chain must not fork")
	w.check(c, c.generation, pair, w.clockOf(k).Truncate(time.Microsecond))
	w.met["race"]++
	dev.token, dev.number = pair.RefreshToken, c.generation
}

// comeLate has a client lose an answer and ask again when it is late: it has not used
// the answer, and so it stays.
func (w *world) comeLate(dev *device) {
	c := dev.chain
	if c == nil || c.ended || c.doubtful || c.robbed || dev.number != c.generation {
		return
	}
	w.faults.fault = nil
	if _, came := w.refresh(dev.subject, w.IntN(2), c, dev.token, dev.number); came != served {
		*dev = device{subject: dev.subject}
		return
	}
	w.met["late"]++
	w.say("%s has no answer, and will come late", dev.subject)
	if w.chance(2) {
		w.pass(late + time.Duration(w.Int64N(int64(w.rules.idle))))
		w.refreshOf(dev, true)
	}
}

// steal copies what a device stores.
func (w *world) steal(dev *device) {
	if dev.chain == nil {
		return
	}
	w.say("a thief copies generation %d of %s", dev.number, dev.subject)
	w.thieves = append(w.thieves, &thief{dev.chain, dev.token, dev.number})
	w.thieves = w.thieves[max(0, len(w.thieves)-4):]
}

func (w *world) rob(th *thief) {
	th.chain.robbed = true
	pair, came := w.refresh("a thief", w.IntN(2), th.chain, th.token, th.number)
	if came == served {
		w.met["thief served"]++
		th.token, th.number = pair.RefreshToken, th.chain.generation
	}
}

func (w *world) logout(dev *device) {
	c := dev.chain
	if c == nil {
		return
	}
	k := w.IntN(2)
	over := !w.clockOf(k).Before(c.expires)
	require.ErrorIs(w, w.clean(func() error { return w.managers[k].Logout(w.Context(), "mallory", c.id) }), session.ErrNoSession)
	err := w.managers[k].Logout(w.Context(), c.subject, c.id)
	w.say("%s logs out of %s: %v", dev.subject, c.id[:4], err)
	switch {
	case w.fired():
		require.ErrorIs(w, err, jwtauth.ErrUnavailable)
		if !c.ended {
			c.doubtful, c.fouled = true, true
		}
		w.tookEnds(c)
		return // and goes on, or calls it again
	case over && !c.ended:
		if err != nil {
			require.ErrorIs(w, err, session.ErrNoSession)
			return
		}
	case err != nil:
		require.True(w, c.ended)
		require.ErrorIs(w, err, session.ErrNoSession)
	}
	c.ended, c.doubtful = true, false
	w.met["logout"]++
	w.tookEnds(c)
	w.dead(c)
	*dev = device{subject: dev.subject}
}

// clean does something while all is well.
func (w *world) clean(do func() error) error {
	was := w.faults.fault
	w.faults.fault = nil
	defer func() { w.faults.fault = was }()
	return do()
}

// tookEnds counts the events of an end, which must be nobody else's, unless an
// outage left it half done before.
func (w *world) tookEnds(chains ...*chain) {
	for _, e := range w.take() {
		require.Equal(w, session.LoggedOut, e.Kind)
		c := w.chainOf(e.SessionID)
		require.True(w, slices.Contains(chains, c) || c.fouled, "the end of another session: %v", e)
		c.ends++
		require.Equal(w, 1, c.ends, "a session ends once")
	}
}

// clocksApart is how much longer a session is taken to live where it is ended, since
// another process may think so.
const clocksApart = 10 * time.Second

func (w *world) logoutAll(subject string) {
	k := w.IntN(2)
	var theirs []*chain
	var except []string
	for _, c := range w.chains {
		if c.subject == subject && !c.ended && w.clockOf(k).Add(-clocksApart).Before(c.expires) {
			if w.chance(4) {
				except = append(except, c.id)
				continue
			}
			theirs = append(theirs, c)
		}
	}
	// What Logins that failed behind their effect left in the store is ended, too.
	n, err := w.managers[k].LogoutAll(w.Context(), subject, except...)
	w.say("%s logs out of all but %d: %d, %v", subject, len(except), n, err)
	if w.fired() {
		require.ErrorIs(w, err, jwtauth.ErrUnavailable)
		for _, c := range theirs {
			c.doubtful, c.fouled = true, true
		}
		w.takeOrphans(theirs)
		return
	}
	require.NoError(w, err)
	w.met["logout of all"]++
	w.takeOrphans(theirs)
	for _, c := range theirs {
		c.ended, c.doubtful = true, false
		w.dead(c)
	}
}

// takeOrphans is tookEnds, and overlooks sessions whose login was lost.
func (w *world) takeOrphans(theirs []*chain) {
	events := w.take()
	for _, e := range events {
		if slices.ContainsFunc(w.chains, func(c *chain) bool { return c.id == e.SessionID }) {
			w.report(e)
		}
	}
	w.tookEnds(theirs...)
}

// subjectGone has the callback say that a user may no longer have this session.
func (w *world) subjectGone(dev *device) {
	c, k := dev.chain, w.IntN(2)
	if c == nil || c.ended || c.doubtful || dev.number != c.generation || !w.clockOf(k).Before(c.expires) {
		return
	}
	w.faults.fault = &fault{call: "Claims", err: fmt.Errorf("deleted: %w", session.ErrSubjectGone)}
	_, err := w.managers[k].Refresh(w.Context(), dev.token)
	w.say("%s is gone: %v", dev.subject, err)
	require.ErrorIs(w, err, session.ErrSubjectGone)
	require.ErrorIs(w, err, jwtauth.ErrRevoked)
	w.faults.fault = nil
	c.ended = true
	w.tookEnds(c)
	require.Equal(w, 1, c.ends)
	w.met["gone"]++
	w.dead(c)
	*dev = device{subject: dev.subject}
}

// dead makes sure that nothing of a session that ended is accepted by anyone: not
// what a right client holds, nor a thief.
func (w *world) dead(c *chain) {
	if !c.ended {
		return
	}
	w.faults.fault = nil
	tokens := map[string]int64{}
	for _, dev := range w.devices {
		if dev.chain == c {
			tokens[dev.token] = dev.number
		}
	}
	for _, th := range w.thieves {
		if th.chain == c {
			tokens[th.token] = th.number
		}
	}
	for i, m := range w.managers {
		for token := range tokens {
			_, err := m.Refresh(w.Context(), token)
			require.Error(w, err, "a refresh token of a session that ended, by manager %d", i)
			require.NotErrorIs(w, err, jwtauth.ErrUnavailable)
		}
		for _, token := range c.access {
			require.False(w, lives(w.Context(), m, token), "an access token of a session that ended, by manager %d", i)
		}
	}
	for _, e := range w.take() {
		require.True(w, c.fouled && e.SessionID == c.id, "an event of a session that ended: %v", e)
		c.ends++
		require.Equal(w, 1, c.ends)
	}
}
