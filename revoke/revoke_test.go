package revoke_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/internal/revocation"
	"github.com/joinednode/jwtauth/keys"
	"github.com/joinednode/jwtauth/revoke"
)

func TestARevocationHitsWhatItIsAboutAndNothingElse(t *testing.T) {
	for name, test := range map[string]struct {
		revoke func(l *revoke.List, c jwtauth.Claims) error
		hits   map[string]bool // of the tokens below
	}{
		"a token": {func(l *revoke.List, c jwtauth.Claims) error {
			return l.RevokeToken(context.Background(), c.Issuer, c.ID, c.ExpiresAt)
		}, map[string]bool{"it": true}},
		"a subject": {func(l *revoke.List, c jwtauth.Claims) error {
			return l.RevokeSubject(context.Background(), c.Issuer, c.Subject)
		}, map[string]bool{"it": true, "of its subject": true}},
		"a container": {func(l *revoke.List, c jwtauth.Claims) error {
			return l.RevokeContainer(context.Background(), c.Issuer, c.Container)
		}, map[string]bool{"it": true, "of its container": true}},
		"a session": {func(l *revoke.List, c jwtauth.Claims) error {
			return l.RevokeSession(context.Background(), c.Issuer, "alice")
		}, nil},
		"the subject as a container": {func(l *revoke.List, c jwtauth.Claims) error {
			return l.RevokeContainer(context.Background(), c.Issuer, c.Subject)
		}, nil},
		"the jti as a subject": {func(l *revoke.List, c jwtauth.Claims) error {
			return l.RevokeSubject(context.Background(), c.Issuer, c.ID)
		}, nil},
		"a subject that begins alike": {func(l *revoke.List, c jwtauth.Claims) error {
			return l.RevokeSubject(context.Background(), c.Issuer, "alic")
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			list := newList(t, revoke.NewMemory())
			auth := newAuth(t, list)
			tokens := map[string]string{
				"it":               issue(t, auth, "demo", "alice"),
				"of its subject":   issue(t, auth, "other", "alice"),
				"of its container": issue(t, auth, "demo", "bob"),
				"of neither":       issue(t, auth, "other", "bob"),
			}
			c := claimsOf(t, auth, tokens["it"])
			require.NoError(t, test.revoke(list, c))
			for which, token := range tokens {
				if test.hits[which] {
					require.ErrorIs(t, verdict(auth, token), jwtauth.ErrRevoked, which)
				} else {
					require.NoError(t, verdict(auth, token), which)
				}
			}
		})
	}
}

func TestASessionIsRevokedForGood(t *testing.T) {
	list := newList(t, revoke.NewMemory())
	claims := jwtauth.Claims{Issuer: issuer, SessionID: "s1", IssuedAt: time.Now(), ExpiresAt: time.Now().Add(time.Hour)}
	require.NoError(t, list.RevokeSession(t.Context(), issuer, "s1"))
	for _, stamp := range []int64{0, stampOf(list, time.Now()), stampOf(list, time.Now().Add(time.Hour))} {
		claims.Stamp = stamp
		revoked, err := list.Revoked(t.Context(), claims)
		require.NoError(t, err)
		require.True(t, revoked)
	}
	claims.SessionID = "s2"
	revoked, err := list.Revoked(t.Context(), claims)
	require.NoError(t, err)
	require.False(t, revoked)
}

// upToNow are the two revocations that hit what was issued before them.
var upToNow = map[string]func(*revoke.List) error{
	"subject":   func(l *revoke.List) error { return l.RevokeSubject(context.Background(), issuer, "alice") },
	"container": func(l *revoke.List) error { return l.RevokeContainer(context.Background(), issuer, "demo") },
}

