package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth/examples/internal/stores/storestest"
)

// asProgram is the environment variable that makes this test binary run main. Tests of
// signals and exit codes need a separate process.
const asProgram = "RECIPES_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func program(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), exe, args...)
	cmd.Env = append(os.Environ(), asProgram+"=1")
	return cmd
}

// running is the program under test, which runs in this process on a free port.
type running struct {
	url, banner string
	out, logs   *lockedBuffer // out has what the program prints after the banner
	stop        func() error
}

var addressIn = regexp.MustCompile(`http://[^/ ]+`)

// start runs the program, and returns once it has printed its banner. The program already
// listens then, so a client that connects too early only waits.
func start(t *testing.T, args ...string) running {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r := running{out: &lockedBuffer{}, logs: &lockedBuffer{}}
	out, in := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := run(ctx, append([]string{"-addr", "127.0.0.1:0"}, args...), in, r.logs)
		in.CloseWithError(io.EOF)
		ended <- err
	}()
	r.stop = sync.OnceValue(func() error {
		cancel()
		return <-ended
	})
	t.Cleanup(func() { r.stop() })

	r.banner = readBanner(out)
	go io.Copy(r.out, out)
	r.url = addressIn.FindString(r.banner)
	if r.url == "" {
		require.NoError(t, r.stop())
		require.Fail(t, "the program printed no address", r.banner)
	}
	return r
}

// readBanner returns what the program prints at the start, which it does in one write.
func readBanner(out io.Reader) string {
	banner := make([]byte, 64<<10)
	n, _ := out.Read(banner) // empty if the program failed
	return string(banner[:n])
}

// lockedBuffer is a buffer that goroutines of the server write while the test reads it.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// shell runs commands as if they were pasted into a shell, and returns their output. env
// adds environment variables.
func shell(t *testing.T, script string, env ...string) string {
	t.Helper()
	for _, needed := range []string{"bash", "curl", "sed"} {
		if _, err := exec.LookPath(needed); err != nil {
			t.Skipf("the printed lines need %s: %v", needed, err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "bash", "-c", script)
	cmd.Env = append(append(os.Environ(), "no_proxy=127.0.0.1"), env...)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	return string(out)
}

func TestThePrintedLinesDoWhatTheySayWhenPasted(t *testing.T) {
	var (
		headings = regexp.MustCompile(`(?m)^# .*: (\d{3})$`)
		statuses = regexp.MustCompile(`(?m)^HTTP/1\.1 (\d{3}) `)
	)
	numbers := func(matches [][]string) (all []string) {
		for _, m := range matches {
			all = append(all, m[1])
		}
		return all
	}
	check := func(t *testing.T, banner, output string, hasJWKS bool) {
		t.Helper()
		expected := []string{"200", "200", "200", "403", "403", "200", "200", "403", "204", "403", "200"}
		if hasJWKS {
			expected = append(expected, "200")
			require.Contains(t, output, `{"keys":[{`)
		}
		require.Equal(t, expected, numbers(headings.FindAllStringSubmatch(banner, -1)), "the statuses in the comments")
		require.Equal(t, expected, numbers(statuses.FindAllStringSubmatch(output, -1)), "%s", output)
		require.Contains(t, output, `"token_type":"Bearer","expires_in":864000,"container":"demo"`)
		require.Contains(t, output, `"url":"/run/demo/notify","data":{"hi":"me"}}`)
		require.Contains(t, output, `"code":"not_authenticated"`)
		require.Contains(t, output, `"reason":"wrong_container"`)
		require.Equal(t, 2, strings.Count(output, `"reason":"revoked"`))
		require.Contains(t, output, `"message":"Hello from demo.","caller":{"kind":"anonymous"}`)
	}

	for name, c := range map[string]struct {
		args    []string
		hasJWKS bool
	}{
		"as a whole":                      {nil, true},
		"with a secret for a key":         {[]string{"-alg", "HS256"}, false},
		"with a rotation, and its timing": {[]string{"-rotate", "1h"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			r := start(t, append(c.args, "-data", t.TempDir())...)
			check(t, r.banner, shell(t, r.banner), c.hasJWKS)
		})
	}
	t.Run("with -owner-key, which is not printed", func(t *testing.T) {
		const chosen = "kept 'secret' $HOME/ü"
		r := start(t, "-data", t.TempDir(), "-owner-key", chosen)
		require.NotContains(t, r.banner, chosen)
		check(t, r.banner, shell(t, r.banner, "OWNER_KEY="+chosen), true)
	})
}

var ownerKeyIn = regexp.MustCompile(`(?m)^OWNER_KEY=(\S+)$`)

func (r running) ownerKey(t *testing.T) string {
	t.Helper()
	found := ownerKeyIn.FindAllStringSubmatch(r.banner, -1)
	require.Len(t, found, 1, "the random owner key is printed once")
	return found[0][1]
}

func TestTokensOutliveARestart(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	first := start(t, "-data", data)
	token := mint(t, first.url, "demo", first.ownerKey(t))
	require.Equal(t, 200, notify(t, first.url, "demo", token).status)
	require.NoError(t, first.stop())

	second := start(t, "-data", data)
	require.Equal(t, 200, notify(t, second.url, "demo", token).status)
	require.NotEqual(t, first.ownerKey(t), second.ownerKey(t), "every start has a new random owner key")

	other := start(t, "-data", t.TempDir())
	require.Equal(t, 403, notify(t, other.url, "demo", token).status, "the key of another folder did not sign this token")
}

func TestWhatWasRevokedOutlivesARestart(t *testing.T) {
	storestest.Each(t, func(t *testing.T, flags ...string) {
		flags = append(flags, "-data", t.TempDir())
		first := start(t, flags...)
		token := mint(t, first.url, "demo", first.ownerKey(t))
		require.Equal(t, 200, send(t, revokeRequest(t, first.url, token, "demo", first.ownerKey(t))).status)
		requireRevoked(t, first.url, "demo", token)
		require.NoError(t, first.stop())

		second := start(t, flags...)
		requireRevoked(t, second.url, "demo", token)
		require.Equal(t, 200, notify(t, second.url, "demo", mint(t, second.url, "demo", second.ownerKey(t))).status)
	})
}

// Two processes that share a database must act as one service.
func TestWhatOneProcessRevokesAnotherRefuses(t *testing.T) {
	storestest.Each(t, func(t *testing.T, flags ...string) {
		flags = append(flags, "-data", t.TempDir())
		first, second := start(t, flags...), start(t, flags...)
		token := mint(t, first.url, "demo", first.ownerKey(t))
		require.Equal(t, 200, notify(t, second.url, "demo", token).status)
		require.Equal(t, 200, send(t, revokeRequest(t, first.url, token, "demo", first.ownerKey(t))).status)
		require.Eventually(t, func() bool { return notify(t, second.url, "demo", token).status == 403 }, time.Minute, 50*time.Millisecond)
	})
}

func TestOnlyThisAccountMayReadTheKeys(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no such modes")
	}
	data := filepath.Join(t.TempDir(), "not", "there", "yet")
	require.NoError(t, start(t, "-data", data).stop())
	folder, err := os.Stat(data)
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o700), folder.Mode().Perm())
	file, err := os.Stat(filepath.Join(data, "keys.jwks"))
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o600), file.Mode().Perm())
}

