package jwtauthtest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/revoke"
)

// TestRevocationStore tests what [revoke.Store] promises. newStore returns a new, empty
// log each time it is called. See "Testing a store" in the package comment.
func TestRevocationStore(t *testing.T, newStore func(t *testing.T) revoke.Store) {
	for _, check := range []struct {
		name string
		run  func(t *testing.T, newStore func(t *testing.T) revoke.Store)
	}{
		{"entries come back as they were", entriesComeBack},
		{"entries that no list can interpret are rejected", hopelessEntries},
		{"an entry is seen once Append has returned", entriesAreSeenAtOnce},
		{"an entry may be added again", entriesMayBeAddedAgain},
		{"pages keep to the limit and say whether there is more", partsKeepToTheLimit},
		{"a cursor at the end stays good", endsStayGood},
		{"a cursor can be used again", cursorsGiveTheSameAgain},
		{"a cursor of another log starts from the beginning", foreignCursorsAreTheBeginning},
		{"a cursor past the end misses nothing", cursorsBehindTheEndMissNothing},
		{"Purge deletes only expired entries", purgeKeepsWhatIsLive},
		{"cursors stay good when something is purged", cursorsOutliveSome},
		{"cursors stay good when everything is purged", cursorsOutliveAll},
		{"a context that has ended is an error", endedContexts},
		{"the caller may modify what Since returned", partsAreCopies},
		{"logs are independent", logsAreApart},
		{"readers get each entry once during concurrent writes", readersFollowWriters},
		{"no live entry is lost during concurrent purges", purgesLoseNothing},
		{"lists over one log reject what one of them revoked", listsShareALog},
	} {
		t.Run(check.name, func(t *testing.T) { check.run(t, newStore) })
	}
}

const (
	// late is how much the Expires of an entry may grow in a store, which may round it up
	// to whole seconds.
	late = time.Second
	// maxParts is the most pages that a test reads. No log of these tests has so many.
	maxParts = 5000
)

var errNoEnd = fmt.Errorf("the log still has more after %d pages", maxParts)

// token returns an entry that is live for an hour.
func token(id string) revoke.Entry {
	return revoke.Entry{Kind: revoke.Token, Issuer: "https://api.example.com", ID: id, Expires: time.Now().Add(time.Hour)}
}

// expired returns an entry that expired an hour ago.
func expired(id string) revoke.Entry {
	e := token(id)
	e.Expires = time.Now().Add(-time.Hour)
	return e
}

// tokens returns n live entries.
func tokens(prefix string, n int) (entries []revoke.Entry) {
	for i := range n {
		entries = append(entries, token(fmt.Sprint(prefix, i)))
	}
	return entries
}

func add(t *testing.T, store revoke.Store, entries ...revoke.Entry) {
	t.Helper()
	for _, e := range entries {
		require.NoError(t, store.Append(t.Context(), e))
	}
}

// follow reads from a cursor to the end of the log. It never fails the test, so any
// goroutine may call it.
func follow(ctx context.Context, store revoke.Store, cursor string, limit int) (entries []revoke.Entry, end string, err error) {
	for range maxParts {
		page, err := store.Since(ctx, cursor, limit)
		if err != nil {
			return nil, "", err
		}
		if len(page.Entries) > limit {
			return nil, "", fmt.Errorf("Since returned %d entries, the limit is %d", len(page.Entries), limit)
		}
		entries, cursor = append(entries, page.Entries...), page.Cursor
		if !page.More {
			return entries, cursor, nil
		}
	}
	return nil, "", errNoEnd
}

// since is like follow, but fails the test on an error.
func since(t *testing.T, store revoke.Store, cursor string) (entries []revoke.Entry, end string) {
	t.Helper()
	entries, end, err := follow(t.Context(), store, cursor, 1000)
	require.NoError(t, err)
	return entries, end
}

// places returns the cursors before, between and after the entries of a log.
func places(t *testing.T, store revoke.Store) []string {
	t.Helper()
	cursors := []string{""}
	for range maxParts {
		page, err := store.Since(t.Context(), cursors[len(cursors)-1], 1)
		require.NoError(t, err)
		if len(page.Entries) > 0 {
			cursors = append(cursors, page.Cursor)
		}
		if !page.More {
			return cursors
		}
	}
	require.NoError(t, errNoEnd)
	return nil
}

