package main

import (
	"crypto/sha256"
	"fmt"
	"iter"
	"math/rand/v2"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/golang-jwt/jwt/v5"

	"github.com/joinednode/jwtauth"
)

// crowd is a number of live tokens that are cached, and the order in which they are used.
// The order is the same in every run.
type crowd struct {
	wrap   func(next http.Handler) http.Handler
	values []string
	order  []uint32 // its length is a power of two
	next   uint
}

// newCrowd issues n tokens, each for its own user and session, and sends each once. It
// then uses copies: on a server, no two requests share memory.
func newCrowd(n int, opts ...jwtauth.Option) *crowd {
	a := hs256()
	c := &crowd{wrap: ours(a, append(withCacheFor(n), opts...)...).wrap, values: make([]string, n)}
	next := &counter{}
	d := newDriver(c.wrap(next))
	for i := range c.values {
		c.values[i] = bearer(a.mint(func(claims jwt.MapClaims) {
			claims["sub"], claims["sid"] = fmt.Sprintf("user-%07d@example.com", i), fmt.Sprintf("session-%07d", i)
		}))
		d.present(strings.Clone(c.values[i]))
	}
	if err := next.judge(n); err != nil {
		panic(err)
	}
	size := 1 << 20
	for size < n {
		size *= 2
	}
	random := rand.New(rand.NewPCG(1, 2))
	c.order = make([]uint32, size)
	for i := range c.order {
		c.order[i] = uint32(random.IntN(n))
	}
	return c
}

// pick continues where the last round stopped, so that the tokens are not in the CPU's
// caches.
func (c *crowd) pick() string {
	c.next++
	return c.values[c.order[c.next&uint(len(c.order)-1)]]
}

func liveName(n int) string { return fmt.Sprintf("**jwtauth**, one of %s live tokens", thousands(n)) }
func mapName(n int) string {
	return fmt.Sprintf("floor: one of %s tokens in a Go map", thousands(n))
}

// among times a token of the crowd, and the same tokens as keys of a map.
func (c *crowd) among() []subject {
	set := make(map[string]struct{}, len(c.values))
	for _, value := range c.values {
		set[strings.Clone(value)] = struct{}{}
	}
	return []subject{
		c.arriving(liveName(len(c.values))),
		{name: mapName(len(c.values)), run: func(b *testing.B) error {
			for value := range c.arrivals(b) {
				if _, ok := set[value]; !ok {
					return errFloor
				}
			}
			return nil
		}},
	}
}

// arriving times a token of the crowd that was just read from the network.
func (c *crowd) arriving(name string) subject {
	next := &counter{}
	d := newDriver(c.wrap(next))
	return subject{name: name, run: func(b *testing.B) error {
		next.ran = 0
		for value := range c.arrivals(b) {
			d.present(value)
		}
		return next.judge(b.N)
	}}
}

// passing times a token of the crowd, wherever it is in memory.
func (c *crowd) passing(name string) subject {
	next := &counter{}
	d := newDriver(c.wrap(next))
	return subject{name: name, run: func(b *testing.B) error {
		next.ran = 0
		for b.Loop() {
			d.present(c.pick())
		}
		return next.judge(b.N)
	}}
}

// arrivals yields a token for each b.Loop. On a server a token was just copied from the
// network, so it is in the CPU's caches, and the cached token is not. So arrivals copies
// 256 tokens at a time, untimed.
func (c *crowd) arrivals(b *testing.B) iter.Seq[string] {
	return func(yield func(string) bool) {
		batch := make([]string, 256)
		for i := len(batch); b.Loop(); i++ {
			if i == len(batch) {
				b.StopTimer()
				for j := range batch {
					batch[j] = strings.Clone(c.pick())
				}
				i = 0
				b.StartTimer()
			}
			if !yield(batch[i]) {
				return
			}
		}
	}
}

// Names of the subjects that run on several cores.
const (
	coresOurs = "**jwtauth**, one of 10,000 live tokens"
	coresCopy = "floor: a copy of the request for the handler"
	coresSum  = "floor: SHA-256 of a kilobyte, which shares no memory"
)

func onCores(name string, procs int) string { return fmt.Sprintf("%s, cores: %d", name, procs) }

// parallel returns subjects that run the same goroutine once on each core. Each goroutine
// has its own request, response and handler. They share only the Auth.
func (c *crowd) parallel(procs int) []subject {
	var start atomic.Uint32
	return []subject{
		spread(coresOurs, procs, func() (func(), func() int) {
			next := &counter{}
			d := newDriver(c.wrap(next))
			own := &struct {
				at uint32
				_  apart
			}{at: start.Add(1) << 16}
			return func() {
				own.at++
				d.present(c.values[c.order[own.at&uint32(len(c.order)-1)]])
			}, func() int { return next.ran }
		}),
		spread(coresCopy, procs, func() (func(), func() int) {
			next := &counter{}
			d := newDriver(copying(next))
			return func() { d.present("") }, func() int { return next.ran }
		}),
		spread(coresSum, procs, func() (func(), func() int) {
			data := make([]byte, 1024)
			return func() {
				sum := sha256.Sum256(data)
				copy(data, sum[:])
			}, nil
		}),
	}
}

// spread runs work on as many cores as procs says. work returns one operation and, if
// there is a handler, how often that ran.
func spread(name string, procs int, work func() (operation func(), ran func() int)) subject {
	return subject{name: onCores(name, procs), run: func(b *testing.B) error {
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(procs))
		var total atomic.Int64
		b.RunParallel(func(pb *testing.PB) {
			operation, ran := work()
			operations := 0
			for pb.Next() {
				operation()
				operations++
			}
			if ran == nil {
				ran = func() int { return operations }
			}
			total.Add(int64(ran()))
		})
		return (&counter{ran: int(total.Load())}).judge(b.N)
	}}
}

// bytesPerToken returns by how much the heap grows for each cached token. Each header
// value is dropped after its request, so everything that the Auth keeps is counted.
func bytesPerToken(n int) float64 {
	a, next := hs256(), &counter{}
	before := heap() // before New, whose table counts, too
	d := newDriver(ours(a, withCacheFor(n)...).wrap(next))
	for range n {
		d.present(bearer(a.mint()))
	}
	d.authorization[0] = ""
	after := heap()
	runtime.KeepAlive(d)
	if err := next.judge(n); err != nil {
		panic(err)
	}
	return (float64(after) - float64(before)) / float64(n)
}

// heap returns the bytes in use after garbage collection. Pools survive one collection,
// so it runs two.
func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
