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

// Option configures [New], which checks it.
type Option func(*config) error

func between(option string, d, least, most time.Duration) error {
	if d < least || d > most {
		return fmt.Errorf("%s(%v): it must lie between %v and %v", option, d, least, most)
	}
	return nil
}

// WithMaxLifetime sets how long tokens may live, from a second to 100 years. The default
// is 14 days. The list keeps revocations at least that long, so it must be at least the
// maximum lifetime of each Auth that uses the list, or jwtauth.New returns an error. All
// processes that share a log must use the same value.
func WithMaxLifetime(d time.Duration) Option {
	return func(c *config) error {
		c.maxLifetime = d
		return between("WithMaxLifetime", d, time.Second, 100*365*24*time.Hour)
	}
}

// WithStaleness sets after how long without a successful read of the log no token is
// accepted, from a second to a week. The default is 10 seconds. It is also the longest
// time for which another process accepts a revoked token. Time in which the machine is
// suspended does not count.
func WithStaleness(d time.Duration) Option {
	return func(c *config) error {
		c.staleness = d
		return between("WithStaleness", d, time.Second, 7*24*time.Hour)
	}
}

// WithInterval sets how often [List.Run] reads the log: from every millisecond to a
// quarter of [WithStaleness]. The default is every 250 milliseconds.
func WithInterval(d time.Duration) Option {
	return func(c *config) error {
		c.interval = d
		return between("WithInterval", d, time.Millisecond, 24*time.Hour)
	}
}

// WithSkew sets by how much the clocks of processes that share the log may differ, up to
// an hour. The default is one second, and zero with [NewMemory]. All processes must use
// the same value. If the clocks differ by more, a token that was issued shortly before
// its subject or container was revoked may still be accepted.
func WithSkew(d time.Duration) Option {
	return func(c *config) error {
		c.skew = d
		return between("WithSkew", d, 0, time.Hour)
	}
}

// InsecureAcceptStale makes a list that is not up to date accept tokens that it does not
// know to be revoked. It fails open: while the log cannot be read, tokens revoked in the
// meantime are accepted. Monitor [List.Status] if you use it.
func InsecureAcceptStale() Option {
	return func(c *config) error {
		c.accept = true
		return nil
	}
}

// WithClock sets the wall clock, for tests. It must be safe for concurrent use. The
// default is [time.Now]. Staleness does not depend on it.
func WithClock(clock func() time.Time) Option {
	return func(c *config) error {
		if c.clock = clock; clock == nil {
			return errors.New("WithClock was given nil; leave it out for time.Now")
		}
		return nil
	}
}

// WithLogger sets where the list logs: [List.Run] that the log cannot be read and that it
// can be read again, and [List.Handler] what it denies and what fails. The default is
// [slog.Default].
func WithLogger(logger *slog.Logger) Option {
	return func(c *config) error {
		if c.logger = logger; logger == nil {
			return errors.New("WithLogger was given nil; leave it out for slog.Default")
		}
		return nil
	}
}
