package browser_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/storage"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"
)

const email = "alice@example.com"

// ways are the two ways in which the page stores its tokens, with their endpoints.
var ways = map[string]string{"storage": "/auth/jwt/", "cookie": "/auth/cookie/"}

func inEachWay(t *testing.T, test func(t *testing.T, mode, endpoints string)) {
	for mode, endpoints := range ways {
		t.Run(mode, func(t *testing.T) { test(t, mode, endpoints) })
	}
}

// service runs the example behind a wire. Its access tokens live for two seconds.
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
	p.insist("#login-button", `document.body.dataset.state === "in"`)
	return p
}

// logout clicks until all tabs show the logout. It returns the number of clicks.
func (p *tab) logout() int {
	p.Helper()
	return p.insist("#logout-button", `document.body.dataset.state === "out"`)
}

// atOnce is the shortest life of an access token here. A step that fails sooner has really
// failed. A longer step may meet a token that has expired again, since the page repeats a
// call only once. It may also exceed the five seconds that the page waits for an answer.
const atOnce = time.Second

// insist clicks and waits for the result. It clicks again only if the page worked for longer
// than atOnce. It returns the number of clicks.
func (p *tab) insist(selector, expression string) (clicks int) {
	p.Helper()
	p.click(selector)
	for begun, clicked, slow := time.Now(), time.Now(), false; ; time.Sleep(20 * time.Millisecond) {
		if eval[bool](p, `Boolean(`+expression+`)`) {
			return clicks + 1
		}
		require.Less(p, time.Since(begun), patience, "never: %s", expression)
		busy := eval[bool](p, `Boolean(document.querySelector("[aria-busy]"))`)
		slow = slow || busy && time.Since(clicked) > atOnce
		if slow && !busy {
			clicks, clicked, slow = clicks+1, time.Now(), false
			p.do(chromedp.Evaluate(`document.querySelector("`+selector+`").click()`, nil))
		}
	}
}

// call clicks until the request is allowed.
func (p *tab) call() {
	p.Helper()
	p.do(chromedp.Evaluate(`document.getElementById("call-status").textContent = ""`, nil))
	p.insist("#call-button", `document.getElementById("call-status").textContent === "200"`)
}

// expires waits until the server rejects the access token, and the call that found this has
// refreshed it. The server's clock decides, so the speed of the machine does not matter.
func (s *service) expires(t *testing.T, p *tab, endpoints string) {
	t.Helper()
	before := s.count("POST", endpoints+"refresh/", 200)
	for begun := time.Now(); s.count("POST", endpoints+"refresh/", 200) == before; time.Sleep(200 * time.Millisecond) {
		require.Less(t, time.Since(begun), patience, "nothing expires")
		p.call()
	}
}

func TestLoginCallExpiryAndSilentRefresh(t *testing.T) {
	inEachWay(t, func(t *testing.T, mode, endpoints string) {
		s := newService(t)
		p := s.login(t, chromium(t), mode)
		p.call()
		require.Contains(t, eval[string](p, `document.getElementById("output").textContent`), `"subject"`)
		const listed = `document.querySelectorAll("#sessions li[data-current=true]").length === 1`
		p.until(listed + ` || document.getElementById("message").textContent.includes("took too long")`)
		p.insist("#sessions-button", listed)
		s.expires(t, p, endpoints)
		require.NotZero(t, s.count("GET", "/api/me", 401), "it was refused in between")
		p.until(`document.body.dataset.state === "in"`)

		// A reload keeps the session.
		p.do(chromedp.Reload())
		p.until(`document.body.dataset.state === "in"`)
		p.call()

		clicks := p.logout()
		require.Empty(t, eval[string](p, `String(localStorage.getItem("access_token") ?? "") + String(localStorage.getItem("refresh_token") ?? "")`))
		require.Empty(t, p.cookies())
		require.NotZero(t, s.count("POST", endpoints+"logout/", 204))
		require.LessOrEqual(t, s.count("POST", endpoints+"logout/", 204), clicks)
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
			const letIn = `document.getElementById("call-status").textContent === "200"`
			before := s.count("GET", "/api/me", 401)
			for begun, done := time.Now(), false; !done; time.Sleep(300 * time.Millisecond) { // until both tabs got a 401 at the same time
				require.Less(t, time.Since(begun), patience, "the two calls were never rejected at the same time and then both allowed")
				clicked := time.Now()
				for _, p := range []*tab{first, second} {
					p.do(chromedp.Evaluate(`document.getElementById("call-five-button").click()`, nil))
				}
				done = true
				for _, p := range []*tab{first, second} {
					p.until(`!document.querySelector("[aria-busy]")`)
					done = eval[bool](p, letIn) && done
				}
				require.True(t, done || time.Since(clicked) > atOnce, "both calls are allowed")
				done = done && s.count("GET", "/api/me", 401) >= before+6
			}
		}
		require.Zero(t, s.count("POST", endpoints+"refresh/", 401))
		for _, p := range []*tab{first, second} {
			p.until(`document.body.dataset.state === "in"`)
			p.call()
		}
		second.logout()
		first.until(`document.body.dataset.state === "out"`, "the logout of the other tab")
	})
}

