package browser_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// elsewhere serves a page on another origin. With the same host name, the page is of the same
// site, since a site ignores ports. With the other host name, it is of another site.
func elsewhere(t *testing.T, host, html string) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, "<!doctype html><title>elsewhere</title>"+html)
	}))
	t.Cleanup(server.Close)
	return strings.Replace(server.URL, "127.0.0.1", host, 1) + "/"
}

func TestAHostilePageCannotUseTheCookies(t *testing.T) {
	for site, host := range map[string]string{"of the same site": "127.0.0.1", "of another site": "localhost"} {
		t.Run(site, func(t *testing.T) {
			s := newService(t, "-access-ttl", "1h")
			browser := chromium(t)
			victim := s.login(t, browser, "cookie")
			victim.call()
			before, seen := victim.cookies(), len(s.all())

			hostile := open(t, browser, elsewhere(t, host, ""))
			for _, endpoint := range []string{"create/", "refresh/", "verify/", "logout/"} {
				for _, mode := range []string{"no-cors", "cors"} {
					// A simple request needs no preflight.
					require.Equal(t, "nothing", eval[string](hostile, `fetch("`+s.URL+`/auth/cookie/`+endpoint+`", {method: "POST", mode: "`+mode+`", credentials: "include", body: '{"everywhere":true}'}).then(async (r) => (await r.text()) || "nothing", () => "nothing")`), endpoint)
				}
			}
			for _, path := range []string{"/api/me", "/auth/cookie/sessions/"} {
				require.Equal(t, "nothing", eval[string](hostile, `fetch("`+s.URL+path+`", {credentials: "include"}).then((r) => r.text(), () => "nothing")`), path)
			}
			// Forms need no preflight either.
			form := open(t, browser, elsewhere(t, host, `<form method="post" enctype="text/plain" action="`+s.URL+`/auth/cookie/logout/"><input name='{"everywhere":true,"x":"' value='"}'></form>`))
			form.do(navigating(`document.forms[0].submit()`))
			form.until(`location.pathname === "/auth/cookie/logout/"`)

			for _, request := range s.all()[seen:] {
				if request.method == "POST" {
					require.Equal(t, 403, request.status, "%+v", request)
				}
			}
			require.GreaterOrEqual(t, s.count("POST", "/auth/cookie/*", 403), 9)
			after := victim.cookies()
			for name := range before {
				require.Equal(t, before[name].Value, after[name].Value, name)
			}
			victim.call()
			victim.until(`document.body.dataset.state === "in"`)
		})
	}
}

// The endpoints for clients that store tokens themselves set no cookies and read none.
func TestAHostilePageCannotLogOutByTheOtherEndpoints(t *testing.T) {
	s := newService(t, "-access-ttl", "1h")
	browser := chromium(t)
	victim := s.login(t, browser, "cookie")
	hostile := open(t, browser, elsewhere(t, "127.0.0.1", ""))
	eval[string](hostile, `fetch("`+s.URL+`/auth/jwt/logout/", {method: "POST", mode: "no-cors", credentials: "include"}).then(() => "", () => "")`)
	require.Equal(t, 1, s.count("POST", "/auth/jwt/logout/", 401), "cookies are nothing there")
	victim.call()
}
