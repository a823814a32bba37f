package session

import "time"

const (
	// skew is added to the grace, since clocks of processes differ. A logout also ends
	// sessions that expired up to skew ago. It is twice the 5 seconds by which clocks may
	// differ.
	skew = 10 * time.Second
	// margin is how long a request and its response may be on their way.
	margin = 10 * time.Second
	// mostRests limits for how long the current token is given again, in rests (see check)
	// since it was made, however often the window begins again. A thief must not be able to
	// keep the window open for ever.
	mostRests = 5
)

// verdict is what to do with a refresh token.
type verdict int

const (
	gone      verdict = iota // there is no such session, or it was ended
	expired                  // it was idle for too long, or is too old
	rotate                   // it is the current one: replace it
	retried                  // it was given or replaced just now: give the current one again
	extended                 // like retried, but the window ends soon: begin it again
	recovered                // it was replaced, and its successor never used: replace the successor
	ahead                    // the store has lost the write of this generation: follow it
	stolen                   // its successor was used: two clients have it
)

// rules are the Manager's settings for [rules.check].
type rules struct {
	grace      time.Duration
	noRecovery bool
}

// check decides about an authentic refresh token of a generation. came is when the
// request arrived. now is later if the store or a callback was slow. The decision depends
// on nothing else, so it does not matter which request wins a race in the store.
//
// The legitimate client is never rejected, whatever the number of its requests, as long as
// a request and its response take less than margin:
//   - A chain moves at most once per window, which is grace plus skew. A token is given
//     again for window plus margin after it was first given, and clocks differ by less
//     than skew. So only two tokens were current within the grace: the current one and
//     Prev, which it replaced.
//   - Prev is good for the window. A request that was sent with it before the client had
//     its successor gets that successor.
//   - After that, unless noRecovery is set, Prev stays good until its successor is used,
//     which would make the successor Prev. A client that comes with Prev so late has lost
//     the response. Its new token skips the lost one.
//   - A token that was just given is never skipped, since giving a successor again near
//     the end of the window begins the window again. Even then the current token rotates
//     once it has been current for mostRests rests.
//
// A thief does not stay. A used token is Prev until its successor is used, and counts as
// stolen from then on. So does a skipped token: a thief who comes with Prev skips the
// token that the client holds.
func (r rules) check(s Session, found bool, generation int64, came, now time.Time) verdict {
	window := r.grace + skew
	rest := window + margin    // for how long a token is given again
	age := came.Sub(s.given()) // negative if the clock was set back
	rests := age < rest && came.Sub(s.Rotated) < mostRests*rest && !s.nearIdleEnd(now, rest)
	switch {
	case !found || !s.RevokedAt.IsZero():
		return gone
	case !now.Before(s.IdleExpires) || !now.Before(s.MaxExpires):
		return expired
	case generation > s.Generation:
		return ahead
	case generation == s.Generation && rests:
		return retried
	case generation == s.Generation:
		return rotate
	case generation != s.prev():
		return stolen
	case age <= r.grace-margin:
		return retried
	case age <= window:
		return extended
	case r.noRecovery:
		return stolen
	default:
		return recovered
	}
}

// prev returns the generation that the current one replaced, 0 after a login. Other rows
// without Prev were written by earlier versions, in which each generation replaced the one
// before.
func (s Session) prev() int64 {
	if s.Prev == 0 {
		return s.Generation - 1
	}
	return s.Prev
}

// given returns when the window began. Rows of earlier versions have no Given.
func (s Session) given() time.Time { return later(s.Given, s.Rotated) }

// nearIdleEnd reports whether a session could end before its next refresh if it is not
// refreshed now. It returns false if the session ends for its age first, since a refresh
// cannot help.
func (s Session) nearIdleEnd(now time.Time, near time.Duration) bool {
	left := s.IdleExpires.Sub(now)
	return s.IdleExpires.Before(s.MaxExpires) && left < min(near, s.IdleExpires.Sub(s.Rotated)/2)
}
