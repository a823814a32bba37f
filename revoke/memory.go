package revoke

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Memory is a log in the memory of this process. It is meant for tests, and for services
// of one process that may forget revocations at a restart. Lists over it know each entry
// at once.
type Memory struct {
	id string

	mu        sync.Mutex
	entries   []numbered
	last      int
	followers []func(Entry)
}

type numbered struct {
	number int // from 1 on, rising, with gaps where entries were purged
	Entry
}

// NewMemory returns an empty log.
func NewMemory() *Memory { return &Memory{id: rand.Text()} }

// follow calls fn with every entry: with those that exist, and with later ones when they
// are appended.
func (m *Memory) follow(fn func(Entry)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range m.entries {
		fn(e.Entry)
	}
	m.followers = append(m.followers, fn)
}

// Append implements [Store]. Once it has returned nil, all lists over this log know the
// entry.
func (m *Memory) Append(ctx context.Context, e Entry) error {
	if err := errors.Join(ctx.Err(), e.Validate()); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.last++
	m.entries = append(m.entries, numbered{m.last, e})
	for _, fn := range m.followers {
		fn(e)
	}
	return nil
}

// Since implements [Store].
func (m *Memory) Since(ctx context.Context, cursor string, limit int) (Page, error) {
	if err := ctx.Err(); err != nil {
		return Page{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	after := m.place(cursor)
	from, _ := slices.BinarySearchFunc(m.entries, after+1, func(e numbered, n int) int { return cmp.Compare(e.number, n) })
	rest := m.entries[from:]
	page := Page{More: len(rest) > limit}
	for _, e := range rest[:min(limit, len(rest))] {
		page.Entries = append(page.Entries, e.Entry)
		after = e.number
	}
	page.Cursor = m.id + "/" + strconv.Itoa(after)
	return page, nil
}

// place returns the number after which a cursor continues, or 0 if the cursor is not of
// this log or past its end.
func (m *Memory) place(cursor string) int {
	id, number, _ := strings.Cut(cursor, "/")
	n, err := strconv.Atoi(number)
	if id != m.id || err != nil || n < 0 || n > m.last {
		return 0
	}
	return n
}

// Purge implements [Store].
func (m *Memory) Purge(ctx context.Context, before time.Time) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.entries = slices.DeleteFunc(m.entries, func(e numbered) bool { return e.Expires.Before(before) })
	return nil
}
