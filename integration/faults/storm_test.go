// Package faults_test kills servers, connections and processes during refreshes and
// revocations, and checks the state that is left.
package faults_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/keys"
	"github.com/joinednode/jwtauth/revoke"
	"github.com/joinednode/jwtauth/session"
)

var secret = []byte("0123456789abcdef0123456789abcdef")

// grace is longer than any outage here, so each rejected client is a failure.
const grace = 10 * time.Minute

// patience is the time limit for an answer of a store and for a read of its log. It is long
// enough for a slow machine.
const patience = time.Minute

// service is the Manager and the revocation list of one process.
type service struct {
	*session.Manager
	list *revoke.List
}

// hurried is a clock that runs 3000 times as fast as the wall clock, so that a token rotates
// almost at once. All processes see the same time until the hour ends.
func hurried() time.Time {
	now := time.Now()
	hour := now.Truncate(time.Hour)
	return hour.Add(3000 * now.Sub(hour))
}

// newService returns a service that has read the log once and follows it until the test ends.
func newService(t testing.TB, sessions session.Store, log revoke.Store) (service, error) {
	quiet := slog.New(slog.DiscardHandler)
	list, err := revoke.New(log, revoke.WithLogger(quiet), revoke.WithStaleness(patience))
	if err == nil {
		err = list.Sync(t.Context())
	}
	if err != nil {
		return service{}, err
	}
	m, err := session.New(keys.HS256(secret), sessions, session.WithRevocations(list), session.WithClock(hurried), session.WithGrace(grace), session.WithStoreTimeout(patience), session.WithLogger(quiet))
	if err != nil {
		return service{}, err
	}
	ctx, stop := context.WithCancel(context.Background())
	var following sync.WaitGroup
	following.Go(func() { list.Run(ctx) })
	t.Cleanup(func() { stop(); following.Wait() })
	return service{m, list}, nil
}

// storm has many legitimate clients that refresh again and again, and one client that revokes
// tokens. Each of them retries while the server asks it to.
type storm struct {
	service
	refreshes  atomic.Int64 // that succeeded
	outages    atomic.Int64
	disturbing atomic.Bool // during has more faults to cause

	mu         sync.Mutex
	successors map[string]string // refresh tokens by session and generation
	pairs      []session.Pair    // the latest pair of each client
	revoked    []string          // jti of tokens whose revocation was acknowledged
}

const clients = 20

func newStorm(t testing.TB, s service) *storm {
	t.Helper()
	st := &storm{service: s, successors: map[string]string{}, pairs: make([]session.Pair, clients)}
	for i := range st.pairs {
		var err error
		st.pairs[i], err = s.Login(t.Context(), fmt.Sprint("user ", i%7))
		require.NoError(t, err)
	}
	return st
}

// blow runs the storm until the given number of refreshes has succeeded and during has caused
// all its faults.
func (s *storm) blow(t *testing.T, refreshes int64) {
	ctx, stop := context.WithTimeout(t.Context(), 30*time.Minute)
	defer stop()
	goesOn := func() bool {
		return (s.refreshes.Load() < refreshes || s.disturbing.Load()) && ctx.Err() == nil && !t.Failed()
	}
	var all sync.WaitGroup
	for i := range clients {
		all.Go(func() {
			for goesOn() {
				if !s.refresh(ctx, t, i) {
					return
				}
			}
		})
	}
	all.Go(func() {
		for n := 0; goesOn(); n++ {
			jti := fmt.Sprint("token ", n)
			if s.insist(ctx, func(ctx context.Context) error {
				return s.list.RevokeToken(ctx, "", jti, time.Now().Add(time.Hour))
			}) == nil {
				s.mu.Lock()
				s.revoked = append(s.revoked, jti)
				s.mu.Unlock()
			}
		}
	})
	all.Wait()
	require.NoError(t, ctx.Err(), "%d refreshes of %d, with %d outages", s.refreshes.Load(), refreshes, s.outages.Load())
}

