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

	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/keys"
	"github.com/joinednode/jwtauth/revoke"
	"github.com/joinednode/jwtauth/session"
)

// What becomes of right clients and thieves as they are: pages that take no lock, phones
// that lose answers and sleep, networks that deliver late and in any order, processes
// whose clocks differ, stores that answer with an outage and take effect afterwards or
// are put back from a backup. Time is simulated, and a seed decides everything.

// window and longest are how long a replaced token is given its successor again, and how
// long a generation stays at least, by any two clocks.
const (
	window  = session.DefaultGrace + 10*time.Second
	longest = window + 20*time.Second
)

// fleet is what all simulations of a test run on: three processes whose clocks differ by
// up to 5 seconds from the true time.
type fleet struct {
	managers [3]*session.Manager
	offset   [3]time.Duration
	sim      *simulation // the one at work
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
	down   bool            // the store answers with an outage
	outage float64         // how likely a step of the store is one
	met    map[string]int  // events, and what else the test counts
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

// queue holds what happens later.
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
func (q *queue) Push(e any)   { *q = append(*q, e.(event)) }
func (q *queue) Pop() any {
	last := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return last
}

func (s *simulation) after(d time.Duration, do func()) {
	heap.Push(&s.queue, event{s.now + d, len(s.trace) + s.met["scheduled"], do})
	s.met["scheduled"]++
}

// run lets everything happen that is due until a time.
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

// say keeps what happened, for told.
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

// told is what happened last.
func (s *simulation) told() string {
	var text strings.Builder
	for _, line := range s.trace[max(0, len(s.trace)-40):] {
		fmt.Fprintln(&text, line())
	}
	return text.String()
}

// token is a refresh token, which is told by its generation, 0 for none.
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

// fleetStore is the store of the simulation at work. It is a fake of its own, since its steps
// take effect when the simulated time has come.
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

// Advance may fail, and then take effect at once, up to 10 seconds later, or never.
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

// keepBackup remembers the row as it is, and putBack makes it the store's.
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

// client is a right client: its tabs share what it stores, and take no lock.
type client struct {
	*simulation
	session string
	stored  string // the refresh token
	out     bool   // it was told to log in again
	last    time.Duration
	delay   time.Duration // of a request, and of an answer, at most
	loss    float64
	timeout time.Duration  // after which it does not listen to an answer
	page    int            // the number of the page that is open: a reload drops answers
	given   map[int64]bool // the generations that it was answered with
}

func (s *simulation) newClient() *client {
	pair, err := s.managers[s.IntN(3)].Login(s.Context(), "alice")
	require.NoError(s, err)
	return &client{simulation: s, session: pair.SessionID, stored: pair.RefreshToken, timeout: time.Hour, given: map[int64]bool{}}
}

// call is one API call that gets a 401, refreshes by itself with the token that is
// stored then, and stores the answer. It tries again so many times.
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
			case page != c.page && c.page%2 == 0: // the page was left
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

// load is one page load: so many calls within a second.
func (c *client) load(calls int) {
	c.page++
	for range calls {
		c.after(c.upTo(time.Second), func() { c.call(4) })
	}
}

// mustStay fails a test whose right client was logged out.
func (c *client) mustStay(seed uint64) {
	if c.out {
		require.Fail(c, "a right client was logged out", "seed %d:\n%s", seed, c.told())
	}
}

// scale is how many of the simulations run: all of them where JWTAUTH_TEST_WHOLE is set, as
// .ci/run does once.
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
				s.run(s.now + s.between(15*time.Second, time.Hour)) // to put it back takes a while
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

// report prints what a simulation met, which must not be nothing of what it is about.
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

// What a failover loses is the last write, and the clients that it answered hold a
// token that the store does not know.
func TestRefresh_AStoreThatLosesWritesLogsNobodyOut(t *testing.T) {
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

// copied is a thief, who copied a token.
type copied struct {
	*simulation
	token string
	dead  bool          // it was rejected
	moved time.Duration // when it last moved the chain, -1 for never
	first time.Duration // its first use
	end   time.Duration // its last use that was served
	uses  int
	keeps bool // it presents the token that it copied, whatever it is given
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

// thieves are what they do once they have a token: each returns when to come next.
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
	// The token that it copied is replaced by then. Each use begins the window anew.
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

// A thief who has a token that the right client lacks is never served again once the
// right client has come, later than the grace allows two clients to look like one. A
// thief who always comes within the grace, since it sees the traffic, holds the same
// tokens as the client: its uses are counted.
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
						// The right client has just come, and heard nothing new from the thief since.
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
