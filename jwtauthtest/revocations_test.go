package jwtauthtest_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/joinednode/jwtauth/jwtauthtest"
	"github.com/joinednode/jwtauth/revoke"
)

// around wraps a log. Each field that is not nil replaces a method.
type around struct {
	revoke.Store
	append func(ctx context.Context, log revoke.Store, e revoke.Entry) error
	since  func(ctx context.Context, log revoke.Store, cursor string, limit int) (revoke.Page, error)
	purge  func(ctx context.Context, log revoke.Store, before time.Time) error
}

func (a around) Append(ctx context.Context, e revoke.Entry) error {
	if a.append == nil {
		return a.Store.Append(ctx, e)
	}
	return a.append(ctx, a.Store, e)
}

func (a around) Since(ctx context.Context, cursor string, limit int) (revoke.Page, error) {
	if a.since == nil {
		return a.Store.Since(ctx, cursor, limit)
	}
	return a.since(ctx, a.Store, cursor, limit)
}

func (a around) Purge(ctx context.Context, before time.Time) error {
	if a.purge == nil {
		return a.Store.Purge(ctx, before)
	}
	return a.purge(ctx, a.Store, before)
}

// appending returns a log that changes entries before it stores them.
func appending(change func(e *revoke.Entry)) func() revoke.Store {
	return func() revoke.Store {
		return around{Store: revoke.NewMemory(), append: func(ctx context.Context, log revoke.Store, e revoke.Entry) error {
			change(&e)
			return log.Append(ctx, e)
		}}
	}
}

// reading returns a log whose Since is replaced by the function since.
func reading(since func(ctx context.Context, log revoke.Store, cursor string, limit int) (revoke.Page, error)) func() revoke.Store {
	return func() revoke.Store { return around{Store: revoke.NewMemory(), since: since} }
}

// answering is like reading, but only changes the page that Since returns.
func answering(change func(page *revoke.Page, limit int)) func() revoke.Store {
	return reading(func(ctx context.Context, log revoke.Store, cursor string, limit int) (revoke.Page, error) {
		page, err := log.Since(ctx, cursor, limit)
		change(&page, limit)
		return page, err
	})
}

// purging returns a log whose Purge deletes the wrong entries.
func purging(purge func(ctx context.Context, log revoke.Store, before time.Time) error) func() revoke.Store {
	return func() revoke.Store { return around{Store: revoke.NewMemory(), purge: purge} }
}

// table is a log like one in a database, with row numbers as cursors. A test inserts a flaw
// by replacing one of its functions.
type table struct {
	mu   sync.Mutex
	name string
	rows []row
	last int // the highest number in use

	// validate rejects entries that no list can interpret.
	validate func(e revoke.Entry) error
	// next returns the number of a new row.
	next func(t *table) int
	// place returns the number in a cursor, or 0 if the cursor is of another log.
	place func(t *table, cursor string) (int, error)
	// insert makes a row visible. The caller holds t.mu.
	insert func(t *table, r row)
	// served is called with the last number that a reader received. The caller holds t.mu.
	served func(t *table, number int)
	// purge deletes expired rows. The caller does not hold t.mu.
	purge func(t *table, before time.Time)
}

type row struct {
	number int
	revoke.Entry
}

var tables struct {
	sync.Mutex
	made int
}

// newTable returns a log without a flaw.
func newTable() *table {
	tables.Lock()
	defer tables.Unlock()
	tables.made++
	return &table{
		name:     strconv.Itoa(tables.made),
		validate: revoke.Entry.Validate,
		next:     func(t *table) int { return t.last + 1 },
		place: func(t *table, cursor string) (int, error) {
			name, number, _ := strings.Cut(cursor, "/")
			n, err := strconv.Atoi(number)
			if name != t.name || err != nil || n > t.last {
				n = 0
			}
			return n, nil
		},
		insert: func(t *table, r row) {
			t.rows = append(t.rows, r)
			slices.SortStableFunc(t.rows, func(a, b row) int { return cmp.Compare(a.number, b.number) })
		},
		served: func(*table, int) {},
		purge: func(t *table, before time.Time) {
			t.mu.Lock()
			defer t.mu.Unlock()
			t.rows = slices.DeleteFunc(t.rows, func(r row) bool { return r.Expires.Before(before) })
		},
	}
}