// same requires that entries are equal. Expires may differ as far as stores are allowed to.
func same(t *testing.T, want, got []revoke.Entry, message ...any) {
	t.Helper()
	got = slices.Clone(got)
	for i := range min(len(want), len(got)) {
		least := want[i].Expires.Truncate(time.Microsecond)
		if e := got[i].Expires; !e.Before(least) && !e.After(want[i].Expires.Add(late)) {
			got[i].Expires = want[i].Expires
		}
	}
	if len(want) == 0 {
		require.Empty(t, got, message...)
		return
	}
	require.Equal(t, want, got, message...)
}

// live returns the entries that have not expired. Purge must keep them.
func live(entries []revoke.Entry) []revoke.Entry {
	return slices.DeleteFunc(slices.Clone(entries), func(e revoke.Entry) bool { return e.Expires.Before(time.Now()) })
}

func ids(entries []revoke.Entry) []string {
	all := []string{} // not nil, so that two empty lists are equal
	for _, e := range entries {
		all = append(all, e.ID)
	}
	return all
}

// texts are issuers and IDs that stores are known to change or to confuse. A database that
// ignores case or trailing spaces by default confuses some of them.
var texts = []string{
	"alice", "Alice", "ALICE", "alice ", "alice  ", " alice", "alice\t", "alice\n", "\r\nalice", " ",
	"\u00e1lice", "a\u0301lice", "a\u0301lice ", "stra\u00dfe", "strasse", "\u017ftrasse", "\u0130", "i", "\u0131",
	"\x00", "alice\x00", "\x00alice", "alice\x00bob", "\xff\xfe", "alice\xff", "\xed\xa0\x80", "\ufffd", "\ufeffalice", "alice\u200b",
	"'", "\"", "`", "\\", "\\'", "'; DROP TABLE revocations; --", "%", "_", "$1", "?", "{}", "a:b", "a,b", "a|b", "a/b", "*",
	"0", "00", "-1", "1e3", "null", "NULL", "true", "\U0001f98a", "\U0001f468\u200d\U0001f469\u200d\U0001f467",
	strings.Repeat("x", revoke.MaxText), strings.Repeat("x", revoke.MaxText-1) + "y",
	strings.Repeat("\xff", revoke.MaxText), strings.Repeat("\x00", revoke.MaxText), strings.Repeat("\U0001f98a", revoke.MaxText/4),
}

func entriesComeBack(t *testing.T, newStore func(t *testing.T) revoke.Store) {
	soon := time.Now().Add(time.Hour)
	var varied []revoke.Entry
	for _, kind := range []revoke.Kind{revoke.Token, revoke.Session, revoke.Subject, revoke.Container, revoke.Access} {
		for _, issuer := range []string{"", "https://api.example.com"} {
			varied = append(varied, revoke.Entry{Kind: kind, Issuer: issuer, ID: "alice", Expires: soon})
		}
	}
	last := time.Date(9999, time.December, 31, 23, 59, 58, 999_999_000, time.UTC) // plus late, it is still in 9999
	for _, epoch := range []int64{-1, 1, time.Now().UnixMicro(), 1<<53 + 1, last.UnixMicro()} {
		varied = append(varied, revoke.Entry{Kind: revoke.Subject, ID: fmt.Sprint("epoch ", epoch), Epoch: epoch, Expires: soon})
	}
	for name, expires := range map[string]time.Time{
		"of the last year":       last,
		"of 1970":                time.UnixMicro(1),
		"of before 2038":         time.Unix(1<<31-1, 0),
		"of after 2038":          time.Unix(1<<31, 0),
		"in the past":            time.Now().Add(-time.Hour),
		"of a whole second":      soon.Truncate(time.Second),
		"of a microsecond":       soon.Truncate(time.Second).Add(time.Microsecond),
		"just before a second":   soon.Truncate(time.Second).Add(time.Second - time.Microsecond),
		"of nanoseconds":         soon.Truncate(time.Second).Add(123_456_789),
		"in another time zone":   soon.In(time.FixedZone("UTC+14", 14*60*60)),
		"with a monotonic clock": time.Now().Add(time.Minute),
	} {
		varied = append(varied, revoke.Entry{Kind: revoke.Token, ID: "expires " + name, Expires: expires})
	}
	inTexts := func(entry func(text string) revoke.Entry) (entries []revoke.Entry) {
		for _, text := range texts {
			e := entry(text)
			e.Expires = soon
			entries = append(entries, e)
		}
		return entries
	}
	for _, log := range []struct {
		name    string
		entries []revoke.Entry
	}{
		{"kinds, epochs and expiries", varied},
		{"ids", inTexts(func(text string) revoke.Entry { return revoke.Entry{Kind: revoke.Token, ID: text} })},
		{"issuers", inTexts(func(text string) revoke.Entry { return revoke.Entry{Kind: revoke.Subject, Issuer: text, ID: "alice"} })},
		{"both", inTexts(func(text string) revoke.Entry { return revoke.Entry{Kind: revoke.Container, Issuer: text, ID: text} })},
	} {
		store := newStore(t)
		add(t, store, log.entries...)
		got, _ := since(t, store, "")
		same(t, log.entries, got, log.name)
	}
}

