package session

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// TestJudge is the design's table, row by row, with the boundaries of each.
func TestJudge(t *testing.T) {
	const (
		grace = 30 * time.Second
		late  = grace + skew
		tick  = time.Microsecond
	)
	now := time.Date(2026, time.March, 14, 15, 9, 26, 0, time.UTC)
	row := func(change func(*Session)) Session {
		s := Session{
			ID: "id", Subject: "alice", Generation: 7,
			Created: now.Add(-time.Hour), Rotated: now.Add(-10 * time.Minute),
			IdleExpires: now.Add(time.Hour), MaxExpires: now.Add(2 * time.Hour),
		}
		if change != nil {
			change(&s)
		}
		return s
	}
	aged := func(age time.Duration) Session { return row(func(s *Session) { s.Rotated = now.Add(-age) }) }
	idle := func(left time.Duration) Session { return row(func(s *Session) { s.IdleExpires = now.Add(left) }) }
	oldest := func(left time.Duration) Session { return row(func(s *Session) { s.MaxExpires = now.Add(left) }) }
	revoked := func(change func(*Session)) Session {
		s := row(change)
		s.RevokedAt = now.Add(-time.Second)
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
		{name: "a revoked session is gone for one that was just replaced", row: revoked(func(s *Session) { s.Rotated = now }), generation: 6, want: gone},
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

		{name: "a token that was just replaced has expired with its idle session", row: row(func(s *Session) { s.Rotated, s.IdleExpires = now, now }), generation: 6, want: expired},
		{name: "an old token of an idle session has expired and is not stolen", row: idle(0), generation: 1, want: expired},
		{name: "an old token of a session that is too old has expired and is not stolen", row: oldest(0), generation: 1, want: expired},
		{name: "a generation ahead of an idle session has expired", row: idle(0), generation: 8, want: expired},

		{name: "the current token rotates", row: row(nil), generation: 7, want: rotate},
		{name: "the current token rotates in the moment it was made", row: aged(0), generation: 7, want: rotate},
		{name: "the current token rotates by a clock that was set back", row: aged(-time.Hour), generation: 7, want: rotate},
		{name: "the first token of a session rotates", row: row(func(s *Session) { s.Generation = 1 }), generation: 1, want: rotate},

		{name: "the token before gives its successor again at once", row: aged(0), generation: 6, want: replay},
		{name: "the token before gives its successor again at the end of the grace", row: aged(grace), generation: 6, want: replay},
		{name: "the token before gives its successor again within the skew of clocks", row: aged(grace + tick), generation: 6, want: replay},
		{name: "the token before gives its successor again at the very end of grace and skew", row: aged(late), generation: 6, want: replay},
		{name: "the token before is stolen a microsecond after grace and skew", row: aged(late + tick), generation: 6, want: stolen},
		{name: "the token before is stolen days after", row: aged(72 * time.Hour), generation: 6, want: stolen},
		{name: "the token before gives its successor again by a clock a microsecond behind", row: aged(-tick), generation: 6, want: replay},
		{name: "the token before gives its successor again by a clock that was set back an hour", row: aged(-time.Hour), generation: 6, want: replay},

		{name: "the token before that one is stolen however early it comes", row: aged(0), generation: 5, want: stolen},
		{name: "the token before that one is stolen by a clock that was set back, too", row: aged(-time.Hour), generation: 5, want: stolen},
		{name: "the token before that one is stolen when it comes late", row: aged(time.Hour), generation: 5, want: stolen},
		{name: "the first token of a long chain is stolen", row: aged(0), generation: 1, want: stolen},
		{name: "the generation that nobody was given is stolen", row: aged(0), generation: 0, want: stolen},

		{name: "the generation that comes next is ahead", row: row(nil), generation: 8, want: ahead},
		{name: "the generation that comes next is ahead in the moment of a rotation", row: aged(0), generation: 8, want: ahead},
		{name: "a generation far off is ahead", row: row(nil), generation: 1 << 60, want: ahead},
	} {
		t.Run(c.name, func(t *testing.T) {
			assert.Equal(t, c.want, judge(c.row, !c.missing, c.generation, now, grace))
		})
	}
}

// TestJudgeWithoutGrace: what remains then is the skew of clocks.
func TestJudgeWithoutGrace(t *testing.T) {
	now := time.Date(2026, time.March, 14, 15, 9, 26, 0, time.UTC)
	s := Session{Generation: 2, Rotated: now, IdleExpires: now.Add(time.Hour), MaxExpires: now.Add(time.Hour)}
	assert.Equal(t, replay, judge(s, true, 1, now.Add(skew), 0))
	assert.Equal(t, stolen, judge(s, true, 1, now.Add(skew+time.Microsecond), 0))
}
