package jwtauth_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/internal/authtest"
)

// table holds the policies that are given to Routes. The mux inside serves the same
// patterns, and those of unlisted.
var table = map[string]jwtauth.Policy{
	"/run/{container}/{recipe}":         jwtauth.Private,
	"/run/{container}/hello":            jwtauth.Public,
	"GET /run/{container}/status":       jwtauth.Public,
	"/run/{container}/maybe":            jwtauth.Optional,
	"/files/{container}/{path...}":      jwtauth.Private,
	"/files/{container}/public/{p...}":  jwtauth.Public,
	"/docs/":                            jwtauth.Public,
	"/{$}":                              jwtauth.Public,
	"GET /about":                        jwtauth.Public,
	"pub.example.com/about":             jwtauth.Public,
	"admin.example.com/":                jwtauth.Private,
	"POST admin.example.com/login":      jwtauth.Public,
	"/run/{container}/deep/{a}/{b}/end": jwtauth.Public,
}

// unlisted holds patterns that the mux inside serves, but that were forgotten in table.
var unlisted = []string{"/forgotten/{container}", "POST /about", "/run/{container}/deep/secret"}

// routeServer starts a server that protects a mux with Routes. The field X-Served of each
// response holds the pattern that was served, the container in the path, whether there were
// claims, and the query that the handler saw.
func routeServer(t *testing.T, http2 bool, opts ...jwtauth.Option) *httptest.Server {
	wrap, err := authtest.NewAuth(t, opts...).Routes(table)
	require.NoError(t, err)
	mux := http.NewServeMux()
	answer := func(w http.ResponseWriter, r *http.Request) {
		_, ok := jwtauth.FromContext(r.Context())
		w.Header().Set("X-Served", fmt.Sprintf("%s container=%s claims=%v query=%s", r.Pattern, r.PathValue("container"), ok, r.URL.RawQuery))
	}
	for pattern := range table {
		mux.HandleFunc(pattern, answer)
	}
	for _, pattern := range unlisted {
		mux.HandleFunc(pattern, answer)
	}
	server := httptest.NewUnstartedServer(wrap(mux))
	server.EnableHTTP2 = http2
	if http2 {
		server.StartTLS()
	} else {
		server.Start()
	}
	t.Cleanup(server.Close)
	return server
}

// wire is one request as sent over the network.
type wire struct {
	method, target, host, token string
}

func (q wire) overHTTP1(t *testing.T, server *httptest.Server) *http.Response {
	t.Helper()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	require.NoError(t, err)
	defer conn.Close()
	fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n", q.method, q.target, q.host)
	if q.token != "" {
		fmt.Fprintf(conn, "Authorization: Bearer %s\r\n", q.token)
	}
	io.WriteString(conn, "\r\n")
	response, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: q.method})
	require.NoError(t, err)
	return response
}

func (q wire) overHTTP2(t *testing.T, server *httptest.Server) *http.Response {
	t.Helper()
	u := &url.URL{Scheme: "https", Host: server.Listener.Addr().String(), Opaque: q.target}
	if path, query, _ := strings.Cut(q.target, "?"); strings.HasPrefix(path, "//") { // with Opaque, the first segment would be read as a host
		u.Opaque, u.Path, u.RawQuery = "", path, query
	}
	r := &http.Request{Method: q.method, URL: u, Host: q.host, Header: http.Header{}}
	if q.token != "" {
		r.Header = authtest.Bearer(q.token)
	}
	response, err := server.Client().Transport.RoundTrip(r)
	require.NoError(t, err)
	response.Body.Close()
	require.Equal(t, 2, response.ProtoMajor)
	return response
}