// What iat cannot tell, since many of these happen within a second, stamps must:
// every single verdict counts, wherever the clock goes.
func TestUpToNowIsExactWithinAProcess(t *testing.T) {
	for name, revokeNow := range upToNow {
		for clockName, tick := range map[string]func(*wallClock){
			"a clock that runs":             func(c *wallClock) { c.move(time.Microsecond) },
			"a clock that stands":           func(*wallClock) {},
			"a clock that jumps to and fro": func(c *wallClock) { c.move(time.Duration(rand.IntN(8001)-4000) * time.Millisecond) },
			"a clock that runs backwards":   func(c *wallClock) { c.move(-time.Millisecond) },
		} {
			t.Run(name+", "+clockName, func(t *testing.T) {
				clock := newClock()
				list := newList(t, revoke.NewMemory(), revoke.WithClock(clock.read))
				// Leeway, so that no token is refused for the clock alone.
				auth := newAuth(t, list, jwtauth.WithClock(clock.read), jwtauth.WithLeeway(jwtauth.MaxLeeway))
				other := issue(t, auth, "other", "bob")
				var old []string
				for i := range 500 {
					for range i % 3 {
						old = append(old, issue(t, auth, "demo", "alice"))
						tick(clock)
					}
					require.NoError(t, revokeNow(list))
					tick(clock)
					token := issue(t, auth, "demo", "alice")
					require.NoError(t, verdict(auth, token), "issued after revocation %d", i)
					tick(clock)
					for _, token := range old {
						require.ErrorIs(t, verdict(auth, token), jwtauth.ErrRevoked, "issued before revocation %d", i)
					}
					old = []string{token}
				}
				require.NoError(t, verdict(auth, other))
			})
		}
	}
}

// Many issue while one revokes: a token that was issued before a revocation began
// is refused when that has returned, one issued afterwards is accepted.
func TestUpToNowIsExactWhileOthersIssue(t *testing.T) {
	list := newList(t, revoke.NewMemory())
	auth := newAuth(t, list)
	var begun, ended atomic.Int64 // revocations
	done := make(chan struct{})
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				endedBefore := ended.Load()
				token, err := auth.Issue("demo", jwtauth.Subject("alice"))
				if err != nil {
					t.Error(err)
					return
				}
				begunAfter := begun.Load()
				// If none is under way or began since, the token must be good.
				if err := verdict(auth, token); err != nil && begun.Load() == endedBefore {
					t.Error("refused without a revocation:", err)
				}
				// Once a revocation that began after it has ended, it must be bad.
				if ended.Load() > begunAfter && verdict(auth, token) == nil {
					t.Error("accepted after a revocation")
				}
			}
		})
	}
	for range 2000 {
		begun.Add(1)
		if err := list.RevokeSubject(t.Context(), issuer, "alice"); err != nil {
			t.Error(err)
		}
		ended.Add(1)
	}
	close(done)
	group.Wait()
}

// What one process stamps lies behind its own latest revocation, by as much as its
// clock is ahead. Another process must reach that, before it has heard of it.
func TestUpToNowReachesWhatOthersStamped(t *testing.T) {
	for name, test := range map[string]struct{ ahead, jump time.Duration }{
		"clocks that agree":              {0, 0},
		"a clock that is a little ahead": {5 * time.Millisecond, 0},
		"a clock that is much ahead":     {900 * time.Millisecond, 0},
		"a clock that had jumped":        {0, time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			log, here, there := newNetwork(), newClock(), newClock()
			p, q := newList(t, log, revoke.WithClock(here.read)), newList(t, log, revoke.WithClock(there.read))
			authP, authQ := newAuth(t, p, jwtauth.WithClock(here.read)), newAuth(t, q, jwtauth.WithClock(there.read))
			pass := func(d time.Duration) {
				here.move(d)
				there.move(d)
			}
			there.move(test.ahead)
			there.move(test.jump)
			require.NoError(t, q.Sync(t.Context()))
			require.NoError(t, q.RevokeSubject(t.Context(), issuer, "x"))
			there.move(-test.jump)
			require.NoError(t, p.Sync(t.Context()))
			pass(time.Minute)
			require.NoError(t, q.RevokeSubject(t.Context(), issuer, "somebody else"))
			pass(time.Millisecond)
			token := issue(t, authQ, "demo", "alice")
			pass(time.Millisecond)
			require.NoError(t, p.RevokeContainer(t.Context(), issuer, "demo"))
			require.NoError(t, q.Sync(t.Context()))
			for _, auth := range []*jwtauth.Auth{authP, authQ} {
				require.ErrorIs(t, verdict(auth, token), jwtauth.ErrRevoked)
			}
			pass(2 * time.Second) // past the skew
			again := issue(t, authP, "demo", "alice")
			for _, auth := range []*jwtauth.Auth{authP, authQ} {
				require.NoError(t, verdict(auth, again))
			}
		})
	}
}

