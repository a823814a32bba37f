// Package main_test compares the cache of package jwtauth with libraries that could
// replace it.
package main_test

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/dgraph-io/ristretto/v2"
	"github.com/maypok86/otter/v2"

	"github.com/joinednode/jwtauth/internal/sieve"
)

// claims has about the size of a token's claims. A key has that of a token.
type claims [31]uint64

const keySize = 350

// cost is the size of an entry in each cache's own accounting. BenchmarkCacheHeap shows
// what it takes in the heap.
var cost = keySize + sieve.Overhead[claims]()

// cache is the interface that the benchmarks need.
type cache struct {
	get    func(key string) *claims
	put    func(key string, value claims)
	settle func() // waits for background work
	close  func()
}

// caches makes a cache of each kind for a number of entries, bounded by their bytes, as the
// cache's README says.
var caches = map[string]func(entries int) cache{
	"sieve": func(entries int) cache {
		c := sieve.New[claims](entries, entries*cost)
		return cache{c.Get, func(key string, value claims) { c.Put(key, value, len(key)) }, func() {}, func() {}}
	},
	"otter": func(entries int) cache { return newOtter(entries, nil) },
	// The same cache, with its maintenance in the caller's goroutine.
	"otter-inline": func(entries int) cache { return newOtter(entries, func(f func()) { f() }) },
	"ristretto": func(entries int) cache {
		c, err := ristretto.NewCache(&ristretto.Config[string, *claims]{
			NumCounters: int64(entries) * 10, MaxCost: int64(entries * cost), BufferItems: 64,
			IgnoreInternalCost: true, // cost includes it
		})
		if err != nil {
			panic(err)
		}
		get := func(key string) *claims {
			value, _ := c.Get(key)
			return value
		}
		return cache{get, func(key string, value claims) { c.Set(key, &value, int64(cost)) }, c.Wait, c.Close}
	},
}

func newOtter(entries int, executor func(func())) cache {
	c := otter.Must(&otter.Options[string, *claims]{
		MaximumWeight: uint64(entries * cost), Weigher: func(string, *claims) uint32 { return uint32(cost) },
		InitialCapacity: entries, Executor: executor,
	})
	get := func(key string) *claims {
		value, _ := c.GetIfPresent(key)
		return value
	}
	return cache{get, func(key string, value claims) { c.Set(key, &value) }, c.CleanUp, func() { c.StopAllGoroutines() }}
}

// each runs a benchmark for each cache.
func each(b *testing.B, run func(b *testing.B, newCache func(entries int) cache)) {
	for _, name := range []string{"sieve", "otter", "otter-inline", "ristretto"} {
		b.Run(name, func(b *testing.B) { run(b, caches[name]) })
	}
}

// token is a key that can be overwritten, like one that comes with a request: it is at
// another address than the cache's key, and in the CPU's caches.
type token []byte

func newToken() token { return []byte(strings.Repeat("eyJhbGci", keySize/8+1)[:keySize]) }

// number turns t into the token with this number. The string is valid until the next call.
func (t token) number(n uint64) string {
	for i := range 16 {
		t[keySize-1-i] = 'a' + byte(n>>(4*i)&15)
	}
	return unsafe.String(&t[0], keySize)
}

// fill puts tokens 0 to n-1, and then missing ones again, in five rounds. It returns how
// many were missing in the last round.
func fill(c cache, n int) (missing int) {
	t := newToken()
	for round := 0; round < 5; round++ {
		missing = 0
		for i := range n {
			if key := t.number(uint64(i)); c.get(key) == nil {
				missing++
				c.put(strings.Clone(key), claims{})
			}
			if i%1000 == 0 {
				c.settle()
			}
		}
		c.settle()
	}
	return missing
}

func BenchmarkCacheHit(b *testing.B) {
	for _, entries := range []int{1_000, 1_000_000} {
		b.Run(fmt.Sprint(entries), func(b *testing.B) {
			each(b, func(b *testing.B, newCache func(int) cache) {
				c := newCache(entries * 5 / 4) // shards may be uneven
				defer c.close()
				missing := float64(fill(c, entries))
				runtime.GC()
				b.Run("one", func(b *testing.B) {
					t, random := newToken(), rand.New(rand.NewPCG(1, 2))
					b.ReportAllocs()
					for b.Loop() {
						c.get(t.number(random.Uint64N(uint64(entries))))
					}
					b.ReportMetric(missing, "missing")
				})
				b.Run("parallel", func(b *testing.B) {
					b.ReportAllocs()
					b.RunParallel(func(pb *testing.PB) {
						t, random := newToken(), rand.New(rand.NewPCG(rand.Uint64(), 2))
						for pb.Next() {
							c.get(t.number(random.Uint64N(uint64(entries))))
						}
					})
				})
			})
		})
	}
}

