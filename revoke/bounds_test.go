package revoke_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/internal/revocation"
	"github.com/joinednode/jwtauth/revoke"
)

// An entry may come again, late, and older than what is known of it.
func TestList_ALateOlderEntryTakesNothingBack(t *testing.T) {
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
		require.True(t, hits(), "the epoch of the latest counts")

		time.Sleep(5 * time.Hour) // the oldest has expired, and the table is renewed
		for i := range 200 {
			require.NoError(t, list.RevokeSubject(t.Context(), issuer, fmt.Sprint(i)))
		}
		require.NoError(t, list.Sync(t.Context()))
		require.True(t, hits(), "so does its expiry")
	})
}

func TestRevokeSubject_OverALogThatCannotBeRead(t *testing.T) {
	down := errors.New("the log cannot be read")
	for name, revokeNow := range upToNow {
		t.Run(name, func(t *testing.T) {
			log := &unreadable{network: newNetwork()}
			list := newList(t, log)
			auth := newAuth(t, list)
			require.NoError(t, list.Sync(t.Context()))
			token := issue(t, auth, "demo", "alice")
			log.err = down
			require.ErrorIs(t, revokeNow(list), down, "what others stamped may lie behind the epochs that it missed")
			require.ErrorIs(t, verdict(auth, token), jwtauth.ErrRevoked, "here it counts all the same")
			log.err = nil
			require.NoError(t, revokeNow(list))
		})
	}
}

// unreadable takes entries and does not give them.
type unreadable struct {
	*network
	err error
}

func (u *unreadable) Since(ctx context.Context, cursor string, limit int) (revoke.Page, error) {
	if u.err != nil {
		return revoke.Page{}, u.err
	}
	return u.network.Since(ctx, cursor, limit)
}

// An Auth may accept a token for as long as the most leeway after its expiry, by a clock
// that differs by the skew.
func TestRevoke_EntriesOutliveWhatTheyHit(t *testing.T) {
	const lifetime, skew = 10 * time.Hour, 7 * time.Minute
	for name, do := range map[string]func(l *revoke.List, now time.Time) error{
		"a token": func(l *revoke.List, now time.Time) error {
			return l.RevokeToken(context.Background(), issuer, "x", now.Add(lifetime))
		},
		"a session":   func(l *revoke.List, _ time.Time) error { return l.RevokeSession(context.Background(), issuer, "x") },
		"a subject":   func(l *revoke.List, _ time.Time) error { return l.RevokeSubject(context.Background(), issuer, "x") },
		"a container": func(l *revoke.List, _ time.Time) error { return l.RevokeContainer(context.Background(), issuer, "x") },
	} {
		t.Run(name, func(t *testing.T) {
			clock, log := newClock(), newNetwork()
			list := newList(t, log, revoke.WithClock(clock.read), revoke.WithSkew(skew), revoke.WithMaxLifetime(lifetime))
			require.NoError(t, list.Sync(t.Context()))
			require.NoError(t, do(list, clock.read()))
			page, err := log.Since(t.Context(), "", 10)
			require.NoError(t, err)
			require.Len(t, page.Entries, 1)
			gone := clock.read().Add(lifetime)
			if name != "a token" {
				gone = gone.Add(skew) // another process may still issue it, by its clock
			}
			if name == "a session" {
				gone = gone.Add(time.Hour) // so that it need not be revoked again for as long
			}
			require.WithinDuration(t, gone.Add(jwtauth.MaxLeeway+skew), page.Entries[0].Expires, time.Second)
		})
	}
}

// slowToRead answers each reading with what there was when it began.
type slowToRead struct {
	*network
	takes time.Duration
}

func (s *slowToRead) Since(ctx context.Context, cursor string, limit int) (revoke.Page, error) {
	page, err := s.network.Since(ctx, cursor, limit)
	time.Sleep(s.takes)
	return page, err
}

func TestList_IsStaleFromTheBeginningOfItsLastReading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const staleness, takes = 10 * time.Second, 2 * time.Second
		log := &slowToRead{newNetwork(), takes}
		list := newList(t, log, revoke.WithStaleness(staleness))
		require.NoError(t, list.Sync(t.Context()))
		require.Equal(t, takes, list.Status().Age.Round(time.Millisecond))
		asked := func() error {
			_, err := list.Revoked(t.Context(), jwtauth.Claims{Issuer: issuer, ID: "x"})
			return err
		}
		time.Sleep(staleness - takes)
		require.NoError(t, asked())
		time.Sleep(time.Second)
		require.ErrorIs(t, asked(), revoke.ErrStale, "an entry may have come while the last reading was under way")
	})
}

