package revoke

import (
	"hash/maphash"
	"iter"
	"math"
	"math/bits"
	"strings"
	"sync"
	"sync/atomic"
)

// set holds the entries of a list. A look-up takes no lock, and allocates nothing if the
// issuer is that of the last look-up. No entry is removed from a table: a table that is
// three quarters full is replaced by one without the expired entries.
//
// Issuer and ID are kept as two 64-bit hashes with secret seeds, so an attacker cannot
// choose values that collide. A collision by chance is less likely than a hardware error.
// It would reject a good token, and never accept a bad one.
type set struct {
	ids, issuers [2]maphash.Seed
	issuer       atomic.Pointer[hashedIssuer]      // of the last look-up; most services have only one
	tables       [Access + 1]atomic.Pointer[table] // by Kind; nil without entries

	mu sync.Mutex // held while an entry is added
}

type hashedIssuer struct {
	issuer string
	hash   uint64
}

// table is a hash table with open addressing, at most three quarters full.
type table struct {
	slots []slot
	used  int // guarded by the set's lock
}

// slot is one entry. The writer fills in hash[0] last, and readers read it first. It is 0
// in a free slot.
type slot struct {
	hash    [2]atomic.Uint64
	epoch   atomic.Int64 // microseconds since 1970; the highest value for kinds that ignore stamps
	expires atomic.Int64 // microseconds since 1970
}

const leastSlots = 64

func (s *set) init() {
	for i := range s.ids {
		s.ids[i], s.issuers[i] = maphash.MakeSeed(), maphash.MakeSeed()
	}
}

// has reports whether an entry revokes a token with this stamp. It computes the second
// hash only if the first one was found.
func (s *set) has(kind Kind, issuer, id string, stamp int64) bool {
	t := s.tables[kind].Load()
	if t == nil || id == "" {
		return false
	}
	for slot := range t.alike(s.first(issuer, id)) {
		if slot.hash[1].Load() == s.second(issuer, id) {
			return stamp <= slot.epoch.Load()
		}
	}
	return false
}

// until returns when an entry about the same as e expires, in microseconds since 1970, or
// 0 if there is none.
func (s *set) until(e Entry) int64 {
	t := s.tables[e.Kind].Load()
	if t == nil {
		return 0
	}
	for slot := range t.alike(s.first(e.Issuer, e.ID)) {
		if slot.hash[1].Load() == s.second(e.Issuer, e.ID) {
			return slot.expires.Load()
		}
	}
	return 0
}

// lacks reports whether no entry of any kind has one of these first hashes.
func (s *set) lacks(firsts [Container]uint64) bool {
	for i, first := range firsts {
		if s.hasAlike(Kind(i+1), first) {
			return false
		}
	}
	return !s.hasAlike(Access, firsts[Subject-1])
}

func (s *set) hasAlike(kind Kind, first uint64) bool {
	if t := s.tables[kind].Load(); t != nil {
		for range t.alike(first) {
			return true
		}
	}
	return false
}

// add keeps an entry. If there is one about the same, it raises its epoch and expiry. It
// may drop entries that expired before now.
func (s *set) add(e Entry, now int64) {
	epoch := e.Epoch
	if !e.Kind.hasEpoch() {
		epoch = math.MaxInt64
	}
	hash := [2]uint64{s.first(e.Issuer, e.ID), s.second(e.Issuer, e.ID)}
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tables[e.Kind].Load()
	if t == nil || 4*(t.used+1) > 3*len(t.slots) {
		t = t.renewed(now)
		defer s.tables[e.Kind].Store(t)
	}
	expires := e.Expires
	if expires.After(endOfTime) { // an int64 of microseconds could overflow
		expires = endOfTime
	}
	t.put(hash, epoch, expires.UnixMicro())
}

// len returns the number of entries of all kinds.
func (s *set) len() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.tables {
		if t := s.tables[i].Load(); t != nil {
			n += t.used
		}
	}
	return n
}

// first returns the first hash. It is never 0, which marks a free slot.
func (s *set) first(issuer, id string) uint64 {
	last := s.issuer.Load()
	if last == nil || last.issuer != issuer {
		last = &hashedIssuer{strings.Clone(issuer), maphash.String(s.issuers[0], issuer)}
		s.issuer.Store(last)
	}
	return max(maphash.String(s.ids[0], id)^last.hash, 1)
}

func (s *set) second(issuer, id string) uint64 {
	return maphash.String(s.ids[1], id) ^ maphash.String(s.issuers[1], issuer)
}

// alike returns the slots with this first hash: at most one, unless two collide by chance.
// It ends at a free slot, since a table is never full.
func (t *table) alike(first uint64) iter.Seq[*slot] {
	return func(yield func(*slot) bool) {
		for i := t.start(first); ; i++ {
			if i == len(t.slots) {
				i = 0
			}
			switch t.slots[i].hash[0].Load() {
			case 0:
				return
			case first:
				if !yield(&t.slots[i]) {
					return
				}
			}
		}
	}
}

// start returns where the search for an entry begins: the hash scaled to the size of the
// table, which need not be a power of two.
func (t *table) start(first uint64) int {
	i, _ := bits.Mul64(first, uint64(len(t.slots)))
	return int(i)
}

// put adds an entry, or raises an existing one. There must be a free slot.
func (t *table) put(hash [2]uint64, epoch, expires int64) {
	s := t.slotFor(hash)
	raise(&s.epoch, epoch)
	raise(&s.expires, expires)
	s.hash[1].Store(hash[1])
	s.hash[0].Store(hash[0])
}

// slotFor returns the slot of an entry, or a free slot for it.
func (t *table) slotFor(hash [2]uint64) *slot {
	for s := range t.alike(hash[0]) {
		if s.hash[1].Load() == hash[1] {
			return s
		}
	}
	t.used++
	i := t.start(hash[0])
	for t.slots[i].hash[0].Load() != 0 {
		if i++; i == len(t.slots) {
			i = 0
		}
	}
	return &t.slots[i]
}

// renewed returns a new table, about half full, with the entries that have not expired. t
// may be nil.
func (t *table) renewed(now int64) *table {
	live := 0
	if t != nil {
		for i := range t.slots {
			if t.slots[i].hash[0].Load() != 0 && t.slots[i].expires.Load() >= now {
				live++
			}
		}
	}
	// With slots of 32 bytes, an entry takes 43 to 60 bytes.
	grown := &table{slots: make([]slot, max(live*15/8, leastSlots))}
	if t != nil {
		for i := range t.slots {
			s := &t.slots[i]
			if hash := s.hash[0].Load(); hash != 0 && s.expires.Load() >= now {
				grown.put([2]uint64{hash, s.hash[1].Load()}, s.epoch.Load(), s.expires.Load())
			}
		}
	}
	return grown
}
