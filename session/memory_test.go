package session_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/jwtauthtest"
	"github.com/joinednode/jwtauth/session"
)

func TestMemory_IsAStore(t *testing.T) {
	jwtauthtest.TestSessionStore(t, func(*testing.T) session.Store { return session.NewMemory() })
}

// kept returns how many sessions of these pairs the store still has, live or ended.
func kept(t *testing.T, store session.Store, pairs []session.Pair) (n int) {
	t.Helper()
	for _, pair := range pairs {
		_, found, err := store.Get(t.Context(), pair.Subject, pair.SessionID)
		require.NoError(t, err)
		if found {
			n++
		}
	}
	return n
}

// logins starts n sessions, each of a different subject, and returns their pairs.
func logins(t *testing.T, m *session.Manager, n int) (pairs []session.Pair) {
	t.Helper()
	for i := range n {
		pair, err := m.Login(t.Context(), fmt.Sprint("subject ", i))
		require.NoError(t, err, "login %d", i)
		pairs = append(pairs, pair)
	}
	return pairs
}

func TestMemory_ThatIsFullTakesNoMoreUntilSomeExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit = 6
		store := session.NewMemoryOf(limit)
		m := newManagerOver(t, store, session.WithClock(time.Now), session.WithRefreshTTL(time.Hour))
		pairs := logins(t, m, limit)
		for range 5 {
			_, err := m.Login(t.Context(), "dave")
			require.ErrorIs(t, err, jwtauth.ErrUnavailable)
			time.Sleep(time.Minute)
		}
		require.Equal(t, limit, kept(t, store, pairs))

		// The sessions in the store go on for a whole day.
		for range 48 {
			for i := range pairs {
				next, err := m.Refresh(t.Context(), pairs[i].RefreshToken)
				require.NoError(t, err)
				pairs[i] = next
			}
			_, err := m.Login(t.Context(), "dave")
			require.ErrorIs(t, err, jwtauth.ErrUnavailable)
			time.Sleep(30 * time.Minute)
		}
		// A logout makes room, and ends no other session.
		require.NoError(t, m.Logout(t.Context(), pairs[0].Subject, pairs[0].SessionID))
		_, err := m.Login(t.Context(), "dave")
		require.NoError(t, err)
		_, err = m.Refresh(t.Context(), pairs[0].RefreshToken)
		require.ErrorIs(t, err, jwtauth.ErrRevoked)
		_, err = m.Login(t.Context(), "dave")
		require.ErrorIs(t, err, jwtauth.ErrUnavailable)

		pairs[1], err = m.Refresh(t.Context(), pairs[1].RefreshToken)
		require.NoError(t, err)
		time.Sleep(31 * time.Minute) // all sessions except this one and dave's have expired
		logins(t, m, limit-2)
		_, err = m.Login(t.Context(), "dave")
		require.ErrorIs(t, err, jwtauth.ErrUnavailable, "the store must be full again")
		_, err = m.Refresh(t.Context(), pairs[1].RefreshToken)
		require.NoError(t, err)
		require.Equal(t, 1, kept(t, store, pairs))
	})
}

func TestMemory_DeletesWhatHasExpiredAsItGrows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := session.NewMemory()
		m := newManagerOver(t, store, session.WithClock(time.Now), session.WithRefreshTTL(time.Hour))
		var all []session.Pair
		for range 20 {
			all = append(all, logins(t, m, 1000)...)
			time.Sleep(time.Hour + time.Second)
		}
		require.LessOrEqual(t, kept(t, store, all), 2000, "each login must delete some expired sessions")
		last := logins(t, m, 1000)
		require.Equal(t, len(last), kept(t, store, last), "live sessions must stay")
	})
}

func TestMemory_AClockThatIsWrongForAWhileCostsNoSession(t *testing.T) {
	const year = 365 * 24 * time.Hour
	for _, ahead := range []time.Duration{year, -year} {
		t.Run(fmt.Sprint("by ", ahead), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var wrong time.Duration
				store := session.NewMemoryOf(3000)
				m := newManagerOver(t, store, session.WithClock(func() time.Time { return time.Now().Add(wrong) }))
				right := logins(t, m, 1000)
				time.Sleep(time.Minute)
				wrong = ahead
				logins(t, m, 1000)
				time.Sleep(time.Minute)
				logins(t, m, 900)
				wrong = 0
				time.Sleep(time.Minute)
				require.Equal(t, len(right), kept(t, store, right))
				for _, pair := range right {
					_, err := m.Refresh(t.Context(), pair.RefreshToken)
					require.NoError(t, err)
				}
			})
		})
	}
}

