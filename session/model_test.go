// This file has the simulations. In each, a seed decides what clients, thieves, networks,
// clocks and stores do, and time is simulated.
//
// TestManager_AgreesWithAModel compares each response of two Managers with a model of
// what the package comment promises.
//
// The TestRefresh_ simulations have realistic clients and thieves: pages without a lock,
// phones that lose responses and sleep, networks that deliver late and in any order,
// processes whose clocks differ, and stores that fail, take effect afterwards, or are
// restored from a backup.

package session_test

import (
	"container/heap"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/keys"
	"github.com/joinednode/jwtauth/revoke"
	"github.com/joinednode/jwtauth/session"
)

// TestManager_AgreesWithAModel lets clients, thieves, networks, clocks and outages do to
// two Managers what a seed decides. It compares each response with a model of what the
// package comment promises.
func TestManager_AgreesWithAModel(t *testing.T) {
	seeds, steps := 400, 180
	if testing.Short() {
		seeds = 60
	}
	met := map[string]int{}
	for seed := range seeds {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			w := newWorld(t, uint64(seed))
			w.met = met
			for range steps {
				w.step()
			}
			w.finish()
		})
	}
	t.Log("met:", met)
	for _, kind := range []string{
		"refresh", "retried", "recovered", "reused", "expired", "ended", "outage", "lost", "late", "two tabs", "race", "thief served", "gone", "logout", "logout of all",
	} {
		assert.Greater(t, met[kind], seeds/10, "the model must meet what it is about: %s", kind)
	}
}

// world is the whole simulation. Real time only increases. The wall clock, which the
// Managers read, may be set back.
type world struct {
	testing.TB
	*rand.Rand
	*recorder
	wall     *clock
	real     time.Duration // since the start
	managers [2]*session.Manager
	ahead    [2]time.Duration // by how much each Manager's clock is ahead of the wall clock
	faults   *faulty
	rules    rules
	failing  []string // the calls that may fail
	devices  []*device
	thieves  []*thief
	chains   []*chain
	trace    []string
	met      map[string]int
}

type rules struct{ access, idle, age time.Duration }

// chain is what the model knows about one session.
type chain struct {
	id, subject string
	generation  int64
	prev        int64             // the generation that it replaced
	window      time.Time         // when it was made, or last given again late
	given       map[int64]payload // what was given out, by generation
	access      []string          // the last access tokens
	rotated     time.Time         // the latest time of any clock at a rotation
	expires     time.Time
	maxExpires  time.Time

	ended    bool // all its tokens must be rejected
	doubtful bool // an attempt to end it failed, and may have ended it
	robbed   bool // a thief has used a token of it
	ends     int  // the number of events about its end
	fouled   bool // an outage met its end, so an event may be missing
}

// device is a right client. Its tabs share what it stores.
type device struct {
	subject string
	chain   *chain // nil before its login
	token   string
	number  int64 // the generation of the token
}

type thief struct {
	chain  *chain
	token  string
	number int64
}

func newWorld(t testing.TB, seed uint64) *world {
	w := &world{TB: t, Rand: rand.New(rand.NewPCG(seed, 1)), recorder: &recorder{}, wall: newClock(), faults: newFaulty()}
	w.failing = []string{"Create", "Get", "Advance", "Advance", "Revoke", "List", "Append", "Claims", "Keys", "Keys"}
	w.rules = []rules{
		{session.DefaultAccessTTL, session.DefaultRefreshTTL, session.DefaultMaxAge},
		{5 * time.Minute, 24 * time.Hour, 72 * time.Hour},
		{time.Minute, 2 * time.Minute, 5 * time.Minute},
		{time.Hour, time.Hour, 90 * time.Minute},
	}[seed%4]
	var opts []session.Option
	if seed%16 == 7 {
		w.failing = append(w.failing, "Sign", "Sign")
		opts = append(opts, session.WithRefreshKeys(w.faults.newSigner()))
	}
	list := newList(t, faultyLog{w.faults}, w.wall.now)
	w.ahead[1] = []time.Duration{0, 5 * time.Second, -5 * time.Second, 1234 * time.Microsecond}[seed/4%4]
	for i := range w.managers {
		m, err := session.New(faultyKeys{w.faults}, faultyStore{w.faults}, append(opts,
			session.WithClock(func() time.Time { return w.clockOf(i) }), session.WithRevocations(list), session.WithLogger(quiet),
			session.WithEvents(w.report), session.WithClaims(w.faults.claims),
			session.WithAccessTTL(w.rules.access), session.WithRefreshTTL(w.rules.idle), session.WithMaxAge(w.rules.age))...)
		require.NoError(t, err)
		w.managers[i] = m
	}
	w.faults.advanced = w.advancedTo
	for i := range 6 {
		w.devices = append(w.devices, &device{subject: []string{"alice", "bob", "Zoë"}[i/2]})
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("what happened, seed %d:\n%s", seed, strings.Join(w.trace[max(0, len(w.trace)-60):], "\n"))
		}
	})
	return w
}

func (w *world) clockOf(manager int) time.Time { return w.wall.now().Add(w.ahead[manager]) }

func (w *world) say(format string, args ...any) {
	w.trace = append(w.trace, fmt.Sprintf("%s (%v) ", w.wall.now().Format("02T15:04:05.000000"), w.real)+fmt.Sprintf(format, args...))
}

// chance returns true once in n times.
func (w *world) chance(n int) bool { return w.IntN(n) == 0 }

