// This file has the simulations. In each, a seed decides what clients, thieves, networks,
// clocks and stores do, and time is simulated.
//
// TestManager_AgreesWithAModel compares each response of two Managers with a model of
// what the package comment promises.
//
// The TestRefresh_ simulations are more realistic. Their pages take no lock, and their
// phones sleep and lose responses. Networks deliver late and in any order. The clocks of
// processes differ. Stores fail, take effect late, or are restored from a backup.

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

// In this test, a seed decides what clients, thieves, networks, clocks and outages do to two
// Managers. Each response is compared with a model of what the package comment promises.
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
		assert.Greater(t, met[kind], seeds/10, "the simulation must meet this case more often: %s", kind)
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
	prev        int64             // the generation that the current one replaced
	window      time.Time         // when the current generation was made, or last given again late
	given       map[int64]payload // the refresh tokens that were given out, by generation
	access      []string          // the last access tokens
	rotated     time.Time         // the latest time of any clock at a rotation
	expires     time.Time
	maxExpires  time.Time

	ended    bool // all its tokens must be rejected
	doubtful bool // an attempt to end it failed, and may have ended it
	robbed   bool // a thief has used a token of it
	ends     int  // the number of events about its end
	fouled   bool // an outage disturbed an attempt to end it, so an event may be missing
}

// device is a legitimate client. Its tabs share what it stores.
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

// chance returns true with a probability of 1 in n.
func (w *world) chance(n int) bool { return w.IntN(n) == 0 }

// advancedTo updates the model after each step of the store. Responses do not suffice for
// that, since a fault can turn a step that took effect into an error.
func (w *world) advancedTo(next session.Session) {
	c := w.chainOf(next.ID)
	c.window = next.Given
	if next.Generation == c.generation { // the current token is given again late
		require.Equal(w, c.prev, next.Prev)
		return
	}
	require.Equal(w, c.generation+1, next.Generation, "a generation must be replaced only once, by the next one")
	c.generation, c.prev = next.Generation, next.Prev
}

func (w *world) chainOf(id string) *chain {
	i := slices.IndexFunc(w.chains, func(c *chain) bool { return c.id == id })
	require.GreaterOrEqual(w, i, 0, "the session must be known to the model")
	return w.chains[i]
}

// pass removes the fault, and lets time pass.
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

// finish lets every device and every thief refresh once more, without faults.
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
			require.Equal(w, 1, c.ends, "the end of a session must be reported once")
		}
	}
}

// arm removes the fault. Sometimes it sets a new one, so that one of the next calls fails.
func (w *world) arm() {
	w.faults.fault = nil
	if w.chance(3) {
		f := &fault{call: w.failing[w.IntN(len(w.failing))], after: w.chance(2), skip: w.IntN(2) * w.IntN(3)}
		w.faults.fault = f
	}
}

func (w *world) fired() bool { return w.faults.fault != nil && w.faults.fault.fired }

// toTheBrink lets time pass until the end of a session, or just before it.
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