func TestRoutes_CheckWhatTheMuxInsideServes(t *testing.T) {
	const (
		denied    = "" // 403, and nothing was served
		h         = "api.example.com"
		hello     = "/run/{container}/hello"
		recipe    = "/run/{container}/{recipe}"
		status    = "GET /run/{container}/status"
		anonymous = " claims=false"
		known     = " claims=true"
	)
	good := authtest.GoodToken()
	garbage := "garbage"
	slash := authtest.Sign(authtest.Header, authtest.ClaimsJSON(map[string]any{"container": "a/b"}))
	for name, test := range map[string]struct {
		wire
		served string // the pattern, and whether there were claims; or denied
	}{
		"a private route":                               {wire{"GET", "/run/demo/notify", h, ""}, denied},
		"a private route, good token":                   {wire{"GET", "/run/demo/notify", h, good}, recipe + known},
		"a private route, another container's":          {wire{"GET", "/run/other/notify", h, good}, denied},
		"a private route, garbage":                      {wire{"GET", "/run/demo/notify", h, garbage}, denied},
		"a private route, any method":                   {wire{"BREW", "/run/demo/notify", h, ""}, denied},
		"a private route, OPTIONS":                      {wire{"OPTIONS", "/run/demo/notify", h, ""}, denied},
		"a private route, HEAD":                         {wire{"HEAD", "/run/demo/notify", h, ""}, denied},
		"a private route, HEAD, good token":             {wire{"HEAD", "/run/demo/notify", h, good}, recipe + known},
		"a private route, token in the query":           {wire{"GET", "/run/demo/notify?token=" + good, h, ""}, recipe + known},
		"a public route":                                {wire{"GET", "/run/demo/hello", h, ""}, hello + anonymous},
		"a public route, good token":                    {wire{"GET", "/run/demo/hello", h, good}, hello + known},
		"a public route, another container's":           {wire{"GET", "/run/other/hello", h, good}, hello + anonymous},
		"a public route, garbage":                       {wire{"POST", "/run/demo/hello", h, garbage}, hello + anonymous},
		"a public route, HEAD":                          {wire{"HEAD", "/run/demo/hello", h, ""}, hello + anonymous},
		"a public route, OPTIONS":                       {wire{"OPTIONS", "/run/demo/hello", h, ""}, hello + anonymous},
		"an optional route":                             {wire{"GET", "/run/demo/maybe", h, ""}, "/run/{container}/maybe" + anonymous},
		"an optional route, good token":                 {wire{"GET", "/run/demo/maybe", h, good}, "/run/{container}/maybe" + known},
		"an optional route, garbage":                    {wire{"GET", "/run/demo/maybe", h, garbage}, denied},
		"an optional route, another container's":        {wire{"GET", "/run/other/maybe", h, good}, denied},
		"public for GET":                                {wire{"GET", "/run/demo/status", h, ""}, status + anonymous},
		"public for GET, so for HEAD":                   {wire{"HEAD", "/run/demo/status", h, ""}, status + anonymous},
		"public for GET, private for POST":              {wire{"POST", "/run/demo/status", h, ""}, denied},
		"public for GET, private for POST, good token":  {wire{"POST", "/run/demo/status", h, good}, recipe + known},
		"public for GET, private for get":               {wire{"get", "/run/demo/status", h, ""}, denied},
		"public for GET, private for OPTIONS":           {wire{"OPTIONS", "/run/demo/status", h, ""}, denied},
		"the public name in another case":               {wire{"GET", "/run/demo/Hello", h, ""}, denied},
		"the public name, escaped":                      {wire{"GET", "/run/demo/h%65llo", h, ""}, denied},
		"the public name, escaped, good token":          {wire{"GET", "/run/demo/h%65llo", h, good}, hello + known},
		"the public name, its container escaped":        {wire{"GET", "/run/d%65mo/hello", h, good}, hello + known},
		"the public name, escaped twice":                {wire{"GET", "/run/demo/h%2565llo", h, ""}, denied},
		"the public name and a slash":                   {wire{"GET", "/run/demo/hello/", h, ""}, denied},
		"the public name and an escaped slash":          {wire{"GET", "/run/demo/hello%2F", h, ""}, denied},
		"the public name and a NUL":                     {wire{"GET", "/run/demo/hello%00", h, ""}, denied},
		"the public name and a semicolon":               {wire{"GET", "/run/demo/hello;x", h, ""}, denied},
		"the public name and a dot":                     {wire{"GET", "/run/demo/hello.", h, ""}, denied},
		"the public name and a space":                   {wire{"GET", "/run/demo/hello%20", h, ""}, denied},
		"the public name and a question mark":           {wire{"GET", "/run/demo/hello%3Fx", h, ""}, denied},
		"the public name in a query":                    {wire{"GET", "/run/demo/notify?/hello", h, ""}, denied},
		"the public name in a fragment":                 {wire{"GET", "/run/demo/notify#/hello", h, ""}, denied},
		"up from the public name":                       {wire{"GET", "/run/demo/hello/../notify", h, ""}, denied},
		"up from the public name, escaped":              {wire{"GET", "/run/demo/hello/%2e%2e/notify", h, ""}, denied},
		"up from the public name, half escaped":         {wire{"GET", "/run/demo/hello/.%2e/notify", h, ""}, denied},
		"up by an escaped slash":                        {wire{"GET", "/run/demo/hello%2f..%2fnotify", h, ""}, denied},
		"up to the public name":                         {wire{"GET", "/run/demo/notify/../hello", h, ""}, denied},
		"a dot before the public name":                  {wire{"GET", "/run/demo/./hello", h, ""}, denied},
		"two slashes at first":                          {wire{"GET", "//run/demo/hello", h, ""}, denied},
		"two slashes in the middle":                     {wire{"GET", "/run//demo/hello", h, ""}, denied},
		"two slashes in the middle, good token":         {wire{"GET", "/run//demo/notify", h, good}, denied},
		"two slashes by an escape":                      {wire{"GET", "/run/%2Fdemo/hello", h, ""}, denied},
		"a backslash":                                   {wire{"GET", `/run/demo\hello`, h, ""}, denied},
		"a backslash, escaped":                          {wire{"GET", "/run/demo%5chello", h, ""}, denied},
		"a way out of a container":                      {wire{"GET", "/run/other/..%2fdemo/notify", h, good}, denied},
		"an escaped slash in the container":             {wire{"GET", "/run/de%2Fmo/notify", h, good}, denied},
		"an escaped container":                          {wire{"GET", "/run/d%65mo/notify", h, good}, recipe + known},
		"an escaped slash makes no public folder":       {wire{"GET", "/files/demo/public%2Fx", h, ""}, denied},
		"a public folder":                               {wire{"GET", "/files/demo/public/a/b", h, ""}, "/files/{container}/public/{p...}" + anonymous},
		"a public folder, the name escaped":             {wire{"GET", "/files/demo/publi%63/x", h, ""}, denied},
		"a public folder, a file's name escaped":        {wire{"GET", "/files/demo/public/%78%2Fy", h, ""}, "/files/{container}/public/{p...}" + anonymous},
		"a container with a slash":                      {wire{"GET", "/run/a%2Fb/notify", h, slash}, recipe + known},
		"a container with a slash before a whole path":  {wire{"GET", "/files/a%2Fb/c", h, slash}, denied},
		"a public folder without its slash":             {wire{"GET", "/files/demo/public", h, ""}, denied},
		"a file beside the public folder":               {wire{"GET", "/files/demo/publicx/a", h, ""}, denied},
		"a file beside the public folder, good token":   {wire{"GET", "/files/demo/publicx/a", h, good}, "/files/{container}/{path...}" + known},
		"up from the public folder":                     {wire{"GET", "/files/demo/public/..%2fsecret", h, ""}, denied},
		"a public tree":                                 {wire{"GET", "/docs/a/b", h, ""}, "/docs/" + anonymous},
		"a public tree without its slash: no redirect":  {wire{"GET", "/docs", h, ""}, denied},
		"a public tree without its slash, with a token": {wire{"GET", "/docs?token=" + good, h, ""}, denied},
		"the root":                               {wire{"GET", "/", h, ""}, "/{$}" + anonymous},
		"beside the root":                        {wire{"GET", "/x", h, ""}, denied},
		"a page":                                 {wire{"GET", "/about", h, ""}, "GET /about" + anonymous},
		"a page, by a method that was forgotten": {wire{"POST", "/about", h, ""}, denied},
		"a page, by a method nobody has":         {wire{"DELETE", "/about", h, ""}, denied},
		"a path that was forgotten":              {wire{"GET", "/forgotten/demo", h, ""}, denied},
		"a path under a public pattern that was forgotten": {wire{"GET", "/run/demo/deep/secret", h, ""}, denied},
		"deep wildcards":                                   {wire{"GET", "/run/demo/deep/1/2/end", h, ""}, "/run/{container}/deep/{a}/{b}/end" + anonymous},
		"deep wildcards, one of them empty":                {wire{"GET", "/run/demo/deep//2/end", h, ""}, denied},
		"a public host":                                    {wire{"POST", "/about", "pub.example.com", ""}, "pub.example.com/about" + anonymous},
		"a public host with a port":                        {wire{"POST", "/about", "pub.example.com:8443", ""}, "pub.example.com/about" + anonymous},
		"a public host in capitals":                        {wire{"POST", "/about", "PUB.example.com", ""}, denied},
		"a public host with a dot":                         {wire{"POST", "/about", "pub.example.com.", ""}, denied},
		"a private host":                                   {wire{"GET", "/docs/a", "admin.example.com", ""}, denied},
		"a private host in capitals":                       {wire{"GET", "/docs/a", "Admin.Example.com", ""}, denied},
		"a private host with a dot":                        {wire{"GET", "/docs/a", "admin.example.com.", ""}, denied},
		"a private host with a dot and a port":             {wire{"GET", "/docs/a", "admin.example.com.:80", ""}, denied},
		"a private host's login":                           {wire{"POST", "/login", "admin.example.com", ""}, "POST admin.example.com/login" + anonymous},
		"a private host's login by GET":                    {wire{"GET", "/login", "admin.example.com", ""}, denied},
		"an absolute target":                               {wire{"GET", "http://" + h + "/run/demo/hello", h, ""}, hello + anonymous},
		"an absolute target, private":                      {wire{"GET", "http://" + h + "/run/demo/notify", h, ""}, denied},
		"an absolute target of a private host":             {wire{"GET", "http://admin.example.com/docs/a", h, ""}, denied},
		"an absolute target of a private host in capitals": {wire{"GET", "http://ADMIN.example.com/docs/a", h, ""}, denied},
		"CONNECT to a host":                                {wire{"CONNECT", "demo:443", "demo:443", good}, denied},
		"CONNECT to a public path":                         {wire{"CONNECT", "/run/demo/hello", h, good}, denied},
		"a public path by a very long name":                {wire{"GET", "/run/demo/hello" + strings.Repeat("x", 4000), h, ""}, denied},
	} {
		for protocol, send := range map[string]func(wire, *testing.T, *httptest.Server) *http.Response{"HTTP/1.1": wire.overHTTP1, "HTTP/2": wire.overHTTP2} {
			onlyHTTP1 := !strings.HasPrefix(test.target, "/") || test.method == "CONNECT" || strings.Contains(test.target, "#")
			if protocol == "HTTP/2" && onlyHTTP1 {
				continue // HTTP/2 cannot express this target
			}
			t.Run(name+", "+protocol, func(t *testing.T) {
				authtest.CaptureDefaultLog(t)
				response := send(test.wire, t, routeServer(t, protocol == "HTTP/2"))
				served := response.Header.Get("X-Served")
				if test.served == denied {
					require.Empty(t, served)
					require.Equal(t, http.StatusForbidden, response.StatusCode)
					require.Empty(t, response.Header.Get("Location"))
					return
				}
				pattern, claims, _ := strings.Cut(test.served, " claims=")
				require.Equal(t, http.StatusOK, response.StatusCode)
				require.True(t, strings.HasPrefix(served, pattern+" container="), served)
				require.Contains(t, served, " claims="+claims+" ")
				require.True(t, strings.HasSuffix(served, " query="), "a token in the query: %s", served)
			})
		}
	}
}