// Readers meet a slot while it is filled in. Under the race detector, which makes their
// steps interleave, a slot that could be seen too early is one that hits nothing yet.
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
						continue // it is not there yet
					}
					revoked, err := list.Revoked(context.Background(), claims)
					if err != nil || !revoked {
						t.Errorf("an entry that is there hits nothing: %v, %v", revoked, err)
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

// A machine without a clock starts in 1970, and learns the time a little later.
func TestList_ThatStartsIn1970ForgetsWhatHasExpired(t *testing.T) {
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
		for i := range many { // the table is full, and makes room
			require.NoError(t, list.RevokeToken(t.Context(), issuer, fmt.Sprint("later ", i), time.Now().Add(time.Hour)))
		}
		require.Less(t, list.Status().Entries, many+many/2)
		page, err := log.Since(t.Context(), "", 3*many)
		require.NoError(t, err)
		require.Len(t, page.Entries, many, "the log keeps what can still hit")
	})
}

// A client may present a dead token again and again, at an endpoint that revokes it.
func TestRevoke_WhatIsRevokedAlreadyIsNotAppended(t *testing.T) {
	for _, shared := range []bool{false, true} {
		t.Run(fmt.Sprint("a log that is shared: ", shared), func(t *testing.T) {
			var log revoke.Store = revoke.NewMemory()
			if shared {
				log = newNetwork()
			}
			clock := newClock()
			list := newList(t, log, revoke.WithClock(clock.read))
			require.NoError(t, list.Sync(t.Context()))
			entries := func() int {
				page, err := log.Since(t.Context(), "", 100)
				require.NoError(t, err)
				return len(page.Entries)
			}
			expires := clock.read().Add(time.Hour)
			for range 20 {
				require.NoError(t, list.RevokeToken(t.Context(), issuer, "a token", expires))
				require.NoError(t, list.RevokeSession(t.Context(), issuer, "a session"))
			}
			require.Equal(t, 2, entries())

			require.NoError(t, list.RevokeToken(t.Context(), issuer, "a token", expires.Add(time.Second)))
			require.Equal(t, 3, entries(), "it lives longer than was said before")
			clock.move(59 * time.Minute)
			require.NoError(t, list.RevokeSession(t.Context(), issuer, "a session"))
			require.Equal(t, 3, entries())
			clock.move(2 * time.Minute)
			for range 3 {
				require.NoError(t, list.RevokeSession(t.Context(), issuer, "a session"))
			}
			require.Equal(t, 4, entries(), "its tokens of the next lifetime are revoked, too")
			for range 3 { // up to now is another now each time
				require.NoError(t, list.RevokeSubject(t.Context(), issuer, "alice"))
			}
			require.Equal(t, 7, entries())
		})
	}
}

func TestRevoke_WhatCouldNotBeWrittenIsWrittenTheNextTime(t *testing.T) {
	for name, again := range map[string]func(l *revoke.List) error{
		"a token": func(l *revoke.List) error {
			return l.RevokeToken(context.Background(), issuer, "x", time.Now().Add(time.Hour).Truncate(time.Hour))
		},
		"a session": func(l *revoke.List) error { return l.RevokeSession(context.Background(), issuer, "x") },
	} {
		t.Run(name, func(t *testing.T) {
			log := newNetwork()
			list := newList(t, log)
			require.NoError(t, list.Sync(t.Context()))
			log.fail(errors.New("down"))
			for range 3 {
				require.Error(t, again(list))
			}
			log.fail(nil)
			for range 3 {
				require.NoError(t, again(list))
			}
			page, err := log.Since(t.Context(), "", 100)
			require.NoError(t, err)
			require.Len(t, page.Entries, 1)
		})
	}
}

// heldLog holds what is appended until it is let go, and then fails.
type heldLog struct {
	*network
	held, let chan struct{}
}

func (h *heldLog) Append(ctx context.Context, e revoke.Entry) error {
	h.held <- struct{}{}
	<-h.let
	return errors.New("down")
}

func TestRevoke_ANilErrorMeansThatItIsWrittenThoughAnotherCallIsWritingIt(t *testing.T) {
	log := &heldLog{newNetwork(), make(chan struct{}), make(chan struct{})}
	list := newList(t, log)
	require.NoError(t, list.Sync(t.Context()))
	errs := make(chan error)
	for range 2 {
		go func() { errs <- list.RevokeSession(context.Background(), issuer, "x") }()
		<-log.held
	}
	close(log.let)
	require.Error(t, <-errs)
	require.Error(t, <-errs)
}
