package session_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/session"
)

func TestStore_ThatHangsIsAnOutageInTime(t *testing.T) {
	const given = 700 * time.Millisecond
	for name, most := range map[string]time.Duration{"by default": session.DefaultStoreTimeout, "as set": given} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFaulty()
				opts := []session.Option{session.WithClock(time.Now)}
				if most == given {
					opts = append(opts, session.WithStoreTimeout(most))
				}
				m := newManagerOver(t, faultyStore{f}, opts...)
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
				refresh := func() error { _, err := m.Refresh(t.Context(), pair.RefreshToken); return err }
				f.fault = hanging("Advance")
				inTime("Advance", refresh)
				f.fault = hanging("Revoke")
				inTime("Revoke", func() error { // by a Manager with a list of its own, so that m does not reject the session
					return newManagerOver(t, faultyStore{f}, opts...).Logout(t.Context(), pair.Subject, pair.SessionID)
				})
				inTime("Revoke of many", func() error { // the calls run concurrently
					for range 5 {
						_, err := m.Login(t.Context(), "carol")
						require.NoError(t, err)
					}
					_, err := m.LogoutAll(t.Context(), "carol")
					return err
				})
				f.fault = hanging("Create")
				inTime("Create", func() error { _, err := m.Login(t.Context(), "bob"); return err })
				f.fault = hanging("Get")
				inTime("Get", refresh)
				f.fault = hanging("List")
				inTime("List", func() error { _, err := m.Sessions(t.Context(), "alice"); return err })
				f.fault = nil
				require.NoError(t, refresh(), "no session may be lost")
			})
		})
	}
}
