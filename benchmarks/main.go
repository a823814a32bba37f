// Command benchmarks runs this library and its peers on the same token, with the same key
// and the same empty handler, in one process. It prints the tables of their costs, and
// whether this library met its targets:
//
//	go run ./benchmarks                  # from the root of the repository
//	cd benchmarks && GOWORK=off go run . # with this module's own build list
//
// Before anything is timed, every subject must accept the good token and reject what it
// claims to reject. While it is timed, the handler's calls are counted. The program takes
// some minutes and, for a million live tokens, some gigabytes of memory. The module's
// ordinary benchmarks show how the costs grow:
//
//	go test -bench . ./benchmarks
//
// The stores are measured with SQLite, and with the servers that the tests' environment
// variables name: JWTAUTH_TEST_POSTGRES, JWTAUTH_TEST_MYSQL and JWTAUTH_TEST_REDIS. To
// measure only the stores, in about three minutes:
//
//	go run ./benchmarks -only stores
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"testing"
	"time"
)

func main() {
	if os.Getenv(asFollower) != "" {
		if err := follow(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "benchmarks: a follower:", err)
			os.Exit(1)
		}
		return
	}
	if err := run(os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "benchmarks:", err)
		os.Exit(1)
	}
}

// settings are the values of the flags.
type settings struct {
	rounds    int
	benchtime time.Duration
	load      time.Duration
	live      int
	revoked   int

	revocations int
	only        string
}

// fewLive is the number of tokens with which many live tokens are compared.
const fewLive = 1000

func run(args []string, stdout, stderr io.Writer) error {
	var s settings
	flags := flag.NewFlagSet("benchmarks", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.IntVar(&s.rounds, "rounds", 7, "`number` of interleaved rounds")
	flags.DurationVar(&s.benchtime, "benchtime", 200*time.Millisecond, "`time` for each subject in each round")
	flags.DurationVar(&s.load, "load", time.Second, "`time` for each turn of the real server")
	flags.IntVar(&s.live, "live", 1_000_000, "`number` of live tokens to compare with a thousand; a million take some gigabytes")
	flags.IntVar(&s.revoked, "revoked", 10_000_000, "`number` of entries of the longest revocation list")
	flags.IntVar(&s.revocations, "revocations", 50, "`number` of revocations that other processes must learn of, by each log")
	flags.StringVar(&s.only, "only", "", "`part` to measure alone: "+onlyStores)
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return nil
	case err != nil:
		return err
	case flags.NArg() > 0 || s.rounds < 1 || s.benchtime <= 0 || s.load <= 0 || s.live <= fewLive || s.revoked <= fewLive || s.revocations < 1:
		return fmt.Errorf("no arguments are allowed, no flag may be zero or below, and -live and -revoked must be more than %d (see -help)", fewLive)
	}
	switch s.only {
	case "":
	case onlyStores:
		return runStores(s, stdout, stderr)
	default:
		return fmt.Errorf("-only %s: there is only %q", s.only, onlyStores)
	}
	fmt.Fprintln(stderr, "checking that every subject does what it is timed for")
	if err := judgeAll(); err != nil {
		return err
	}
	printHeader(stdout, s)
	restore, err := benchtime(s.benchtime)
	if err != nil {
		return err
	}
	defer restore()
	f, err := measureAll(s, stdout, stderr)
	if err != nil {
		return err
	}
	printTargets(stdout, targets(f))
	f.printDisturbed(stdout)
	return nil
}

func (f figures) printDisturbed(w io.Writer) {
	if f.disturbed() {
		fmt.Fprintln(w, "\nSHA-256 gained less than it must from the second core, so something else ran on this machine: "+
			"what needs both cores, the server included, says little. Run it again where it is quiet.")
	}
}