func TestRoutes_RefusesATableThatMeansNothing(t *testing.T) {
	type routes = map[string]jwtauth.Policy
	for name, test := range map[string]struct {
		routes routes
		want   []string
	}{
		"two patterns for one request": {routes{"/run/{a}/x": jwtauth.Private, "/run/demo/{b}": jwtauth.Public}, []string{`"/run/{a}/x"`, `"/run/demo/{b}"`, "conflicts"}},
		"one pattern twice":            {routes{"/run/{a}": jwtauth.Private, "/run/{b}": jwtauth.Public}, []string{`"/run/{a}"`, `"/run/{b}"`, "conflicts"}},
		"no pattern":                   {routes{"": jwtauth.Public}, []string{`""`, "invalid pattern"}},
		"a pattern without a slash":    {routes{"GET": jwtauth.Public}, []string{`"GET"`}},
		"half a wildcard":              {routes{"/run/{a": jwtauth.Public}, []string{`"/run/{a"`}},
		"a wildcard twice":             {routes{"/run/{a}/{a}": jwtauth.Public}, []string{`"/run/{a}/{a}"`, "duplicate"}},
		"a path that is cleaned":       {routes{"/run/../x": jwtauth.Public}, []string{`"/run/../x"`}},
		"a path with two slashes":      {routes{"/run//x": jwtauth.Public}, []string{`"/run//x"`}},
		"an escaped dot segment":       {routes{"/run/%2e%2e/x": jwtauth.Public}, []string{`"/run/%2e%2e/x"`, "always denied"}},
		"an escaped backslash":         {routes{"/run/%5c": jwtauth.Public}, []string{`"/run/%5c"`, "always denied"}},
		"CONNECT":                      {routes{"CONNECT /x": jwtauth.Public}, []string{`"CONNECT /x"`, "always denied"}},
		"a host in capitals":           {routes{"Pub.example.com/": jwtauth.Public}, []string{`"Pub.example.com/"`, `"pub.example.com"`}},
		"a host with a dot":            {routes{"GET  pub.example.com./": jwtauth.Public}, []string{`"pub.example.com"`}},
		"a host with its port":         {routes{"example.com:8443/": jwtauth.Private}, []string{`"example.com:8443/"`, "ports"}},
		"an address of IPv6":           {routes{"[::1]/": jwtauth.Private}, []string{`"[::1]/"`}},
		"a bad escape and dots":        {routes{"/%zz/%2e%2e/x": jwtauth.Public}, []string{`"/%zz/%2e%2e/x"`, "always denied"}},
		"a policy that does not exist": {routes{"/x": 7}, []string{`"/x"`, "Policy(7)"}},
		"a policy below all":           {routes{"/x": -1}, []string{`"/x"`, "Policy(-1)"}},
		"two mistakes at once":         {routes{"/x": 7, "/run/{a": jwtauth.Public}, []string{`"/x"`, `"/run/{a"`}},
	} {
		t.Run(name, func(t *testing.T) {
			wrap, err := authtest.NewAuth(t).Routes(test.routes)
			require.Nil(t, wrap)
			require.Error(t, err)
			for _, want := range test.want {
				require.ErrorContains(t, err, want)
			}
			require.NotContains(t, err.Error(), ".go:")
		})
	}
}