// advancedTo follows the store, since a response may be lost or become an error on its
// way.
func (w *world) advancedTo(next session.Session) {
	c := w.chainOf(next.ID)
	c.window = next.Given
	if next.Generation == c.generation { // given again, late
		require.Equal(w, c.prev, next.Prev)
		return
	}
	require.Equal(w, c.generation+1, next.Generation, "a generation is replaced once, by the next")
	c.generation, c.prev = next.Generation, next.Prev
}

func (w *world) chainOf(id string) *chain {
	i := slices.IndexFunc(w.chains, func(c *chain) bool { return c.id == id })
	require.GreaterOrEqual(w, i, 0, "a session that was never made")
	return w.chains[i]
}

// pass lets time pass.
func (w *world) pass(d time.Duration) {
	w.faults.fault = nil
	w.real += d
	w.wall.advance(d)
}

func (w *world) step() {
	switch n := w.IntN(100); {
	case n < 20:
		w.pass(time.Duration(w.Int64N(int64(15 * time.Second))))
	case n < 28:
		w.pass(time.Duration(w.Int64N(int64(w.rules.idle / 2))))
	case n < 29:
		w.pass(time.Duration(w.Int64N(int64(9 * 24 * time.Hour))))
	case n < 32:
		back := []time.Duration{time.Second, 5 * time.Second, time.Minute, 5 * time.Minute}[w.IntN(4)]
		w.say("the clock is set back by %v", back)
		w.wall.advance(-back)
	case n < 36:
		w.toTheBrink()
	case n < 64:
		w.arm()
		w.refreshOf(w.devices[w.IntN(len(w.devices))], false)
	case n < 70:
		w.twoTabs(w.devices[w.IntN(len(w.devices))])
	case n < 74:
		w.comeLate(w.devices[w.IntN(len(w.devices))])
	case n < 79:
		w.steal(w.devices[w.IntN(len(w.devices))])
	case n < 90:
		if len(w.thieves) > 0 {
			w.arm()
			w.rob(w.thieves[w.IntN(len(w.thieves))])
		}
	case n < 94:
		w.arm()
		w.logout(w.devices[w.IntN(len(w.devices))])
	case n < 96:
		w.arm()
		w.logoutAll(w.devices[w.IntN(len(w.devices))].subject)
	case n < 98:
		w.subjectGone(w.devices[w.IntN(len(w.devices))])
	default:
		if len(w.chains) > 0 {
			w.dead(w.chains[w.IntN(len(w.chains))])
		}
	}
}

// finish lets every device refresh once more, without faults.
func (w *world) finish() {
	w.pass(late)
	for _, dev := range w.devices {
		w.refreshOf(dev, true)
	}
	for _, th := range w.thieves {
		w.rob(th)
	}
	for _, c := range w.chains {
		w.dead(c)
		if c.ended && !c.fouled && c.ends != 1 {
			require.Equal(w, 1, c.ends, "a session that ended was reported once")
		}
	}
}

// arm sometimes makes the next calls fail.
func (w *world) arm() {
	w.faults.fault = nil
	if w.chance(3) {
		f := &fault{call: w.failing[w.IntN(len(w.failing))], after: w.chance(2), skip: w.IntN(2) * w.IntN(3)}
		w.faults.fault = f
	}
}

func (w *world) fired() bool { return w.faults.fault != nil && w.faults.fault.fired }

// toTheBrink passes time until the end of a session, or just before it.
func (w *world) toTheBrink() {
	dev := w.devices[w.IntN(len(w.devices))]
	if dev.chain == nil {
		return
	}
	left := []time.Duration{0, time.Microsecond, time.Second, 10 * time.Second, time.Minute}[w.IntN(5)]
	if d := dev.chain.expires.Add(-left).Sub(w.wall.now()); d > 0 {
		w.pass(d)
		w.say("%s stands %v before the end of the session", dev.subject, left)
	}
}

// login starts a new session for a device that needs one.
func (w *world) login(dev *device) {
	k := w.IntN(2)
	now := w.clockOf(k).Truncate(time.Microsecond)
	pair, err := w.managers[k].Login(w.Context(), dev.subject)
	events := w.take()
	w.say("%s logs in: %v", dev.subject, err)
	if w.fired() {
		require.ErrorIs(w, err, jwtauth.ErrUnavailable)
		require.Empty(w, events)
		return
	}
	require.NoError(w, err)
	require.Len(w, events, 1)
	require.Equal(w, session.LoggedIn, events[0].Kind)
	c := &chain{
		id: pair.SessionID, subject: dev.subject, generation: 1, given: map[int64]payload{},
		rotated: now, window: now, maxExpires: now.Truncate(time.Second).Add(w.rules.age),
	}
	w.chains = append(w.chains, c)
	c.setExpires(w.rules)
	*dev = device{subject: dev.subject, chain: c, token: pair.RefreshToken, number: 1}
	w.check(c, 1, pair, now)
}

func (c *chain) setExpires(r rules) {
	c.expires = c.rotated.Truncate(time.Second).Add(r.idle)
	if c.maxExpires.Before(c.expires) {
		c.expires = c.maxExpires
	}
}