// check checks a pair that was given out. All refresh tokens of one generation must be
// equal, and no token may outlive its session.
func (w *world) check(c *chain, generation int64, pair session.Pair, now time.Time) {
	p, second := decode(w, pair.RefreshToken), now.Truncate(time.Second)
	require.Equal(w, payload{
		Subject: c.subject, SessionID: c.id, ID: p.ID, IssuedAt: p.IssuedAt,
		Expires: c.expires.Unix(), Generation: generation, MaxExpires: c.maxExpires.Unix(),
	}, p, "the refresh token must describe the session")
	if before, ok := c.given[generation]; ok {
		require.Equal(w, before, p, "the chain must not fork")
	}
	for g, other := range c.given {
		require.Equal(w, g == generation, other.ID == p.ID, "each generation must have an ID of its own")
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
		// Only the generation and the time of a request decide whether the session rotates.
		require.True(w, number == generation && !rests || number == prev && age > window, "only the current generation may rotate, and only the one before may be recovered")
		require.False(w, c.ended || over, "a session that ended must not rotate")
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
	require.LessOrEqual(w, c.ends, 1, "a session must end only once")
	current, before := number == generation, number == prev
	stolen := !current && !before

	for _, kind := range kinds {
		w.met[string(kind)]++
	}
	if w.fired() {
		w.met["outage"]++
		require.ErrorIs(w, err, jwtauth.ErrUnavailable, "an outage")
		require.Zero(w, pair)
		require.True(w, !rotated || w.faults.fault.call == "Advance", "a failure of anything but Advance must not rotate the session")
		if call := w.faults.fault.call; call == "Append" || call == "Revoke" {
			require.True(w, stolen || c.fouled, "a refresh may end a session only for theft, or to complete an end that failed")
			c.doubtful, c.fouled = !c.ended, true
			if stolen { // each attempt causes an event, until the session has ended
				require.Equal(w, []session.EventKind{session.Reused}, kinds)
				c.ends--
				return pair, failed
			}
		}
		require.Empty(w, events)
		return pair, failed
	}
	require.NotErrorIs(w, err, jwtauth.ErrUnavailable, "no call failed, so there must be no outage")
	if err != nil {
		require.Zero(w, pair)
		require.False(w, rotated)
	}
	switch {
	case c.doubtful && errors.Is(err, jwtauth.ErrRevoked):
		c.doubtful, c.ended = false, true // the attempt that failed did end the session
	case c.ended:
		w.met["ended"]++
		require.Error(w, err, "a session that ended must reject its tokens")
		require.True(w, errors.Is(err, jwtauth.ErrRevoked) || errors.Is(err, jwtauth.ErrExpired))
		if !c.fouled {
			require.Empty(w, events)
		}
	case over:
		w.met["expired"]++
		require.ErrorIs(w, err, jwtauth.ErrExpired)
		require.Empty(w, events)
	case current && rests:
		require.NoError(w, err, "the current token must be given again")
		require.False(w, rotated)
		require.Equal(w, []session.EventKind{session.Retried}, kinds)
	case current:
		require.NoError(w, err, "the current token must rotate")
		require.True(w, rotated)
		require.Equal(w, []session.EventKind{session.Refreshed}, kinds)
	case (stolen || age > window) && outlived:
		require.ErrorIs(w, err, jwtauth.ErrExpired)
		require.Empty(w, events, "a token that has expired by itself must not end the session")
	case stolen:
		require.ErrorIs(w, err, session.ErrReused, "a theft must be found")
		require.ErrorIs(w, err, jwtauth.ErrRevoked)
		require.Equal(w, []session.EventKind{session.Reused}, kinds)
		c.ended, c.doubtful = true, false
	case age > window:
		require.NoError(w, err, "a token whose successor was never used must be recovered")
		require.True(w, rotated)
		require.Equal(w, []session.EventKind{session.Recovered}, kinds)
	default: // the token was replaced just before
		require.NoError(w, err, "a token that was replaced just before must get its successor")
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
	require.True(w, c.doubtful || lives(w.Context(), w.managers[k], pair.AccessToken), "the new access token must be accepted")
	return pair, served
}

// rests reports whether a refresh with the current token returns the same token again.
func (w *world) rests(c *chain, now time.Time) bool {
	left := c.expires.Sub(now)
	nearEnd := c.expires.Before(c.maxExpires) && left < min(settled, c.expires.Sub(c.rotated)/2)
	return now.Sub(c.window) < settled && now.Sub(c.rotated) < 5*settled && !nearEnd
}

// refreshOf lets a legitimate client refresh. Unless well is set, the response may be lost.
// The client then tries again at some later step.
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
	// right says whether the package comment promises that this refresh is not rejected.
	right := !c.robbed && !c.ended && !c.doubtful && now.Before(c.expires) && now.Before(time.Unix(c.given[dev.number].Expires, 0))
	pair, came := w.refresh(dev.subject, k, c, dev.token, dev.number)
	if right {
		require.NotEqual(w, refused, came, "a legitimate client must never be logged out")
	}
	lost := !well && came == served && w.chance(5)
	switch {
	case came == refused:
		*dev = device{subject: dev.subject} // it logs in again later
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
	require.Equal(w, served, came, "the other tab must be served, too")
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

// comeLate lets a client lose a response, and often try again late. The client has not used
// the successor, so it must stay logged in.
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

// clean runs do without the fault.
func (w *world) clean(do func() error) error {
	was := w.faults.fault
	w.faults.fault = nil
	defer func() { w.faults.fault = was }()
	return do()
}

// tookEnds counts the events about ended sessions. Each must be about one of these chains,
// unless an outage left the end of another session half done before.
func (w *world) tookEnds(chains ...*chain) {
	for _, e := range w.take() {
		require.Equal(w, session.LoggedOut, e.Kind)
		c := w.chainOf(e.SessionID)
		require.True(w, slices.Contains(chains, c) || c.fouled, "an event about another session: %v", e)
		c.ends++
		require.Equal(w, 1, c.ends, "a session must end only once")
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
	// A login that failed after it took effect has left a session in the store. Such
	// sessions end, too.
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

// takeOrphans is like tookEnds, but ignores sessions that the model does not know, because
// their login failed after it took effect.
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

// dead requires that all tokens of an ended session are rejected: those of the legitimate
// client and those of thieves.
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
			require.Error(w, err, "manager %d must reject the refresh tokens of a session that ended", i)
			require.NotErrorIs(w, err, jwtauth.ErrUnavailable)
		}
		for _, token := range c.access {
			require.False(w, lives(w.Context(), m, token), "manager %d must reject the access tokens of a session that ended", i)
		}
	}
	for _, e := range w.take() {
		require.True(w, c.fouled && e.SessionID == c.id, "an event about a session that has already ended: %v", e)
		c.ends++
		require.Equal(w, 1, c.ends)
	}
}

// window is how long a replaced token gets its successor again. longest is the time after
// which the current token surely rotates, whichever process gets it.
const (
	window  = session.DefaultGrace + 10*time.Second
	longest = window + 20*time.Second
)

// fleet stands for three processes whose clocks differ from the true time by up to 5
// seconds. All simulations of a test share it.
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

// run runs everything that is due until the given time.
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

// say records what happened. told returns it.
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

// told returns the last 40 lines of what happened.
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

// fleetStore is the store of the current simulation. It is not a faulty, because its steps
// can take effect later, in simulated time.
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

// Advance may fail. The step then takes effect within 10 seconds, or never.
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

// client is a legitimate client. Its tabs share what it stores, and take no lock.
type client struct {
	*simulation
	session string
	stored  string // the refresh token
	out     bool   // it was told to log in again
	last    time.Duration
	delay   time.Duration  // the longest delay of a request or response
	loss    float64        // the probability that a request or its response is lost
	timeout time.Duration  // after which it ignores a response
	page    int            // the number of page loads; every other one drops responses to older pages
	given   map[int64]bool // the generations that it was given
}

func (s *simulation) newClient() *client {
	pair, err := s.managers[s.IntN(3)].Login(s.Context(), "alice")
	require.NoError(s, err)
	return &client{simulation: s, session: pair.SessionID, stored: pair.RefreshToken, timeout: time.Hour, given: map[int64]bool{}}
}

// call stands for an API call that gets 401. The client then refreshes with the stored
// token, and stores the new one. If there is no response, it tries again. It makes at most
// this many tries.
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

// load loads a page, which makes this many calls within a second.
func (c *client) load(calls int) {
	c.page++
	for range calls {
		c.after(c.upTo(time.Second), func() { c.call(4) })
	}
}

// mustStay fails the test if the client was logged out.
func (c *client) mustStay(seed uint64) {
	if c.out {
		require.Fail(c, "a legitimate client was logged out", "seed %d:\n%s", seed, c.told())
	}
}

// scale returns how many of n simulations run. All of them run if JWTAUTH_TEST_WHOLE is set,
// as .ci/run does once. Otherwise a twentieth of them run, or a hundredth with -short.
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

// report logs what the simulations of a test met. It fails if they did not meet one of these
// kinds.
func report(t *testing.T, met map[string]int, kinds ...string) {
	delete(met, "scheduled")
	t.Log("met:", met)
	for _, kind := range kinds {
		require.NotZero(t, met[kind], "no simulation met this case: %s", kind)
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

// A failover of the store can lose the last writes. A client that got the responses then has
// a token that the store does not know.
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
	dead  bool          // the thief was rejected
	moved time.Duration // when it last moved the chain, or -1
	first time.Duration // its first use
	end   time.Duration // its last use that succeeded
	uses  int
	keeps bool // the thief always uses the copied token, and not its successors
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

// thieves holds strategies of a thief. Each returns how long the thief waits before the next
// use, or a negative time if there is none.
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

// A thief may have a token that the legitimate client was never given. Once the client has
// refreshed, later than the grace allows, the thief must be rejected. A thief who always
// comes within the grace has the same tokens as the client. The test only counts its uses.
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
						// The client has refreshed since, and was never given the token that
						// the thief now has.
						apart := th.moved >= 0 && !c.given[token(th.token).generation()]
						if apart && th.moved < c.last-longest && !c.out {
							served := th.uses
							th.use(c)
							require.Equal(t, served, th.uses, "seed %d: a thief was served after the legitimate client refreshed:\n%s", seed, s.told())
							break
						}
						if c.out {
							break
						}
					}
					if th.keeps {
						require.True(t, th.dead || c.out, "seed %d: a thief kept the window open:\n%s", seed, s.told())
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
