package redisstore

import (
	"context"
	"crypto/rand"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/joinednode/jwtauth/revoke"
)

// revocations is the [revoke.Store]. The entries are in a stream, and another key has the
// random identity of the log. The server numbers entries in the order in which they become
// visible. Purge deletes entries, but never the stream, since even an empty stream keeps
// its last number.
//
// A server that restarts or takes over may have lost entries, and may give their numbers
// to new entries. Such a server has a new replication ID. This ID is part of each cursor,
// so every reader starts again from the first entry.
type revocations struct {
	db   *DB
	keys []string // the key of the identity, and the key of the stream
}

func newRevocations(db *DB) revocations {
	tag := db.prefix + "{" + db.prefix + "log}:"
	return revocations{db, []string{tag + "identity", tag + "entries"}}
}

const (
	// maxPage is the most entries that one script reads or checks for purging. The server
	// does nothing else while a script runs, which takes a few milliseconds.
	maxPage = 500
	// start is the number before that of the first entry.
	start = "0-0"
)

var (
	// appendScript appends an entry. If either key is missing, the script gives the log a
	// new identity, since a new stream may use the numbers of the old one again.
	appendScript = redis.NewScript(`
if redis.call('EXISTS', KEYS[1], KEYS[2]) < 2 then redis.call('SET', KEYS[1], ARGV[1]) end
redis.call('XADD', KEYS[2], '*', 'kind', ARGV[2], 'iss', ARGV[3], 'id', ARGV[4], 'epoch', ARGV[5], 'exp', ARGV[6])
return 1
`)
	// sinceScript returns the identity of the log on this server, the last number, and the
	// entries after the cursor. If the log has lost its identity, the script gives it a new
	// one.
	sinceScript = redis.NewScript(later + `
redis.call('XDEL', KEYS[2], '0-0') -- a fence: see that of the sessions
local fresh, identity, ms, seq, count = unpack(ARGV)
local own = redis.call('GET', KEYS[1])
if redis.call('EXISTS', KEYS[2]) == 0 then return {own or '', '` + start + `', {}} end
if not own then
	own = fresh
	redis.call('SET', KEYS[1], own)
end
own = own .. '.' .. (redis.call('INFO', 'replication'):match('master_replid:(%w+)') or '')
local last
local info = redis.call('XINFO', 'STREAM', KEYS[2])
for i = 1, #info, 2 do
	if info[i] == 'last-generated-id' then last = info[i + 1] end
end
local lastMs, lastSeq = last:match('^(%d+)-(%d+)$')
local from = '-'
if identity == own and not later(ms, lastMs) and not (ms == lastMs and later(seq, lastSeq)) then
	from = '(' .. ms .. '-' .. seq
end
return {own, last, redis.call('XRANGE', KEYS[2], from, '+', 'COUNT', count)}
`)
	// purgeScript deletes the expired entries in one piece of the log. It returns where the
	// next piece begins, or "" at the end.
	purgeScript = redis.NewScript(later + `
local from, before, count = unpack(ARGV)
local entries = redis.call('XRANGE', KEYS[1], from, '+', 'COUNT', count)
local expired = {}
for _, entry in ipairs(entries) do
	local fields = entry[2]
	for i = 1, #fields, 2 do
		if fields[i] == 'exp' and later(before, fields[i + 1]) then expired[#expired + 1] = entry[1] end
	end
end
if #expired > 0 then redis.call('XDEL', KEYS[1], unpack(expired)) end
if #entries < tonumber(count) then return '' end
return '(' .. entries[#entries][1]
`)
)

// Append implements [revoke.Store].
func (r revocations) Append(ctx context.Context, e revoke.Entry) error {
	const what = "appending a revocation"
	err := e.Validate()
	var times []string
	if err == nil {
		times, err = micros(e.Expires)
	}
	if err != nil {
		return fmt.Errorf("redisstore: %s: %w", what, err)
	}
	_, err = r.db.run(ctx, what, appendScript, r.keys, rand.Text(),
		strconv.Itoa(int(e.Kind)), e.Issuer, e.ID, strconv.FormatInt(e.Epoch, 10), times[0])
	return err
}

