package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/revoke"
)

// endless is a log of any length that costs nothing to keep or read, so that only the
// list is timed. Its entries revoke no token that is used.
type endless struct{ length int }

// entry returns entry i. The four kinds take turns.
func entry(i int) revoke.Entry {
	e := revoke.Entry{Kind: revoke.Kind(i%4 + 1), Issuer: issuer, ID: "entry-" + strconv.Itoa(i), Expires: time.Now().Add(lifetime)}
	if e.Kind == revoke.Subject || e.Kind == revoke.Container {
		e.Epoch = time.Now().UnixMicro()
	}
	return e
}

func (l *endless) Since(_ context.Context, cursor string, limit int) (revoke.Page, error) {
	from, _ := strconv.Atoi(cursor) // "" is the beginning
	to := min(from+limit, l.length)
	page := revoke.Page{Cursor: strconv.Itoa(to), More: to < l.length, Entries: make([]revoke.Entry, 0, to-from)}
	for i := from; i < to; i++ {
		page.Entries = append(page.Entries, entry(i))
	}
	return page, nil
}

func (l *endless) Append(context.Context, revoke.Entry) error { return nil }
func (l *endless) Purge(context.Context, time.Time) error     { return nil }

// replayed is what the first reading of a log of n entries cost, in time and memory.
type replayed struct {
	list     *revoke.List
	n        int
	took     time.Duration
	perEntry float64 // bytes
}

func replay(n int) (replayed, error) {
	before, start := heap(), time.Now()
	// The log is not read again, and the list must not become stale.
	list := must(revoke.New(&endless{length: n}, revoke.WithStaleness(24*time.Hour)))
	err := list.Sync(context.Background())
	r := replayed{list: list, n: n, took: time.Since(start)}
	r.perEntry = (float64(heap()) - float64(before)) / float64(n)
	if got := list.Status().Entries; err == nil && got != n {
		err = fmt.Errorf("a list of %d entries has %d", n, got)
	}
	return r, err
}

// revocations are the figures for lists of several lengths.
type revocations struct {
	results
	replays []replayed
}

// liveTokens are the numbers of live tokens. Each request brings one of them: always the
// same one, as in the other tables, or one of so many that the list's data about them is
// not in the CPU's caches.
var liveTokens = []int{1, manyTokens}

const manyTokens = 1000

func of(tokens int, name string) string {
	if tokens == 1 {
		return name
	}
	return fmt.Sprintf("%s, one of %s tokens", name, thousands(tokens))
}

const (
	noList   = "no list"
	arriving = "an empty list, to which 10,000 entries a second come"
)

func listName(n int) string { return fmt.Sprintf("a list of %s entries", thousands(n)) }

// lengths returns the lengths of the lists. A flag sets the last one.
func (s settings) lengths() []int {
	all := []int{0, 1000, 1_000_000, s.revoked}
	return slices.Compact(slices.DeleteFunc(all, func(n int) bool { return n > s.revoked }))
}

func measureRevocations(s settings, stdout, stderr io.Writer) (revocations, error) {
	fmt.Fprintln(stderr, "revocation lists: reading their logs")
	var v revocations
	var subjects []subject
	for _, tokens := range liveTokens {
		subjects = append(subjects, newCrowd(tokens).passing(of(tokens, noList)))
	}
	for _, n := range s.lengths() {
		r, err := replay(n)
		if err != nil {
			return v, err
		}
		v.replays = append(v.replays, r)
		for _, tokens := range liveTokens {
			subjects = append(subjects, newCrowd(tokens, jwtauth.WithRevocations(r.list)).passing(of(tokens, listName(n))))
		}
	}
	subjects = append(subjects, whileEntriesCome())
	var err error
	if v.results, err = measure(stderr, s.rounds, subjects); err != nil {
		return v, err
	}
	printTable(stdout, "Revocations: a private request, cached token", v.results, subjects,
		base{"against no list", noList}, base{"against no list, one of many tokens", of(manyTokens, noList)})
	fmt.Fprintln(stdout, "\nReading the log at start, where the log itself costs nothing:")
	for _, r := range v.replays[1:] {
		fmt.Fprintf(stdout, "%s entries in %.2f s, which take %.1f bytes each; ", thousands(r.n), r.took.Seconds(), r.perEntry)
	}
	fmt.Fprintln(stdout, "the garbage is collected.")
	return v, nil
}

// whileEntriesCome times the readers of a list while a writer is busy on another core.
func whileEntriesCome() subject {
	list := must(revoke.New(&endless{}, revoke.WithStaleness(24*time.Hour)))
	if err := list.Sync(context.Background()); err != nil {
		panic(err)
	}
	passing := newCrowd(1, jwtauth.WithRevocations(list)).passing(arriving)
	written := 0
	return subject{name: arriving, run: func(b *testing.B) error {
		done := make(chan struct{})
		var writer sync.WaitGroup
		writer.Go(func() {
			tick := time.NewTicker(time.Millisecond)
			defer tick.Stop()
			for start, n := time.Now(), 0; ; {
				select {
				case <-done:
					return
				case <-tick.C:
				}
				for ; n < int(time.Since(start)/(100*time.Microsecond)); n++ {
					written++
					if err := list.RevokeToken(context.Background(), issuer, strconv.Itoa(written), time.Now().Add(lifetime)); err != nil {
						panic(err)
					}
				}
			}
		})
		err := passing.run(b)
		close(done)
		writer.Wait()
		return err
	}}
}

func (v revocations) targets() []target {
	var all []target
	for _, r := range v.replays {
		all = append(all, atMost("a request with "+listName(r.n)+" against one with none", 1.3, v.ratio(listName(r.n), noList)).
			beside("one of %s tokens: %s", thousands(manyTokens), times(v.ratio(of(manyTokens, listName(r.n)), of(manyTokens, noList)))))
	}
	longest := v.replays[len(v.replays)-1]
	million := float64(longest.took) / float64(longest.n) * 1e6
	return append(all,
		atMost("a request while entries come against one with no list", 1.3, v.ratio(arriving, noList)),
		atMost(fmt.Sprintf("memory for each of %s entries", thousands(longest.n)), 64, longest.perEntry).in("B"),
		atMost("reading 1,000,000 entries at start", 5, time.Duration(million).Seconds()).in("s").
			beside("from the %s read", thousands(longest.n)),
	)
}
