package session

import (
	"container/heap"
	"container/list"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// DefaultSessions is how many sessions a Memory holds by default.
const DefaultSessions = 1_000_000

// Memory is a store in the memory of this process. It is meant for tests, and for a
// service of one process whose users may have to log in again after a restart. It holds a
// bounded number of sessions, starts no goroutine, and deletes expired sessions as it
// grows.
type Memory struct {
	limit, ofOne int // the most sessions, in all and of one subject

	mu       sync.Mutex
	sessions map[string]*kept              // by ID
	subjects map[string]map[*kept]struct{} // by subject
	byEnd    byEnd
	ended    list.List // *kept values, in the order in which they were revoked

	// When this store was made. From that Create knows which time it is at least, even if
	// the clock of a caller is ahead for a while.
	started   time.Time // by the monotonic clock
	startedAt time.Time // by the slowest clock of the callers of Create; zero before the first call
}

// kept is a session with its places in the queues.
type kept struct {
	Session
	place   int           // in byEnd
	revoked *list.Element // in ended; nil if the session was not revoked
}

// byEnd is a heap of sessions. The first one expires first.
type byEnd []*kept

func (q byEnd) Len() int           { return len(q) }
func (q byEnd) Less(i, j int) bool { return q[i].end().Before(q[j].end()) }
func (q byEnd) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].place, q[j].place = i, j
}
func (q *byEnd) Push(k any) {
	k.(*kept).place = len(*q)
	*q = append(*q, k.(*kept))
}
func (q *byEnd) Pop() any {
	last := len(*q) - 1
	k := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	return k
}

// end returns when a session expires.
func (s Session) end() time.Time { return earlier(s.IdleExpires, s.MaxExpires) }

const (
	// atOnce is how many expired sessions each login deletes at most. With more than one
	// their number shrinks, and with a few no caller waits long.
	atOnce = 16
	// purgedAtOnce is how many sessions Purge deletes at most before it frees the lock for
	// other calls.
	purgedAtOnce = 1000
)

// NewMemory returns an empty store for at most [DefaultSessions] sessions.
func NewMemory() *Memory { return NewMemoryOf(DefaultSessions) }

// NewMemoryOf returns an empty store for at most limit sessions, of about 700 bytes each
// with a label of 75 bytes. A full store deletes a revoked session for each new one. If
// there are none, logins are an outage, 503, until a session has expired or was revoked: a
// live session is never ended to make room. The same holds for each subject, which may have
// a hundredth of the sessions, but at least ten and at most half. NewMemoryOf panics if
// limit is not positive.
func NewMemoryOf(limit int) *Memory {
	if limit <= 0 {
		panic(fmt.Sprintf("session: NewMemoryOf(%d): it must hold at least one session", limit))
	}
	return &Memory{
		limit: limit, ofOne: min(max(limit/100, 10), max(limit/2, 1)), started: time.Now(),
		sessions: map[string]*kept{}, subjects: map[string]map[*kept]struct{}{},
	}
}

// Create implements [Store].
func (m *Memory) Create(ctx context.Context, s Session) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	age := time.Since(m.started)
	if at := s.Created.Add(-age); m.startedAt.IsZero() || at.Before(m.startedAt) {
		m.startedAt = at
	}
	m.purge(m.startedAt.Add(age), atOnce)
	if _, taken := m.sessions[s.ID]; taken {
		return errors.New("session: the id is taken")
	}
	if err := m.makeRoom(s.Subject); err != nil {
		return err
	}
	k := &kept{Session: s}
	m.sessions[s.ID] = k
	own := m.subjects[s.Subject]
	if own == nil {
		own = map[*kept]struct{}{}
		m.subjects[s.Subject] = own
	}
	own[k] = struct{}{}
	heap.Push(&m.byEnd, k)
	if !s.RevokedAt.IsZero() {
		k.revoked = m.ended.PushBack(k)
	}
	return nil
}

// makeRoom deletes a revoked session if there is no room for another one of a subject. To
// a client, a deleted session looks like a revoked one.
func (m *Memory) makeRoom(subject string) error {
	if own := m.subjects[subject]; len(own) >= m.ofOne {
		for k := range own {
			if k.revoked != nil {
				m.delete(k)
				break
			}
		}
		if len(own) >= m.ofOne {
			return fmt.Errorf("session: the subject has %d sessions, and may have no more in a store for %d", m.ofOne, m.limit)
		}
	}
	if first := m.ended.Front(); len(m.sessions) >= m.limit && first != nil {
		m.delete(first.Value.(*kept))
	}
	if len(m.sessions) >= m.limit {
		return fmt.Errorf("session: the store is full: it holds %d sessions", m.limit)
	}
	return nil
}

func (m *Memory) delete(k *kept) {
	delete(m.sessions, k.ID)
	own := m.subjects[k.Subject]
	delete(own, k)
	if len(own) == 0 {
		delete(m.subjects, k.Subject)
	}
	heap.Remove(&m.byEnd, k.place)
	if k.revoked != nil {
		m.ended.Remove(k.revoked)
	}
}

// Get implements [Store].
func (m *Memory) Get(ctx context.Context, subject, id string) (Session, bool, error) {
	if err := ctx.Err(); err != nil {
		return Session{}, false, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	k := m.of(subject, id)
	if k == nil {
		return Session{}, false, nil
	}
	return k.Session, true, nil
}

// of returns the session, or nil if there is none.
func (m *Memory) of(subject, id string) *kept {
	k := m.sessions[id]
	if k == nil || k.Subject != subject {
		return nil
	}
	return k
}

// Advance implements [Store].
func (m *Memory) Advance(ctx context.Context, from, next Session, now time.Time) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := ctx.Err(); err != nil { // checked after waiting for the lock
		return false, err
	}
	k := m.of(next.Subject, next.ID)
	if k == nil || k.Generation != from.Generation || !k.live(now) {
		return false, nil
	}
	k.Generation, k.Prev, k.Rotated, k.Given, k.IdleExpires = next.Generation, next.Prev, next.Rotated, next.Given, next.IdleExpires
	heap.Fix(&m.byEnd, k.place)
	return true, nil
}

// Revoke implements [Store].
func (m *Memory) Revoke(ctx context.Context, subject, id, reason string, at time.Time) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	k := m.of(subject, id)
	if k == nil || !k.RevokedAt.IsZero() {
		return false, nil
	}
	k.RevokedAt, k.Reason = at, reason
	k.revoked = m.ended.PushBack(k)
	return true, nil
}

// List implements [Store].
func (m *Memory) List(ctx context.Context, subject string, now time.Time) ([]Session, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []Session
	for k := range m.subjects[subject] {
		if k.live(now) {
			all = append(all, k.Session)
		}
	}
	return all, nil
}

// Purge implements [Store]. If ctx ends, it stops half-way.
func (m *Memory) Purge(ctx context.Context, before time.Time) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		m.mu.Lock()
		deleted := m.purge(before, purgedAtOnce)
		m.mu.Unlock()
		if deleted < purgedAtOnce {
			return nil
		}
	}
}

// purge deletes at most most sessions that expired before a time, and returns how many.
func (m *Memory) purge(before time.Time, most int) (deleted int) {
	for deleted < most && len(m.byEnd) > 0 && m.byEnd[0].end().Before(before) {
		m.delete(m.byEnd[0])
		deleted++
	}
	return deleted
}