// BenchmarkCacheKey measures making a key, which all other benchmarks include.
func BenchmarkCacheKey(b *testing.B) {
	t, random := newToken(), rand.New(rand.NewPCG(1, 2))
	for b.Loop() {
		t.number(random.Uint64N(1_000_000))
	}
}

// BenchmarkCachePut puts tokens that never come again into a full cache. It reports how
// many of a hundred can be read directly afterwards.
func BenchmarkCachePut(b *testing.B) {
	each(b, func(b *testing.B, newCache func(int) cache) {
		const entries = 32 << 10
		c := newCache(entries)
		defer c.close()
		fill(c, entries)
		var last atomic.Uint64
		last.Store(1 << 32)
		b.Run("one", func(b *testing.B) {
			t, there := newToken(), 0
			b.ReportAllocs()
			for b.Loop() {
				c.put(strings.Clone(t.number(last.Add(1))), claims{})
			}
			for range 1000 {
				key := strings.Clone(t.number(last.Add(1)))
				if c.put(key, claims{}); c.get(key) != nil {
					there++
				}
			}
			b.ReportMetric(float64(there)/10, "there/100")
		})
		b.Run("parallel", func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				t := newToken()
				for pb.Next() {
					c.put(strings.Clone(t.number(last.Add(1))), claims{})
				}
			})
		})
	})
}

// BenchmarkCacheHotSet reads a thousand tokens at random. For each of them, ten others
// that never come again are looked up and put. "warm" means that the thousand were in use
// before the others came.
func BenchmarkCacheHotSet(b *testing.B) {
	const hot, reads, oneOffs = 1000, 100_000, 10
	for _, entries := range []int{2_000, 4_000, 32_768} {
		for _, start := range []string{"warm", "cold"} {
			b.Run(fmt.Sprintf("%d/%s", entries, start), func(b *testing.B) {
				each(b, func(b *testing.B, newCache func(int) cache) {
					hits, total := 0, 0
					for b.Loop() {
						c, t, random := newCache(entries), newToken(), rand.New(rand.NewPCG(1, 2))
						if start == "warm" {
							fill(c, hot)
						}
						use := func(n uint64) bool {
							key := t.number(n)
							if c.get(key) != nil {
								return true
							}
							c.put(strings.Clone(key), claims{})
							return false
						}
						for i := range uint64(reads) {
							if use(random.Uint64N(hot)) {
								hits++
							}
							for j := range uint64(oneOffs) {
								use(1<<32 + i*oneOffs + j)
							}
						}
						total += reads
						c.close()
					}
					b.ReportMetric(float64(hits)*100/float64(total), "hits/100")
					b.ReportMetric(0, "ns/op")
				})
			})
		}
	}
}

// BenchmarkCacheHeap reports the heap of a new cache for each of 100,000 entries, and that
// of each entry when they are in it, of which 608 bytes are the key and the value. It then
// puts 200,000 others, more than fit, and reports the heap divided by the cache's limit.
func BenchmarkCacheHeap(b *testing.B) {
	each(b, func(b *testing.B, newCache func(int) cache) {
		const entries = 100_000
		heap := func() float64 {
			runtime.GC()
			runtime.GC()
			var stats runtime.MemStats
			runtime.ReadMemStats(&stats)
			return float64(stats.HeapAlloc)
		}
		for b.Loop() {
			time.Sleep(10 * time.Millisecond) // lets the goroutines of the previous cache end
			before, goroutines := heap(), runtime.NumGoroutine()
			c := newCache(entries * 5 / 4)
			b.ReportMetric(float64(runtime.NumGoroutine()-goroutines), "goroutines")
			b.ReportMetric((heap()-before)/entries, "empty-B/entry")
			there := entries - fill(c, entries)
			b.ReportMetric((heap()-before)/float64(there), "B/entry")
			t := newToken()
			for i := range uint64(entries * 2) {
				c.put(strings.Clone(t.number(1<<32+i)), claims{})
			}
			b.ReportMetric((heap()-before)/float64(entries*5/4*cost), "heap/limit")
			c.close()
			b.ReportMetric(0, "ns/op")
		}
	})
}
