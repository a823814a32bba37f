package main

import (
	"bytes"
	"context"
	"io"
	"io/fs"
	"net"
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

	"golang.org/x/crypto/bcrypt"

	"github.com/joinednode/jwtauth/examples/internal/stores/storestest"
)

// asProgram is the environment variable that makes this test binary run main. Tests of
// signals and exit codes need a separate process.
const asProgram = "LOGIN_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	hashCost = bcrypt.MinCost
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
	logs        *lockedBuffer
	stop        func() error
}

var addressIn = regexp.MustCompile(`http://[^/ ]+`)

// start runs the program, and returns once it has printed its banner. The program already
// listens then, so a client that connects too early only waits.
func start(t *testing.T, args ...string) running {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r := running{logs: &lockedBuffer{}}
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

// password returns the password of a user from the banner.
func (r running) password(t *testing.T, user string) string {
	t.Helper()
	found := regexp.MustCompile(`(?m)^`+strings.ToUpper(user)+`=(\S+)$`).FindAllStringSubmatch(r.banner, -1)
	require.Len(t, found, 1)
	require.GreaterOrEqual(t, len(found[0][1]), 26)
	return found[0][1]
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

// shell runs commands as if they were pasted into a shell, and returns their output.
func shell(t *testing.T, script string) string {
	t.Helper()
	for _, needed := range []string{"sh", "curl", "sed"} {
		if _, err := exec.LookPath(needed); err != nil {
			t.Skipf("the printed lines need %s: %v", needed, err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "sh")
	cmd.Stdin = strings.NewReader(script)
	cmd.Env = append(os.Environ(), "no_proxy=127.0.0.1")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	return string(out)
}

func TestThePrintedLinesDoWhatTheySayWhenPasted(t *testing.T) {
	numbers := func(pattern, text string) (all []string) {
		for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
			all = append(all, m[1])
		}
		return all
	}
	t.Parallel() // the commands sleep until tokens rotate
	r := start(t, "-grace", "0s", "-access-ttl", "1h", "-v", "-data", t.TempDir())
	expected := []string{
		"200", "200", "401", "401", // log in, call
		"200", "200", "200", "200", // refresh, and a retry
		"401", "401", "401", // theft
		"200", "200", "204", "401", "401", // log in and out
	}
	require.Equal(t, expected, numbers(`(?m)^# .*: (\d{3})$`, r.banner), "the statuses in the comments")
	require.Contains(t, r.banner, ": "+r.url+"/\n", "the URL of the page")
	output := shell(t, r.banner)
	require.Equal(t, expected, numbers(`(?m)^HTTP/1\.1 (\d{3}) `, output), "%s", output)
	require.Equal(t, []string{"reused", "revoked", "revoked", "revoked", "revoked"}, numbers(`"reason":"(\w+)"`, output))
	require.Contains(t, output, `"code":"not_authenticated"`)
	require.Contains(t, output, `"code":"credentials_not_valid"`)
	require.Equal(t, 1, strings.Count(output, `"current":true`))
	require.Contains(t, output, `"label":"curl/`)
	require.NotContains(t, output, `"current":false`, "the stolen session has ended")
	require.NoError(t, r.stop())
	require.Equal(t, []string{"login", "retried", "refresh", "retried", "refresh", "reused", "login", "logout"},
		numbers(`msg=session event=(\w+)`, r.logs.String()))
}

func TestAnAccessTokenLivesAsLongAsTheFlagSays(t *testing.T) {
	r := start(t, "-data", t.TempDir(), "-access-ttl", "2s")
	p := signIn(t, r.url, "alice@example.com", r.password(t, "alice"))
	require.EqualValues(t, 2, p.ExpiresIn)
	require.EqualValues(t, 1209600, p.RefreshExpiresIn)
	// On a slow machine a token may expire before the call arrives. Then try again.
	for begun, status := time.Now(), 0; status != 200; {
		require.Less(t, time.Since(begun), time.Minute, "no token was valid when it arrived")
		p = refreshed(t, r.url, p.RefreshToken).pair(t)
		status = call(t, r.url, p.AccessToken).status
	}
	require.Eventually(t, func() bool {
		got := call(t, r.url, p.AccessToken)
		return got.status == 401 && strings.Contains(got.body, `"reason":"expired"`)
	}, time.Minute, 50*time.Millisecond)
}

func TestARestartLogsNobodyOut(t *testing.T) {
	storestest.Each(t, func(t *testing.T, flags ...string) {
		flags = append(flags, "-data", filepath.Join(t.TempDir(), "data"))
		first := start(t, flags...)
		require.Contains(t, first.banner, ", and survive a restart")
		ended := signIn(t, first.url, "bob@example.com", first.password(t, "bob"))
		require.Equal(t, 204, logOut(t, first.url, ended.AccessToken).status)
		p := signIn(t, first.url, "bob@example.com", first.password(t, "bob"))
		subject := subjectOf(t, first.url, p.AccessToken)
		require.NoError(t, first.stop())

		second := start(t, flags...)
		require.NotEqual(t, first.password(t, "bob"), second.password(t, "bob"), "every start has new random passwords")
		require.NotEqual(t, second.password(t, "alice"), second.password(t, "bob"))
		p = refreshed(t, second.url, p.RefreshToken).pair(t)
		require.Equal(t, 200, call(t, second.url, p.AccessToken).status)
		again := signIn(t, second.url, "bob@example.com", second.password(t, "bob"))
		require.Equal(t, subject, subjectOf(t, second.url, again.AccessToken), "bob keeps his subject")
		listed := send(t, request(t, "GET", second.url+"/auth/jwt/sessions/", "", "Authorization", "Bearer "+again.AccessToken))
		for _, token := range []string{p.AccessToken, again.AccessToken} { // the database may hold sessions of other tests
			require.Contains(t, listed.body, meOf(t, second.url, token).Session, "the session from before the restart is listed, too")
		}
		require.Equal(t, 401, call(t, second.url, ended.AccessToken).status, "a session that was logged out stays ended")
		require.Equal(t, 401, refreshed(t, second.url, ended.RefreshToken).status)

		flags[len(flags)-1] = t.TempDir()
		got := refreshed(t, start(t, flags...).url, p.RefreshToken)
		require.Equal(t, 401, got.status)
		require.NotContains(t, got.body, "reason", "the key of another folder did not sign this token")
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

func TestNeitherTokensNorPasswordsAreLogged(t *testing.T) {
	t.Parallel() // the test sleeps until tokens rotate
	r := start(t, "-data", t.TempDir(), "-v", "-grace", "0s")
	password := r.password(t, "alice")
	secrets := []string{password, r.password(t, "bob"), "example.com", "WRONG", "AAAAAAAAAA"}
	first := signIn(t, r.url, "alice@example.com", password)
	time.Sleep(rest(0))
	second := refreshed(t, r.url, first.RefreshToken).pair(t)
	time.Sleep(rest(0))
	third := refreshed(t, r.url, second.RefreshToken).pair(t)
	for _, token := range []string{first.AccessToken, first.RefreshToken, second.AccessToken, second.RefreshToken, third.AccessToken, third.RefreshToken} {
		// The header of a token is not secret, and all tokens of one type share it.
		secrets = append(secrets, strings.Split(token, ".")[1:]...)
		forged := token[:len(token)-10] + "AAAAAAAAAA"
		for _, presented := range []string{token, forged} {
			call(t, r.url, presented)
			send(t, request(t, "GET", r.url+"/api/me?token="+presented, ""))
		}
		require.Equal(t, 401, refreshed(t, r.url, forged).status)
	}
	require.Equal(t, 401, refreshed(t, r.url, first.RefreshToken).status)
	require.Equal(t, 401, call(t, r.url, third.AccessToken).status)
	for _, email := range []string{"alice@example.com", "nobody@example.com"} {
		require.Equal(t, 401, create(t, r.url, email, "WRONG"+password).status)
	}
	require.NoError(t, r.stop())

	logs := r.logs.String()
	for _, expected := range []string{"event=login", "event=refresh", "event=reused", "subject=user-", "reason=revoked", "reason=wrong_type", "reason=wrong_signature"} {
		require.Contains(t, logs, expected)
	}
	for _, secret := range secrets {
		require.NotContains(t, logs, secret)
	}
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
	require.Equal(t, 401, send(t, request(t, "GET", url+"/api/me", "")).status)
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
		"an unknown flag":            {[]string{"-nonsense"}, "-nonsense (see -help)"},
		"an argument":                {[]string{"serve"}, `unexpected argument "serve" (see -help)`},
		"an address in use":          {[]string{"-addr", taken.Addr().String()}, taken.Addr().String()},
		"a malformed address":        {[]string{"-addr", "nonsense"}, "nonsense"},
		"a file as the folder":       {[]string{"-data", notAFolder}, notAFolder},
		"a malformed file of keys":   {[]string{"-data", notAKey}, "keys.jwks"},
		"a malformed lifetime":       {[]string{"-access-ttl", "soon"}, "-access-ttl"},
		"a lifetime of zero":         {[]string{"-access-ttl", "0s"}, "-access-ttl is 0s; use whole seconds"},
		"a lifetime with a fraction": {[]string{"-access-ttl", "1500ms"}, "-access-ttl is 1.5s; use whole seconds"},
		"a negative lifetime":        {[]string{"-access-ttl", "-1s"}, "-access-ttl is -1s; use whole seconds"},
		"a negative grace":           {[]string{"-grace", "-1s"}, "-grace is -1s; use 0 to 10m"},
		"a grace that is too long":   {[]string{"-grace", "11m"}, "-grace is 11m0s; use 0 to 10m"},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := program(t, append([]string{"-data", t.TempDir()}, c.args...)...)
			var stdout, stderr bytes.Buffer
			cmd.Stdout, cmd.Stderr = &stdout, &stderr
			var failed *exec.ExitError
			require.ErrorAs(t, cmd.Run(), &failed)
			require.Equal(t, 1, failed.ExitCode())
			require.Regexp(t, `^login: .+\n$`, stderr.String())
			require.Contains(t, stderr.String(), c.says)
			require.Empty(t, stdout.String())
		})
	}
}

func TestHelpListsTheFlags(t *testing.T) {
	var stdout bytes.Buffer
	require.NoError(t, run(t.Context(), []string{"-help"}, &stdout, io.Discard))
	for _, flag := range []string{"-addr", "-data", "-access-ttl", "-grace", "-v"} {
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
