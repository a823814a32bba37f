package browser_test

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/cdproto/storage"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"
)

// patience is the time limit for each step. It is long enough for a slow machine.
const patience = time.Minute

// chromium starts a browser with a new profile. It returns the context of the first tab.
func chromium(t *testing.T) context.Context {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("chromium is not installed")
	}
	ctx, cancel := chromedp.NewExecAllocator(t.Context(), append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-component-update", true), chromedp.WSURLReadTimeout(patience))...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx, chromedp.WithBrowserOption(chromedp.WithDialTimeout(patience)))
	t.Cleanup(cancel)
	require.NoError(t, chromedp.Run(ctx))
	return ctx
}

// tab opens a tab. Errors in its console fail the test.
type tab struct {
	*testing.T
	ctx context.Context
}

func open(t *testing.T, browser context.Context, url string) *tab {
	t.Helper()
	ctx, cancel := chromedp.NewContext(browser)
	t.Cleanup(cancel)
	page := &tab{t, ctx}
	chromedp.ListenTarget(ctx, func(event any) {
		if e, ok := event.(*runtime.EventExceptionThrown); ok {
			t.Errorf("the page threw %s", e.ExceptionDetails.Error())
		}
	})
	require.NoError(t, chromedp.Run(ctx)) // the tab ends with the context of its first action
	page.do(network.Enable(), chromedp.Navigate(url))
	return page
}

func (p *tab) do(actions ...chromedp.Action) {
	p.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	require.NoError(p, chromedp.Run(ctx, actions...))
}

func (p *tab) click(selector string) {
	p.Helper()
	p.do(chromedp.Click(selector, chromedp.ByQuery, chromedp.NodeVisible))
}

// eval returns the value of an expression, and awaits a promise.
func eval[V any](p *tab, expression string) (value V) {
	p.Helper()
	p.do(chromedp.Evaluate(expression, &value, func(e *runtime.EvaluateParams) *runtime.EvaluateParams { return e.WithAwaitPromise(true) }))
	return value
}

// until waits until an expression is true. It does not use chromedp.Poll, which compiles a
// string to a function. The content security policy of the pages forbids that.
func (p *tab) until(expression string, about ...any) {
	p.Helper()
	for begun := time.Now(); !eval[bool](p, `Boolean(`+expression+`)`); time.Sleep(20 * time.Millisecond) {
		if time.Since(begun) > patience {
			require.Fail(p, "never: "+expression, "%s\n%s", fmt.Sprint(about...), eval[string](p, `document.body.innerText`))
		}
	}
}

// cookies returns the cookies of the whole browser by name.
func (p *tab) cookies() map[string]*network.Cookie {
	p.Helper()
	all := map[string]*network.Cookie{}
	p.do(chromedp.ActionFunc(func(ctx context.Context) error {
		cookies, err := storage.GetCookies().Do(ctx)
		for _, c := range cookies {
			all[c.Name] = c
		}
		return err
	}))
	return all
}

func quote(text string) string {
	return "`" + strings.NewReplacer("`", "", "$", "").Replace(text) + "`"
}

// navigating evaluates an expression that makes the page navigate.
func navigating(expression string) chromedp.Action {
	return chromedp.ActionFunc(func(ctx context.Context) error {
		_, err := chromedp.RunResponse(ctx, chromedp.Evaluate(expression, nil))
		return err
	})
}
