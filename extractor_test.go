package jwtauth_test

import (
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/internal/authtest"
	"github.com/joinednode/jwtauth/keys"
)

func TestExtractor_WhereATokenIsFound(t *testing.T) {
	type extractors = []jwtauth.Extractor
	auths := func(values ...string) http.Header { return http.Header{"Authorization": values} }
	withCookie := func(cookie string) http.Header { return http.Header{"Cookie": {cookie}} }
	cookies := extractors{jwtauth.FromCookie("session")}
	raw := extractors{jwtauth.FromHeader("x-api-token", "")}
	own := func(p jwtauth.RawToken, err error) extractors {
		return extractors{func(*http.Request) (jwtauth.RawToken, error) { return p, err }, jwtauth.FromHeader("Authorization", "Bearer")}
	}
	good, expired := authtest.GoodToken(), authtest.Sign(authtest.Header, authtest.ClaimsJSON(map[string]any{"exp": 1}))
	for name, test := range map[string]struct {
		extractors extractors // nil for the default
		header     http.Header
		query      string
		want       error
	}{
		"nothing anywhere":                          {nil, nil, "", jwtauth.ErrNoToken},
		"the header":                                {nil, auths("Bearer " + good), "", nil},
		"the query":                                 {nil, nil, "token=" + good, nil},
		"the query, its name escaped":               {nil, nil, "%74oke%6e=" + good, nil},
		"the query among others":                    {nil, nil, "a=1&token=" + good + "&b=2", nil},
		"the header before the query":               {nil, auths("Bearer " + good), "token=" + expired, nil},
		"a bad header before a good query":          {nil, auths("Bearer " + expired), "token=" + good, jwtauth.ErrExpired},
		"a garbled header before a good query":      {nil, auths("Bearer a b"), "token=" + good, jwtauth.ErrMalformed},
		"a scheme without a token, then the query":  {nil, auths("Bearer"), "token=" + good, jwtauth.ErrMalformed},
		"a scheme with spaces only":                 {nil, auths("Bearer  "), "", jwtauth.ErrMalformed},
		"the scheme in another case":                {nil, auths("bEARER " + good), "", nil},
		"several spaces":                            {nil, auths("Bearer   " + good), "", nil},
		"a tab instead of a space":                  {nil, auths("Bearer\t" + good), "", jwtauth.ErrMalformed},
		"a space behind the token":                  {nil, auths("Bearer " + good + " "), "", jwtauth.ErrMalformed},
		"a space before the scheme":                 {nil, auths(" Bearer " + good), "", jwtauth.ErrNoToken},
		"the scheme twice":                          {nil, auths("Bearer Bearer " + good), "", jwtauth.ErrMalformed},
		"a comma behind the token":                  {nil, auths("Bearer " + good + ",x"), "", jwtauth.ErrMalformed},
		"quotes around the token":                   {nil, auths(`Bearer "` + good + `"`), "", jwtauth.ErrMalformed},
		"an = before the token's end":               {nil, auths("Bearer =" + good), "", jwtauth.ErrMalformed},
		"an = as the token":                         {nil, auths("Bearer ="), "", jwtauth.ErrMalformed},
		"a scheme that only begins so":              {nil, auths("Bearerx " + good), "", jwtauth.ErrNoToken},
		"a scheme followed by a comma":              {nil, auths("Bearer,x"), "", jwtauth.ErrMalformed},
		"another scheme":                            {nil, auths("Basic YTpi"), "", jwtauth.ErrNoToken},
		"another scheme, then the query":            {nil, auths("Basic YTpi"), "token=" + good, nil},
		"an empty header, then the query":           {nil, auths(""), "token=" + good, nil},
		"two headers":                               {nil, auths("Bearer "+good, "Bearer "+good), "", jwtauth.ErrAmbiguousToken},
		"two headers of different schemes":          {nil, auths("Basic YTpi", "Bearer "+good), "", jwtauth.ErrAmbiguousToken},
		"two parameters":                            {nil, nil, "token=" + good + "&token=" + good, jwtauth.ErrAmbiguousToken},
		"two parameters, one with an escaped name":  {nil, nil, "token=" + good + "&%74oken=x", jwtauth.ErrAmbiguousToken},
		"a parameter without a value":               {nil, nil, "token=", jwtauth.ErrMalformed},
		"a parameter without even an =":             {nil, nil, "token", jwtauth.ErrMalformed},
		"a parameter with a space":                  {nil, nil, "token=" + good + "+", jwtauth.ErrMalformed},
		"a parameter with an escaped line break":    {nil, nil, "token=" + good + "%0A", jwtauth.ErrMalformed},
		"the parameter in another case":             {nil, nil, "Token=" + good, jwtauth.ErrNoToken},
		"a longer name":                             {nil, nil, "xtoken=" + good + "&tokens=" + good, jwtauth.ErrNoToken},
		"a query with a semicolon":                  {nil, nil, "a=1;token=" + good, jwtauth.ErrMalformed},
		"a query with half an escape":               {nil, nil, "token=" + good + "&a=%f", jwtauth.ErrMalformed},
		"a query with a bad escape in a name":       {nil, nil, "%zz=1&token=" + good, jwtauth.ErrMalformed},
		"a good header beside a query that is none": {nil, auths("Bearer " + good), "a=%", jwtauth.ErrMalformed},
		"empty pairs in the query":                  {nil, nil, "&&token=" + good + "&", nil},

		"another header":                   {raw, http.Header{"X-Api-Token": {good}}, "", nil},
		"another header twice":             {raw, http.Header{"X-Api-Token": {good, good}}, "", jwtauth.ErrAmbiguousToken},
		"another header, empty":            {raw, http.Header{"X-Api-Token": {""}}, "", jwtauth.ErrNoToken},
		"another header, not ours":         {raw, auths("Bearer " + good), "token=" + good, jwtauth.ErrNoToken},
		"a query that no extractor reads":  {raw, http.Header{"X-Api-Token": {good}}, "a=%", nil},
		"a cookie":                         {cookies, withCookie("a=b; session=" + good), "", nil},
		"no cookie of that name":           {cookies, withCookie("Session=" + good), "", jwtauth.ErrNoToken},
		"an empty cookie":                  {cookies, withCookie("session="), "", jwtauth.ErrNoToken},
		"two cookies that are equal":       {cookies, withCookie("session=" + good + "; session=" + good), "", nil},
		"an empty cookie, then a good one": {cookies, withCookie("session=; session=" + good), "", nil},
		"a good cookie, then an empty one": {cookies, withCookie("session=" + good + "; session="), "", nil},
		"two empty cookies":                {cookies, withCookie("session=; session="), "", jwtauth.ErrNoToken},
		"two different cookies":            {cookies, withCookie("session=" + good + "; session=" + expired), "", jwtauth.ErrAmbiguousToken},
		"a cookie between two equal ones":  {cookies, withCookie("session=" + good + "; session=" + expired + "; session=" + good), "", jwtauth.ErrAmbiguousToken},

		"one's own":                           {own(jwtauth.RawToken{Token: good, In: jwtauth.InHeader}, nil), nil, "", nil},
		"one's own that finds nothing":        {own(jwtauth.RawToken{}, nil), auths("Bearer " + good), "", nil},
		"one's own that finds an empty one":   {own(jwtauth.RawToken{In: jwtauth.InHeader}, nil), auths("Bearer " + good), "", nil},
		"one's own that fails":                {own(jwtauth.RawToken{}, errors.New("no")), auths("Bearer " + good), "", jwtauth.ErrMalformed},
		"one's own that cannot know":          {own(jwtauth.RawToken{}, fmt.Errorf("%w: vault is down", jwtauth.ErrUnavailable)), auths("Bearer " + good), "", jwtauth.ErrUnavailable},
		"one's own that says where it is not": {own(jwtauth.RawToken{Token: good}, nil), http.Header{"Sec-Fetch-Site": {"same-origin"}}, "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			var opts []jwtauth.Option
			if test.extractors != nil {
				opts = append(opts, jwtauth.WithExtractors(test.extractors...))
			}
			r := authtest.Request("GET", authtest.DemoPath, test.header)
			r.URL.RawQuery = test.query
			w, s := authtest.Serve(authtest.NewAuth(t, opts...).Private, r)
			_, err := authtest.NewAuth(t, append(opts, jwtauth.WithContainer(func(*http.Request) string { return "demo" }))...).Check(r)
			if test.want == nil {
				require.NoError(t, err)
				require.True(t, s.OK)
				return
			}
			require.ErrorIs(t, err, test.want)
			require.False(t, s.Ran)
			require.Contains(t, []int{http.StatusForbidden, http.StatusServiceUnavailable}, w.Code)
		})
	}
}