// Nobody else knows of what could not be written, and no token may have a stamp
// behind it.
func TestWhatCouldNotBeWrittenMovesNoStamps(t *testing.T) {
	log, clock := newNetwork(), newClock()
	list := newList(t, log, revoke.WithClock(clock.read))
	require.NoError(t, list.Sync(t.Context()))
	log.fail(errors.New("down"))
	require.Error(t, list.RevokeSubject(t.Context(), issuer, "alice"))
	require.Equal(t, clock.read().UnixMicro(), stampOf(list, clock.read()))
}

// Tokens of an Auth that has no list carry no stamp: iat decides, in favour of
// the revocation.
func TestATokenWithoutAStampIsJudgedByItsIat(t *testing.T) {
	clock := newClock()
	list := newList(t, revoke.NewMemory(), revoke.WithClock(clock.read))
	auth := newAuth(t, list, jwtauth.WithClock(clock.read))
	foreign, err := jwtauth.New(keys.HS256(secret), jwtauth.WithIssuer(issuer), jwtauth.WithClock(clock.read))
	require.NoError(t, err)
	clock.move(300 * time.Millisecond)
	require.NoError(t, list.RevokeSubject(t.Context(), issuer, "alice"))
	clock.move(300 * time.Millisecond)
	require.ErrorIs(t, verdict(auth, issue(t, foreign, "demo", "alice")), jwtauth.ErrRevoked, "within the same second")
	clock.move(400 * time.Millisecond)
	require.NoError(t, verdict(auth, issue(t, foreign, "demo", "alice")))
}

func TestWhatCannotBeRevokedIsAnError(t *testing.T) {
	list := newList(t, revoke.NewMemory())
	soon, long := time.Now().Add(time.Hour), strings.Repeat("x", revoke.MaxText+1)
	for name, test := range map[string]struct {
		err  error
		want string
	}{
		"a token without a jti":             {list.RevokeToken(t.Context(), issuer, "", soon), "RevokeToken: the id is empty"},
		"a token without an expiry":         {list.RevokeToken(t.Context(), issuer, "x", time.Time{}), "expires is zero"},
		"a session without an id":           {list.RevokeSession(t.Context(), issuer, ""), "RevokeSession: the id is empty"},
		"a subject without a name":          {list.RevokeSubject(t.Context(), issuer, ""), "RevokeSubject: the id is empty"},
		"a container without a name":        {list.RevokeContainer(t.Context(), issuer, ""), "RevokeContainer: the id is empty"},
		"an id that is too long":            {list.RevokeSubject(t.Context(), issuer, long), "more than 1024 bytes"},
		"an issuer that is too long":        {list.RevokeSubject(t.Context(), long, "x"), "more than 1024 bytes"},
		"anything while ctx has ended":      {list.RevokeSubject(ended(), issuer, "x"), "context canceled"},
		"but not a token that is long past": {list.RevokeToken(t.Context(), issuer, "x", time.Now().Add(-time.Hour)), ""},
	} {
		t.Run(name, func(t *testing.T) {
			if test.want == "" {
				require.NoError(t, test.err)
				return
			}
			require.ErrorContains(t, test.err, test.want)
		})
	}
}

func ended() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