// check checks what was given out. Tokens of one generation never differ (I3), and none
// outlives its session (I6).
func (w *world) check(c *chain, generation int64, pair session.Pair, now time.Time) {
	p, second := decode(w, pair.RefreshToken), now.Truncate(time.Second)
	require.Equal(w, payload{
		Subject: c.subject, SessionID: c.id, ID: p.ID, IssuedAt: p.IssuedAt,
		Expires: c.expires.Unix(), Generation: generation, MaxExpires: c.maxExpires.Unix(),
	}, p, "the refresh token says what the session is")
	if before, ok := c.given[generation]; ok {
		require.Equal(w, before, p, "the chain must not fork")
	}
	for g, other := range c.given {
		require.Equal(w, g == generation, other.ID == p.ID, "each generation has an id of its own")
	}
	c.given[generation] = p

	a := decode(w, pair.AccessToken)
	life := min(w.rules.access, c.expires.Sub(second))
	require.Equal(w, second.Add(life).Unix(), a.Expires)
	require.Equal(w, []any{c.subject, c.id, int64(life / time.Second)}, []any{a.Subject, a.SessionID, pair.ExpiresIn})
	require.Equal(w, []any{c.subject, c.id, c.expires.Unix() - second.Unix()}, []any{pair.Subject, pair.SessionID, pair.RefreshExpiresIn})
	c.access = append(c.access, pair.AccessToken)
	c.access = c.access[max(0, len(c.access)-3):]
}

// came is the result of a refresh.
type came int

const (
	served came = iota
	refused
	failed // an outage
)

// refresh sends a token of a generation to a Manager, and compares the result with the
// model.
func (w *world) refresh(who string, k int, c *chain, token string, number int64) (session.Pair, came) {
	generation, prev, now := c.generation, c.prev, w.clockOf(k).Truncate(time.Microsecond)
	age := now.Sub(c.window)
	over := !now.Before(c.expires)
	rests := w.rests(c, now)
	outlived := !now.Before(time.Unix(c.given[number].Expires, 0))

	pair, err := w.managers[k].Refresh(w.Context(), token)
	events := w.take()
	rotated := c.generation > generation
	w.say("%s presents generation %d of %d of %s to manager %d: %v %v", who, number, generation, c.id[:4], k, err, events)
	if rotated {
		// Which token is sent alone decides whether there is a rotation.
		require.True(w, number == generation && !rests || number == prev && age > window, "the current generation rotates, or the one before is recovered")
		require.False(w, c.ended || over, "a session that ended does not rotate")
		require.Equal(w, number, c.prev)
		if now.After(c.rotated) {
			c.rotated = now
		}
		c.setExpires(w.rules)
	}
	var kinds []session.EventKind
	for _, e := range events {
		kinds = append(kinds, e.Kind)
		require.Equal(w, []string{c.id, c.subject}, []string{e.SessionID, e.Subject})
		if e.Kind == session.Reused || e.Kind == session.LoggedOut {
			c.ends++
		}
	}
	require.LessOrEqual(w, c.ends, 1, "a session ends once")
	current, before := number == generation, number == prev
	stolen := !current && !before

	for _, kind := range kinds {
		w.met[string(kind)]++
	}
	if w.fired() {
		w.met["outage"]++
		require.ErrorIs(w, err, jwtauth.ErrUnavailable, "an outage")
		require.Zero(w, pair)
		require.True(w, !rotated || w.faults.fault.call == "Advance", "whatever else fails changes nothing")
		if call := w.faults.fault.call; call == "Append" || call == "Revoke" {
			require.True(w, stolen || c.fouled, "only theft ends a session, and what an outage left half done")
			c.doubtful, c.fouled = !c.ended, true
			if stolen { // one event each time, until the session has ended
				require.Equal(w, []session.EventKind{session.Reused}, kinds)
				c.ends--
				return pair, failed
			}
		}
		require.Empty(w, events)
		return pair, failed
	}
	require.NotErrorIs(w, err, jwtauth.ErrUnavailable, "an outage where nothing failed")
	if err != nil {
		require.Zero(w, pair)
		require.False(w, rotated)
	}
	switch {
	case c.doubtful && errors.Is(err, jwtauth.ErrRevoked):
		c.doubtful, c.ended = false, true // it had ended, and now it surely has
	case c.ended:
		w.met["ended"]++
		require.Error(w, err, "a session that ended (I4)")
		require.True(w, errors.Is(err, jwtauth.ErrRevoked) || errors.Is(err, jwtauth.ErrExpired))
		if !c.fouled {
			require.Empty(w, events)
		}
	case over:
		w.met["expired"]++
		require.ErrorIs(w, err, jwtauth.ErrExpired)
		require.Empty(w, events)
	case current && rests:
		require.NoError(w, err, "the current token, again")
		require.False(w, rotated)
		require.Equal(w, []session.EventKind{session.Retried}, kinds)
	case current:
		require.NoError(w, err, "the current token")
		require.True(w, rotated)
		require.Equal(w, []session.EventKind{session.Refreshed}, kinds)
	case (stolen || age > window) && outlived:
		require.ErrorIs(w, err, jwtauth.ErrExpired)
		require.Empty(w, events, "a token that no client could use by itself ends nothing")
	case stolen:
		require.ErrorIs(w, err, session.ErrReused, "theft (I2)")
		require.ErrorIs(w, err, jwtauth.ErrRevoked)
		require.Equal(w, []session.EventKind{session.Reused}, kinds)
		c.ended, c.doubtful = true, false
	case age > window:
		require.NoError(w, err, "a token whose successor was never used")
		require.True(w, rotated)
		require.Equal(w, []session.EventKind{session.Recovered}, kinds)
	default: // replaced just before
		require.NoError(w, err, "a token that was replaced a moment ago")
		require.False(w, rotated)
		require.Equal(w, []session.EventKind{session.Retried}, kinds)
	}
	if err != nil {
		if c.ended {
			w.dead(c)
		}
		return pair, refused
	}
	w.check(c, c.generation, pair, now)
	w.faults.fault = nil
	require.True(w, c.doubtful || lives(w.Context(), w.managers[k], pair.AccessToken), "the new access token is accepted")
	return pair, served
}

