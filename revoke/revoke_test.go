package revoke_test

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/internal/revocation"
	"github.com/joinednode/jwtauth/jwtauthtest"
	"github.com/joinednode/jwtauth/keys"
	"github.com/joinednode/jwtauth/revoke"
)

func TestRevoke_HitsWhatItIsAboutAndNothingElse(t *testing.T) {
	for name, test := range map[string]struct {
		revoke func(l *revoke.List, c jwtauth.Claims) error
		hits   map[string]bool // which of the tokens below are revoked
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

func TestRevokeSession_IsForGood(t *testing.T) {
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

// upToNow holds calls of the methods that end all tokens issued so far.
var upToNow = map[string]func(*revoke.List) error{
	"subject":   func(l *revoke.List) error { return l.RevokeSubject(context.Background(), issuer, "alice") },
	"container": func(l *revoke.List) error { return l.RevokeContainer(context.Background(), issuer, "demo") },
	"access":    func(l *revoke.List) error { return l.ExpireAccess(context.Background(), issuer, "alice") },
}

// endedBy returns the error with which the tokens of a session are rejected after a call of
// upToNow[name].
func endedBy(name string) error {
	if name == "access" {
		return jwtauth.ErrExpired
	}
	return jwtauth.ErrRevoked
}

// Many tokens are issued in the same second, so their iat does not tell which of them were
// issued before a revocation. Their stamps must tell, however the clock moves.
func TestRevokeSubject_IsExactWithinAProcess(t *testing.T) {
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
				// With this leeway, no token is rejected only because the clock moved.
				auth := newAuth(t, list, jwtauth.WithClock(clock.read), jwtauth.WithLeeway(jwtauth.MaxLeeway))
				other := issue(t, auth, "other", "bob")
				var old []string
				for i := range 500 {
					for range i % 3 {
						old = append(old, issue(t, auth, "demo", "alice", jwtauth.SessionID("s")))
						tick(clock)
					}
					require.NoError(t, revokeNow(list))
					tick(clock)
					token := issue(t, auth, "demo", "alice", jwtauth.SessionID("s"))
					require.NoError(t, verdict(auth, token), "issued after revocation %d", i)
					tick(clock)
					for _, token := range old {
						require.ErrorIs(t, verdict(auth, token), endedBy(name), "issued before revocation %d", i)
					}
					old = []string{token}
				}
				require.NoError(t, verdict(auth, other))
			})
		}
	}
}

// Several goroutines issue tokens while one revokes. Once a revocation has returned, all
// tokens that were issued before it began must be rejected. A token that is issued after it
// must be accepted, until the next revocation.
func TestRevokeSubject_IsExactWhileGoroutinesIssue(t *testing.T) {
	list := newList(t, revoke.NewMemory())
	auth := newAuth(t, list)
	var begun, ended atomic.Int64 // how many revocations have begun, and have ended
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
				// If no revocation was under way, and none has begun since, the token
				// must be accepted.
				if err := verdict(auth, token); err != nil && begun.Load() == endedBefore {
					t.Error("rejected without a revocation:", err)
				}
				// If a revocation that began after the issue has ended, the token must be
				// rejected.
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

// A process gives its tokens stamps after the epoch of its own latest revocation, even if its
// clock was ahead at that time. A revocation by another process must reach these tokens too.
func TestRevokeSubject_ReachesWhatOtherProcessesStamped(t *testing.T) {
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
			require.NoError(t, q.RevokeSubject(t.Context(), issuer, "another subject"))
			pass(time.Millisecond)
			token := issue(t, authQ, "demo", "alice")
			pass(time.Millisecond)
			require.NoError(t, p.RevokeContainer(t.Context(), issuer, "demo"))
			require.NoError(t, q.Sync(t.Context()))
			for _, auth := range []*jwtauth.Auth{authP, authQ} {
				require.ErrorIs(t, verdict(auth, token), jwtauth.ErrRevoked)
			}
			pass(2 * time.Second) // more than the skew
			again := issue(t, authP, "demo", "alice")
			for _, auth := range []*jwtauth.Auth{authP, authQ} {
				require.NoError(t, verdict(auth, again))
			}
		})
	}
}