// insist retries a call until it succeeds or ctx ends. Each try has a timeout, as the call of a
// client would.
func (s *storm) insist(ctx context.Context, try func(context.Context) error) error {
	for {
		one, cancel := context.WithTimeout(ctx, 5*time.Second)
		err := try(one)
		cancel()
		if err == nil || ctx.Err() != nil {
			return err
		}
		s.outages.Add(1)
		time.Sleep(20 * time.Millisecond)
	}
}

func (s *storm) refresh(ctx context.Context, t *testing.T, i int) bool {
	var refused error
	var pair session.Pair
	err := s.insist(ctx, func(ctx context.Context) (err error) {
		pair, err = s.Refresh(ctx, s.pairs[i].RefreshToken)
		if err != nil && !errors.Is(err, jwtauth.ErrUnavailable) {
			refused = err
			return nil
		}
		return err
	})
	if err != nil {
		return false // the storm has ended
	}
	if !assert.NoError(t, refused, "a right client was logged out") {
		return false
	}
	s.pairs[i] = pair
	s.refreshes.Add(1)
	return s.oneSuccessor(t, pair)
}

// oneSuccessor requires that each generation has only one token.
func (s *storm) oneSuccessor(t *testing.T, pair session.Pair) bool {
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(pair.RefreshToken, ".")[1])
	if !assert.NoError(t, err) {
		return false
	}
	var claims struct {
		Generation int64 `json:"gen"`
	}
	if !assert.NoError(t, json.Unmarshal(payload, &claims)) {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	key := fmt.Sprint(pair.SessionID, " ", claims.Generation)
	if was, ok := s.successors[key]; ok && was != string(payload) {
		return assert.Fail(t, "a generation has two tokens", "%s\n%s", was, payload)
	}
	s.successors[key] = string(payload)
	return true
}

// settle checks the final state, by a new process and by one that followed the log all the
// time.
func (s *storm) settle(t *testing.T, fresh, follower service) {
	t.Helper()
	for i, pair := range s.pairs {
		all, err := fresh.Sessions(t.Context(), pair.Subject)
		require.NoError(t, err)
		require.True(t, slices.ContainsFunc(all, func(row session.Session) bool { return row.ID == pair.SessionID }),
			"the session of client %d is gone", i)
		next, err := fresh.Refresh(t.Context(), pair.RefreshToken)
		require.NoError(t, err, "client %d", i)
		require.True(t, s.oneSuccessor(t, next))
	}
	require.NotEmpty(t, s.revoked)
	require.GreaterOrEqual(t, s.outages.Load(), int64(3), "it was disturbed")
	holdsRevoked(t, fresh, s.revoked)
	require.NoError(t, follower.list.Sync(t.Context()), "readers catch up")
	holdsRevoked(t, follower, s.revoked)
	t.Logf("%d refreshes, %d revocations, %d outages", s.refreshes.Load(), len(s.revoked), s.outages.Load())
}

// holdsRevoked requires that no acknowledged revocation is lost.
func holdsRevoked(t *testing.T, by service, acknowledged []string) {
	t.Helper()
	for _, jti := range acknowledged {
		revoked, err := by.list.Revoked(t.Context(), jwtauth.Claims{ID: jti})
		require.NoError(t, err)
		require.True(t, revoked, "%s was acknowledged", jti)
	}
}

// during runs the storm, and causes a fault after each of the first three quarters of the
// refreshes. It calls breaks again until the fault hits a client, and then calls mends.
func (s *storm) during(t *testing.T, refreshes int64, breaks, mends func()) {
	t.Helper()
	over := make(chan struct{})
	until := func(holds func() bool) bool {
		for !holds() {
			select {
			case <-over:
				return false
			case <-time.After(time.Millisecond):
			}
		}
		return true
	}
	s.disturbing.Store(true)
	var disturbing sync.WaitGroup
	disturbing.Go(func() {
		defer s.disturbing.Store(false)
		for n := range int64(3) {
			if !until(func() bool { return s.refreshes.Load() >= (n+1)*refreshes/4 }) {
				return
			}
			before := s.outages.Load()
			until(func() bool { breaks(); return s.outages.Load() > before })
			mends()
		}
	})
	s.blow(t, refreshes)
	close(over)
	disturbing.Wait()
}