// rests reports whether the current token is given again unchanged.
func (w *world) rests(c *chain, now time.Time) bool {
	left := c.expires.Sub(now)
	nearEnd := c.expires.Before(c.maxExpires) && left < min(settled, c.expires.Sub(c.rotated)/2)
	return now.Sub(c.window) < settled && now.Sub(c.rotated) < 5*settled && !nearEnd
}

// refreshOf lets a right client refresh. Unless well is set, the response may be lost,
// and the client tries again at any time.
func (w *world) refreshOf(dev *device, well bool) {
	if well {
		w.faults.fault = nil
	}
	if dev.chain == nil {
		w.login(dev)
		return
	}
	c, k := dev.chain, w.IntN(2)
	now := w.clockOf(k)
	// This is what the package comment promises to a right client (I1).
	right := !c.robbed && !c.ended && !c.doubtful && now.Before(c.expires) && now.Before(time.Unix(c.given[dev.number].Expires, 0))
	pair, came := w.refresh(dev.subject, k, c, dev.token, dev.number)
	if right {
		require.NotEqual(w, refused, came, "a right client is never logged out (I1)")
	}
	lost := !well && came == served && w.chance(5)
	switch {
	case came == refused:
		*dev = device{subject: dev.subject} // it logs in again
	case came == served && !lost:
		dev.token, dev.number = pair.RefreshToken, c.generation
	default:
		w.say("%s has no answer", dev.subject)
		w.met["lost"]++
	}
}

// twoTabs lets two tabs use the stored token, one after the other or both at once.
func (w *world) twoTabs(dev *device) {
	c := dev.chain
	if c == nil || c.robbed || c.doubtful {
		return
	}
	w.faults.fault = nil
	w.say("%s has two tabs", dev.subject)
	token, number := dev.token, dev.number
	if w.chance(2) {
		w.race(dev)
		return
	}
	w.refreshOf(dev, true)
	if dev.chain != c {
		return
	}
	w.pass(time.Duration(w.Int64N(int64(session.DefaultGrace) + 1)))
	k := w.IntN(2)
	if c.ended || !w.clockOf(k).Before(c.expires) || !w.clockOf(k).Before(time.Unix(c.given[number].Expires, 0)) {
		return
	}
	pair, came := w.refresh(dev.subject+"'s other tab", k, c, token, number)
	require.Equal(w, served, came, "the other tab")
	w.met["two tabs"]++
	dev.token, dev.number = pair.RefreshToken, c.generation
}

// race lets one tab refresh while the other rotates.
func (w *world) race(dev *device) {
	c, k := dev.chain, w.IntN(2)
	if c.ended || !w.clockOf(k).Before(c.expires) || !w.clockOf(1-k).Before(c.expires) || dev.number != c.generation ||
		w.rests(c, w.clockOf(k)) || w.rests(c, w.clockOf(1-k)) {
		return
	}
	var other session.Pair
	w.faults.first["Advance"] = func() {
		var came came
		other, came = w.refresh(dev.subject+"'s faster tab", 1-k, c, dev.token, dev.number)
		require.Equal(w, served, came)
	}
	pair, err := w.managers[k].Refresh(w.Context(), dev.token)
	require.NoError(w, err)
	events := w.take()
	require.Len(w, events, 1)
	require.Equal(w, session.Retried, events[0].Kind)
	require.Equal(w, decode(w, other.RefreshToken), decode(w, pair.RefreshToken), "the chain must not fork")
	w.check(c, c.generation, pair, w.clockOf(k).Truncate(time.Microsecond))
	w.met["race"]++
	dev.token, dev.number = pair.RefreshToken, c.generation
}

// comeLate lets a client lose a response and try again late. It has not used the
// successor, so it stays logged in.
func (w *world) comeLate(dev *device) {
	c := dev.chain
	if c == nil || c.ended || c.doubtful || c.robbed || dev.number != c.generation {
		return
	}
	w.faults.fault = nil
	if _, came := w.refresh(dev.subject, w.IntN(2), c, dev.token, dev.number); came != served {
		*dev = device{subject: dev.subject}
		return
	}
	w.met["late"]++
	w.say("%s has no answer, and will come late", dev.subject)
	if w.chance(2) {
		w.pass(late + time.Duration(w.Int64N(int64(w.rules.idle))))
		w.refreshOf(dev, true)
	}
}

// steal copies what a device stores.
func (w *world) steal(dev *device) {
	if dev.chain == nil {
		return
	}
	w.say("a thief copies generation %d of %s", dev.number, dev.subject)
	w.thieves = append(w.thieves, &thief{dev.chain, dev.token, dev.number})
	w.thieves = w.thieves[max(0, len(w.thieves)-4):]
}

func (w *world) rob(th *thief) {
	th.chain.robbed = true
	pair, came := w.refresh("a thief", w.IntN(2), th.chain, th.token, th.number)
	if came == served {
		w.met["thief served"]++
		th.token, th.number = pair.RefreshToken, th.chain.generation
	}
}

