package jwtauth_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth"
)

// hostilePaths are request targets as they stand on the wire, each of which two
// programs take for two places.
var hostilePaths = map[string]string{
	"an escaped .. segment":                   "/run/demo/%2e%2e/notify",
	"an escaped .. segment, half escaped":     "/run/demo/.%2E/notify",
	"an escaped . segment":                    "/run/demo/%2e/notify",
	"an escaped .. as the container":          "/run/%2e%2e/notify",
	"an escaped .. as the recipe":             "/run/demo/%2e%2e",
	"an escaped . at the end":                 "/run/demo/%2e",
	"an escaped slash behind ..":              "/run/demo/..%2Fother",
	"an escaped slash before ..":              "/run/demo/a%2F..",
	"a way out in one segment":                "/run/demo/..%2f..%2fother%2fnotify",
	"an escaped backslash":                    "/run/demo/a%5cb",
	"a raw backslash":                         `/run/demo/a\b`,
	"an empty segment by an escaped slash":    "/run/demo/a%2F%2Fb",
	"an escaped slash at a segment's start":   "/run/demo/%2Fnotify",
	"an escaped slash at the path's start":    "/%2Frun/demo/notify",
	"an escaped slash at the container's end": "/run/demo%2F/notify",
}

// rawDots are targets that ServeMux redirects, so that only a bare middleware
// ever sees them.
var rawDots = map[string]string{
	"a .. segment":         "/run/demo/../other/notify",
	"a . segment":          "/run/demo/./notify",
	"an empty segment":     "/run//demo/notify",
	"two slashes at first": "//run/demo/notify",
	".. at the end":        "/run/demo/..",
	"two slashes at last":  "/run/demo/notify//",
}

// plainPaths look odd, and mean one place only.
var plainPaths = map[string]string{
	"a slash at the end":             "/run/demo/notify/",
	"dots within a segment":          "/run/demo/a..b",
	"three dots":                     "/run/demo/...",
	"an escape":                      "/run/demo/n%6ftify",
	"an escaped slash in a segment":  "/run/demo/a%2Fb",
	"an escape of an escape":         "/run/demo/%252e%252e",
	"a colon":                        "/run/demo/a:b",
	"a semicolon":                    "/run/demo/a;b",
	"a line break":                   "/run/demo/a%0d%0ab",
	"a NUL":                          "/run/demo/a%00b",
	"an absolute target":             "http://api.example.com/run/demo/notify",
	"nothing but the root":           "/",
	"the asterisk of OPTIONS":        "*",
	"an absolute target without one": "http://api.example.com",
}

// pathServers are real servers, bare and behind a mux, whose every route has
// one policy; the header X-Seen of a response says what the handler saw.
func pathServers(t *testing.T, http2 bool) map[string]*httptest.Server {
	auth := newAuth(t, jwtauth.WithContainer(func(*http.Request) string { return "demo" }))
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, ok := jwtauth.FromContext(r.Context())
		w.Header().Set("X-Seen", fmt.Sprintf("%s claims=%v", r.Method, ok))
	})
	servers := map[string]*httptest.Server{}
	start := func(name string, h http.Handler) {
		server := httptest.NewUnstartedServer(h)
		server.Config.ErrorLog = nil
		if http2 {
			server.EnableHTTP2 = true
			server.StartTLS()
		} else {
			server.Start()
		}
		t.Cleanup(server.Close)
		servers[name] = server
	}
	for name, wrap := range policies(auth) {
		start(name, wrap(handler))
		mux := http.NewServeMux()
		mux.Handle("/run/{container}/{recipe}", wrap(handler))
		mux.Handle("/run/{container}/{rest...}", wrap(handler))
		mux.Handle("/", wrap(handler))
		start(name+" behind a mux", mux)
	}
	return servers
}

// sendRaw writes a request as bytes, since no client sends such targets.
func sendRaw(t *testing.T, server *httptest.Server, method, target string) *http.Response {
	t.Helper()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	require.NoError(t, err)
	defer conn.Close()
	fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: api.example.com\r\nAuthorization: Bearer %s\r\nConnection: close\r\n\r\n", method, target, goodToken())
	response, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	require.NoError(t, err)
	_, err = io.Copy(io.Discard, response.Body)
	require.NoError(t, err)
	return response
}

