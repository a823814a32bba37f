package session

import "time"

// skew is added to the grace for the clocks of two processes, and to the end of a
// session where it is ended: twice the 5 seconds that clocks may lie apart.
const skew = 10 * time.Second

// verdict is what is to be done about a refresh token.
type verdict int

const (
	gone    verdict = iota // there is no such session any more, or it was ended
	expired                // for too long idle, or too old
	rotate                 // it is the current one: replace it
	replay                 // it was replaced a moment ago: give its successor again
	stolen                 // it was replaced long ago: two have it
	ahead                  // of a generation that never was: the store is an older backup
)

// judge decides about a genuine refresh token of a generation. It is all that is
// to know: whoever wins a race in the store, this says what it means.
func judge(s Session, found bool, generation int64, now time.Time, grace time.Duration) verdict {
	switch {
	case !found || !s.RevokedAt.IsZero():
		return gone
	case !now.Before(s.IdleExpires) || !now.Before(s.MaxExpires):
		return expired
	case generation == s.Generation:
		return rotate
	case generation > s.Generation:
		return ahead
	case generation == s.Generation-1 && now.Sub(s.Rotated) <= grace+skew:
		return replay // a clock that was set back included
	default:
		return stolen
	}
}
