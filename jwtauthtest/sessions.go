package jwtauthtest

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth/session"
)

// TestSessionStore tests what [session.Store] promises, and Managers over the store.
// newStore returns a new, empty store each time it is called. See "Testing a store" in
// the package comment.
func TestSessionStore(t *testing.T, newStore func(t *testing.T) session.Store) {
	for _, check := range []struct {
		name string
		run  func(t *testing.T, newStore func(t *testing.T) session.Store)
	}{
		{"sessions come back as they were", sessionsComeBack},
		{"subjects and ids are compared byte for byte", sessionsAreComparedByteForByte},
		{"a missing session is not an error", absentSessions},
		{"an id can be taken once", idsAreTakenOnce},
		{"Advance sets five fields and leaves the others", advanceSetsFiveFields},
		{"Advance does nothing unless every condition holds", advanceHasConditions},
		{"one of many concurrent Advances wins", oneAdvances},
		{"Revoke ends a session once", revokeEndsOnce},
		{"nothing advances once Revoke has returned", revokeIsFinal},
		{"List returns what is live", listReturnsWhatIsLive},
		{"List misses nothing during concurrent logins", listFollowsLogins},
		{"Purge keeps every session that may still be needed", purgeKeepsSessions},
		{"no advanced session is lost during concurrent purges", purgeLosesNoSession},
		{"a session that was advanced outlives its first expiry", sessionsOutliveTheirFirstExpiry},
		{"a context that has ended is an error for each method", sessionsWithEndedContexts},
		{"a step whose deadline has passed changes nothing", stepsPastTheirDeadline},
		{"the caller may modify what List returned", listsAreCopies},
		{"stores are independent", storesAreApart},
		{"64 refreshes at once rotate once", func(t *testing.T, newStore func(t *testing.T) session.Store) {
			refreshesRotateOnce(t, newStore(t), 1)
		}},
		{"64 refreshes at once through two Managers rotate once", func(t *testing.T, newStore func(t *testing.T) session.Store) {
			refreshesRotateOnce(t, newStore(t), 2)
		}},
		{"no token outlives a logout during concurrent refreshes", logoutMeetsRefreshes},
		{"a theft that one Manager detects ends the session everywhere", theftEndsTheSession},
		{"an outage ends no session", outagesLogNobodyOut},
	} {
		t.Run(check.name, func(t *testing.T) { check.run(t, newStore) })
	}
}

// many is the number of goroutines that change one session at the same time.
const many = 64

// sessionOf returns a session that is live for a day. A store may delete sessions that have
// expired by the wall clock, so this one expires later than the times that most tests use.
func sessionOf(subject string) session.Session {
	now := time.Now().UTC().Truncate(time.Microsecond)
	day := 24 * time.Hour
	return session.Session{
		ID: rand.Text(), Subject: subject, Generation: 1, Created: now, Rotated: now, Given: now,
		IdleExpires: now.Truncate(time.Second).Add(day), MaxExpires: now.Truncate(time.Second).Add(2 * day), Label: "a browser",
	}
}

// before returns the from argument for an Advance to next. Only its Generation matters.
func before(next session.Session) session.Session {
	next.Generation--
	return next
}

// after returns s as its next rotation changes it.
func after(s session.Session) session.Session {
	s.Prev = s.Generation
	s.Generation++
	s.Rotated = s.Rotated.Add(time.Minute)
	s.Given = s.Rotated.Add(time.Second)
	s.IdleExpires = s.IdleExpires.Add(time.Hour)
	return s
}

func create(t *testing.T, store session.Store, sessions ...session.Session) {
	t.Helper()
	for _, s := range sessions {
		require.NoError(t, store.Create(t.Context(), s), "Create")
	}
}

func advance(t *testing.T, store session.Store, next session.Session, now time.Time) bool {
	t.Helper()
	done, err := store.Advance(t.Context(), before(next), next, now)
	require.NoError(t, err, "Advance")
	return done
}

func end(t *testing.T, store session.Store, s session.Session, reason string, at time.Time) bool {
	t.Helper()
	done, err := store.Revoke(t.Context(), s.Subject, s.ID, reason, at)
	require.NoError(t, err, "Revoke")
	return done
}

func list(t *testing.T, store session.Store, subject string, now time.Time) []session.Session {
	t.Helper()
	all, err := store.List(t.Context(), subject, now)
	require.NoError(t, err, "List")
	return all
}

// is requires that the store has this session, with these values.
func is(t *testing.T, store session.Store, want session.Session, message ...any) {
	t.Helper()
	got, found, err := store.Get(t.Context(), want.Subject, want.ID)
	require.NoError(t, err, message...)
	require.True(t, found, message...)
	require.Equal(t, normal(want, want), normal(want, got), message...)
}