func (t *table) Append(ctx context.Context, e revoke.Entry) error {
	if err := t.validate(e); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last = t.next(t)
	t.insert(t, row{t.last, e})
	return ctx.Err()
}

func (t *table) Since(ctx context.Context, cursor string, limit int) (revoke.Page, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	after, err := t.place(t, cursor)
	if err != nil {
		return revoke.Page{}, err
	}
	var page revoke.Page
	for _, r := range t.rows {
		if r.number > after && len(page.Entries) < limit {
			page.Entries, after = append(page.Entries, r.Entry), r.number
		} else if r.number > after {
			page.More = true
		}
	}
	t.served(t, after)
	page.Cursor = t.name + "/" + strconv.Itoa(after)
	return page, ctx.Err()
}

func (t *table) Purge(ctx context.Context, before time.Time) error {
	t.purge(t, before)
	return ctx.Err()
}

// flawed returns a table with one flaw.
func flawed(change func(t *table)) func() revoke.Store {
	return func() revoke.Store {
		t := newTable()
		change(t)
		return t
	}
}

// held is the number of the row whose transaction stays open. Only tests with many writers
// have so many rows.
const held = 150

// numbersBeforeTheyAreVisible changes a table so that transactions end in another order than
// that of their numbers. One transaction stays open until a reader has passed its number.
func numbersBeforeTheyAreVisible(t *table) {
	past := make(chan struct{})
	var once sync.Once
	insert := t.insert
	t.insert = func(t *table, r row) {
		if r.number == held {
			t.mu.Unlock()
			<-past // other writers and readers continue meanwhile
			t.mu.Lock()
		}
		insert(t, r)
	}
	t.served = func(_ *table, number int) {
		if number > held {
			once.Do(func() { close(past) })
		}
	}
}

// purgesTheCopyThatItRead changes a table so that Purge writes back an earlier copy, and
// entries appended meanwhile are lost. In a log with many writers, the first Purge waits
// until a writer has appended a live entry. Until then, other calls of Purge do nothing.
func purgesTheCopyThatItRead(t *table) {
	const many = 10 // a writer appends so many entries before it purges; other checks append fewer
	var purging sync.Mutex
	waited := false
	t.purge = func(t *table, before time.Time) {
		if !purging.TryLock() {
			return
		}
		defer purging.Unlock()
		t.mu.Lock()
		defer t.mu.Unlock()
		last, rows := t.last, slices.Clone(t.rows)
		for last >= many && !waited {
			t.mu.Unlock()
			time.Sleep(time.Millisecond)
			t.mu.Lock()
			waited = slices.ContainsFunc(t.rows, func(r row) bool { return r.number > last && !r.Expires.Before(before) })
		}
		t.rows = slices.DeleteFunc(rows, func(r row) bool { return r.Expires.Before(before) })
	}
}

// oneBehind returns a log whose Append returns before its entry is visible. The next Append
// makes the entry visible.
func oneBehind() revoke.Store {
	var mu sync.Mutex
	var waiting []revoke.Entry
	return around{Store: revoke.NewMemory(), append: func(ctx context.Context, log revoke.Store, e revoke.Entry) error {
		mu.Lock()
		defer mu.Unlock()
		waiting = append(waiting, e)
		if len(waiting) == 1 {
			return ctx.Err()
		}
		e, waiting = waiting[0], waiting[1:]
		return log.Append(ctx, e)
	}}
}

