package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/keys"
	"github.com/joinednode/jwtauth/revoke"
)

const ownerKey = "the owner's key"

// serveRecipes starts a server with these recipes, and returns its URL.
func serveRecipes(t *testing.T, recipes catalogue) string {
	t.Helper()
	_, handler := newService(t, filepath.Join(t.TempDir(), "keys.jwks"), "EdDSA", recipes)
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL
}

// newService returns the handler of the whole service, and its ring. Ring.Run is not
// called, so the ring does not follow the file.
func newService(t *testing.T, file, alg string, recipes catalogue) (*keys.Ring, http.Handler) {
	t.Helper()
	logger := slog.New(slog.DiscardHandler)
	ring, err := openRing(file, alg)
	require.NoError(t, err)
	list, err := revoke.New(revoke.NewMemory())
	require.NoError(t, err)
	handler, err := newHandler(ring, list, recipes, ownerKey, logger)
	require.NoError(t, err)
	return ring, handler
}

// response is a response whose body has been read.
type response struct {
	status int
	header http.Header
	body   string
}

// request returns a request. fields are the names and values of its header, in turn.
func request(t *testing.T, method, url, body string, fields ...string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	require.NoError(t, err)
	for i := 0; i < len(fields); i += 2 {
		r.Header.Add(fields[i], fields[i+1])
	}
	return r
}

// transport keeps no connections. An unused connection would delay a server's shutdown
// for seconds.
var transport = &http.Transport{DisableKeepAlives: true}

// send sends a request without following redirects.
func send(t *testing.T, r *http.Request) response {
	t.Helper()
	resp, err := transport.RoundTrip(r)
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return response{resp.StatusCode, resp.Header, string(body)}
}

// handle returns the response of a handler, without a server and a connection.
func handle(t *testing.T, handler http.Handler, r *http.Request) response {
	t.Helper()
	r.RequestURI = r.URL.RequestURI() // as a server sets it
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	return response{w.Code, w.Header(), w.Body.String()}
}

func mint(t *testing.T, base, container, ownerKey string) string {
	t.Helper()
	return send(t, mintRequest(t, base, container, ownerKey)).token(t, container)
}

func mintRequest(t *testing.T, base, container, ownerKey string) *http.Request {
	t.Helper()
	r := request(t, "POST", base+"/create-token/"+container, "")
	r.SetBasicAuth(container, ownerKey)
	return r
}

// token returns the token in a response of the token endpoint.
func (r response) token(t *testing.T, container string) string {
	t.Helper()
	require.Equal(t, 200, r.status, r.body)
	require.Equal(t, "no-store", r.header.Get("Cache-Control"))
	var minted struct {
		Token     string `json:"token"`
		TokenType string `json:"token_type"`
		ExpiresIn int    `json:"expires_in"`
		Container string `json:"container"`
	}
	require.NoError(t, json.Unmarshal([]byte(r.body), &minted))
	require.Equal(t, "Bearer", minted.TokenType)
	require.Equal(t, 10*24*60*60, minted.ExpiresIn)
	require.Equal(t, container, minted.Container)
	return minted.Token
}

func (r response) answer(t *testing.T) answer {
	t.Helper()
	require.Equal(t, 200, r.status, r.body)
	require.Equal(t, "application/json", r.header.Get("Content-Type"))
	var a answer
	require.NoError(t, json.Unmarshal([]byte(r.body), &a))
	return a
}

