package sieve

import (
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

// If entries were found by their hash alone, one token could be taken for another. Hashes
// are seeded, so this test cannot find two keys with one hash. Instead, it changes the key
// of an entry in place.
func TestAKeyIsFoundByItsTextNotByItsHash(t *testing.T) {
	c := New[int](1, 1<<20)
	c.Put("a", 1, 0)
	c.shards[0].newest.key = "b"
	require.Nil(t, c.Get("a"))
	c.Delete("a")
	c.Put("a", 2, 0)
	require.Equal(t, 2, *c.Get("a"))
	require.Equal(t, "b", c.shards[0].oldest.key, "the changed entry must be neither deleted nor replaced")
}

func TestReadersWaitForNoLock(t *testing.T) {
	c := New[int](1, 1<<20)
	c.Put("a", 1, 0)
	c.shards[0].mu.Lock()
	defer c.shards[0].mu.Unlock()
	require.NotNil(t, c.Get("a"))
	require.Nil(t, c.Get("b"))
}

// Chains stay short if there is a head for each entry. Shards are filled evenly if each has
// many entries. The heads take at most the 16 bytes per entry that Overhead counts.
func TestShardsAndHeadsFitTheNumberOfEntries(t *testing.T) {
	for entries, shards := range map[int]int{-1: 1, 0: 1, 1: 1, 2: 1, 3: 1, 255: 1, 256: 2, 511: 2, 512: 4, 8191: 32, 8192: 64, 1 << 20: 64, 1_000_000: 64} {
		c := New[int](entries, 1<<20)
		require.Len(t, c.shards, shards, "%d entries", entries)
		heads := 0
		for i := range c.shards {
			require.Equal(t, 1<<20/shards, c.shards[i].limit)
			heads += len(c.shards[i].heads)
		}
		require.GreaterOrEqual(t, heads, entries/shards*shards)
		require.LessOrEqual(t, heads*8, max(entries, 1)*16)
	}
}

// This cache has as many heads as entries. About a third of the heads stay empty if the bits
// that choose a head are independent of the bits that choose a shard.
func TestEntriesSpreadOverAllHeads(t *testing.T) {
	const entries = 16384
	c := New[int](entries, 1<<30)
	for i := range entries {
		c.Put(strconv.Itoa(i), i, 0)
	}
	used := 0
	for i := range c.shards {
		for h := range c.shards[i].heads {
			if c.shards[i].heads[h].Load() != nil {
				used++
			}
		}
	}
	require.Greater(t, used, entries/2)
}
