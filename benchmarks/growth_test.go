package main

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/keys"
)

// These benchmarks show how the costs grow with one thing at a time:
//
//	go test -run '^$' -bench . ./benchmarks
//
// A million live tokens take some gigabytes, and half a minute to issue.

func BenchmarkLiveTokens(b *testing.B) {
	for _, n := range []int{1, 10, 100, 1000, 10_000, 100_000, 1_000_000} {
		b.Run(fmt.Sprintf("tokens=%d", n), func(b *testing.B) {
			all := newCrowd(n).among()
			b.Run("seen", all[0].bench)
			b.Run("map", all[1].bench)
		})
	}
}

func BenchmarkKeys(b *testing.B) {
	for _, n := range []int{1, 2, 5, 10, 20, 50, 100} {
		a := hs256()
		a.key = a.key.WithID("0")
		var others []keys.Key
		for i := 1; i < n; i++ {
			other := make([]byte, 32)
			other[0] = byte(i)
			others = append(others, keys.HS256(other).WithID(fmt.Sprint(i)))
		}
		ring := must(keys.NewRing(a.key, others...))
		token := must(newAuth(ring).Issue(container, jwtauth.Subject(subjectOf))) // names the key
		b.Run(fmt.Sprintf("keys=%d", n), func(b *testing.B) {
			first := middleware{wrap: newAuth(ring, withoutCache()...).Private}
			b.Run("first", accepting("", first, token).bench)
			b.Run("seen", accepting("", middleware{wrap: newAuth(ring).Private}, token).bench)
		})
	}
}

func BenchmarkTokenSize(b *testing.B) {
	a := hs256()
	for _, size := range []int{200, 512, 1 << 10, 2 << 10, 4 << 10, 8 << 10} {
		token := a.sized(size)
		b.Run(fmt.Sprintf("bytes=%d", size), func(b *testing.B) {
			// The smallest token has no room for an issuer or an audience.
			first := middleware{wrap: must(jwtauth.New(a.key, withoutCache()...)).Private}
			b.Run("first", accepting("", first, token).bench)
			b.Run("seen", accepting("", middleware{wrap: must(jwtauth.New(a.key)).Private}, token).bench)
		})
	}
}

func BenchmarkCores(b *testing.B) {
	c := newCrowd(10_000)
	for procs := 1; procs <= min(2, runtime.NumCPU()); procs++ {
		for i, name := range []string{"jwtauth", "copy", "sha256"} {
			b.Run(fmt.Sprintf("%s/cores=%d", name, procs), c.parallel(procs)[i].bench)
		}
	}
}

// bench runs a subject as a benchmark of go test.
func (s subject) bench(b *testing.B) {
	b.ReportAllocs()
	if err := s.run(b); err != nil {
		b.Fatal(err)
	}
}
