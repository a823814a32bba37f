// Package sieve has a cache whose readers take no lock, and write only one flag of an
// entry.
//
// The cache evicts by SIEVE (Zhang et al., "SIEVE is Simpler than LRU", NSDI 2024): a
// hand passes over the entries, and an entry stays if it was read since the hand last
// passed it. However many entries are never read again, they evict each other, and not
// the entries in use.
package sieve

import (
	"hash/maphash"
	"math/bits"
	"sync"
	"sync/atomic"
	"unsafe"
)

// Cache maps strings to values. It is safe for concurrent use and starts no goroutines.
type Cache[V any] struct {
	seed   maphash.Seed
	shards []shard[V] // their number is a power of two
	shift  uint       // how far to shift a hash right to get the index of its shard
}

// shard is a hash table with chains. Writers hold its lock. A reader walks a chain from
// its head without a lock. That works because writers keep every chain intact, and a
// removed entry still points to the entries after it.
type shard[V any] struct {
	heads []atomic.Pointer[entry[V]] // their number is a power of two
	_     [64]byte                   // keeps what writers change below out of the readers' cache line

	mu             sync.Mutex
	size, limit    int       // in bytes
	newest, oldest *entry[V] // the ends of the queue
	hand           *entry[V] // where the search for a victim continues; nil means the oldest
	_              [64]byte  // keeps the next shard out of this cache line
}

// entry holds one key and its value. It begins with the fields that readers use, so that
// these fill as few cache lines as possible.
type entry[V any] struct {
	hash    uint64
	next    atomic.Pointer[entry[V]] // in the chain
	key     string
	visited atomic.Bool // read since the hand last passed
	value   V

	// Guarded by the lock:
	cost         int
	newer, older *entry[V] // in the queue
}

const maxShards = 64

// New returns a cache of at most limit bytes. entries is the expected number of values.
// It sets the size of the cache's tables, which do not grow, but does not limit the
// number of values.
func New[V any](entries, limit int) *Cache[V] {
	shards := 1
	for shards < maxShards && entries/shards >= 256 { // small shards would fill unevenly
		shards *= 2
	}
	c := &Cache[V]{seed: maphash.MakeSeed(), shards: make([]shard[V], shards), shift: 64 - uint(bits.TrailingZeros(uint(shards)))}
	heads := 1 << bits.Len(uint(max(entries/shards, 1)-1))
	for i := range c.shards {
		c.shards[i].heads = make([]atomic.Pointer[entry[V]], heads)
		c.shards[i].limit = limit / shards
	}
	return c
}

// Get returns the value of key, or nil. All callers share the value, so it must not be
// changed.
func (c *Cache[V]) Get(key string) *V {
	hash := c.hash(key)
	for e := c.shard(hash).head(hash).Load(); e != nil; e = e.next.Load() {
		if e.hash == hash && e.key == key {
			if !e.visited.Load() { // a write would take the cache line from all other cores
				e.visited.Store(true)
			}
			return &e.value
		}
	}
	return nil
}

// Put stores a value, and replaces the former value of its key. bytes is the memory that
// key and value refer to. Put adds the memory that the cache itself needs, and evicts as
// many other values as necessary. It does not store a value that is larger than its
// shard, but still removes the former one. Put keeps key: it must not be part of a larger
// string, which would be kept alive with it.
func (c *Cache[V]) Put(key string, value V, bytes int) {
	hash := c.hash(key)
	e := &entry[V]{hash: hash, key: key, value: value, cost: bytes + Overhead[V]()}
	s := c.shard(hash)
	s.mu.Lock()
	defer s.mu.Unlock()
	known := s.find(hash, key)
	if e.cost > s.limit {
		if known != nil {
			s.remove(known)
		}
		return
	}
	if known != nil {
		s.dequeue(known)
	}
	for s.size+e.cost > s.limit {
		s.evict()
	}
	s.enqueue(e)
	link := s.head(hash)
	next := link.Load()
	if known != nil { // replaced in place, or a reader could miss both entries
		link, next = s.link(known), known.next.Load()
	}
	e.next.Store(next)
	link.Store(e)
}

// Delete removes key and its value, if the cache has them.
func (c *Cache[V]) Delete(key string) {
	hash := c.hash(key)
	s := c.shard(hash)
	s.mu.Lock()
	defer s.mu.Unlock()
	if known := s.find(hash, key); known != nil {
		s.remove(known)
	}
}

// Overhead returns the memory that the cache needs for one entry, in bytes: the entry
// itself, without its strings, and its share of the table.
func Overhead[V any]() int { return int(unsafe.Sizeof(entry[V]{})) + 16 }

// hash returns the hash of the last 64 bytes of a key. A token ends in its signature, so
// no two cached tokens end alike, and no client can make many that do.
func (c *Cache[V]) hash(key string) uint64 {
	return maphash.String(c.seed, key[max(len(key)-64, 0):])
}

func (c *Cache[V]) shard(hash uint64) *shard[V] { return &c.shards[hash>>c.shift] }

func (s *shard[V]) head(hash uint64) *atomic.Pointer[entry[V]] {
	return &s.heads[hash&uint64(len(s.heads)-1)]
}

func (s *shard[V]) find(hash uint64, key string) *entry[V] {
	for e := s.head(hash).Load(); e != nil; e = e.next.Load() {
		if e.hash == hash && e.key == key {
			return e
		}
	}
	return nil
}

// link returns the pointer in the chain that points to e.
func (s *shard[V]) link(e *entry[V]) *atomic.Pointer[entry[V]] {
	link := s.head(e.hash)
	for link.Load() != e {
		link = &link.Load().next
	}
	return link
}

func (s *shard[V]) enqueue(e *entry[V]) {
	s.size += e.cost
	e.older = s.newest
	if e.older != nil {
		e.older.newer = e
	} else {
		s.oldest = e
	}
	s.newest = e
}

func (s *shard[V]) remove(e *entry[V]) {
	s.dequeue(e)
	s.link(e).Store(e.next.Load())
}

func (s *shard[V]) dequeue(e *entry[V]) {
	s.size -= e.cost
	if s.hand == e {
		s.hand = e.newer
	}
	if e.newer != nil {
		e.newer.older = e.older
	} else {
		s.newest = e.older
	}
	if e.older != nil {
		e.older.newer = e.newer
	} else {
		s.oldest = e.newer
	}
	// A caller may still hold the value of e. Then e must not keep its neighbours alive,
	// and through them every entry that ever came after it.
	e.newer, e.older = nil, nil
}

// evict removes an entry that was not read since the hand last passed it. It takes the
// first one from the hand towards the newest.
func (s *shard[V]) evict() {
	for rounds := 0; ; s.hand = s.hand.newer {
		if s.hand == nil {
			s.hand = s.oldest
			rounds++
		}
		// After a whole round an entry must go, however fast readers mark the entries again.
		if rounds > 1 || !s.hand.visited.CompareAndSwap(true, false) {
			s.remove(s.hand)
			return
		}
	}
}