// isNot requires that the subject has no session with this ID.
func isNot(t *testing.T, store session.Store, subject, id string, message ...any) {
	t.Helper()
	_, found, err := store.Get(t.Context(), subject, id)
	require.NoError(t, err, message...)
	require.False(t, found, message...)
}

// have requires that got consists of the sessions in want, each once, in any order.
func have(t *testing.T, want, got []session.Session, message ...any) {
	t.Helper()
	require.Equal(t, sessionIDs(want), sessionIDs(got), message...)
	for _, w := range want {
		i := slices.IndexFunc(got, func(s session.Session) bool { return s.ID == w.ID })
		require.Equal(t, normal(w, w), normal(w, got[i]), message...)
	}
}

func sessionIDs(sessions []session.Session) []string {
	all := []string{} // not nil, so that two empty lists are equal
	for _, s := range sessions {
		all = append(all, s.ID)
	}
	slices.Sort(all)
	return all
}

// normal returns s with its times in UTC, and without ClockAhead. If a time differs by less
// than a microsecond from the same time of want, normal uses the time of want.
func normal(want, s session.Session) session.Session {
	near := func(want, at time.Time) time.Time {
		if want.IsZero() == at.IsZero() && at.Sub(want).Abs() < time.Microsecond {
			at = want
		}
		return at.Round(0).UTC()
	}
	s.Created, s.Rotated, s.RevokedAt = near(want.Created, s.Created), near(want.Rotated, s.Rotated), near(want.RevokedAt, s.RevokedAt)
	s.Given, s.ClockAhead = near(want.Given, s.Given), 0
	s.IdleExpires, s.MaxExpires = near(want.IdleExpires, s.IdleExpires), near(want.MaxExpires, s.MaxExpires)
	return s
}

// atOnce runs n goroutines that start together, and waits for them.
func atOnce(n int, do func(i int)) {
	var all sync.WaitGroup
	begin := make(chan struct{})
	for i := range n {
		all.Go(func() {
			<-begin
			do(i)
		})
	}
	close(begin)
	all.Wait()
}

// subjects returns the elements of texts that are valid subjects.
func subjects() []string {
	return slices.DeleteFunc(slices.Clone(texts), func(text string) bool {
		return text == "" || !utf8.ValidString(text) || len(text) > session.MaxText || strings.ContainsFunc(text, unicode.IsControl)
	})
}

// labels returns the elements of texts that are valid labels, an empty label, and two labels
// of the greatest length.
func labels() []string {
	return append(slices.DeleteFunc(subjects(), func(text string) bool { return len(text) > 256 }), "", strings.Repeat("x", 256), strings.Repeat("\U0001f98a", 64))
}

func sessionsComeBack(t *testing.T, newStore func(t *testing.T) session.Store) {
	store := newStore(t)
	var want []session.Session
	vary := func(subject string, change func(s *session.Session)) {
		s := sessionOf(subject)
		change(&s)
		want = append(want, s)
	}
	for _, subject := range subjects() {
		vary(subject, func(s *session.Session) {})
	}
	for _, label := range labels() {
		vary("of labels", func(s *session.Session) { s.Label = label })
	}
	for _, generation := range []int64{1, 2, 1<<31 - 1, 1 << 31, 1<<32 + 1, 1<<53 - 1, 1 << 53} {
		vary("of generations", func(s *session.Session) { s.Generation = generation })
	}
	second := time.Now().Truncate(time.Second)
	for _, at := range []time.Time{
		time.Unix(1, 0), time.UnixMicro(1), time.Unix(1<<31-1, 999_999_000), time.Unix(1<<31, 1000), second, second.Add(time.Microsecond),
		second.Add(time.Second - time.Microsecond), second.Add(535_897_000), second.Add(123_456_789), second.Add(999_999_999),
		second.In(time.FixedZone("UTC+14", 14*60*60)), time.Now(), time.Date(9999, time.December, 31, 23, 59, 59, 999_999_000, time.UTC),
	} {
		vary("of times", func(s *session.Session) { s.Created = at })
		vary("of times", func(s *session.Session) { s.Rotated = at })
		vary("of times", func(s *session.Session) { s.RevokedAt, s.Reason = at, session.ReasonLogout })
	}
	for _, at := range []time.Time{
		time.Unix(1<<31-1, 0), time.Unix(1<<31, 0), time.Unix(1<<32, 0), time.Date(9999, time.December, 31, 23, 59, 59, 0, time.UTC),
	} {
		vary("of ends", func(s *session.Session) { s.IdleExpires = at })
		vary("of ends", func(s *session.Session) { s.MaxExpires = at })
		vary("of ends", func(s *session.Session) { s.IdleExpires, s.MaxExpires = at, at })
	}
	create(t, store, want...)
	bySubject := map[string][]session.Session{}
	for _, s := range want {
		is(t, store, s, "%.60q, %+v", s.Subject, s)
		if s.RevokedAt.IsZero() {
			bySubject[s.Subject] = append(bySubject[s.Subject], s)
		}
	}
	for subject, sessions := range bySubject {
		have(t, sessions, list(t, store, subject, time.Now()), "the list of %.60q", subject)
	}
}