func entriesAreSeenAtOnce(t *testing.T, newStore func(t *testing.T) revoke.Store) {
	store := newStore(t)
	cursor := ""
	for i, e := range tokens("t", 10) {
		add(t, store, e)
		var next []revoke.Entry
		next, cursor = since(t, store, cursor)
		same(t, []revoke.Entry{e}, next, "from a cursor")
		all, _ := since(t, store, "")
		require.Len(t, all, i+1, "from the beginning")
	}
}

// entriesMayBeAddedAgain appends an entry several times. A store may keep it once or several
// times.
func entriesMayBeAddedAgain(t *testing.T, newStore func(t *testing.T) revoke.Store) {
	store := newStore(t)
	twice, other := token("twice"), token("other")
	add(t, store, twice, twice, other, twice)
	all, _ := since(t, store, "")
	got := ids(all)
	require.Contains(t, got, "twice")
	slices.Sort(got)
	require.Equal(t, []string{"other", "twice"}, slices.Compact(got))
}

func partsKeepToTheLimit(t *testing.T, newStore func(t *testing.T) revoke.Store) {
	const entries = 6
	store, want := newStore(t), tokens("t", entries)
	page, err := store.Since(t.Context(), "", 1)
	require.NoError(t, err)
	require.Empty(t, page.Entries, "an empty log")
	require.False(t, page.More, "an empty log")

	add(t, store, want...)
	for _, limit := range []int{1, 2, 3, entries - 1, entries, entries + 1, 10_000} {
		var got []revoke.Entry
		for cursor, more := "", true; more; {
			page, err := store.Since(t.Context(), cursor, limit)
			require.NoError(t, err)
			require.LessOrEqual(t, len(page.Entries), limit)
			require.NotEmpty(t, page.Entries, "limit %d: nothing after %d of %d", limit, len(got), entries)
			got = append(got, page.Entries...)
			require.Equal(t, len(got) < entries, page.More, "limit %d: More after %d of %d", limit, len(got), entries)
			cursor, more = page.Cursor, page.More
		}
		same(t, want, got, "limit %d", limit)
	}
}

func endsStayGood(t *testing.T, newStore func(t *testing.T) revoke.Store) {
	store := newStore(t)
	var ends []string
	var missing [][]revoke.Entry // for each of ends, the entries appended after it
	for _, e := range tokens("t", 4) {
		cursor := ""
		for range 3 {
			var got []revoke.Entry
			_, cursor = since(t, store, cursor)
			got, cursor = since(t, store, cursor)
			same(t, nil, got, "at the end")
			ends, missing = append(ends, cursor), append(missing, nil)
		}
		add(t, store, e)
		for i, end := range ends {
			missing[i] = append(missing[i], e)
			got, _ := since(t, store, end)
			same(t, missing[i], got, "from a cursor that was the end")
		}
	}
}

func cursorsGiveTheSameAgain(t *testing.T, newStore func(t *testing.T) revoke.Store) {
	store, want := newStore(t), tokens("t", 5)
	add(t, store, want...)
	for range 2 {
		cursors := places(t, store)
		require.Len(t, cursors, len(want)+1)
		for _, i := range []int{5, 0, 3, 1, 4, 2, 2} {
			got, _ := since(t, store, cursors[i])
			same(t, want[i:], got, "after %d entries", i)
		}
	}
}