// sendHTTP2 sends the target as the :path of HTTP/2.
func sendHTTP2(t *testing.T, server *httptest.Server, method, target string) *http.Response {
	t.Helper()
	host := server.Listener.Addr().String()
	u := &url.URL{Scheme: "https", Host: host, Opaque: target}
	if strings.HasPrefix(target, "//") { // which Opaque would take for a host
		u.Opaque, u.Path = "", target
	}
	r := &http.Request{Method: method, URL: u, Host: host, Header: bearer(goodToken())}
	response, err := server.Client().Transport.RoundTrip(r)
	require.NoError(t, err)
	response.Body.Close()
	require.Equal(t, 2, response.ProtoMajor)
	return response
}

func TestHostilePathsOnTheWire(t *testing.T) {
	for protocol, send := range map[string]func(*testing.T, *httptest.Server, string, string) *http.Response{
		"HTTP/1.1": sendRaw, "HTTP/2": sendHTTP2,
	} {
		servers := pathServers(t, protocol == "HTTP/2")
		hostile := func(policy, name, target string) {
			t.Run(fmt.Sprintf("%s, %s, %s", protocol, policy, name), func(t *testing.T) {
				response := send(t, servers[policy], "GET", target)
				if strings.HasPrefix(policy, "Public") {
					require.Equal(t, http.StatusOK, response.StatusCode)
					require.Equal(t, "GET claims=false", response.Header.Get("X-Seen"))
					return
				}
				require.Equal(t, http.StatusForbidden, response.StatusCode)
				require.Empty(t, response.Header.Get("X-Seen"))
			})
		}
		for policy := range servers {
			for name, target := range hostilePaths {
				hostile(policy, name, target)
			}
			for name, target := range rawDots {
				if !strings.HasSuffix(policy, "mux") {
					hostile(policy, name, target)
				}
			}
			for name, target := range plainPaths {
				method := "GET"
				if target == "*" {
					method = "OPTIONS"
				}
				absolute := !strings.HasPrefix(target, "/")
				if absolute && (protocol == "HTTP/2" || strings.HasSuffix(policy, "mux")) {
					continue // HTTP/2 has no such targets, and the mux redirects or answers them
				}
				t.Run(fmt.Sprintf("%s, %s, %s", protocol, policy, name), func(t *testing.T) {
					response := send(t, servers[policy], method, target)
					if target == "*" { // answered by net/http itself
						require.Equal(t, http.StatusOK, response.StatusCode)
						return
					}
					require.Equal(t, http.StatusOK, response.StatusCode)
					require.Equal(t, method+" claims=true", response.Header.Get("X-Seen"))
				})
			}
		}
	}
}

func TestCONNECTIsNoPathOfOurs(t *testing.T) {
	servers := pathServers(t, false)
	for policy, server := range servers {
		for _, target := range []string{"demo:443", "/run/demo/notify", "/run/demo/../notify"} {
			t.Run(policy+" "+target, func(t *testing.T) {
				response := sendRaw(t, server, "CONNECT", target)
				if strings.HasPrefix(policy, "Public") && response.StatusCode == http.StatusOK {
					require.Equal(t, "CONNECT claims=false", response.Header.Get("X-Seen"))
					return
				}
				require.NotEqual(t, http.StatusOK, response.StatusCode)
				require.Empty(t, response.Header.Get("X-Seen"))
			})
		}
	}
	auth := newAuth(t)
	for name, wrap := range policies(auth) {
		r := request("GET", demoPath, bearer(goodToken()))
		r.Method = "CONNECT"
		_, s := serve(wrap, r)
		require.Equal(t, name == "Public", s.ran, name)
		require.False(t, s.ok, name)
	}
}

func TestAURLTokenIsCutOverTheWire(t *testing.T) {
	auth := newAuth(t)
	handler := auth.Private(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, r.RequestURI+" "+r.URL.String())
	}))
	mux := http.NewServeMux()
	mux.Handle("/run/{container}/notify", handler)
	for _, http2 := range []bool{false, true} {
		server := httptest.NewUnstartedServer(mux)
		server.EnableHTTP2 = http2
		server.StartTLS()
		response, err := server.Client().Get(server.URL + demoPath + "?a=%7e&token=" + goodToken())
		require.NoError(t, err)
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		require.NoError(t, err)
		require.Equal(t, http2, response.ProtoMajor == 2)
		require.Equal(t, demoPath+"?a=%7e "+demoPath+"?a=%7e", string(body))
		server.Close()
	}
}
