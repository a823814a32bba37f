package session

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"
)

// DefaultSessions is how many sessions a Memory holds.
const DefaultSessions = 1_000_000

// Memory is a store in the memory of this process: for tests, and for services of
// one process whose users may log in again after a restart. It is bounded, starts
// no goroutine, and takes out what has expired as it grows.
type Memory struct {
	limit int

	mu       sync.Mutex
	sessions map[string]Session             // by id
	ids      map[string]map[string]struct{} // by subject
	sweepAt  int                            // how many sessions there are when it is next tried
	swept    time.Time                      // the last time, so that a full store does not do it for each login

	// What the clocks of those who create sessions said when this store was made, by
	// the slowest of them: from it, how late it is for sure. One may be wrong for a
	// while.
	started   time.Time // by the monotonic clock
	startedAt time.Time // by theirs
}

// leastSwept is how many sessions are not worth a sweep.
const leastSwept = 1024

// NewMemory returns an empty store of at most [DefaultSessions].
func NewMemory() *Memory { return NewMemoryOf(DefaultSessions) }

// NewMemoryOf returns an empty store of at most so many sessions, at some 500 bytes
// each. One that is full fails to create others, an outage, until some have
// expired: it never ends a session to make room. It panics if limit is not
// positive.
func NewMemoryOf(limit int) *Memory {
	if limit <= 0 {
		panic(fmt.Sprintf("session: NewMemoryOf(%d): it must hold a session at least", limit))
	}
	return &Memory{
		limit: limit, sweepAt: min(limit, leastSwept), started: time.Now(),
		sessions: map[string]Session{}, ids: map[string]map[string]struct{}{},
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
	if len(m.sessions) >= m.sweepAt && time.Since(m.swept) >= time.Second {
		m.purge(m.startedAt.Add(age))
		m.swept = time.Now()
		m.sweepAt = min(m.limit, max(leastSwept, 2*len(m.sessions)))
	}
	if len(m.sessions) >= m.limit {
		return fmt.Errorf("session: the store is full: it holds %d sessions", m.limit)
	}
	if _, taken := m.sessions[s.ID]; taken {
		return errors.New("session: the id is taken")
	}
	m.sessions[s.ID] = s
	ids := m.ids[s.Subject]
	if ids == nil {
		ids = map[string]struct{}{}
		m.ids[s.Subject] = ids
	}
	ids[s.ID] = struct{}{}
	return nil
}

// Get implements [Store].
func (m *Memory) Get(ctx context.Context, subject, id string) (Session, bool, error) {
	if err := ctx.Err(); err != nil {
		return Session{}, false, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	s, found := m.of(subject, id)
	return s, found, nil
}

func (m *Memory) of(subject, id string) (Session, bool) {
	s, found := m.sessions[id]
	if !found || s.Subject != subject {
		return Session{}, false
	}
	return s, true
}

// Advance implements [Store].
func (m *Memory) Advance(ctx context.Context, next Session, now time.Time) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	s, found := m.of(next.Subject, next.ID)
	if !found || s.Generation != next.Generation-1 || !s.live(now) {
		return false, nil
	}
	s.Generation, s.Rotated, s.IdleExpires = next.Generation, next.Rotated, next.IdleExpires
	m.sessions[s.ID] = s
	return true, nil
}

// Revoke implements [Store].
func (m *Memory) Revoke(ctx context.Context, subject, id, reason string, at time.Time) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	s, found := m.of(subject, id)
	if !found || !s.RevokedAt.IsZero() {
		return false, nil
	}
	s.RevokedAt, s.Reason = at, reason
	m.sessions[id] = s
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
	for id := range m.ids[subject] {
		if s := m.sessions[id]; s.live(now) {
			all = append(all, s)
		}
	}
	return all, nil
}

// Purge implements [Store].
func (m *Memory) Purge(ctx context.Context, before time.Time) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.purge(before)
	return nil
}

func (m *Memory) purge(before time.Time) {
	maps.DeleteFunc(m.sessions, func(id string, s Session) bool {
		if !earlier(s.IdleExpires, s.MaxExpires).Before(before) {
			return false
		}
		delete(m.ids[s.Subject], id)
		if len(m.ids[s.Subject]) == 0 {
			delete(m.ids, s.Subject)
		}
		return true
	})
}
