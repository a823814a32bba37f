// Package newcomer_test runs the commands of docs/first-ten-minutes.md in an empty folder. It
// uses the library as a release of this work tree would provide it.
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

// block is a block of commands, and their output if the page shows it.
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

// pattern is the expected output, where … stands for any characters within a line.
func pattern(prints string) *regexp.Regexp {
	return regexp.MustCompile(`^` + strings.ReplaceAll(regexp.QuoteMeta(prints), "…", `[^\n]+`) + `$`)
}

// output runs the go command, which must succeed, and returns its output.
func output(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), name, args...).Output()
	require.NoError(t, err)
	return strings.TrimSpace(string(out))
}

func TestTheFirstTenMinutes(t *testing.T) {
	text, err := os.ReadFile("../../docs/first-ten-minutes.md")
	require.NoError(t, err)
	// Port 8080 of the page may be in use here. Replace it in the page and in the program of
	// the README, and change nothing else.
	port := freeport.Port(t)
	all := blocks(t, strings.ReplaceAll(string(text), "8080", port))

	proxy := t.TempDir()
	out, err := exec.CommandContext(t.Context(), "go", "run", "../fileproxy", proxy, "v0.1.0", "../..").CombinedOutput()
	require.NoError(t, err, "%s", out)

	// Run all commands in one shell, as on the page. The shell exits at the first command that
	// fails, and stops the processes that it started.
	var script strings.Builder
	script.WriteString("set -euo pipefail\ntrap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n")
	const mark = "=== the next block ==="
	for _, b := range all {
		fmt.Fprintf(&script, "printf '\\n%%s\\n' '%s'\n%s", mark, b.commands)
		fmt.Fprintf(&script, "[ ! -f main.go ] || sed -i s/8080/%s/ main.go\n", port)
	}
	cmd := exec.CommandContext(t.Context(), "bash", "-c", script.String())
	cmd.Dir = t.TempDir()
	// Use a new module cache, so that no earlier version is mistaken for this one. Other
	// modules come from the cache of this module. GOFLAGS makes the cache removable and
	// allows the build cache to be used the next time.
	cmd.Env = append(os.Environ(), "GOWORK=", "GOMODCACHE="+t.TempDir(), "GOFLAGS=-modcacherw -trimpath", "GONOPROXY=none",
		"GONOSUMDB="+output(t, "go", "env", "GONOSUMDB")+",github.com/joinednode/jwtauth",
		"GOPROXY=file://"+proxy+",file://"+filepath.Join(output(t, "go", "env", "GOMODCACHE"), "cache/download")+","+output(t, "go", "env", "GOPROXY"))
	// Use one file for all output, so that the order is that of a terminal. With a pipe, Wait
	// would block as long as a remaining server holds it open.
	printed, err := os.Create(filepath.Join(t.TempDir(), "printed"))
	require.NoError(t, err)
	defer printed.Close()
	cmd.Stdout, cmd.Stderr = printed, printed
	// The shell gets its own process group, which is killed when the test ends. If the test
	// itself is killed, the trap of the shell stops the server.
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
