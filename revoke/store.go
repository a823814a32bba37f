package revoke

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Kind says what an entry is about.
type Kind int

// The kinds, which stores may keep as these numbers.
const (
	Token     Kind = 1 // one token, by its jti
	Session   Kind = 2 // the tokens of one session, by their sid
	Subject   Kind = 3 // the tokens of one subject up to the epoch
	Container Kind = 4 // the tokens of one container up to the epoch
)

// MaxText is the most bytes that an issuer or an id may have.
const MaxText = 1024

// Entry is one line of the log.
type Entry struct {
	Kind   Kind
	Issuer string // iss, "" for tokens without
	ID     string // jti, sid, sub or container; never empty, any bytes
	// Epoch is the latest stamp that a Subject or Container entry hits, in
	// microseconds since 1970, of either sign; 0 for the others.
	Epoch int64
	// Expires is when no token is left that the entry could hit, in the year 9999 at the
	// latest. Stores truncate it to the microsecond, or round it up by a second at most.
	Expires time.Time
}

// endOfTime is when no token is valid any more.
var endOfTime = time.Date(9999, time.December, 31, 23, 59, 59, 0, time.UTC)

// Validate returns an error if a list cannot use the entry. A [Store]'s Append refuses
// such an entry, since it would spoil the log for all: a list that finds one there fails
// closed, and goes stale.
func (e Entry) Validate() error {
	switch {
	case e.Kind < Token || e.Kind > Container:
		return fmt.Errorf("it is of kind %d", e.Kind)
	case e.ID == "":
		return errors.New("its id is empty")
	case len(e.ID) > MaxText || len(e.Issuer) > MaxText:
		return fmt.Errorf("its id has %d bytes and its issuer %d, and %d are the most", len(e.ID), len(e.Issuer), MaxText)
	case e.Epoch > endOfTime.UnixMicro():
		return fmt.Errorf("its epoch is %d, and microseconds are wanted", e.Epoch)
	case e.Expires.UTC().Year() < 1 || e.Expires.UTC().Year() > 9999:
		return fmt.Errorf("it expires at %v, and a moment of the years 1 to 9999 is wanted", e.Expires)
	}
	return nil
}

// Page is a piece of the log, in its order.
type Page struct {
	Entries []Entry
	// Cursor is the place behind the last of them, for the next call.
	Cursor string
	// More: the log goes on. If not, everything that was appended before the call
	// has been read.
	More bool
}

// Store is a log of revocations that processes share. Package jwtauthtest has the
// tests that each must pass, TestRevocationStore.
//
// All methods are safe for concurrent use, also by several processes, and return
// an error only for an outage, ctx's included.
type Store interface {
	// Append adds an entry, unless [Entry.Validate] refuses it. When it returns nil, the
	// entry is kept as safely as the store keeps anything, and every Since that begins
	// from then on finds it. After an error it may be there or not. An entry that is
	// there already may be added again, and is then kept once or twice.
	Append(ctx context.Context, e Entry) error

	// Since returns the entries that follow a cursor of an earlier call, at most limit.
	// The cursor "" is the beginning. limit is at least 1. Since does not wait for new
	// entries.
	//
	// The order is that in which entries become visible: a reader that goes on from a
	// cursor misses no entry that became visible later, whichever Append began first. A
	// cursor that is not of this log, or lies behind its end, counts as "": the log is
	// read again from its beginning. The log may have been replaced, emptied, or put
	// back from a backup. Stores tell by a random identity of the log in the cursor.
	Since(ctx context.Context, cursor string, limit int) (Page, error)

	// Purge may remove entries whose Expires lies before the time given, and no
	// others. Nothing else removes entries, however old. Cursors stay good.
	Purge(ctx context.Context, before time.Time) error
}
