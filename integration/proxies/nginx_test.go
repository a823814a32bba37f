// Package proxies_test runs nginx in front of this library, with the configuration of
// docs/production.md. It needs nginx, and is skipped without it.
package proxies_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth/integration/internal/freeport"
)

const (
	page = "../../docs/production.md"
	host = "api.example.com"
)

// careless is the default configuration of nginx, which the page warns of.
const careless = `
server {
    listen {careless};
    access_log {dir}/careless.log combined;
    error_log {dir}/careless-errors.log;
    location /             { proxy_pass http://{service}; }
    location /decoded/     { proxy_pass http://{service}/; }
    location /own-headers/ { proxy_pass http://{service}/; add_header Access-Control-Allow-Origin *; }
    location /own-pages/   { proxy_pass http://{service}/; proxy_intercept_errors on; error_page 503 = @sorry; }
    location @sorry        { return 503 "sorry"; }
    location /cached/      { proxy_pass http://{service}/; proxy_cache shared; proxy_cache_valid 200 1m; }
    location /redirected/  { return 301 https://$host$request_uri; }
    location /gone/        { proxy_pass http://127.0.0.1:1; }
}
# This server has the logs of the page except for one location. Its socket does not exist.
server {
    listen {careless};
    server_name nobody.example.com;
    location /      { proxy_pass http://unix:{dir}/nobody.sock; }
    location /crit/ { proxy_pass http://unix:{dir}/nobody.sock; error_log {dir}/crit.log crit; }
}
`

// nginx is a running nginx in front of a service.
type nginx struct {
	dir      string
	tls      string // the address of the HTTPS server of the page
	plain    string // the address of its server on port 80
	careless string
	roots    *x509.CertPool
}

// block returns the nginx configuration of the page.
func block(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(page)
	require.NoError(t, err)
	found := regexp.MustCompile("(?s)\n```nginx\n(.*?)```\n").FindAllSubmatch(text, -1)
	require.Len(t, found, 1, "%s shows one configuration", page)
	return string(found[0][1])
}

// start runs nginx, and stops it when the test ends.
func start(t *testing.T, service string) *nginx {
	t.Helper()
	binary, err := exec.LookPath("nginx")
	if err != nil {
		if binary, err = exec.LookPath("/usr/sbin/nginx"); err != nil {
			t.Skip("nginx is not installed")
		}
	}
	n := &nginx{dir: t.TempDir(), tls: freeport.Address(t), plain: freeport.Address(t), careless: freeport.Address(t)}
	n.certificate(t)
	config := block(t)
	for shown, here := range map[string]string{
		"listen 80;":                    "listen " + n.plain + ";",
		"listen 443 ssl;":               "listen " + n.tls + " ssl http2;",
		"/etc/ssl/api.pem":              n.in("api.pem"),
		"/etc/ssl/private/api.key":      n.in("api.key"),
		"/var/log/nginx/api.log":        n.in("access.log"),
		"/var/log/nginx/api-errors.log": n.in("error.log"),
		"http://127.0.0.1:8080;":        "http://" + service + ";",
	} {
		require.Contains(t, config, shown, "what the page shows")
		config = strings.ReplaceAll(config, shown, here)
	}
	config = n.frame(t) + config + strings.NewReplacer("{careless}", n.careless, "{service}", service, "{dir}", n.dir).Replace(careless) + "}\n"
	require.NoError(t, os.WriteFile(n.in("nginx.conf"), []byte(config), 0o600))
	output, err := os.Create(n.in("output"))
	require.NoError(t, err)
	defer output.Close()
	process := exec.Command(binary, "-p", n.dir, "-c", n.in("nginx.conf"))
	process.Stdout, process.Stderr = output, output
	process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	require.NoError(t, process.Start())
	t.Cleanup(func() {
		_ = process.Process.Signal(syscall.SIGTERM)
		_ = process.Wait()
	})
	for _, address := range []string{n.tls, n.plain, n.careless} {
		require.Eventually(t, func() bool {
			conn, err := net.Dial("tcp", address)
			if err != nil {
				return false
			}
			return conn.Close() == nil
		}, time.Minute, 20*time.Millisecond, "nginx does not start: %s", n.read("output"))
	}
	return n
}

