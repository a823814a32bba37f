// Package options applies the options of constructors.
package options

import (
	"errors"
	"fmt"
	"log/slog"
)

// Apply applies options in their order, and returns the errors of all of them, joined.
func Apply[C any, O ~func(*C) error](c *C, opts []O) error {
	var errs []error
	for i, opt := range opts {
		if opt == nil {
			errs = append(errs, fmt.Errorf("option %d is nil; leave it out", i+1))
		} else if err := opt(c); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Logger returns the logger that an option set or, if set is nil, the current default
// logger.
func Logger(set *slog.Logger) *slog.Logger {
	if set == nil {
		return slog.Default()
	}
	return set
}
