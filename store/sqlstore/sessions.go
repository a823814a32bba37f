package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/joinednode/jwtauth/session"
)

// These are the sizes of columns, in bytes. This package checks them itself, since MySQL
// without strict mode truncates a longer value, and two values could become equal.
const (
	maxID     = 64
	maxReason = 32
	maxLabel  = 256
)

// sessions is the [session.Store]. Its table has a row for each session, with nothing
// secret. The column revoked_at is 0 if the session was not revoked.
type sessions struct {
	*DB
	name                             string
	create, get, advance, end, ofOne string
}

func newSessions(s *DB) sessions {
	const columns = "id, subject, gen, prev, created, rotated, given, idle_exp, max_exp, revoked_at, reason, label"
	name, extra := s.table("sessions"), s.replica()+", "+s.clock()
	return sessions{
		DB: s, name: name,
		create: s.bind("INSERT INTO " + name + " (" + columns + ") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"),
		get:    s.bind("SELECT " + columns + ", " + extra + " FROM " + name + " WHERE id = ? AND subject = ?"),
		// The database compares the generation after it has locked the row, so only one of
		// many concurrent statements finds the generation that it expects. gen or given
		// always changes, since MySQL does not count a row that stays the same. MySQL and
		// SQLite read the clock after they have waited for the lock. PostgreSQL reads the
		// clock before, but its driver cancels a statement at the deadline.
		advance: s.bind("UPDATE " + name + " SET gen = ?, prev = ?, rotated = ?, given = ?, idle_exp = ?" +
			" WHERE id = ? AND subject = ? AND gen = ? AND revoked_at = 0 AND idle_exp > ? AND max_exp > ? AND " + s.clock() + " <= ?"),
		end:   s.bind("UPDATE " + name + " SET revoked_at = ?, reason = ? WHERE id = ? AND subject = ? AND revoked_at = 0"),
		ofOne: s.bind("SELECT " + columns + ", " + extra + " FROM " + name + " WHERE subject = ? AND revoked_at = 0 AND idle_exp > ? AND max_exp > ?"),
	}
}

// fits returns an error for a string that some database cannot store. PostgreSQL requires
// UTF-8 without NUL.
func fits(name, s string, most int) error {
	if len(s) > most {
		return fmt.Errorf("the %s has %d bytes, and %d are the most", name, len(s), most)
	}
	if !utf8.ValidString(s) || strings.ContainsRune(s, 0) {
		return fmt.Errorf("the %s is not UTF-8, or has a NUL", name)
	}
	return nil
}

// absent reports whether no database can hold a session with these strings. A client can
// send any string. Without this check some of them would be errors of the database, and
// look like an outage.
func absent(subject, id string) bool {
	return fits("id", id, maxID) != nil || fits("subject", subject, session.MaxText) != nil
}

// ended returns the value of revoked_at for the time of a revocation. The value is never 0,
// which would mean that the session was not revoked.
func ended(at time.Time) (int64, error) {
	if at.IsZero() {
		return 0, errors.New("the time of a session's end is zero")
	}
	us, err := micros(at)
	if us == 0 {
		us = 1 // the next microsecond
	}
	return us, err
}

// Create implements [session.Store].
func (s *sessions) Create(ctx context.Context, row session.Session) error {
	var revokedAt int64
	created, err1 := micros(row.Created)
	rotated, err2 := micros(row.Rotated)
	idle, err3 := micros(row.IdleExpires)
	most, err4 := micros(row.MaxExpires)
	given, err5 := micros(row.Given)
	err := errors.Join(err1, err2, err3, err4, err5, fits("id", row.ID, maxID), fits("subject", row.Subject, session.MaxText),
		fits("reason", row.Reason, maxReason), fits("label", row.Label, maxLabel))
	if !row.RevokedAt.IsZero() {
		var err6 error
		revokedAt, err6 = ended(row.RevokedAt)
		err = errors.Join(err, err6)
	}
	if err == nil {
		_, err = s.changed(ctx, s.create, s.text(row.ID), s.text(row.Subject), row.Generation, row.Prev, created, rotated, given, idle, most, revokedAt, s.text(row.Reason), s.text(row.Label))
	}
	if err != nil {
		return fmt.Errorf("sqlstore: creating a session: %w", err)
	}
	return nil
}