func TestOptionsThatAreWrong(t *testing.T) {
	for name, test := range map[string]struct {
		store revoke.Store
		opts  []revoke.Option
		want  string
	}{
		"no store":             {nil, nil, "revoke.NewMemory()"},
		"a nil option":         {revoke.NewMemory(), []revoke.Option{nil}, "option 1 is nil"},
		"no lifetime":          {revoke.NewMemory(), []revoke.Option{revoke.WithMaxLifetime(0)}, "WithMaxLifetime(0s)"},
		"an endless lifetime":  {revoke.NewMemory(), []revoke.Option{revoke.WithMaxLifetime(math.MaxInt64)}, "WithMaxLifetime("},
		"an endless skew":      {revoke.NewMemory(), []revoke.Option{revoke.WithSkew(math.MaxInt64)}, "WithSkew("},
		"endless staleness":    {revoke.NewMemory(), []revoke.Option{revoke.WithStaleness(math.MaxInt64)}, "WithStaleness("},
		"no staleness":         {revoke.NewMemory(), []revoke.Option{revoke.WithStaleness(0)}, "WithStaleness(0s)"},
		"no interval":          {revoke.NewMemory(), []revoke.Option{revoke.WithInterval(0)}, "WithInterval(0s)"},
		"a negative skew":      {revoke.NewMemory(), []revoke.Option{revoke.WithSkew(-1)}, "WithSkew(-1ns)"},
		"no clock":             {revoke.NewMemory(), []revoke.Option{revoke.WithClock(nil)}, "WithClock"},
		"no logger":            {revoke.NewMemory(), []revoke.Option{revoke.WithLogger(nil)}, "WithLogger"},
		"an interval too long": {revoke.NewMemory(), []revoke.Option{revoke.WithInterval(time.Second), revoke.WithStaleness(3 * time.Second)}, "at most a quarter"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := revoke.New(test.store, test.opts...)
			require.ErrorContains(t, err, "revoke: New: ")
			require.ErrorContains(t, err, test.want)
		})
	}
}

func TestAnAuthWhoseTokensOutliveTheListIsRefused(t *testing.T) {
	list := newList(t, revoke.NewMemory(), revoke.WithMaxLifetime(time.Hour))
	_, err := jwtauth.New(keys.HS256(secret), jwtauth.WithRevocations(list))
	require.ErrorContains(t, err, "forgets after 1h0m0s, and tokens may live 240h0m0s")
	_, err = jwtauth.New(keys.HS256(secret), jwtauth.WithRevocations(list), jwtauth.WithTTL(time.Hour), jwtauth.WithMaxLifetime(time.Hour))
	require.NoError(t, err)
}

// fleet is two processes with a list each over one log.
type fleet struct {
	network
	here, there         *revoke.List
	authHere, authThere *jwtauth.Auth
	logged              strings.Builder
	mu                  sync.Mutex
}

func (f *fleet) Write(line []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.logged.Write(line)
}

func (f *fleet) log() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.logged.String()
}

