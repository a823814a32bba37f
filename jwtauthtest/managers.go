package jwtauthtest

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
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

// house has several Managers over one store, like the processes of a service. They share a
// revocation list, so each sees a logout at once.
type house struct {
	managers []*session.Manager
	ahead    atomic.Int64 // how far the clock of the Managers is ahead of the wall clock
	mu       sync.Mutex
	events   []session.EventKind
}

// newHouse returns a house with the longest grace and a store timeout of five minutes. So
// even with a slow store no retry is too late, and no call ends early.
func newHouse(t *testing.T, store session.Store, managers int) *house {
	t.Helper()
	h := &house{}
	revocations, err := revoke.New(revoke.NewMemory(), revoke.WithMaxLifetime(session.DefaultRefreshTTL), revoke.WithClock(h.now))
	require.NoError(t, err)
	for range managers {
		m, err := session.New(keys.HS256([]byte("a secret that only these tests have")), store, session.WithRevocations(revocations),
			session.WithClock(h.now), session.WithAccessTTL(24*time.Hour), session.WithGrace(10*time.Minute), session.WithStoreTimeout(5*time.Minute), session.WithEvents(h.report), session.WithLogger(slog.New(slog.DiscardHandler)))
		require.NoError(t, err)
		h.managers = append(h.managers, m)
	}
	return h
}

func (h *house) now() time.Time { return time.Now().Add(time.Duration(h.ahead.Load())) }

// settle advances the clock beyond the grace, so that the latest tokens rotate when used.
func (h *house) settle() { h.ahead.Add(int64(11 * time.Minute)) }

func (h *house) report(e session.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.events = append(h.events, e.Kind)
}

func (h *house) login(t *testing.T, subject string) session.Pair {
	t.Helper()
	pair, err := h.managers[0].Login(t.Context(), subject)
	require.NoError(t, err, "Login")
	h.settle()
	return pair
}

// row returns the stored session of a pair.
func row(t *testing.T, store session.Store, pair session.Pair) session.Session {
	t.Helper()
	s, found, err := store.Get(t.Context(), pair.Subject, pair.SessionID)
	require.NoError(t, err)
	require.True(t, found)
	return s
}

// generation returns the generation of the refresh token of a pair.
func generation(t *testing.T, pair session.Pair) int64 {
	t.Helper()
	parts := strings.Split(pair.RefreshToken, ".")
	require.Len(t, parts, 3, "a refresh token")
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	require.NoError(t, err)
	var claims struct {
		Generation int64 `json:"gen"`
	}
	require.NoError(t, json.Unmarshal(text, &claims))
	return claims.Generation
}

func refreshesRotateOnce(t *testing.T, store session.Store, managers int) {
	h := newHouse(t, store, managers)
	first := h.login(t, "alice")
	var pairs [many]session.Pair
	var errs [many]error
	atOnce(many, func(i int) {
		pairs[i], errs[i] = h.managers[i%managers].Refresh(t.Context(), first.RefreshToken)
	})
	for i, err := range errs {
		require.NoError(t, err, "refresh %d", i)
	}
	count := map[session.EventKind]int{}
	for _, kind := range h.events {
		count[kind]++
	}
	require.Equal(t, map[session.EventKind]int{session.LoggedIn: 1, session.Refreshed: 1, session.Retried: many - 1}, count)
	require.EqualValues(t, 2, row(t, store, first).Generation)
	require.Len(t, list(t, store, "alice", time.Now()), 1)
	for i, pair := range pairs {
		require.EqualValues(t, 2, generation(t, pair), "the generation of answer %d", i)
		for _, m := range h.managers {
			_, err := m.Auth().VerifyAnyContainer(t.Context(), pair.AccessToken)
			require.NoError(t, err, "the access token of answer %d", i)
		}
	}
	h.settle()
	for i, pair := range pairs {
		_, err := h.managers[(i+1)%managers].Refresh(t.Context(), pair.RefreshToken)
		require.NoError(t, err, "the refresh token of answer %d", i)
	}
	require.EqualValues(t, 3, row(t, store, first).Generation)
}

// nothingIsLeft requires that all tokens of a session are rejected.
func (h *house) nothingIsLeft(t *testing.T, store session.Store, pairs ...session.Pair) {
	t.Helper()
	// Add a Manager whose revocation list does not have the logout. There, the stored
	// session alone must end the refresh tokens.
	managers := append(slices.Clone(h.managers), newHouse(t, store, 1).managers...)
	for _, pair := range pairs {
		for _, m := range managers {
			_, err := m.Refresh(t.Context(), pair.RefreshToken)
			require.ErrorIs(t, err, jwtauth.ErrRevoked, "Refresh")
		}
		for _, m := range h.managers {
			_, err := m.Auth().VerifyAnyContainer(t.Context(), pair.AccessToken)
			require.ErrorIs(t, err, jwtauth.ErrRevoked, "an access token")
		}
	}
	require.False(t, row(t, store, pairs[0]).RevokedAt.IsZero(), "the row must be revoked")
	for _, s := range list(t, store, pairs[0].Subject, time.Now()) {
		require.NotEqual(t, pairs[0].SessionID, s.ID, "List must not return the session")
	}
}

