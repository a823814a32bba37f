package session_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/revoke"
	"github.com/joinednode/jwtauth/session"
)

// What becomes of right users and of thieves while a callback, a store, a key or the
// client takes its time.

func TestASlowCallbackTakesNothingFromTheGrace(t *testing.T) {
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

// What counts is what a token was when it came, not how long it was kept waiting here.
func TestATabWhoseCallbackWasSlowGetsTheTokenThatIsCurrent(t *testing.T) {
	for _, test := range []struct {
		name      string
		before    int             // so often another tab refreshed before this one came
		meanwhile []time.Duration // so often during its callback, and what passed before each
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

func TestASessionThatIsGoneAfterTheCallbackOfAReplayStaysSo(t *testing.T) {
	store := session.NewMemory()
	end, lost := false, false
	m := newManagerOver(t, store, session.WithClaims(func(ctx context.Context, s session.Session) (string, []jwtauth.IssueOption, error) {
		if end { // by another process, whose revocation has not come here
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

// A login that was under way when its subject was dismissed must not outlive that.
func TestALoginDoesNotOutrunARevocationOfItsSubject(t *testing.T) {
	clock := newClock()
	list, err := revoke.New(revoke.NewMemory(), revoke.WithClock(clock.now))
	require.NoError(t, err)
	var during func(ctx context.Context, subject string)
	m := newManager(t, session.WithClock(clock.now), session.WithRevocations(list),
		session.WithClaims(func(ctx context.Context, s session.Session) (string, []jwtauth.IssueOption, error) {
			if during != nil {
				during(ctx, s.Subject)
			}
			return "", nil, nil
		}))
	during = func(ctx context.Context, subject string) {
		require.NoError(t, list.RevokeSubject(ctx, "", subject))
		clock.advance(time.Second)
	}
	_, err = m.Login(t.Context(), "alice")
	require.ErrorIs(t, err, jwtauth.ErrUnavailable)
	all, err := m.Sessions(t.Context(), "alice")
	require.NoError(t, err)
	require.Empty(t, all)
	during = nil
	pair := login(t, m, "alice")
	_, err = m.Auth().VerifyAnyContainer(t.Context(), pair.AccessToken)
	require.NoError(t, err)
}

func TestSigningThatEatsUpTheGraceIsAnOutage(t *testing.T) {
	f, clock := newFaulty(), newClock()
	slow := time.Duration(0)
	f.then["Sign"] = func() { clock.advance(slow) }
	m, err := session.New(f.newSigner(), f.store, session.WithClock(clock.now), session.WithLogger(quiet))
	require.NoError(t, err)
	pair := login(t, m, "alice")
	clock.advance(settled)
	slow = 5 * time.Second // twice, which is a quarter of the grace and its 10 s
	pair = refresh(t, m, pair.RefreshToken)
	clock.advance(settled)
	slow = 6 * time.Second
	_, err = m.Refresh(t.Context(), pair.RefreshToken)
	require.ErrorIs(t, err, jwtauth.ErrUnavailable)
	clock.advance(time.Hour)
	slow = 0
	refresh(t, m, pair.RefreshToken)
}

// A store may take as long as it is given, and a key longer than a rotation allows:
// neither must make a thief of who asks again for an answer that was lost.
func TestAReplayMayBeSlow(t *testing.T) {
	f, clock := newFaulty(), newClock()
	signing, reading := time.Duration(0), time.Duration(0)
	f.then["Get"] = func() { clock.advance(reading) }
	f.then["Sign"] = func() { clock.advance(signing) }
	m, err := session.New(f.newSigner(), faultyStore{f},
		session.WithClock(clock.now), session.WithLogger(quiet), session.WithGrace(0), // and 10 s for clocks
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

// A token that came within the grace is no stolen one because the store was slow.
func TestWhatCountsIsWhenAReplacedTokenCame(t *testing.T) {
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

func TestAReplacedTokenCameBeforeItsKeyWasLookedUp(t *testing.T) {
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

// Whoever uses a stolen token and does not wait for the answer ends the session and sets
// off the alarm like any other.
func TestAThiefWhoHangsUpIsReportedAllTheSame(t *testing.T) {
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

// So is one whose subject is gone, for whoever asks.
func TestASubjectThatIsGoneIsGoneThoughItsClientHangsUp(t *testing.T) {
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