func TestExtractor_NoFurtherOneIsAskedOnceOneFoundSomething(t *testing.T) {
	auth := authtest.NewAuth(t, jwtauth.WithExtractors(jwtauth.FromHeader("Authorization", "Bearer"), func(r *http.Request) (jwtauth.RawToken, error) {
		require.Empty(t, r.Header, "only New may call this extractor, with an empty request")
		return jwtauth.RawToken{}, nil
	}))
	_, s := authtest.Serve(auth.Private, authtest.Request("GET", authtest.DemoPath, authtest.Bearer(authtest.GoodToken())))
	require.True(t, s.OK)
	_, s = authtest.Serve(auth.Private, authtest.Request("GET", authtest.DemoPath, authtest.Bearer("garbage")))
	require.False(t, s.Ran)
}

func TestExtractor_MadeOfNothingFindsNothing(t *testing.T) {
	for name, e := range map[string]jwtauth.Extractor{
		"FromHeader": jwtauth.FromHeader("", ""), "FromQuery": jwtauth.FromQuery(""), "FromCookie": jwtauth.FromCookie(""), "FromForm": jwtauth.FromForm(""),
	} {
		_, err := jwtauth.New(keys.HS256(authtest.Secret), jwtauth.WithExtractors(func(r *http.Request) (jwtauth.RawToken, error) { return e(r) }))
		require.ErrorContains(t, err, name, "New reports the bad argument")
		wrapped := func(r *http.Request) (jwtauth.RawToken, error) { // copies the result, so New cannot recognize the extractor
			p, err := e(r)
			return jwtauth.RawToken{Token: p.Token, In: p.In, Name: p.Name}, err
		}
		_, err = authtest.NewAuth(t, jwtauth.WithExtractors(wrapped)).Check(authtest.Request("GET", authtest.DemoPath+"?="+authtest.GoodToken(), http.Header{"": {authtest.GoodToken()}}))
		require.ErrorIs(t, err, jwtauth.ErrMalformed, name)
		require.ErrorContains(t, err, name)
	}
}

func TestFromForm_FindsTokens(t *testing.T) {
	good := authtest.GoodToken()
	const form = "application/x-www-form-urlencoded"
	for name, test := range map[string]struct {
		method, contentType, query, body string
		want                             error
	}{
		"a field":                             {"POST", form, "", "a=1&access_token=" + good, nil},
		"a field, with a charset":             {"PUT", form + "; charset=utf-8", "", "access_token=" + good, nil},
		"a field beside a query that is none": {"POST", form, "%", "access_token=" + good, nil},
		"the query is not the form":           {"POST", form, "access_token=" + good, "a=1", jwtauth.ErrNoToken},
		"two fields":                          {"POST", form, "", "access_token=" + good + "&access_token=x", jwtauth.ErrAmbiguousToken},
		"an empty field":                      {"POST", form, "", "access_token=", jwtauth.ErrMalformed},
		"a form that does not parse":          {"POST", form, "", "access_token=" + good + "&b=%", jwtauth.ErrMalformed},
		"a body of another type":              {"POST", "application/json", "", `{"access_token":"` + good + `"}`, jwtauth.ErrNoToken},
		"a body without a type":               {"POST", "", "", "access_token=" + good, jwtauth.ErrNoToken},
		"a GET has no form":                   {"GET", form, "", "access_token=" + good, jwtauth.ErrNoToken},
		"a DELETE has no form":                {"DELETE", form, "", "access_token=" + good, jwtauth.ErrNoToken},
	} {
		t.Run(name, func(t *testing.T) {
			post := func() *http.Request {
				r := httptest.NewRequest(test.method, authtest.DemoPath, strings.NewReader(test.body))
				r.URL.RawQuery = test.query
				if test.contentType != "" {
					r.Header.Set("Content-Type", test.contentType)
				}
				return r
			}
			auth := authtest.NewAuth(t, jwtauth.WithExtractors(jwtauth.FromForm("access_token")))
			r := post()
			_, s := authtest.Serve(auth.Private, r)
			if test.want == nil {
				require.True(t, s.OK)
				body, err := io.ReadAll(s.R.Body)
				require.NoError(t, err)
				require.Equal(t, test.body, string(body), "the handler must read the body that the client sent")
				return
			}
			require.False(t, s.Ran)
			_, err := auth.Check(r)
			require.ErrorIs(t, err, test.want, "a second check must return the error too")
			_, public := authtest.Serve(auth.Public, post())
			require.True(t, public.Ran)
			body, err := io.ReadAll(public.R.Body)
			require.NoError(t, err)
			require.Equal(t, test.body, string(body), "a public route with a bad token must read the body that the client sent")
			_, nested := authtest.Serve(func(next http.Handler) http.Handler { return auth.Public(auth.Optional(next)) }, post())
			require.Equal(t, errors.Is(test.want, jwtauth.ErrNoToken), nested.Ran)
		})
	}
}

