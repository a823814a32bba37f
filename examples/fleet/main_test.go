package main

import (
	"context"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestMain makes this test binary an issuer or a verifier if the test has started it as
// one.
func TestMain(m *testing.M) {
	if os.Getenv(role) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

func TestNobodyIsWronglyRefusedWhileKeysRotate(t *testing.T) {
	var out strings.Builder
	require.NoError(t, run(t.Context(), []string{"-step", "500ms", "-clients", "3"}, &out), "%s", &out)
	t.Log(out.String())
	require.Contains(t, out.String(), "\nwrongly denied: 0\nwrong tokens accepted: 0\n")
	require.Contains(t, out.String(), "verifier 2 reaches the issuer again")
	require.Regexp(t, `in total: verifier 1: [1-9]\d* accepted, 0 answered 503 and retried; verifier 2: [1-9]\d* accepted, [1-9]\d* answered 503`, out.String())
}

func TestWrongFlagsAreErrors(t *testing.T) {
	for _, args := range [][]string{{"-step", "0s"}, {"-clients", "0"}, {"argument"}, {"-unknown"}} {
		require.Error(t, run(t.Context(), args, &strings.Builder{}), args)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	require.Error(t, run(ended, nil, &strings.Builder{}))
}
