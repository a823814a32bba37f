package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The followers run this test program.
func TestMain(m *testing.M) {
	if os.Getenv(asFollower) != "" {
		if err := follow(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "a follower:", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func runStoresAlone(t *testing.T) string {
	t.Helper()
	var out strings.Builder
	require.NoError(t, run([]string{"-only=stores", "-rounds=1", "-benchtime=5ms", "-revocations=1"}, &out, os.Stderr))
	require.NotContains(t, out.String(), "of unknown version")
	require.NotContains(t, out.String(), "NaN")
	require.NotContains(t, out.String(), "%!")
	return out.String()
}

// For each place there are either figures and five targets, or neither.
func TestStoresAlone(t *testing.T) {
	out := runStoresAlone(t)
	require.NotContains(t, out, "## One HS256 token")
	for _, p := range places("") {
		if p.at == "" {
			require.Contains(t, out, "- "+p.name+": not measured: "+p.variable+" is not set")
			continue
		}
		require.Contains(t, out, "\n## "+p.name+"\n")
		require.Contains(t, out, "\n## "+p.name+", 8 at once\n")
		require.Equal(t, 4, strings.Count(out, "| "+p.name+": the rate of "), p.name)
		require.Equal(t, 1, strings.Count(out, "| "+p.name+": revoked here, rejected by 3 other processes"), p.name)
		for _, name := range p.names() {
			require.Contains(t, out, "| "+name+" | ")
			require.Contains(t, out, "| "+name+", 8 at once | ")
		}
	}
}

func TestServersThatNobodyNamedAreLeftOut(t *testing.T) {
	for _, p := range places("") {
		if p.variable != "" {
			t.Setenv(p.variable, "")
		}
	}
	out := runStoresAlone(t)
	for _, p := range places("") {
		if p.variable != "" {
			require.Contains(t, out, "- "+p.name+": not measured: "+p.variable+" is not set")
			require.NotContains(t, out, "| "+p.name)
		}
	}
	require.Contains(t, out, "| SQLite: the rate of Advance")
}

// A server that has an address but does not respond is an error. It is not left out.
func TestServersThatDoNotAnswerAreErrors(t *testing.T) {
	for name, at := range map[string]string{
		"JWTAUTH_TEST_POSTGRES": "postgres://nobody@127.0.0.1:1/none?connect_timeout=2",
		"JWTAUTH_TEST_MYSQL":    "nobody@tcp(127.0.0.1:1)/none",
		"JWTAUTH_TEST_REDIS":    "redis://127.0.0.1:1/0?max_retries=-1",
	} {
		for _, p := range places("") {
			if p.variable == name {
				p.at = at
				_, err := measureStore(p, settings{rounds: 1, benchtime: time.Millisecond, revocations: 1}, io.Discard, io.Discard)
				require.Error(t, err, name)
			}
		}
	}
}

// A wrong line of a follower is an error, and so is no line.
func TestFollowersAreHeard(t *testing.T) {
	f := &follower{says: make(chan said, 1)}
	f.says <- said{accepted, time.Now()}
	_, err := f.hear(refusedNow)
	require.ErrorContains(t, err, `"accepted", not "rejected"`)
	close(f.says)
	_, err = f.hear(refusedNow)
	require.Error(t, err)
}

func TestARateIsTheOtherWayRound(t *testing.T) {
	p := places("")[0]
	c := storeCosts{place: p, results: results{}, refused: refused{took: []time.Duration{2 * time.Second}}}
	for _, n := range atOnce {
		for name, ns := range map[string]float64{p.bareWrite: 80, advancing: 100, p.bareRefresh: 79, refreshingThere: 100} {
			c.results[together(name, n)] = []cost{{ns: ns}}
		}
	}
	var met []string
	for _, t := range (stores{c}).targets() {
		met = append(met, t.met())
	}
	require.Equal(t, []string{"yes", "**no**", "yes", "**no**", "**no**"}, met)
}
