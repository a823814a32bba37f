package sieve_test

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth/internal/sieve"
)

// plain is what an entry costs by itself, in bytes. Its key and value cost nothing if Put is
// called with 0 bytes.
var plain = sieve.Overhead[int]()

// room returns the limit of a cache that holds this many entries of 0 bytes.
func room(entries int) int { return entries * plain }

func TestGetReturnsWhatWasPutLastUntilItIsDeleted(t *testing.T) {
	for name, entries := range map[string]int{
		"fewer than none": -1, "no entries": 0, "one": 1, "two": 2, "three": 3,
		"the most in one shard": 255, "the fewest in two": 256, "all shards": 100_000,
	} {
		t.Run(name, func(t *testing.T) {
			c := sieve.New[int](entries, room(1_000_000))
			require.Nil(t, c.Get("a"))
			c.Delete("a")
			keys := make([]string, 500) // more than most of these caches were made for
			for i := range keys {
				keys[i] = strconv.Itoa(i)
				c.Put(keys[i], -1, 0)
				c.Put(keys[i], i, 0)
			}
			for i, key := range keys {
				require.NotNil(t, c.Get(key), key)
				require.Equal(t, i, *c.Get(key))
			}
			old := c.Get("7")
			c.Put("7", 77, 0)
			require.Equal(t, 7, *old, "a value that Get has returned must not change")
			require.Equal(t, 77, *c.Get("7"))
			for i, key := range keys {
				if i%2 == 0 {
					c.Delete(key)
					c.Delete(key)
				}
			}
			for i, key := range keys {
				require.Equal(t, i%2 == 0, c.Get(key) == nil, key)
			}
			c.Put("", 1, 0)
			require.Equal(t, 1, *c.Get(""), "an empty key must work like any other")
		})
	}
}

func TestAnEntryIsKeptIfItFitsIntoTheLimitAlone(t *testing.T) {
	for name, test := range map[string]struct {
		limit, bytes int
		kept         bool
	}{
		"it fits exactly":            {plain + 100, 100, true},
		"one byte too many":          {plain + 100, 101, false},
		"no limit to speak of":       {0, 0, false},
		"a limit below nothing":      {-1, 0, false},
		"not even room for an entry": {plain - 1, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			c := sieve.New[int](1, test.limit)
			c.Put("a", 1, test.bytes)
			require.Equal(t, test.kept, c.Get("a") != nil)
			c.Put("b", 2, test.bytes)
			require.Equal(t, test.kept, c.Get("b") != nil)
			require.Nil(t, c.Get("a"), "there must be no room for two")
		})
	}
}

// An entry that is too large must not be stored. It must only remove the old value of its
// key, which is no longer right.
func TestAnEntryThatIsTooLargeForgetsItsKeyAndNoOther(t *testing.T) {
	c := sieve.New[int](3, room(3))
	for _, key := range []string{"a", "b", "c"} {
		c.Put(key, 1, 0)
	}
	c.Put("d", 1, room(3))
	c.Put("b", 2, room(3))
	require.NotNil(t, c.Get("a"))
	require.NotNil(t, c.Get("c"))
	require.Nil(t, c.Get("b"))
	require.Nil(t, c.Get("d"))
}

// Replacing an entry must first free the memory of the old value, so that no other entry is
// evicted without need.
func TestReplacingPushesOutNoMoreThanItNeeds(t *testing.T) {
	c := sieve.New[int](3, room(3)+100)
	for _, key := range []string{"a", "b", "c"} {
		c.Put(key, 1, 0)
	}
	for range 10 {
		c.Put("b", 2, 100)
		c.Put("b", 3, 0)
	}
	for _, key := range []string{"a", "b", "c"} {
		require.NotNil(t, c.Get(key), key)
	}
	c.Put("a", 4, plain+100)
	require.Equal(t, 4, *c.Get("a"), "the larger value must be stored")
	require.NotEqual(t, c.Get("b") == nil, c.Get("c") == nil)
}

// model implements SIEVE as the paper describes it, with a queue and a hand. It is slow.
type model struct {
	queue       []*item // oldest first
	hand        *item
	size, limit int
}

type item struct {
	key         string
	value, cost int
	visited     bool
}

func (m *model) index(key string) int {
	return slices.IndexFunc(m.queue, func(i *item) bool { return i.key == key })
}