func (w *world) logout(dev *device) {
	c := dev.chain
	if c == nil {
		return
	}
	k := w.IntN(2)
	over := !w.clockOf(k).Before(c.expires)
	require.ErrorIs(w, w.clean(func() error { return w.managers[k].Logout(w.Context(), "mallory", c.id) }), session.ErrNoSession)
	err := w.managers[k].Logout(w.Context(), c.subject, c.id)
	w.say("%s logs out of %s: %v", dev.subject, c.id[:4], err)
	switch {
	case w.fired():
		require.ErrorIs(w, err, jwtauth.ErrUnavailable)
		if !c.ended {
			c.doubtful, c.fouled = true, true
		}
		w.tookEnds(c)
		return // the client continues, or tries again
	case over && !c.ended:
		if err != nil {
			require.ErrorIs(w, err, session.ErrNoSession)
			return
		}
	case err != nil:
		require.True(w, c.ended)
		require.ErrorIs(w, err, session.ErrNoSession)
	}
	c.ended, c.doubtful = true, false
	w.met["logout"]++
	w.tookEnds(c)
	w.dead(c)
	*dev = device{subject: dev.subject}
}

// clean runs do without faults.
func (w *world) clean(do func() error) error {
	was := w.faults.fault
	w.faults.fault = nil
	defer func() { w.faults.fault = was }()
	return do()
}

// tookEnds counts the events of an end. They must be about these sessions, unless an
// outage left an end half done before.
func (w *world) tookEnds(chains ...*chain) {
	for _, e := range w.take() {
		require.Equal(w, session.LoggedOut, e.Kind)
		c := w.chainOf(e.SessionID)
		require.True(w, slices.Contains(chains, c) || c.fouled, "the end of another session: %v", e)
		c.ends++
		require.Equal(w, 1, c.ends, "a session ends once")
	}
}

func (w *world) logoutAll(subject string) {
	k := w.IntN(2)
	var theirs []*chain
	var except []string
	for _, c := range w.chains {
		if c.subject == subject && !c.ended && w.clockOf(k).Add(-clocksApart).Before(c.expires) {
			if w.chance(4) {
				except = append(except, c.id)
				continue
			}
			theirs = append(theirs, c)
		}
	}
	// Logins that failed after they took effect left sessions in the store, which end,
	// too.
	n, err := w.managers[k].LogoutAll(w.Context(), subject, except...)
	w.say("%s logs out of all but %d: %d, %v", subject, len(except), n, err)
	if w.fired() {
		require.ErrorIs(w, err, jwtauth.ErrUnavailable)
		for _, c := range theirs {
			c.doubtful, c.fouled = true, true
		}
		w.takeOrphans(theirs)
		return
	}
	require.NoError(w, err)
	w.met["logout of all"]++
	w.takeOrphans(theirs)
	for _, c := range theirs {
		c.ended, c.doubtful = true, false
		w.dead(c)
	}
}

// takeOrphans is like tookEnds, and ignores sessions whose login was lost.
func (w *world) takeOrphans(theirs []*chain) {
	events := w.take()
	for _, e := range events {
		if slices.ContainsFunc(w.chains, func(c *chain) bool { return c.id == e.SessionID }) {
			w.report(e)
		}
	}
	w.tookEnds(theirs...)
}

// subjectGone makes the callback say that a user may no longer have this session.
func (w *world) subjectGone(dev *device) {
	c, k := dev.chain, w.IntN(2)
	if c == nil || c.ended || c.doubtful || dev.number != c.generation || !w.clockOf(k).Before(c.expires) {
		return
	}
	w.faults.fault = &fault{call: "Claims", err: fmt.Errorf("deleted: %w", session.ErrSubjectGone)}
	_, err := w.managers[k].Refresh(w.Context(), dev.token)
	w.say("%s is gone: %v", dev.subject, err)
	require.ErrorIs(w, err, session.ErrSubjectGone)
	require.ErrorIs(w, err, jwtauth.ErrRevoked)
	w.faults.fault = nil
	c.ended = true
	w.tookEnds(c)
	require.Equal(w, 1, c.ends)
	w.met["gone"]++
	w.dead(c)
	*dev = device{subject: dev.subject}
}

// dead requires that all tokens of an ended session are rejected: those of the right
// client and those of a thief.
func (w *world) dead(c *chain) {
	if !c.ended {
		return
	}
	w.faults.fault = nil
	tokens := map[string]int64{}
	for _, dev := range w.devices {
		if dev.chain == c {
			tokens[dev.token] = dev.number
		}
	}
	for _, th := range w.thieves {
		if th.chain == c {
			tokens[th.token] = th.number
		}
	}
	for i, m := range w.managers {
		for token := range tokens {
			_, err := m.Refresh(w.Context(), token)
			require.Error(w, err, "a refresh token of a session that ended, by manager %d", i)
			require.NotErrorIs(w, err, jwtauth.ErrUnavailable)
		}
		for _, token := range c.access {
			require.False(w, lives(w.Context(), m, token), "an access token of a session that ended, by manager %d", i)
		}
	}
	for _, e := range w.take() {
		require.True(w, c.fouled && e.SessionID == c.id, "an event of a session that ended: %v", e)
		c.ends++
		require.Equal(w, 1, c.ends)
	}
}

// window is for how long a replaced token gets its successor again, and longest how long
// a generation lasts at least, by any two clocks.
const (
	window  = session.DefaultGrace + 10*time.Second
	longest = window + 20*time.Second
)

// fleet is the base of all simulations of a test: three processes whose clocks differ
// from the true time by up to 5 seconds.
type fleet struct {
	managers [3]*session.Manager
	offset   [3]time.Duration
	sim      *simulation // the current simulation
}

