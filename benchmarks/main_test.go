package main

import (
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The test does not check the figures, since the machine may be busy.
func TestTheCommandPrintsEveryTable(t *testing.T) {
	var out strings.Builder
	require.NoError(t, run([]string{"-rounds=2", "-benchtime=1ms", "-load=50ms", "-live=2000", "-revoked=2000", "-revocations=1"}, &out, io.Discard))
	for _, want := range []string{
		"- date: ", "- Go: ", "- CPU: ",
		"## One HS256 token", "## One EdDSA token", "## One ES256 token", "## One RS256 token",
		"## Issuing", "## Rejecting", "## A real server", "## Few and many", "## Sessions", "## Revocations", "## Stores", "## Memory", "## Targets",
		oursSeen, oursFirst, chiName, auth0Name, echoName, ginName, cristalName, golangName, jwxName,
		"another container's token",
	} {
		require.Contains(t, out.String(), want)
	}
	require.NotContains(t, out.String(), "of unknown version")
	require.NotContains(t, out.String(), "NaN")
	require.NotContains(t, out.String(), "%!")
}

func TestBadFlagsAreErrors(t *testing.T) {
	for _, args := range []string{"-rounds=0", "-benchtime=0", "-load=-1s", "-live=1000", "-revoked=1000", "-revocations=0", "-only=nothing", "extra", "-unknown"} {
		require.Error(t, run([]string{args}, io.Discard, io.Discard), args)
	}
	require.NoError(t, run([]string{"-help"}, io.Discard, io.Discard))
}
