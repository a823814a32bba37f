package main

import (
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"testing"
)

// subject is one line of a table. run does the work once for each b.Loop. If run returns
// an error, the program ends without a figure.
type subject struct {
	name  string
	lacks []*check
	run   func(b *testing.B) error
}

// cost is what one operation took in one round.
type cost struct{ ns, bytes, allocs float64 }

// results are the costs of subjects, one for each round.
type results map[string][]cost

// measure times every subject once in each round, so that a slow minute of the machine
// affects all of them. Every other round runs backwards, so that no subject always
// follows the same one.
func measure(progress io.Writer, rounds int, subjects []subject) (results, error) {
	r := results{}
	for round := range rounds {
		fmt.Fprintf(progress, "  round %d of %d\n", round+1, rounds)
		order := slices.Clone(subjects)
		if round%2 == 1 {
			slices.Reverse(order)
		}
		for _, s := range order {
			c, err := once(s)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", s.name, err)
			}
			r[s.name] = append(r[s.name], c)
		}
	}
	return r, nil
}

func once(s subject) (cost, error) {
	var err error
	got := testing.Benchmark(func(b *testing.B) {
		b.ReportAllocs()
		if e := s.run(b); e != nil && err == nil {
			err = e
		}
	})
	n := float64(got.N)
	if err == nil && n == 0 {
		err = errors.New("nothing was measured")
	}
	return cost{
		ns:     float64(got.T.Nanoseconds()) / n,
		bytes:  float64(got.MemBytes) / n,
		allocs: float64(got.MemAllocs) / n,
	}, err
}

// of returns the median cost of a subject.
func (r results) of(name string) cost {
	rounds := r.rounds(name)
	return cost{
		ns:     median(rounds, func(c cost) float64 { return c.ns }),
		bytes:  median(rounds, func(c cost) float64 { return c.bytes }),
		allocs: median(rounds, func(c cost) float64 { return c.allocs }),
	}
}

// ratio returns the time of subject a divided by that of b. It is the median of the rounds'
// ratios, since the two times of a round were measured close to each other.
func (r results) ratio(a, b string) float64 {
	of := make([]float64, len(r.rounds(a)))
	for i, c := range r.rounds(a) {
		of[i] = c.ns / r.rounds(b)[i].ns
	}
	return median(of, func(v float64) float64 { return v })
}

// rounds panics for a name that was not measured. Otherwise a missing figure would look
// like zero.
func (r results) rounds(name string) []cost {
	c, ok := r[name]
	if !ok {
		panic("nothing was measured under the name " + name)
	}
	return c
}

func median[T any](all []T, value func(T) float64) float64 {
	values := make([]float64, len(all))
	for i, v := range all {
		values[i] = value(v)
	}
	slices.Sort(values)
	switch n := len(values); {
	case n == 0:
		return math.NaN()
	case n%2 == 1:
		return values[n/2]
	default:
		return (values[n/2-1] + values[n/2]) / 2
	}
}