func newFleet(t testing.TB, opts ...session.Option) *fleet {
	f := &fleet{sim: &simulation{}}
	for i := range f.managers {
		now := func() time.Time { return start.Add(f.sim.now + f.offset[i]) }
		m, err := session.New(keys.HS256(secret), fleetStore{f}, append([]session.Option{
			session.WithClock(now), session.WithLogger(quiet), session.WithRevocations(newList(t, revoke.NewMemory(), now)),
			session.WithAccess(jwtauth.WithCache(0)), session.WithEvents(func(e session.Event) { f.sim.met[string(e.Kind)]++ }),
		}, opts...)...)
		require.NoError(t, err)
		f.managers[i] = m
	}
	return f
}

// simulation is one session of one user, from its login on.
type simulation struct {
	testing.TB
	*rand.Rand
	*fleet
	now    time.Duration
	queue  queue
	store  session.Store
	backup session.Session // an earlier state of the row
	down   bool            // the store is down
	outage float64         // the probability that a step of the store fails
	met    map[string]int  // the number of events, and of other things that the test counts
	trace  []func() string
}

func (f *fleet) simulate(t testing.TB, seed uint64, met map[string]int) *simulation {
	s := &simulation{TB: t, Rand: rand.New(rand.NewPCG(seed, 2)), fleet: f, store: session.NewMemory(), met: met}
	f.sim = s
	for i := range f.offset {
		f.offset[i] = s.upTo(10*time.Second) - 5*time.Second
	}
	return s
}

// queue holds what will happen later.
type (
	event struct {
		at     time.Duration
		number int
		do     func()
	}
	queue []event
)

func (q queue) Len() int { return len(q) }

func (q queue) Less(i, j int) bool {
	return q[i].at < q[j].at || q[i].at == q[j].at && q[i].number < q[j].number
}

func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }

func (q *queue) Push(e any) { *q = append(*q, e.(event)) }

func (q *queue) Pop() any {
	last := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return last
}

func (s *simulation) after(d time.Duration, do func()) {
	heap.Push(&s.queue, event{s.now + d, len(s.trace) + s.met["scheduled"], do})
	s.met["scheduled"]++
}

// run runs everything that is due until a time.
func (s *simulation) run(until time.Duration) {
	for len(s.queue) > 0 && s.queue[0].at <= until {
		e := heap.Pop(&s.queue).(event)
		s.now = e.at
		e.do()
	}
	s.now = max(s.now, until)
}

func (s *simulation) upTo(most time.Duration) time.Duration {
	return time.Duration(s.Float64() * float64(most))
}

func (s *simulation) between(least, most time.Duration) time.Duration {
	return least + s.upTo(most-least)
}

func (s *simulation) chance(p float64) bool { return s.Float64() < p }

// say records what happened, for told.
func (s *simulation) say(format string, args ...any) {
	at := s.now
	s.trace = append(s.trace, func() string {
		for i, arg := range args {
			if token, ok := arg.(token); ok {
				args[i] = token.generation()
			}
		}
		return fmt.Sprintf("%12v ", at.Round(time.Millisecond)) + fmt.Sprintf(format, args...)
	})
}

// told returns what happened last.
func (s *simulation) told() string {
	var text strings.Builder
	for _, line := range s.trace[max(0, len(s.trace)-40):] {
		fmt.Fprintln(&text, line())
	}
	return text.String()
}

// token is a refresh token. Its generation is 0 if there is none.
type token string

func (t token) generation() int64 {
	parts := strings.Split(string(t), ".")
	if len(parts) != 3 {
		return 0
	}
	var p payload
	text, _ := base64.RawURLEncoding.DecodeString(parts[1])
	json.Unmarshal(text, &p)
	return p.Generation
}

// fleetStore is the store of the current simulation. It is a separate fake, since its
// steps take effect in simulated time.
type fleetStore struct{ *fleet }

var errDown = errors.New("the store is down")

func (f fleetStore) Create(ctx context.Context, row session.Session) error {
	return f.sim.store.Create(ctx, row)
}

func (f fleetStore) Get(ctx context.Context, subject, id string) (session.Session, bool, error) {
	if f.sim.down {
		return session.Session{}, false, errDown
	}
	return f.sim.store.Get(ctx, subject, id)
}

// Advance may fail. It then takes effect at once, up to 10 seconds later, or never.
func (f fleetStore) Advance(ctx context.Context, from, next session.Session, now time.Time) (bool, error) {
	s := f.sim
	if s.down {
		return false, errDown
	}
	if !s.chance(s.outage) {
		return s.store.Advance(ctx, from, next, now)
	}
	if s.chance(0.7) {
		store := s.store
		s.after(s.upTo(10*time.Second), func() {
			won, err := store.Advance(context.Background(), from, next, now)
			s.say("a step to %d takes effect late: %v, %v", next.Generation, won, err)
		})
	}
	return false, errDown
}

func (f fleetStore) Revoke(ctx context.Context, subject, id, reason string, at time.Time) (bool, error) {
	return f.sim.store.Revoke(ctx, subject, id, reason, at)
}

func (f fleetStore) List(ctx context.Context, subject string, now time.Time) ([]session.Session, error) {
	return f.sim.store.List(ctx, subject, now)
}

func (f fleetStore) Purge(ctx context.Context, before time.Time) error {
	return f.sim.store.Purge(ctx, before)
}

// keepBackup copies the row, and putBack restores it.
func (s *simulation) keepBackup(c *client) {
	row, found, err := s.store.Get(s.Context(), "alice", c.session)
	require.NoError(s, err)
	require.True(s, found)
	s.backup = row
}

func (s *simulation) putBack() {
	s.say("the store is put back to generation %d", s.backup.Generation)
	s.store = session.NewMemory()
	require.NoError(s, s.store.Create(s.Context(), s.backup))
	s.met["backup put back"]++
}