func foreignCursorsAreTheBeginning(t *testing.T, newStore func(t *testing.T) revoke.Store) {
	store, want := newStore(t), tokens("t", 3)
	add(t, store, want...)
	foreign := []string{
		"0", "1", "2", "3", "4", "-1", "18446744073709551616", strings.Repeat("9", 10_000), strings.Repeat("x", 100_000),
		" ", "/", "/1", "1/1", ":", "0-0", "1-1", "9999999999999-0", "$", "+", "-", ">", "*", "(1", "null", "{}",
		"garbage", "\x00", "\xff\xfe", "\U0001f98a", "'", "'; DROP TABLE revocations; --", "%00", "\n",
	}
	for _, length := range []int{0, 1, len(want), 2 * len(want)} {
		other := newStore(t)
		add(t, other, tokens("other", length)...)
		_, end := since(t, other, "")
		foreign = append(append(foreign, end), places(t, other)...)
	}
	for _, cursor := range foreign {
		name := fmt.Sprintf("%.60q", cursor)
		got, end := since(t, store, cursor)
		same(t, want, got, name)
		got, _ = since(t, store, end)
		same(t, nil, got, "the end that is reached from %s", name)
	}
}

// cursorsBehindTheEndMissNothing appends a digit to a cursor, since it does not know the
// format of cursors. If the cursor ends in a number, the result lies past the end. Otherwise
// the result is a foreign cursor, or an equal one.
func cursorsBehindTheEndMissNothing(t *testing.T, newStore func(t *testing.T) revoke.Store) {
	store := newStore(t)
	add(t, store, tokens("t", 3)...)
	for _, suffix := range []string{"0", "1", "9", "99"} {
		_, end := since(t, store, "")
		_, cursor := since(t, store, end+suffix)
		e := token("after " + suffix)
		add(t, store, e)
		got, _ := since(t, store, cursor)
		require.Contains(t, ids(got), e.ID, "the cursor %q with the suffix %q", end, suffix)
	}
}

func purgeKeepsWhatIsLive(t *testing.T, newStore func(t *testing.T) revoke.Store) {
	now := time.Now().Truncate(time.Second)
	at := func(id string, d time.Duration) revoke.Entry {
		e := token(id)
		e.Expires = now.Add(d)
		return e
	}
	entries := []revoke.Entry{
		at("an hour ago", -time.Hour), at("in an hour", time.Hour), at("just now", 0), at("a microsecond ago", -time.Microsecond),
		at("within the second", 500*time.Millisecond), at("in a microsecond", time.Microsecond), at("in an hour again", time.Hour),
	}
	store := newStore(t)
	require.NoError(t, store.Purge(t.Context(), now), "Purge of an empty log")
	add(t, store, entries...)
	for _, d := range []time.Duration{-24 * time.Hour, -time.Hour, 0, time.Microsecond, time.Minute} {
		before := now.Add(d)
		for range 2 {
			require.NoError(t, store.Purge(t.Context(), before))
		}
		isExpired := func(e revoke.Entry) bool { return e.Expires.Before(before) }
		got, _ := since(t, store, "")
		// Expires may come back later than given, so compare IDs.
		stays := ids(slices.DeleteFunc(slices.Clone(entries), isExpired))
		got = slices.DeleteFunc(got, func(e revoke.Entry) bool { return !slices.Contains(stays, e.ID) })
		require.Equal(t, stays, ids(got), "the entries that are left after Purge at %v", d)
	}
}

func cursorsOutliveSome(t *testing.T, newStore func(t *testing.T) revoke.Store) {
	store := newStore(t)
	entries := []revoke.Entry{
		expired("e0"), token("t0"), expired("e1"), expired("e2"), token("t1"), token("t2"), expired("e3"), expired("e4"),
	}
	add(t, store, entries...)
	cursors := places(t, store)
	require.Len(t, cursors, len(entries)+1)
	require.NoError(t, store.Purge(t.Context(), time.Now()))
	// Append more entries than were purged. If the store used a number again, a reader
	// would miss an entry.
	for round := range entries {
		for i, cursor := range cursors {
			got, _ := since(t, store, cursor)
			same(t, live(entries[i:]), live(got), "after %d entries, %d after the purge", i, round)
		}
		e := token(fmt.Sprint("after ", round))
		entries = append(entries, e)
		add(t, store, e)
	}
}