func sessionsAreComparedByteForByte(t *testing.T, newStore func(t *testing.T) session.Store) {
	store := newStore(t)
	alike := subjects()[:20]
	alike = append(alike, "ALICE  ", "\u00c1LICE", "a", "aa", "aaa")
	var sessions []session.Session
	for _, subject := range alike {
		sessions = append(sessions, sessionOf(subject))
	}
	create(t, store, sessions...)
	now := time.Now()
	for i, s := range sessions {
		have(t, []session.Session{s}, list(t, store, s.Subject, now), "the list of %q", s.Subject)
		for j, subject := range alike {
			if i != j {
				isNot(t, store, subject, s.ID, "the session of %q, found for %q", s.Subject, subject)
			}
		}
		other := s
		other.Subject = alike[(i+1)%len(alike)]
		require.False(t, advance(t, store, after(other), now), "Advance of the session of %q succeeded for %q", s.Subject, other.Subject)
		require.False(t, end(t, store, other, "another's", now), "Revoke of the session of %q succeeded for %q", s.Subject, other.Subject)
		is(t, store, s)
	}

	sessions = nil
	for _, id := range []string{"abc", "ABC", "Abc", "abc ", " abc", "abc_", "abc%", "ab", "a-b", "a:b", "a/b", "a.b", "0", "00", "null", "*", "'", "\"", "\\"} {
		s := sessionOf("of ids")
		s.ID, s.Label = id, "the one of "+id
		sessions = append(sessions, s)
		isNot(t, store, s.Subject, id, "before Create of %q", id)
		create(t, store, s)
	}
	have(t, sessions, list(t, store, "of ids", now))
	for i, s := range sessions {
		is(t, store, s)
		require.True(t, advance(t, store, after(s), now), "%q", s.ID)
		sessions[i] = after(s)
		for _, s := range sessions {
			is(t, store, s)
		}
	}
	for i, s := range sessions {
		require.True(t, end(t, store, s, session.ReasonLogout, s.Rotated), "%q", s.ID)
		have(t, sessions[i+1:], list(t, store, "of ids", now), "after Revoke of %q", s.ID)
	}
}

func absentSessions(t *testing.T, newStore func(t *testing.T) session.Store) {
	store := newStore(t)
	now := time.Now()
	absent := func(s session.Session) {
		t.Helper()
		isNot(t, store, s.Subject, s.ID, "Get %.60q of %.60q", s.ID, s.Subject)
		require.False(t, advance(t, store, after(s), now), "Advance %.60q of %.60q", s.ID, s.Subject)
		require.False(t, end(t, store, s, session.ReasonLogout, now), "Revoke %.60q of %.60q", s.ID, s.Subject)
		isNot(t, store, s.Subject, s.ID, "Advance or Revoke created %.60q of %.60q", s.ID, s.Subject)
	}
	absent(sessionOf("alice"))
	require.Empty(t, list(t, store, "alice", now), "List of an empty store")
	require.NoError(t, store.Purge(t.Context(), now), "Purge of an empty store")

	// A client sends the ID of the session to log out, so an ID can be any string.
	alices, bobs := sessionOf("alice"), sessionOf("bob")
	create(t, store, alices, bobs)
	for _, id := range []string{"", bobs.ID, alices.ID + "A", alices.ID[1:], strings.ToLower(alices.ID), strings.Repeat("x", 64)} {
		s := alices
		s.ID = id
		absent(s)
	}
	for _, subject := range []string{"bob", "carol", "Alice", "alice ", "%"} {
		s := alices
		s.Subject = subject
		absent(s)
	}
	require.Empty(t, list(t, store, "carol", now))
	is(t, store, alices)
	is(t, store, bobs)
}

func idsAreTakenOnce(t *testing.T, newStore func(t *testing.T) session.Store) {
	store := newStore(t)
	live, ended := sessionOf("alice"), sessionOf("alice")
	ended.RevokedAt, ended.Reason = ended.Created, session.ReasonLogout
	create(t, store, live, ended)
	for _, s := range []session.Session{live, ended} {
		again := after(sessionOf("alice"))
		again.ID, again.Label = s.ID, "another"
		again.Created = again.Created.Add(time.Second)
		require.Error(t, store.Create(t.Context(), again))
		is(t, store, s)
		require.Error(t, store.Create(t.Context(), s), "Create of an equal session")
		is(t, store, s)
	}
	have(t, []session.Session{live}, list(t, store, "alice", time.Now()))

	for round := range 3 {
		contended := sessionOf(fmt.Sprint("subject ", round))
		var made [many]bool
		atOnce(many, func(i int) {
			s := contended
			s.Label = fmt.Sprint(i)
			made[i] = store.Create(t.Context(), s) == nil
		})
		winner := slices.Index(made[:], true)
		require.GreaterOrEqual(t, winner, 0, "no concurrent Create succeeded")
		require.NotContains(t, made[winner+1:], true, "two concurrent Creates of one ID succeeded")
		contended.Label = fmt.Sprint(winner)
		is(t, store, contended)
		have(t, []session.Session{contended}, list(t, store, contended.Subject, time.Now()))
	}
}

