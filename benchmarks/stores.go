package main

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/joinednode/jwtauth/keys"
	"github.com/joinednode/jwtauth/revoke"
	"github.com/joinednode/jwtauth/session"
)

// onlyStores is the value of -only.
const onlyStores = "stores"

// atOnce are the numbers of sessions that are refreshed at the same time, each by its own
// goroutine.
var atOnce = []int{1, 8}

// turns is the number of short turns that replace a round in measuring stores.
const turns = 5

// Names of the lines that targets mention. A place has the names of its floors.
const (
	advancing       = "**jwtauth** Advance"
	refreshingThere = "**jwtauth** Manager.Refresh"
	polling         = "**jwtauth** Since, nothing new"
)

// step is one operation of one worker, which has a session of its own.
type step func() error

// bare are the floors of one session: what the driver itself takes to read the row, to
// write it, and to get the smallest possible response from the server.
type bare struct{ read, write, ask step }

// line is a subject for any number of workers.
type line struct {
	name  string
	start func() (step, error)
}

// storeCosts are the figures of one place.
type storeCosts struct {
	results
	place
	refused
}

// stores are the figures of all places.
type stores []storeCosts

func runStores(s settings, stdout, stderr io.Writer) error {
	printHeader(stdout, s)
	restore, err := benchtime(s.benchtime)
	if err != nil {
		return err
	}
	defer restore()
	v, err := measureStores(s, stdout, stderr)
	if err != nil {
		return err
	}
	f := figures{stores: v}
	printTargets(stdout, f.stores.targets())
	if runtime.NumCPU() >= 2 {
		f.cores, err = measure(io.Discard, s.rounds, summing())
		if err != nil {
			return err
		}
	}
	f.printDisturbed(stdout)
	return nil
}

// summing returns the subjects that show whether this machine is quiet: SHA-256 on one
// core and on two. Benchmarks of a server wait for any other program that runs.
func summing() []subject {
	c := newCrowd(1)
	return slices.DeleteFunc(slices.Concat(c.parallel(1), c.parallel(2)), func(s subject) bool {
		return s.name != onCores(coresSum, 1) && s.name != onCores(coresSum, 2)
	})
}

// measureStores measures each place. It leaves out a server without an address, and its
// targets, since a target that was not measured must not be reported as met.
func measureStores(s settings, stdout, stderr io.Writer) (stores, error) {
	dir, err := os.MkdirTemp("", "jwtauth-benchmarks-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	fmt.Fprintf(stdout, "\n## Stores\n\nA call as a request makes it, with a context that can end. The floors are the same driver's, with the same "+
		"connections, on rows like ours: what they write and what they read is what ours do, and they check nothing. "+
		"Each round has %d turns of %v.\n\n", turns, s.benchtime/turns)
	var all stores
	for _, p := range places(dir) {
		if p.at == "" {
			fmt.Fprintf(stdout, "- %s: not measured: %s is not set\n", p.name, p.variable)
			continue
		}
		c, err := measureStore(p, s, stdout, stderr)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.name, err)
		}
		all = append(all, c)
	}
	for _, c := range all {
		for _, n := range atOnce {
			var subjects []subject
			for _, name := range c.place.names() {
				subjects = append(subjects, subject{name: together(name, n)})
			}
			printTable(stdout, together(c.name, n), c.results, subjects,
				base{"against the bare write", together(c.bareWrite, n)}, base{"against the bare refresh", together(c.bareRefresh, n)},
				base{"against the bare answer", together(c.bareAsk, n)})
		}
	}
	all.printRefused(stdout)
	return all, nil
}