// Since implements [revoke.Store]. It returns at most 500 entries, so that other clients of
// the server do not wait long.
func (r revocations) Since(ctx context.Context, cursor string, limit int) (revoke.Page, error) {
	const what = "reading revocations"
	limit = min(max(limit, 1), maxPage)
	identity, ms, seq := place(cursor)
	got, err := r.db.list(ctx, what, sinceScript, r.keys, rand.Text(), identity, ms, seq, strconv.Itoa(limit+1))
	if err != nil {
		return revoke.Page{}, err
	}
	if len(got) != 3 {
		return revoke.Page{}, unexpected(what, got)
	}
	own, isText := got[0].(string)
	end, isText2 := got[1].(string)
	entries, isList := got[2].([]any)
	if !isText || !isText2 || !isList || len(entries) > limit+1 || !number(end) {
		return revoke.Page{}, unexpected(what, got)
	}
	page := revoke.Page{More: len(entries) > limit}
	for _, entry := range entries[:min(limit, len(entries))] {
		e, at, err := read(what, entry)
		if err != nil {
			return revoke.Page{}, err
		}
		page.Entries = append(page.Entries, e)
		if page.More {
			end = at
		}
	}
	if own != "" {
		page.Cursor = own + "/" + end
	}
	return page, nil
}

// Purge implements [revoke.Store]. Entries are not in the order in which they expire, so
// Purge reads the whole log. It reads in pieces, so that other clients do not wait long.
// When ctx ends, the rest is left to the next purge.
func (r revocations) Purge(ctx context.Context, before time.Time) error {
	const what = "purging revocations"
	times, err := micros(before)
	if err != nil {
		return fmt.Errorf("redisstore: %s: %w", what, err)
	}
	for from := "-"; ; {
		value, err := r.db.run(ctx, what, purgeScript, r.keys[1:], from, times[0], strconv.Itoa(maxPage))
		if err != nil {
			return err
		}
		next, ok := value.(string)
		if next == "" && ok {
			return nil
		}
		if !ok || next == from || !number(strings.TrimPrefix(next, "(")) {
			return unexpected(what, value)
		}
		from = next
	}
}

// place parses a cursor. If the string is not a cursor, place returns an empty identity,
// which no log has. ms and seq have no leading zeros, so that the script can compare them.
func place(cursor string) (identity, ms, seq string) {
	identity, at, _ := strings.Cut(cursor, "/")
	if !number(at) || len(identity) > 128 {
		return "", "0", "0"
	}
	ms, seq, _ = strings.Cut(at, "-")
	return identity, ms, seq
}

// number reports whether a string is the number of an entry, in the form in which the
// server writes it.
func number(text string) bool {
	ms, seq, _ := strings.Cut(text, "-")
	for _, part := range []string{ms, seq} {
		n, err := strconv.ParseUint(part, 10, 64)
		if err != nil || strconv.FormatUint(n, 10) != part {
			return false
		}
	}
	return true
}

// read parses an entry of the stream, and also returns its number.
func read(what string, value any) (e revoke.Entry, at string, err error) {
	pair, ok := value.([]any)
	if !ok || len(pair) != 2 {
		return e, "", unexpected(what, value)
	}
	at, ok = pair[0].(string)
	f, isFields := texts(pair[1], 10)
	if !ok || !isFields || !number(at) || f[0] != "kind" || f[2] != "iss" || f[4] != "id" || f[6] != "epoch" || f[8] != "exp" {
		return e, "", unexpected(what, value)
	}
	kind, err1 := strconv.Atoi(f[1])
	epoch, err2 := strconv.ParseInt(f[7], 10, 64)
	expires, err3 := strconv.ParseInt(f[9], 10, 64)
	for _, err := range []error{err1, err2, err3} {
		if err != nil {
			return e, "", fmt.Errorf("redisstore: %s: entry %s: %w", what, at, err)
		}
	}
	return revoke.Entry{Kind: revoke.Kind(kind), Issuer: f[3], ID: f[5], Epoch: epoch, Expires: time.UnixMicro(expires).UTC()}, at, nil
}