func TestFromForm_ReadsOnlySoMuch(t *testing.T) {
	auth := authtest.NewAuth(t, jwtauth.WithExtractors(jwtauth.FromForm("token")))
	post := func(size int) *http.Request {
		body := "token=" + authtest.GoodToken() + "&x="
		r := httptest.NewRequest("POST", authtest.DemoPath, strings.NewReader(body+strings.Repeat("x", size-len(body))))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		return r
	}
	_, s := authtest.Serve(auth.Private, post(10<<20))
	require.True(t, s.OK)
	_, s = authtest.Serve(auth.Private, post(10<<20+1))
	require.False(t, s.Ran)
	_, s = authtest.Serve(auth.Public, post(10<<20+99))
	require.False(t, s.OK)
	n, err := io.Copy(io.Discard, s.R.Body)
	require.NoError(t, err)
	require.EqualValues(t, 10<<20+99, n)
}

func TestFromForm_OfAFormThatWasParsedBefore(t *testing.T) {
	auth := authtest.NewAuth(t, jwtauth.WithExtractors(jwtauth.FromForm("token")))
	r := httptest.NewRequest("POST", authtest.DemoPath, strings.NewReader("token="+authtest.GoodToken()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	require.NoError(t, r.ParseForm())
	_, s := authtest.Serve(auth.Private, r)
	require.True(t, s.OK)
}

// brokenBody fails the test if it is read.
type brokenBody struct{ t *testing.T }

func (b brokenBody) Read([]byte) (int, error) { b.t.Error("the body was read"); return 0, io.EOF }
func (b brokenBody) Close() error             { return nil }

func TestExtractor_NeverTouchesABodyUnlessAFormIsConfigured(t *testing.T) {
	for name, opts := range map[string][]jwtauth.Option{
		"by default":            nil,
		"with a form behind it": {jwtauth.WithExtractors(jwtauth.FromHeader("Authorization", "Bearer"), jwtauth.FromForm("token"))},
	} {
		t.Run(name, func(t *testing.T) {
			r := authtest.Request("POST", authtest.DemoPath+"?a=1", authtest.Bearer(authtest.GoodToken()))
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			r.Body = brokenBody{t}
			_, s := authtest.Serve(authtest.NewAuth(t, opts...).Private, r)
			require.True(t, s.OK)
			require.Nil(t, s.R.PostForm)
		})
	}
}

func TestFromCookie_MustPassTheCrossOriginProtection(t *testing.T) {
	type h = map[string]string
	for name, test := range map[string]struct {
		method string
		header h
		in     jwtauth.Location
		want   error
	}{
		"a request of our own page":                    {"POST", h{"Sec-Fetch-Site": "same-origin"}, jwtauth.InCookie, nil},
		"a request typed into the address bar":         {"POST", h{"Sec-Fetch-Site": "none"}, jwtauth.InCookie, nil},
		"a request of no browser":                      {"POST", nil, jwtauth.InCookie, nil},
		"a link on another site":                       {"GET", h{"Sec-Fetch-Site": "cross-site"}, jwtauth.InCookie, nil},
		"a form on another site":                       {"POST", h{"Sec-Fetch-Site": "cross-site"}, jwtauth.InCookie, jwtauth.ErrCrossOrigin},
		"a form on a sibling site":                     {"POST", h{"Sec-Fetch-Site": "same-site"}, jwtauth.InCookie, jwtauth.ErrCrossOrigin},
		"a form of an old browser on another site":     {"POST", h{"Origin": "https://evil.example"}, jwtauth.InCookie, jwtauth.ErrCrossOrigin},
		"a WebSocket of another site":                  {"GET", h{"Sec-Fetch-Site": "cross-site", "Upgrade": "websocket"}, jwtauth.InCookie, jwtauth.ErrCrossOrigin},
		"a WebSocket of another site, old browser":     {"GET", h{"Origin": "https://evil.example", "Upgrade": "websocket"}, jwtauth.InCookie, jwtauth.ErrCrossOrigin},
		"a WebSocket of our own page":                  {"GET", h{"Sec-Fetch-Site": "same-origin", "Upgrade": "websocket"}, jwtauth.InCookie, nil},
		"a place that an extractor does not name":      {"POST", h{"Sec-Fetch-Site": "cross-site"}, 0, jwtauth.ErrCrossOrigin},
		"a place that does not exist":                  {"POST", h{"Sec-Fetch-Site": "cross-site"}, 99, jwtauth.ErrCrossOrigin},
		"a header on another site, which CORS governs": {"POST", h{"Sec-Fetch-Site": "cross-site"}, jwtauth.InHeader, nil},
		"a query on another site":                      {"POST", h{"Sec-Fetch-Site": "cross-site"}, jwtauth.InQuery, nil},
		"a form field on another site":                 {"POST", h{"Sec-Fetch-Site": "cross-site"}, jwtauth.InForm, nil},
	} {
		t.Run(name, func(t *testing.T) {
			r := authtest.Request(test.method, authtest.DemoPath, nil)
			for name, value := range test.header {
				r.Header.Set(name, value)
			}
			auth := authtest.NewAuth(t, jwtauth.WithExtractors(func(*http.Request) (jwtauth.RawToken, error) {
				return jwtauth.RawToken{Token: authtest.GoodToken(), In: test.in, Name: "x"}, nil
			}))
			w, s := authtest.Serve(auth.Private, r)
			_, public := authtest.Serve(auth.Public, r)
			require.True(t, public.Ran)
			_, optional := authtest.Serve(auth.Optional, r)
			if test.want == nil {
				require.True(t, s.OK)
				require.True(t, public.OK)
				return
			}
			require.Equal(t, http.StatusForbidden, w.Code)
			require.False(t, s.Ran)
			require.False(t, optional.Ran)
			require.False(t, public.OK, "a public route must ignore the token")
		})
	}
}

func TestFromCookie_TheProtectionCanTrustASibling(t *testing.T) {
	protection := http.NewCrossOriginProtection()
	require.NoError(t, protection.AddTrustedOrigin("https://app.example.com"))
	auth := authtest.NewAuth(t, jwtauth.WithExtractors(jwtauth.FromCookie("session")), jwtauth.WithCrossOriginProtection(protection))
	r := authtest.Request("POST", authtest.DemoPath, http.Header{
		"Cookie": {"session=" + authtest.GoodToken()}, "Origin": {"https://app.example.com"}, "Sec-Fetch-Site": {"same-site"}})
	_, s := authtest.Serve(auth.Private, r)
	require.True(t, s.OK)
}

func TestFromQuery_IsCutFromTheURLThatIsPassedOn(t *testing.T) {
	good := authtest.GoodToken()
	type extractors = []jwtauth.Extractor
	renamed := extractors{jwtauth.FromHeader("Authorization", "Bearer"), jwtauth.FromQuery("access_token")}
	own := extractors{jwtauth.FromHeader("Authorization", "Bearer"), func(r *http.Request) (jwtauth.RawToken, error) {
		if token := r.URL.Query().Get("jwt"); token != "" {
			return jwtauth.RawToken{Token: token, In: jwtauth.InQuery, Name: "jwt"}, nil
		}
		return jwtauth.RawToken{}, nil
	}}
	for name, test := range map[string]struct {
		extractors  extractors
		header      http.Header
		query, want string
	}{
		"alone":                                  {nil, nil, "token=" + good, ""},
		"first":                                  {nil, nil, "token=" + good + "&a=1", "a=1"},
		"last":                                   {nil, nil, "a=1&token=" + good, "a=1"},
		"among others, which keep their bytes":   {nil, nil, "b=%7e+%2B&a&token=" + good + "&&b=2&=x", "b=%7e+%2B&a&&b=2&=x"},
		"with an escaped name":                   {nil, nil, "a=1&%74%6fken=" + good, "a=1"},
		"with an escaped value":                  {nil, nil, "token=" + strings.ReplaceAll(good, ".", "%2e") + "&a=1", "a=1"},
		"though the header won":                  {nil, authtest.Bearer(good), "a=1&token=" + good, "a=1"},
		"though the header won, twice":           {nil, authtest.Bearer(good), "token=" + good + "&a=1&token=x", "a=1"},
		"though the header won, without a value": {nil, authtest.Bearer(good), "token&a=1", "a=1"},
		"by another name":                        {renamed, nil, "token=1&access_token=" + good, "token=1"},
		"by another name, though the header won": {renamed, authtest.Bearer(good), "access_token=" + good, ""},
		"found by one's own extractor":           {own, nil, "a=1&jwt=" + good, "a=1"},
		"found by one's own, the header won":     {own, authtest.Bearer(good), "a=1&jwt=" + good, "a=1"},
	} {
		for policy, wrap := range authtest.Policies(authtest.NewAuth(t, orDefault(test.extractors)...)) {
			t.Run(name+", "+policy, func(t *testing.T) {
				r := authtest.Request("GET", authtest.DemoPath+"?"+test.query, test.header)
				before := *r.URL
				require.NoError(t, r.ParseForm())
				w, s := authtest.Serve(wrap, r)
				require.True(t, s.OK)
				require.Equal(t, test.want, s.R.URL.RawQuery)
				require.Equal(t, strings.TrimSuffix(authtest.DemoPath+"?"+test.want, "?"), s.R.RequestURI)
				want, err := url.ParseQuery(test.want)
				require.NoError(t, err)
				require.Equal(t, want, s.R.Form, "the token must be cut from a form that was parsed before")
				require.Equal(t, "private, no-store", w.Header().Get("Cache-Control"))
				require.Equal(t, "no-referrer", w.Header().Get("Referrer-Policy"))

				require.Equal(t, before, *r.URL, "the caller's request must not change")
				require.Contains(t, r.RequestURI, test.query)
				require.NotEqual(t, want, r.Form)
			})
		}
	}
}

func orDefault(extractors []jwtauth.Extractor) []jwtauth.Option {
	if extractors == nil {
		return nil
	}
	return []jwtauth.Option{jwtauth.WithExtractors(extractors...)}
}

func TestFromQuery_WhatABodySaysStaysWhenTheURLIsCut(t *testing.T) {
	r := httptest.NewRequest("POST", authtest.DemoPath+"?token="+authtest.GoodToken()+"&a=url", strings.NewReader("token=mine&a=body"))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	require.NoError(t, r.ParseForm())
	_, s := authtest.Serve(authtest.NewAuth(t).Private, r)
	require.True(t, s.OK)
	require.Equal(t, url.Values{"token": {"mine"}, "a": {"body", "url"}}, s.R.Form)
	require.Equal(t, url.Values{"token": {"mine"}, "a": {"body"}}, s.R.PostForm)
}

func TestFromQuery_AnAbsoluteTargetIsCutToo(t *testing.T) {
	r := authtest.Request("GET", "http://api.example.com"+authtest.DemoPath+"?x=1&token="+authtest.GoodToken(), nil)
	require.Contains(t, r.RequestURI, "http://")
	_, s := authtest.Serve(authtest.NewAuth(t).Private, r)
	require.True(t, s.OK)
	require.Equal(t, "http://api.example.com"+authtest.DemoPath+"?x=1", s.R.RequestURI)
}

func TestFromQuery_ARequestWithoutATokenInItsURLIsPassedOnAsItIs(t *testing.T) {
	r := authtest.Request("GET", authtest.DemoPath+"?b=%7e&a=1&", authtest.Bearer(authtest.GoodToken()))
	w, s := authtest.Serve(authtest.NewAuth(t).Private, r)
	require.Same(t, r.URL, s.R.URL)
	require.Empty(t, w.Header().Get("Cache-Control"))
	require.Empty(t, w.Header().Get("Referrer-Policy"))
}

func TestFromQuery_OfAQueryThatDoesNotParse(t *testing.T) {
	auth := authtest.NewAuth(t)
	for _, query := range []string{"token=" + authtest.GoodToken() + "&a=%", "a;b&token=" + authtest.GoodToken(), "x=1&%=1"} {
		for policy, wrap := range authtest.Policies(auth) {
			t.Run(policy+" "+query[len(query)-3:], func(t *testing.T) {
				r := authtest.Request("GET", authtest.DemoPath, nil)
				r.URL.RawQuery, r.RequestURI = query, authtest.DemoPath+"?"+query
				r.ParseForm()
				w, s := authtest.Serve(wrap, r)
				if policy != "Public" {
					require.False(t, s.Ran)
					require.Equal(t, http.StatusForbidden, w.Code)
					return
				}
				require.True(t, s.Ran)
				require.False(t, s.OK)
				require.Empty(t, s.R.URL.RawQuery, "the whole query must be dropped")
				require.Equal(t, authtest.DemoPath, s.R.RequestURI)
				require.Empty(t, s.R.Form)
			})
		}
	}
}

// A query that does not parse may hold a token that cannot be cut. The response must have
// the same headers as a response to a token in the query.
func TestPrivate_AnswersAQueryThatDoesNotParseAsOneWithAToken(t *testing.T) {
	auth := authtest.NewAuth(t)
	for _, query := range []string{"token=" + authtest.GoodToken() + "&a=%", "a;b", "%=1"} {
		for policy, wrap := range authtest.Policies(auth) {
			r := authtest.Request("GET", authtest.DemoPath, nil)
			r.URL.RawQuery = query
			w, s := authtest.Serve(wrap, r)
			want := "no-store"
			if policy == "Public" {
				want = "private, no-store"
				require.Empty(t, s.R.URL.RawQuery)
			}
			require.Equal(t, want, w.Header().Get("Cache-Control"), "%s %s", policy, query)
			require.Equal(t, "no-referrer", w.Header().Get("Referrer-Policy"), "%s %s", policy, query)
		}
	}
}

func TestExtract_OfAQueryThatDoesNotParse(t *testing.T) {
	auth, headerOnly := authtest.NewAuth(t), authtest.NewAuth(t, jwtauth.WithExtractors(jwtauth.FromHeader("Authorization", "Bearer")))
	for _, query := range []string{"token=" + authtest.GoodToken() + "&a=%", "token=" + authtest.GoodToken() + "&a;b", "%=1"} {
		for name, header := range map[string]http.Header{"no header": nil, "a good header": authtest.Bearer(authtest.GoodToken())} {
			r := authtest.Request("GET", authtest.DemoPath, header)
			r.URL.RawQuery = query
			p, err := auth.Extract(r)
			require.ErrorIs(t, err, jwtauth.ErrMalformed, "%s, %s", name, query)
			require.Empty(t, p.Token, "%s, %s", name, query)
			require.Equal(t, query, r.URL.RawQuery, "Extract must not change the request")
		}
		r := authtest.Request("GET", authtest.DemoPath, authtest.Bearer(authtest.GoodToken()))
		r.URL.RawQuery = query
		p, err := headerOnly.Extract(r)
		require.NoError(t, err, "no extractor reads the query, so it need not parse")
		require.Equal(t, authtest.GoodToken(), p.Token)
	}
}

func TestFromQuery_AnInnerMiddlewareFindsTheTokenThatAnOuterOneCut(t *testing.T) {
	outer := authtest.NewAuth(t)
	inner := authtest.NewAuth(t)
	both := func(next http.Handler) http.Handler { return outer.Public(inner.Private(next)) }
	w, s := authtest.Serve(both, authtest.Request("GET", authtest.DemoPath+"?token="+authtest.GoodToken(), nil))
	require.True(t, s.OK, w.Body)
	require.Empty(t, s.R.URL.RawQuery)

	w, s = authtest.Serve(both, authtest.Request("GET", authtest.DemoPath+"?token=garbage", nil))
	require.False(t, s.Ran)
	require.Equal(t, "token_not_valid", authtest.BodyOf(t, w).Code)

	_, s = authtest.Serve(both, authtest.Request("GET", authtest.DemoPath+"?token="+authtest.GoodToken()+"&token="+authtest.GoodToken(), nil))
	require.False(t, s.Ran, "two tokens must stay ambiguous after an outer middleware has cut them")

	optional := func(next http.Handler) http.Handler { return outer.Public(inner.Optional(next)) }
	r := authtest.Request("GET", authtest.DemoPath, nil)
	r.URL.RawQuery = "token=" + authtest.GoodToken() + "&%"
	_, s = authtest.Serve(optional, r)
	require.False(t, s.Ran, "an inner middleware denies it too, although the query was dropped")
}

func TestExtractor_NestedMiddlewareChecksWhatTheClientSent(t *testing.T) {
	ownQuery := jwtauth.WithExtractors(func(r *http.Request) (jwtauth.RawToken, error) {
		return jwtauth.RawToken{Token: r.URL.Query().Get("jwt"), In: jwtauth.InQuery, Name: "jwt"}, nil
	})
	a, b, own := authtest.NewAuth(t), authtest.NewAuth(t, jwtauth.WithExtractors(jwtauth.FromQuery("access_token"))), authtest.NewAuth(t, ownQuery)
	type wrap = func(http.Handler) http.Handler
	for name, test := range map[string]struct {
		query string
		wraps []wrap // from the outermost to the innermost
		ran   bool
	}{
		"a good token of one's own extractor":  {"jwt=" + authtest.GoodToken(), []wrap{own.Public, own.Private}, true},
		"a bad token of one's own extractor":   {"jwt=garbage", []wrap{own.Public, own.Optional}, false},
		"a good token behind two cuts":         {"token=" + authtest.GoodToken() + "&access_token=x", []wrap{a.Public, b.Public, a.Private}, true},
		"a bad token behind two cuts":          {"token=garbage&access_token=x", []wrap{a.Public, b.Public, a.Optional}, false},
		"the other's token behind two cuts":    {"token=x&access_token=" + authtest.GoodToken(), []wrap{a.Public, b.Public, b.Private}, true},
		"no token behind the cut of another's": {"access_token=" + authtest.GoodToken(), []wrap{b.Public, a.Private}, false},
		"a good token behind a prefix":         {"token=" + authtest.GoodToken(), []wrap{a.Public, rewritten, a.Private}, true},
	} {
		t.Run(name, func(t *testing.T) {
			_, s := authtest.Serve(func(next http.Handler) http.Handler {
				for _, wrap := range slices.Backward(test.wraps) {
					next = wrap(next)
				}
				return next
			}, authtest.Request("GET", authtest.DemoPath+"?"+test.query, nil))
			require.Equal(t, test.ran, s.Ran)
			if s.Ran {
				require.Empty(t, s.R.URL.RawQuery)
				require.Equal(t, authtest.DemoPath, s.R.RequestURI)
			}
		})
	}
}

// rewritten copies the URL and changes its path, as http.StripPrefix does.
func rewritten(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r2 := r.Clone(r.Context())
		r2.URL.Path = "/elsewhere"
		next.ServeHTTP(w, r2)
	})
}

