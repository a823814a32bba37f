// Package urltoken finds tokens in the URL of a request, and cuts them out of the request
// that handlers see. An inner middleware still finds the tokens that an outer one has
// cut.
//
// The package does not touch the response. If a query does not parse, all of it is cut.
package urltoken

import (
	"context"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// cutMark is the RawFragment of a URL from which tokens were cut. Copies of the URL keep
// the mark, such as those of http.StripPrefix or Request.Clone. A URL that a handler
// parses does not have it. No server receives a fragment, and a RawFragment without a
// Fragment is not printed.
const cutMark = "jwtauth: cut"

// sent is the context of a request from whose URL tokens were cut. It keeps the query as
// the client sent it. The query is behind a pointer, so that no fmt verb prints a token.
type sent struct {
	context.Context
	query *string
}

type sentKey struct{}

func (s *sent) Value(key any) any {
	if key == (sentKey{}) {
		return s
	}
	return s.Context.Value(key)
}

// String keeps the query out of a printed context.
func (s *sent) String() string { return "jwtauth.Context" }

// Query returns the query of a request as the client sent it, before tokens were cut.
// This also works for a copy of the request, such as one made by Clone, whose URL is a
// copy. For a request with another URL, even in the same context, Query returns the query
// of that URL.
func Query(r *http.Request) string {
	if r.URL.RawFragment == cutMark {
		if s, ok := r.Context().Value(sentKey{}).(*sent); ok {
			return *s.query
		}
	}
	return r.URL.RawQuery
}

// Sent returns the request as the client sent it: r itself if nothing was cut from its
// query, otherwise a copy.
func Sent(r *http.Request) *http.Request {
	query := Query(r)
	if query == r.URL.RawQuery {
		return r
	}
	view := r.WithContext(r.Context())
	view.URL = withQuery(r.URL, query)
	return view
}

func withQuery(u *url.URL, query string) *url.URL {
	u2 := *u
	u2.RawQuery, u2.ForceQuery = query, false
	return &u2
}

// Tokens says what Find found in the URL of a request.
type Tokens struct {
	names []string // the parameters that Find looked for

	Found  bool // a copy of the URL has one of these, or RequestURI has a different query, which does not parse
	Broken bool // the query that the client sent does not parse
}

// Possible reports whether a request could have URL parameters. Most requests have none.
func Possible(r *http.Request) bool {
	return r.URL.RawQuery != "" || r.Form != nil || strings.IndexByte(r.RequestURI, '?') >= 0 || Query(r) != ""
}

// Find looks for parameters with these names in every copy of a request's URL (URL,
// RequestURI and Form). An outer middleware may have changed only one copy. Without names
// Find looks at nothing, so that even a query that does not parse stays.
func Find(r *http.Request, names []string) Tokens {
	t := Tokens{names: names}
	if len(names) == 0 {
		return t
	}
	_, n, ok := Scan(Query(r), names)
	t.Found, t.Broken = n > 0, !ok
	if _, query, has := strings.Cut(r.RequestURI, "?"); has && query != r.URL.RawQuery {
		_, n, ok := Scan(query, names)
		t.Found = t.Found || n > 0 || !ok
	}
	for _, name := range names {
		t.Found = t.Found || len(r.Form[name]) > len(r.PostForm[name])
	}
	return t
}

// Cut returns the request without the tokens of its URL. It removes them from every copy
// of the URL. It returns r itself if there is nothing to cut, and never changes r. Other
// parameters keep their bytes and their order. If a query does not parse, all of it is
// removed.
func (t Tokens) Cut(r *http.Request) *http.Request {
	if !t.Found && !t.Broken {
		return r
	}
	uri := r.RequestURI
	if target, query, has := strings.Cut(uri, "?"); has {
		uri = target
		if query = t.cutQuery(query); query != "" {
			uri += "?" + query
		}
	}
	query := Query(r)
	r2 := r.WithContext(&sent{r.Context(), &query})
	r2.URL = withQuery(r.URL, t.cutQuery(r.URL.RawQuery))
	r2.URL.RawFragment = cutMark
	r2.RequestURI = uri
	if r.Form != nil {
		r2.Form = t.cutForm(r.Form, r.PostForm)
	}
	return r2
}

func (t Tokens) cutQuery(query string) string {
	_, n, ok := Scan(query, t.names)
	switch {
	case !ok:
		return ""
	case n == 0:
		return query
	}
	var kept []string
	for pair := range strings.SplitSeq(query, "&") {
		if _, n, _ := Scan(pair, t.names); n == 0 {
			kept = append(kept, pair)
		}
	}
	return strings.Join(kept, "&")
}

// cutForm returns form without the tokens of the query. form holds the parameters of the
// query and of the body, and body only the latter. If the query does not parse, cutForm
// returns only the parameters of the body.
func (t Tokens) cutForm(form, body url.Values) url.Values {
	if t.Broken {
		return maps.Clone(body)
	}
	form = maps.Clone(form)
	for _, name := range t.names {
		delete(form, name)
		if values, has := body[name]; has {
			form[name] = values
		}
	}
	return form
}

// Scan returns the first value of the parameters with these names, how many there are,
// and whether the query parses according to [url.ParseQuery]. A query of more than 10,000
// parameters does not parse, and Scan then counts none of them. Scan allocates only for
// escapes.
func Scan(query string, names []string) (value string, n int, ok bool) {
	const most = 10000 // parameters; by default net/url parses no more
	if strings.Count(query, "&") >= most {
		return "", 0, false
	}
	ok = true
	for pair := range strings.SplitSeq(query, "&") {
		name, text, _ := strings.Cut(pair, "=")
		name, err := url.QueryUnescape(name)
		if err != nil || strings.Contains(pair, ";") || !escapesParse(text) {
			ok = false
		} else if slices.Contains(names, name) {
			if n++; n == 1 {
				value, _ = url.QueryUnescape(text)
			}
		}
	}
	return value, n, ok
}

// escapesParse reports whether each % in a query's value begins a valid escape.
func escapesParse(value string) bool {
	for {
		i := strings.IndexByte(value, '%')
		if i < 0 {
			return true
		}
		value = value[i+1:]
		if len(value) < 2 || !isHex(value[0]) || !isHex(value[1]) {
			return false
		}
		value = value[2:]
	}
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}