// inFleet runs a test with two processes in a bubble with a clock of its own;
// both follow the log.
func inFleet(t *testing.T, test func(t *testing.T, f *fleet), opts ...revoke.Option) {
	synctest.Test(t, func(t *testing.T) {
		f := &fleet{}
		f.network.log = revoke.NewMemory()
		opts = append([]revoke.Option{revoke.WithLogger(slog.New(slog.NewTextHandler(f, nil)))}, opts...)
		f.here, f.there = newList(t, &f.network, opts...), newList(t, &f.network, opts...)
		f.authHere, f.authThere = newAuth(t, f.here), newAuth(t, f.there)
		require.ErrorIs(t, verdict(f.authThere, issue(t, f.authThere, "demo", "alice")), jwtauth.ErrUnavailable, "before the log was read")
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

func TestWhatIsRevokedHereIsRefusedThere(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		token, other := issue(t, f.authThere, "demo", "alice"), issue(t, f.authThere, "demo", "bob")
		require.NoError(t, verdict(f.authHere, token))
		require.NoError(t, f.here.RevokeSubject(t.Context(), issuer, "alice"))
		require.ErrorIs(t, verdict(f.authHere, token), jwtauth.ErrRevoked, "here at once")
		require.NoError(t, verdict(f.authThere, token), "there not yet")
		time.Sleep(revoke.DefaultInterval)
		synctest.Wait()
		require.ErrorIs(t, verdict(f.authThere, token), jwtauth.ErrRevoked)
		require.NoError(t, verdict(f.authThere, other))
		again := issue(t, f.authThere, "demo", "alice")
		require.NoError(t, verdict(f.authThere, again), "what is issued from then on is good")
		require.NoError(t, verdict(f.authHere, again))
	})
}

func TestAListThatCannotReadItsLogRefusesInTimeAndRecovers(t *testing.T) {
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
		require.Equal(t, 2, strings.Count(f.log(), "no connection"), "each says it once: %s", f.log())

		require.ErrorIs(t, f.here.RevokeSubject(t.Context(), issuer, "alice"), outage)
		f.fail(nil)
		time.Sleep(revoke.DefaultInterval)
		synctest.Wait()
		require.NoError(t, verdict(f.authThere, token), "it recovers by itself")
		require.ErrorIs(t, verdict(f.authHere, token), jwtauth.ErrRevoked, "what could not be written counts here")
		require.True(t, f.there.Status().Ready)
		require.NoError(t, f.there.Status().Err)
		require.Equal(t, 2, strings.Count(f.log(), "can be read again"))
	})
}

func TestAListMayCarryOnByItsOwnWish(t *testing.T) {
	inFleetAccepting := func(test func(t *testing.T, list *revoke.List, n *network)) {
		synctest.Test(t, func(t *testing.T) {
			n := newNetwork()
			test(t, newList(t, n, revoke.InsecureAcceptStale()), n)
		})
	}
	inFleetAccepting(func(t *testing.T, list *revoke.List, n *network) {
		auth := newAuth(t, list)
		token, other := issue(t, auth, "demo", "alice"), issue(t, auth, "demo", "bob")
		require.NoError(t, verdict(auth, token), "never read")
		require.NoError(t, list.Sync(t.Context()))
		require.NoError(t, list.RevokeSubject(t.Context(), issuer, "alice"))
		n.fail(errors.New("down"))
		time.Sleep(time.Hour)
		require.NoError(t, verdict(auth, other))
		require.ErrorIs(t, verdict(auth, token), jwtauth.ErrRevoked, "what is known counts")
	})
}

// A log that was replaced, or put back from an older backup, is read from its
// beginning; what was known before stays known.
func TestALogThatWasReplacedIsReadAgain(t *testing.T) {
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

func TestALongLogIsReadInParts(t *testing.T) {
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

// Entries live as long as what they hit, and no longer.
func TestEntriesAreForgottenWhenNothingIsLeftToHit(t *testing.T) {
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
		require.Equal(t, 1, entries(), "the log keeps what can still hit")
		require.ErrorIs(t, verdict(auth, token), jwtauth.ErrRevoked)
		for i := range short { // the table is full, and makes room
			require.NoError(t, list.RevokeToken(t.Context(), issuer, fmt.Sprint("later ", i), time.Now().Add(time.Minute)))
		}
		require.Less(t, list.Status().Entries, 2*short)
		require.ErrorIs(t, verdict(auth, token), jwtauth.ErrRevoked)

		time.Sleep(2 * time.Hour)
		require.NoError(t, list.Sync(t.Context()))
		require.Zero(t, entries())
	})
}

func TestAMemoryDropsWhatHasExpiredAsItGrows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := revoke.NewMemory()
		list := newList(t, log)
		for i := range 100 {
			require.NoError(t, list.RevokeToken(t.Context(), issuer, fmt.Sprint(i), time.Now().Add(time.Hour)))
			time.Sleep(time.Hour)
		}
		page, err := log.Since(t.Context(), "", 1000)
		require.NoError(t, err)
		require.Len(t, page.Entries, 2)
	})
}