func TestNeitherTokensNorOwnerKeysAreLogged(t *testing.T) {
	r := start(t, "-data", t.TempDir(), "-v")
	key := r.ownerKey(t)
	token := mint(t, r.url, "demo", key)
	forged := token[:len(token)-10] + "AAAAAAAAAA"
	for _, presented := range []string{token, forged} {
		for _, path := range []string{"/run/demo/notify", "/run/other/notify", "/run/demo/hello", "/run//demo/hello", "/nowhere"} {
			send(t, request(t, "GET", r.url+path, "", "Authorization", "Bearer "+presented))
			send(t, request(t, "GET", r.url+path+"?token="+presented, ""))
		}
	}
	wrong := request(t, "POST", r.url+"/create-token/demo", "")
	wrong.SetBasicAuth("demo", "WRONG"+key)
	require.Equal(t, 403, send(t, wrong).status)
	require.Equal(t, 403, send(t, revokeAllRequest(t, r.url, "demo", "demo", "WRONG"+key)).status)
	for _, presented := range []string{forged, token} {
		require.Equal(t, 403, send(t, revokeRequest(t, r.url, presented, "demo", "WRONG"+key)).status)
		require.Equal(t, 200, send(t, revokeRequest(t, r.url, presented, "demo", key)).status)
	}
	requireRevoked(t, r.url, "demo", token)
	require.NoError(t, r.stop())

	logs := r.logs.String()
	require.Contains(t, logs, "reason=wrong_container")
	require.Contains(t, logs, "reason=wrong_signature")
	require.Contains(t, logs, "reason=revoked")
	require.Contains(t, logs, "not the owner of this container")
	require.Contains(t, logs, `msg="revoke: refused"`)
	require.Contains(t, logs, `msg="not revoked"`)
	require.Contains(t, logs, `msg="recipe ran" container=demo recipe=notify jti=`)
	for _, secret := range append(strings.Split(token, "."), key, "AAAAAAAAAA") {
		require.NotContains(t, logs, secret)
	}
}

