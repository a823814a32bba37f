package sqlstore

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/joinednode/jwtauth/revoke"
)

// revocations is a table of entries with numbers, and one of a single row, the
// log: its random identity, and the last number. Each transaction that appends
// takes the next number there, and holds the row until it has ended, so that the
// order of numbers is the order in which they can be seen. A sequence, or
// AUTO_INCREMENT, would give numbers to transactions that end in another order: who has read
// the later one would never see the earlier. See part for what one statement may
// nonetheless not show.
type revocations struct {
	*DB
	name, log           string
	next, insert, since string
}

func newRevocations(s *DB) revocations {
	name, log := s.table("revocations"), s.table("log")
	r := revocations{DB: s, name: name, log: log}
	const columns = " (n, kind, issuer, id, epoch, expires) "
	r.next = "UPDATE " + log + " SET last_n = last_n + 1 WHERE one = 1"
	if s.dialect == Postgres {
		r.insert = s.bind("WITH c AS (" + r.next + " RETURNING last_n) INSERT INTO " + name + columns +
			"SELECT last_n, CAST(? AS BIGINT), CAST(? AS BYTEA), CAST(? AS BYTEA), CAST(? AS BIGINT), CAST(? AS BIGINT) FROM c")
	} else {
		r.insert = "INSERT INTO " + name + columns + "SELECT last_n, ?, ?, ?, ?, ? FROM " + log + " WHERE one = 1"
	}

	// One statement reads identity, end and entries as they are at one moment. A
	// cursor of another log, or behind the end, is 0: the beginning.
	after := "CASE WHEN l.log_id = ? AND l.last_n >= ? THEN ? ELSE 0 END"
	join := name + " r ON r.n > " + after
	order := " WHERE l.one = 1 ORDER BY r.n LIMIT ?"
	if s.dialect == Postgres {
		// It would sort the whole rest of the log for each part, if it were not told
		// to go by the key.
		after = "CASE WHEN l.log_id = CAST(? AS TEXT) AND l.last_n >= CAST(? AS BIGINT) THEN CAST(? AS BIGINT) ELSE 0 END"
		join = "LATERAL (SELECT * FROM " + name + " e WHERE e.n > " + after + " ORDER BY e.n LIMIT CAST(? AS BIGINT)) r ON TRUE"
		order = " WHERE l.one = 1 ORDER BY r.n"
	}
	r.since = s.bind("SELECT l.log_id, l.last_n, r.n, r.kind, r.issuer, r.id, r.epoch, r.expires FROM " + log + " l LEFT JOIN " + join + order)
	return r
}

// errNoLog: Append, Since and NewLog found no row of the log.
var errNoLog = errors.New("there is no log; call Migrate")

// Append implements [revoke.Store].
func (r *revocations) Append(ctx context.Context, e revoke.Entry) error {
	expires, err := micros(e.Expires)
	switch {
	case e.Kind < revoke.Token || e.Kind > revoke.Container:
		err = fmt.Errorf("it is of kind %d", e.Kind)
	case e.ID == "":
		err = errors.New("its id is empty")
	case len(e.ID) > revoke.MaxText || len(e.Issuer) > revoke.MaxText:
		err = fmt.Errorf("its id has %d bytes and its issuer %d, and %d are the most", len(e.ID), len(e.Issuer), revoke.MaxText)
	}
	if err == nil {
		// Bytes: an id may be anything, and texts of databases may not.
		err = r.append(ctx, int64(e.Kind), []byte(e.Issuer), []byte(e.ID), e.Epoch, expires)
	}
	if err != nil {
		return fmt.Errorf("sqlstore: appending a revocation: %w", err)
	}
	return nil
}

func (r *revocations) append(ctx context.Context, args ...any) error {
	if r.dialect == Postgres {
		return one(r.db.ExecContext(ctx, r.insert, args...))
	}
	// It begins with a write, and with the row that all want: SQLite then waits for
	// the lock, where one that has read first would fail at once, and InnoDB has no
	// snapshot yet that could be too old.
	tx, err := r.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	if err := one(tx.ExecContext(ctx, r.next)); err != nil {
		return err
	}
	if err := one(tx.ExecContext(ctx, r.insert, args...)); err != nil {
		return err
	}
	return tx.Commit()
}

// one requires that a statement found the row of the log.
func one(done sql.Result, err error) error {
	if err != nil {
		return err
	}
	n, err := done.RowsAffected()
	if err == nil && n != 1 {
		err = errNoLog
	}
	return err
}

// maxPart is how many entries Since returns at most, however many are asked for.
const maxPart = 10_000