// client is a right client. Its tabs share what it stores, and take no lock.
type client struct {
	*simulation
	session string
	stored  string // the refresh token
	out     bool   // it was told to log in again
	last    time.Duration
	delay   time.Duration // the longest delay of a request or response
	loss    float64
	timeout time.Duration  // after which it ignores a response
	page    int            // the number of the open page: a reload drops responses
	given   map[int64]bool // the generations that it was given
}

func (s *simulation) newClient() *client {
	pair, err := s.managers[s.IntN(3)].Login(s.Context(), "alice")
	require.NoError(s, err)
	return &client{simulation: s, session: pair.SessionID, stored: pair.RefreshToken, timeout: time.Hour, given: map[int64]bool{}}
}

// call makes one API call that gets 401. It then refreshes with the stored token and
// stores the result. It makes so many tries.
func (c *client) call(tries int) {
	if c.out || tries == 0 {
		return
	}
	page, sentToken, sent := c.page, c.stored, c.now
	lost := func() {
		c.met["lost"]++
		c.after(min(c.timeout, 5*time.Second), func() { c.call(tries - 1) })
	}
	if c.chance(c.loss / 2) {
		lost()
		return
	}
	c.after(c.upTo(c.delay), func() {
		pair, err := c.managers[c.IntN(3)].Refresh(c.Context(), sentToken)
		c.last, c.given[token(pair.RefreshToken).generation()] = c.now, true
		c.say("a call presents %v and gets %v, %v", token(sentToken), token(pair.RefreshToken), err)
		answer := c.upTo(c.delay)
		if c.chance(c.loss/2) || c.now+answer-sent > c.timeout {
			lost()
			return
		}
		c.after(answer, func() {
			switch {
			case page != c.page && c.page%2 == 0: // the page was closed
			case errors.Is(err, jwtauth.ErrUnavailable):
				c.after(c.between(time.Second, 3*time.Second), func() { c.call(tries - 1) })
			case err != nil:
				c.say("it is logged out")
				c.out = true
			default:
				c.stored = pair.RefreshToken
			}
		})
	})
}

// load loads a page, which makes so many calls within a second.
func (c *client) load(calls int) {
	c.page++
	for range calls {
		c.after(c.upTo(time.Second), func() { c.call(4) })
	}
}

// mustStay fails the test if the right client was logged out.
func (c *client) mustStay(seed uint64) {
	if c.out {
		require.Fail(c, "a right client was logged out", "seed %d:\n%s", seed, c.told())
	}
}

// scale returns how many of n simulations run: all of them if JWTAUTH_TEST_WHOLE is set,
// as .ci/run does once.
func scale(n int) int {
	switch {
	case os.Getenv("JWTAUTH_TEST_WHOLE") != "":
		return n
	case testing.Short():
		return n / 100
	}
	return n / 20
}

func TestRefresh_ClientsWithoutALockStayLoggedIn(t *testing.T) {
	const loads = 20
	f, met := newFleet(t), map[string]int{}
	for seed := range uint64(scale(100_000) / loads) {
		s := f.simulate(t, seed, met)
		c := s.newClient()
		calls := 1 + s.IntN(30)
		c.delay, c.loss = s.upTo(5*time.Second), s.Float64()*0.4*float64(s.IntN(2))
		if s.chance(0.5) {
			c.timeout = 5 * time.Second
		}
		if s.chance(0.3) {
			s.outage = 0.2
		}
		for range loads {
			for range 1 + s.IntN(3)/2*s.IntN(4) { // tabs that are restored together
				c.load(calls)
			}
			gaps := []time.Duration{2 * time.Second, window, 2 * window, 20 * time.Minute, 12 * time.Hour}
			gap := s.upTo(gaps[s.IntN(len(gaps))])
			if s.chance(0.02) {
				s.run(s.now + gap + 20*time.Second)
				s.keepBackup(c)
			}
			if s.backup.ID != "" && s.chance(0.05) {
				s.down = true
				s.run(s.now + s.between(15*time.Second, time.Hour)) // restoring takes a while
				s.putBack()
				s.down = false
			}
			s.run(s.now + gap)
		}
		s.run(s.now + time.Minute)
		c.mustStay(seed)
		met["page loads"] += loads
	}
	report(t, met, "retried", "recovered", "lost", "backup put back")
}

// report prints what a simulation met. Each of these kinds must have happened.
func report(t *testing.T, met map[string]int, kinds ...string) {
	delete(met, "scheduled")
	t.Log("met:", met)
	for _, kind := range kinds {
		require.NotZero(t, met[kind], "the simulation must meet what it is about: %s", kind)
	}
}

func TestRefresh_PhonesThatLoseAnswersAndSleepStayLoggedIn(t *testing.T) {
	f, met := newFleet(t), map[string]int{}
	for seed := range uint64(scale(10_000)) {
		s := f.simulate(t, seed, met)
		c := s.newClient()
		c.loss, c.delay = s.Float64()*0.4, s.upTo(5*time.Second)
		if s.chance(0.5) {
			c.timeout = 5 * time.Second
		}
		for s.now < 10*24*time.Hour {
			calls := 1 + s.IntN(3)
			for range calls {
				c.after(s.upTo(time.Second), func() { c.call(1 + s.IntN(3)) })
			}
			s.run(s.now + s.between(30*time.Second, 16*time.Hour))
		}
		c.mustStay(seed)
		met["phones"]++
	}
	report(t, met, "recovered", "lost")
}