// benchtime sets how long testing.Benchmark runs, and returns a function that restores the
// old value. testing.Benchmark reads the duration only from a flag of go test.
func benchtime(d time.Duration) (restore func(), err error) {
	testing.Init()
	const name = "test.benchtime"
	before := flag.Lookup(name).Value.String()
	return func() { flag.Set(name, before) }, flag.Set(name, d.String())
}

// measureAll prints each table as soon as it is measured.
func measureAll(s settings, stdout, stderr io.Writer) (figures, error) {
	f := figures{settings: s}
	var err error
	if f.timed, err = measureOneToken(s, stdout, stderr); err != nil {
		return f, err
	}
	fmt.Fprintln(stderr, "a real server")
	if f.served, err = serve(stderr, s.rounds, s.load); err != nil {
		return f, err
	}
	printServed(stdout, f.served, s.load)
	if runtime.NumCPU() >= 2 {
		if f.cores, err = measureCores(s, stdout, stderr); err != nil {
			return f, err
		}
	}
	if f.live, err = measureLive(s, stdout, stderr); err != nil {
		return f, err
	}
	if f.sessions, err = measureSessions(s, stdout, stderr); err != nil {
		return f, err
	}
	if f.revoked, err = measureRevocations(s, stdout, stderr); err != nil {
		return f, err
	}
	if f.stores, err = measureStores(s, stdout, stderr); err != nil {
		return f, err
	}
	fmt.Fprintln(stderr, "memory")
	cached := min(100_000, s.live)
	f.perToken = bytesPerToken(cached)
	fmt.Fprintf(stdout, "\n## Memory\n\n%s cached tokens take %.0f bytes each after their requests have ended.\n",
		thousands(cached), f.perToken)
	return f, nil
}

func measureOneToken(s settings, stdout, stderr io.Writer) (results, error) {
	fmt.Fprintln(stderr, "one token, one goroutine")
	plain, makers, bad := slices.Concat(guards(), parsers(), floors()), issuers(), refusals()
	all := slices.Concat(plain, makers, bad)
	var pairs [][]subject
	for _, a := range []algorithm{eddsa(), es256(), rs256()} {
		pairs = append(pairs, asymmetric(a))
		all = append(all, pairs[len(pairs)-1]...)
	}
	r, err := measure(stderr, s.rounds, all)
	if err != nil {
		return nil, err
	}
	printTable(stdout, "One HS256 token", r, plain,
		base{"against cached", oursSeen}, base{"against not cached", oursFirst})
	for i, alg := range asymmetricNames {
		printTable(stdout, "One "+alg+" token", r, pairs[i],
			base{"against the arithmetic", bareCrypto(alg)}, base{"against HS256 cached", oursSeen})
	}
	printTable(stdout, "Issuing", r, makers, base{"against ours", oursIssue})
	printTable(stdout, "Rejecting", r, bad,
		base{"against an accepted token not cached", oursFirst}, base{"against one of 8 KiB", oursLong})
	return r, nil
}

func measureCores(s settings, stdout, stderr io.Writer) (results, error) {
	fmt.Fprintln(stderr, "two cores")
	c := newCrowd(10_000)
	one, two := c.parallel(1), c.parallel(2)
	var both []subject
	for i := range one {
		both = append(both, one[i], two[i])
	}
	r, err := measure(stderr, s.rounds, both)
	if err != nil {
		return nil, err
	}
	printTable(stdout, "One core and two: wall-clock time for each operation of all cores together", r, both)
	return r, nil
}

func measureLive(s settings, stdout, stderr io.Writer) (results, error) {
	fmt.Fprintln(stderr, "many live tokens: issuing them")
	few, many := newCrowd(fewLive), newCrowd(s.live)
	both := slices.Concat(few.among(), many.among())
	r, err := measure(stderr, s.rounds, both)
	if err != nil {
		return nil, err
	}
	printTable(stdout, "Few and many live tokens, cached, in pseudo-random order", r, both,
		base{"against few", liveName(fewLive)}, base{"against few in a map", mapName(fewLive)})
	return r, nil
}
