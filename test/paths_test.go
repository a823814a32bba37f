package test

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
	"github.com/joinednode/jwtauth/internal/authtest"
)

// pathServers returns real servers, with and without a mux. Each has one policy on all routes.
// The response header X-Seen shows what the handler saw.
func pathServers(t *testing.T, http2 bool) map[string]*httptest.Server {
	auth := authtest.NewAuth(t, jwtauth.WithContainer(func(*http.Request) string { return "demo" }))
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
	for name, wrap := range authtest.Policies(auth) {
		start(name, wrap(handler))
		mux := http.NewServeMux()
		mux.Handle("/run/{container}/{recipe}", wrap(handler))
		mux.Handle("/run/{container}/{rest...}", wrap(handler))
		mux.Handle("/", wrap(handler))
		start(name+" behind a mux", mux)
	}
	return servers
}

// sendRaw writes the bytes of a request, since no HTTP client sends such targets.
func sendRaw(t *testing.T, server *httptest.Server, method, target string) *http.Response {
	t.Helper()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	require.NoError(t, err)
	defer conn.Close()
	fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: api.example.com\r\nAuthorization: Bearer %s\r\nConnection: close\r\n\r\n", method, target, authtest.GoodToken())
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
	if strings.HasPrefix(target, "//") { // Opaque would treat it as a host
		u.Opaque, u.Path = "", target
	}
	r := &http.Request{Method: method, URL: u, Host: host, Header: authtest.Bearer(authtest.GoodToken())}
	response, err := server.Client().Transport.RoundTrip(r)
	require.NoError(t, err)
	response.Body.Close()
	require.Equal(t, 2, response.ProtoMajor)
	return response
}

func TestPaths_HostileOnesOnTheWire(t *testing.T) {
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
			for name, target := range authtest.HostilePaths {
				hostile(policy, name, target)
			}
			for name, target := range authtest.RawDots {
				if !strings.HasSuffix(policy, "mux") {
					hostile(policy, name, target)
				}
			}
			for name, target := range authtest.PlainPaths {
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

func TestPaths_CONNECTIsNone(t *testing.T) {
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
	auth := authtest.NewAuth(t)
	for name, wrap := range authtest.Policies(auth) {
		r := authtest.Request("GET", authtest.DemoPath, authtest.Bearer(authtest.GoodToken()))
		r.Method = "CONNECT"
		_, s := authtest.Serve(wrap, r)
		require.Equal(t, name == "Public", s.Ran, name)
		require.False(t, s.OK, name)
	}
}

func TestPaths_AURLTokenIsCutOverTheWire(t *testing.T) {
	auth := authtest.NewAuth(t)
	handler := auth.Private(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, r.RequestURI+" "+r.URL.String())
	}))
	mux := http.NewServeMux()
	mux.Handle("/run/{container}/notify", handler)
	for _, http2 := range []bool{false, true} {
		server := httptest.NewUnstartedServer(mux)
		server.EnableHTTP2 = http2
		server.StartTLS()
		response, err := server.Client().Get(server.URL + authtest.DemoPath + "?a=%7e&token=" + authtest.GoodToken())
		require.NoError(t, err)
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		require.NoError(t, err)
		require.Equal(t, http2, response.ProtoMajor == 2)
		require.Equal(t, authtest.DemoPath+"?a=%7e "+authtest.DemoPath+"?a=%7e", string(body))
		server.Close()
	}
}