// unique returns a log that keeps only the first of several entries with the same key. For
// the others, Append returns the error answer, which may be nil.
func unique(key func(e revoke.Entry) string, answer error) func() revoke.Store {
	return func() revoke.Store {
		var there sync.Map
		return around{Store: revoke.NewMemory(), append: func(ctx context.Context, log revoke.Store, e revoke.Entry) error {
			if _, again := there.LoadOrStore(key(e), true); again {
				return answer
			}
			return log.Append(ctx, e)
		}}
	}
}

// lender is a log whose Since returns a part of its own slice. It never deletes entries,
// which is allowed.
type lender struct {
	mu   sync.Mutex
	name string
	kept []revoke.Entry
}

func (l *lender) Append(ctx context.Context, e revoke.Entry) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if ctx.Err() == nil {
		l.kept = append(l.kept, e)
	}
	return ctx.Err()
}

func (l *lender) Since(ctx context.Context, cursor string, limit int) (revoke.Page, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	name, number, _ := strings.Cut(cursor, "/")
	after, err := strconv.Atoi(number)
	if name != l.name || err != nil || after > len(l.kept) {
		after = 0
	}
	end := min(after+limit, len(l.kept))
	return revoke.Page{Entries: l.kept[after:end], Cursor: l.name + "/" + strconv.Itoa(end), More: end < len(l.kept)}, ctx.Err()
}

func (l *lender) Purge(ctx context.Context, _ time.Time) error { return ctx.Err() }