func TestRoutes_TakesWhatServeMuxTakes(t *testing.T) {
	_, err := authtest.NewAuth(t).Routes(map[string]jwtauth.Policy{
		"/": jwtauth.Private, "/{$}": jwtauth.Public, "GET /a%2Fb": jwtauth.Public, "/100%": jwtauth.Public,
		"DELETE example.com/x/{y...}": jwtauth.Optional, "POST\t/tab": jwtauth.Public, "127.0.0.1/": jwtauth.Public,
	})
	require.NoError(t, err)
}

func TestRoutes_HowAHostIsSpelledMattersOnlyWhereOneIsNamed(t *testing.T) {
	for name, test := range map[string]struct {
		routes map[string]jwtauth.Policy
		ran    bool
	}{
		"no pattern names a host":  {map[string]jwtauth.Policy{"/x": jwtauth.Public}, true},
		"one of them names a host": {map[string]jwtauth.Policy{"DELETE example.com/x": jwtauth.Private, "GET /x": jwtauth.Public}, false},
	} {
		t.Run(name, func(t *testing.T) {
			wrap, err := authtest.NewAuth(t).Routes(test.routes)
			require.NoError(t, err)
			var s authtest.Seen
			wrap(&s).ServeHTTP(httptest.NewRecorder(), authtest.Request("GET", "http://Example.COM/x", nil))
			require.Equal(t, test.ran, s.Ran)
		})
	}
}