func (m *model) get(key string) *int {
	i := m.index(key)
	if i < 0 {
		return nil
	}
	m.queue[i].visited = true
	return &m.queue[i].value
}

func (m *model) delete(i int) {
	if i < 0 {
		return
	}
	if m.hand == m.queue[i] {
		m.hand = nil
		if i+1 < len(m.queue) {
			m.hand = m.queue[i+1]
		}
	}
	m.size -= m.queue[i].cost
	m.queue = slices.Delete(m.queue, i, i+1)
}

func (m *model) put(key string, value, cost int) {
	m.delete(m.index(key))
	if cost > m.limit {
		return
	}
	for m.size+cost > m.limit {
		i := max(slices.Index(m.queue, m.hand), 0)
		for m.queue[i].visited {
			m.queue[i].visited = false
			i = (i + 1) % len(m.queue)
		}
		m.hand = m.queue[i]
		m.delete(i)
	}
	m.queue = append(m.queue, &item{key: key, value: value, cost: cost})
	m.size += cost
}

// A single shard must do the same as the model at every step. A read marks its entry, so the
// test reads only some entries, and the same ones in both.
func TestOneShardDoesWhatTheModelDoes(t *testing.T) {
	for seed := range uint64(100) {
		random := rand.New(rand.NewPCG(seed, 0))
		entries := 1 + random.IntN(40)
		limit := room(entries) + random.IntN(plain)
		c, m := sieve.New[int](random.IntN(entries+1), limit), &model{limit: limit}
		keys := make([]string, entries*2)
		for i := range keys {
			keys[i] = strconv.Itoa(i)
		}
		check := func(step int, key string) {
			want, got := m.get(key), c.Get(key)
			if want == nil || got == nil {
				require.Equal(t, want == nil, got == nil, "seed %d, step %d, key %s", seed, step, key)
				return
			}
			require.Equal(t, *want, *got, "seed %d, step %d, key %s", seed, step, key)
		}
		for step := range 3000 {
			key := keys[random.IntN(len(keys))]
			switch random.IntN(10) {
			case 0:
				m.delete(m.index(key))
				c.Delete(key)
			case 1, 2, 3, 4:
				bytes := random.IntN(plain)
				if random.IntN(20) == 0 {
					bytes = random.IntN(limit * 5 / 4) // evicts many, or is too large
				}
				m.put(key, step, bytes+plain)
				c.Put(key, step, bytes)
			default:
				check(step, key)
			}
			if random.IntN(200) == 0 {
				for _, key := range keys {
					check(step, key)
				}
			}
		}
	}
}

// A thousand tokens are in use while a million others come once. Between two reads of a
// token 10,000 others come, and the cache has room for 4,000. A queue by age or by last
// use would have evicted every token by then. SIEVE's hand passes the tokens in use once,
// and from then on meets only the others, so all reads should hit. The test lets one read
// in a hundred miss, so that it allows other algorithms that are nearly as good.
func TestEntriesReadOnceDoNotPushOutThoseInUse(t *testing.T) {
	const hot, oneOffs, perRead = 1000, 1_000_000, 10
	c := sieve.New[int](4000, room(4000))
	keys := make([]string, hot)
	for i := range keys {
		keys[i] = "hot " + strconv.Itoa(i)
		c.Put(keys[i], i, 0)
		c.Get(keys[i])
	}
	reads, hits := 0, 0
	for i := range oneOffs {
		c.Put(strconv.Itoa(i), i, 0)
		if i%perRead == 0 {
			key := keys[reads%hot]
			reads++
			if c.Get(key) != nil {
				hits++
			} else {
				c.Put(key, i, 0)
			}
		}
	}
	require.GreaterOrEqual(t, hits*100, reads*99, "%d of %d reads hit", hits, reads)
}

// Entries that were in use must not stay forever. Each entry is read once, and then never
// again. The test puts five times as many entries as there is room for.
func TestEntriesThatAreNoLongerReadGoInTheEnd(t *testing.T) {
	c := sieve.New[int](1000, room(1000))
	for i := range 5000 {
		key := strconv.Itoa(i)
		c.Put(key, i, 0)
		c.Get(key)
	}
	for i := range 1000 {
		require.Nil(t, c.Get(strconv.Itoa(i)))
	}
	kept := 0
	for i := 4000; i < 5000; i++ {
		if c.Get(strconv.Itoa(i)) != nil {
			kept++
		}
	}
	require.Greater(t, kept, 400, "many of the last entries must stay")
}

