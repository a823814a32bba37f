package browser_test

import (
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"
)

func TestTheRecipesPageByClick(t *testing.T) {
	p := run(t, "recipes")
	page := open(t, chromium(t), p.url.String()+"/")
	status := func(call string) string {
		return `document.querySelector('[data-call="` + call + `"]').closest("li").querySelector(".status").textContent`
	}
	clicked := func(call, want string) {
		t.Helper()
		page.do(chromedp.Evaluate(status(call)+` = ""`, nil))
		page.click(`[data-call="` + call + `"]`)
		page.until(status(call)+` === "`+want+`"`, call)
	}
	clicked("public", "200")
	clicked("none", "403")
	page.do(chromedp.SendKeys("#owner-key", p.printed(t, "OWNER_KEY"), chromedp.ByQuery))
	for _, container := range []string{"demo", "other"} {
		page.click(`#mint button[value="` + container + `"]`)
		page.until(`!document.querySelector('.tokens li[data-container="` + container + `"] .token').textContent.includes("no token")`)
	}
	clicked("header", "200")
	clicked("query", "200")
	clicked("other", "403")
	clicked("public", "200")
	clicked("revoke", "200")
	clicked("header", "403")
	page.click(`#mint button[value="demo"]`)
	page.until(`document.querySelector('[data-call="header"]').disabled === false && !document.querySelector('.tokens li[data-container="demo"] .token').textContent.includes("revoked")`)
	clicked("header", "200")
	clicked("revokeAll", "204")
	clicked("query", "403")
	require.NotContains(t, eval[string](page, `location.href`), "token")
}

// A page of another site sends its token by XMLHttpRequest. A preflight must allow the
// Authorization header first.
func TestAPageElsewhereCallsARecipe(t *testing.T) {
	p := run(t, "recipes")
	w := p.wire(t)
	page := open(t, chromium(t), elsewhere(t, "localhost", ""))
	type answer struct {
		Status int
		Body   string
	}
	send := func(method, path, field, value, body string) answer {
		t.Helper()
		return eval[answer](page, `new Promise((done) => {
			const xhr = new XMLHttpRequest();
			xhr.open("`+method+`", "`+w.URL+path+`");
			xhr.setRequestHeader("`+field+`", "`+value+`");
			xhr.onloadend = () => done({Status: xhr.status, Body: xhr.responseText});
			xhr.send(`+body+`);
		})`)
	}
	require.Zero(t, send("POST", "/create-token/demo", "Authorization", "Basic ZGVtbzp4", "null").Status, "pages elsewhere may not mint")
	require.Zero(t, w.count("POST", "/create-token/demo", 403)+w.count("POST", "/create-token/demo", 200), "the preflight told them")

	token := mint(t, p, "demo")
	got := send("POST", "/run/demo/notify", "Authorization", "Bearer "+token, `'{"hi":"me"}'`)
	require.Equal(t, 200, got.Status, got.Body)
	require.Contains(t, got.Body, `"hi"`)
	require.NotZero(t, w.count("OPTIONS", "/run/demo/notify", 204)+w.count("OPTIONS", "/run/demo/notify", 200))
	require.Equal(t, 403, send("POST", "/run/other/notify", "Authorization", "Bearer "+token, "null").Status)
	require.Equal(t, 200, send("GET", "/run/demo/notify?token="+token, "Accept", "application/json", "null").Status)
}