// stuck is a store with a defect: it says More and never moves on.
type stuck struct{ *revoke.Memory }

func (s stuck) Since(context.Context, string, int) (revoke.Page, error) {
	return revoke.Page{Cursor: "here", More: true}, nil
}

func TestAStoreThatNeverComesToItsEndIsAnError(t *testing.T) {
	list := newList(t, stuck{revoke.NewMemory()})
	require.ErrorContains(t, list.Sync(t.Context()), "does not move")
	require.False(t, list.Status().Ready)
}

// Entries of a version to come, or that somebody wrote by hand: what cannot be
// judged lets nothing pass.
func TestAnEntryThatCannotBeJudgedFailsClosed(t *testing.T) {
	soon := time.Now().Add(time.Hour)
	for name, e := range map[string]revoke.Entry{
		"of an unknown kind":         {Kind: revoke.Container + 1, ID: "x", Expires: soon},
		"of no kind":                 {ID: "x", Expires: soon},
		"of a negative kind":         {Kind: -1, ID: "x", Expires: soon},
		"without an id":              {Kind: revoke.Token, Expires: soon},
		"of an epoch in nanoseconds": {Kind: revoke.Subject, ID: "x", Epoch: time.Now().UnixNano(), Expires: soon},
		"of an epoch without end":    {Kind: revoke.Subject, ID: "x", Epoch: math.MaxInt64, Expires: soon},
	} {
		t.Run(name, func(t *testing.T) {
			list := newList(t, foreign{newNetwork(), e})
			require.ErrorContains(t, list.Sync(t.Context()), "cannot use")
			require.False(t, list.Status().Ready)
			require.Error(t, revoke.NewMemory().Append(t.Context(), e))
		})
	}
}

// foreign is a log that holds an entry which was not written by this package.
type foreign struct {
	*network
	entry revoke.Entry
}

func (f foreign) Since(context.Context, string, int) (revoke.Page, error) {
	return revoke.Page{Entries: []revoke.Entry{f.entry}, Cursor: "1"}, nil
}

func TestAnExpiryBeyondAllTimeIsKept(t *testing.T) {
	for name, expires := range map[string]time.Time{
		"of a year that no token has": time.Date(300_000, 1, 1, 0, 0, 0, 0, time.UTC),
		"that microseconds overflow":  time.Unix(1<<62, 0),
		"to which one cannot add":     time.Unix(1<<63-62135596801, 999_999_999),
	} {
		t.Run(name, func(t *testing.T) {
			log := revoke.NewMemory()
			list := newList(t, log)
			auth := newAuth(t, list)
			token := issue(t, auth, "demo", "alice")
			require.NoError(t, list.RevokeToken(t.Context(), issuer, claimsOf(t, auth, token).ID, expires))
			for i := range 100 { // the table is renewed
				require.NoError(t, list.RevokeToken(t.Context(), issuer, fmt.Sprint(i), time.Now().Add(time.Hour)))
			}
			require.ErrorIs(t, verdict(auth, token), jwtauth.ErrRevoked)
			require.NoError(t, log.Purge(t.Context(), time.Now()))
			require.ErrorIs(t, verdict(newAuth(t, newList(t, log)), token), jwtauth.ErrRevoked, "nor is it purged")
		})
	}
}

// A session that is ended while the clock is behind stays ended as long as the
// tokens that were issued before live.
func TestASessionEndedByALateClockStaysEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clock := newClock()
		list := newList(t, revoke.NewMemory(), revoke.WithClock(clock.read), revoke.WithMaxLifetime(24*time.Hour))
		c := jwtauth.Claims{Issuer: issuer, SessionID: "s", IssuedAt: clock.read(), ExpiresAt: clock.read().Add(24 * time.Hour), Stamp: stampOf(list, clock.read())}
		clock.move(-time.Hour)
		require.NoError(t, list.RevokeSession(t.Context(), issuer, "s"))
		clock.move(24*time.Hour + 30*time.Minute)
		time.Sleep(24 * time.Hour)
		for i := range 100 { // the table is renewed
			require.NoError(t, list.RevokeSession(t.Context(), issuer, fmt.Sprint(i)))
		}
		revoked, err := list.Revoked(t.Context(), c)
		require.NoError(t, err)
		require.True(t, revoked)
	})
}