// Get implements [session.Store].
func (s *sessions) Get(ctx context.Context, subject, id string) (session.Session, bool, error) {
	if absent(subject, id) {
		return session.Session{}, false, ctx.Err()
	}
	found, err := s.read(ctx, s.get, s.text(id), s.text(subject))
	if err != nil {
		return session.Session{}, false, fmt.Errorf("sqlstore: reading a session: %w", err)
	}
	if len(found) == 0 {
		return session.Session{}, false, nil
	}
	return found[0], true, nil
}

// Advance implements [session.Store], by one UPDATE.
func (s *sessions) Advance(ctx context.Context, from, next session.Session, now time.Time) (bool, error) {
	if absent(next.Subject, next.ID) {
		return false, ctx.Err()
	}
	rotated, err1 := micros(next.Rotated)
	idle, err2 := micros(next.IdleExpires)
	at, err3 := micros(now)
	given, err4 := micros(next.Given)
	until := lastMoment // the deadline by the server's clock
	if deadline, bounded := ctx.Deadline(); bounded {
		until = min(deadline.Add(from.ClockAhead).UnixMicro(), until)
	}
	err := errors.Join(err1, err2, err3, err4)
	var n int64
	if err == nil {
		n, err = s.changed(ctx, s.advance, next.Generation, next.Prev, rotated, given, idle, s.text(next.ID), s.text(next.Subject), from.Generation, at, at, until)
	}
	if err != nil {
		return false, fmt.Errorf("sqlstore: advancing a session: %w", err)
	}
	return n == 1, nil
}

// Revoke implements [session.Store], by one UPDATE.
func (s *sessions) Revoke(ctx context.Context, subject, id, reason string, at time.Time) (bool, error) {
	if absent(subject, id) {
		return false, ctx.Err()
	}
	us, err := ended(at)
	err = errors.Join(err, fits("reason", reason, maxReason))
	var n int64
	if err == nil {
		n, err = s.changed(ctx, s.end, us, s.text(reason), s.text(id), s.text(subject))
	}
	if err != nil {
		return false, fmt.Errorf("sqlstore: ending a session: %w", err)
	}
	return n == 1, nil
}

// List implements [session.Store].
func (s *sessions) List(ctx context.Context, subject string, now time.Time) ([]session.Session, error) {
	if absent(subject, "") {
		return nil, ctx.Err()
	}
	at, err := micros(now)
	var all []session.Session
	if err == nil {
		all, err = s.read(ctx, s.ofOne, s.text(subject), at, at)
	}
	if err != nil {
		return nil, fmt.Errorf("sqlstore: listing sessions: %w", err)
	}
	for i := range all {
		all[i].ClockAhead = 0 // only Advance uses it
	}
	return all, nil
}

// Purge implements [session.Store].
func (s *sessions) Purge(ctx context.Context, before time.Time) error {
	us, err := micros(before)
	if err == nil {
		err = purge[string](ctx, s.DB, s.name, "id", "idle_exp", us)
	}
	if err == nil {
		err = purge[string](ctx, s.DB, s.name, "id", "max_exp", us)
	}
	if err != nil {
		return fmt.Errorf("sqlstore: purging sessions: %w", err)
	}
	return nil
}

// read returns the sessions of a query. A malformed row is an error, and so is a server
// that may lag behind the primary.
func (s *sessions) read(ctx context.Context, query string, args ...any) (all []session.Session, err error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	asked := time.Now()
	rows, err := s.db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var row session.Session
		var created, rotated, given, idle, most, revoked, clock int64
		var replica int
		err := rows.Scan(&row.ID, &row.Subject, &row.Generation, &row.Prev, &created, &rotated, &given, &idle, &most, &revoked, &row.Reason, &row.Label, &replica, &clock)
		if err == nil && replica != 0 {
			err = errReplica
		}
		if err != nil {
			return nil, err
		}
		row.ClockAhead = time.UnixMicro(clock).Sub(asked)
		var errs [6]error
		row.Created, errs[0] = moment(created)
		row.Rotated, errs[1] = moment(rotated)
		row.IdleExpires, errs[2] = moment(idle)
		row.MaxExpires, errs[3] = moment(most)
		row.Given, errs[5] = moment(given)
		if revoked != 0 {
			row.RevokedAt, errs[4] = moment(revoked)
			if errs[4] == nil && row.RevokedAt.IsZero() { // to callers, a zero time means not revoked
				errs[4] = errors.New("the row was revoked in the year 1")
			}
		}
		if err := errors.Join(errs[:]...); err != nil {
			return nil, err
		}
		all = append(all, row)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return nil, err
	}
	if len(all) == 0 {
		return nil, s.primary(ctx)
	}
	return all, nil
}