func TestMemory_AClockThatIsAheadAtTheFirstLoginCostsNoSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wrong := 365 * 24 * time.Hour
		store := session.NewMemory()
		m := newManagerOver(t, store, session.WithClock(func() time.Time { return time.Now().Add(wrong) }))
		logins(t, m, 1)
		wrong = 0
		time.Sleep(time.Minute)
		right := logins(t, m, 1500)
		wrong = 365 * 24 * time.Hour
		time.Sleep(time.Minute)
		logins(t, m, 1500)
		require.Equal(t, len(right), kept(t, store, right))
	})
}

func TestMemory_ThatIsFullLosesNoSessionToAClockThatIsAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var wrong time.Duration
		store := session.NewMemoryOf(10)
		m := newManagerOver(t, store, session.WithClock(func() time.Time { return time.Now().Add(wrong) }))
		pairs := logins(t, m, 10)
		time.Sleep(time.Minute)
		wrong = 365 * 24 * time.Hour
		_, err := m.Login(t.Context(), "dave")
		require.ErrorIs(t, err, jwtauth.ErrUnavailable)
		wrong = 0
		require.Equal(t, 10, kept(t, store, pairs))
	})
}

func TestMemory_OfNoSessionPanics(t *testing.T) {
	require.Panics(t, func() { session.NewMemoryOf(0) })
	require.Panics(t, func() { session.NewMemoryOf(-1) })
	require.NoError(t, session.NewMemoryOf(1).Create(context.Background(), session.Session{ID: "s", Subject: "alice"}))
}

func TestMemory_NoSubjectCrowdsOutOthers(t *testing.T) {
	for limit, most := range map[int]int{1: 1, 4: 2, 100: 10, 5000: 50} {
		t.Run(fmt.Sprint(limit), func(t *testing.T) {
			m := newManagerOver(t, session.NewMemoryOf(limit))
			var pairs []session.Pair
			for range most {
				pairs = append(pairs, login(t, m, "mallory"))
			}
			for range 3 {
				_, err := m.Login(t.Context(), "mallory")
				require.ErrorIs(t, err, jwtauth.ErrUnavailable)
			}
			logins(t, m, limit-most)
			require.NoError(t, m.Logout(t.Context(), "mallory", pairs[0].SessionID))
			login(t, m, "mallory")
		})
	}
}

// Sessions that were logged out must make room, the earliest logout first. Live sessions
// must stay.
func TestMemory_ThatIsFullForgetsWhatWasLoggedOut(t *testing.T) {
	const limit = 100
	store := session.NewMemoryOf(limit)
	m := newManagerOver(t, store)
	pairs := logins(t, m, limit)
	for _, pair := range pairs[:60] {
		require.NoError(t, m.Logout(t.Context(), pair.Subject, pair.SessionID))
	}
	for i := range 60 {
		login(t, m, fmt.Sprint("another ", i))
		require.Equal(t, 59-i, kept(t, store, pairs[:60]), "each login must delete one session that was logged out")
		require.Equal(t, 59-i, kept(t, store, pairs[i+1:60]), "the earliest logout must be deleted first")
	}
	require.Equal(t, 40, kept(t, store, pairs[60:]))
	_, err := m.Login(t.Context(), "one more")
	require.ErrorIs(t, err, jwtauth.ErrUnavailable)
}

func TestMemory_PurgeGoesByWhatASessionWasAdvancedTo(t *testing.T) {
	store := session.NewMemory()
	row := func(id string, hours time.Duration) session.Session {
		return session.Session{ID: id, Subject: id, Generation: 1, Created: start, IdleExpires: start.Add(hours * time.Hour), MaxExpires: start.Add(99 * time.Hour)}
	}
	first, second := row("first", 1), row("second", 2)
	require.NoError(t, store.Create(t.Context(), first))
	require.NoError(t, store.Create(t.Context(), second))
	next := first
	next.Generation, next.IdleExpires = 2, start.Add(10*time.Hour)
	done, err := store.Advance(t.Context(), first, next, start)
	require.NoError(t, err)
	require.True(t, done)
	require.NoError(t, store.Purge(t.Context(), start.Add(3*time.Hour)))
	for id, want := range map[string]bool{"first": true, "second": false} {
		_, found, err := store.Get(t.Context(), id, id)
		require.NoError(t, err)
		require.Equal(t, want, found, id)
	}
}

func TestMemory_PurgeOfManyIsDoneInPieces(t *testing.T) {
	const many = 20_500
	store := session.NewMemory()
	for i := range many {
		end := start.Add(time.Duration(i) * time.Second)
		require.NoError(t, store.Create(t.Context(), session.Session{ID: fmt.Sprint(i), Subject: fmt.Sprint(i), Created: start, IdleExpires: end, MaxExpires: end}))
	}
	require.NoError(t, store.Purge(t.Context(), start.Add((many-10)*time.Second)))
	for i := range many {
		_, found, err := store.Get(t.Context(), fmt.Sprint(i), fmt.Sprint(i))
		require.NoError(t, err)
		require.Equal(t, i >= many-10, found, i)
	}
}