// The token is in the query of the outer request. The handler of that request makes another
// request, and calls another private handler with it.
func TestPrivate_OfARequestThatAHandlerMakes(t *testing.T) {
	auth := authtest.NewAuth(t)
	token := authtest.GoodToken()
	for name, test := range map[string]struct {
		make func(t *testing.T, r *http.Request) *http.Request
		ran  bool
	}{
		"the request itself": {func(t *testing.T, r *http.Request) *http.Request { return r }, true},
		"a clone":            {func(t *testing.T, r *http.Request) *http.Request { return r.Clone(r.Context()) }, true},
		"a clone with another path in its URL": {func(t *testing.T, r *http.Request) *http.Request {
			r2 := r.Clone(r.Context())
			r2.URL.Path = "/run/demo/other"
			return r2
		}, true},
		"a clone with another request target": {func(t *testing.T, r *http.Request) *http.Request {
			r2 := r.Clone(r.Context())
			r2.RequestURI = "/run/demo/other"
			return r2
		}, true},
		"a new request in the same context": {func(t *testing.T, r *http.Request) *http.Request {
			r2, err := http.NewRequestWithContext(r.Context(), "GET", authtest.DemoPath, nil)
			require.NoError(t, err)
			return r2
		}, false},
		"a new request with the URL as text": {func(t *testing.T, r *http.Request) *http.Request {
			r2, err := http.NewRequestWithContext(r.Context(), "GET", r.URL.String(), nil)
			require.NoError(t, err)
			return r2
		}, false},
		"a new request with the same request target": {func(t *testing.T, r *http.Request) *http.Request {
			r2, err := http.NewRequestWithContext(r.Context(), "GET", r.URL.String(), nil)
			require.NoError(t, err)
			r2.RequestURI = r.RequestURI
			return r2
		}, false},
		"a new request with the headers of this one": {func(t *testing.T, r *http.Request) *http.Request {
			r2, err := http.NewRequestWithContext(r.Context(), "GET", authtest.DemoPath, nil)
			require.NoError(t, err)
			r2.Header, r2.RequestURI = r.Header, r.RequestURI
			return r2
		}, false},
		"a clone with a new URL": {func(t *testing.T, r *http.Request) *http.Request {
			r2 := r.Clone(r.Context())
			r2.URL = &url.URL{Path: authtest.DemoPath}
			return r2
		}, false},
		"a clone with a new URL and new headers": {func(t *testing.T, r *http.Request) *http.Request {
			r2 := r.Clone(r.Context())
			r2.URL, r2.Header = &url.URL{Path: authtest.DemoPath}, http.Header{}
			return r2
		}, false},
		"a clone with a new URL that holds a bad token": {func(t *testing.T, r *http.Request) *http.Request {
			r2 := r.Clone(r.Context())
			r2.URL = &url.URL{Path: authtest.DemoPath, RawQuery: "token=garbage"}
			return r2
		}, false},
		"a clone with a new URL that holds the token": {func(t *testing.T, r *http.Request) *http.Request {
			r2 := r.Clone(r.Context())
			r2.URL = &url.URL{Path: authtest.DemoPath, RawQuery: "token=" + token}
			return r2
		}, true},
	} {
		for server, target := range map[string]string{"net/http": authtest.DemoPath + "?token=" + token, "net/http/cgi": ""} {
			t.Run(name+", "+server, func(t *testing.T) {
				var s authtest.Seen
				inner := auth.Private(&s)
				outer := auth.Private(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					r2 := test.make(t, r)
					r2.SetPathValue("container", "demo")
					inner.ServeHTTP(w, r2)
				}))
				r := authtest.Request("GET", authtest.DemoPath+"?token="+token, nil)
				r.RequestURI = target // net/http/cgi and net/http/fcgi leave RequestURI empty
				w, _ := authtest.Serve(func(http.Handler) http.Handler { return outer }, r)
				require.Equal(t, test.ran, s.Ran, w.Body)
				if s.Ran {
					authtest.Leaks(t, "the request", fmt.Sprintf("%+v %+v %s %s", s.R, s.R.URL, s.R.URL, s.R.RequestURI), token)
				}
			})
		}
	}
}