func cursorsOutliveAll(t *testing.T, newStore func(t *testing.T) revoke.Store) {
	store := newStore(t)
	const purged = 4
	for i := range purged {
		add(t, store, expired(fmt.Sprint("e", i)))
	}
	cursors := places(t, store)
	require.Len(t, cursors, purged+1)
	require.NoError(t, store.Purge(t.Context(), time.Now()))
	_, emptied := since(t, store, "")
	_, end := since(t, store, cursors[purged])
	cursors = append(cursors, emptied, end)
	var entries []revoke.Entry
	for _, e := range tokens("t", 2*purged) {
		entries = append(entries, e)
		add(t, store, e)
		for i, cursor := range cursors {
			got, _ := since(t, store, cursor)
			same(t, entries, live(got), "cursor %d, %d after the purge", i, len(entries))
		}
	}
}

func endedContexts(t *testing.T, newStore func(t *testing.T) revoke.Store) {
	store := newStore(t)
	add(t, store, token("before"))
	_, end := since(t, store, "")
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	late, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	for _, ended := range []struct {
		name string
		ctx  context.Context
	}{{"cancelled", cancelled}, {"past its deadline", late}} {
		for _, call := range []struct {
			name string
			do   func(ctx context.Context) error
		}{
			{"Append", func(ctx context.Context) error { return store.Append(ctx, token("with a context that ended")) }},
			{"Since the beginning", func(ctx context.Context) error { _, err := store.Since(ctx, "", 10); return err }},
			{"Since the end", func(ctx context.Context) error { _, err := store.Since(ctx, end, 10); return err }},
			{"Purge", func(ctx context.Context) error { return store.Purge(ctx, time.Now()) }},
		} {
			returned := make(chan error, 1)
			go func() { returned <- call.do(ended.ctx) }()
			select {
			case err := <-returned:
				assert.Error(t, err, "%s, %s", call.name, ended.name)
			case <-time.After(30 * time.Second):
				require.Fail(t, "the call did not return", "%s, %s", call.name, ended.name)
			}
		}
	}
	after := token("after")
	add(t, store, after)
	got, _ := since(t, store, end)
	require.Contains(t, ids(got), after.ID, "the store must work as before")
}

func partsAreCopies(t *testing.T, newStore func(t *testing.T) revoke.Store) {
	store, want := newStore(t), tokens("t", 4)
	add(t, store, want...)
	for _, limit := range []int{2, 10} {
		page, err := store.Since(t.Context(), "", limit)
		require.NoError(t, err)
		for i := range page.Entries {
			page.Entries[i] = token("changed")
		}
		_ = append(page.Entries, token("changed"), token("changed"))
		got, _ := since(t, store, "")
		same(t, want, got)
	}
}

// hopelessEntries appends entries that no list can interpret. Such an entry would make every
// list stale that reads it, so a store must reject it.
func hopelessEntries(t *testing.T, newStore func(t *testing.T) revoke.Store) {
	store := newStore(t)
	for name, change := range map[string]func(e *revoke.Entry){
		"no kind":                    func(e *revoke.Entry) { e.Kind = 0 },
		"an unknown kind":            func(e *revoke.Entry) { e.Kind = 6 },
		"no id":                      func(e *revoke.Entry) { e.ID = "" },
		"an id that is too long":     func(e *revoke.Entry) { e.ID = strings.Repeat("x", revoke.MaxText+1) },
		"an issuer that is too long": func(e *revoke.Entry) { e.Issuer = strings.Repeat("x", revoke.MaxText+1) },
		"an epoch in nanoseconds":    func(e *revoke.Entry) { e.Epoch = time.Now().UnixNano() },
		"an expiry that overflows":   func(e *revoke.Entry) { e.Expires = time.Unix(1<<62, 0) },
		"an expiry in the 10000s":    func(e *revoke.Entry) { e.Expires = time.Date(10000, time.January, 1, 0, 0, 0, 0, time.UTC) },
		"an expiry before Christ":    func(e *revoke.Entry) { e.Expires = time.Unix(-1<<62, 0) },
	} {
		e := token("t")
		change(&e)
		require.Error(t, e.Validate(), name)
		require.Error(t, store.Append(t.Context(), e), name)
	}
	got, _ := since(t, store, "")
	require.Empty(t, got)
	add(t, store, token("t"))
}

