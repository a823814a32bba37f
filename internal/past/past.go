// Package past tells how late it is for sure, for programs that forget what has expired:
// a wall clock that is wrong for a while must not make them forget what still counts.
package past

import (
	"sync"
	"time"
)

const (
	// plausibleAfter is how long a wall clock that was set forward must go on like that to
	// be right. A machine without a clock of its own starts in 1970.
	plausibleAfter = 24 * time.Hour
	// drift is how much a clock that is right may be set back within that time.
	drift = time.Minute
)

// Clock returns times that have come for sure. It is safe for concurrent use.
type Clock struct {
	wall    func() time.Time
	started time.Time // by the monotonic clock
	at      time.Time // what the wall clock said then

	mu    sync.Mutex
	ahead time.Duration // how far the wall clock was set forward since, and is right
	// A wall clock that is further ahead may be right: by how much it is, and since when.
	maybe time.Duration
	since time.Duration // since started; below zero while there is nothing to decide
}

// New returns a Clock of a wall clock, which is right when New is called, or behind.
func New(wall func() time.Time) *Clock {
	return &Clock{wall: wall, started: time.Now(), at: wall(), since: -1}
}

// Now returns the time of the wall clock, but no later than the monotonic clock allows.
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