func TestPrivate_FindsTheCutTokenBehindStripPrefix(t *testing.T) {
	auth := authtest.NewAuth(t, jwtauth.WithContainer(func(*http.Request) string { return "demo" }))
	var s authtest.Seen
	handler := auth.Public(http.StripPrefix("/api", auth.Private(&s)))
	handler.ServeHTTP(httptest.NewRecorder(), authtest.Request("GET", "/api/x?token="+authtest.GoodToken(), nil))
	require.True(t, s.OK)
	require.Equal(t, "/x", s.R.URL.String())
}

// A custom extractor may read the body. The handler must still be able to read the same
// body, even if the extractor was called with a copy of the request.
func TestExtractor_ThatReadsTheBodyLeavesItToTheHandler(t *testing.T) {
	const field = "access_token"
	fromForm := jwtauth.FromForm(field)
	extractors := map[string]jwtauth.Extractor{
		"FromForm":                  fromForm,
		"a closure around FromForm": func(r *http.Request) (jwtauth.RawToken, error) { return fromForm(r) },
		"a closure around FromForm and FromQuery": func(r *http.Request) (jwtauth.RawToken, error) {
			if p, err := jwtauth.FromQuery("token")(r); err != nil || p.Token != "" {
				return p, err
			}
			return fromForm(r)
		},
		"FormValue": func(r *http.Request) (jwtauth.RawToken, error) {
			r.FormValue(field)
			return jwtauth.RawToken{Token: r.PostForm.Get(field), In: jwtauth.InForm, Name: field}, nil
		},
		"PostFormValue": func(r *http.Request) (jwtauth.RawToken, error) {
			return jwtauth.RawToken{Token: r.PostFormValue(field), In: jwtauth.InForm, Name: field}, nil
		},
		"a reader of the body that puts it back": func(r *http.Request) (jwtauth.RawToken, error) {
			text, err := io.ReadAll(r.Body)
			r.Body = io.NopCloser(strings.NewReader(string(text)))
			form, _ := url.ParseQuery(string(text))
			return jwtauth.RawToken{Token: form.Get(field), In: jwtauth.InForm, Name: field}, err
		},
	}
	token, expired := authtest.GoodToken(), authtest.Sign(authtest.Header, authtest.ClaimsJSON(map[string]any{"exp": 1}))
	for name, extractor := range extractors {
		for _, query := range []string{"", "?a=url", "?a=url&token=" + token, "?token=" + expired} {
			auth := authtest.NewAuth(t, jwtauth.WithExtractors(extractor, jwtauth.FromQuery("token")))
			for depth, outer := range map[string]func(http.Handler) http.Handler{
				"one middleware":                       func(next http.Handler) http.Handler { return next },
				"one inside another":                   auth.Public,
				"one inside another of only FromQuery": authtest.NewAuth(t, jwtauth.WithExtractors(jwtauth.FromQuery("token"))).Public,
			} {
				t.Run(fmt.Sprintf("%s, %.13q, %s", name, query, depth), func(t *testing.T) {
					queryFirst := strings.Contains(name, "FromQuery")
					allowed := !queryFirst || !strings.Contains(query, expired)
					wrap := func(next http.Handler) http.Handler { return outer(auth.Public(next)) }
					body := "a=body&" + field + "=" + token
					r := httptest.NewRequest("POST", authtest.DemoPath+query, strings.NewReader(body))
					r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
					_, s := authtest.Serve(wrap, r)
					require.Equal(t, allowed, s.OK)
					require.NoError(t, s.R.ParseForm())
					require.Equal(t, url.Values{"a": {"body"}, field: {token}}, s.R.PostForm)
					want := url.Values{"a": {"body"}, field: {token}}
					if strings.Contains(query, "a=url") {
						want["a"] = append(want["a"], "url")
					}
					require.Equal(t, want, s.R.Form, "the token of the URL must be cut from the form")
				})
			}
		}
	}
}