func logsAreApart(t *testing.T, newStore func(t *testing.T) revoke.Store) {
	stores := [2]revoke.Store{newStore(t), newStore(t)}
	var want [len(stores)][]revoke.Entry
	_, start := since(t, stores[1], "")
	for i, log := range []int{0, 1, 0, 0, 1} {
		e := expired(fmt.Sprint("e", i))
		want[log] = append(want[log], e)
		add(t, stores[log], e)
		for log, store := range stores {
			got, _ := since(t, store, "")
			same(t, want[log], got)
		}
	}
	require.NoError(t, stores[0].Purge(t.Context(), time.Now()))
	for _, cursor := range []string{"", start} {
		got, _ := since(t, stores[1], cursor)
		same(t, want[1], got, "after a purge of another log")
	}
}

const writers, perWriter = 8, 50

// inParallel runs write for all entries of all writers, while readers follow the log. It
// returns the entries that each reader has read up to the end.
func inParallel(t *testing.T, store revoke.Store, write func(writer, n int) error) (read [3][]revoke.Entry) {
	t.Helper()
	var reading, writing sync.WaitGroup
	written := make(chan struct{})
	for r := range read {
		reading.Go(func() {
			for cursor, last := "", false; !last; {
				select {
				case <-written:
					last = true // this read sees all entries
				case <-time.After(time.Millisecond):
				}
				entries, end, err := follow(t.Context(), store, cursor, []int{2, 3, 7}[r])
				if !assert.NoError(t, err) {
					return
				}
				read[r], cursor = append(read[r], entries...), end
			}
		})
	}
	for w := range writers {
		writing.Go(func() {
			for n := range perWriter {
				if !assert.NoError(t, write(w, n)) {
					return
				}
			}
		})
	}
	writing.Wait()
	close(written)
	reading.Wait()
	return read
}

func readersFollowWriters(t *testing.T, newStore func(t *testing.T) revoke.Store) {
	store := newStore(t)
	// After each Append, the writer also reads up to its own entry. So writers reach the end
	// of the log more often than the readers do.
	var ends [writers]string
	var seen [writers][]revoke.Entry
	goOn := func(writer int) ([]revoke.Entry, error) {
		entries, end, err := follow(t.Context(), store, ends[writer], 100)
		ends[writer], seen[writer] = end, append(seen[writer], entries...)
		return entries, err
	}
	read := inParallel(t, store, func(writer, n int) error {
		e := token(fmt.Sprintf("w%d n%d", writer, n))
		if err := store.Append(t.Context(), e); err != nil {
			return err
		}
		entries, err := goOn(writer)
		if err == nil && !slices.Contains(ids(entries), e.ID) {
			err = fmt.Errorf("%s was appended, but Since does not return it", e.ID)
		}
		return err
	})
	var want []string
	for w := range writers {
		_, err := goOn(w)
		require.NoError(t, err)
		for n := range perWriter {
			want = append(want, fmt.Sprintf("w%d n%d", w, n))
		}
	}
	all, _ := since(t, store, "")
	order := ids(all)
	slices.Sort(want)
	require.Equal(t, want, slices.Sorted(slices.Values(order)), "the log must have each entry once")
	for _, entries := range slices.Concat(read[:], seen[:]) {
		got := ids(entries)
		assert.Equal(t, want, slices.Sorted(slices.Values(got)), "a reader must get each entry once")
		assert.Equal(t, order, got, "all readers must get the entries in the same order")
	}
}

func purgesLoseNothing(t *testing.T, newStore func(t *testing.T) revoke.Store) {
	store := newStore(t)
	read := inParallel(t, store, func(writer, n int) error {
		e := token(fmt.Sprintf("w%d n%d", writer, n))
		if n%2 == 1 {
			e = expired(e.ID)
		}
		if err := store.Append(t.Context(), e); err != nil || n%10 != 9 {
			return err
		}
		return store.Purge(t.Context(), time.Now())
	})
	var want []string
	for w := range writers {
		for n := 0; n < perWriter; n += 2 {
			want = append(want, fmt.Sprintf("w%d n%d", w, n))
		}
	}
	all, _ := since(t, store, "")
	order := ids(live(all))
	slices.Sort(want)
	require.Equal(t, want, slices.Sorted(slices.Values(order)), "the log must have each live entry once")
	for _, entries := range read {
		assert.Equal(t, order, ids(live(entries)), "a reader must get each live entry once")
		got := ids(entries)
		slices.Sort(got)
		assert.Equal(t, slices.Compact(slices.Clone(got)), got, "a reader must get no entry twice")
	}
}

