package browser_test

import (
	"context"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/storage"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"
)

const email = "alice@example.com"

// ways are the two in which the page keeps its tokens, and their endpoints.
var ways = map[string]string{"storage": "/auth/jwt/", "cookie": "/auth/cookie/"}

func inEachWay(t *testing.T, test func(t *testing.T, mode, endpoints string)) {
	for mode, endpoints := range ways {
		t.Run(mode, func(t *testing.T) { test(t, mode, endpoints) })
	}
}

// service is the example, behind a wire. Its access tokens live for two seconds.
type service struct {
	*wire
	password string
}

func newService(t *testing.T, args ...string) *service {
	t.Helper()
	p := run(t, "login", append([]string{"-access-ttl", "2s"}, args...)...)
	return &service{p.wire(t), p.printed(t, "ALICE")}
}

func (s *service) login(t *testing.T, browser context.Context, mode string) *tab {
	t.Helper()
	p := open(t, browser, s.URL+"/")
	p.until(`document.body.dataset.state === "out"`)
	p.click("#mode-" + mode)
	p.do(chromedp.SetValue("#email", email, chromedp.ByQuery), chromedp.SendKeys("#password", s.password, chromedp.ByQuery))
	p.click("#login-button")
	p.until(`document.body.dataset.state === "in"`, "logging in")
	return p
}

// call clicks, and waits for the answer.
func (p *tab) call(status string) {
	p.Helper()
	p.do(chromedp.Evaluate(`document.getElementById("call-status").textContent = ""`, nil))
	p.click("#call-button")
	p.until(`document.getElementById("call-status").textContent === "` + status + `"`)
}

// expires waits until the access token is refused, and refreshed by the call that found
// out: by the server's clock, however fast this machine is.
func (s *service) expires(t *testing.T, p *tab, endpoints string) {
	t.Helper()
	before := s.count("POST", endpoints+"refresh/", 200)
	require.Eventually(t, func() bool {
		p.call("200")
		return s.count("POST", endpoints+"refresh/", 200) > before
	}, patience, 200*time.Millisecond)
}

func TestLoginCallExpiryAndSilentRefresh(t *testing.T) {
	inEachWay(t, func(t *testing.T, mode, endpoints string) {
		s := newService(t)
		p := s.login(t, chromium(t), mode)
		p.call("200")
		require.Contains(t, eval[string](p, `document.getElementById("output").textContent`), `"subject"`)
		p.until(`document.querySelectorAll("#sessions li[data-current=true]").length === 1`)
		s.expires(t, p, endpoints)
		require.NotZero(t, s.count("GET", "/api/me", 401), "it was refused in between")
		p.until(`document.body.dataset.state === "in"`)

		// Reloading forgets nothing.
		p.do(chromedp.Reload())
		p.until(`document.body.dataset.state === "in"`)
		p.call("200")

		p.click("#logout-button")
		p.until(`document.body.dataset.state === "out"`)
		require.Empty(t, eval[string](p, `String(localStorage.getItem("access_token") ?? "") + String(localStorage.getItem("refresh_token") ?? "")`))
		require.Empty(t, p.cookies())
		require.Equal(t, 1, s.count("POST", endpoints+"logout/", 204))
	})
}

func TestTwoTabsThatRefreshAtOnceStayLoggedIn(t *testing.T) {
	inEachWay(t, func(t *testing.T, mode, endpoints string) {
		s := newService(t)
		browser := chromium(t)
		first := s.login(t, browser, mode)
		second := open(t, browser, s.URL+"/")
		second.until(`document.body.dataset.state === "in"`, "the login of the other tab")
		s.expires(t, first, endpoints)
		for range 3 {
			before := s.count("GET", "/api/me", 401)
			require.Eventually(t, func() bool { // until both were refused at once
				for _, p := range []*tab{first, second} {
					p.do(chromedp.Evaluate(`document.getElementById("call-five-button").click()`, nil))
				}
				for _, p := range []*tab{first, second} {
					p.until(`!document.querySelector("[aria-busy]") && document.getElementById("call-status").textContent === "200"`)
				}
				return s.count("GET", "/api/me", 401) >= before+6
			}, patience, 300*time.Millisecond)
		}
		require.Zero(t, s.count("POST", endpoints+"refresh/", 401))
		for _, p := range []*tab{first, second} {
			p.until(`document.body.dataset.state === "in"`)
			p.call("200")
		}
		second.click("#logout-button")
		first.until(`document.body.dataset.state === "out"`, "the logout of the other tab")
	})
}