func TestOnlyAContainersOwnerMintsItsTokens(t *testing.T) {
	base := serveRecipes(t, demoCatalogue())
	mint(t, base, "demo", ownerKey)

	var first string
	for name, c := range map[string]struct{ container, user, password string }{
		"a wrong owner key":                   {"demo", "demo", "guess"},
		"the beginning of the owner key":      {"demo", "demo", ownerKey[:5]},
		"no owner key":                        {"demo", "demo", ""},
		"the owner of another container":      {"demo", "other", ownerKey},
		"no user":                             {"demo", "", ownerKey},
		"a container that does not exist":     {"nowhere", "nowhere", ownerKey},
		"a container of another case":         {"Demo", "Demo", ownerKey},
		"a container with an encoded segment": {"demo%2Fx", "demo/x", ownerKey},
	} {
		t.Run(name, func(t *testing.T) {
			r := request(t, "POST", base+"/create-token/"+c.container, "")
			r.SetBasicAuth(c.user, c.password)
			got := send(t, r)
			require.Equal(t, 403, got.status)
			require.NotContains(t, strings.Join(got.header.Values("WWW-Authenticate"), ","), "Basic",
				"a browser would ask for a password")
			if first == "" {
				first = got.body
			}
			require.Equal(t, first, got.body, "all denials are the same")
		})
	}
	t.Run("no credentials", func(t *testing.T) {
		got := send(t, request(t, "POST", base+"/create-token/demo", ""))
		require.Equal(t, 403, got.status)
		require.NotContains(t, strings.Join(got.header.Values("WWW-Authenticate"), ","), "Basic")
	})
	t.Run("a token is not an owner", func(t *testing.T) {
		bearer := "Bearer " + mint(t, base, "demo", ownerKey)
		got := send(t, request(t, "POST", base+"/create-token/demo", "", "Authorization", bearer))
		require.Equal(t, 403, got.status)
	})
	t.Run("by POST only", func(t *testing.T) {
		r := request(t, "GET", base+"/create-token/demo", "")
		r.SetBasicAuth("demo", ownerKey)
		got := send(t, r)
		require.Equal(t, 405, got.status)
		require.Equal(t, "POST", got.header.Get("Allow"))
	})
	t.Run("not from a page of another origin", func(t *testing.T) {
		r := request(t, "POST", base+"/create-token/demo", "", "Origin", "https://somewhere.example")
		r.SetBasicAuth("demo", ownerKey)
		got := send(t, r)
		require.Equal(t, 403, got.status)
		require.Empty(t, got.header.Get("Access-Control-Allow-Origin"))

		preflight := send(t, request(t, "OPTIONS", base+"/create-token/demo", "", "Origin", "https://somewhere.example",
			"Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "authorization"))
		require.NotContains(t, preflight.header, "Access-Control-Allow-Origin")
	})
	t.Run("from a page of its own", func(t *testing.T) {
		r := request(t, "POST", base+"/create-token/demo", "", "Origin", base, "Sec-Fetch-Site", "same-origin")
		r.SetBasicAuth("demo", ownerKey)
		require.Equal(t, 200, send(t, r).status)
	})
}

func TestWhoMayRunARecipe(t *testing.T) {
	base := serveRecipes(t, demoCatalogue())
	demo, other := mint(t, base, "demo", ownerKey), mint(t, base, "other", ownerKey)
	const denied, anonymous, known = 403, 0, 200
	for name, c := range map[string]struct {
		path, token string
		want        int
		says        string
	}{
		"private, with a token":                          {"/run/demo/notify", demo, known, ""},
		"private, without a token":                       {"/run/demo/notify", "", denied, "not_authenticated"},
		"private, with another container's token":        {"/run/demo/notify", other, denied, "wrong_container"},
		"private, with garbage":                          {"/run/demo/notify", "a.b.c", denied, "token_not_valid"},
		"private, with a forged signature":               {"/run/demo/notify", demo[:len(demo)-10] + "AAAAAAAAAA", denied, "token_not_valid"},
		"the other container's, with its token":          {"/run/other/notify", other, known, ""},
		"the other container's, with demo's token":       {"/run/other/notify", demo, denied, "wrong_container"},
		"public, without a token":                        {"/run/demo/hello", "", anonymous, ""},
		"public, with a token":                           {"/run/demo/hello", demo, known, ""},
		"public, with another container's token":         {"/run/demo/hello", other, anonymous, ""},
		"public, with garbage":                           {"/run/demo/hello", "a.b.c", anonymous, ""},
		"an escaped letter in the path, without a token": {"/run/demo/%6eotify", "", denied, "not_authenticated"},
		"an escaped letter in the path, with the token":  {"/run/demo/%6eotify", demo, known, ""},
	} {
		t.Run(name, func(t *testing.T) {
			byHeader := request(t, "GET", base+c.path, "")
			byQuery := request(t, "GET", base+c.path, "")
			if c.token != "" {
				byHeader.Header.Set("Authorization", "Bearer "+c.token)
				byQuery.URL.RawQuery = "token=" + c.token
			}
			for _, r := range []*http.Request{byHeader, byQuery} {
				got := send(t, r)
				if c.want == denied {
					require.Equal(t, 403, got.status, got.body)
					require.Contains(t, got.body, c.says)
					require.Equal(t, "no-store", got.header.Get("Cache-Control"))
					require.True(t, strings.HasPrefix(got.header.Get("WWW-Authenticate"), "Bearer"))
					continue
				}
				caller := got.answer(t).Caller
				if c.want == anonymous {
					require.Equal(t, "anonymous", caller.Kind)
					require.Empty(t, caller.TokenID)
					require.True(t, caller.Expires.IsZero())
					continue
				}
				require.Equal(t, "token", caller.Kind)
				require.NotEmpty(t, caller.TokenID)
				require.False(t, caller.Expires.IsZero())
			}
		})
	}
}

func revokeRequest(t *testing.T, base, token, user, password string) *http.Request {
	t.Helper()
	r := request(t, "POST", base+"/revoke", url.Values{"token": {token}}.Encode(), "Content-Type", "application/x-www-form-urlencoded")
	r.SetBasicAuth(user, password)
	return r
}

func revokeAllRequest(t *testing.T, base, container, user, password string) *http.Request {
	t.Helper()
	r := request(t, "POST", base+"/revoke-all/"+container, "")
	r.SetBasicAuth(user, password)
	return r
}

// notify calls the private recipe of a container.
func notify(t *testing.T, base, container, token string) response {
	t.Helper()
	return send(t, request(t, "GET", base+"/run/"+container+"/notify", "", "Authorization", "Bearer "+token))
}

func requireRevoked(t *testing.T, base, container, token string) {
	t.Helper()
	got := notify(t, base, container, token)
	require.Equal(t, 403, got.status)
	require.Contains(t, got.body, `"reason":"revoked"`)
}

func TestARevokedTokenOpensNothingAndOthersStillDo(t *testing.T) {
	base := serveRecipes(t, demoCatalogue())
	demo, second, other := mint(t, base, "demo", ownerKey), mint(t, base, "demo", ownerKey), mint(t, base, "other", ownerKey)

	t.Run("one by itself", func(t *testing.T) {
		for range 2 { // revoking a revoked token again is no error
			got := send(t, revokeRequest(t, base, demo, "demo", ownerKey))
			require.Equal(t, 200, got.status, got.body)
			require.Empty(t, got.body)
			require.Equal(t, "no-store", got.header.Get("Cache-Control"))
			requireRevoked(t, base, "demo", demo)
		}
		require.Equal(t, "anonymous", send(t, request(t, "GET", base+"/run/demo/hello?token="+demo, "")).answer(t).Caller.Kind)
		require.Equal(t, 200, notify(t, base, "demo", second).status)
	})
	t.Run("all of a container so far", func(t *testing.T) {
		for range 3 {
			before := mint(t, base, "demo", ownerKey)
			got := send(t, revokeAllRequest(t, base, "demo", "demo", ownerKey))
			require.Equal(t, 204, got.status, got.body)
			require.Equal(t, "no-store", got.header.Get("Cache-Control"))
			after := mint(t, base, "demo", ownerKey)
			for _, token := range []string{demo, second, before} {
				requireRevoked(t, base, "demo", token)
			}
			require.Equal(t, 200, notify(t, base, "demo", after).status, "a token issued afterwards is valid at once")
		}
		require.Equal(t, 200, notify(t, base, "other", other).status)
	})
	t.Run("revoking a malformed token is no error for an owner", func(t *testing.T) {
		require.Equal(t, 200, send(t, revokeRequest(t, base, "garbage", "other", ownerKey)).status)
	})
}

func TestOnlyAContainersOwnerRevokesItsTokens(t *testing.T) {
	base := serveRecipes(t, demoCatalogue())
	demo := mint(t, base, "demo", ownerKey)
	var one, all string
	for name, c := range map[string]struct{ user, password string }{
		"a wrong owner key":               {"demo", "guess"},
		"the beginning of the owner key":  {"demo", ownerKey[:5]},
		"no owner key":                    {"demo", ""},
		"the owner of another container":  {"other", ownerKey},
		"no user":                         {"", ownerKey},
		"a container that does not exist": {"nowhere", ownerKey},
		"a container of another case":     {"Demo", ownerKey},
	} {
		t.Run(name, func(t *testing.T) {
			got := send(t, revokeRequest(t, base, demo, c.user, c.password))
			require.Equal(t, 403, got.status)
			gotAll := send(t, revokeAllRequest(t, base, "demo", c.user, c.password))
			require.Equal(t, 403, gotAll.status)
			require.Equal(t, "no-store", gotAll.header.Get("Cache-Control"))
			for _, h := range []http.Header{got.header, gotAll.header} {
				require.Empty(t, h.Values("WWW-Authenticate"), "a browser would ask for a password")
			}
			if one == "" {
				one, all = got.body, gotAll.body
			}
			require.Equal(t, one, got.body, "all denials are the same")
			require.Equal(t, all, gotAll.body, "all denials are the same")
			if c.user != "other" { // any owner may send a malformed token
				require.Equal(t, one, send(t, revokeRequest(t, base, "garbage", c.user, c.password)).body)
			}
		})
	}
	t.Run("the holder of a token, who is not the owner", func(t *testing.T) {
		bearer := []string{"Authorization", "Bearer " + demo}
		require.Equal(t, 403, send(t, request(t, "POST", base+"/revoke-all/demo", "", bearer...)).status)
		require.Equal(t, 403, send(t, request(t, "POST", base+"/revoke", "token="+demo,
			append(bearer, "Content-Type", "application/x-www-form-urlencoded")...)).status)
	})
	t.Run("a container that does not exist, by itself", func(t *testing.T) {
		require.Equal(t, 403, send(t, revokeAllRequest(t, base, "nowhere", "nowhere", ownerKey)).status)
	})
	t.Run("another method than POST", func(t *testing.T) {
		for _, r := range []*http.Request{revokeRequest(t, base, demo, "demo", ownerKey), revokeAllRequest(t, base, "demo", "demo", ownerKey)} {
			r.Method = "GET"
			r.URL.RawQuery = "token=" + demo
			got := send(t, r)
			require.Equal(t, 405, got.status)
			require.Equal(t, "POST", got.header.Get("Allow"))
		}
	})
	t.Run("a page of another origin", func(t *testing.T) {
		for _, r := range []*http.Request{revokeRequest(t, base, demo, "demo", ownerKey), revokeAllRequest(t, base, "demo", "demo", ownerKey)} {
			r.Header.Set("Origin", "https://somewhere.example")
			got := send(t, r)
			require.Equal(t, 403, got.status)
			require.Empty(t, got.header.Get("Access-Control-Allow-Origin"))
		}
	})
	require.Equal(t, 200, notify(t, base, "demo", demo).status, "none of these requests revoked the token")

	t.Run("a page of its own is allowed", func(t *testing.T) {
		r := revokeAllRequest(t, base, "demo", "demo", ownerKey)
		r.Header.Set("Origin", base)
		r.Header.Set("Sec-Fetch-Site", "same-origin")
		require.Equal(t, 204, send(t, r).status)
		requireRevoked(t, base, "demo", demo)
	})
}

// If the revocation cannot be written to the log, the response must be an error.
func TestRevokingWhatCannotBeWrittenIsNotDone(t *testing.T) {
	list, err := revoke.New(revoke.NewMemory())
	require.NoError(t, err)
	owner := ownersBy(demoCatalogue(), ownerKey)
	handler := http.NewServeMux()
	handler.Handle("/revoke-all/{container}", revokeAll(list, "", owner, slog.New(slog.DiscardHandler)))
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	got := handle(t, handler, revokeAllRequest(t, "", "demo", "demo", ownerKey).WithContext(gone))
	require.Equal(t, 503, got.status)
	require.Equal(t, "5", got.header.Get("Retry-After"))
	require.Contains(t, got.body, `"code":"unavailable"`)
}

func TestWhatExistsIsToldOnlyToThoseWhoMaySeeIt(t *testing.T) {
	base := serveRecipes(t, demoCatalogue())
	demo := mint(t, base, "demo", ownerKey)
	get := func(path, token string) response {
		r := request(t, "GET", base+path, "")
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		got := send(t, r)
		got.header.Del("Date")
		return got
	}
	got := get("/run/demo/nothing", demo)
	require.Equal(t, 404, got.status)
	require.JSONEq(t, `{"code":"not_found","detail":"There is no such recipe."}`, got.body)

	require.Equal(t, 403, get("/run/demo/notify", "").status)
	for _, unknown := range []string{"/run/demo/nothing", "/run/nowhere/hello", "/run/nowhere/nothing"} {
		require.Equal(t, get("/run/demo/notify", ""), get(unknown, ""), "%s looks like a private recipe", unknown)
	}
	for _, unknown := range []string{"/run/other/nothing", "/run/nowhere/hello"} {
		require.Equal(t, get("/run/other/notify", demo), get(unknown, demo), "%s looks like a private recipe", unknown)
	}
}

func TestVisibilityIsLookedUpOnEveryRequest(t *testing.T) {
	recipes := demoCatalogue()
	_, handler := newService(t, filepath.Join(t.TempDir(), "keys.jwks"), "EdDSA", recipes)
	// The test changes the catalogue between requests, so it must not start a server: a
	// goroutine that reads the catalogue would be a data race.
	hello := func() int { return handle(t, handler, request(t, "GET", "/run/demo/hello", "")).status }
	set := func(policy jwtauth.Policy) {
		changed := recipes["demo"]["hello"]
		changed.policy = policy
		recipes["demo"]["hello"] = changed
	}
	require.Equal(t, 200, hello())
	set(jwtauth.Private)
	require.Equal(t, 403, hello())
	set(jwtauth.Public)
	require.Equal(t, 200, hello())
}

func TestATokenInTheQueryNeverReachesTheRecipe(t *testing.T) {
	recipes := demoCatalogue()
	saw := make(chan string, 1)
	spy := func(r *http.Request) string {
		r.ParseForm()
		saw <- fmt.Sprintf("%#v %v %v %v %v", *r.URL, r.URL, r.RequestURI, r.Form, r.Context())
		return "seen"
	}
	recipes["demo"]["private"] = recipe{jwtauth.Private, spy}
	recipes["demo"]["public"] = recipe{jwtauth.Public, spy}
	base := serveRecipes(t, recipes)
	demo, other := mint(t, base, "demo", ownerKey), mint(t, base, "other", ownerKey)
	for _, c := range []struct{ recipe, token string }{
		{"private", demo}, {"public", demo}, {"public", other}, {"public", "garbage"},
	} {
		for _, method := range []string{"GET", "POST"} {
			query := "?a=1&token=" + c.token + "&b=%32"
			got := send(t, request(t, method, base+"/run/demo/"+c.recipe+query, ""))
			require.Equal(t, "/run/demo/"+c.recipe+"?a=1&b=%32", got.answer(t).URL)
			seen := <-saw
			require.Contains(t, seen, "a=1&b=%32")
			require.NotContains(t, seen, "token")
			require.NotContains(t, seen, c.token)
			require.Equal(t, "private, no-store", got.header.Get("Cache-Control"))
			require.Equal(t, "no-referrer", got.header.Get("Referrer-Policy"))
		}
	}
}

func TestNoRedirectRepeatsAToken(t *testing.T) {
	base := serveRecipes(t, demoCatalogue())
	demo := mint(t, base, "demo", ownerKey)
	for _, path := range []string{
		"/run//demo/notify", "/run/demo/./notify", "/run/other/../demo/notify", "//run/demo/notify", "/run/demo/notify/",
		"/run/demo/%2e%2e/notify", "/run/demo%2F%2Fx/notify", "/run/demo", "/run", "/index.html", "/static/app.js", "/create-token/demo/",
		"/revoke/", "/revoke-all/demo/", "/revoke-all",
	} {
		r := request(t, "GET", base, "")
		r.URL.Opaque = "//" + r.URL.Host + path // sent unchanged
		r.URL.RawQuery = "token=" + demo
		got := send(t, r)
		require.Equal(t, 404, got.status, path)
		require.Empty(t, got.header.Get("Location"), path)
		require.NotContains(t, got.body, demo, path)
	}
}

func TestARecipeEchoesJSON(t *testing.T) {
	base := serveRecipes(t, demoCatalogue())
	demo := mint(t, base, "demo", ownerKey)
	post := func(body, contentType string) response {
		return send(t, request(t, "POST", base+"/run/demo/notify", body,
			"Authorization", "Bearer "+demo, "Content-Type", contentType))
	}
	t.Run("as it was posted", func(t *testing.T) {
		for _, body := range []string{`{"hi":"me"}`, `{"n":12345678901234567890.10}`, `[1,null,true]`, `"text"`, `null`} {
			got := post(body, "application/json")
			require.Equal(t, "The team of demo was notified.", got.answer(t).Message)
			var echoed struct{ Data json.RawMessage }
			require.NoError(t, json.Unmarshal([]byte(got.body), &echoed))
			require.Equal(t, body, string(echoed.Data))
		}
	})
	t.Run("sent as a string by an XMLHttpRequest", func(t *testing.T) {
		require.JSONEq(t, `{"hi":"me"}`, string(post(`{"hi":"me"}`, "text/plain;charset=UTF-8").answer(t).Data))
	})
	t.Run("harmless if a browser takes it for a page", func(t *testing.T) {
		got := post(`{"hi":"<script>"}`, "application/json")
		require.NotContains(t, got.body, "<script>")
		require.Equal(t, "nosniff", got.header.Get("X-Content-Type-Options"))
	})
	t.Run("nothing for an empty body", func(t *testing.T) {
		require.Nil(t, post("", "application/json").answer(t).Data)
	})
	t.Run("not a body that is not JSON", func(t *testing.T) {
		for _, body := range []string{"[object Object]", `{"hi":`, `{} {}`, "\xff", `hi=me`} {
			got := post(body, "application/json")
			require.Equal(t, 400, got.status, body)
			require.JSONEq(t, `{"code":"malformed","detail":"The data is not JSON."}`, got.body)
		}
	})
	t.Run("up to 64 KiB", func(t *testing.T) {
		most := `"` + strings.Repeat("x", maxBody-2) + `"`
		require.Len(t, post(most, "application/json").answer(t).Data, maxBody)
		got := post(most+" ", "application/json")
		require.Equal(t, 413, got.status)
		require.Contains(t, got.body, "too_large")
	})
	t.Run("by GET and POST only", func(t *testing.T) {
		for _, method := range []string{"PUT", "DELETE", "OPTIONS"} {
			got := send(t, request(t, method, base+"/run/demo/hello", ""))
			require.Equal(t, 405, got.status, method)
			require.Equal(t, "GET, HEAD, POST", got.header.Get("Allow"))
		}
		require.Equal(t, 403, send(t, request(t, "PUT", base+"/run/demo/notify", "")).status)
		head := send(t, request(t, "HEAD", base+"/run/demo/hello", ""))
		require.Equal(t, 200, head.status)
		require.Empty(t, head.body)
	})
}

func TestPagesOfOtherSitesMayCallRecipes(t *testing.T) {
	const site = "https://somewhere.example"
	base := serveRecipes(t, demoCatalogue())
	demo, other := mint(t, base, "demo", ownerKey), mint(t, base, "other", ownerKey)

	t.Run("after a preflight, which needs no token", func(t *testing.T) {
		got := send(t, request(t, "OPTIONS", base+"/run/demo/notify", "", "Origin", site,
			"Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "authorization,content-type"))
		require.Equal(t, 204, got.status)
		require.Equal(t, "*", got.header.Get("Access-Control-Allow-Origin"))
		require.Equal(t, "POST", got.header.Get("Access-Control-Allow-Methods"))
		require.Equal(t, "authorization,content-type", got.header.Get("Access-Control-Allow-Headers"))
		require.Equal(t, "600", got.header.Get("Access-Control-Max-Age"))
		require.NotContains(t, got.header, "Access-Control-Allow-Credentials")
		require.Empty(t, got.body)
	})
	t.Run("but not with other header fields or methods", func(t *testing.T) {
		for _, asked := range [][2]string{{"POST", "x-other"}, {"DELETE", "authorization"}} {
			got := send(t, request(t, "OPTIONS", base+"/run/demo/notify", "", "Origin", site,
				"Access-Control-Request-Method", asked[0], "Access-Control-Request-Headers", asked[1]))
			require.NotContains(t, got.header, "Access-Control-Allow-Origin")
		}
	})
	t.Run("and read the answer", func(t *testing.T) {
		got := send(t, request(t, "POST", base+"/run/demo/notify", `{"hi":"me"}`, "Origin", site, "Sec-Fetch-Site", "cross-site",
			"Authorization", "Bearer "+demo, "Content-Type", "application/json"))
		require.Equal(t, "*", got.header.Get("Access-Control-Allow-Origin"))
		require.NotContains(t, got.header, "Access-Control-Allow-Credentials")
		require.JSONEq(t, `{"hi":"me"}`, string(got.answer(t).Data))
	})
	t.Run("and read a denial with its challenge", func(t *testing.T) {
		for _, fields := range [][]string{nil, {"Authorization", "Bearer " + other}, {"Authorization", "Bearer garbage"}} {
			got := send(t, request(t, "POST", base+"/run/demo/notify", `{"hi":"me"}`, append(fields, "Origin", site)...))
			require.Equal(t, 403, got.status)
			require.Equal(t, "*", got.header.Get("Access-Control-Allow-Origin"))
			require.Contains(t, got.header.Get("Access-Control-Expose-Headers"), "Www-Authenticate")
		}
	})
	t.Run("and caches tell public answers apart", func(t *testing.T) {
		got := send(t, request(t, "GET", base+"/run/demo/hello", "", "Origin", site))
		require.ElementsMatch(t, []string{"Origin", "Authorization"}, got.header.Values("Vary"))
	})
	t.Run("but nothing else is open to them", func(t *testing.T) {
		for _, path := range []string{"/", "/app.js", "/nowhere", "/run/demo", "/revoke", "/revoke-all/demo"} {
			require.NotContains(t, send(t, request(t, "GET", base+path, "", "Origin", site)).header, "Access-Control-Allow-Origin")
		}
	})
}

func TestThePublicKeysAreServedIfThereAreAny(t *testing.T) {
	for alg, served := range map[string]bool{"EdDSA": true, "ES256": true, "PS256": true, "HS256": false, "HS512": false} {
		t.Run(alg, func(t *testing.T) {
			ring, handler := newService(t, filepath.Join(t.TempDir(), "keys.jwks"), alg, demoCatalogue())
			got := handle(t, handler, request(t, "GET", "/.well-known/jwks.json", ""))
			if !served {
				require.Equal(t, handle(t, handler, request(t, "GET", "/nowhere", "")), got)
				require.Equal(t, 404, got.status)
				return
			}
			require.Equal(t, 200, got.status)
			require.Equal(t, "application/jwk-set+json", got.header.Get("Content-Type"))
			var set struct{ Keys []map[string]string }
			require.NoError(t, json.Unmarshal([]byte(got.body), &set))
			require.Len(t, set.Keys, 1)
			require.Equal(t, ring.IDs()[0], set.Keys[0]["kid"])
			require.Equal(t, alg, set.Keys[0]["alg"])
			require.NotContains(t, set.Keys[0], "d", "the private half")
			require.Equal(t, 200, handle(t, handler, request(t, "HEAD", "/.well-known/jwks.json", "")).status)
			require.Equal(t, 405, handle(t, handler, request(t, "POST", "/.well-known/jwks.json", "")).status)
		})
	}
}

func TestThePageNeedsNothingButItsOwnFiles(t *testing.T) {
	base := serveRecipes(t, demoCatalogue())
	page := send(t, request(t, "GET", base+"/", ""))
	require.Equal(t, 200, page.status)

	require.NotRegexp(t, `(?i)<style|<script(?:[^>]*)>[^<]|\sstyle=|\son[a-z]+=|javascript:`, page.body, "inline code")
	links := regexp.MustCompile(`(?:src|href)="([^"]*)"`).FindAllStringSubmatch(page.body, -1)
	require.NotEmpty(t, links)
	files := []string{"/"}
	for _, link := range links {
		files = append(files, link[1])
	}
	types := map[string]string{
		"/":            "text/html; charset=utf-8",
		"/app.js":      "text/javascript; charset=utf-8",
		"/style.css":   "text/css; charset=utf-8",
		"/favicon.svg": "image/svg+xml",
	}
	require.Len(t, files, len(types))
	for _, file := range files {
		u, err := url.Parse(file)
		require.NoError(t, err)
		require.False(t, u.IsAbs(), "%s is elsewhere", file)
		got := send(t, request(t, "GET", base+file, ""))
		require.Equal(t, 200, got.status, file)
		require.Equal(t, types[file], got.header.Get("Content-Type"))
		require.Equal(t, contentSecurityPolicy, got.header.Get("Content-Security-Policy"))
		require.Equal(t, "nosniff", got.header.Get("X-Content-Type-Options"))
		require.Equal(t, "no-referrer", got.header.Get("Referrer-Policy"))
		require.NotRegexp(t, `@import|url\(|//[a-z]+\.[a-z]`,
			strings.ReplaceAll(got.body, "http://www.w3.org/2000/svg", ""), "an external resource in %s", file)
	}
	require.NotContains(t, contentSecurityPolicy, "unsafe")
	require.Equal(t, 405, send(t, request(t, "POST", base+"/", "")).status)
}

func TestTheServerBoundsWhatAClientCanKeepBusy(t *testing.T) {
	server := newServer(http.NotFoundHandler(), slog.New(slog.DiscardHandler))
	require.Positive(t, server.ReadHeaderTimeout)
	require.Positive(t, server.ReadTimeout)
	require.Positive(t, server.WriteTimeout)
	require.Positive(t, server.IdleTimeout)
	require.Greater(t, server.MaxHeaderBytes, 8<<10)
	require.Greater(t, shutdownTimeout, server.WriteTimeout)
}