func measureStore(p place, s settings, stdout, stderr io.Writer) (c storeCosts, err error) {
	fmt.Fprintln(stderr, "stores:", p.name)
	// Like a request's context, this one can end: some drivers then do more.
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	o, err := p.open(ctx, p)
	if err != nil {
		return c, err
	}
	defer func() { err = errors.Join(err, o.close()) }()
	fmt.Fprintf(stdout, "- %s: %s\n", p.name, o.about)
	// The log must not be empty. polls reads it to its end.
	if err := o.revocations.Append(ctx, revoke.Entry{Kind: revoke.Token, ID: newID(), Expires: time.Now().Add(24 * time.Hour)}); err != nil {
		return c, err
	}
	var subjects []subject
	// Subjects that are compared are timed close to each other.
	lines := o.lines(ctx, p)
	for _, n := range atOnce {
		for _, l := range lines {
			subject, err := working(l, n)
			if err != nil {
				return c, fmt.Errorf("%s: %w", l.name, err)
			}
			subjects = append(subjects, subject)
		}
	}
	c.place = p
	// A server can be slow for a short time, so subjects that are compared take
	// many short turns.
	restore, err := benchtime(s.benchtime / turns)
	if err != nil {
		return c, err
	}
	defer restore()
	if c.results, err = measure(io.Discard, s.rounds*turns, subjects); err != nil {
		return c, err
	}
	c.refused, err = revokeEverywhere(ctx, p, o, s.revocations, stderr)
	return c, err
}

// lines returns what is measured in one place.
func (o *opened) lines(ctx context.Context, p place) []line {
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		panic(err)
	}
	all := []line{
		{p.bareWrite, func() (step, error) {
			b, err := o.bare(ctx)
			return b.write, err
		}},
		{advancing, func() (step, error) { return advances(ctx, o.sessions) }},
		{p.bareRefresh, func() (step, error) { return o.bareRefreshes(ctx, private) }},
		{refreshingThere, func() (step, error) { return refreshesIn(ctx, o.sessions, private) }},
		{p.bareAsk, func() (step, error) {
			b, err := o.bare(ctx)
			return b.ask, err
		}},
		{polling, func() (step, error) { return polls(ctx, o.revocations) }},
	}
	return append(all, o.extra(ctx, private)...)
}

// names returns the names of the lines, for the tables.
func (p place) names() []string {
	return append([]string{p.bareWrite, advancing, p.bareRefresh, refreshingThere, p.bareAsk, polling}, p.extra...)
}

// newSession returns a row like those of a Manager.
func newSession() session.Session {
	now := time.Now()
	return session.Session{
		ID: newID(), Subject: subjectOf, Generation: 1, Created: now, Rotated: now,
		IdleExpires: idle(now), MaxExpires: now.Truncate(time.Second).Add(90 * 24 * time.Hour),
	}
}

// idle returns when a session ends that was refreshed now, in whole seconds like a
// Manager. So most steps do not change the index.
func idle(now time.Time) time.Time { return now.Truncate(time.Second).Add(14 * 24 * time.Hour) }

var errLost = errors.New("the session was not advanced, although no other worker uses it")

// advances returns the step that decides about a refresh.
func advances(ctx context.Context, store session.Store) (step, error) {
	row := newSession()
	return func() error {
		now := time.Now()
		from := row
		row.Generation, row.Prev, row.Rotated, row.Given, row.IdleExpires = row.Generation+1, row.Generation, now, now, idle(now)
		won, err := store.Advance(ctx, from, row, now)
		if err == nil && !won {
			err = errLost
		}
		return err
	}, store.Create(ctx, row)
}

// leaping is a clock with which every refresh rotates. It leaps past the time in which a
// refresh returns the same token again.
type leaping struct{ at time.Time }

func (l *leaping) now() time.Time { return l.at }
func (l *leaping) leap()          { l.at = l.at.Add(session.DefaultGrace + 20*time.Second) }

// refreshesIn returns a whole refresh: a read, a verification, two signatures, and the
// step that decides.
func refreshesIn(ctx context.Context, store session.Store, private ed25519.PrivateKey) (step, error) {
	clock := &leaping{at: time.Now()}
	manager := must(session.New(keys.Signer(private), store, session.WithClock(clock.now)))
	pair, err := manager.Login(ctx, subjectOf)
	return func() error {
		clock.leap()
		pair, err = manager.Refresh(ctx, pair.RefreshToken)
		return err
	}, err
}

