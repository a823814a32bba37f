package revoke

import (
	"errors"
	"fmt"
	"log/slog"
	"time"
)

type config struct {
	maxLifetime time.Duration
	staleness   time.Duration
	interval    time.Duration
	skew        time.Duration
	accept      bool
	clock       func() time.Time
	logger      *slog.Logger
}

// Option configures [New].
type Option func(*config) error

func between(option string, d, least, most time.Duration) error {
	if d < least || d > most {
		return fmt.Errorf("%s(%v): it must lie between %v and %v", option, d, least, most)
	}
	return nil
}

// WithMaxLifetime sets how long tokens may live, 100 years at most: 14 days unless
// set. It must be at least the maximum lifetime of each Auth that asks the list,
// which refuses to be made otherwise: entries are kept that long. Processes that
// share a log must all have the same.
func WithMaxLifetime(d time.Duration) Option {
	return func(c *config) error {
		c.maxLifetime = d
		return between("WithMaxLifetime", d, time.Second, 100*365*24*time.Hour)
	}
}

// WithStaleness sets the time since the last successful read of the log past
// which nothing is accepted: 10 seconds unless set, a week at most. It is the
// longest that a revoked token is accepted by another process; time in which the
// machine is suspended does not count.
func WithStaleness(d time.Duration) Option {
	return func(c *config) error {
		c.staleness = d
		return between("WithStaleness", d, time.Second, 7*24*time.Hour)
	}
}

// WithInterval sets how often the log is read: every 250 milliseconds unless set,
// and no less than four times within the bound of [WithStaleness].
func WithInterval(d time.Duration) Option {
	return func(c *config) error {
		c.interval = d
		return between("WithInterval", d, time.Millisecond, 24*time.Hour)
	}
}

// WithSkew sets by how much the clocks of the processes that share the log may
// differ, an hour at most: a second unless set, none with [NewMemory]. They must
// all have the same.
func WithSkew(d time.Duration) Option {
	return func(c *config) error {
		c.skew = d
		return between("WithSkew", d, 0, time.Hour)
	}
}

// InsecureAcceptStale lets tokens pass that are not on the list as far as it is
// known, where it is not up to date: it fails open. Who takes it puts being
// served before being safe for as long as the log cannot be read, and should
// watch [List.Status].
func InsecureAcceptStale() Option {
	return func(c *config) error {
		c.accept = true
		return nil
	}
}

// WithClock sets the wall clock, for tests: [time.Now] unless set. It must be
// safe for concurrent use. Staleness does not ask it.
func WithClock(clock func() time.Time) Option {
	return func(c *config) error {
		if c.clock = clock; clock == nil {
			return errors.New("WithClock was given nil; leave it out for time.Now")
		}
		return nil
	}
}

// WithLogger sets where [List.Run] reports that the log cannot be read, and can
// be again: [slog.Default] unless set.
func WithLogger(logger *slog.Logger) Option {
	return func(c *config) error {
		if c.logger = logger; logger == nil {
			return errors.New("WithLogger was given nil; leave it out for slog.Default")
		}
		return nil
	}
}