// flaws holds logs with one defect each, and the checks that must find the defect.
var flaws = []flaw[revoke.Store]{
	{noFlaw, func() revoke.Store { return revoke.NewMemory() }, ""},
	{noFlaw + " of a table", flawed(func(*table) {}), ""},

	{"an id ends at a NUL", appending(func(e *revoke.Entry) { e.ID, _, _ = strings.Cut(e.ID+"\x00", "\x00") }), "entries come back as they were"},
	{"an id is in lower case", appending(func(e *revoke.Entry) { e.ID = strings.ToLower(e.ID) }), "entries come back as they were"},
	{"an id loses its last spaces", appending(func(e *revoke.Entry) { e.ID = strings.TrimRight(e.ID, " ") }), "entries come back as they were"},
	{"an id is made valid UTF-8", appending(func(e *revoke.Entry) { e.ID = strings.ToValidUTF8(e.ID, "\ufffd") }), "entries come back as they were"},
	{"an id is cut at 255 bytes", appending(func(e *revoke.Entry) { e.ID = e.ID[:min(len(e.ID), 255)] }), "entries come back as they were"},
	{"an issuer is cut at 1023 bytes", appending(func(e *revoke.Entry) { e.Issuer = e.Issuer[:min(len(e.Issuer), 1023)] }), "entries come back as they were"},
	{"the issuer is forgotten", appending(func(e *revoke.Entry) { e.Issuer = "" }), "entries come back as they were"},
	{"an empty issuer is NULL", appending(func(e *revoke.Entry) { e.Issuer = cmp.Or(e.Issuer, "NULL") }), "entries come back as they were"},
	{"an epoch is a float", appending(func(e *revoke.Entry) { e.Epoch = int64(float64(e.Epoch)) }), "entries come back as they were"},
	{"an epoch is in milliseconds", appending(func(e *revoke.Entry) { e.Epoch = e.Epoch / 1000 * 1000 }), "entries come back as they were"},
	{"an expiry is rounded down", appending(func(e *revoke.Entry) { e.Expires = e.Expires.Truncate(time.Second) }), "entries come back as they were"},
	{"an expiry is far too late", appending(func(e *revoke.Entry) { e.Expires = e.Expires.Add(time.Minute) }), "entries come back as they were"},
	{"an expiry has 32 bits", appending(func(e *revoke.Entry) { e.Expires = time.Unix(min(e.Expires.Unix(), 1<<31-1), 999_999_999) }), "entries come back as they were"},
	{"kinds are mixed up", appending(func(e *revoke.Entry) { e.Kind = 5 - e.Kind }), "entries come back as they were; lists over one log reject what one of them revoked"},
	{"a collation takes ids for one another", unique(func(e revoke.Entry) string { return strings.ToLower(fmt.Sprint(e.Kind, e.Issuer, e.ID)) }, nil), "entries come back as they were"},

	{"entries that no list can interpret are kept", flawed(func(t *table) { t.validate = func(revoke.Entry) error { return nil } }), "entries that no list can interpret are rejected"},
	{"entries that no list can interpret are kept, and an error", flawed(func(t *table) {
		t.validate = func(e revoke.Entry) error {
			err := e.Validate()
			if err != nil {
				t.mu.Lock()
				defer t.mu.Unlock()
				t.last = t.next(t)
				t.insert(t, row{t.last, e})
			}
			return err
		}
	}), "entries that no list can interpret are rejected"},
	{"Append returns too early", oneBehind, "an entry is seen once Append has returned; readers get each entry once during concurrent writes"},
	{"what is there already is an error", unique(func(e revoke.Entry) string { return fmt.Sprint(e.Kind, e.Issuer, e.ID) }, errors.New("duplicate key")), "an entry may be added again"},

	{"the limit is ignored", reading(func(ctx context.Context, log revoke.Store, cursor string, _ int) (revoke.Page, error) {
		return log.Since(ctx, cursor, 1000)
	}), "pages keep to the limit and say whether there is more"},
	{"More is always false", answering(func(page *revoke.Page, _ int) { page.More = false }), "pages keep to the limit and say whether there is more"},
	{"More is always true", answering(func(page *revoke.Page, _ int) { page.More = true }), "pages keep to the limit and say whether there is more"},
	{"More is true of a full page", answering(func(page *revoke.Page, limit int) { page.More = len(page.Entries) == limit }), "pages keep to the limit and say whether there is more"},
	{"the newest entry comes first", answering(func(page *revoke.Page, _ int) { slices.Reverse(page.Entries) }), "pages keep to the limit and say whether there is more"},

	{"the cursor at the end is empty", answering(func(page *revoke.Page, _ int) {
		if len(page.Entries) == 0 {
			page.Cursor = ""
		}
	}), "a cursor at the end stays good"},
	{"the last entry comes again", flawed(func(t *table) {
		place := t.place
		t.place = func(t *table, cursor string) (int, error) {
			n, err := place(t, cursor)
			if n == t.last {
				n--
			}
			return n, err
		}
	}), "a cursor at the end stays good; readers get each entry once during concurrent writes"},
	{"the log remembers one reader", func() revoke.Store {
		var mu sync.Mutex
		furthest := ""
		return around{Store: revoke.NewMemory(), since: func(ctx context.Context, log revoke.Store, cursor string, limit int) (revoke.Page, error) {
			mu.Lock()
			defer mu.Unlock()
			if cursor != "" {
				cursor = furthest
			}
			page, err := log.Since(ctx, cursor, limit)
			furthest = page.Cursor
			return page, err
		}}
	}, "a cursor can be used again"},

	{"a cursor of no log is an error", flawed(func(t *table) {
		t.place = func(_ *table, cursor string) (int, error) {
			_, number, _ := strings.Cut(cmp.Or(cursor, "/0"), "/")
			return strconv.Atoi(number)
		}
	}), "a cursor of another log starts from the beginning"},
	{"the identity of the log is not compared", flawed(func(t *table) {
		t.place = func(t *table, cursor string) (int, error) {
			_, number, _ := strings.Cut(cursor, "/")
			n, err := strconv.Atoi(number)
			if err != nil || n > t.last {
				n = 0
			}
			return n, nil
		}
	}), "a cursor of another log starts from the beginning"},
	{"a number behind the end is waited for", flawed(func(t *table) {
		t.place = func(t *table, cursor string) (int, error) {
			name, number, _ := strings.Cut(cursor, "/")
			n, err := strconv.Atoi(number)
			if name != t.name || err != nil {
				n = 0
			}
			return n, nil
		}
	}), "a cursor past the end misses nothing"},

	{"Purge takes what expires just then", purging(func(ctx context.Context, log revoke.Store, before time.Time) error {
		return log.Purge(ctx, before.Add(time.Microsecond))
	}), "Purge deletes only expired entries"},
	{"Purge goes by whole seconds", purging(func(ctx context.Context, log revoke.Store, before time.Time) error {
		return log.Purge(ctx, before.Add(time.Second-1).Truncate(time.Second))
	}), "Purge deletes only expired entries"},
	{"Purge takes everything before the last that has expired", flawed(func(t *table) {
		t.purge = func(t *table, before time.Time) {
			t.mu.Lock()
			defer t.mu.Unlock()
			for i := len(t.rows) - 1; i >= 0; i-- {
				if t.rows[i].Expires.Before(before) {
					t.rows = t.rows[i+1:]
					return
				}
			}
		}
	}), "Purge deletes only expired entries; cursors stay good when something is purged; no live entry is lost during concurrent purges"},
	{"numbers are used again", flawed(func(t *table) {
		t.next = func(t *table) int {
			if len(t.rows) == 0 {
				return 1
			}
			return t.rows[len(t.rows)-1].number + 1
		}
	}), "cursors stay good when something is purged; cursors stay good when everything is purged"},
	{"numbers begin anew in an empty log", flawed(func(t *table) {
		t.next = func(t *table) int {
			if len(t.rows) == 0 {
				return 1
			}
			return t.last + 1
		}
	}), "cursors stay good when everything is purged"},
	{"cursors count what is there", flawed(func(t *table) {
		purge := t.purge
		t.purge = func(t *table, before time.Time) {
			purge(t, before)
			t.mu.Lock()
			defer t.mu.Unlock()
			for i := range t.rows {
				t.rows[i].number = i + 1
			}
			t.last = len(t.rows)
		}
	}), "cursors stay good when something is purged"},
	{"a cursor whose entry was purged is the beginning", flawed(func(t *table) {
		place := t.place
		t.place = func(t *table, cursor string) (int, error) {
			n, err := place(t, cursor)
			if !slices.ContainsFunc(t.rows, func(r row) bool { return r.number == n }) {
				n = 0
			}
			return n, err
		}
	}), "cursors stay good when something is purged"},
	{"Purge writes back what it read", flawed(purgesTheCopyThatItRead), "no live entry is lost during concurrent purges"},

	{"Append does not look at its context", func() revoke.Store {
		return around{Store: revoke.NewMemory(), append: func(ctx context.Context, log revoke.Store, e revoke.Entry) error {
			return log.Append(context.WithoutCancel(ctx), e)
		}}
	}, "a context that has ended is an error"},
	{"Since does not look at its context", reading(func(ctx context.Context, log revoke.Store, cursor string, limit int) (revoke.Page, error) {
		return log.Since(context.WithoutCancel(ctx), cursor, limit)
	}), "a context that has ended is an error"},
	{"Purge does not look at its context", purging(func(ctx context.Context, log revoke.Store, before time.Time) error {
		return log.Purge(context.WithoutCancel(ctx), before)
	}), "a context that has ended is an error"},

	{"the memory of the log is handed out", func() revoke.Store { return &lender{name: newTable().name} }, "the caller may modify what Since returned"},
	{"all logs are one", func() revoke.Store { return shared }, "logs are independent"},
	{"a number can be seen before an earlier one", flawed(numbersBeforeTheyAreVisible), "readers get each entry once during concurrent writes"},
}

var shared = revoke.NewMemory()

func TestTheSuiteFindsEveryFlaw(t *testing.T) {
	findEveryFlaw(t, flaws, jwtauthtest.TestRevocationStore)
}