func TestRoutes_AnEmptyTableIsAllPrivate(t *testing.T) {
	wrap, err := authtest.NewAuth(t).Routes(nil)
	require.NoError(t, err)
	_, s := authtest.Serve(wrap, authtest.Request("GET", authtest.DemoPath, nil))
	require.False(t, s.Ran)
	_, s = authtest.Serve(wrap, authtest.Request("GET", authtest.DemoPath, authtest.Bearer(authtest.GoodToken())))
	require.True(t, s.OK, "the container must be the one that an outer mux found")
}

func TestRoutes_InAServiceWithoutContainers(t *testing.T) {
	auth := authtest.NewAuth(t, jwtauth.WithAnyContainer())
	wrap, err := auth.Routes(map[string]jwtauth.Policy{"/run/{container}/{recipe}": jwtauth.Private})
	require.NoError(t, err)
	_, s := authtest.Serve(wrap, authtest.Request("GET", authtest.DemoPath, authtest.Bearer(authtest.Issue(t, auth, ""))))
	require.True(t, s.OK)
}

func TestRoutes_LeaveTheRequestToTheRouterInside(t *testing.T) {
	wrap, err := authtest.NewAuth(t).Routes(map[string]jwtauth.Policy{"/run/{container}/{mine}": jwtauth.Private})
	require.NoError(t, err)
	var s authtest.Seen
	r := authtest.Request("GET", authtest.DemoPath, authtest.Bearer(authtest.GoodToken()))
	wrap(&s).ServeHTTP(httptest.NewRecorder(), r)
	require.True(t, s.OK)
	for _, r := range []*http.Request{r, s.R} {
		require.Empty(t, r.Pattern)
		require.Empty(t, r.PathValue("mine"))
	}
}