func advanceSetsFiveFields(t *testing.T, newStore func(t *testing.T) session.Store) {
	store := newStore(t)
	s, other := sessionOf("alice"), sessionOf("alice")
	large := sessionOf("alice")
	large.Generation = 1<<53 - 1
	create(t, store, s, other, large)
	for range 3 {
		want := after(s)
		next := want
		next.Created, next.MaxExpires = next.Created.Add(time.Second), next.MaxExpires.Add(time.Second)
		next.RevokedAt, next.Reason, next.Label = next.Rotated, session.ReasonLogout, "another browser"
		require.True(t, advance(t, store, next, s.Rotated))
		is(t, store, want)
		s = want
	}
	// Times need not grow: a clock may have been set back.
	back := after(s)
	back.Rotated, back.IdleExpires = s.Rotated.Add(-time.Microsecond), s.IdleExpires.Add(-time.Second)
	require.True(t, advance(t, store, back, s.Created.Add(-time.Hour)))
	is(t, store, back)
	require.True(t, advance(t, store, after(large), large.Rotated))
	have(t, []session.Session{back, other, after(large)}, list(t, store, "alice", s.Created))
}

func advanceHasConditions(t *testing.T, newStore func(t *testing.T) session.Store) {
	store := newStore(t)
	for _, c := range []struct {
		name   string
		change func(s, from, next *session.Session, now *time.Time)
		done   bool
	}{
		{"all hold", func(_, _, _ *session.Session, _ *time.Time) {}, true},
		{"it starts from one generation less", func(_, from, _ *session.Session, _ *time.Time) { from.Generation = 4 }, false},
		{"it starts from one generation more", func(_, from, _ *session.Session, _ *time.Time) { from.Generation = 6 }, false},
		{"it starts from the generation that it leads to", func(_, from, next *session.Session, _ *time.Time) { *from = *next }, false},
		{"it starts from generation 0", func(_, from, _ *session.Session, _ *time.Time) { from.Generation = 0 }, false},
		{"it stays at its generation", func(_, _, next *session.Session, _ *time.Time) { next.Generation, next.Prev = 5, 4 }, true},
		{"it goes on by many generations", func(_, _, next *session.Session, _ *time.Time) { next.Generation, next.Prev = 105, 104 }, true},
		{"it skips the generation before", func(_, _, next *session.Session, _ *time.Time) { next.Prev = 4 }, true},
		{"it was revoked", func(s, _, _ *session.Session, _ *time.Time) { s.RevokedAt, s.Reason = s.Rotated, "logout" }, false},
		{"it was revoked, by a clock that is ahead", func(s, _, _ *session.Session, _ *time.Time) { s.RevokedAt, s.Reason = s.MaxExpires, "logout" }, false},
		{"it was idle for too long", func(s, _, _ *session.Session, now *time.Time) { *now = s.IdleExpires.Add(time.Microsecond) }, false},
		{"it is idle for too long now", func(s, _, _ *session.Session, now *time.Time) { *now = s.IdleExpires }, false},
		{"it is not idle for too long, by a microsecond", func(s, _, _ *session.Session, now *time.Time) { *now = s.IdleExpires.Add(-time.Microsecond) }, true},
		{"it was too old", func(s, _, next *session.Session, now *time.Time) {
			s.IdleExpires, *now = s.MaxExpires.Add(time.Hour), s.MaxExpires.Add(time.Microsecond)
		}, false},
		{"it is too old now", func(s, _, next *session.Session, now *time.Time) {
			s.IdleExpires, *now = s.MaxExpires.Add(time.Hour), s.MaxExpires
		}, false},
		{"it is not too old, by a microsecond", func(s, _, next *session.Session, now *time.Time) {
			s.IdleExpires, *now = s.MaxExpires.Add(time.Hour), s.MaxExpires.Add(-time.Microsecond)
		}, true},
		// The stored MaxExpires counts, not that of next.
		{"next says that it is not too old", func(s, _, next *session.Session, now *time.Time) {
			s.IdleExpires, *now, next.MaxExpires = s.MaxExpires.Add(time.Hour), s.MaxExpires, s.MaxExpires.Add(time.Hour)
		}, false},
		{"the id is another", func(_, _, next *session.Session, _ *time.Time) { next.ID = rand.Text() }, false},
		{"the subject is another", func(_, _, next *session.Session, _ *time.Time) { next.Subject = "bob" }, false},
	} {
		s := sessionOf("alice")
		s.Generation = 5
		from, next, now := s, after(s), s.Rotated
		c.change(&s, &from, &next, &now)
		create(t, store, s)
		done, err := store.Advance(t.Context(), from, next, now)
		require.NoError(t, err, c.name)
		require.Equal(t, c.done, done, c.name)
		if c.done {
			s.Generation, s.Prev, s.Rotated, s.Given, s.IdleExpires = next.Generation, next.Prev, next.Rotated, next.Given, next.IdleExpires
		}
		is(t, store, s, c.name)
	}
	s := sessionOf("alice")
	create(t, store, s)
	require.True(t, end(t, store, s, session.ReasonLogout, s.Rotated))
	require.False(t, advance(t, store, after(s), s.Rotated), "after Revoke")
}