func logoutMeetsRefreshes(t *testing.T, newStore func(t *testing.T) session.Store) {
	store := newStore(t)
	h := newHouse(t, store, 2)
	bystander := h.login(t, "alice")
	for range 30 {
		pair := h.login(t, "alice")
		given := []session.Pair{pair}
		var mu sync.Mutex
		atOnce(5, func(i int) {
			m := h.managers[i%2]
			if i == 0 {
				assert.NoError(t, m.Logout(t.Context(), pair.Subject, pair.SessionID))
				return
			}
			for range 3 {
				next, err := m.Refresh(t.Context(), pair.RefreshToken)
				if err != nil {
					assert.ErrorIs(t, err, jwtauth.ErrRevoked)
					return
				}
				mu.Lock()
				given = append(given, next)
				mu.Unlock()
			}
		})
		h.nothingIsLeft(t, store, given...)
	}
	_, err := h.managers[1].Refresh(t.Context(), bystander.RefreshToken)
	require.NoError(t, err, "another session of the same subject")
}

func theftEndsTheSession(t *testing.T, newStore func(t *testing.T) session.Store) {
	store := newStore(t)
	h := newHouse(t, store, 2)
	first, bystander := h.login(t, "alice"), h.login(t, "alice")
	second, err := h.managers[0].Refresh(t.Context(), first.RefreshToken)
	require.NoError(t, err)
	h.settle()
	third, err := h.managers[1].Refresh(t.Context(), second.RefreshToken)
	require.NoError(t, err)

	_, err = h.managers[1].Refresh(t.Context(), first.RefreshToken)
	require.ErrorIs(t, err, session.ErrReused)
	require.ErrorIs(t, err, jwtauth.ErrRevoked)
	h.nothingIsLeft(t, store, first, second, third)
	require.Equal(t, session.ReasonReused, row(t, store, first).Reason)
	kinds := []session.EventKind{session.LoggedIn, session.LoggedIn, session.Refreshed, session.Refreshed, session.Reused}
	require.Equal(t, kinds, h.events)
	_, err = h.managers[1].Refresh(t.Context(), bystander.RefreshToken)
	require.NoError(t, err, "another session of the same subject")
}

// unreliable is a store with one method that fails.
type unreliable struct {
	session.Store
	fails string // the name of the method
	late  bool   // the method takes effect before it fails
}

var errDown = errors.New("the store is down")

func (u *unreliable) call(method string, do func() error) error {
	if u.fails != method {
		return do()
	}
	if u.late {
		_ = do()
	}
	return errDown
}

func (u *unreliable) Create(ctx context.Context, s session.Session) error {
	return u.call("Create", func() error { return u.Store.Create(ctx, s) })
}

func (u *unreliable) Get(ctx context.Context, subject, id string) (s session.Session, found bool, err error) {
	err = u.call("Get", func() (err error) { s, found, err = u.Store.Get(ctx, subject, id); return err })
	return s, found, err
}

func (u *unreliable) Advance(ctx context.Context, from, next session.Session, now time.Time) (done bool, err error) {
	err = u.call("Advance", func() (err error) { done, err = u.Store.Advance(ctx, from, next, now); return err })
	return done, err
}

func (u *unreliable) Revoke(ctx context.Context, subject, id, reason string, at time.Time) (done bool, err error) {
	err = u.call("Revoke", func() (err error) { done, err = u.Store.Revoke(ctx, subject, id, reason, at); return err })
	return done, err
}

func (u *unreliable) List(ctx context.Context, subject string, now time.Time) (all []session.Session, err error) {
	err = u.call("List", func() (err error) { all, err = u.Store.List(ctx, subject, now); return err })
	return all, err
}

// ask sends a request to the handler of a Manager. It returns nil for a success,
// ErrUnavailable for a 503 with Retry-After, and another error for any other response.
func ask(t *testing.T, h http.Handler, method, path, accessToken string, body map[string]any) error {
	t.Helper()
	text, err := json.Marshal(body)
	require.NoError(t, err)
	r := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(string(text)))
	r.Header.Set("Content-Type", "application/json")
	if accessToken != "" {
		r.Header.Set("Authorization", "Bearer "+accessToken)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	switch {
	case w.Code < 300:
		return nil
	case w.Code == http.StatusServiceUnavailable && w.Header().Get("Retry-After") != "":
		return jwtauth.ErrUnavailable
	default:
		return fmt.Errorf("%d %s, Retry-After %q", w.Code, w.Body, w.Header().Get("Retry-After"))
	}
}

