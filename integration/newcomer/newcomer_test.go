// Package newcomer_test follows docs/first-ten-minutes.md in an empty folder, with the
// library as this work tree would release it.
package newcomer_test

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth/integration/internal/freeport"
)

// block is commands, and what they print if the page says so.
type block struct{ commands, prints string }

var fenced = regexp.MustCompile("(?ms)^```(sh|text)\n(.*?)^```\n")

func blocks(t *testing.T, page string) (all []block) {
	t.Helper()
	for _, found := range fenced.FindAllStringSubmatch(page, -1) {
		if found[1] == "sh" {
			all = append(all, block{commands: found[2]})
			continue
		}
		require.NotEmpty(t, all, "the page begins with what is printed")
		last := &all[len(all)-1]
		require.Empty(t, last.prints, "two blocks say what one prints")
		last.prints = found[2]
	}
	require.Equal(t, strings.Count(page, "\n```"), 2*(len(all)+printing(all)), "a block of another kind")
	return all
}

func printing(all []block) (n int) {
	for _, b := range all {
		if b.prints != "" {
			n++
		}
	}
	return n
}

// pattern is what must be printed, with … for anything within a line.
func pattern(prints string) *regexp.Regexp {
	return regexp.MustCompile(`^` + strings.ReplaceAll(regexp.QuoteMeta(prints), "…", `[^\n]+`) + `$`)
}

// output runs a command of the go command that is to succeed.
func output(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), name, args...).Output()
	require.NoError(t, err)
	return strings.TrimSpace(string(out))
}

func TestTheFirstTenMinutes(t *testing.T) {
	text, err := os.ReadFile("../../docs/first-ten-minutes.md")
	require.NoError(t, err)
	// The page says 8080, which may be taken where tests run: it is replaced in the page and
	// in the program of the README, and nothing else is.
	port := freeport.Port(t)
	all := blocks(t, strings.ReplaceAll(string(text), "8080", port))

	proxy := t.TempDir()
	out, err := exec.CommandContext(t.Context(), "go", "run", "../fileproxy", proxy, "v0.1.0", "../..").CombinedOutput()
	require.NoError(t, err, "%s", out)

	// One shell, as on the page. It ends at the first command that fails, and what it
	// started ends with it.
	var script strings.Builder
	script.WriteString("set -euo pipefail\ntrap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n")
	const mark = "=== the next block ==="
	for _, b := range all {
		fmt.Fprintf(&script, "printf '\\n%%s\\n' '%s'\n%s", mark, b.commands)
		fmt.Fprintf(&script, "[ ! -f main.go ] || sed -i s/8080/%s/ main.go\n", port)
	}
	cmd := exec.CommandContext(t.Context(), "bash", "-c", script.String())
	cmd.Dir = t.TempDir()
	// A module cache of its own, so that no version of before is taken for this one. What
	// it needs of others is where this module found it. GOFLAGS let it be removed, and
	// built from the cache the next time.
	cmd.Env = append(os.Environ(), "GOWORK=", "GOMODCACHE="+t.TempDir(), "GOFLAGS=-modcacherw -trimpath", "GONOPROXY=none",
		"GONOSUMDB="+output(t, "go", "env", "GONOSUMDB")+",github.com/joinednode/jwtauth",
		"GOPROXY=file://"+proxy+",file://"+filepath.Join(output(t, "go", "env", "GOMODCACHE"), "cache/download")+","+output(t, "go", "env", "GOPROXY"))
	// One output for all, so that the order is that of a terminal. A file, since a pipe
	// would be waited for as long as a server that is left over holds it.
	printed, err := os.Create(filepath.Join(t.TempDir(), "printed"))
	require.NoError(t, err)
	defer printed.Close()
	cmd.Stdout, cmd.Stderr = printed, printed
	// The shell has a process group of its own, that ends with the test; should the test
	// be killed, the shell's trap sees to the server.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	require.NoError(t, cmd.Start())
	failed := cmd.Wait()
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)

	raw, err := os.ReadFile(printed.Name())
	require.NoError(t, err)
	parts := strings.Split(string(raw), "\n"+mark+"\n")[1:]
	for i, part := range parts {
		if i == len(all) {
			break
		}
		if i == len(parts)-1 && failed != nil {
			require.NoError(t, failed, "this block fails:\n%s\nand prints:\n%s", all[i].commands, part)
		}
		if want := all[i].prints; want != "" {
			assert.Regexp(t, pattern(strings.TrimSpace(want)), strings.TrimSpace(part), "printed by:\n%s", all[i].commands)
		}
	}
	require.NoError(t, failed, "%s", raw)
	require.Len(t, parts, len(all))
	_, err = net.DialTimeout("tcp", "127.0.0.1:"+port, time.Second)
	require.Error(t, err, "the page leaves its server running")
	require.False(t, bytes.Contains(raw, []byte("panic:")), "%s", raw)
}