// heap returns the bytes in use on the heap.
func heap() int {
	runtime.GC()
	runtime.GC() // sweeps what the first one marked
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int(stats.HeapAlloc)
}

// claims has about the size of a token's claims.
type claims [31]uint64

// The limit must hold for the heap, not only for what the cache counts. The heap rounds sizes
// up by less than an eighth, which the cache does not count.
func TestTheHeapStaysBelowTheLimitUnderAFlood(t *testing.T) {
	const distinct, limit = 200_000, 8 << 20
	key := func(i int) (string, int) {
		random := rand.New(rand.NewPCG(uint64(i), 0))
		bytes := 20 + random.IntN(1500)
		switch random.IntN(1000) {
		case 0:
			bytes = 200 << 10 // more than the share of one of the 64 shards
		case 1, 2:
			bytes = 20 << 10
		}
		return strings.Repeat("k", bytes-8) + fmt.Sprintf("%08d", i), bytes
	}
	before := heap()
	c := sieve.New[claims](8192, limit)
	for i := range distinct {
		text, bytes := key(i)
		c.Put(text, claims{}, bytes)
		if i%(distinct/10) == distinct/20 {
			require.Less(t, heap()-before, limit+limit/8)
		}
	}
	require.Less(t, heap()-before, limit+limit/8)
	kept := 0
	for i := range distinct {
		if text, bytes := key(i); c.Get(text) != nil {
			kept += bytes + sieve.Overhead[claims]()
		}
	}
	require.LessOrEqual(t, kept, limit)
	require.Greater(t, kept, limit*9/10, "the cache must use most of its limit")
}

// A handler may hold a value for hours. The value must not keep other entries alive that
// were removed from the cache.
func TestAValueInUseKeepsNoForgottenEntriesAlive(t *testing.T) {
	const entries, bytes = 255, 4000 // in one shard
	for name, order := range map[string]func(i int) int{
		"forgotten as they came":     func(i int) int { return i },
		"forgotten the other way":    func(i int) int { return entries - 1 - i },
		"forgotten from the middle":  func(i int) int { return (i + entries/2) % entries },
		"forgotten outwards, zigzag": func(i int) int { return entries/2 + (i%2*2-1)*(i+1)/2 },
	} {
		t.Run(name, func(t *testing.T) {
			c := sieve.New[int](entries, 2*entries*(bytes+plain))
			before := heap()
			for i := range entries {
				c.Put(fmt.Sprintf("%0*d", bytes, i), i, bytes)
			}
			require.Greater(t, heap()-before, entries*bytes)
			held := c.Get(fmt.Sprintf("%0*d", bytes, order(0)))
			for i := range entries {
				c.Delete(fmt.Sprintf("%0*d", bytes, order(i)))
			}
			require.Less(t, heap()-before, entries*bytes/10)
			require.Equal(t, order(0), *held)
			runtime.KeepAlive(c)
		})
	}
}

func TestGetAllocatesNothing(t *testing.T) {
	c := sieve.New[claims](1000, 1<<20)
	key := strings.Repeat("k", 350)
	c.Put(key, claims{}, len(key))
	require.Zero(t, testing.AllocsPerRun(1000, func() { c.Get(key) }))
	require.Zero(t, testing.AllocsPerRun(1000, func() { c.Get("another") }))
}

// during calls read in four goroutines again and again, until write returns.
func during(write func(), read func() error) error {
	var done atomic.Bool
	var wait sync.WaitGroup
	failed := make(chan error, 4)
	for range 4 {
		wait.Go(func() {
			for !done.Load() {
				if err := read(); err != nil {
					failed <- err
					return
				}
			}
		})
	}
	write()
	done.Store(true)
	wait.Wait()
	close(failed)
	return <-failed
}

