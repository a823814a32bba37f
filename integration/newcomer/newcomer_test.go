// Package newcomer_test follows the README and docs/first-ten-minutes.md in an empty folder,
// with the library as this work tree would release it.
package newcomer_test

import (
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

var fenced = regexp.MustCompile("(?ms)^```(sh|text|go)\n(.*?)^```\n")

// blocks returns the blocks of a page. One of Go code is saved as main.go.
func blocks(t *testing.T, page string) (all []block) {
	t.Helper()
	found := fenced.FindAllStringSubmatch(page, -1)
	require.Equal(t, strings.Count(page, "\n```"), 2*len(found), "a block of another kind")
	for _, b := range found {
		switch b[1] {
		case "sh":
			all = append(all, block{commands: b[2]})
		case "go":
			all = append(all, block{commands: "cat > main.go <<'END OF THE PROGRAM'\n" + b[2] + "END OF THE PROGRAM\n"})
		case "text":
			require.NotEmpty(t, all, "the page begins with what is printed")
			last := &all[len(all)-1]
			require.Empty(t, last.prints, "two blocks say what one prints")
			last.prints = b[2]
		}
	}
	return all
}

// pattern matches what must be printed, with … for anything within a line.
func pattern(prints string) *regexp.Regexp {
	return regexp.MustCompile(`^` + strings.ReplaceAll(regexp.QuoteMeta(prints), "…", `[^\n]+`) + `$`)
}

// output returns what a command prints, and fails the test if the command fails.
func output(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), name, args...).Output()
	require.NoError(t, err)
	return strings.TrimSpace(string(out))
}

func TestTheFirstTenMinutes(t *testing.T) {
	text, err := os.ReadFile("../../docs/first-ten-minutes.md")
	require.NoError(t, err)
	port := freeport.Port(t)
	follow(t, string(text), port)
	_, err = net.DialTimeout("tcp", "127.0.0.1:"+port, time.Second)
	require.Error(t, err, "the page leaves its server running")
}

func TestTheServerOfTheREADME(t *testing.T) {
	text, err := os.ReadFile("../../README.md")
	require.NoError(t, err)
	server, _, found := strings.Cut(string(text), "\n## Tokens that open one container\n")
	require.True(t, found)
	printed := follow(t, server, freeport.Port(t))
	require.Regexp(t, `(?m)^hello, alice$`, printed)
}

// follow runs the commands of a page in one shell in an empty folder, and compares what each
// block prints with what the page says. It returns all that was printed.
func follow(t *testing.T, page, port string) string {
	t.Helper()
	// The pages say 8080, which may be taken where tests run. Nothing else is replaced.
	all := blocks(t, strings.ReplaceAll(page, "8080", port))

	proxy := t.TempDir()
	out, err := exec.CommandContext(t.Context(), "go", "run", "../fileproxy", proxy, "v0.1.0", "../..").CombinedOutput()
	require.NoError(t, err, "%s", out)

	// The shell ends at the first command that fails, and kills what it started.
	var script strings.Builder
	script.WriteString("set -euo pipefail\ntrap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n")
	const mark = "=== the next block ==="
	for _, b := range all {
		fmt.Fprintf(&script, "printf '\\n%%s\\n' '%s'\n%s", mark, b.commands)
	}
	cmd := exec.CommandContext(t.Context(), "bash", "-c", script.String())
	cmd.Dir = t.TempDir()
	// The module cache is empty, so that no earlier version is taken for this one. Other
	// modules come from this module's cache. GOFLAGS makes the cache removable, and lets the
	// build cache be used the next time.
	cmd.Env = append(os.Environ(), "GOWORK=", "GOMODCACHE="+t.TempDir(), "GOFLAGS=-modcacherw -trimpath", "GONOPROXY=none",
		"GONOSUMDB="+output(t, "go", "env", "GONOSUMDB")+",github.com/joinednode/jwtauth",
		"GOPROXY=file://"+proxy+",file://"+filepath.Join(output(t, "go", "env", "GOMODCACHE"), "cache/download")+","+output(t, "go", "env", "GOPROXY"))
	// One file takes all output, in the order of a terminal. With a pipe, Wait would not
	// return while a server that is left over holds it.
	printed, err := os.Create(filepath.Join(t.TempDir(), "printed"))
	require.NoError(t, err)
	defer printed.Close()
	cmd.Stdout, cmd.Stderr = printed, printed
	// The shell has a process group of its own, which ends with the test. If the test is
	// killed, the shell's trap kills the server.
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
	require.NotContains(t, string(raw), "panic:")
	return string(raw)
}