func TestExtractor_ThatReadsAMultipartBodyLeavesItToTheHandler(t *testing.T) {
	var body strings.Builder
	form := multipart.NewWriter(&body)
	require.NoError(t, form.WriteField("access_token", authtest.GoodToken()))
	require.NoError(t, form.WriteField("b", "body"))
	require.NoError(t, form.Close())
	auth := authtest.NewAuth(t, jwtauth.WithExtractors(func(r *http.Request) (jwtauth.RawToken, error) {
		return jwtauth.RawToken{Token: r.PostFormValue("access_token"), In: jwtauth.InForm, Name: "access_token"}, nil
	}))
	for _, query := range []string{"", "?a=url", "?a=url&token=garbage"} {
		r := httptest.NewRequest("POST", authtest.DemoPath+query, strings.NewReader(body.String()))
		r.Header.Set("Content-Type", form.FormDataContentType())
		_, s := authtest.Serve(func(next http.Handler) http.Handler { return authtest.NewAuth(t).Public(auth.Private(next)) }, r)
		require.True(t, s.OK, query)
		require.Equal(t, "body", s.R.FormValue("b"), query)
		require.NotContains(t, s.R.Form, "token", query)
		require.Equal(t, []string{"body"}, s.R.MultipartForm.Value["b"], query)
	}
}

