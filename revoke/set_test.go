package revoke_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/internal/revocation"
	"github.com/joinednode/jwtauth/revoke"
)

// A list may read the entries about one ID in any order. An older entry must lower neither
// the epoch nor the expiry of a newer one.
func TestList_ALateOlderEntryLowersNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newNetwork()
		list := newList(t, log)
		now := time.Now()
		entry := func(age time.Duration) revoke.Entry {
			at := now.Add(-age)
			return revoke.Entry{Kind: revoke.Subject, Issuer: issuer, ID: "alice", Epoch: at.UnixMicro(), Expires: at.Add(10 * time.Hour)}
		}
		for _, age := range []time.Duration{0, time.Hour, 9 * time.Hour} { // the latest first
			require.NoError(t, log.Append(t.Context(), entry(age)))
		}
		require.NoError(t, list.Sync(t.Context()))
		hits := func() bool {
			revoked, err := list.Revoked(t.Context(), jwtauth.Claims{Issuer: issuer, Subject: "alice", Stamp: now.UnixMicro()})
			require.NoError(t, err)
			return revoked
		}
		require.True(t, hits(), "the latest epoch must count")

		time.Sleep(5 * time.Hour) // the oldest entry has expired; the next 200 fill the table, so that it is replaced
		for i := range 200 {
			require.NoError(t, list.RevokeSubject(t.Context(), issuer, fmt.Sprint(i)))
		}
		require.NoError(t, list.Sync(t.Context()))
		require.True(t, hits(), "the latest expiry must count")
	})
}

// A reader may look at a slot while it is filled in. If the slot were visible too early, it
// would revoke nothing. The race detector makes the steps of readers and writers interleave.
func TestList_WhatAReaderSeesOfAnEntryIsWhole(t *testing.T) {
	list := newList(t, revoke.NewMemory())
	const rounds, readers = 400, 3
	for i := range rounds {
		claims := jwtauth.Claims{Issuer: issuer, Subject: fmt.Sprint(i), Stamp: 1}
		inner, whole := revocation.Of(list)
		require.True(t, whole)
		marks := inner.Marks(issuer, "", "", claims.Subject, "")
		var all sync.WaitGroup
		for range readers {
			all.Go(func() {
				for n := 0; n < 200; n++ {
					if inner.Clear(marks) {
						continue // the entry is not on the list yet
					}
					revoked, err := list.Revoked(context.Background(), claims)
					if err != nil || !revoked {
						t.Errorf("the entry is on the list, but Revoked returned %v, %v", revoked, err)
					}
					return
				}
			})
		}
		all.Go(func() {
			if err := list.RevokeSubject(context.Background(), issuer, claims.Subject); err != nil {
				t.Error(err)
			}
		})
		all.Wait()
	}
}

// A machine without a battery-backed clock starts in 1970, and learns the time later. Its
// list must still drop expired entries.
func TestList_ThatStartsIn1970DropsWhatHasExpired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const many = 20_000
		behind := time.Since(time.Unix(0, 0))
		log := newNetwork()
		list := newList(t, log, revoke.WithClock(func() time.Time { return time.Now().Add(-behind) }))
		require.NoError(t, list.Sync(t.Context()))
		time.Sleep(30 * time.Second)
		behind = 0
		for i := range many {
			require.NoError(t, list.RevokeToken(t.Context(), issuer, fmt.Sprint(i), time.Now().Add(time.Hour)))
		}
		for range 3 {
			time.Sleep(25 * time.Hour)
			require.NoError(t, list.Sync(t.Context()))
		}
		for i := range many { // fill the table, so that it is replaced
			require.NoError(t, list.RevokeToken(t.Context(), issuer, fmt.Sprint("later ", i), time.Now().Add(time.Hour)))
		}
		require.Less(t, list.Status().Entries, many+many/2)
		page, err := log.Since(t.Context(), "", 3*many)
		require.NoError(t, err)
		require.Len(t, page.Entries, many, "the log must keep entries whose tokens have not expired")
	})
}

