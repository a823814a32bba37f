package jwtauthtest_test

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// flaw is a store with one defect.
type flaw[S any] struct {
	name   string
	new    func() S
	caught string // the checks that must find it, separated by ";"; others may find it too
}

// noFlaw is the prefix in the names of stores that have no flaw and must pass.
const noFlaw = "none"

// findEveryFlaw requires that the checks of a suite find each flaw, and that each check
// finds at least one.
//
// A test cannot fail on purpose. So findEveryFlaw runs the calling test again in another
// process, which runs the suite on every store, and reads the failures from its output.
func findEveryFlaw[S any](t *testing.T, flaws []flaw[S], suite func(t *testing.T, newStore func(t *testing.T) S)) {
	t.Helper()
	const inside = "JWTAUTHTEST_FLAWS"
	if os.Getenv(inside) != "" {
		for _, flaw := range flaws {
			t.Run(flaw.name, func(t *testing.T) {
				suite(t, func(*testing.T) S { return flaw.new() })
			})
		}
		return
	}
	program, err := os.Executable()
	require.NoError(t, err)
	command := exec.CommandContext(t.Context(), program, "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=1h", "-test.parallel=24")
	command.Env = append(os.Environ(), inside+"=1")
	out, err := command.CombinedOutput()
	var failed *exec.ExitError
	require.ErrorAs(t, err, &failed, "%s", out)
	require.NotContains(t, string(out), "panic:")
	require.NotContains(t, string(out), "DATA RACE")

	verdicts := map[string]map[string]string{} // by flaw and check: PASS or FAIL
	for _, line := range regexp.MustCompile(`--- (PASS|FAIL): `+t.Name()+`/([^/\n]+)/([^/\n]+) \(`).FindAllStringSubmatch(string(out), -1) {
		flaw, check := strings.ReplaceAll(line[2], "_", " "), strings.ReplaceAll(line[3], "_", " ")
		if verdicts[flaw] == nil {
			verdicts[flaw] = map[string]string{}
		}
		verdicts[flaw][check] = line[1]
	}
	require.Len(t, verdicts, len(flaws), "%s", out)

	useful := map[string]bool{} // the checks that have found a flaw
	for _, flaw := range flaws {
		if strings.HasPrefix(flaw.name, noFlaw) {
			for check, verdict := range verdicts[flaw.name] {
				require.Equal(t, "PASS", verdict, "%s: %s", flaw.name, check)
			}
			continue
		}
		for check := range strings.SplitSeq(flaw.caught, "; ") {
			require.Equal(t, "FAIL", verdicts[flaw.name][check], "%s: %s", flaw.name, check)
			useful[check] = true
		}
	}
	for check := range verdicts[noFlaw] {
		require.True(t, useful[check], "there must be a flaw that this check finds: %s", check)
	}
}
