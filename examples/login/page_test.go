package main

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth/session"
)

// fetch is like send, but for the page's files, which browsers may cache.
func fetch(t *testing.T, r *http.Request) response {
	t.Helper()
	resp, err := transport.RoundTrip(r)
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return response{resp.StatusCode, resp.Header, string(body)}
}

// pageFiles maps the path of each file of the page to its content type.
var pageFiles = map[string]string{
	"/":                   "text/html; charset=utf-8",
	"/app.js":             "text/javascript; charset=utf-8",
	"/client.js":          "text/javascript; charset=utf-8",
	"/style.css":          "text/css; charset=utf-8",
	"/favicon.svg":        "image/svg+xml",
	"/axios/axios.min.js": "text/javascript; charset=utf-8",
	"/axios/LICENSE":      "text/plain; charset=utf-8",
}

func TestThePageNeedsNothingFromElsewhere(t *testing.T) {
	base := serveUsers(t)
	for file, kind := range pageFiles {
		got := fetch(t, request(t, "GET", base+file, ""))
		require.Equal(t, 200, got.status, file)
		require.Equal(t, kind, got.header.Get("Content-Type"))
		require.Equal(t, contentSecurityPolicy, got.header.Get("Content-Security-Policy"))
		require.Equal(t, "nosniff", got.header.Get("X-Content-Type-Options"))
		require.Equal(t, "no-referrer", got.header.Get("Referrer-Policy"))
		require.Equal(t, "same-origin", got.header.Get("Cross-Origin-Opener-Policy"))
		require.Equal(t, "no-cache", got.header.Get("Cache-Control"))
		require.Empty(t, got.header.Values("Set-Cookie"))
		if !strings.HasPrefix(file, "/axios/") {
			require.NotRegexp(t, `@import|url\(|//[a-z]+\.[a-z]`,
				strings.ReplaceAll(got.body, "http://www.w3.org/2000/svg", ""), "an external resource in %s", file)
		}
	}
	for _, says := range []string{"default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'", "frame-ancestors 'none'"} {
		require.Contains(t, contentSecurityPolicy, says)
	}
	require.NotContains(t, contentSecurityPolicy, "unsafe")

	page := fetch(t, request(t, "GET", base+"/", "")).body
	require.NotRegexp(t, `(?i)<style|<script(?:[^>]*)>[^<]|\sstyle=|\son[a-z]+=|javascript:`, page, "inline code")
	links := regexp.MustCompile(`(?:src|href)="([^"]*)"`).FindAllStringSubmatch(page, -1)
	links = append(links, regexp.MustCompile(`from "\.([^"]*)"`).FindAllStringSubmatch(fetch(t, request(t, "GET", base+"/app.js", "")).body, -1)...)
	linked := map[string]bool{"/": true}
	for _, link := range links {
		require.Contains(t, pageFiles, link[1])
		linked[link[1]] = true
	}
	require.Len(t, linked, len(pageFiles), "each file is used")
}

func TestEveryElementThatTheScriptNamesIsOnThePage(t *testing.T) {
	base := serveUsers(t)
	page := fetch(t, request(t, "GET", base+"/", "")).body
	named := regexp.MustCompile("byId\\(\"([a-z-]+)\"\\)").FindAllStringSubmatch(fetch(t, request(t, "GET", base+"/app.js", "")).body, -1)
	require.NotEmpty(t, named)
	for _, id := range named {
		require.Equal(t, 1, strings.Count(page, ` id="`+id[1]+`"`), id[1])
	}
	for _, mode := range []string{"mode-storage", "mode-cookie"} {
		require.Contains(t, page, ` id="`+mode+`"`)
	}
}

func TestAxiosIsWhatNpmPublished(t *testing.T) {
	for file, sum := range map[string]string{
		"axios.min.js": "19bc8ddbce7b35030add3a26c43a33066990554359d5b83748694315e580e409",
		"LICENSE":      "82761059eaedacb3356803aea8a170d8298609f91b14fc32ee1bfb40d690183c",
	} {
		content, err := static.ReadFile("static/axios/" + file)
		require.NoError(t, err)
		got := sha256.Sum256(content)
		require.Equal(t, sum, hex.EncodeToString(got[:]), "static/axios/README.md says how to replace %s", file)
	}
	content, err := static.ReadFile("static/axios/axios.min.js")
	require.NoError(t, err)
	require.Regexp(t, `^/\*! Axios v1\.21\.1 `, string(content))
	note, err := static.ReadFile("static/axios/README.md")
	require.NoError(t, err)
	require.Contains(t, string(note), "axios@1.21.1")
}

func TestBesideThePageThereIsNothing(t *testing.T) {
	base := serveUsers(t)
	for _, path := range []string{"/index.html", "/static/", "/static/app.js", "/axios/", "/axios/README.md", "/axios/.gitattributes", "/api/", "/nothing"} {
		require.Equal(t, 404, fetch(t, request(t, "GET", base+path, "")).status, path)
	}
	for path := range pageFiles {
		for _, method := range []string{"POST", "PUT", "DELETE"} {
			got := fetch(t, request(t, method, base+path, ""))
			require.Equal(t, 405, got.status, method+" "+path)
			require.Equal(t, "GET, HEAD", got.header.Get("Allow"))
		}
		require.Equal(t, 200, fetch(t, request(t, "HEAD", base+path, "")).status, path)
	}
}

// jar returns the Cookie field that a browser sends after this response. It leaves out the
// cookies that the response deletes.
func jar(r response) string {
	var pairs []string
	for _, c := range (&http.Response{Header: r.header}).Cookies() {
		if c.MaxAge > 0 {
			pairs = append(pairs, c.Name+"="+c.Value)
		}
	}
	return strings.Join(pairs, "; ")
}

func TestBrowsersMayKeepTheTokensInCookies(t *testing.T) {
	base := serveUsers(t)
	created := post(t, base+"/auth/cookie/create/", map[string]string{"email": "alice@example.com", "password": alicePassword})
	require.Equal(t, 200, created.status)
	require.JSONEq(t, `{"expires_in": 900, "refresh_expires_in": 1209600}`, created.body)
	cookies := jar(created)
	require.Contains(t, cookies, session.AccessCookie+"=")
	require.Contains(t, cookies, session.RefreshCookie+"=")

	me := request(t, "GET", base+"/api/me", "", "Cookie", cookies)
	require.Equal(t, 200, send(t, me).status)
	got := post(t, base+"/auth/cookie/refresh/", map[string]string{}, "Cookie", cookies)
	require.Equal(t, 200, got.status, got.body)
	require.NotContains(t, got.body, "token")
	cookies = jar(got)

	require.Equal(t, 401, post(t, base+"/auth/jwt/refresh/", map[string]string{}, "Cookie", cookies).status, "/auth/jwt/ must ignore cookies")
	require.Equal(t, 403, post(t, base+"/auth/cookie/refresh/", map[string]string{}, "Cookie", cookies, "Sec-Fetch-Site", "cross-site").status)
	require.Equal(t, 403, post(t, base+"/auth/cookie/create/", map[string]string{"email": "alice@example.com", "password": alicePassword}, "Sec-Fetch-Site", "cross-site").status)

	ended := post(t, base+"/auth/cookie/logout/", map[string]string{}, "Cookie", cookies)
	require.Equal(t, 204, ended.status)
	require.Empty(t, jar(ended))
	require.Equal(t, 401, send(t, request(t, "GET", base+"/api/me", "", "Cookie", cookies)).status)
}