// A clock that jumps ahead and comes back must not make a list drop entries.
func TestList_DropsNothingWhenAClockJumpsAhead(t *testing.T) {
	clock, log := newClock(), newNetwork()
	list := newList(t, log, revoke.WithClock(clock.read))
	auth := newAuth(t, list, jwtauth.WithClock(clock.read))
	require.NoError(t, list.Sync(t.Context()))
	token := issue(t, auth, "demo", "alice")
	c := claimsOf(t, auth, token)
	require.NoError(t, list.RevokeToken(t.Context(), c.Issuer, c.ID, c.ExpiresAt))
	second := issue(t, auth, "demo", "bob")
	c = claimsOf(t, auth, second)

	clock.move(10 * 365 * 24 * time.Hour)
	require.NoError(t, list.RevokeToken(t.Context(), c.Issuer, c.ID, c.ExpiresAt), "by this clock, the token has expired")
	for i := range 1000 {
		require.NoError(t, list.RevokeToken(t.Context(), issuer, fmt.Sprint(i), clock.read().Add(time.Hour)))
	}
	require.NoError(t, list.Sync(t.Context()))
	clock.move(-10 * 365 * 24 * time.Hour)

	fresh := newList(t, log, revoke.WithClock(clock.read))
	require.NoError(t, fresh.Sync(t.Context()))
	for _, l := range []*revoke.List{list, fresh} {
		for _, token := range []string{token, second} {
			require.ErrorIs(t, verdict(newAuth(t, l, jwtauth.WithClock(clock.read)), token), jwtauth.ErrRevoked)
		}
	}
}

// Readers take no lock. Even while tables are replaced, readers must find every entry that
// is on the list, and nothing else.
func TestList_AReaderMissesNoEntryWhileEntriesCome(t *testing.T) {
	list := newList(t, revoke.NewMemory())
	const entries = 20_000
	var there atomic.Int64
	var group sync.WaitGroup
	for range 2 {
		group.Go(func() {
			for n := int64(0); n < entries; n = there.Load() {
				for range 100 {
					if n == 0 {
						break
					}
					id := rand.Int64N(n)
					if revoked, _ := list.Revoked(context.Background(), jwtauth.Claims{Issuer: issuer, ID: fmt.Sprint(id)}); !revoked {
						t.Error("did not find the entry", id)
						return
					}
					if revoked, _ := list.Revoked(context.Background(), jwtauth.Claims{Issuer: issuer, ID: fmt.Sprint("no ", id)}); revoked {
						t.Error("found an entry that was never added")
						return
					}
				}
			}
		})
	}
	for i := range int64(entries) {
		if err := list.RevokeToken(t.Context(), issuer, fmt.Sprint(i), time.Now().Add(time.Hour)); err != nil {
			t.Error(err)
		}
		there.Store(i + 1)
	}
	group.Wait()
}

// For a cached token, an Auth first calls Clear. Clear must never return true for a token
// that is revoked.
func TestList_NothingThatIsRevokedIsClear(t *testing.T) {
	marksOf := func(l revocation.List, issuer string) revocation.Marks {
		return l.Marks(issuer, "1", "s", "alice", "demo")
	}
	inner := func(l *revoke.List) revocation.List {
		list, whole := revocation.Of(l)
		require.True(t, whole)
		return list
	}
	list := inner(newList(t, revoke.NewMemory()))
	require.True(t, list.Clear(marksOf(list, issuer)), "nothing is on the list")
	require.True(t, list.Clear(list.Marks("", "", "", "", "")))
	for name, revokeIt := range map[string]func(l *revoke.List) error{
		"its jti":       func(l *revoke.List) error { return l.RevokeToken(t.Context(), issuer, "1", time.Now().Add(time.Hour)) },
		"its session":   func(l *revoke.List) error { return l.RevokeSession(t.Context(), issuer, "s") },
		"its subject":   func(l *revoke.List) error { return l.RevokeSubject(t.Context(), issuer, "alice") },
		"its container": func(l *revoke.List) error { return l.RevokeContainer(t.Context(), issuer, "demo") },
	} {
		t.Run(name, func(t *testing.T) {
			whole := newList(t, revoke.NewMemory())
			list := inner(whole)
			marks := marksOf(list, issuer)
			for i := range 1000 {
				require.NoError(t, whole.RevokeToken(t.Context(), issuer, fmt.Sprint("other ", i), time.Now().Add(time.Hour)))
			}
			require.True(t, list.Clear(marks))
			require.NoError(t, revokeIt(whole))
			require.False(t, list.Clear(marks))
			require.True(t, list.Clear(marksOf(list, "other")))
		})
	}
	unread := inner(newList(t, newNetwork()))
	require.False(t, unread.Clear(marksOf(unread, issuer)), "a list that has not read its log must not clear any token")
}
