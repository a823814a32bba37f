package session

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// TestCheck has cases for each verdict, and for the times at which the verdict changes.
func TestCheck(t *testing.T) {
	const (
		grace  = 30 * time.Second
		window = grace + skew
		tick   = time.Microsecond
	)
	now := time.Date(2026, time.March, 14, 15, 9, 26, 0, time.UTC)
	row := func(change func(*Session)) Session {
		s := Session{
			ID: "id", Subject: "alice", Generation: 7, Prev: 6,
			Created: now.Add(-time.Hour), Rotated: now.Add(-10 * time.Minute), Given: now.Add(-10 * time.Minute),
			IdleExpires: now.Add(time.Hour), MaxExpires: now.Add(2 * time.Hour),
		}
		if change != nil {
			change(&s)
		}
		return s
	}
	aged := func(age time.Duration) Session {
		return row(func(s *Session) { s.Rotated, s.Given = now.Add(-age), now.Add(-age) })
	}
	// given returns a session whose window last began again at the time age before now.
	given := func(age time.Duration) Session {
		return row(func(s *Session) { s.Rotated, s.Given = now.Add(-2*window), now.Add(-age) })
	}
	idle := func(left time.Duration) Session { return row(func(s *Session) { s.IdleExpires = now.Add(left) }) }
	oldest := func(left time.Duration) Session { return row(func(s *Session) { s.MaxExpires = now.Add(left) }) }
	revoked := func(change func(*Session)) Session {
		s := row(change)
		s.RevokedAt = now.Add(-time.Second)
		return s
	}
	// skipped returns a session whose client lost the responses with generations 7 and 8.
	skipped := func(age time.Duration) Session {
		s := aged(age)
		s.Generation = 9
		return s
	}
	// brief returns a session that ends after a minute without a refresh.
	brief := func(age time.Duration, most time.Duration) Session {
		s := aged(age)
		s.IdleExpires, s.MaxExpires = s.Rotated.Add(time.Minute), s.Rotated.Add(most)
		return s
	}

	for _, c := range []struct {
		name       string
		row        Session
		missing    bool
		generation int64
		want       verdict
	}{
		{name: "a session that is not in the store is gone", missing: true, generation: 7, want: gone},
		{name: "what is not in the store is gone even if the row beside it would do", row: row(nil), missing: true, generation: 7, want: gone},
		{name: "what is not in the store is gone and not stolen", row: row(nil), missing: true, generation: 1, want: gone},

		{name: "a revoked session is gone for its current token", row: revoked(nil), generation: 7, want: gone},
		{name: "a revoked session is gone for one that was just replaced", row: revoked(func(s *Session) { s.Given = now }), generation: 6, want: gone},
		{name: "a revoked session is gone and not stolen again", row: revoked(nil), generation: 1, want: gone},
		{name: "a revoked session is gone for a generation ahead", row: revoked(nil), generation: 8, want: gone},
		{name: "a revoked session is gone though it is idle as well", row: revoked(func(s *Session) { s.IdleExpires = now }), generation: 7, want: gone},
		{name: "a revoked session is gone though it is too old as well", row: revoked(func(s *Session) { s.MaxExpires = now }), generation: 7, want: gone},
		{name: "a session that was revoked by a clock ahead is gone", row: row(func(s *Session) { s.RevokedAt = now.Add(time.Hour) }), generation: 7, want: gone},
		{name: "a session that was revoked at the beginning of Unix time is gone", row: row(func(s *Session) { s.RevokedAt = time.Unix(0, 0) }), generation: 7, want: gone},

		{name: "a session lives until a microsecond before its idle expiry", row: idle(tick), generation: 7, want: rotate},
		{name: "a session has expired at its idle expiry", row: idle(0), generation: 7, want: expired},
		{name: "a session has expired after its idle expiry", row: idle(-tick), generation: 7, want: expired},
		{name: "a session lives until a microsecond before its greatest age", row: oldest(tick), generation: 7, want: rotate},
		{name: "a session has expired at its greatest age", row: oldest(0), generation: 7, want: expired},
		{name: "a session has expired after its greatest age", row: oldest(-tick), generation: 7, want: expired},

		{name: "a token that was just replaced has expired with its idle session", row: row(func(s *Session) { s.Given, s.IdleExpires = now, now }), generation: 6, want: expired},
		{name: "an old token of an idle session has expired and is not stolen", row: idle(0), generation: 1, want: expired},
		{name: "an old token of a session that is too old has expired and is not stolen", row: oldest(0), generation: 1, want: expired},
		{name: "a generation ahead of an idle session has expired", row: idle(0), generation: 8, want: expired},

		{name: "the current token rotates", row: row(nil), generation: 7, want: rotate},
		{name: "the current token is given again at the time it was made", row: aged(0), generation: 7, want: retried},
		{name: "the current token is given again until window and margin are over", row: aged(window + margin - tick), generation: 7, want: retried},
		{name: "the current token rotates after window and margin", row: aged(window + margin), generation: 7, want: rotate},
		{name: "the current token is given again by a clock that was set back", row: aged(-time.Hour), generation: 7, want: retried},
		{name: "the current token is given again while it was given a moment ago", row: given(window), generation: 7, want: retried},
		{name: "the current token rotates in the end, however often it was given again", row: row(func(s *Session) {
			s.Rotated, s.Given = now.Add(-5*(window+margin)), now
		}), generation: 7, want: rotate},
		{name: "the current token is given again until then", row: row(func(s *Session) {
			s.Rotated, s.Given = now.Add(-5*(window+margin)+tick), now
		}), generation: 7, want: retried},
		{name: "the first token of a session is given again at once", row: row(func(s *Session) { s.Generation, s.Prev, s.Rotated, s.Given = 1, 0, now, now }), generation: 1, want: retried},
		{name: "the first token of a session rotates later", row: row(func(s *Session) { s.Generation, s.Prev = 1, 0 }), generation: 1, want: rotate},

		{name: "the current token of a brief session is given again in its first half", row: brief(30*time.Second, time.Hour), generation: 7, want: retried},
		{name: "the current token of a brief session rotates in its second half", row: brief(30*time.Second+tick, time.Hour), generation: 7, want: rotate},
		{name: "the current token of a session that ends anyway is given again", row: brief(45*time.Second, time.Minute), generation: 7, want: retried},

		{name: "the token before gives its successor again at once", row: aged(0), generation: 6, want: retried},
		{name: "the token before gives its successor again within the first part of the grace", row: aged(grace - margin), generation: 6, want: retried},
		{name: "the token before begins the window anew after that", row: aged(grace - margin + tick), generation: 6, want: extended},
		{name: "the token before begins the window anew at the end of the grace", row: aged(grace), generation: 6, want: extended},
		{name: "the token before begins the window anew at the very end of grace and skew", row: aged(window), generation: 6, want: extended},
		{name: "the token before is good for a window that began anew", row: given(grace - margin), generation: 6, want: retried},
		{name: "the token before is recovered a microsecond after grace and skew", row: aged(window + tick), generation: 6, want: recovered},
		{name: "the token before is recovered days after", row: aged(72 * time.Hour), generation: 6, want: recovered},
		{name: "the token before gives its successor again by a clock a microsecond behind", row: aged(-tick), generation: 6, want: retried},
		{name: "the token before gives its successor again by a clock that was set back an hour", row: aged(-time.Hour), generation: 6, want: retried},

		{name: "the token before that one is stolen however early it comes", row: aged(0), generation: 5, want: stolen},
		{name: "the token before that one is stolen by a clock that was set back, too", row: aged(-time.Hour), generation: 5, want: stolen},
		{name: "the token before that one is stolen when it comes late", row: aged(time.Hour), generation: 5, want: stolen},
		{name: "the first token of a long chain is stolen", row: aged(0), generation: 1, want: stolen},
		{name: "the generation that no client was given is stolen", row: aged(0), generation: 0, want: stolen},

		{name: "the token whose answers were lost gives the successor again", row: skipped(0), generation: 6, want: retried},
		{name: "the token whose answers were lost is recovered again", row: skipped(time.Hour), generation: 6, want: recovered},
		{name: "a generation that was skipped is stolen at once", row: skipped(0), generation: 8, want: stolen},
		{name: "a generation that was skipped is stolen later", row: skipped(time.Hour), generation: 7, want: stolen},
		{name: "the token before the lost answers is stolen", row: skipped(time.Hour), generation: 5, want: stolen},
		{name: "the current token after lost answers rotates", row: skipped(time.Hour), generation: 9, want: rotate},

		{name: "the generation that comes next is ahead", row: row(nil), generation: 8, want: ahead},
		{name: "the generation that comes next is ahead at the time of a rotation", row: aged(0), generation: 8, want: ahead},
		{name: "a generation far off is ahead", row: row(nil), generation: 1 << 60, want: ahead},

		{name: "in a row of the first version the token before is the one before", row: row(func(s *Session) { s.Prev, s.Given, s.Rotated = 0, time.Time{}, now }), generation: 6, want: retried},
		{name: "in a row of the first version the window began with the rotation", row: row(func(s *Session) { s.Prev, s.Given = 0, time.Time{} }), generation: 6, want: recovered},
		{name: "in a row of the first version the one before that is stolen", row: row(func(s *Session) { s.Prev, s.Given = 0, time.Time{} }), generation: 5, want: stolen},
		{name: "in a row of the first version the current token rotates", row: row(func(s *Session) { s.Prev, s.Given = 0, time.Time{} }), generation: 7, want: rotate},
	} {
		t.Run(c.name, func(t *testing.T) {
			assert.Equal(t, c.want, rules{grace: grace}.check(c.row, !c.missing, c.generation, now, now))
			want := c.want
			if want == recovered {
				want = stolen
			}
			assert.Equal(t, want, rules{grace, true}.check(c.row, !c.missing, c.generation, now, now), "without recovery")
		})
	}
}