func TestRoutes_AskTheContainerFunction(t *testing.T) {
	auth := authtest.NewAuth(t, jwtauth.WithContainer(func(r *http.Request) string { return r.PathValue("tenant") }))
	wrap, err := auth.Routes(map[string]jwtauth.Policy{"/{tenant}/x": jwtauth.Private})
	require.NoError(t, err)
	var s authtest.Seen
	wrap(&s).ServeHTTP(httptest.NewRecorder(), authtest.Request("GET", "/demo/x", authtest.Bearer(authtest.GoodToken())))
	require.True(t, s.OK)
	s = authtest.Seen{}
	wrap(&s).ServeHTTP(httptest.NewRecorder(), authtest.Request("GET", "/other/x", authtest.Bearer(authtest.GoodToken())))
	require.False(t, s.Ran)
}

// A router inside may read the escapes of a path in another way than ServeMux. If the two
// readings have different policies, the request must be private. If they have different
// containers, the request must be denied.
func TestRoutes_OfRoutersThatReadPathsInAnotherWay(t *testing.T) {
	wrap, err := authtest.NewAuth(t).Routes(map[string]jwtauth.Policy{
		"/run/{container}/{recipe}":      jwtauth.Private,
		"/run/{container}/hello":         jwtauth.Public,
		"/run/{container}/maybe":         jwtauth.Optional,
		"/run/{container}/admin/hello":   jwtauth.Private,
		"/run/{container}/{recipe}/logs": jwtauth.Private,
		"/x/{a}/{container}":             jwtauth.Private,
		"/x/{a}/{container}/{step}":      jwtauth.Private,
		"/a/{container}/{p...}":          jwtauth.Private,
	})
	require.NoError(t, err)
	for name, test := range map[string]struct {
		path, raw, token string
		ran              bool
	}{
		"a literal, escaped":                        {"/run/demo/hello", "/run/demo/h%65llo", "", false},
		"a literal, escaped, with a good token":     {"/run/demo/hello", "/run/demo/h%65llo", authtest.GoodToken(), true},
		"an optional literal, escaped":              {"/run/demo/maybe", "/run/demo/m%61ybe", "", false},
		"a slash, escaped, that hides a segment":    {"/run/demo/admin/hello", "/run/demo%2Fadmin/hello", "", false},
		"a slash that hides the container":          {"/x/y/victim/demo", "/x/y%2Fvictim/demo", authtest.GoodToken(), false},
		"a slash before the rest of a path":         {"/a/demo/y/z", "/a/demo%2Fy/z", authtest.GoodToken(), false},
		"a raw path that was left behind":           {"/run/demo/hello", "/run/demo/notify%20", "", false},
		"a raw path left behind, another container": {"/run/demo/notify", "/run/other/notify", authtest.GoodToken(), false},
		"a container, escaped":                      {"/run/demo/notify", "/run/d%65mo/notify", authtest.GoodToken(), true},
		"a public route, its container escaped":     {"/run/demo/hello", "/run/d%65mo/hello", "", true},
	} {
		t.Run(name, func(t *testing.T) {
			r := authtest.Request("GET", "/", nil)
			r.URL.Path, r.URL.RawPath = test.path, test.raw
			if test.token != "" {
				r.Header = authtest.Bearer(test.token)
			}
			var s authtest.Seen
			wrap(&s).ServeHTTP(httptest.NewRecorder(), r)
			require.Equal(t, test.ran, s.Ran)
		})
	}
}