func oneAdvances(t *testing.T, newStore func(t *testing.T) session.Store) {
	store := newStore(t)
	s := sessionOf("alice")
	create(t, store, s)
	for range 3 {
		var won [many]bool
		next := func(i int) session.Session {
			next := after(s)
			next.Rotated = s.Rotated.Add(time.Duration(i+1) * time.Second)
			next.IdleExpires = s.IdleExpires.Add(time.Duration(i+1) * time.Second)
			return next
		}
		atOnce(many, func(i int) {
			var err error
			won[i], err = store.Advance(t.Context(), s, next(i), s.Rotated)
			assert.NoError(t, err)
		})
		winner := slices.Index(won[:], true)
		require.GreaterOrEqual(t, winner, 0, "no concurrent Advance succeeded")
		require.NotContains(t, won[winner+1:], true, "two concurrent Advances from one generation succeeded")
		s = next(winner)
		is(t, store, s)
	}
}

func revokeEndsOnce(t *testing.T, newStore func(t *testing.T) session.Store) {
	store := newStore(t)
	s, other := after(sessionOf("alice")), sessionOf("alice")
	create(t, store, s, other)
	at := s.Rotated.Add(time.Microsecond)
	require.True(t, end(t, store, s, session.ReasonReused, at))
	s.RevokedAt, s.Reason = at, session.ReasonReused
	is(t, store, s)
	for _, again := range []time.Duration{0, time.Hour, -time.Hour} {
		require.False(t, end(t, store, s, session.ReasonLogout, at.Add(again)), "Revoke of a revoked session")
		is(t, store, s, "the first revocation must stay")
	}
	is(t, store, other)
	have(t, []session.Session{other}, list(t, store, "alice", at))

	// Revoke also ends an expired session, since its caller need not know the expiry.
	s = sessionOf("bob")
	create(t, store, s)
	require.True(t, end(t, store, s, session.ReasonLogout, s.MaxExpires.Add(time.Hour)))

	s = sessionOf("carol")
	create(t, store, s)
	var ended [many]bool
	atOnce(many, func(i int) {
		var err error
		ended[i], err = store.Revoke(t.Context(), s.Subject, s.ID, fmt.Sprint("reason ", i), at.Add(time.Duration(i)*time.Second))
		assert.NoError(t, err)
	})
	winner := slices.Index(ended[:], true)
	require.GreaterOrEqual(t, winner, 0, "no concurrent Revoke reported true")
	require.NotContains(t, ended[winner+1:], true, "two concurrent Revokes reported true")
	s.RevokedAt, s.Reason = at.Add(time.Duration(winner)*time.Second), fmt.Sprint("reason ", winner)
	is(t, store, s)
}

func revokeIsFinal(t *testing.T, newStore func(t *testing.T) session.Store) {
	store := newStore(t)
	for range 10 {
		s := sessionOf("alice")
		create(t, store, s)
		at := s.Rotated.Add(time.Hour)
		var revoked atomic.Bool
		var won atomic.Int64
		atOnce(5, func(i int) {
			if i == 0 {
				done, err := store.Revoke(t.Context(), s.Subject, s.ID, session.ReasonLogout, at)
				assert.NoError(t, err)
				assert.True(t, done, "Revoke")
				revoked.Store(true)
				return
			}
			// Try until Revoke has returned, and three times after that.
			next, last := after(s), 3
			for last > 0 {
				late := revoked.Load()
				if late {
					last--
				}
				done, err := store.Advance(t.Context(), before(next), next, s.Rotated)
				if !assert.NoError(t, err) {
					return
				}
				if done {
					won.Add(1)
					assert.False(t, late, "Advance after Revoke has returned")
				}
				// Another goroutine may have advanced the session meanwhile.
				if row, found, err := store.Get(t.Context(), s.Subject, s.ID); assert.NoError(t, err) && assert.True(t, found) {
					next = after(row)
				}
			}
		})
		row, found, err := store.Get(t.Context(), s.Subject, s.ID)
		require.NoError(t, err)
		require.True(t, found)
		require.True(t, row.RevokedAt.Equal(at), "RevokedAt is %v, want %v", row.RevokedAt, at)
		require.Equal(t, session.ReasonLogout, row.Reason)
		require.Equal(t, 1+won.Load(), row.Generation, "the generation, compared to the number of Advances that succeeded")
	}
}