// Since implements [revoke.Store], by one statement.
func (r *revocations) Since(ctx context.Context, cursor string, limit int) (revoke.Part, error) {
	part, err := r.part(ctx, cursor, max(1, min(limit, maxPart)))
	if err != nil {
		return revoke.Part{}, fmt.Errorf("sqlstore: reading the log of revocations: %w", err)
	}
	return part, nil
}

func (r *revocations) part(ctx context.Context, cursor string, limit int) (revoke.Part, error) {
	id, after := place(cursor)
	got, err := r.read(ctx, id, after, limit+1)
	for err == nil && got.hasGap() {
		// Somebody purged, or it is MariaDB, whose picture of who has committed is not
		// of one moment while it is busy: it was seen to show an entry, and not the one
		// before. That one had been committed when this one got its number, so that
		// a statement that begins now shows it: up to the last number of before,
		// what it shows is all there is.
		sure := got
		if got, err = r.read(ctx, id, after, limit+1); got.logID == sure.logID {
			got = got.upTo(sure.last())
			break
		}
	}
	if err != nil {
		return revoke.Part{}, err
	}
	part := revoke.Part{More: len(got.entries) > limit || got.cut}
	after = got.after
	for _, e := range got.entries[:min(limit, len(got.entries))] {
		part.Entries, after = append(part.Entries, e.Entry), e.n
	}
	part.Cursor = got.logID + "/" + strconv.FormatInt(after, 10)
	return part, nil
}

// reading is what one statement shows of a log: entries in the order of their
// numbers, which begin behind after.
type reading struct {
	logID   string
	after   int64
	entries []numbered
	cut     bool // there are more
}

type numbered struct {
	revoke.Entry
	n int64
}

func (r reading) hasGap() bool {
	return len(r.entries) > 0 && r.last()-r.after != int64(len(r.entries))
}

func (r reading) last() int64 { return r.entries[len(r.entries)-1].n }

func (r reading) upTo(n int64) reading {
	end := slices.IndexFunc(r.entries, func(e numbered) bool { return e.n > n })
	if end >= 0 {
		r.entries, r.cut = r.entries[:end], true
	}
	return r
}

func (r *revocations) read(ctx context.Context, id string, after int64, limit int) (got reading, err error) {
	rows, err := r.db.QueryContext(ctx, r.since, id, after, after, limit)
	if err != nil {
		return got, err
	}
	defer rows.Close()
	for rows.Next() {
		var last int64
		var n, kind, epoch, expires sql.NullInt64
		var issuer, entryID []byte
		if err := rows.Scan(&got.logID, &last, &n, &kind, &issuer, &entryID, &epoch, &expires); err != nil {
			return got, err
		}
		if len(got.entries) == 0 && got.logID == id && after <= last {
			got.after = after
		}
		if !n.Valid {
			break // the row of the log alone: nothing follows
		}
		e := numbered{revoke.Entry{Kind: revoke.Kind(kind.Int64), Issuer: string(issuer), ID: string(entryID), Epoch: epoch.Int64}, n.Int64}
		if e.Expires, err = moment(expires.Int64); err != nil {
			return got, err
		}
		before := got.after
		if len(got.entries) > 0 {
			before = got.last()
		}
		if !kind.Valid || !epoch.Valid || !expires.Valid || e.n <= before {
			return got, fmt.Errorf("entry %d is not one", e.n)
		}
		got.entries = append(got.entries, e)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return got, err
	}
	if got.logID == "" {
		return got, errNoLog
	}
	return got, nil
}

// place takes a cursor apart: the log's identity, and the number of the entry that
// it stands behind. What is no cursor is of no log.
func place(cursor string) (id string, n int64) {
	id, number, _ := strings.Cut(cursor, "/")
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n < 0 || !isLogID(id) {
		return "", 0
	}
	return id, n
}

func newLogID() string { return rand.Text() }

// isLogID keeps from the database what it might choke on.
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

// NewLog gives the log of revocations a new identity, so that every list that
// follows it reads all of it again. Nothing is deleted.
//
// Call it once after the database was put back from a backup, or an asynchronous
// replica took over, before services write to it again. A list whose place lies
// behind the end of the older log notices by itself, and reads all again. One that
// looks only after the log has grown past that place does not: it would miss the
// entries that took the numbers of those that were lost, without knowing.
// What was lost is lost: revoke it again.
func (s *DB) NewLog(ctx context.Context) error {
	if err := one(s.db.ExecContext(ctx, s.bind("UPDATE "+s.table("log")+" SET log_id = ? WHERE one = 1"), newLogID())); err != nil {
		return fmt.Errorf("sqlstore: NewLog: %w", err)
	}
	return nil
}
