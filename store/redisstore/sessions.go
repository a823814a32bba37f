package redisstore

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/joinednode/jwtauth/session"
)

// sessions is the [session.Store]. Each session has a row, which is a Redis hash. Each
// subject has a sorted set of session IDs, in the order in which the rows expire. The keys
// have a digest of the subject as their hash tag, so that all keys of a script are in one
// slot of a cluster. Each row also contains the subject itself, and the scripts compare it.
//
// Times are decimal microseconds since 1970. The field op is the random name of the last
// step that changed the row. With it, a script recognises a step that the client sent
// twice.
type sessions struct{ db *DB }

// atOnce is the most rows that one script reads.
const atOnce = 200

const (
	// fence is a write that changes nothing. A replica rejects it, and so does a master with
	// fewer replicas than min-replicas-to-write. The whole script then fails, since the data
	// of such a server may be old.
	fence = `
redis.call('HDEL', KEYS[1], '-')
`
	// mine is a Lua function that reports whether the row exists and belongs to the subject.
	// A key that exists but has no subject is an error.
	mine = `
local function mine(row, subject)
	if not row[1] and redis.call('EXISTS', KEYS[1]) == 1 then
		error('the row has no subject')
	end
	return row[1] == subject
end
`
	// keep is a Lua function that returns when the row must expire, at least a day after its
	// session. It adds up to a week, so that most steps need not change the expiry, which
	// the script stores in the field "until". keep also lets the set of IDs expire with the
	// last of its rows, and removes the IDs of expired rows. A script calls keep before it
	// writes the row: a server without memory rejects only the first write of a script, and
	// a row without its ID could not be listed. Times here are in milliseconds.
	keep = later + `
local day = 86400000
local function keep(id, idle, most, known)
	idle, most = tonumber(idle) / 1000, tonumber(most) / 1000
	if known and tonumber(known) >= math.min(idle, most) + day then return known end
	local at = string.format('%.0f', math.ceil(math.min(idle + 7 * day, most)) + day)
	redis.call('ZADD', KEYS[2], at, id)
	redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', '(' .. redis.call('TIME')[1] .. '000')
	local last = redis.call('ZREVRANGE', KEYS[2], 0, 0, 'WITHSCORES')
	if last[2] then redis.call('PEXPIREAT', KEYS[2], string.format('%.0f', tonumber(last[2]))) end
	return at
end
`
	// fields lists the fields of a row. Rows of earlier versions lack the last two.
	fields = `'sub', 'gen', 'created', 'rotated', 'idle', 'max', 'revoked', 'reason', 'label', 'prev', 'given'`
	// nFields is the number of values that whole returns: the fields and the server's clock.
	nFields = 12
	// clock is a Lua function that returns the server's clock in microseconds.
	clock = `
local function clock()
	local now = redis.call('TIME')
	return tonumber(now[1]) * 1000000 + tonumber(now[2])
end
`
	// whole is a Lua function that sets the fields that rows of earlier versions lack, and
	// adds the server's clock.
	whole = clock + `
local function whole(row)
	row[10], row[11], row[12] = row[10] or '0', row[11] or '0', string.format('%.0f', clock())
	return row
end
`
)

