package revoke

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/joinednode/jwtauth/internal/options"
)

// Run follows the log until ctx ends, and returns the error of ctx. If the log cannot be
// read, Run logs that once and tries again. A stale list recovers on its own. Run also
// purges expired entries from the log every hour.
//
// Without Run, a list over a shared log is stale from the start, unless the program calls
// [List.Sync]. A list over [NewMemory] needs neither.
func (l *List) Run(ctx context.Context) error {
	ticker := time.NewTicker(l.interval)
	defer ticker.Stop()
	failed := false
	for {
		err := l.Sync(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if (err != nil) != failed {
			if failed = err != nil; failed {
				l.log().ErrorContext(ctx, "revoke: the log cannot be read", "error", err)
			} else {
				l.log().InfoContext(ctx, "revoke: the log can be read again")
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
	}
}

func (l *List) log() *slog.Logger { return options.Logger(l.logger) }

// Sync reads the log up to its end. It returns an error if the store fails, takes longer
// than a third of [WithStaleness] for one page, or has an entry that [Entry.Validate]
// rejects. Calls at the same time share a read. It is meant for tests, and for a server that
// must be ready before it serves.
func (l *List) Sync(ctx context.Context) error {
	came := l.now()
	if err := l.following.take(ctx); err != nil {
		return fmt.Errorf("revoke: reading the log: %w", err)
	}
	defer l.following.leave()
	if read := l.read.Load(); read > came && read != forever {
		return nil // another call began to read after this one came, and found the end
	}
	err := l.sync(ctx)
	if err != nil {
		err = fmt.Errorf("revoke: reading the log: %w", err)
		if ctx.Err() == nil { // otherwise it is the caller who gave up
			l.failure.Store(&err)
		}
		return err
	}
	l.failure.Store(nil)
	l.purge(ctx)
	return nil
}

// turn is a lock that a caller stops waiting for when its context ends, so that requests
// do not queue behind a log that hangs.
type turn chan struct{}

func (t turn) take(ctx context.Context) error {
	select {
	case t <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (t turn) leave() { <-t }

func (l *List) sync(ctx context.Context) error {
	for {
		began := l.now() // entries appended from now on may be missing
		page, err := l.since(ctx)
		if err != nil {
			return err
		}
		for _, e := range page.Entries {
			if err := e.Validate(); err != nil {
				return fmt.Errorf("an entry that this version cannot use: %w", err)
			}
			l.apply(e)
		}
		if page.More && page.Cursor == l.cursor {
			return errors.New("the store says that there is more, but its cursor does not move")
		}
		l.cursor = page.Cursor
		if !page.More {
			raise(&l.read, began)
			return nil
		}
	}
}

func (l *List) since(ctx context.Context) (Page, error) {
	ctx, cancel := context.WithTimeout(ctx, l.staleness/3)
	defer cancel()
	return l.store.Since(ctx, l.cursor, batch)
}

// purge removes the entries from the log that no list needs any more, at most once an
// hour. It does not begin before the process has run for an hour: with a clock that is
// wrong at the start, it would remove entries that are still needed. After a failure the
// next purge tries again.
func (l *List) purge(ctx context.Context) {
	now := l.past.Now()
	if now.Sub(l.purged) < purgeEvery {
		return
	}
	l.purged = now
	ctx, cancel := context.WithTimeout(ctx, l.staleness/3)
	defer cancel()
	if err := l.store.Purge(ctx, now.Add(-margin)); err != nil {
		l.log().DebugContext(ctx, "revoke: the log cannot be purged", "error", err)
	}
}