func TestFromQuery_CopiesOfAURLThatSomethingOutsideChanged(t *testing.T) {
	token := authtest.GoodToken()
	for name, test := range map[string]struct{ uri, query, form string }{
		"the request line alone has the token":     {"?a=1&token=" + token, "a=1", "a=1"},
		"the request line alone does not parse":    {"?a=1&token=%", "a=1", "a=1"},
		"the parsed form alone has the token":      {"?a=1", "a=1", "a=1&token=" + token},
		"the URL alone has it":                     {"?a=1", "a=1&token=" + token, "a=1"},
		"the request line does not parse, the URL": {"?%", "token=" + token + "&a=1", "a=1"},
	} {
		t.Run(name, func(t *testing.T) {
			r := authtest.Request("GET", authtest.DemoPath, authtest.Bearer(token))
			r.URL.RawQuery, r.RequestURI = test.query, authtest.DemoPath+test.uri
			r.Form, _ = url.ParseQuery(test.form)
			_, s := authtest.Serve(authtest.NewAuth(t).Private, r)
			require.True(t, s.OK)
			require.NotContains(t, s.R.RequestURI, "token")
			require.Equal(t, "a=1", s.R.URL.RawQuery)
			require.Equal(t, url.Values{"a": {"1"}}, s.R.Form)
		})
	}
}

func TestFromQuery_AURLLeftWithoutParametersLosesItsQuestionMark(t *testing.T) {
	r := authtest.Request("GET", authtest.DemoPath+"?token="+authtest.GoodToken(), nil)
	r.URL.ForceQuery = true
	_, s := authtest.Serve(authtest.NewAuth(t).Private, r)
	require.True(t, s.OK)
	require.Equal(t, authtest.DemoPath, s.R.URL.String())
}

func TestAuth_ServesManyAtOnce(t *testing.T) {
	auth := authtest.NewAuth(t, jwtauth.WithExtractors(
		jwtauth.FromHeader("Authorization", "Bearer"), jwtauth.FromQuery("a"), jwtauth.FromQuery("b"), jwtauth.FromQuery("c"),
		func(r *http.Request) (jwtauth.RawToken, error) {
			name := r.Header.Get("X-Parameter")
			return jwtauth.RawToken{Token: r.URL.Query().Get(name), In: jwtauth.InQuery, Name: name}, nil
		}))
	token := authtest.GoodToken()
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			name := fmt.Sprint("own", i)
			for range 50 {
				_, s := authtest.Serve(auth.Private, authtest.Request("GET", authtest.DemoPath+"?x=1&"+name+"="+token, http.Header{"X-Parameter": {name}}))
				if !s.OK || s.R.URL.RawQuery != "x=1" {
					t.Errorf("parameter %s: allowed: %v, the handler saw %q", name, s.OK, s.R.URL.RawQuery)
				}
			}
		})
	}
	group.Wait()
}

func TestExtractor_ATokenThatCouldNotBeCutIsRejected(t *testing.T) {
	auth := authtest.NewAuth(t, jwtauth.WithExtractors(func(r *http.Request) (jwtauth.RawToken, error) {
		return jwtauth.RawToken{Token: r.URL.Query().Get("jwt"), In: jwtauth.InQuery}, nil
	}))
	_, s := authtest.Serve(auth.Private, authtest.Request("GET", authtest.DemoPath+"?jwt="+authtest.GoodToken(), nil))
	require.False(t, s.Ran)
}

func TestExtractor_AWebSocketReachesItsHandlerAsItWasSent(t *testing.T) {
	auth := authtest.NewAuth(t, jwtauth.WithExtractors(jwtauth.FromCookie("session")))
	_, s := authtest.Serve(auth.Private, authtest.Request("GET", authtest.DemoPath, http.Header{"Cookie": {"session=" + authtest.GoodToken()}, "Upgrade": {"websocket"}}))
	require.True(t, s.OK)
	require.Equal(t, "GET", s.R.Method)
}

func TestFromQuery_ATokenThatWasCutDoesNotPrintWithTheContext(t *testing.T) {
	token := authtest.GoodToken()
	_, s := authtest.Serve(authtest.NewAuth(t).Private, authtest.Request("GET", authtest.DemoPath+"?token="+token, nil))
	for _, format := range []string{"%v", "%+v", "%s"} {
		require.NotContains(t, fmt.Sprintf(format, s.R.Context()), token)
		require.NotContains(t, fmt.Sprintf(format, s.R), token)
	}
}

func TestFromQuery_OfManyParametersCostsNoMoreThanItsSize(t *testing.T) {
	const size = 1 << 20
	auth := authtest.NewAuth(t)
	for name, query := range map[string]string{
		"tokens":                   strings.Repeat("token&", size/6),
		"tokens with escaped name": strings.Repeat("toke%6e&", size/8),
		"a token and nothings":     "token=x" + strings.Repeat("&", size),
		"just few enough":          strings.Repeat("toke%6e=x&", 9_999),
	} {
		t.Run(name, func(t *testing.T) {
			for policy, wrap := range authtest.Policies(auth) {
				r := authtest.Request("GET", authtest.DemoPath+"?"+query, nil)
				require.Less(t, allocated(func() { authtest.Serve(wrap, r) }), uint64(2*size), policy)
			}
		})
	}
	r := authtest.Request("GET", authtest.DemoPath+"?token="+authtest.GoodToken()+strings.Repeat("&a", 9_999), nil)
	_, s := authtest.Serve(auth.Private, r)
	require.True(t, s.OK, "net/url reads this many parameters")
	r.URL.RawQuery += "&a"
	_, s = authtest.Serve(auth.Private, r)
	require.False(t, s.Ran, "with one more, the query does not parse")
}

// allocated returns the bytes that f allocates.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

func TestExtractor_RejectsHugeGarbageWithoutMemoryInProportion(t *testing.T) {
	const huge = 10 << 20
	auth := authtest.NewAuth(t, jwtauth.WithExtractors(
		jwtauth.FromHeader("Authorization", "Bearer"), jwtauth.FromHeader("X-Token", ""), jwtauth.FromQuery("token")))
	for name, r := range map[string]*http.Request{
		"dots":          authtest.Request("GET", authtest.DemoPath, authtest.Bearer(strings.Repeat(".", huge))),
		"braces":        authtest.Request("GET", authtest.DemoPath, authtest.Bearer(strings.Repeat("{", huge))),
		"letters":       authtest.Request("GET", authtest.DemoPath, authtest.Bearer(strings.Repeat("A", huge))),
		"equals signs":  authtest.Request("GET", authtest.DemoPath, authtest.Bearer(strings.Repeat("=", huge))),
		"Bearer Bearer": authtest.Request("GET", authtest.DemoPath, http.Header{"Authorization": {strings.Repeat("Bearer ", huge/7)}}),
		"spaces":        authtest.Request("GET", authtest.DemoPath, authtest.Bearer(strings.Repeat(" ", huge))),
		"another field": authtest.Request("GET", authtest.DemoPath, http.Header{"X-Token": {strings.Repeat("a.", huge/2)}}),
		"a parameter":   authtest.Request("GET", authtest.DemoPath+"?token="+strings.Repeat("A", huge), nil),
	} {
		t.Run(name, func(t *testing.T) {
			check := func() {
				_, err := auth.Check(r)
				require.ErrorIs(t, err, jwtauth.ErrMalformed)
			}
			check()
			require.Less(t, allocated(check), uint64(64<<10))
		})
	}
}