var (
	createScript = redis.NewScript(keep + `
local subject, op, id, gen, created, rotated, idle, most, revoked, reason, label, prev, given = unpack(ARGV)
if redis.call('EXISTS', KEYS[1]) == 1 then
	return redis.call('HGET', KEYS[1], 'op') == op and 1 or 0
end
local at = keep(id, idle, most)
redis.call('HSET', KEYS[1], 'sub', subject, 'op', op, 'gen', gen, 'created', created, 'rotated', rotated,
	'idle', idle, 'max', most, 'revoked', revoked, 'reason', reason, 'label', label, 'prev', prev, 'given', given, 'until', at)
redis.call('PEXPIREAT', KEYS[1], at)
return 1
`)
	getScript = redis.NewScript(mine + whole + fence + `
local row = redis.call('HMGET', KEYS[1], ` + fields + `)
if not mine(row, ARGV[1]) then return {} end
return whole(row)
`)
	advanceScript = redis.NewScript(mine + keep + clock + `
local subject, op, id, before, gen, rotated, idle, now, prev, given, deadline = unpack(ARGV)
local row = redis.call('HMGET', KEYS[1], 'sub', 'gen', 'idle', 'max', 'revoked', 'op', 'until')
if not mine(row, subject) then return 0 end
if row[6] == op then return 1 end
if row[2] ~= before or row[5] ~= '' or not later(row[3], now) or not later(row[4], now) then return 0 end
if deadline ~= '' and clock() > tonumber(deadline) then return 0 end -- its caller has given up
local at = keep(id, idle, row[4], row[7])
if at == row[7] then
	redis.call('HSET', KEYS[1], 'op', op, 'gen', gen, 'prev', prev, 'rotated', rotated, 'given', given, 'idle', idle)
else
	redis.call('HSET', KEYS[1], 'op', op, 'gen', gen, 'prev', prev, 'rotated', rotated, 'given', given, 'idle', idle, 'until', at)
	redis.call('PEXPIREAT', KEYS[1], at)
end
return 1
`)
	revokeScript = redis.NewScript(mine + `
local subject, op, at, reason = unpack(ARGV)
local row = redis.call('HMGET', KEYS[1], 'sub', 'revoked', 'op')
if not mine(row, subject) then return 0 end
if row[3] == op then return 1 end
if row[2] ~= '' then return 0 end
redis.call('HSET', KEYS[1], 'op', op, 'revoked', at, 'reason', reason)
return 1
`)
	idsScript = redis.NewScript(`
redis.call('ZREM', KEYS[1], '-') -- a fence, too
return redis.call('ZRANGE', KEYS[1], 0, -1)
`)
	// rowsScript reads rows. The first key is the set of IDs. The other keys are those of
	// rows, and the arguments are the IDs of the rows. The script removes the IDs of expired
	// rows from the set.
	rowsScript = redis.NewScript(whole + `
local rows = {}
for i, id in ipairs(ARGV) do
	if redis.call('EXISTS', KEYS[i + 1]) == 0 then
		redis.call('ZREM', KEYS[1], id)
		rows[i] = {}
	else
		rows[i] = whole(redis.call('HMGET', KEYS[i + 1], ` + fields + `))
	end
end
return rows
`)
)

// tag returns the hash tag of a subject's keys. If two subjects have the same tag, they
// share a slot and a set of IDs, and nothing else.
func (s sessions) tag(subject string) string {
	sum := sha256.Sum256([]byte(subject))
	return s.db.prefix + "{" + base64.RawURLEncoding.EncodeToString(sum[:])[:22] + "}:"
}

func (s sessions) keys(subject, id string) []string {
	tag := s.tag(subject)
	return []string{tag + "s:" + id, tag + "ids"}
}

// Create implements [session.Store]. It returns an error if the same subject already has a
// session with this ID. It does not look for the ID under other subjects.
func (s sessions) Create(ctx context.Context, row session.Session) error {
	const what = "creating a session"
	times, err := micros(row.Created, row.Rotated, row.IdleExpires, row.MaxExpires, row.RevokedAt, row.Given)
	if err != nil {
		return fmt.Errorf("redisstore: %s: %w", what, err)
	}
	if row.RevokedAt.IsZero() {
		times[4] = ""
	}
	done, err := s.db.decide(ctx, what, createScript, s.keys(row.Subject, row.ID),
		row.Subject, rand.Text(), row.ID, strconv.FormatInt(row.Generation, 10), times[0], times[1], times[2], times[3], times[4], row.Reason, row.Label,
		strconv.FormatInt(row.Prev, 10), times[5])
	if err == nil && !done {
		err = fmt.Errorf("redisstore: %s: the id is taken", what)
	}
	return err
}

// Get implements [session.Store].
func (s sessions) Get(ctx context.Context, subject, id string) (session.Session, bool, error) {
	const what = "reading a session"
	asked := time.Now()
	fields, err := s.db.list(ctx, what, getScript, s.keys(subject, id)[:1], subject)
	if err != nil || len(fields) == 0 {
		return session.Session{}, false, err
	}
	row, err := parse(what, id, fields, asked)
	if err != nil {
		return session.Session{}, false, err
	}
	return row, true, nil
}

