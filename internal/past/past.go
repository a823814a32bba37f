// Package past has a clock for programs that delete what has expired. If the wall clock
// is wrong for a while, such a program must not delete what is still needed.
package past

import (
	"sync"
	"time"
)

const (
	// plausibleAfter is how long a wall clock must stay set forward until it is believed.
	// Some corrections are that large: a machine without a battery-backed clock starts in
	// 1970.
	plausibleAfter = 24 * time.Hour
	// drift is how far a correct clock may be set back within plausibleAfter.
	drift = time.Minute
)

// Clock tells a time that is surely not in the future. It is safe for concurrent use.
type Clock struct {
	wall    func() time.Time
	started time.Time // by the monotonic clock
	at      time.Time // the time of the wall clock when started was set

	mu    sync.Mutex
	ahead time.Duration // how far the wall clock has been set forward since started, as far as that is believed
	// If the wall clock is set forward further than ahead, maybe says how far, and since
	// says since when.
	maybe time.Duration
	since time.Duration // counted from started; negative if the wall clock is not further ahead
}

// New returns a Clock for a wall clock, which must not be ahead when New is called.
func New(wall func() time.Time) *Clock {
	return &Clock{wall: wall, started: time.Now(), at: wall(), since: -1}
}

// Now returns the time of the wall clock, but no later than the monotonic clock allows.
// It can be earlier than the time returned before, if the wall clock was set back.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	now, passed := c.wall(), time.Since(c.started)
	ahead := now.Sub(c.at) - passed
	switch {
	case ahead <= c.ahead:
		c.since = -1
		return now
	case c.since < 0 || ahead < c.maybe-drift:
		c.maybe, c.since = ahead, passed
	case passed-c.since >= plausibleAfter:
		c.ahead, c.since = min(ahead, c.maybe), -1
	default:
		c.maybe = min(ahead, c.maybe)
	}
	return c.at.Add(passed + c.ahead)
}