// unpurged is a log whose Purge fails.
type unpurged struct {
	*network
	asked *atomic.Int64
}

func (u unpurged) Purge(context.Context, time.Time) error {
	u.asked.Add(1)
	return errors.New("DELETE was denied")
}

func TestAPurgeThatFailsIsTriedAgainAnHourLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int64
		list := newList(t, unpurged{newNetwork(), &asked})
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Hour+time.Minute+revoke.DefaultInterval/2)
		defer cancel()
		require.ErrorIs(t, list.Run(ctx), context.DeadlineExceeded)
		require.EqualValues(t, 3, asked.Load())
		require.NoError(t, list.Status().Err)
	})
}

// A server that starts with a wrong clock must not purge what others need.
func TestAClockThatIsWrongAtTheStartPurgesNothing(t *testing.T) {
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

// banning is a checker of somebody's own, which asks a list besides.
type banning struct {
	*revoke.List
	banned *bool
}

func (b banning) Revoked(ctx context.Context, c jwtauth.Claims) (bool, error) {
	if *b.banned {
		return true, nil
	}
	return b.List.Revoked(ctx, c)
}

func TestACheckerThatEmbedsAListIsAskedItself(t *testing.T) {
	banned := false
	auth, err := jwtauth.New(keys.HS256(secret), jwtauth.WithIssuer(issuer), jwtauth.WithRevocations(banning{newList(t, revoke.NewMemory()), &banned}))
	require.NoError(t, err)
	token := issue(t, auth, "demo", "alice")
	require.NoError(t, verdict(auth, token)) // it is remembered from here on
	banned = true
	require.ErrorIs(t, verdict(auth, token), jwtauth.ErrRevoked)
}

// A clock that jumps ahead and comes back must not have made the list forget.
func TestAClockThatJumpsAheadForgetsNothing(t *testing.T) {
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
	require.NoError(t, list.RevokeToken(t.Context(), c.Issuer, c.ID, c.ExpiresAt), "which has expired by this clock")
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

// Readers take no lock: what is on the list is found at every moment, however the
// table is being replaced, and what is not is never found.
func TestWhoeverReadsWhileEntriesComeMissesNone(t *testing.T) {
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
						t.Error("missed", id)
						return
					}
					if revoked, _ := list.Revoked(context.Background(), jwtauth.Claims{Issuer: issuer, ID: fmt.Sprint("no ", id)}); revoked {
						t.Error("found what was not there")
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

func TestTwoListsOverOneMemoryKnowAllAtOnce(t *testing.T) {
	log := revoke.NewMemory()
	first := newList(t, log)
	require.NoError(t, first.RevokeSubject(t.Context(), issuer, "before"))
	second := newList(t, log)
	for _, subject := range []string{"before", "after"} {
		token := issue(t, newAuth(t, first), "demo", subject)
		require.NoError(t, verdict(newAuth(t, second), token))
		require.NoError(t, first.RevokeSubject(t.Context(), issuer, subject))
		require.ErrorIs(t, verdict(newAuth(t, second), token), jwtauth.ErrRevoked)
	}
	require.Equal(t, revoke.Status{Ready: true, Entries: 2}, second.Status())
	require.Equal(t, time.Duration(-1), newList(t, newNetwork()).Status().Age)
}

// Clear is asked first, for tokens that are cached: it may be wrong on one side only.
func TestNothingThatIsRevokedIsClear(t *testing.T) {
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
	require.False(t, unread.Clear(marksOf(unread, issuer)), "nothing is known yet")
}

func stampOf(list *revoke.List, now time.Time) int64 {
	inner, _ := revocation.Of(list)
	return inner.Stamp(now)
}