// Without a grace, only the skew of clocks remains.
func TestCheck_WithoutGrace(t *testing.T) {
	now := time.Date(2026, time.March, 14, 15, 9, 26, 0, time.UTC)
	s := Session{Generation: 2, Prev: 1, Rotated: now, IdleExpires: now.Add(time.Hour), MaxExpires: now.Add(time.Hour)}
	for _, c := range []struct {
		generation int64
		after      time.Duration
		want       verdict
	}{
		{1, 0, extended}, {1, skew, extended}, {1, skew + time.Microsecond, recovered},
		{2, skew + margin - time.Microsecond, retried}, {2, skew + margin, rotate},
	} {
		at := now.Add(c.after)
		assert.Equal(t, c.want, rules{}.check(s, true, c.generation, at, at), "%d after %v", c.generation, c.after)
	}
}

// Whether a request is in the window depends on when it arrived. Whether the session has
// expired depends on when the decision is made.
func TestCheck_WhatIsLateHereIsNotTheClients(t *testing.T) {
	came := time.Date(2026, time.March, 14, 15, 9, 26, 0, time.UTC)
	r := rules{grace: 30 * time.Second}
	s := Session{Generation: 7, Prev: 6, Rotated: came.Add(-30 * time.Second), IdleExpires: came.Add(time.Hour), MaxExpires: came.Add(time.Hour)}
	assert.Equal(t, extended, r.check(s, true, 6, came, came.Add(time.Minute)))
	assert.Equal(t, retried, r.check(s, true, 7, came, came.Add(time.Minute)))
	assert.Equal(t, expired, r.check(s, true, 6, came, came.Add(time.Hour)))
}
