package sqlstore

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/joinednode/jwtauth/revoke"
)

// revocations is the [revoke.Store]. One table has the numbered entries. Another table has
// a single row with the random identity of the log and the last number. A transaction that
// appends takes the next number from this row, and keeps the row locked until it ends. So
// entries are numbered in the order of their commits. With a sequence or AUTO_INCREMENT,
// transactions could commit in another order. A reader that has seen the later of two
// numbers would then never see the earlier one.
type revocations struct {
	*DB
	name, log                string
	next, insert, end, since string
}

func newRevocations(s *DB) revocations {
	name, log := s.table("revocations"), s.table("log")
	r := revocations{DB: s, name: name, log: log}
	const columns = "n, kind, issuer, id, epoch, expires"
	r.next = "UPDATE " + log + " SET last_n = last_n + 1 WHERE one = 1"
	if s.dialect == Postgres {
		r.insert = s.bind("WITH c AS (" + r.next + " RETURNING last_n) INSERT INTO " + name + " (" + columns + ") " +
			"SELECT last_n, CAST(? AS BIGINT), CAST(? AS BYTEA), CAST(? AS BYTEA), CAST(? AS BIGINT), CAST(? AS BIGINT) FROM c")
	} else {
		r.insert = "INSERT INTO " + name + " (" + columns + ") SELECT last_n, ?, ?, ?, ?, ? FROM " + log + " WHERE one = 1"
	}
	r.end = "SELECT log_id, last_n, " + s.replica() + " FROM " + log + " WHERE one = 1"
	r.since = s.bind("SELECT " + columns + " FROM " + name + " WHERE n > ? AND n <= ? ORDER BY n LIMIT ?")
	return r
}

// errNoLog is returned if the log's row is missing.
var errNoLog = errors.New("there is no log; call Migrate")

// Append implements [revoke.Store].
func (r *revocations) Append(ctx context.Context, e revoke.Entry) error {
	err := e.Validate()
	var expires int64
	if err == nil {
		expires, err = micros(e.Expires)
	}
	if err == nil {
		// An issuer or ID may have any bytes. A text column would reject some of them.
		err = r.append(ctx, int64(e.Kind), []byte(e.Issuer), []byte(e.ID), e.Epoch, expires)
	}
	if err != nil {
		return fmt.Errorf("sqlstore: appending a revocation: %w", err)
	}
	return nil
}

func (r *revocations) append(ctx context.Context, args ...any) error {
	if r.dialect == Postgres {
		return one(r.changed(ctx, r.insert, args...))
	}
	if err := r.begin(ctx); err != nil {
		return err
	}
	// The transaction begins with a write to the row that all appends need. So SQLite waits
	// for the lock. If the transaction began with a read, SQLite would fail at once. InnoDB
	// has no snapshot yet, which could be too old after the wait.
	tx, err := r.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	if err := one(affected(tx.ExecContext(ctx, r.next))); err != nil {
		return err
	}
	if err := one(affected(tx.ExecContext(ctx, r.insert, args...))); err != nil {
		return err
	}
	return tx.Commit()
}

// one returns errNoLog unless a statement changed exactly one row, since otherwise the
// log's row is missing.
func one(n int64, err error) error {
	if err == nil && n != 1 {
		err = errNoLog
	}
	return err
}

// maxPage is the most entries that Since returns.
const maxPage = 10_000

// Since implements [revoke.Store].
func (r *revocations) Since(ctx context.Context, cursor string, limit int) (revoke.Page, error) {
	page, err := r.page(ctx, cursor, max(1, min(limit, maxPage)))
	if err != nil {
		return revoke.Page{}, fmt.Errorf("sqlstore: reading the log of revocations: %w", err)
	}
	return page, nil
}

// page reads the last number of the log, and then, with a second statement, the entries up
// to this number. A single statement could miss entries: a busy MariaDB has returned an
// entry without the one before it. A last number is visible only when all entries up to it
// have been committed. So a statement that begins after page has read the number sees all
// of them.
func (r *revocations) page(ctx context.Context, cursor string, limit int) (page revoke.Page, err error) {
	if err := r.begin(ctx); err != nil {
		return page, err
	}
	var logID string
	var last int64
	var replica int
	err = r.db.QueryRowContext(ctx, r.end).Scan(&logID, &last, &replica)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return page, errNoLog
	case err != nil:
		return page, err
	case replica != 0:
		return page, errReplica
	}
	id, after := place(cursor)
	if id != logID || after > last { // the cursor is of another log, or the log was restored
		after = 0
	}
	if after < last {
		entries, numbers, err := r.between(ctx, after, last, limit+1)
		if err != nil {
			return page, err
		}
		if page.More = len(entries) > limit; page.More {
			entries, last = entries[:limit], numbers[limit-1]
		}
		page.Entries = entries
	}
	page.Cursor = logID + "/" + strconv.FormatInt(last, 10)
	return page, nil
}

// between returns the entries whose numbers are greater than after and at most last, and
// these numbers. It returns at most limit entries.
func (r *revocations) between(ctx context.Context, after, last int64, limit int) (entries []revoke.Entry, numbers []int64, err error) {
	rows, err := r.db.QueryContext(ctx, r.since, after, last, limit)
	if err != nil {
		return nil, nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var e revoke.Entry
		var n, expires int64
		if err := rows.Scan(&n, &e.Kind, &e.Issuer, &e.ID, &e.Epoch, &expires); err != nil {
			return nil, nil, err
		}
		if e.Expires, err = moment(expires); err != nil {
			return nil, nil, err
		}
		entries, numbers = append(entries, e), append(numbers, n)
	}
	return entries, numbers, errors.Join(rows.Err(), rows.Close())
}

// place parses a cursor: the log's identity, and the number of the last entry that was
// read. If the string is not a cursor, place returns an empty identity, which no log has.
func place(cursor string) (id string, n int64) {
	id, number, _ := strings.Cut(cursor, "/")
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n < 0 || !isLogID(id) {
		return "", 0
	}
	return id, n
}

func newLogID() string { return rand.Text() }

// isLogID reports whether a string has the form of a log's identity.
func isLogID(id string) bool {
	return len(id) == len(newLogID()) && strings.Trim(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") == ""
}

// Purge implements [revoke.Store].
func (r *revocations) Purge(ctx context.Context, before time.Time) error {
	us, err := micros(before)
	if err == nil {
		err = purge[int64](ctx, r.DB, r.name, "n", "expires", us)
	}
	if err != nil {
		return fmt.Errorf("sqlstore: purging revocations: %w", err)
	}
	return nil
}

// NewLog gives the log of revocations a new identity, so that every list reads all of it
// again. It deletes nothing.
//
// Call it once after a backup was restored, or after an asynchronous replica took over, and
// before services write again. NewLog does not bring back lost revocations: revoke those
// tokens again. Without NewLog, a list reads everything again only if its cursor is past
// the end of the restored log. If the log has grown past the cursor by then, the list
// misses new entries that have the numbers of lost ones.
func (s *DB) NewLog(ctx context.Context) error {
	if err := one(s.changed(ctx, s.bind("UPDATE "+s.table("log")+" SET log_id = ? WHERE one = 1"), newLogID())); err != nil {
		return fmt.Errorf("sqlstore: NewLog: %w", err)
	}
	return nil
}