// If a revocation could not be written, other processes do not know its epoch. New tokens
// must then not get stamps after this epoch.
func TestRevokeSubject_ThatCouldNotBeWrittenMovesNoStamps(t *testing.T) {
	log, clock := newNetwork(), newClock()
	list := newList(t, log, revoke.WithClock(clock.read))
	require.NoError(t, list.Sync(t.Context()))
	log.fail(errors.New("down"))
	require.Error(t, list.RevokeSubject(t.Context(), issuer, "alice"))
	require.Equal(t, clock.read().UnixMicro(), stampOf(list, clock.read()))
}

// Tokens of an Auth without a list have no stamp, so iat decides. A token that was issued in
// the same second as the revocation must be rejected.
func TestRevokeSubject_HitsATokenWithoutAStampByItsIat(t *testing.T) {
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

func TestRevoke_WhatCannotBeRevokedIsAnError(t *testing.T) {
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

func TestRevokeToken_KeepsAnExpiryBeyondAllTime(t *testing.T) {
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
			for i := range 100 { // enough for the table to be replaced
				require.NoError(t, list.RevokeToken(t.Context(), issuer, fmt.Sprint(i), time.Now().Add(time.Hour)))
			}
			require.ErrorIs(t, verdict(auth, token), jwtauth.ErrRevoked)
			require.NoError(t, log.Purge(t.Context(), time.Now()))
			require.ErrorIs(t, verdict(newAuth(t, newList(t, log)), token), jwtauth.ErrRevoked, "the entry must not be purged")
		})
	}
}

// If a session is revoked while the clock is behind, the entry must be kept until the tokens
// issued before have expired.
func TestRevokeSession_ByALateClockIsForGood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clock := newClock()
		list := newList(t, revoke.NewMemory(), revoke.WithClock(clock.read), revoke.WithMaxLifetime(24*time.Hour))
		c := jwtauth.Claims{Issuer: issuer, SessionID: "s", IssuedAt: clock.read(), ExpiresAt: clock.read().Add(24 * time.Hour), Stamp: stampOf(list, clock.read())}
		clock.move(-time.Hour)
		require.NoError(t, list.RevokeSession(t.Context(), issuer, "s"))
		clock.move(24*time.Hour + 30*time.Minute)
		time.Sleep(24 * time.Hour)
		for i := range 100 { // enough for the table to be replaced
			require.NoError(t, list.RevokeSession(t.Context(), issuer, fmt.Sprint(i)))
		}
		revoked, err := list.Revoked(t.Context(), c)
		require.NoError(t, err)
		require.True(t, revoked)
	})
}

// banning is a custom checker that embeds a list. While banned is true, it rejects every
// token.
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

func TestList_ACheckerThatEmbedsItIsAskedItself(t *testing.T) {
	banned := false
	auth, err := jwtauth.New(keys.HS256(secret), jwtauth.WithIssuer(issuer), jwtauth.WithRevocations(banning{newList(t, revoke.NewMemory()), &banned}))
	require.NoError(t, err)
	token := issue(t, auth, "demo", "alice")
	require.NoError(t, verdict(auth, token)) // now the token is cached
	banned = true
	require.ErrorIs(t, verdict(auth, token), jwtauth.ErrRevoked)
}

func stampOf(list *revoke.List, now time.Time) int64 {
	inner, _ := revocation.Of(list)
	return inner.Stamp(now)
}

func TestRevokeSubject_OverALogThatCannotBeRead(t *testing.T) {
	down := errors.New("the log cannot be read")
	for name, revokeNow := range upToNow {
		t.Run(name, func(t *testing.T) {
			log := newNetwork()
			list := newList(t, log)
			auth := newAuth(t, list)
			require.NoError(t, list.Sync(t.Context()))
			token := issue(t, auth, "demo", "alice", jwtauth.SessionID("s"))
			log.fail(down, "Since")
			require.ErrorIs(t, revokeNow(list), down, "the list may have missed epochs, so tokens of other processes may have later stamps")
			require.ErrorIs(t, verdict(auth, token), endedBy(name), "the revocation must still count in this process")
			log.fail(nil, "Since")
			require.NoError(t, revokeNow(list))
		})
	}
}

// An Auth may accept a token for up to MaxLeeway after its expiry, and its clock may be
// behind by the skew. Entries must be kept for that much longer.
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
				gone = gone.Add(skew) // another process whose clock is ahead may have issued the token
			}
			if name == "a session" {
				gone = gone.Add(time.Hour) // so that a revocation within the next hour needs no new entry
			}
			require.WithinDuration(t, gone.Add(jwtauth.MaxLeeway+skew), page.Entries[0].Expires, time.Second)
		})
	}
}

