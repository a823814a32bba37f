package proxies_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/keys"
	"github.com/joinednode/jwtauth/session"
)

var key = keys.HS256([]byte("0123456789abcdef0123456789abcdef"))

func newAuth(t *testing.T) *jwtauth.Auth {
	t.Helper()
	auth, err := jwtauth.New(key)
	require.NoError(t, err)
	return auth
}

func issue(t *testing.T, auth *jwtauth.Auth, opts ...jwtauth.IssueOption) string {
	t.Helper()
	token, err := auth.Issue("A", opts...)
	require.NoError(t, err)
	return token
}

// recipes is the recipe model on a ServeMux. Its handlers write what was requested.
func recipes(auth *jwtauth.Auth) *http.ServeMux {
	mux := http.NewServeMux()
	mux.Handle("/run/{container}/{recipe}", auth.Private(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s of %s", r.PathValue("recipe"), r.PathValue("container"))
	})))
	return mux
}

// serve starts a service and returns its address.
func serve(t *testing.T, handler http.Handler) (string, *httptest.Server) {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	server.Config.MaxHeaderBytes = 16 << 10 // as the page says
	server.Start()
	t.Cleanup(server.Close)
	return server.Listener.Addr().String(), server
}

func TestPathsArriveAsTheyWereSent(t *testing.T) {
	auth := newAuth(t)
	wrap, err := auth.Routes(map[string]jwtauth.Policy{"/run/{container}/{recipe}": jwtauth.Private})
	require.NoError(t, err)
	service, _ := serve(t, wrap(recipes(auth)))
	n := start(t, service)
	bearer := "Authorization: Bearer " + issue(t, auth)
	for _, c := range []struct {
		name, path string
		careless   bool
		status     int
		body       string // of a 200
	}{
		{"a plain path passes", "/run/A/hello", false, 200, "hello of A"},
		{"an escaped slash stays within its segment", "/run/A/a%2Fb", false, 200, "a/b of A"},
		{"an empty segment is refused", "/run//A/hello", false, 403, ""},
		{"dots are refused", "/run/B/../A/hello", false, 403, ""},
		{"escaped dots are refused", "/run/B/%2e%2e/A/hello", false, 403, ""},
		{"dots behind an escaped slash are refused", "/run/B/..%2fA/hello", false, 403, ""},
		{"a backslash is refused", `/run/B\..\A/hello`, false, 403, ""},
		{"an escaped backslash is refused", `/run/A/x%5Cy`, false, 403, ""},
		{"dots that lead out of the root are nginx's to refuse", "/../run/A/hello", false, 400, ""},
		{"without a URI, merge_slashes changes no path", "/run//A/hello", true, 403, ""},
		{"with a URI, nginx merges slashes", "/decoded/run//A/hello", true, 200, "hello of A"},
		{"with a URI, nginx resolves dots", "/decoded/run/B/../A/hello", true, 200, "hello of A"},
		{"with a URI, nginx resolves escaped dots", "/decoded/run/B/%2e%2e/A/hello", true, 200, "hello of A"},
		{"with a URI, nginx resolves dots behind an escaped slash", "/decoded/run/B/..%2fA/hello", true, 200, "hello of A"},
		{"with a URI, an escaped slash becomes a segment", "/decoded/run/A/a%2Fb", true, 403, ""},
		{"with a URI, a backslash is refused all the same", `/decoded/run/B\..\A/hello`, true, 403, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			address := n.tls
			if c.careless {
				address = n.careless
			}
			got := n.ask(t, address, "GET "+c.path, bearer)
			require.Equal(t, c.status, got.status, got.body)
			if c.body != "" {
				require.Equal(t, c.body, got.body)
			}
		})
	}
}

func TestAServeMuxRedirectsBeforeItsRoutesAreAsked(t *testing.T) {
	auth := newAuth(t)
	service, _ := serve(t, recipes(auth))
	n := start(t, service)
	got := n.ask(t, n.tls, "GET /run//A/hello?token=x.y.z")
	require.Contains(t, []int{http.StatusMovedPermanently, http.StatusTemporaryRedirect}, got.status)
	require.Equal(t, "/run/A/hello?token=x.y.z", got.header.Get("Location"))
}

