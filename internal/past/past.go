// Package past has a clock for programs that delete what has expired. A wall clock that
// is wrong for a while must not make them delete what is still needed.
package past

import (
	"sync"
	"time"
)

const (
	// plausibleAfter is how long a wall clock that was set forward must stay so to be
	// believed. A machine without a battery-backed clock starts in 1970.
	plausibleAfter = 24 * time.Hour
	// drift is by how much a correct clock may be set back within that time.
	drift = time.Minute
)

// Clock returns times that have surely come. It is safe for concurrent use.
type Clock struct {
	wall    func() time.Time
	started time.Time // by the monotonic clock
	at      time.Time // the wall clock's time then

	mu    sync.Mutex
	ahead time.Duration // by how much the wall clock has since been set forward, as believed
	// If the wall clock is further ahead than that: by how much, and since when.
	maybe time.Duration
	since time.Duration // counted from started; negative if it is not further ahead
}

// New returns a Clock for a wall clock, which must be right or behind when New is called.
func New(wall func() time.Time) *Clock {
	return &Clock{wall: wall, started: time.Now(), at: wall(), since: -1}
}

// Now returns the time of the wall clock, but no later than the monotonic clock allows.
// It can be earlier than before, if the wall clock was set back.
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