// A client may send the same token to a revocation endpoint again and again. The log must
// not grow each time.
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
			require.Equal(t, 3, entries(), "a later expiry needs a new entry")
			clock.move(59 * time.Minute)
			require.NoError(t, list.RevokeSession(t.Context(), issuer, "a session"))
			require.Equal(t, 3, entries())
			clock.move(2 * time.Minute)
			for range 3 {
				require.NoError(t, list.RevokeSession(t.Context(), issuer, "a session"))
			}
			require.Equal(t, 4, entries(), "after more than an hour, the session needs a new entry")
			for range 3 { // each revocation covers more tokens
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

func TestRevoke_ANilErrorMeansThatItIsWrittenThoughAnotherCallIsWritingIt(t *testing.T) {
	log := newNetwork()
	list := newList(t, log)
	require.NoError(t, list.Sync(t.Context()))
	held, release := make(chan struct{}), make(chan struct{})
	log.fail(errors.New("down"), "Append")
	log.onReturn("Append", func() {
		held <- struct{}{}
		<-release
	})
	errs := make(chan error)
	for range 2 {
		go func() { errs <- list.RevokeSession(context.Background(), issuer, "x") }()
		<-held
	}
	close(release)
	require.Error(t, <-errs)
	require.Error(t, <-errs)
}

// revocations holds a call of each method that adds an entry.
var revocations = map[string]func(l *revoke.List, issuer string) error{
	"RevokeToken": func(l *revoke.List, issuer string) error {
		return l.RevokeToken(context.Background(), issuer, "an id", time.Now().Add(time.Hour))
	},
	"RevokeSession": func(l *revoke.List, issuer string) error {
		return l.RevokeSession(context.Background(), issuer, "a session")
	},
	"RevokeSubject": func(l *revoke.List, issuer string) error {
		return l.RevokeSubject(context.Background(), issuer, "alice")
	},
	"RevokeContainer": func(l *revoke.List, issuer string) error {
		return l.RevokeContainer(context.Background(), issuer, "demo")
	},
	"ExpireAccess": func(l *revoke.List, issuer string) error {
		return l.ExpireAccess(context.Background(), issuer, "alice")
	},
}

func TestRevoke_ForAnIssuerThatNoAuthHas(t *testing.T) {
	const other = "https://idp.example.com"
	type opts = []jwtauth.Option
	withIssuer, withBoth := opts{jwtauth.WithIssuer(issuer)}, opts{jwtauth.WithIssuer(issuer), jwtauth.WithTrustedIssuer(other, keys.HS256([]byte(strings.Repeat("k", 16)+strings.Repeat("x", 16))))}
	all, none := "RevokeToken RevokeSession RevokeSubject RevokeContainer ExpireAccess", ""
	for name, test := range map[string]struct {
		auths  []opts
		issuer string
		works  string // the revocations that take effect
	}{
		"no Auth asks the list, as in an operator's process":     {nil, issuer, all},
		"the Auth has that issuer":                               {[]opts{withIssuer}, issuer, all},
		"the Auth has another issuer":                            {[]opts{withIssuer}, other, none},
		"the Auth has an issuer, and none is named":              {[]opts{withIssuer}, "", none},
		"the Auth has no issuer, and none is named":              {[]opts{nil}, "", all},
		"the Auth has no issuer, and takes tokens that have one": {[]opts{nil}, issuer, "RevokeToken RevokeSession"},
		"the Auth trusts that issuer":                            {[]opts{withBoth}, other, all},
		"the Auth trusts another issuer, and has that one":       {[]opts{withBoth}, issuer, all},
		"the second of two Auths has that issuer":                {[]opts{nil, withIssuer}, issuer, all},
		"the first of two Auths has that issuer":                 {[]opts{withIssuer, nil}, issuer, all},
		"an issuer in another case":                              {[]opts{withIssuer}, strings.ToUpper(issuer), none},
		"an issuer with a slash behind":                          {[]opts{withIssuer}, issuer + "/", none},
		"issuer and subject run together":                        {[]opts{withIssuer}, issuer + "alice", none},
	} {
		for method, do := range revocations {
			t.Run(name+", "+method, func(t *testing.T) {
				log := newNetwork()
				list := newList(t, log)
				require.NoError(t, list.Sync(t.Context()))
				for _, opts := range test.auths {
					_, err := jwtauth.New(keys.HS256(secret), append(opts, jwtauth.WithRevocations(list))...)
					require.NoError(t, err)
				}
				err := do(list, test.issuer)
				page, sinceErr := log.Since(t.Context(), "", 10)
				require.NoError(t, sinceErr)
				if strings.Contains(test.works, method) {
					require.NoError(t, err)
					require.Len(t, page.Entries, 1)
					return
				}
				require.ErrorIs(t, err, revoke.ErrIssuer)
				require.ErrorContains(t, err, method)
				require.Empty(t, page.Entries)
			})
		}
	}
}

func TestRevoke_NamesTheIssuersThatThereAre(t *testing.T) {
	list := newList(t, revoke.NewMemory())
	newAuth(t, list)
	err := list.RevokeContainer(t.Context(), "https://api.example.org", "demo")
	require.ErrorContains(t, err, `"https://api.example.org"`)
	require.ErrorContains(t, err, `"`+issuer+`"`)
}

// embedding is a custom checker that embeds a list.
type embedding struct {
	*revoke.List
	name string
}

func TestRevoke_AListThatIsEmbeddedKnowsItsIssuers(t *testing.T) {
	list := newList(t, revoke.NewMemory())
	_, err := jwtauth.New(keys.HS256(secret), jwtauth.WithIssuer(issuer), jwtauth.WithRevocations(embedding{list, "mine"}))
	require.NoError(t, err)
	require.ErrorIs(t, list.RevokeSubject(t.Context(), "", "alice"), revoke.ErrIssuer)
}

// If jwtauth.New fails, no Auth asks the list, so the issuer must not count as known.
func TestRevoke_AnAuthThatWasNeverMadeHasNoIssuer(t *testing.T) {
	list := newList(t, revoke.NewMemory())
	_, err := jwtauth.New(keys.HS256(secret), jwtauth.WithIssuer("https://api.example.org"), jwtauth.WithMaxLifetime(15*24*time.Hour), jwtauth.WithRevocations(list))
	require.Error(t, err)
	newAuth(t, list)
	require.ErrorIs(t, list.RevokeSubject(t.Context(), "https://api.example.org", "alice"), revoke.ErrIssuer)
}

// A revocation of all tokens issued so far must also reach tokens of an issuer whose clock
// is ahead.
func TestRevokeSubject_HitsTokensOfClocksThatAreAhead(t *testing.T) {
	const other = "https://idp.example.com"
	theirs := keys.HS256([]byte("fedcba9876543210fedcba9876543210"))
	_, private, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	trusting := func(opts ...jwtauth.Option) func(*revoke.List, *wallClock) []jwtauth.Option {
		return func(*revoke.List, *wallClock) []jwtauth.Option {
			return append(opts, jwtauth.WithIssuer(issuer), jwtauth.WithTrustedIssuer(other, theirs))
		}
	}
	for name, test := range map[string]struct {
		key    keys.Source // the keys of the Auth
		opts   func(*revoke.List, *wallClock) []jwtauth.Option
		issuer string
		sign   keys.Source
		ahead  time.Duration // how far the issuer's clock is ahead
		stamps bool          // whether the issuer has a list of its own, and so writes stamps
		until  time.Duration // for how long after the revocation new tokens may be rejected
	}{
		"a trusted issuer whose clock is right":           {keys.HS256(secret), trusting(), other, theirs, 0, false, 6 * time.Second},
		"a trusted issuer whose clock is a second ahead":  {keys.HS256(secret), trusting(), other, theirs, time.Second, false, 6 * time.Second},
		"a trusted issuer whose clock is 5 seconds ahead": {keys.HS256(secret), trusting(), other, theirs, 5 * time.Second, false, 6 * time.Second},
		"a trusted issuer with a leeway of a minute":      {keys.HS256(secret), trusting(jwtauth.WithLeeway(time.Minute)), other, theirs, time.Minute, false, 61 * time.Second},
		"a trusted issuer that writes stamps":             {keys.HS256(secret), trusting(), other, theirs, 5 * time.Second, true, 6 * time.Second},
		"the issuer of a key that only verifies":          {keys.Verifier(private.Public()), func(*revoke.List, *wallClock) []jwtauth.Option { return []jwtauth.Option{jwtauth.WithIssuer(issuer)} }, issuer, keys.Signer(private), 5 * time.Second, false, 6 * time.Second},
		"an issuer of one's own, before it had a list":    {keys.HS256(secret), trusting(), issuer, keys.HS256(secret), 0, false, time.Second},
	} {
		for what, revokeNow := range map[string]func(l *revoke.List) error{
			"subject":   func(l *revoke.List) error { return l.RevokeSubject(context.Background(), test.issuer, "alice") },
			"container": func(l *revoke.List) error { return l.RevokeContainer(context.Background(), test.issuer, "demo") },
		} {
			t.Run(name+", "+what, func(t *testing.T) {
				clock := newClock()
				list := newList(t, revoke.NewMemory(), revoke.WithClock(clock.read))
				auth, err := jwtauth.New(test.key, append(test.opts(list, clock), jwtauth.WithClock(clock.read), jwtauth.WithRevocations(list))...)
				require.NoError(t, err)
				ahead := func() time.Time { return clock.read().Add(test.ahead) }
				opts := []jwtauth.Option{jwtauth.WithIssuer(test.issuer), jwtauth.WithClock(ahead)}
				if test.stamps {
					opts = append(opts, jwtauth.WithRevocations(newList(t, revoke.NewMemory(), revoke.WithClock(ahead))))
				}
				elsewhere, err := jwtauth.New(test.sign, opts...)
				require.NoError(t, err)

				var before []string
				for range 10 {
					before = append(before, issue(t, elsewhere, "demo", "alice"))
					clock.move(100 * time.Millisecond)
				}
				for _, token := range before {
					require.NoError(t, verdict(auth, token))
				}
				require.NoError(t, revokeNow(list))
				for passed := time.Duration(0); passed < 2*time.Minute; passed += time.Second {
					for i, token := range before {
						require.ErrorIs(t, verdict(auth, token), jwtauth.ErrRevoked, "token %d after %v", i, passed)
					}
					clock.move(time.Second)
				}
				clock.move(-2*time.Minute + test.until)
				require.NoError(t, verdict(auth, issue(t, elsewhere, "demo", "alice")), "a new token must be accepted")
			})
		}
	}
}

// A trusted issuer could write a stamp in the far future, which no revocation would reach.
// So its stamps must be ignored.
func TestRevoke_AStampOfATrustedIssuerCountsForNothing(t *testing.T) {
	const other = "https://idp.example.com"
	list := newList(t, revoke.NewMemory())
	auth := newAuth(t, list, jwtauth.WithTrustedIssuer(other, jwtauthtest.Key()))
	now := time.Now()
	token := signed(t, map[string]any{
		"iss": other, "sub": "alice", "container": "demo", "jti": "x",
		"iat": now.Unix(), "exp": now.Add(time.Hour).Unix(), "iat_us": now.Add(24 * time.Hour).UnixMicro(),
	})
	require.Zero(t, claimsOf(t, auth, token).Stamp)
	require.NoError(t, list.RevokeSubject(t.Context(), other, "alice"))
	require.ErrorIs(t, verdict(auth, token), jwtauth.ErrRevoked)
}

// A checker that embeds a list must be as exact as the list, even if a token is revoked in
// the microsecond in which it was issued.
func TestList_ThatIsEmbeddedKeepsItsExactness(t *testing.T) {
	clock := newClock()
	banned := false
	list := newList(t, revoke.NewMemory(), revoke.WithClock(clock.read))
	auth, err := jwtauth.New(keys.HS256(secret), jwtauth.WithIssuer(issuer), jwtauth.WithClock(clock.read), jwtauth.WithRevocations(banning{list, &banned}))
	require.NoError(t, err)
	for range 3 { // the clock stands still
		before := issue(t, auth, "demo", "alice")
		require.NoError(t, verdict(auth, before))
		require.NoError(t, list.RevokeSubject(t.Context(), issuer, "alice"))
		require.ErrorIs(t, verdict(auth, before), jwtauth.ErrRevoked)
		require.NoError(t, verdict(auth, issue(t, auth, "demo", "alice")))
	}
	_, err = jwtauth.New(keys.HS256(secret), jwtauth.WithTTL(365*24*time.Hour), jwtauth.WithRevocations(banning{list, &banned}))
	require.ErrorContains(t, err, "keeps revocations for", "the lifetime of the embedded list must count")
}