func TestTokensInLogs(t *testing.T) {
	auth := newAuth(t)
	service, server := serve(t, recipes(auth))
	n := start(t, service)
	token := issue(t, auth)
	const ok = http.StatusOK

	// These cases use the configuration of the page.
	require.Equal(t, ok, n.ask(t, n.tls, "GET /run/A/first?token="+token).status)
	require.Equal(t, ok, n.ask(t, n.tls, "GET https://"+host+"/run/A/second?token="+token).status)
	require.Equal(t, ok, n.ask(t, n.tls, "GET /run/A/third", "Authorization: Bearer "+token, "Referer: https://"+host+"/run/A/page?token="+token).status)
	require.Equal(t, 403, n.ask(t, n.tls, "GET /run/%2e%2e/fourth?token="+token).status)
	insecure := n.ask(t, n.plain, "GET /run/A/fifth?token="+token)
	require.Equal(t, http.StatusNotFound, insecure.status)
	require.Empty(t, insecure.header.Get("Location"))
	// These cases use the default configuration.
	require.Equal(t, ok, n.ask(t, n.careless, "GET /run/A/first?token="+token).status)
	require.Equal(t, ok, n.ask(t, n.careless, "GET /run/A/second", "Authorization: Bearer "+token, "Referer: https://"+host+"/run/A/page?token=of.the.page").status)
	redirected := n.ask(t, n.careless, "GET /redirected/A/x?token="+token)
	require.Equal(t, http.StatusMovedPermanently, redirected.status)
	require.Contains(t, redirected.header.Get("Location"), token, "a redirect to TLS repeats what has travelled without")
	// The service is down, or its socket does not exist.
	const nobody = "Host: nobody.example.com"
	require.Equal(t, http.StatusBadGateway, n.ask(t, n.careless, "GET /run/A/nobody?token="+token, nobody).status)
	require.Equal(t, http.StatusBadGateway, n.ask(t, n.careless, "GET /crit/?token="+token, nobody).status)
	server.Close()
	require.Equal(t, http.StatusBadGateway, n.ask(t, n.tls, "GET /run/A/down?token="+token).status)
	require.Equal(t, http.StatusBadGateway, n.ask(t, n.careless, "GET /run/A/down?token="+token).status)

	logged := func(file, what string) string {
		require.Eventually(t, func() bool { return strings.Contains(n.read(file), what) }, time.Minute, 20*time.Millisecond)
		return n.read(file)
	}
	logged("access.log", " /run/A/nobody 502 ")
	ours := logged("access.log", " /run/A/down 502 ")
	for _, line := range []string{" /run/A/first 200 ", " /run/A/second 200 ", " /run/A/third 200 ", " /run/%2e%2e/fourth 403 ", " /run/A/fifth 404 "} {
		require.Contains(t, ours, "GET"+line)
	}
	require.NotContains(t, ours, "token")
	require.NotContains(t, ours, token)
	require.NotContains(t, n.read("error.log"), token)
	combined := logged("careless.log", "/run/A/down?token=")
	require.Contains(t, combined, "GET /run/A/first?token="+token)
	require.Contains(t, combined, "token=of.the.page", "of the Referer")
	require.Contains(t, logged("careless-errors.log", "connect() failed"), "GET /run/A/down?token="+token, "of the error log")
	require.Contains(t, logged("crit.log", "connect() to unix:"), "GET /crit/?token="+token, "why the page's level is emerg")
}