func TestRoutes_WhereTheContainerIsReadFromTheBody(t *testing.T) {
	auth := authtest.NewAuth(t, jwtauth.WithContainer(func(r *http.Request) string { return r.PostFormValue("tenant") }))
	wrap, err := auth.Routes(map[string]jwtauth.Policy{"/run/{recipe}": jwtauth.Private})
	require.NoError(t, err)
	for _, target := range []string{"/run/notify", "/run/gr%C3%BC%C3%9Fe", "/run/notif%79", "/run/notify?token=" + authtest.GoodToken()} {
		r := httptest.NewRequest("POST", target, strings.NewReader("tenant=demo&a=1"))
		r.Header = authtest.Bearer(authtest.GoodToken())
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		var s authtest.Seen
		wrap(&s).ServeHTTP(httptest.NewRecorder(), r)
		require.True(t, s.OK, target)
		require.Equal(t, "1", s.R.FormValue("a"), target)
	}
}

// Several places can name the container. Each case says which one counts.
func TestRoutes_WhichContainerCounts(t *testing.T) {
	fromHeader := jwtauth.WithContainer(func(r *http.Request) string { return r.Header.Get("X-Container") })
	constant := func(container string) jwtauth.Option {
		return jwtauth.WithContainer(func(*http.Request) string { return container })
	}
	for name, test := range map[string]struct {
		opts      []jwtauth.Option
		pattern   string
		container string // of the token
		ran       bool
	}{
		"the pattern's, without WithContainer":             {nil, "/run/{container}/x", "demo", true},
		"not another one's, without WithContainer":         {nil, "/run/{container}/x", "other", false},
		"WithContainer's, not the pattern's":               {[]jwtauth.Option{constant("other")}, "/run/{container}/x", "other", true},
		"not the pattern's, where WithContainer finds one": {[]jwtauth.Option{constant("other")}, "/run/{container}/x", "demo", false},
		"the pattern's, where WithContainer finds none":    {[]jwtauth.Option{constant("")}, "/run/{container}/x", "demo", true},
		"a header's, not the pattern's":                    {[]jwtauth.Option{fromHeader}, "/run/{container}/x", "by-header", true},
		"not the pattern's beside a header's":              {[]jwtauth.Option{fromHeader}, "/run/{container}/x", "demo", false},
		"a header's, where the pattern names none":         {[]jwtauth.Option{fromHeader}, "/run/{tenant}/x", "by-header", true},
		"none at all": {nil, "/run/{tenant}/x", "demo", false},
	} {
		t.Run(name, func(t *testing.T) {
			authtest.CaptureDefaultLog(t)
			auth := authtest.NewAuth(t, test.opts...)
			wrap, err := auth.Routes(map[string]jwtauth.Policy{test.pattern: jwtauth.Private})
			require.NoError(t, err)
			var s authtest.Seen
			r := authtest.Request("GET", "/run/demo/x", authtest.Bearer(authtest.Issue(t, auth, test.container)))
			r.Header.Set("X-Container", "by-header")
			wrap(&s).ServeHTTP(httptest.NewRecorder(), r)
			require.Equal(t, test.ran, s.Ran)
		})
	}
}