func listReturnsWhatIsLive(t *testing.T, newStore func(t *testing.T) session.Store) {
	store := newStore(t)
	live, ended, old, another := sessionOf("alice"), sessionOf("alice"), sessionOf("alice"), sessionOf("bob")
	old.IdleExpires = live.IdleExpires.Add(time.Hour)
	old.MaxExpires = old.IdleExpires.Add(-30 * time.Minute)
	live.MaxExpires = live.IdleExpires.Add(time.Hour) // for each session, only one of its expiries matters
	create(t, store, live, ended, old, another)
	require.True(t, end(t, store, ended, session.ReasonLogout, time.Now()))

	at := func(now time.Time, want ...session.Session) {
		t.Helper()
		have(t, want, list(t, store, "alice", now), "at %v", now)
	}
	idle, most := live.IdleExpires, old.MaxExpires
	at(time.Now(), live, old)
	at(idle.Add(-time.Microsecond), live, old)
	at(idle, old)
	at(idle.Add(time.Microsecond), old)
	at(most.Add(-time.Microsecond), old)
	at(most)
	at(most.Add(time.Microsecond))
	at(most.Add(time.Hour))
	at(time.Now(), live, old) // List deletes nothing

	require.True(t, advance(t, store, after(live), live.Rotated))
	at(idle, after(live), old)
	have(t, []session.Session{another}, list(t, store, "bob", time.Now()))
}

func listFollowsLogins(t *testing.T, newStore func(t *testing.T) session.Store) {
	store := newStore(t)
	const each = 20
	var mu sync.Mutex
	var made []string // sessions of alice whose Create has returned
	atOnce(8, func(i int) {
		subject := []string{"alice", "alice", "bob"}[i%3]
		for n := range each {
			if i < 6 {
				s := sessionOf(subject)
				s.Label = fmt.Sprintf("%d of goroutine %d", n, i)
				if !assert.NoError(t, store.Create(t.Context(), s)) {
					return
				}
				if subject == "alice" {
					mu.Lock()
					made = append(made, s.ID)
					mu.Unlock()
				}
			}
			mu.Lock()
			want := slices.Clone(made)
			mu.Unlock()
			all, err := store.List(t.Context(), "alice", time.Now())
			if !assert.NoError(t, err) {
				return
			}
			got := sessionIDs(all)
			assert.Equal(t, slices.Compact(slices.Clone(got)), got, "List returned a session twice")
			missing := slices.DeleteFunc(want, func(id string) bool { return slices.Contains(got, id) })
			if !assert.Empty(t, missing, "sessions missing from List although Create has returned") {
				return
			}
			for _, s := range all {
				assert.Equal(t, "alice", s.Subject)
			}
		}
	})
	slices.Sort(made)
	require.Equal(t, made, sessionIDs(list(t, store, "alice", time.Now())))
}

func purgeKeepsSessions(t *testing.T, newStore func(t *testing.T) session.Store) {
	store := newStore(t)
	require.NoError(t, store.Purge(t.Context(), time.Now()), "Purge of an empty store")
	base := time.Now().UTC().Truncate(time.Second).Add(24 * time.Hour)
	// kept is a session that expires at until. Some are revoked, some were advanced.
	type kept struct {
		session.Session
		until time.Time
	}
	var all []kept
	for _, d := range []time.Duration{0, time.Second, time.Minute, time.Hour} {
		idle, most, revoked, advanced := sessionOf("alice"), sessionOf("alice"), sessionOf("alice"), sessionOf("alice")
		until := base.Add(d)
		idle.IdleExpires, idle.MaxExpires = until, until.Add(time.Hour)
		most.IdleExpires, most.MaxExpires = until.Add(time.Hour), until
		revoked.IdleExpires = until
		advanced.IdleExpires = base.Add(-time.Hour)
		create(t, store, idle, most, revoked, advanced)
		at := time.Now().Truncate(time.Microsecond)
		require.True(t, end(t, store, revoked, session.ReasonReused, at))
		revoked.RevokedAt, revoked.Reason = at, session.ReasonReused
		next := after(advanced)
		next.IdleExpires = until
		require.True(t, advance(t, store, next, at))
		all = append(all, kept{idle, until}, kept{most, until}, kept{revoked, until}, kept{next, until})
	}
	for _, before := range []time.Time{
		time.Now(), base, base.Add(time.Microsecond), base.Add(time.Second), base.Add(time.Minute - time.Microsecond), base.Add(time.Minute), base.Add(time.Hour),
	} {
		for range 2 {
			require.NoError(t, store.Purge(t.Context(), before))
		}
		for _, s := range all {
			if !s.until.Before(before) {
				is(t, store, s.Session, "Purge at base and %v", before.Sub(base))
			}
		}
	}
	// A session that is left can still be advanced.
	last := all[len(all)-1].Session
	require.True(t, advance(t, store, after(last), last.Rotated))
	is(t, store, after(last))
}