// frame is the main configuration of a packaged nginx, except for the folders.
func (n *nginx) frame(t *testing.T) string {
	t.Helper()
	account, err := user.Current()
	require.NoError(t, err)
	as := ""
	if account.Uid == "0" { // the default user of workers cannot enter the folder of the test
		as = "user root root;\n"
	}
	var folders strings.Builder
	for _, what := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		fmt.Fprintf(&folders, "%s_temp_path %s;\n", what, n.in(what))
	}
	return as + "daemon off;\nworker_processes 1;\npid " + n.in("pid") + ";\nerror_log " + n.in("output") + ";\nevents {}\nhttp {\n" +
		folders.String() + "proxy_cache_path " + n.in("cache") + " keys_zone=shared:1m;\n"
}

func (n *nginx) in(name string) string { return filepath.Join(n.dir, name) }

func (n *nginx) read(name string) string {
	text, _ := os.ReadFile(n.in(name))
	return string(text)
}

// certificate writes the certificate of the server: that of httptest under another name.
func (n *nginx) certificate(t *testing.T) {
	t.Helper()
	server := httptest.NewUnstartedServer(nil)
	server.StartTLS()
	defer server.Close()
	certificate := server.TLS.Certificates[0]
	key, err := x509.MarshalPKCS8PrivateKey(certificate.PrivateKey)
	require.NoError(t, err)
	var chain bytes.Buffer
	require.NoError(t, pem.Encode(&chain, &pem.Block{Type: "CERTIFICATE", Bytes: certificate.Certificate[0]}))
	require.NoError(t, os.WriteFile(n.in("api.pem"), chain.Bytes(), 0o600))
	require.NoError(t, os.WriteFile(n.in("api.key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}), 0o600))
	n.roots = x509.NewCertPool()
	n.roots.AddCert(server.Certificate())
}

// answer is a response with its complete body.
type answer struct {
	status int
	header http.Header
	body   string
}

// ask sends a request without the normalization of the net/http client. Each field is a whole
// header line.
func (n *nginx) ask(t *testing.T, address, line string, fields ...string) answer {
	t.Helper()
	return n.send(t, address, line, "", fields...)
}

// send is like ask, with a body. A field must state its length, which is 0 by default.
func (n *nginx) send(t *testing.T, address, line, body string, fields ...string) answer {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(time.Minute)))
	if address == n.tls {
		conn = tls.Client(conn, &tls.Config{RootCAs: n.roots, ServerName: "example.com"})
	}
	request := line + " HTTP/1.1\r\n"
	if !strings.Contains(strings.Join(fields, "\n"), "Host: ") {
		request += "Host: " + host + "\r\n"
	}
	for _, field := range fields {
		request += field + "\r\n"
	}
	if !strings.Contains(request, "Content-Length: ") {
		request += "Content-Length: 0\r\n"
	}
	_, err = io.WriteString(conn, request+"Connection: close\r\n\r\n"+body)
	require.NoError(t, err)
	method, _, _ := strings.Cut(line, " ")
	response, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	require.NoError(t, err)
	return read(t, response)
}

func read(t *testing.T, response *http.Response) answer {
	t.Helper()
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return answer{response.StatusCode, response.Header, string(body)}
}

// http2 sends a request to the server of the page by HTTP/2.
func (n *nginx) http2(t *testing.T, path, authorization string) (*http.Response, error) {
	t.Helper()
	transport := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: n.roots, ServerName: "example.com"}}
	t.Cleanup(transport.CloseIdleConnections)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+n.tls+path, nil)
	require.NoError(t, err)
	request.Host = host
	request.Header.Set("Authorization", authorization)
	return transport.RoundTrip(request)
}