// Advance implements [session.Store].
func (s sessions) Advance(ctx context.Context, from, next session.Session, now time.Time) (bool, error) {
	const what = "advancing a session"
	times, err := micros(next.Rotated, next.IdleExpires, now, next.Given)
	if err != nil {
		return false, fmt.Errorf("redisstore: %s: %w", what, err)
	}
	until := "" // the deadline by the server's clock
	if deadline, bounded := ctx.Deadline(); bounded {
		until = strconv.FormatInt(deadline.Add(from.ClockAhead).UnixMicro(), 10)
	}
	return s.db.decide(ctx, what, advanceScript, s.keys(next.Subject, next.ID),
		next.Subject, rand.Text(), next.ID, strconv.FormatInt(from.Generation, 10), strconv.FormatInt(next.Generation, 10),
		times[0], times[1], times[2], strconv.FormatInt(next.Prev, 10), times[3], until)
}

// Revoke implements [session.Store].
func (s sessions) Revoke(ctx context.Context, subject, id, reason string, at time.Time) (bool, error) {
	const what = "ending a session"
	times, err := micros(at)
	if err == nil && at.IsZero() { // a zero time would mean that the session was not revoked
		err = errors.New("the time of its end is zero")
	}
	if err != nil {
		return false, fmt.Errorf("redisstore: %s: %w", what, err)
	}
	return s.db.decide(ctx, what, revokeScript, s.keys(subject, id)[:1], subject, rand.Text(), times[0], reason)
}

// List implements [session.Store]. It reads the IDs and then their rows, since a script
// must be given the keys that it reads. It may miss sessions that are created in between.
func (s sessions) List(ctx context.Context, subject string, now time.Time) ([]session.Session, error) {
	const what = "listing sessions"
	tag := s.tag(subject)
	found, err := s.db.list(ctx, what, idsScript, []string{tag + "ids"})
	if err != nil {
		return nil, err
	}
	ids, ok := texts(found, len(found))
	if !ok {
		return nil, unexpected(what, found)
	}
	var all []session.Session
	for some := range slices.Chunk(ids, atOnce) {
		keys, args := []string{tag + "ids"}, []any{}
		for _, id := range some {
			keys, args = append(keys, tag+"s:"+id), append(args, id)
		}
		asked := time.Now()
		rows, err := s.db.list(ctx, what, rowsScript, keys, args...)
		if err != nil {
			return nil, err
		}
		if len(rows) != len(some) {
			return nil, unexpected(what, rows)
		}
		for i, fields := range rows {
			if gone, ok := fields.([]any); ok && len(gone) == 0 {
				continue
			}
			row, err := parse(what, some[i], fields, asked)
			if err != nil {
				return nil, err
			}
			row.ClockAhead = 0 // only Advance uses it
			if row.Subject == subject && row.RevokedAt.IsZero() && now.Before(row.IdleExpires) && now.Before(row.MaxExpires) {
				all = append(all, row)
			}
		}
	}
	return all, nil
}

// Purge implements [session.Store]. It does nothing: rows expire on their own, one to
// eight days after the sessions.
func (s sessions) Purge(ctx context.Context, _ time.Time) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("redisstore: purging sessions: %w", err)
	}
	return nil
}

// parse parses a row. asked is the time at which the script was sent, for ClockAhead.
func parse(what, id string, fields any, asked time.Time) (session.Session, error) {
	f, ok := texts(fields, nFields)
	if !ok {
		return session.Session{}, unexpected(what, fields)
	}
	var errs []error
	number := func(text string) int64 {
		n, err := strconv.ParseInt(text, 10, 64)
		errs = append(errs, err)
		return n
	}
	moment := func(text string) time.Time { return time.UnixMicro(number(text)).UTC() }
	s := session.Session{
		ID: id, Subject: f[0], Generation: number(f[1]), Created: moment(f[2]), Rotated: moment(f[3]),
		IdleExpires: moment(f[4]), MaxExpires: moment(f[5]), Reason: f[7], Label: f[8], Prev: number(f[9]), Given: moment(f[10]),
		ClockAhead: moment(f[11]).Sub(asked),
	}
	if f[6] != "" {
		if s.RevokedAt = moment(f[6]); s.RevokedAt.IsZero() {
			errs = append(errs, errors.New("the row was revoked in the year 1"))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return session.Session{}, fmt.Errorf("redisstore: %s: %w", what, err)
	}
	return s, nil
}
