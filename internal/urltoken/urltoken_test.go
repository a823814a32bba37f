package urltoken_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth/internal/urltoken"
)

var names = []string{"token"}

func TestCut_LeavesNoTokenInAnyCopyOfTheURL(t *testing.T) {
	for name, c := range map[string]struct{ query, kept string }{
		"the token alone":                      {"token=x", ""},
		"between other parameters":             {"a=1&token=x&b=%20", "a=1&b=%20"},
		"twice":                                {"token=x&token=y&a", "a"},
		"a name with escapes":                  {"%74oken=x&a=1", "a=1"},
		"an empty token":                       {"token&a=1", "a=1"},
		"another parameter that begins alike":  {"token2=x", "token2=x"},
		"a query that does not parse":          {"a=%zz&token=x", ""},
		"a query with a semicolon":             {"a=1;token=x", ""},
		"no query":                             {"", ""},
		"parameters without names":             {"&=&a", "&=&a"},
		"a plus, which net/url reads as space": {"tok+en=x", "tok+en=x"},
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest("GET", "/", nil)
			r.URL.RawQuery, r.RequestURI = c.query, "/?"+c.query
			_ = r.ParseForm()
			before := r.Clone(context.Background())
			cut := urltoken.Find(r, names).Cut(r)
			require.Equal(t, c.kept, cut.URL.RawQuery)
			require.NotContains(t, cut.Form, "token")
			require.Equal(t, before.URL, r.URL, "the caller's request must not change")
			require.Equal(t, c.query, urltoken.Query(cut), "an inner middleware must still find the token")
			require.Equal(t, c.query, urltoken.Sent(cut).URL.RawQuery)
			if c.kept != c.query {
				for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
					require.NotContains(t, fmt.Sprintf(verb, cut.Context()), "token=", verb)
					require.NotContains(t, fmt.Sprintf(verb, cut), "token=", verb)
				}
			}
		})
	}
}

func TestQuery_OfARequestThatAHandlerMakesIsItsOwn(t *testing.T) {
	r := httptest.NewRequest("GET", "/?token=x&a=1", nil)
	cut := urltoken.Find(r, names).Cut(r)
	own, err := http.NewRequestWithContext(cut.Context(), "GET", "/other?b=2", nil)
	require.NoError(t, err)
	require.Equal(t, "b=2", urltoken.Query(own))
	clone := cut.Clone(cut.Context())
	clone.URL = &url.URL{Path: "/other"}
	require.Empty(t, urltoken.Query(clone))
	forged := httptest.NewRequest("GET", "/", nil)
	forged.URL.RawFragment = cut.URL.RawFragment
	require.Empty(t, urltoken.Query(forged), "a client that sends the mark must not get a query with it")
	require.Equal(t, "token=x&a=1", urltoken.Query(cut), "the request that was cut must keep its own query")
}

func TestFind_LooksIntoEveryCopy(t *testing.T) {
	for name, c := range map[string]struct {
		change        func(r *http.Request)
		found, broken bool
	}{
		"nothing":                             {func(*http.Request) {}, false, false},
		"in the URL":                          {func(r *http.Request) { r.URL.RawQuery = "token=x" }, true, false},
		"in the RequestURI alone":             {func(r *http.Request) { r.RequestURI = "/?token=x" }, true, false},
		"in a RequestURI that does not parse": {func(r *http.Request) { r.RequestURI = "/?%" }, true, false},
		"in the form of the URL":              {func(r *http.Request) { r.Form = url.Values{"token": {"x"}} }, true, false},
		"in the body alone": {func(r *http.Request) {
			r.Form, r.PostForm = url.Values{"token": {"x"}}, url.Values{"token": {"x"}}
		}, false, false},
		"in a URL that does not parse": {func(r *http.Request) { r.URL.RawQuery = "a=%" }, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest("GET", "/", nil)
			c.change(r)
			require.Equal(t, c.found || c.broken || r.Form != nil, urltoken.Possible(r))
			found := urltoken.Find(r, names)
			require.Equal(t, c.found, found.Found)
			require.Equal(t, c.broken, found.Broken)
			require.Equal(t, urltoken.Tokens{}, urltoken.Find(r, nil))
			if !c.found && !c.broken {
				require.Same(t, r, found.Cut(r))
			}
		})
	}
}

// FuzzScan compares the scanner with net/url.
func FuzzScan(f *testing.F) {
	for _, query := range []string{"", "token=x", "a=1&%74oken=x&b", "token=a&token=b", "a;b", "%", "token", "&=&", "token=%zz", "token=%4"} {
		f.Add(query)
	}
	f.Fuzz(func(t *testing.T, query string) {
		want, err := url.ParseQuery(query)
		value, n, ok := urltoken.Scan(query, names)
		require.Equal(t, err == nil, ok)
		if ok {
			require.Len(t, want["token"], n)
			require.Equal(t, want.Get("token"), value)
		}
	})
}
