package session

import "time"

const (
	// skew is added to the grace for the clocks of two processes, and to the end of a
	// session where it is ended: twice the 5 seconds that clocks may lie apart.
	skew = 10 * time.Second
	// margin is how long a request and its answer may be on their way.
	margin = 10 * time.Second
	// mostRests bounds for how long a token rests, in rests, however often it is given
	// again: a thief must not keep the window open, and the chain from moving, for ever.
	mostRests = 5
)

// verdict is what is to be done about a refresh token.
type verdict int

const (
	gone      verdict = iota // there is no such session any more, or it was ended
	expired                  // for too long idle, or too old
	rotate                   // it is the current one: replace it
	retried                  // it was given or replaced a moment ago: give the current one again
	extended                 // the same, but the window ends soon: begin it anew
	recovered                // it was replaced, and its successor never used: replace that
	ahead                    // the store lost the write that made it: follow it
	stolen                   // its successor was used: two clients have it
)

// rules are the Manager's for [rules.check].
type rules struct {
	grace      time.Duration
	noRecovery bool
}

// check decides about an authentic refresh token of a generation. came is when the
// request arrived, and now is later where the store or a callback was slow. It is all
// there is to know: whichever request wins a race in the store, this says what follows.
//
// No right client is rejected, whatever the number of its requests, as long as a request
// and its answer are under way for less than margin:
//
//   - A chain moves at most once within window, which is grace and skew. A token is given
//     again for window and margin after it was given first, and clocks differ by less than
//     skew. So of the tokens that were current within the grace there are two: the current
//     one, and the one that it was made from, which is Prev.
//   - Prev is good for window. A request that left with it before the client had its
//     successor is answered with that one.
//   - Prev stays good after that as long as its successor was not used, which would have
//     made the successor Prev. A client that comes with Prev so late has lost the answer.
//     Its new token skips the lost one.
//   - A token that was just given is never skipped, nor the requests beside it: to give a
//     successor again near the end of the window begins the window anew, a few times.
//
// A thief does not stay. A token that was used is Prev until its successor is used, and
// stolen from then on. So is a token that was skipped: a thief who comes with Prev skips
// the token that the client holds.
func (r rules) check(s Session, found bool, generation int64, came, now time.Time) verdict {
	window := r.grace + skew
	rest := window + margin    // of a token that was given
	age := came.Sub(s.given()) // below zero by a clock that was set back
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

// prev returns the generation that the current one was made from. Rows from before there
// was a Prev have 0, and each of their generations was made from the one before.
func (s Session) prev() int64 {
	if s.Prev == 0 {
		return s.Generation - 1
	}
	return s.Prev
}

// given returns when the window began. Rows from before there was a Given have none.
func (s Session) given() time.Time { return later(s.Given, s.Rotated) }

// nearIdleEnd reports whether a session that is not refreshed now may end before it is
// refreshed later. A session whose greatest age comes first gains nothing.
func (s Session) nearIdleEnd(now time.Time, near time.Duration) bool {
	left := s.IdleExpires.Sub(now)
	return s.IdleExpires.Before(s.MaxExpires) && left < min(near, s.IdleExpires.Sub(s.Rotated)/2)
}
