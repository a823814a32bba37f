package revoke_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/revoke"
)

func TestSync_TheListIsStaleFromTheBeginningOfItsLastReading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const staleness, takes = 10 * time.Second, 2 * time.Second
		log := newNetwork()
		log.onReturn("Since", func() { time.Sleep(takes) }) // Since reads the log, and then takes this long to return
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
		require.ErrorIs(t, asked(), revoke.ErrStale, "an entry may have been appended since the last reading began")
	})
}

// fleet stands for two processes. Each has a list that follows the same log.
type fleet struct {
	*network
	here, there         *revoke.List
	authHere, authThere *jwtauth.Auth
	logged              logBuffer
}

// inFleet runs a test with two processes that follow the log, in a synctest bubble.
func inFleet(t *testing.T, test func(t *testing.T, f *fleet), opts ...revoke.Option) {
	synctest.Test(t, func(t *testing.T) {
		f := &fleet{network: newNetwork()}
		opts = append([]revoke.Option{revoke.WithLogger(slog.New(slog.NewTextHandler(&f.logged, nil)))}, opts...)
		f.here, f.there = newList(t, f.network, opts...), newList(t, f.network, opts...)
		f.authHere, f.authThere = newAuth(t, f.here), newAuth(t, f.there)
		require.ErrorIs(t, verdict(f.authThere, issue(t, f.authThere, "demo", "alice")), jwtauth.ErrUnavailable, "no token may be accepted before the log was read")
		ctx, stop := context.WithCancel(t.Context())
		var group sync.WaitGroup
		for _, l := range []*revoke.List{f.here, f.there} {
			group.Go(func() { assert.ErrorIs(t, l.Run(ctx), context.Canceled) })
		}
		synctest.Wait()
		test(t, f)
		stop()
		group.Wait()
	})
}

func TestRun_RejectsThereWhatIsRevokedHere(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		token, other := issue(t, f.authThere, "demo", "alice"), issue(t, f.authThere, "demo", "bob")
		require.NoError(t, verdict(f.authHere, token))
		require.NoError(t, f.here.RevokeSubject(t.Context(), issuer, "alice"))
		require.ErrorIs(t, verdict(f.authHere, token), jwtauth.ErrRevoked, "the process that revokes must reject the token at once")
		require.NoError(t, verdict(f.authThere, token), "the other process has not read the entry yet")
		time.Sleep(revoke.DefaultInterval)
		synctest.Wait()
		require.ErrorIs(t, verdict(f.authThere, token), jwtauth.ErrRevoked)
		require.NoError(t, verdict(f.authThere, other))
		again := issue(t, f.authThere, "demo", "alice")
		require.NoError(t, verdict(f.authThere, again), "a token that is issued from then on must be accepted")
		require.NoError(t, verdict(f.authHere, again))
	})
}

func TestRun_WithoutALogTheListRejectsInTimeAndRecovers(t *testing.T) {
	outage := errors.New("no connection")
	inFleet(t, func(t *testing.T, f *fleet) {
		token := issue(t, f.authThere, "demo", "alice")
		f.fail(outage)
		broken := time.Now()
		for verdict(f.authThere, token) == nil {
			time.Sleep(10 * time.Millisecond)
			synctest.Wait()
		}
		require.ErrorIs(t, verdict(f.authThere, token), jwtauth.ErrUnavailable)
		require.ErrorIs(t, verdict(f.authThere, token), revoke.ErrStale)
		require.InDelta(t, revoke.DefaultStaleness, time.Since(broken), float64(revoke.DefaultInterval+20*time.Millisecond))
		require.False(t, f.there.Status().Ready)
		require.ErrorIs(t, f.there.Status().Err, outage)
		require.Greater(t, f.there.Status().Age, revoke.DefaultStaleness)
		require.Equal(t, 2, strings.Count(f.logged.String(), "no connection"), "each list must log the outage once: %s", f.logged.String())

		require.ErrorIs(t, f.here.RevokeSubject(t.Context(), issuer, "alice"), outage)
		f.fail(nil)
		time.Sleep(revoke.DefaultInterval)
		synctest.Wait()
		require.NoError(t, verdict(f.authThere, token), "the list must recover by itself")
		require.ErrorIs(t, verdict(f.authHere, token), jwtauth.ErrRevoked, "a revocation that could not be written must still count in its process")
		require.True(t, f.there.Status().Ready)
		require.NoError(t, f.there.Status().Err)
		require.Equal(t, 2, strings.Count(f.logged.String(), "can be read again"))
	})
}

// A list must read a log that was replaced, or restored from an older backup, from its
// beginning. It must keep the entries that it already has.
func TestRun_ReadsALogThatWasReplacedFromItsBeginning(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		alice, bob := issue(t, f.authThere, "demo", "alice"), issue(t, f.authThere, "demo", "bob")
		require.NoError(t, f.here.RevokeSubject(t.Context(), issuer, "alice"))
		time.Sleep(revoke.DefaultInterval)
		synctest.Wait()
		another := revoke.NewMemory()
		require.NoError(t, newList(t, another).RevokeSubject(t.Context(), issuer, "bob"))
		f.replace(another)
		time.Sleep(revoke.DefaultInterval)
		synctest.Wait()
		for _, token := range []string{alice, bob} {
			require.ErrorIs(t, verdict(f.authThere, token), jwtauth.ErrRevoked)
		}
	})
}