func TestHeadersOfEverySize(t *testing.T) {
	auth := newAuth(t)
	service, _ := serve(t, recipes(auth))
	n := start(t, service)
	const largestToken = 8 << 10
	// This token has the largest size. Issue returns an error for one byte more.
	of := func(size int) string {
		for pad := size * 3 / 4; ; pad-- {
			if token, err := auth.Issue("A", jwtauth.Claim("pad", strings.Repeat("x", pad))); err == nil && len(token) <= size {
				return token
			}
		}
	}
	usual, largest := issue(t, auth), of(largestToken)
	require.Greater(t, len(largest), largestToken-8)
	bearer := func(token string) []string { return []string{"Authorization: Bearer " + token} }
	cookies := "Cookie: a=" + strings.Repeat("x", 4090) + "; b=" + strings.Repeat("x", 4090)
	big := func(name string) string { return name + ": " + strings.Repeat("x", 15<<10) }
	for _, c := range []struct {
		name           string
		query          string
		fields         []string
		page, careless int
	}{
		{"a usual token", "", bearer(usual), 200, 200},
		{"the largest token, in the header", "", bearer(largest), 200, 400},
		{"the largest token, in the query", "?token=" + largest, nil, 200, 414},
		{"one that is larger", "", bearer(largest + "xxxxxxxxx"), 403, 400},
		{"two cookies as large as browsers keep them", "", append(bearer(usual), cookies), 200, 400},
		{"a field that is too large for nginx", "", append(bearer(usual), "X-Large: "+strings.Repeat("x", 17<<10)), 400, 400},
		{"a line that is too large for nginx", "?x=" + strings.Repeat("x", 17<<10), bearer(usual), 414, 414},
		{"more than MaxHeaderBytes and 4 KiB, in fields that are not too large", "", append(bearer(usual), big("X-One"), big("X-Two")), 431, 400},
	} {
		t.Run(c.name, func(t *testing.T) {
			line := "GET /run/A/hello" + c.query
			require.Equal(t, c.page, n.ask(t, n.tls, line, c.fields...).status, "by the page")
			require.Equal(t, c.careless, n.ask(t, n.careless, line, c.fields...).status, "as nginx is without it")
		})
	}
	for _, c := range []struct {
		name   string
		token  string
		status int // 0: none
	}{
		{"the largest token by HTTP/2", largest, 200},
		{"a field by HTTP/2 counts as it is compressed", strings.Repeat("x", 17<<10), 403},
		{"a field by HTTP/2 that is too large even so ends the connection", strings.Repeat("x", 40<<10), 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			response, err := n.http2(t, "/run/A/hello", "Bearer "+c.token)
			if c.status == 0 {
				require.ErrorContains(t, err, "GOAWAY")
				return
			}
			require.NoError(t, err)
			require.Equal(t, 2, response.ProtoMajor)
			require.Equal(t, c.status, read(t, response).status)
		})
	}
}

func TestLoginsByCookiesBehindAHostThatIsRewritten(t *testing.T) {
	const origin = "https://" + host
	login := func(prefix string, trusted ...string) (string, http.Handler) {
		sessions, err := session.New(key, session.NewMemory(), session.WithCookies(session.Cookies{Path: prefix, TrustedOrigins: trusted}))
		require.NoError(t, err)
		return prefix, sessions.Handler(func(*http.Request, session.Credentials) (string, []session.LoginOption, error) {
			return "alice", nil, nil
		})
	}
	mux := http.NewServeMux()
	mux.Handle(login("/auth/jwt/"))
	mux.Handle(login("/trusting/jwt/", origin))
	service, _ := serve(t, mux)
	n := start(t, service)
	const sameOrigin, sameSite = "Sec-Fetch-Site: same-origin", "Sec-Fetch-Site: same-site"
	for _, c := range []struct {
		name, path string
		careless   bool
		fields     []string
		status     int
	}{
		{"Host arrives: a browser of today", "/auth/jwt/create/", false, []string{"Origin: " + origin, sameOrigin}, 200},
		{"Host arrives: one without Sec-Fetch-Site", "/auth/jwt/create/", false, []string{"Origin: " + origin}, 200},
		{"Host arrives, without the port that the page has", "/auth/jwt/create/", false, []string{"Host: " + host + ":8443", "Origin: " + origin + ":8443"}, 403},
		{"another origin", "/auth/jwt/create/", false, []string{"Origin: https://evil.example", "Sec-Fetch-Site: cross-site"}, 403},
		{"Host is rewritten: a browser of today", "/auth/jwt/create/", true, []string{"Origin: " + origin, sameOrigin}, 200},
		{"Host is rewritten: one without Sec-Fetch-Site", "/auth/jwt/create/", true, []string{"Origin: " + origin}, 403},
		{"Host is rewritten, and the origin is trusted", "/trusting/jwt/create/", true, []string{"Origin: " + origin}, 200},
		{"a page of another subdomain", "/auth/jwt/create/", false, []string{"Origin: https://app.example.com", sameSite}, 403},
		{"a trusted origin and Sec-Fetch-Site of another site", "/trusting/jwt/create/", true, []string{"Origin: " + origin, sameSite}, 200},
	} {
		t.Run(c.name, func(t *testing.T) {
			address := n.tls
			if c.careless {
				address = n.careless
			}
			got := n.send(t, address, "POST "+c.path, "{}", append(c.fields, "Content-Type: application/json", "Content-Length: 2")...)
			require.Equal(t, c.status, got.status, got.body)
			if c.status == 200 {
				require.Len(t, got.header.Values("Set-Cookie"), 3)
			}
		})
	}
}

