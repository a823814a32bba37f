package session_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/revoke"
	"github.com/joinednode/jwtauth/session"
)

// hanging is a store and a log that answer only when they are told to give up.
type hanging struct {
	session.Store
	hangs bool
}

func (h *hanging) wait(ctx context.Context) error {
	if h.hangs {
		<-ctx.Done()
	}
	return ctx.Err()
}

func (h *hanging) Create(ctx context.Context, s session.Session) error {
	if err := h.wait(ctx); err != nil {
		return err
	}
	return h.Store.Create(ctx, s)
}

func (h *hanging) Get(ctx context.Context, subject, id string) (session.Session, bool, error) {
	if err := h.wait(ctx); err != nil {
		return session.Session{}, false, err
	}
	return h.Store.Get(ctx, subject, id)
}

func (h *hanging) List(ctx context.Context, subject string, now time.Time) ([]session.Session, error) {
	if err := h.wait(ctx); err != nil {
		return nil, err
	}
	return h.Store.List(ctx, subject, now)
}

// These answer as long as Get and List do.
type (
	hangingAtAdvance struct{ *hanging }
	hangingAtRevoke  struct{ *hanging }
	hangingLog       struct {
		revoke.Store
		hanging
	}
)

func (h hangingAtAdvance) Advance(ctx context.Context, _, _ session.Session, _ time.Time) (bool, error) {
	<-ctx.Done()
	return false, ctx.Err()
}

func (h hangingAtRevoke) Revoke(ctx context.Context, _, _, _ string, _ time.Time) (bool, error) {
	<-ctx.Done()
	return false, ctx.Err()
}

func (h *hangingLog) Append(ctx context.Context, e revoke.Entry) error {
	if err := h.wait(ctx); err != nil {
		return err
	}
	return h.Store.Append(ctx, e)
}

func TestAStoreThatHangsIsAnOutageInTime(t *testing.T) {
	const given = 700 * time.Millisecond
	for name, most := range map[string]time.Duration{"by default": session.DefaultStoreTimeout, "as set": given} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := &hanging{Store: session.NewMemory()}
				opts := []session.Option{session.WithClock(time.Now)}
				if most == given {
					opts = append(opts, session.WithStoreTimeout(most))
				}
				m := newManagerOver(t, store, opts...)
				pair, err := m.Login(t.Context(), "alice")
				require.NoError(t, err)
				time.Sleep(settled)
				inTime := func(what string, do func() error) {
					t.Helper()
					begun := time.Now()
					err := do()
					require.ErrorIs(t, err, jwtauth.ErrUnavailable, what)
					require.ErrorIs(t, err, context.DeadlineExceeded, what)
					require.Equal(t, most, time.Since(begun), what)
				}
				refresh := func(m *session.Manager) func() error {
					return func() error { _, err := m.Refresh(t.Context(), pair.RefreshToken); return err }
				}
				inTime("Advance", refresh(newManagerOver(t, hangingAtAdvance{store}, opts...)))
				inTime("Revoke", func() error {
					return newManagerOver(t, hangingAtRevoke{store}, opts...).Logout(t.Context(), pair.Subject, pair.SessionID)
				})
				store.hangs = true
				inTime("Create", func() error { _, err := m.Login(t.Context(), "bob"); return err })
				inTime("Get", refresh(m))
				store.hangs = false
				inTime("Revoke of many", func() error { // not one after the other
					m := newManagerOver(t, hangingAtRevoke{store}, opts...)
					for range 5 {
						_, err := m.Login(t.Context(), "carol")
						require.NoError(t, err)
					}
					_, err := m.LogoutAll(t.Context(), "carol")
					return err
				})
				store.hangs = true
				inTime("List", func() error { _, err := m.Sessions(t.Context(), "alice"); return err })
				store.hangs = false
				require.NoError(t, refresh(m)(), "and nothing was lost")
			})
		})
	}
}

func TestALogThatHangsIsAnOutageInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &hangingLog{Store: revoke.NewMemory()}
		list, err := revoke.New(log)
		require.NoError(t, err)
		require.NoError(t, list.Sync(t.Context()))
		m := newManagerOver(t, session.NewMemory(), session.WithRevocations(list))
		pair, err := m.Login(t.Context(), "alice")
		require.NoError(t, err)
		log.hangs = true
		begun := time.Now()
		require.ErrorIs(t, m.Logout(t.Context(), pair.Subject, pair.SessionID), jwtauth.ErrUnavailable)
		require.Equal(t, 5*time.Second, time.Since(begun))
		log.hangs = false
		require.NoError(t, m.Logout(t.Context(), pair.Subject, pair.SessionID))
	})
}