func TestCheckContainer_ComparesWhatARouterFound(t *testing.T) {
	auth := authtest.NewAuth(t)
	anyContainer := authtest.NewAuth(t, jwtauth.WithAnyContainer())
	claims, err := auth.Verify(t.Context(), authtest.GoodToken(), "demo")
	require.NoError(t, err)
	known := jwtauth.NewContext(t.Context(), claims)
	for name, test := range map[string]struct {
		auth      *jwtauth.Auth
		ctx       context.Context
		container string
		want      error
	}{
		"the same container":          {auth, known, "demo", nil},
		"another container":           {auth, known, "other", jwtauth.ErrContainer},
		"a container in another case": {auth, known, "Demo", jwtauth.ErrContainer},
		"no container":                {auth, known, "", jwtauth.ErrNoContainer},
		"no claims":                   {auth, t.Context(), "demo", nil},
		"no container in a service without containers": {anyContainer, known, "", nil},
		"another one in a service without containers":  {anyContainer, known, "other", jwtauth.ErrContainer},
	} {
		t.Run(name, func(t *testing.T) {
			authtest.CaptureDefaultLog(t)
			require.ErrorIs(t, test.auth.CheckContainer(test.ctx, test.container), test.want)
		})
	}
}

func TestRoutes_FindTheContainerWhereARouterHasNotRunYet(t *testing.T) {
	auth := authtest.NewAuth(t, jwtauth.WithContainer(func(*http.Request) string { return "" })) // like chi.URLParam, before a router has run
	wrap, err := auth.Routes(map[string]jwtauth.Policy{"/run/{container}/notify": jwtauth.Private, "/run/{container}/hello": jwtauth.Public})
	require.NoError(t, err)
	for target, want := range map[string]bool{"/run/demo/notify": true, "/run/demo/hello": true, "/run/other/hello": false} {
		var s authtest.Seen
		wrap(&s).ServeHTTP(httptest.NewRecorder(), authtest.Request("GET", target, authtest.Bearer(authtest.GoodToken())))
		require.True(t, s.Ran)
		require.Equal(t, want, s.OK, target)
	}
}

func TestRoutes_RefuseAServeMuxWithoutWildcards(t *testing.T) {
	if os.Getenv("GODEBUG") != "httpmuxgo121=1" { // ServeMux reads GODEBUG only once, at start
		self := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
		self.Env = append(os.Environ(), "GODEBUG=httpmuxgo121=1")
		out, err := self.CombinedOutput()
		require.NoError(t, err, "%s", out)
		return
	}
	_, err := authtest.NewAuth(t).Routes(map[string]jwtauth.Policy{"/": jwtauth.Public})
	require.ErrorContains(t, err, "httpmuxgo121")
}