// This cache has one head, so all keys are in one chain. The keys that stay have neighbours
// before and after them that come and go.
func TestReadersAlwaysFindWhatStaysWhileItsNeighboursComeAndGo(t *testing.T) {
	c := sieve.New[int](1, room(1000))
	var stay []string
	for i := range 5 {
		stay = append(stay, "stay "+strconv.Itoa(i))
		c.Put("neighbour "+strconv.Itoa(i), i, 0)
		c.Put(stay[i], i, 0)
	}
	err := during(func() {
		random := rand.New(rand.NewPCG(1, 2))
		for range 100_000 {
			neighbour := "neighbour " + strconv.Itoa(random.IntN(10))
			if random.IntN(2) == 0 {
				c.Put(neighbour, 0, 0)
			} else {
				c.Delete(neighbour)
			}
		}
	}, func() error {
		for i, key := range stay {
			if value := c.Get(key); value == nil || *value != i {
				return fmt.Errorf("%s was not found", key)
			}
		}
		return nil
	})
	require.NoError(t, err)
}

// In this test, the neighbours are evicted. The key that must stay is read before each Put,
// so that the hand passes it.
func TestReadersAlwaysFindWhatStaysWhileItsNeighboursArePushedOut(t *testing.T) {
	c := sieve.New[int](1, room(6))
	c.Put("stays", 1, 0)
	err := during(func() {
		for i := range 50_000 {
			c.Get("stays")
			c.Put(strconv.Itoa(i), i, 0)
		}
	}, func() error {
		if c.Get("stays") == nil {
			return fmt.Errorf("the key that must stay was not found")
		}
		return nil
	})
	require.NoError(t, err)
}

// A reader must always see the old value or the new one, and never the old one after the new
// one.
func TestReadersAlwaysFindAKeyThatIsReplaced(t *testing.T) {
	c := sieve.New[int](1, room(1000))
	for _, key := range []string{"behind", "key", "before"} {
		c.Put(key, 0, 0)
	}
	var newest atomic.Int64
	err := during(func() {
		for i := range 30_000 {
			c.Put("key", i, 0)
			newest.Store(int64(i))
			c.Put("before", i, 0)
			c.Put("behind", i, 0)
		}
	}, func() error {
		least := newest.Load()
		for _, key := range []string{"before", "key", "behind"} {
			value := c.Get(key)
			if value == nil {
				return fmt.Errorf("%s was not found", key)
			}
			if key == "key" && int64(*value) < least {
				return fmt.Errorf("%d came back after %d", *value, least)
			}
		}
		return nil
	})
	require.NoError(t, err)
}

// Many goroutines put, delete and read the same few keys. Each value names its key. At the
// end, there must be room for exactly as much as in a new cache. Otherwise, the size of an
// entry was not added and subtracted exactly once.
func TestManyGoroutinesMayFightOverTheSameKeys(t *testing.T) {
	type owned struct{ key, again string }
	cost := sieve.Overhead[owned]()
	for name, test := range map[string]struct{ entries, room, keys int }{
		"one key":                          {1, 10, 1},
		"one key, no table":                {0, 10, 1},
		"one chain":                        {1, 10, 5},
		"one chain without room for all":   {1, 10, 20},
		"one shard without room for all":   {100, 100, 200},
		"all shards without room for all":  {16384, 64 * 3, 400},
		"all shards, with room for plenty": {16384, 64 * 100, 400},
	} {
		t.Run(name, func(t *testing.T) {
			c := sieve.New[owned](test.entries, test.room*cost)
			failed := make(chan error, 8)
			var wait sync.WaitGroup
			for g := range uint64(8) {
				wait.Go(func() {
					random := rand.New(rand.NewPCG(g, 0))
					for range 10_000 {
						key := strconv.Itoa(random.IntN(test.keys))
						switch random.IntN(4) {
						case 0:
							c.Put(key, owned{key, key}, random.IntN(3*cost))
						case 1:
							c.Delete(key)
						default:
							if v := c.Get(key); v != nil && (v.key != key || v.again != key) {
								failed <- fmt.Errorf("%s has the value of %s", key, v.key)
								return
							}
						}
					}
				})
			}
			wait.Wait()
			close(failed)
			require.NoError(t, <-failed)
			size := 0
			for i := range test.keys {
				c.Delete(strconv.Itoa(i))
				require.Nil(t, c.Get(strconv.Itoa(i)))
			}
			for i := range test.room * 100 {
				c.Put("after "+strconv.Itoa(i), owned{}, 0)
			}
			for i := range test.room * 100 {
				if c.Get("after "+strconv.Itoa(i)) != nil {
					size++
				}
			}
			require.Equal(t, test.room, size)
		})
	}
}