func purgeLosesNoSession(t *testing.T, newStore func(t *testing.T) session.Store) {
	store := newStore(t)
	const advancing, each = 6, 3
	before := time.Now().UTC().Truncate(time.Second).Add(24 * time.Hour)
	for round := range 20 {
		var sessions, want [advancing][]session.Session
		for i := range advancing {
			for n := range each {
				s := sessionOf(fmt.Sprint("subject ", i))
				s.IdleExpires, s.MaxExpires = before.Add(-time.Hour), before.Add(48*time.Hour)
				if n == 0 { // the others may be purged before they are advanced
					s.IdleExpires = before
				}
				create(t, store, s)
				sessions[i] = append(sessions[i], s)
			}
			early := sessionOf("another")
			early.IdleExpires = before.Add(-time.Hour)
			create(t, store, early)
			next := early
			next.Generation, next.IdleExpires = 2, before
			require.True(t, advance(t, store, next, early.Rotated))
			want[i] = append(want[i], next)
		}
		atOnce(advancing+2, func(i int) {
			i = (i + round) % (advancing + 2) // vary which goroutines start first
			if i >= advancing {
				assert.NoError(t, store.Purge(t.Context(), before))
				return
			}
			for n, s := range sessions[i] {
				next := after(s)
				next.IdleExpires = before.Add(time.Hour)
				done, err := store.Advance(t.Context(), s, next, s.Rotated)
				if !assert.NoError(t, err) {
					return
				}
				assert.True(t, done || n > 0, "Purge deleted a session that it must keep")
				if done {
					want[i] = append(want[i], next)
				}
			}
		})
		for _, advanced := range want {
			for _, s := range advanced {
				is(t, store, s, "an advanced session, after concurrent purges")
			}
		}
		// Purge must compare the new expiry of an advanced session.
		require.NoError(t, store.Purge(t.Context(), before))
		for _, advanced := range want {
			for _, s := range advanced {
				is(t, store, s, "an advanced session, after a later purge")
			}
		}
	}
}

// sessionsOutliveTheirFirstExpiry tests stores whose rows expire by themselves. Such a store
// must not keep the old expiry of a session, or let a session expire together with another.
func sessionsOutliveTheirFirstExpiry(t *testing.T, newStore func(t *testing.T) session.Store) {
	store := newStore(t)
	long, ended := sessionOf("alice"), sessionOf("bob")
	create(t, store, long, ended)
	var advanced session.Session
	// A slow store may need a longer life to advance the session in time.
	for life := time.Second; ; life *= 2 {
		require.Less(t, life, time.Minute, "a live session cannot be advanced")
		s := sessionOf("alice")
		s.IdleExpires = s.Created.Truncate(time.Second).Add(time.Second + life)
		create(t, store, s)
		next := s
		next.Generation, next.IdleExpires = 2, s.MaxExpires
		if advance(t, store, next, s.Rotated) {
			advanced = next
			time.Sleep(time.Until(s.IdleExpires.Add(time.Second)))
			break
		}
		end(t, store, s, "too late", s.Created)
	}
	require.True(t, end(t, store, ended, session.ReasonLogout, ended.Created))
	ended.RevokedAt, ended.Reason = ended.Created, session.ReasonLogout
	for _, s := range []session.Session{long, advanced, ended} {
		is(t, store, s)
	}
	have(t, []session.Session{long, advanced}, list(t, store, "alice", time.Now()))
}

func sessionsWithEndedContexts(t *testing.T, newStore func(t *testing.T) session.Store) {
	store := newStore(t)
	s, another := sessionOf("alice"), sessionOf("bob")
	create(t, store, s, another)
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	late, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	for _, ended := range []struct {
		name string
		ctx  context.Context
	}{{"cancelled", cancelled}, {"past its deadline", late}} {
		for _, call := range []struct {
			name string
			do   func(ctx context.Context) error
		}{
			{"Create", func(ctx context.Context) error { return store.Create(ctx, sessionOf("alice")) }},
			{"Get", func(ctx context.Context) error { _, _, err := store.Get(ctx, s.Subject, s.ID); return err }},
			{"Get of none", func(ctx context.Context) error { _, _, err := store.Get(ctx, s.Subject, "none"); return err }},
			{"Advance", func(ctx context.Context) error { _, err := store.Advance(ctx, s, after(s), s.Rotated); return err }},
			{"Revoke", func(ctx context.Context) error {
				_, err := store.Revoke(ctx, s.Subject, s.ID, "logout", s.Rotated)
				return err
			}},
			{"List", func(ctx context.Context) error { _, err := store.List(ctx, s.Subject, s.Rotated); return err }},
			{"Purge", func(ctx context.Context) error { return store.Purge(ctx, s.Rotated) }},
		} {
			returned := make(chan error, 1)
			go func() { returned <- call.do(ended.ctx) }()
			select {
			case err := <-returned:
				assert.Error(t, err, "%s, %s", call.name, ended.name)
			case <-time.After(30 * time.Second):
				require.Fail(t, "the call did not return", "%s, %s", call.name, ended.name)
			}
		}
	}
	is(t, store, another)
	require.True(t, advance(t, store, after(another), another.Rotated), "the store must work as before")
	is(t, store, after(another))
}