func TestSync_ReadsALongLogInPages(t *testing.T) {
	log := newNetwork()
	list, follower := newList(t, log), newList(t, log, revoke.WithStaleness(time.Hour))
	const entries = 25_000
	for i := range entries {
		require.NoError(t, list.RevokeToken(t.Context(), issuer, fmt.Sprint(i), time.Now().Add(time.Hour)))
	}
	require.NoError(t, follower.Sync(t.Context()))
	require.Equal(t, entries, follower.Status().Entries)
	for i := range entries {
		revoked, err := follower.Revoked(t.Context(), jwtauth.Claims{Issuer: issuer, ID: fmt.Sprint(i)})
		require.NoError(t, err)
		require.True(t, revoked)
	}
}

// An entry must be kept until the tokens that it revokes have expired, and be dropped soon
// after that.
func TestSync_DropsEntriesWhenNothingIsLeftToHit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newNetwork()
		list := newList(t, log, revoke.WithMaxLifetime(jwtauth.DefaultTTL))
		auth := newAuth(t, list)
		token := issue(t, auth, "demo", "alice", jwtauth.TTL(jwtauth.DefaultTTL))
		require.NoError(t, list.Sync(t.Context()))
		require.NoError(t, list.RevokeSubject(t.Context(), issuer, "alice"))
		const short = 500
		for i := range short {
			require.NoError(t, list.RevokeToken(t.Context(), issuer, fmt.Sprint(i), time.Now().Add(time.Minute)))
		}
		entries := func() int {
			page, err := log.Since(t.Context(), "", 10*short)
			require.NoError(t, err)
			return len(page.Entries)
		}
		require.Equal(t, short+1, entries())

		time.Sleep(jwtauth.DefaultTTL - time.Second)
		require.NoError(t, list.Sync(t.Context()))
		require.Equal(t, 1, entries(), "the log must keep entries whose tokens have not expired")
		require.ErrorIs(t, verdict(auth, token), jwtauth.ErrRevoked)
		for i := range short { // fill the table, so that it is replaced
			require.NoError(t, list.RevokeToken(t.Context(), issuer, fmt.Sprint("later ", i), time.Now().Add(time.Minute)))
		}
		require.Less(t, list.Status().Entries, 2*short)
		require.ErrorIs(t, verdict(auth, token), jwtauth.ErrRevoked)

		time.Sleep(2 * time.Hour)
		require.NoError(t, list.Sync(t.Context()))
		require.Zero(t, entries())
	})
}

func TestSync_AStoreThatNeverComesToItsEndIsAnError(t *testing.T) {
	log := newNetwork()
	log.answer(revoke.Page{Cursor: "here", More: true})
	list := newList(t, log)
	require.ErrorContains(t, list.Sync(t.Context()), "does not move")
	require.False(t, list.Status().Ready)
}

func TestRun_TriesAPurgeThatFailedAgainAnHourLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int64
		log := newNetwork()
		log.fail(errors.New("DELETE was denied"), "Purge")
		log.onReturn("Purge", func() { asked.Add(1) })
		list := newList(t, log)
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Hour+time.Minute+revoke.DefaultInterval/2)
		defer cancel()
		require.ErrorIs(t, list.Run(ctx), context.DeadlineExceeded)
		require.EqualValues(t, 3, asked.Load())
		require.NoError(t, list.Status().Err)
	})
}

// A server that starts with a wrong clock must not purge entries that other servers need.
func TestSync_PurgesNothingByAClockThatIsWrongAtTheStart(t *testing.T) {
	log := newNetwork()
	good := newList(t, log)
	require.NoError(t, good.Sync(t.Context()))
	token := issue(t, newAuth(t, good), "demo", "alice")
	require.NoError(t, good.RevokeContainer(t.Context(), issuer, "demo"))
	wrong := newList(t, log, revoke.WithClock(func() time.Time { return time.Now().Add(60 * 24 * time.Hour) }))
	require.NoError(t, wrong.Sync(t.Context()))
	fresh := newList(t, log)
	require.NoError(t, fresh.Sync(t.Context()))
	require.ErrorIs(t, verdict(newAuth(t, fresh), token), jwtauth.ErrRevoked)
}

// A hundred calls of Sync come while the log is being read. One more read must be enough for
// all of them.
func TestSync_CallsAtTheSameTimeShareARead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newNetwork()
		list := newList(t, log)
		reads, goOn := 0, make(chan struct{})
		log.onReturn("Since", func() {
			if reads++; reads == 1 {
				<-goOn
			}
		})
		var all sync.WaitGroup
		all.Go(func() { assert.NoError(t, list.Sync(t.Context())) })
		synctest.Wait()
		// The first read may miss this entry.
		require.NoError(t, log.Append(t.Context(), revoke.Entry{Kind: revoke.Session, Issuer: issuer, ID: "s", Expires: time.Now().Add(time.Hour)}))
		for range 100 {
			all.Go(func() {
				assert.NoError(t, list.Sync(t.Context()))
				revoked, err := list.Revoked(t.Context(), jwtauth.Claims{Issuer: issuer, SessionID: "s"})
				assert.NoError(t, err)
				assert.True(t, revoked)
			})
		}
		synctest.Wait()
		time.Sleep(time.Millisecond) // the next read must begin after the calls
		close(goOn)
		all.Wait()
		require.Equal(t, 2, reads)
	})
}