// Without the lock that tabs share they refresh with the same token, and the server
// gives both the same successor.
func TestTwoTabsWithoutLocksStayLoggedIn(t *testing.T) {
	inEachWay(t, func(t *testing.T, mode, endpoints string) {
		s := newService(t)
		p := s.login(t, chromium(t), mode)
		body := `JSON.stringify(` + map[string]string{"storage": `{refresh_token: localStorage.getItem("refresh_token")}`, "cookie": `{}`}[mode] + `)`
		statuses := eval[[]int](p, `Promise.all([1, 2, 3, 4].map(() => fetch("`+endpoints+`refresh/", {method: "POST", headers: {"Content-Type": "application/json"}, body: `+body+`}).then((r) => r.status)))`)
		require.Equal(t, []int{200, 200, 200, 200}, statuses)
		p.call("200")
	})
}

func TestARefreshWhoseAnswerIsLostLogsNobodyOut(t *testing.T) {
	inEachWay(t, func(t *testing.T, mode, endpoints string) {
		s := newService(t)
		p := s.login(t, chromium(t), mode)
		s.losing(endpoints+"refresh/", 1)
		s.expires(t, p, endpoints)
		require.Eventually(t, func() bool { return s.count("POST", endpoints+"refresh/", 200) >= 2 }, patience, 100*time.Millisecond, "it asked again")
		p.until(`document.body.dataset.state === "in"`)
		p.call("200")
		require.Zero(t, s.count("POST", endpoints+"refresh/", 401))
	})
}

// A thief has copied the refresh token, and comes when the grace is over.
func TestAStolenRefreshTokenEndsTheSessionForBoth(t *testing.T) {
	inEachWay(t, func(t *testing.T, mode, endpoints string) {
		s := newService(t, "-grace", "0s")
		victim := s.login(t, chromium(t), mode)
		thief := open(t, chromium(t), s.URL+"/")
		var stolen func() int
		if mode == "storage" {
			token := eval[string](victim, `localStorage.getItem("refresh_token")`)
			stolen = func() int {
				return eval[int](thief, `fetch("`+endpoints+`refresh/", {method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify({refresh_token: `+quote(token)+`})}).then((r) => r.status)`)
			}
		} else {
			var all []*network.CookieParam
			for _, c := range victim.cookies() {
				all = append(all, &network.CookieParam{Name: c.Name, Value: c.Value, URL: s.URL, Path: c.Path, Secure: true, HTTPOnly: true, SameSite: c.SameSite})
			}
			thief.do(chromedp.ActionFunc(func(ctx context.Context) error { return storage.SetCookies(all).Do(ctx) }))
			require.NotNil(t, thief.cookies()["__Secure-refresh"], "the browser took the stolen cookie")
			stolen = func() int {
				return eval[int](thief, `fetch("`+endpoints+`refresh/", {method: "POST"}).then((r) => r.status)`)
			}
		}
		s.expires(t, victim, endpoints) // and has another refresh token
		time.Sleep(11 * time.Second)    // the ten seconds for clocks that differ
		require.Equal(t, 401, stolen())
		require.NotContains(t, thief.cookies(), "__Secure-refresh", "which the thief loses")
		victim.click("#call-button")
		victim.until(`document.body.dataset.state === "out"`, "the victim is told")
		require.Equal(t, 401, stolen())
		require.Zero(t, s.count("POST", endpoints+"refresh/", 503))
	})
}

func TestNoScriptSeesTheCookies(t *testing.T) {
	s := newService(t)
	p := s.login(t, chromium(t), "cookie")
	p.call("200")
	require.Empty(t, eval[string](p, `document.cookie`))
	require.Empty(t, eval[string](p, `cookieStore.getAll().then((all) => all.map((c) => c.name).join())`))
	require.NotContains(t, eval[string](p, `JSON.stringify(localStorage) + JSON.stringify(sessionStorage) + document.documentElement.innerHTML`), "eyJ")
	require.NotContains(t, eval[string](p, `fetch("/auth/cookie/refresh/", {method: "POST"}).then(async (r) => JSON.stringify([...r.headers]) + await r.text())`), "eyJ")
	kept := p.cookies()
	require.Len(t, kept, 3)
	for name, path := range map[string]string{"__Host-access": "/", "__Host-session": "/", "__Secure-refresh": "/auth/cookie/"} {
		c := kept[name]
		require.NotNil(t, c, name)
		require.True(t, c.HTTPOnly && c.Secure, name)
		require.Equal(t, network.CookieSameSiteLax, c.SameSite)
		require.Equal(t, path, c.Path)
	}
	for _, request := range s.all() {
		if request.path == "/api/me" {
			require.NotContains(t, request.cookies, "__Secure-refresh", "it goes to its endpoints alone")
		}
	}
}