// stepsPastTheirDeadline tests stores that send an Advance to a server. The server must not
// run it after the deadline of the caller.
func stepsPastTheirDeadline(t *testing.T, newStore func(t *testing.T) session.Store) {
	store := newStore(t)
	s := sessionOf("alice")
	create(t, store, s)
	get := func() session.Session {
		row, found, err := store.Get(t.Context(), s.Subject, s.ID)
		require.NoError(t, err)
		require.True(t, found)
		return row
	}
	step := func(left time.Duration) {
		ctx, cancel := context.WithTimeout(t.Context(), left)
		defer cancel()
		done, err := store.Advance(ctx, s, after(s), s.Rotated)
		if done && err == nil {
			s = after(s)
		}
	}
	for left := 100 * time.Millisecond; left > time.Microsecond; left /= 2 {
		step(left)
		s = get()
	}
	time.Sleep(10 * time.Millisecond)
	s = get()
	step(-time.Second)
	time.Sleep(100 * time.Millisecond)
	is(t, store, s)
	require.True(t, advance(t, store, after(s), s.Rotated), "the store must work as before")
}

// TestHeldStep tests that a late Advance of a [session.Store] changes nothing. In this test
// the store's server delays the call until the caller's deadline has passed, and then runs
// it.
//
// hold must make the server delay every change of session s until release is called, for
// instance by a lock on the row of s or by pausing the server. TestSessionStore does not
// call TestHeldStep, since only the author of a store can write hold.
func TestHeldStep(t *testing.T, store session.Store, hold func(t *testing.T, s session.Session) (release func())) {
	t.Helper()
	s, other := sessionOf("alice"), sessionOf("bob")
	create(t, store, s, other)
	require.True(t, advance(t, store, after(other), other.Rotated)) // let the store prepare its statements
	from, found, err := store.Get(t.Context(), s.Subject, s.ID)
	require.NoError(t, err)
	require.True(t, found)
	release := hold(t, s)
	const wait = 300 * time.Millisecond
	var all sync.WaitGroup
	for range 3 {
		all.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), wait)
			defer cancel()
			done, err := store.Advance(ctx, from, after(from), from.Rotated)
			assert.Error(t, err, "a call that the server delays past its deadline")
			assert.False(t, done)
		})
	}
	all.Wait()
	time.Sleep(wait)
	release()
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		is(t, store, s, "no Advance may take effect after its caller has given up")
	}
	// The delayed calls must not block a later one.
	require.True(t, advance(t, store, after(s), s.Rotated))
	is(t, store, after(s))
}

func listsAreCopies(t *testing.T, newStore func(t *testing.T) session.Store) {
	store := newStore(t)
	want := []session.Session{sessionOf("alice"), sessionOf("alice"), sessionOf("alice")}
	create(t, store, want...)
	for range 2 {
		all := list(t, store, "alice", time.Now())
		have(t, want, all)
		for i := range all {
			all[i] = sessionOf("changed")
		}
		_ = append(all[:1], sessionOf("changed"), sessionOf("changed"), sessionOf("changed"))
		for _, s := range want {
			is(t, store, s)
		}
	}
}

func storesAreApart(t *testing.T, newStore func(t *testing.T) session.Store) {
	here, there := newStore(t), newStore(t)
	s, same := sessionOf("alice"), sessionOf("alice")
	same.ID, same.Label = s.ID, "of the other store"
	create(t, here, s)
	isNot(t, there, s.Subject, s.ID)
	require.Empty(t, list(t, there, "alice", time.Now()))
	require.False(t, advance(t, there, after(s), s.Rotated))
	require.False(t, end(t, there, s, session.ReasonLogout, s.Rotated))
	is(t, here, s)

	create(t, there, same)
	require.True(t, advance(t, there, after(same), s.Rotated))
	is(t, here, s)
	require.True(t, end(t, here, s, session.ReasonLogout, s.Rotated))
	require.NoError(t, here.Purge(t.Context(), s.MaxExpires.Add(time.Hour)))
	is(t, there, after(same))
	have(t, []session.Session{after(same)}, list(t, there, "alice", time.Now()))
}