// This package's extractors check the characters of a token even if a program calls them
// directly.
func TestExtractor_ByItselfGivesOnlyWhatATokenMayBe(t *testing.T) {
	for _, text := range []string{"a b", "é", "===", "a=b", "a,b", strings.Repeat("a", 64<<10+1)} {
		r := authtest.Request("POST", authtest.DemoPath+"?token="+url.QueryEscape(text), authtest.Bearer(text))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Body = io.NopCloser(strings.NewReader("token=" + url.QueryEscape(text)))
		for name, extract := range map[string]jwtauth.Extractor{
			"header": jwtauth.FromHeader("Authorization", "Bearer"),
			"query":  jwtauth.FromQuery("token"),
			"form":   jwtauth.FromForm("token"),
		} {
			p, err := extract(r)
			require.ErrorIs(t, err, jwtauth.ErrMalformed, "%s: %.9q", name, text)
			require.Empty(t, p.Token)
		}
	}
}

// FuzzRequest sends requests with arbitrary content, which must never cause a panic. A
// request may be allowed only with the good token, in an allowed place, on a path with one
// meaning. The handler must not find a token in the query.
func FuzzRequest(f *testing.F) {
	good := authtest.GoodToken()
	for _, query := range []string{"", "token=" + good, "a=1&%74oken=" + good + "&b", "token=a&token=b", "a;b", "%", "token", "&=&"} {
		for _, field := range []string{"", "Bearer " + good, "bearer  x", "Basic YTpi"} {
			f.Add(query, field, "/run/demo/notify")
		}
	}
	for _, paths := range []map[string]string{authtest.HostilePaths, authtest.RawDots, authtest.PlainPaths} {
		for _, path := range paths {
			f.Add("", "Bearer "+good, path)
		}
	}
	var s authtest.Seen
	auth := authtest.NewAuth(f, jwtauth.WithContainer(func(*http.Request) string { return "demo" }))
	private, public := auth.Private(&s), auth.Public(&s)
	f.Fuzz(func(t *testing.T, query, field, target string) {
		path, err := url.PathUnescape(target)
		if err != nil {
			return // net/http would have rejected it
		}
		r := httptest.NewRequest("GET", "/", nil)
		r.URL.Path, r.URL.RawPath, r.URL.RawQuery = path, target, query
		r.RequestURI = target + "?" + query
		if field != "" {
			r.Header.Set("Authorization", field)
		}
		for _, policy := range []http.Handler{private, public} {
			s = authtest.Seen{}
			policy.ServeHTTP(httptest.NewRecorder(), r)
			if s.OK {
				values, err := url.ParseQuery(query)
				inQuery := slices.Equal(values["token"], []string{good})
				inHeader := strings.HasSuffix(field, " "+good) && strings.EqualFold(strings.TrimRight(strings.TrimSuffix(field, good), " "), "Bearer")
				require.True(t, inHeader || inQuery && err == nil)
				require.NotContains(t, "/"+path+"/", "/../")
				require.NotContains(t, "/"+path+"/", "/./")
				require.NotContains(t, path, `\`)
				require.NotContains(t, strings.TrimPrefix(path, "/"), "//")
			}
			if s.Ran {
				requireCut(t, query, s.R.URL.RawQuery)
				_, query, _ := strings.Cut(s.R.RequestURI, "?")
				rest, _ := url.ParseQuery(query)
				require.Empty(t, rest["token"])
			}
		}
	})
}

// requireCut checks that the cut removed the parameter token from a query, and nothing
// else. It reads both queries with the standard library. If the first does not parse, the
// second must be empty.
func requireCut(t *testing.T, before, after string) {
	t.Helper()
	want, err := url.ParseQuery(before)
	if err != nil {
		require.Empty(t, after)
		return
	}
	delete(want, "token")
	got, err := url.ParseQuery(after)
	require.NoError(t, err)
	require.Equal(t, want, got)
}

// A custom extractor may call this package's extractors and return their results.
func TestWithExtractors_CutsWhatACustomOneFindsByCallingOthers(t *testing.T) {
	header, query, form := jwtauth.FromHeader("X-Token", ""), jwtauth.FromQuery("t"), jwtauth.FromForm("f")
	inTurn := func(all ...jwtauth.Extractor) jwtauth.Extractor {
		return func(r *http.Request) (raw jwtauth.RawToken, err error) {
			for _, e := range all {
				if raw, err = e(r); err != nil || raw.Token != "" {
					return raw, err
				}
			}
			return raw, err
		}
	}
	for name, test := range map[string]struct {
		custom  jwtauth.Extractor
		allowed bool
	}{
		"one of a query":                              {inTurn(query), true},
		"a header, then a query":                      {inTurn(header, query), true},
		"a query, then a header":                      {inTurn(query, header), true},
		"a query, then a form, which is all it names": {inTurn(query, form), false},
		"one that panics about an empty request":      {func(r *http.Request) (jwtauth.RawToken, error) { _ = r.Header["X-Needed"][0]; return query(r) }, true},
		"one that changes what another one has found": {func(r *http.Request) (jwtauth.RawToken, error) {
			raw, err := query(r)
			raw.Token = strings.TrimSpace(raw.Token)
			return raw, err
		}, true},
		"one that asks for a token wherever it may be": {func(r *http.Request) (jwtauth.RawToken, error) {
			return jwtauth.RawToken{Token: r.URL.Query().Get("t"), In: jwtauth.InQuery, Name: "t"}, nil
		}, true},
		"one that does not say which parameter it read": {func(r *http.Request) (jwtauth.RawToken, error) {
			return jwtauth.RawToken{Token: r.URL.Query().Get("t"), In: jwtauth.InQuery}, nil
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			auth := authtest.NewAuth(t, jwtauth.WithExtractors(test.custom))
			_, s := authtest.Serve(auth.Private, authtest.Request("GET", authtest.DemoPath+"?a=1&t="+authtest.GoodToken(), http.Header{"X-Needed": {"x"}}))
			require.Equal(t, test.allowed, s.OK)
			require.Equal(t, test.allowed, s.Ran)
			if s.Ran {
				require.Equal(t, "a=1", s.R.URL.RawQuery)
			}
		})
	}
}

func TestExtractor_OfNothingFoundIsTheZeroRawToken(t *testing.T) {
	r := httptest.NewRequest("GET", authtest.DemoPath, nil)
	for name, e := range map[string]jwtauth.Extractor{
		"FromHeader": jwtauth.FromHeader("Authorization", "Bearer"), "FromQuery": jwtauth.FromQuery("token"),
		"FromCookie": jwtauth.FromCookie("token"), "FromForm": jwtauth.FromForm("token"),
	} {
		raw, err := e(r)
		require.NoError(t, err, name)
		require.Equal(t, jwtauth.RawToken{}, raw, name)
	}
}
