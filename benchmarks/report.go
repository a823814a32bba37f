package main

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/klauspost/cpuid/v2"
	"golang.org/x/text/language"
	"golang.org/x/text/message"
)

// figures are all measured figures.
type figures struct {
	settings settings
	timed    results // guards, parsers, floors, asymmetric, issuers, refusals
	served   []throughput
	cores    results // nil with only one core
	live     results
	sessions results
	revoked  revocations
	stores   stores
	perToken float64
}

// printHeader prints the machine and the versions for which the figures hold.
func printHeader(w io.Writer, s settings) {
	cpu := cpuid.CPU.BrandName
	if cpu == "" {
		cpu = "unknown"
	}
	fmt.Fprintf(w, "# jwtauth and its peers\n\n")
	fmt.Fprintf(w, "- date: %s\n", time.Now().UTC().Format("2006-01-02 15:04 MST"))
	fmt.Fprintf(w, "- Go: %s %s/%s\n", runtime.Version(), runtime.GOOS, runtime.GOARCH)
	fmt.Fprintf(w, "- CPU: %s, cores: %d, GOMAXPROCS: %d\n", cpu, runtime.NumCPU(), runtime.GOMAXPROCS(0))
	fmt.Fprintf(w, "- medians of %d interleaved rounds of %v each; ratios are medians of the rounds' ratios\n", s.rounds, s.benchtime)
	for _, module := range peerModules {
		fmt.Fprintf(w, "- %s %s\n", module, version(module))
	}
}

// version returns a module's version in this build, whatever go.mod says.
func version(module string) string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			if m.Path == module {
				return m.Version
			}
		}
	}
	return "of unknown version"
}

// base is a subject with which the others of a table are compared.
type base struct{ head, name string }

// printTable prints one line for each subject. A ratio is the subject's time divided by
// the base's.
func printTable(w io.Writer, title string, r results, subjects []subject, bases ...base) {
	fmt.Fprintf(w, "\n## %s\n\n", title)
	head := []string{"", "time"}
	for _, b := range bases {
		head = append(head, b.head)
	}
	notes := slices.ContainsFunc(subjects, func(s subject) bool { return len(s.lacks) > 0 })
	head = append(head, "B/op", "allocs/op")
	if notes {
		head = append(head, "accepts")
	}
	printRow(w, head)
	printRow(w, append([]string{"---"}, slices.Repeat([]string{"---:"}, len(head)-1)...))
	for _, s := range subjects {
		c := r.of(s.name)
		row := []string{s.name, duration(c.ns)}
		for _, b := range bases {
			row = append(row, times(r.ratio(s.name, b.name)))
		}
		row = append(row, fmt.Sprintf("%.0f", c.bytes), fmt.Sprintf("%.0f", c.allocs))
		if notes {
			row = append(row, letters(s.lacks))
		}
		printRow(w, row)
	}
	if notes {
		fmt.Fprintln(w, "\nWhat a library accepts as it is configured here, and so spends no time on:")
		for i, c := range lackable {
			fmt.Fprintf(w, "%c %s; ", letter(i), c.what)
		}
		fmt.Fprintln(w, "each of them was tried before the first round.")
	}
}

func letter(lack int) rune { return rune('a' + lack) }

func letters(lacks []*check) string {
	var all []string
	for i, c := range lackable {
		if slices.Contains(lacks, c) {
			all = append(all, string(letter(i)))
		}
	}
	return strings.Join(all, " ")
}

func printRow(w io.Writer, cells []string) {
	fmt.Fprintf(w, "| %s |\n", strings.Join(cells, " | "))
}

func printServed(w io.Writer, served []throughput, each time.Duration) {
	fmt.Fprintf(w, "\n## A real server on the loopback interface\n\n")
	fmt.Fprintf(w, "Requests per second, by %s clients with a connection and a token each, %d of them at once, %v a round; the callers run on the same cores.\n\n",
		thousands(loadTokens), loadAtOnce, each)
	printRow(w, []string{"", "median", "rounds"})
	printRow(w, []string{"---", "---:", "---"})
	for _, line := range []struct {
		name string
		of   func(throughput) float64
	}{
		{"bare handler", func(t throughput) float64 { return t.bare }},
		{"behind **jwtauth** Private", func(t throughput) float64 { return t.private }},
	} {
		rounds := make([]string, len(served))
		for i, t := range served {
			rounds[i] = fmt.Sprintf("%.0f", line.of(t))
		}
		printRow(w, []string{line.name, fmt.Sprintf("%.0f", median(served, line.of)), strings.Join(rounds, " ")})
	}
}

func printTargets(w io.Writer, all []target) {
	fmt.Fprintf(w, "\n## Targets\n\n")
	printRow(w, []string{"target", "bound", "measured", "met"})
	printRow(w, []string{"---", "---:", "---:", "---"})
	for _, t := range all {
		printRow(w, []string{t.what, t.bound(), t.measured(), t.met()})
	}
}

func duration(ns float64) string {
	if ns < 10_000 {
		return fmt.Sprintf("%.0f ns", ns)
	}
	return fmt.Sprintf("%.1f µs", ns/1000)
}

// times formats a ratio with three digits, which is more than a shared machine can measure.
func times(ratio float64) string {
	switch {
	case ratio >= 100:
		return fmt.Sprintf("%.0f", ratio)
	case ratio >= 10:
		return fmt.Sprintf("%.1f", ratio)
	}
	return fmt.Sprintf("%.2f", ratio)
}

func thousands(n int) string { return message.NewPrinter(language.English).Sprintf("%d", n) }