// Without a shared lock, both tabs refresh with the same token. The server gives both the
// same successor.
func TestTwoTabsWithoutLocksStayLoggedIn(t *testing.T) {
	inEachWay(t, func(t *testing.T, mode, endpoints string) {
		s := newService(t, "-access-ttl", "1h")
		p := s.login(t, chromium(t), mode)
		s.together(endpoints+"refresh/", 4)
		body := `JSON.stringify(` + map[string]string{"storage": `{refresh_token: localStorage.getItem("refresh_token")}`, "cookie": `{}`}[mode] + `)`
		statuses := eval[[]int](p, `Promise.all([1, 2, 3, 4].map(() => fetch("`+endpoints+`refresh/", {method: "POST", headers: {"Content-Type": "application/json"}, body: `+body+`}).then((r) => r.status)))`)
		require.Equal(t, []int{200, 200, 200, 200}, statuses)
		p.call()
	})
}

func TestARefreshWhoseAnswerIsLostLogsNobodyOut(t *testing.T) {
	inEachWay(t, func(t *testing.T, mode, endpoints string) {
		s := newService(t)
		p := s.login(t, chromium(t), mode)
		s.losing(endpoints+"refresh/", 1)
		s.expires(t, p, endpoints)
		asked := slices.DeleteFunc(s.all(), func(r sent) bool { return r.path != "/api/me" && r.path != endpoints+"refresh/" })
		lost := slices.IndexFunc(asked, func(r sent) bool { return r.path == endpoints+"refresh/" })
		require.Less(t, lost+1, len(asked))
		require.Equal(t, endpoints+"refresh/", asked[lost+1].path, "it asked again, by itself")
		p.until(`document.body.dataset.state === "in"`)
		p.call()
		require.Zero(t, s.count("POST", endpoints+"refresh/", 401))
	})
}

// A thief has copied the refresh token, and uses it after the grace.
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
		for range 2 { // rotate the refresh token twice
			time.Sleep(21 * time.Second) // longer than the grace, in which the same successor is given again
			s.expires(t, victim, endpoints)
		}
		require.Equal(t, 401, stolen())
		require.NotContains(t, thief.cookies(), "__Secure-refresh", "which the thief loses")
		victim.insist("#call-button", `document.body.dataset.state === "out"`)
		require.Equal(t, 401, stolen())
		require.Zero(t, s.count("POST", endpoints+"refresh/", 503))
	})
}

func TestNoScriptSeesTheCookies(t *testing.T) {
	s := newService(t, "-access-ttl", "1h")
	p := s.login(t, chromium(t), "cookie")
	p.call()
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

// Scripts cannot read cookies, so the page prefers them where browsers keep them.
func TestCookiesArePreselected(t *testing.T) {
	p := open(t, chromium(t), newService(t).URL+"/")
	p.until(`document.body.dataset.state === "out"`)
	require.True(t, eval[bool](p, `document.querySelector("#mode-cookie").checked`))
}
