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

// WithMaxLifetime sets how long tokens may live, 100 years at most. The default is 14
// days. Entries are kept that long, so it must be at least the maximum lifetime of each
// Auth that asks the list: otherwise jwtauth.New returns an error. Processes that share
// a log must all have the same.
func WithMaxLifetime(d time.Duration) Option {
	return func(c *config) error {
		c.maxLifetime = d
		return between("WithMaxLifetime", d, time.Second, 100*365*24*time.Hour)
	}
}

// WithStaleness sets the time since the last successful read of the log past which
// nothing is accepted, a week at most. The default is 10 seconds. It is the longest
// time that a revoked token is accepted by another process. Time in which the machine
// is suspended does not count.
func WithStaleness(d time.Duration) Option {
	return func(c *config) error {
		c.staleness = d
		return between("WithStaleness", d, time.Second, 7*24*time.Hour)
	}
}

// WithInterval sets how often the log is read, at least four times within the bound of
// [WithStaleness]. The default is every 250 milliseconds.
func WithInterval(d time.Duration) Option {
	return func(c *config) error {
		c.interval = d
		return between("WithInterval", d, time.Millisecond, 24*time.Hour)
	}
}

// WithSkew sets by how much the clocks of the processes that share the log may differ,
// an hour at most. The default is a second, and nothing with [NewMemory]. The processes
// must all have the same.
func WithSkew(d time.Duration) Option {
	return func(c *config) error {
		c.skew = d
		return between("WithSkew", d, 0, time.Hour)
	}
}

// InsecureAcceptStale makes a list that is not up to date accept the tokens that are not
// on it as far as it is known. It fails open: while the log cannot be read, requests are
// served, and tokens that were revoked meanwhile are accepted. Monitor [List.Status] if
// you use it.
func InsecureAcceptStale() Option {
	return func(c *config) error {
		c.accept = true
		return nil
	}
}

// WithClock sets the wall clock, for tests. The default is [time.Now]. It must be safe
// for concurrent use. Staleness does not depend on it.
func WithClock(clock func() time.Time) Option {
	return func(c *config) error {
		if c.clock = clock; clock == nil {
			return errors.New("WithClock was given nil; leave it out for time.Now")
		}
		return nil
	}
}

// WithLogger sets where [List.Run] logs that the log cannot be read, and can be again.
// The default is [slog.Default].
func WithLogger(logger *slog.Logger) Option {
	return func(c *config) error {
		if c.logger = logger; logger == nil {
			return errors.New("WithLogger was given nil; leave it out for slog.Default")
		}
		return nil
	}
}