// process holds the list and the Auth of one of several processes that share a log.
type process struct {
	list *revoke.List
	auth *jwtauth.Auth
}

// plain hides the type of a store, so that a list does not treat a revoke.Memory specially.
// It returns an error after maxParts reads, so that a log which never ends fails the test.
type plain struct {
	revoke.Store
	parts atomic.Int64
}

func (p *plain) Since(ctx context.Context, cursor string, limit int) (revoke.Page, error) {
	if p.parts.Add(1) > maxParts {
		return revoke.Page{}, errNoEnd
	}
	return p.Store.Since(ctx, cursor, limit)
}

func newProcess(t *testing.T, store revoke.Store) process {
	t.Helper()
	// With one hour, the list does not become stale even if the store is slow.
	list, err := revoke.New(&plain{Store: store}, revoke.WithStaleness(time.Hour))
	require.NoError(t, err)
	require.NoError(t, list.Sync(t.Context()))
	auth, err := jwtauth.New(Key(), jwtauth.WithIssuer("https://api.example.com"), jwtauth.WithRevocations(list))
	require.NoError(t, err)
	return process{list, auth}
}

// issue returns a token whose container, subject and session contain name.
func (p process) issue(t *testing.T, name string) string {
	t.Helper()
	issued, err := p.auth.Issue("container "+name, jwtauth.Subject("subject "+name))
	require.NoError(t, err)
	d, err := takeApart(issued)
	require.NoError(t, err)
	set(d.claims, "sid", "session "+name) // as jwtauth.SessionID does
	return d.sign()
}

func (p process) verify(t *testing.T, token string) (jwtauth.Claims, error) {
	t.Helper()
	return p.auth.VerifyAnyContainer(t.Context(), token)
}

func listsShareALog(t *testing.T, newStore func(t *testing.T) revoke.Store) {
	for _, revocation := range []struct {
		name    string
		forGood bool
		revoke  func(l *revoke.List, c jwtauth.Claims) error
	}{
		{"a token", false, func(l *revoke.List, c jwtauth.Claims) error {
			return l.RevokeToken(t.Context(), c.Issuer, c.ID, c.ExpiresAt)
		}},
		{"a session", true, func(l *revoke.List, c jwtauth.Claims) error {
			return l.RevokeSession(t.Context(), c.Issuer, c.SessionID)
		}},
		{"a subject", false, func(l *revoke.List, c jwtauth.Claims) error {
			return l.RevokeSubject(t.Context(), c.Issuer, c.Subject)
		}},
		{"a container", false, func(l *revoke.List, c jwtauth.Claims) error {
			return l.RevokeContainer(t.Context(), c.Issuer, c.Container)
		}},
	} {
		store := newStore(t)
		here, there := newProcess(t, store), newProcess(t, store)
		hit, other := here.issue(t, "hit"), there.issue(t, "other")
		claims, err := there.verify(t, hit)
		require.NoError(t, err)

		require.NoError(t, revocation.revoke(here.list, claims))
		require.NoError(t, there.list.Sync(t.Context()))
		all := []process{here, there, newProcess(t, store)}
		for i, p := range all {
			_, err := p.verify(t, hit)
			require.ErrorIs(t, err, jwtauth.ErrRevoked, "%s, in process %d", revocation.name, i)
			claims, err = p.verify(t, other)
			require.NoError(t, err, "a token that is unaffected by the revocation of %s, in process %d", revocation.name, i)
		}
		for i, p := range all {
			_, err := here.verify(t, p.issue(t, "hit"))
			require.Equal(t, revocation.forGood, err != nil, "%s, issued later by process %d: %v", revocation.name, i, err)
		}

		// Now the other direction: there revokes, and here reads.
		require.NoError(t, revocation.revoke(there.list, claims))
		require.NoError(t, here.list.Sync(t.Context()))
		_, err = here.verify(t, other)
		require.ErrorIs(t, err, jwtauth.ErrRevoked, revocation.name)
	}
}