// A failover loses the last write. The client that got its response then has a token that
// the store does not know.
func TestRefresh_AStoreThatLosesWritesLogsNoClientOut(t *testing.T) {
	f, met := newFleet(t), map[string]int{}
	for seed := range uint64(scale(2000)) {
		s := f.simulate(t, seed, met)
		c := s.newClient()
		c.delay = s.upTo(time.Second)
		for range 10 {
			s.keepBackup(c)
			for range 1 + s.IntN(3) {
				c.load(1 + s.IntN(5))
				s.run(s.now + s.between(longest, time.Hour))
			}
			s.putBack()
		}
		c.load(3)
		s.run(s.now + time.Minute)
		c.mustStay(seed)
	}
	report(t, met, "recovered", "backup put back")
}

// copied is a thief with a copied token.
type copied struct {
	*simulation
	token string
	dead  bool          // it was rejected
	moved time.Duration // when it last moved the chain, or -1
	first time.Duration // its first use
	end   time.Duration // its last use that succeeded
	uses  int
	keeps bool // it always uses the token that it copied
}

func (th *copied) use(c *client) {
	if th.dead {
		return
	}
	before, _, err := th.store.Get(th.Context(), "alice", c.session)
	require.NoError(th, err)
	pair, err := th.managers[th.IntN(3)].Refresh(th.Context(), th.token)
	th.say("the thief presents %v and gets %v, %v", token(th.token), token(pair.RefreshToken), err)
	if err != nil {
		th.dead = true
		return
	}
	if th.uses++; th.uses == 1 {
		th.first = th.now
	}
	th.end = th.now
	if token(pair.RefreshToken).generation() > before.Generation {
		th.moved = th.now
	}
	if !th.keeps {
		th.token = pair.RefreshToken
	}
}

// thieves are strategies of a thief with a token. Each returns when to come next.
var thieves = map[string]func(s *simulation, c *client, uses int) time.Duration{
	"at once, and again each quarter of an hour": func(s *simulation, _ *client, uses int) time.Duration {
		return time.Duration(min(uses, 1)) * 15 * time.Minute
	},
	"within a day, and again each hour": func(s *simulation, _ *client, uses int) time.Duration {
		if uses == 0 {
			return s.upTo(24 * time.Hour)
		}
		return time.Hour
	},
	"by the rhythm that iat tells": func(s *simulation, c *client, _ int) time.Duration {
		return 15*time.Minute + s.upTo(time.Minute) - 30*time.Second
	},
	"at random": func(s *simulation, _ *client, _ int) time.Duration { return s.upTo(2 * time.Hour) },
	// The copied token has been replaced by then. Each use begins the window again.
	"to keep the window open": func(s *simulation, _ *client, uses int) time.Duration {
		if uses == 0 {
			return s.between(time.Second, 30*time.Second)
		}
		return 35 * time.Second
	},
	"whenever it sees the client refresh": func(s *simulation, c *client, _ int) time.Duration {
		return max(c.last+time.Second-s.now, time.Second)
	},
	"once, and never again": func(s *simulation, _ *client, uses int) time.Duration {
		if uses == 0 {
			return s.upTo(24 * time.Hour)
		}
		return -1
	},
}

// A thief may have a token that the right client does not have. Once the right client has
// refreshed, later than the grace allows, that thief is always rejected. A thief who sees
// the traffic, and always comes within the grace, has the same tokens as the client: its
// uses are counted.
func TestRefresh_NoThiefOutlivesTheRightClientsNextRefresh(t *testing.T) {
	for _, rules := range []string{"by default", "WithoutRecovery"} {
		var opts []session.Option
		if rules != "by default" {
			opts = append(opts, session.WithoutRecovery())
		}
		f := newFleet(t, opts...)
		for _, name := range slices.Sorted(maps.Keys(thieves)) {
			t.Run(rules+", "+name, func(t *testing.T) {
				met := map[string]int{}
				var lives []time.Duration
				for seed := range uint64(scale(1000)) {
					s := f.simulate(t, seed, met)
					c := s.newClient()
					c.delay = s.upTo(2 * time.Second)
					for range 1 + s.IntN(4) {
						c.load(1)
						s.run(s.now + s.between(longest, 30*time.Minute))
					}
					th := &copied{simulation: s, token: c.stored, moved: -1, keeps: strings.HasPrefix(name, "to keep")}
					if th.keeps {
						c.load(1)
						s.run(s.now + 5*time.Second)
					}
					var come func()
					come = func() {
						if d := thieves[name](s, c, th.uses); d >= 0 && !th.dead {
							s.after(d, func() { th.use(c); come() })
						}
					}
					come()
					for i := range 40 {
						c.load(1 + i%2)
						s.run(s.now + s.between(longest, 30*time.Minute))
						// The right client has just refreshed, and has none of the
						// thief's tokens.
						apart := th.moved >= 0 && !c.given[token(th.token).generation()]
						if apart && th.moved < c.last-longest && !c.out {
							served := th.uses
							th.use(c)
							require.Equal(t, served, th.uses, "seed %d: a thief is served after the right client came:\n%s", seed, s.told())
							break
						}
						if c.out {
							break
						}
					}
					if th.keeps {
						require.True(t, th.dead || c.out, "seed %d: a thief keeps the window open:\n%s", seed, s.told())
					}
					if th.uses > 0 {
						lives = append(lives, th.end-th.first)
					}
				}
				slices.Sort(lives)
				if len(lives) > 0 {
					t.Logf("%d thieves were served; from first to last use: median %v, longest %v", len(lives), lives[len(lives)/2].Round(time.Second), lives[len(lives)-1].Round(time.Second))
				}
				report(t, met)
			})
		}
	}
}