func TestARequestUnderWayIsAnsweredBeforeTheProgramEnds(t *testing.T) {
	r := start(t, "-data", t.TempDir())
	address := strings.TrimPrefix(r.url, "http://")
	conn, err := net.Dial("tcp", address)
	require.NoError(t, err)
	defer conn.Close()
	_, err = io.WriteString(conn, "POST /run/demo/hello HTTP/1.1\r\nHost: "+address+
		"\r\nContent-Length: 11\r\nExpect: 100-continue\r\n\r\n")
	require.NoError(t, err)
	reader := bufio.NewReader(conn)
	// The server sends 100 Continue when the recipe begins to read the body. So the request
	// is now being served.
	interim, err := http.ReadResponse(reader, nil)
	require.NoError(t, err)
	require.Equal(t, 100, interim.StatusCode)

	ended := make(chan error, 1)
	go func() { ended <- r.stop() }()
	for { // wait until the server rejects new connections, since then the shutdown has begun
		late, err := net.Dial("tcp", address)
		if err != nil {
			break
		}
		late.Close()
	}
	_, err = io.WriteString(conn, `{"hi":"me"}`)
	require.NoError(t, err)
	resp, err := http.ReadResponse(reader, nil)
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Equal(t, 200, resp.StatusCode)
	require.Contains(t, string(body), `"data":{"hi":"me"}`)
	require.NoError(t, <-ended)
}

func TestTheProgramEndsWellOnASignal(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows cannot send an interrupt to another process")
	}
	cmd := program(t, "-addr", "127.0.0.1:0", "-data", t.TempDir())
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	var logs bytes.Buffer
	cmd.Stderr = &logs
	require.NoError(t, cmd.Start())
	url := addressIn.FindString(readBanner(out))
	require.Equal(t, 200, send(t, request(t, "GET", url+"/run/demo/hello", "")).status)
	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	require.NoError(t, cmd.Wait(), "exit code 0")
	require.Contains(t, logs.String(), "shutting down")
}

func TestAFailureIsOneLineAndExitCode1(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	notAFolder := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(notAFolder, nil, 0o600))
	notAKey := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(notAKey, "keys.jwks"), []byte("{}"), 0o600))

	for name, c := range map[string]struct {
		args []string
		says string
	}{
		"an unknown flag":          {[]string{"-nonsense"}, "-nonsense (see -help)"},
		"an argument":              {[]string{"serve"}, `unexpected argument "serve" (see -help)`},
		"an address in use":        {[]string{"-data", t.TempDir(), "-addr", taken.Addr().String()}, taken.Addr().String()},
		"a malformed address":      {[]string{"-data", t.TempDir(), "-addr", "nonsense"}, "nonsense"},
		"a file as the folder":     {[]string{"-data", notAFolder}, notAFolder},
		"a malformed file of keys": {[]string{"-data", notAKey}, "keys.jwks"},
		"an unknown algorithm":     {[]string{"-data", t.TempDir(), "-alg", "none"}, `"none" is not known`},
		"a negative interval":      {[]string{"-rotate", "-1s"}, "-rotate is -1s; use 1s or more, or 0 for never (see -help)"},
		"an interval too short":    {[]string{"-rotate", "999ms"}, "-rotate is 999ms; use 1s or more"},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := program(t, c.args...)
			var stdout, stderr bytes.Buffer
			cmd.Stdout, cmd.Stderr = &stdout, &stderr
			var failed *exec.ExitError
			require.ErrorAs(t, cmd.Run(), &failed)
			require.Equal(t, 1, failed.ExitCode())
			require.Regexp(t, `^recipes: .+\n$`, stderr.String())
			require.Contains(t, stderr.String(), c.says)
			require.Empty(t, stdout.String())
		})
	}
}

func TestHelpListsTheFlags(t *testing.T) {
	var stdout bytes.Buffer
	require.NoError(t, run(t.Context(), []string{"-help"}, &stdout, io.Discard))
	for _, flag := range []string{"-addr", "-data", "-alg", "-rotate", "-owner-key", "-v"} {
		require.Contains(t, stdout.String(), flag)
	}
}

func TestThePrintedAddressCanBeReached(t *testing.T) {
	for listening, url := range map[string]string{
		"127.0.0.1:8080": "http://127.0.0.1:8080",
		"0.0.0.0:80":     "http://127.0.0.1:80",
		"[::]:8080":      "http://127.0.0.1:8080",
		"[::1]:8080":     "http://[::1]:8080",
		"192.0.2.7:8080": "http://192.0.2.7:8080",
	} {
		addr, err := net.ResolveTCPAddr("tcp", listening)
		require.NoError(t, err)
		require.Equal(t, url, baseURL(addr), listening)
	}
}
