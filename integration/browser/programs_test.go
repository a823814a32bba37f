// Package browser_test runs the examples in Chromium. If Chromium is not in the PATH, the
// tests are skipped.
package browser_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth/integration/internal/rendezvous"
)

// program is a running example.
type program struct {
	url    *url.URL
	banner string
}

var address = regexp.MustCompile(`http://127\.0\.0\.1:\d+`)

// binaries is the folder of the built examples, which TestMain removes.
var binaries string

func TestMain(m *testing.M) {
	var err error
	if binaries, err = os.MkdirTemp("", "browser"); err != nil {
		panic(err)
	}
	code := m.Run()
	_ = os.RemoveAll(binaries)
	os.Exit(code)
}

// built returns the binary of an example, which it builds once.
func built(t *testing.T, example string) string {
	t.Helper()
	build := exec.Command("go", "build", "-o", binaries+"/", "./"+example)
	build.Dir = "../../examples"
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)
	return filepath.Join(binaries, example)
}

// run starts an example, and stops it when the test ends.
func run(t *testing.T, example string, args ...string) *program {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), built(t, example), append([]string{"-addr", "127.0.0.1:0", "-data", t.TempDir()}, args...)...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	logs := &bytes.Buffer{}
	cmd.Stderr = logs
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { // t.Context has ended
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("%s", logs)
		}
	})
	banner := make([]byte, 64<<10)
	n, err := stdout.Read(banner)
	require.NoError(t, err)
	go io.Copy(io.Discard, bufio.NewReader(stdout))
	p := &program{banner: string(banner[:n])}
	p.url, err = url.Parse(address.FindString(p.banner))
	require.NoError(t, err)
	require.NotEmpty(t, p.url.Host, p.banner)
	return p
}

// printed returns the value that the program printed as name=value.
func (p *program) printed(t *testing.T, name string) string {
	t.Helper()
	found := regexp.MustCompile(`(?m)^` + name + `='?([^'\n]+)'?$`).FindStringSubmatch(p.banner)
	require.NotNil(t, found, p.banner)
	return found[1]
}

// wire is a proxy between browsers and a program. It records requests and drops responses.
type wire struct {
	*httptest.Server

	mu   sync.Mutex
	sent []sent
	lose map[string]int // how many of the next responses to a path are dropped

	meeting string // a path whose requests wait for one another
	point   rendezvous.Point
}

type sent struct {
	method, path, site string
	status             int
	cookies            string // of the request
}

func (p *program) wire(t *testing.T) *wire {
	t.Helper()
	w := &wire{lose: map[string]int{}}
	proxy := &httputil.ReverseProxy{
		// Keep the host, from which the program derives its own origin.
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(p.url); r.Out.Host = r.In.Host },
		ModifyResponse: func(r *http.Response) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			in := r.Request
			w.sent = append(w.sent, sent{in.Method, in.URL.Path, in.Header.Get("Sec-Fetch-Site"), r.StatusCode, in.Header.Get("Cookie")})
			if w.lose[in.URL.Path] > 0 {
				w.lose[in.URL.Path]--
				return http.ErrAbortHandler
			}
			return nil
		},
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
	meeting := w.point.Before(proxy)
	w.Server = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if w.meets(r.URL.Path) {
			meeting.ServeHTTP(rw, r)
			return
		}
		proxy.ServeHTTP(rw, r)
	}))
	t.Cleanup(w.Close)
	return w
}

// together holds the next n requests to a path until all of them have arrived.
func (w *wire) together(path string, n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.meeting = path
	w.point.Await(n)
}

func (w *wire) meets(path string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return path == w.meeting
}

// losing drops the next n responses to a path. Browsers repeat a request by themselves on a
// connection that was used before, so losing disables the reuse of connections.
func (w *wire) losing(path string, n int) {
	w.Config.SetKeepAlivesEnabled(false)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lose[path] = n
}

// count returns the number of requests with this status. A path may end in a star.
func (w *wire) count(method, path string, status int) (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.sent {
		prefix, open := strings.CutSuffix(path, "*")
		if s.method == method && s.status == status && (s.path == path || open && strings.HasPrefix(s.path, prefix)) {
			n++
		}
	}
	return n
}

func (w *wire) all() []sent {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]sent(nil), w.sent...)
}

// mint gets a token from the endpoint, as the owner of the container does.
func mint(t *testing.T, p *program, container string) string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "POST", p.url.String()+"/create-token/"+container, nil)
	require.NoError(t, err)
	r.SetBasicAuth(container, p.printed(t, "OWNER_KEY"))
	response, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	defer response.Body.Close()
	var answer struct{ Token string }
	require.NoError(t, json.NewDecoder(response.Body).Decode(&answer))
	require.NotEmpty(t, answer.Token)
	return answer.Token
}
