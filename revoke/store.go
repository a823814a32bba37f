package revoke

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Kind says what an entry revokes.
type Kind int

// The kinds. Stores may keep these numbers, which never change.
const (
	Token     Kind = 1 // one token, by its jti
	Session   Kind = 2 // the tokens of one session, by their sid
	Subject   Kind = 3 // the tokens of one subject up to the epoch
	Container Kind = 4 // the tokens of one container up to the epoch
	Access    Kind = 5 // the access tokens of one subject's sessions up to the epoch, which count as expired
)

// hasEpoch reports whether entries of this kind are about the tokens issued up to an
// epoch. Entries of the other kinds are about all tokens with their ID.
func (k Kind) hasEpoch() bool { return k != Token && k != Session }

// MaxText is the longest issuer or ID, in bytes.
const MaxText = 1024

// Entry is one entry of the log.
type Entry struct {
	Kind   Kind
	Issuer string // iss, "" for tokens without one
	ID     string // jti, sid, sub or container; never empty, any bytes
	// Epoch is the latest stamp that a Subject, Container or Access entry is about, in
	// microseconds since 1970. It may be negative. It is 0 for other kinds.
	Epoch int64
	// Expires is when no Auth accepts the tokens that the entry revokes any more, in the
	// year 9999 at the latest. Stores truncate it to the microsecond, or round it up by
	// up to one second.
	Expires time.Time
}

// endOfTime is the latest time at which a token can be valid.
var endOfTime = time.Date(9999, time.December, 31, 23, 59, 59, 0, time.UTC)

// Validate returns an error if a list cannot use the entry. A [Store]'s Append must
// reject such an entry. A list that found one in the log would fail closed and become
// stale.
func (e Entry) Validate() error {
	switch {
	case e.Kind < Token || e.Kind > Access:
		return fmt.Errorf("it is of kind %d, which this version does not know", e.Kind)
	case e.ID == "":
		return errors.New("its id is empty")
	case len(e.ID) > MaxText || len(e.Issuer) > MaxText:
		return fmt.Errorf("its id has %d bytes and its issuer %d, and %d are the most", len(e.ID), len(e.Issuer), MaxText)
	case e.Epoch > endOfTime.UnixMicro():
		return fmt.Errorf("its epoch is %d, and must be in microseconds", e.Epoch)
	case e.Expires.UTC().Year() < 1 || e.Expires.UTC().Year() > 9999:
		return fmt.Errorf("it expires at %v, and that must be in the years 1 to 9999", e.Expires)
	}
	return nil
}

// Page is a part of the log, in its order.
type Page struct {
	Entries []Entry
	// Cursor is the place after the last entry, for the next call.
	Cursor string
	// More reports whether the log goes on. If not, everything that was appended before
	// the call has been read.
	More bool
}

// Store is a log of revocations, which several processes may share. A new implementation
// must pass jwtauthtest.TestRevocationStore. All methods are safe for concurrent use, also
// by all these processes. Except for an entry that [Entry.Validate] rejects, they return
// an error only for an outage, including the end of ctx.
type Store interface {
	// Append adds an entry, or returns the error of Entry.Validate. Once it has returned
	// nil, the entry is stored, and every later call of Since finds it. After an error of
	// the store the entry may or may not be there. An entry may be added again, and is
	// then kept once or twice.
	Append(ctx context.Context, e Entry) error

	// Since returns at most limit entries that follow the cursor of an earlier call. The
	// cursor "" is the beginning. limit is at least 1. Since does not wait for new
	// entries.
	//
	// The order is that in which entries become visible: a reader that continues from a
	// cursor misses no entry, whichever Append began first. A cursor of another log, or
	// one past the end, counts as "", since the log may have been replaced, emptied or
	// restored. Stores recognise that by a random identity of the log in the cursor.
	Since(ctx context.Context, cursor string, limit int) (Page, error)

	// Purge may remove entries whose Expires is before the given time. Nothing else may
	// be removed, however old. Cursors stay valid.
	Purge(ctx context.Context, before time.Time) error
}
