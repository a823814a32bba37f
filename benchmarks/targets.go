package main

import (
	"fmt"
	"math"
	"slices"
)

// target is a limit that this library set itself, and the measured value.
type target struct {
	what   string
	value  float64 // NaN if it cannot be measured here
	bounds float64
	atMost bool
	unit   string
	note   string // what the machine itself can do
}

func atLeast(what string, bound, value float64) target {
	return target{what: what, value: value, bounds: bound}
}

func atMost(what string, bound, value float64) target {
	return target{what: what, value: value, bounds: bound, atMost: true}
}

func (t target) in(unit string) target { t.unit = " " + unit; return t }

func (t target) beside(format string, args ...any) target {
	t.note = " (" + fmt.Sprintf(format, args...) + ")"
	return t
}

func (t target) bound() string {
	if t.atMost {
		return fmt.Sprintf("at most %g%s", t.bounds, t.unit)
	}
	return fmt.Sprintf("at least %g%s", t.bounds, t.unit)
}

func (t target) measured() string {
	if math.IsNaN(t.value) {
		return "n/a" + t.note
	}
	return times(t.value) + t.unit + t.note
}

// met returns "yes", "**no**" or "n/a". It compares the measured value, not the printed one.
func (t target) met() string {
	switch {
	case math.IsNaN(t.value):
		return "n/a"
	case t.atMost && t.value <= t.bounds, !t.atMost && t.value >= t.bounds:
		return "yes"
	}
	return "**no**"
}

// sameAs is by how much two figures may differ that should be the same. The tokens of the
// other algorithms are longer, and the machine is not quiet.
const sameAs = 1.15

// leastMemory is the least that a cached token can take, in bytes. Less means that none
// was cached, and that nothing was measured.
const leastMemory = 100

func targets(f figures) []target {
	r := f.timed
	all := []target{
		atLeast("chi's middleware against ours, cached token", 100, r.ratio(chiName, oursSeen)),
		atLeast("auth0's middleware against ours, cached token", 100, r.ratio(auth0Name, oursSeen)),
		atLeast("chi's middleware against ours, token not cached", 15, r.ratio(chiName, oursFirst)),
		atLeast("auth0's middleware against ours, token not cached", 15, r.ratio(auth0Name, oursFirst)),
		atMost("ours, token not cached, against cristalhq's bare ParseClaims", 0.6, r.ratio(oursFirst, cristalName)),
	}
	for _, alg := range asymmetricNames {
		all = append(all,
			atMost(alg+", token not cached, against its bare verification", 1.15, r.ratio(firstSeen(alg), bareCrypto(alg))),
			atMost(alg+", cached token, against HS256", sameAs, r.ratio(seenBefore(alg), oursSeen)),
		)
	}
	seen := r.of(oursSeen)
	memory := atMost("memory for each cached token", 1024, f.perToken).in("B")
	if f.perToken < leastMemory {
		memory.value, memory.note = math.NaN(), " (no token was cached)"
	}
	few, many := fewLive, f.settings.live
	all = append(all,
		// Each round includes a few of the garbage collector's own allocations.
		atMost("allocations, cached token", 3, math.Round(seen.allocs*100)/100),
		atMost("allocated bytes, cached token", 500, math.Round(seen.bytes)).in("B"),
		atLeast("chi's Encode against our Issue", 3, r.ratio(chiEncode, oursIssue)),
		atMost("rejected garbage against an accepted token not cached", 1, r.ratio(oursGarbage, oursFirst)),
		atMost("rejected bad signature against an accepted token not cached", 1, r.ratio(oursForged, oursFirst)),
		atMost("rejected garbage of 8 KiB against an accepted token of 8 KiB, not cached", 1, r.ratio(oursLongTrap, oursLong)),
		atLeast("throughput of a real server, private against bare", 0.95,
			median(f.served, func(t throughput) float64 { return t.private / t.bare })),
		f.coresTarget(),
		atMost(fmt.Sprintf("%s live tokens against %s", thousands(many), thousands(few)), 2,
			f.live.ratio(liveName(many), liveName(few))).
			beside("a Go map of the same: %s", times(f.live.ratio(mapName(many), mapName(few)))),
		memory,
	)
	return slices.Concat(all, sessionTargets(f.sessions), f.revoked.targets(), f.stores.targets())
}

func (f figures) coresTarget() target {
	const what, bound = "two cores against one, 10,000 live cached tokens", 1.8
	if f.cores == nil {
		return atLeast(what, bound, math.NaN()).beside("this machine has one core")
	}
	return atLeast(what, bound, f.gain(coresOurs)).
		beside("SHA-256 alone: %s; a copied request alone: %s", times(f.gain(coresSum)), times(f.gain(coresCopy)))
}

// gain returns by which factor a second core increases the throughput.
func (f figures) gain(name string) float64 { return f.cores.ratio(onCores(name, 1), onCores(name, 2)) }

// disturbed reports whether another program used the second core. SHA-256 shares no memory,
// so two cores should do about twice as much. Less than 1.9 times as much is too little.
func (f figures) disturbed() bool { return f.cores != nil && f.gain(coresSum) < 1.9 }