func TestWhatADenialLosesOnItsWay(t *testing.T) {
	auth := newAuth(t)
	mux := recipes(auth)
	mux.HandleFunc("/upgrade", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Header.Get("Upgrade")) })
	mux.HandleFunc("/busy", func(w http.ResponseWriter, r *http.Request) { auth.Deny(w, r, jwtauth.ErrUnavailable) })
	service, _ := serve(t, mux)
	n := start(t, service)

	denied := n.ask(t, n.tls, "GET /run/A/hello")
	require.Equal(t, http.StatusForbidden, denied.status)
	require.Equal(t, "Bearer", denied.header.Get("WWW-Authenticate"))
	require.Equal(t, "no-store", denied.header.Get("Cache-Control"))
	busy := n.ask(t, n.tls, "GET /busy")
	require.Equal(t, http.StatusServiceUnavailable, busy.status)
	require.Equal(t, "5", busy.header.Get("Retry-After"))
	require.Contains(t, busy.body, `"unavailable"`)

	require.Empty(t, n.ask(t, n.careless, "GET /upgrade", "Upgrade: websocket").body, "which is not passed on by itself")

	own := n.ask(t, n.careless, "GET /own-pages/busy")
	require.Equal(t, http.StatusServiceUnavailable, own.status)
	require.Empty(t, own.header.Get("Retry-After"), "nginx's own page has lost it")
	require.Equal(t, "sorry", own.body)

	allowed := n.ask(t, n.careless, "GET /own-headers/run/A/hello", "Authorization: Bearer "+issue(t, auth))
	require.Equal(t, "*", allowed.header.Get("Access-Control-Allow-Origin"))
	denied = n.ask(t, n.careless, "GET /own-headers/run/A/hello")
	require.Equal(t, http.StatusForbidden, denied.status)
	require.Empty(t, denied.header.Get("Access-Control-Allow-Origin"), "add_header is not for errors")

	preflight := n.ask(t, n.tls, "OPTIONS /run/A/hello", "Origin: https://app.example.com",
		"Access-Control-Request-Method: GET", "Access-Control-Request-Headers: authorization")
	require.Equal(t, http.StatusForbidden, preflight.status, "it carries no token, so CORS must stand outside")

	long := n.ask(t, n.careless, "POST /run/A/hello", "Content-Length: 2000000")
	require.Equal(t, http.StatusRequestEntityTooLarge, long.status, "nginx judges the body before the service sees a request")

	token := "Authorization: Bearer " + issue(t, auth)
	twice := n.ask(t, n.tls, "GET /run/A/hello", token, token)
	require.GreaterOrEqual(t, twice.status, 400, "nginx or the service refuses two")
}