func outagesLogNobodyOut(t *testing.T, newStore func(t *testing.T) session.Store) {
	inner := newStore(t)
	store := &unreliable{Store: inner}
	h := newHouse(t, store, 1)
	m := h.managers[0]
	handler := m.Handler(func(_ *http.Request, c session.Credentials) (string, []session.LoginOption, error) {
		return c.Email, nil, nil
	})
	for i, call := range []struct {
		name, fails string
		ends        bool // whether the call is a logout, which can be repeated
		do          func(p session.Pair) error
	}{
		{"Login", "Create", false, func(p session.Pair) error { _, err := m.Login(t.Context(), p.Subject); return err }},
		{"create/", "Create", false, func(p session.Pair) error {
			return ask(t, handler, http.MethodPost, "/auth/create/", "", map[string]any{"email": p.Subject, "password": "x"})
		}},
		{"Refresh", "Get", false, func(p session.Pair) error { _, err := m.Refresh(t.Context(), p.RefreshToken); return err }},
		{"Refresh", "Advance", false, func(p session.Pair) error { _, err := m.Refresh(t.Context(), p.RefreshToken); return err }},
		{"refresh/", "Get", false, func(p session.Pair) error {
			return ask(t, handler, http.MethodPost, "/auth/refresh/", "", map[string]any{"refresh_token": p.RefreshToken})
		}},
		{"refresh/", "Advance", false, func(p session.Pair) error {
			return ask(t, handler, http.MethodPost, "/auth/refresh/", "", map[string]any{"refresh_token": p.RefreshToken})
		}},
		{"Sessions", "List", false, func(p session.Pair) error { _, err := m.Sessions(t.Context(), p.Subject); return err }},
		{"sessions/", "List", false, func(p session.Pair) error {
			return ask(t, handler, http.MethodGet, "/auth/sessions/", p.AccessToken, nil)
		}},
		{"LogoutAll except one", "List", false, func(p session.Pair) error {
			_, err := m.LogoutAll(t.Context(), p.Subject, p.SessionID)
			return err
		}},
		{"Logout", "Get", true, func(p session.Pair) error { return m.Logout(t.Context(), p.Subject, p.SessionID) }},
		{"Logout", "Revoke", true, func(p session.Pair) error { return m.Logout(t.Context(), p.Subject, p.SessionID) }},
		{"logout/", "Revoke", true, func(p session.Pair) error {
			return ask(t, handler, http.MethodPost, "/auth/logout/", "", map[string]any{"refresh_token": p.RefreshToken})
		}},
		{"LogoutAll", "List", true, func(p session.Pair) error { _, err := m.LogoutAll(t.Context(), p.Subject); return err }},
		{"LogoutAll", "Revoke", true, func(p session.Pair) error { _, err := m.LogoutAll(t.Context(), p.Subject); return err }},
	} {
		for _, late := range []bool{false, true} {
			name := fmt.Sprintf("%s when %s fails, late: %v", call.name, call.fails, late)
			pair, err := m.Login(t.Context(), fmt.Sprintf("subject %d %v", i, late))
			require.NoError(t, err, name)
			h.settle()
			for range 2 {
				store.fails, store.late = call.fails, late
				err = call.do(pair)
				store.fails = ""
				require.ErrorIs(t, err, jwtauth.ErrUnavailable, name)
				if late {
					break // the call took effect, so a second call is another case
				}
			}
			if call.fails != "Revoke" {
				_, err = m.Auth().VerifyAnyContainer(t.Context(), pair.AccessToken)
				require.NoError(t, err, "%s: the access token afterwards", name)
				next, err := m.Refresh(t.Context(), pair.RefreshToken)
				require.NoError(t, err, "%s: the refresh token afterwards", name)
				h.settle()
				pair, err = m.Refresh(t.Context(), next.RefreshToken)
				require.NoError(t, err, "%s: its successor", name)
				require.EqualValues(t, 3, row(t, inner, pair).Generation, name)
			}
			if call.ends {
				require.NoError(t, call.do(pair), "%s: once more", name)
				require.False(t, row(t, inner, pair).RevokedAt.IsZero(), name)
				_, err = m.Refresh(t.Context(), pair.RefreshToken)
				require.ErrorIs(t, err, jwtauth.ErrRevoked, name)
			}
		}
	}
}
