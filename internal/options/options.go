// Package options applies the options of constructors.
package options

import (
	"errors"
	"fmt"
	"log/slog"
)

// Apply applies options in their order, and returns their errors joined. A nil option is
// an error.
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

// Logger returns set, the logger that an option set. If set is nil, it returns the
// current default logger.
func Logger(set *slog.Logger) *slog.Logger {
	if set == nil {
		return slog.Default()
	}
	return set
}