// RFC 9111, section 3.5, keeps responses to requests with Authorization out of shared caches.
// nginx does not implement this rule.
func TestACacheOfNginxGivesPrivateAnswersToStrangers(t *testing.T) {
	auth := newAuth(t)
	mux := recipes(auth)
	mux.Handle("/shown/{container}", auth.Private(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Cache-Control", "private")
		io.WriteString(w, "secret")
	})))
	mux.Handle("/open/{container}", auth.Optional(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		claims, _ := jwtauth.FromContext(r.Context())
		fmt.Fprint(w, "container "+claims.Container)
	})))
	service, _ := serve(t, mux)
	n := start(t, service)
	token := "Bearer " + issue(t, auth)
	for _, c := range []struct {
		name, path string
		stranger   int
	}{
		{"a private answer that says nothing of caches is given to anyone", "/run/A/hello", 200},
		{"one that is marked private is not", "/shown/A", 403},
		{"one whose token came in the query is not", "/run/A/bye?token=" + strings.TrimPrefix(token, "Bearer "), 403},
	} {
		t.Run(c.name, func(t *testing.T) {
			line := "GET /cached" + c.path
			var fields []string
			if !strings.Contains(c.path, "token=") {
				fields = append(fields, "Authorization: "+token)
			}
			require.Equal(t, 200, n.ask(t, n.careless, line, fields...).status)
			bare, _, _ := strings.Cut(line, "?")
			require.Equal(t, c.stranger, n.ask(t, n.careless, bare).status)
		})
	}
	t.Run("an optional answer varies", func(t *testing.T) {
		require.Equal(t, "container A", n.ask(t, n.careless, "GET /cached/open/A", "Authorization: "+token).body)
		require.Equal(t, "container ", n.ask(t, n.careless, "GET /cached/open/A").body)
	})
}

func TestAStreamIsHeldBackUnlessItSaysOtherwise(t *testing.T) {
	auth := newAuth(t)
	done := make(chan struct{})
	defer close(done)
	mux := http.NewServeMux()
	mux.Handle("/events/{container}", auth.Private(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		if r.URL.Query().Has("at-once") {
			w.Header().Set("X-Accel-Buffering", "no")
		}
		io.WriteString(w, "data: first\n\n")
		http.NewResponseController(w).Flush()
		select {
		case <-done:
		case <-r.Context().Done():
		}
	})))
	service, _ := serve(t, mux)
	n := start(t, service)
	token := issue(t, auth)
	// first is the first line that arrives before the handler returns.
	first := func(path string, patience time.Duration) string {
		conn, err := net.Dial("tcp", n.careless)
		require.NoError(t, err)
		defer conn.Close()
		_, err = fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\n\r\n", path, host, token)
		require.NoError(t, err)
		require.NoError(t, conn.SetReadDeadline(time.Now().Add(patience)))
		for lines := bufio.NewScanner(conn); lines.Scan(); {
			if strings.HasPrefix(lines.Text(), "data:") {
				return lines.Text()
			}
		}
		return ""
	}
	require.Equal(t, "data: first", first("/events/A?at-once", time.Minute))
	require.Empty(t, first("/events/A", time.Second))
}

// A WebSocket begins with a protocol upgrade. The upgrade needs a token; after it, both sides
// can send.
func TestAnUpgradePassesWithAToken(t *testing.T) {
	auth := newAuth(t)
	mux := http.NewServeMux()
	mux.Handle("/echo/{container}", auth.Private(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "websocket" || !strings.EqualFold(r.Header.Get("Connection"), "upgrade") {
			http.Error(w, "not upgraded", http.StatusUpgradeRequired)
			return
		}
		conn, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
		io.Copy(conn, buffered)
	})))
	service, _ := serve(t, mux)
	n := start(t, service)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: n.roots, ServerName: "example.com"}}
	defer transport.CloseIdleConnections()
	upgrade := func(authorization string) *http.Response {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+n.tls+"/echo/A", nil)
		require.NoError(t, err)
		request.Host = host
		request.Header = http.Header{"Authorization": {authorization}, "Connection": {"Upgrade"}, "Upgrade": {"websocket"}}
		response, err := transport.RoundTrip(request)
		require.NoError(t, err)
		return response
	}
	refused := read(t, upgrade("Bearer x.y.z"))
	require.Equal(t, 403, refused.status, refused.body)
	response := upgrade("Bearer " + issue(t, auth))
	defer response.Body.Close()
	require.Equal(t, http.StatusSwitchingProtocols, response.StatusCode)
	_, err := io.WriteString(response.Body.(io.Writer), "hello\n")
	require.NoError(t, err)
	line, err := bufio.NewReader(response.Body).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "hello\n", line)
}