// bareRefreshes returns the work that a refresh cannot avoid. It reads the row and writes
// it. In between it verifies a message as long as the refresh token, and signs two that
// are as long as the two tokens.
func (o *opened) bareRefreshes(ctx context.Context, private ed25519.PrivateKey) (step, error) {
	b, err := o.bare(ctx)
	if err != nil {
		return nil, err
	}
	manager := must(session.New(keys.Signer(private), session.NewMemory()))
	pair := must(manager.Login(ctx, subjectOf))
	message := func(token string) []byte { return []byte(token[:strings.LastIndexByte(token, '.')]) }
	access, refresh := message(pair.AccessToken), message(pair.RefreshToken)
	public, signature := private.Public().(ed25519.PublicKey), ed25519.Sign(private, refresh)
	return func() error {
		if !ed25519.Verify(public, refresh, signature) {
			return errFloor
		}
		if err := b.read(); err != nil {
			return err
		}
		ed25519.Sign(private, access)
		ed25519.Sign(private, refresh)
		return b.write()
	}, nil
}

var errNews = errors.New("the log has new entries, although nothing was revoked")

// polls returns what each process of a fleet does regularly: it reads the log from its
// last place, usually without news.
func polls(ctx context.Context, log revoke.Store) (step, error) {
	page, err := revoke.Page{More: true}, error(nil)
	for page.More && err == nil {
		page, err = log.Since(ctx, page.Cursor, 1000)
	}
	cursor := page.Cursor
	return func() error {
		page, err := log.Since(ctx, cursor, 1000)
		if err == nil && len(page.Entries) > 0 {
			err = errNews
		}
		return err
	}, err
}

func together(name string, n int) string {
	if n == 1 {
		return name
	}
	return fmt.Sprintf("%s, %d at once", name, n)
}

// working times n workers. The figure is the wall-clock time for each operation of all of
// them together.
func working(l line, n int) (subject, error) {
	steps := make([]step, n)
	for i := range steps {
		var err error
		if steps[i], err = l.start(); err != nil {
			return subject{}, err
		}
	}
	return subject{name: together(l.name, n), run: func(b *testing.B) error {
		if n == 1 {
			for b.Loop() {
				if err := steps[0](); err != nil {
					return err
				}
			}
			return nil
		}
		var begun atomic.Int64
		var workers sync.WaitGroup
		errs := make([]error, n)
		for i, work := range steps {
			workers.Go(func() {
				for errs[i] == nil && begun.Add(1) <= int64(b.N) {
					errs[i] = work()
				}
			})
		}
		workers.Wait()
		return errors.Join(errs...)
	}}, nil
}

// targets returns the targets of all places. They are ratios of rates: 0.8 of the rate is
// 1.25 of the time.
func (v stores) targets() []target {
	const share = 0.8
	var all []target
	for _, c := range v {
		for _, n := range atOnce {
			rate := func(ours, floor string) float64 { return c.ratio(together(floor, n), together(ours, n)) }
			for _, pair := range [][2]string{{advancing, c.bareWrite}, {refreshingThere, c.bareRefresh}} {
				ours, floor := pair[0], pair[1]
				t := atLeast(together(c.name+": the rate of "+plain(ours)+" against that of "+plain(floor), n), share, rate(ours, floor))
				var notes []string
				for _, extra := range c.extra {
					if how, is := strings.CutPrefix(extra, ours+", "); is {
						notes = append(notes, how+": "+times(rate(extra, floor)))
					}
				}
				if len(notes) > 0 {
					t = t.beside("%s", strings.Join(notes, "; "))
				}
				all = append(all, t)
			}
		}
	}
	for _, c := range v {
		all = append(all, c.refused.target(c.name))
	}
	return all
}

// plain returns the name of a line for use in a sentence.
func plain(name string) string {
	return strings.TrimPrefix(strings.TrimPrefix(name, "**jwtauth** "), "floor: ")
}
