package jwtauth

import (
	"errors"
	"fmt"
	"maps"
	"mime"
	"net/http"
	"net/textproto"
	"net/url"
	"reflect"
	"slices"
	"strings"
)

// Extractor looks for a token in one place of a request. A Presented without a
// token means that there is nothing, and the next extractor is asked; anything
// else, an error included, is the answer, and no further one is asked: a bad
// token is never covered up by another.
//
// One of your own is a function of one line:
//
//	func(r *http.Request) (jwtauth.Presented, error) {
//		return jwtauth.Presented{Token: r.Header.Get("X-Token"), In: jwtauth.InHeader}, nil
//	}
//
// It must be safe for concurrent use, must not write to the request, and may be
// asked more than once about one request. An error that is none of this
// package's is taken for [ErrMalformed]; wrap [ErrUnavailable] for "cannot know
// now".
type Extractor func(*http.Request) (Presented, error)

// Presented is a token as a request presents it, not judged in any way.
type Presented struct {
	Token string
	In    Location
	Name  string // of the header field, query parameter, form field or cookie
}

// Location is the kind of place where a token was found.
type Location int

// The zero Location counts as ambient, like a cookie: it fails closed.
const (
	// InHeader: a header field that the client's code sets.
	InHeader Location = iota + 1
	// InQuery: a parameter of the URL, called Name; it is cut from the request.
	InQuery
	// InForm: a field of the request's body.
	InForm
	// InCookie: a cookie, which browsers send by themselves, so that the request
	// must pass the cross-origin protection.
	InCookie
)

// ambient reports whether browsers add the credential to requests that other
// sites cause.
func (p Presented) ambient() bool {
	return p.In != InHeader && p.In != InQuery && p.In != InForm
}

// FromHeader looks into a header field for a token behind a scheme, which is
// compared without case (RFC 9110, section 11.1) and followed by one or more
// spaces; with the scheme "" the whole field is the token.
//
// A field with another scheme, or an empty one, is nothing. A scheme without a
// token is [ErrMalformed], and so is anything but the characters of RFC 6750,
// section 2.1; two fields are [ErrAmbiguousToken].
func FromHeader(name, scheme string) Extractor {
	key := textproto.CanonicalMIMEHeaderKey(name)
	s := &source{in: InHeader, name: name}
	if !isHTTPToken(name) || scheme != "" && !isHTTPToken(scheme) {
		s.bad = fmt.Errorf("FromHeader(%q, %q): a field's name and its scheme are words of RFC 9110, section 5.6.2", name, scheme)
	}
	s.find = func(r *http.Request) (string, int, error) {
		fields := r.Header[key]
		switch {
		case len(fields) == 0 || len(fields) == 1 && fields[0] == "":
			return "", 0, nil
		case len(fields) > 1 || scheme == "":
			return fields[0], len(fields), nil
		}
		field := fields[0]
		if len(field) < len(scheme) || !strings.EqualFold(field[:len(scheme)], scheme) {
			return "", 0, nil
		}
		rest := field[len(scheme):]
		if rest != "" && isHTTPTokenByte(rest[0]) {
			return "", 0, nil // the scheme is only the beginning of another one
		}
		if len(rest) > tokenCeiling { // not even its spaces are worth a look
			return "", 0, fmt.Errorf("%w: longer than any token", ErrMalformed)
		}
		return strings.TrimLeft(rest, " "), 1, nil
	}
	return s.extract
}

// FromQuery looks for a parameter of the URL (RFC 6750, section 2.3), matched
// by its decoded name. URLs end up in logs, histories and Referer fields, so
// prefer a header where the client can send one; what this package can keep
// from leaking it does: see the package's documentation.
//
// ServeMux answers a path that it would clean, such as /run//a, by a redirect
// to the clean one, query included, before any middleware of a route runs. Wrap
// the whole mux in [Auth.Public] besides, which changes nothing for the routes
// in it, and the redirect holds no token.
//
// A parameter without a value, or with characters that no token has, is
// [ErrMalformed]; two are [ErrAmbiguousToken].
func FromQuery(name string) Extractor {
	s := &source{in: InQuery, name: name}
	if name == "" {
		s.bad = errors.New(`FromQuery(""): name the parameter, such as "token"`)
	}
	s.find = func(r *http.Request) (token string, n int, err error) {
		u := scanURL(r, []string{name})
		if u.broken {
			return "", 0, fmt.Errorf("%w: a query that does not parse", ErrMalformed)
		}
		for _, found := range u.found {
			if found.name == name {
				token = found.value
				n++
			}
		}
		return token, n, nil
	}
	return s.extract
}

// FromCookie looks for a cookie. Browsers send cookies by themselves, so the
// request must also pass [WithCrossOriginProtection]. An empty cookie, as
// servers leave it behind, is nothing; two of one name, which a neighbouring
// domain can cause, are [ErrAmbiguousToken].
func FromCookie(name string) Extractor {
	s := &source{in: InCookie, name: name}
	if !isHTTPToken(name) {
		s.bad = fmt.Errorf("FromCookie(%q): a cookie's name is a word of RFC 9110, section 5.6.2", name)
	}
	s.find = func(r *http.Request) (string, int, error) {
		cookies := r.CookiesNamed(name)
		if len(cookies) == 0 || len(cookies) == 1 && cookies[0].Value == "" {
			return "", 0, nil
		}
		return cookies[0].Value, len(cookies), nil
	}
	return s.extract
}

// FromForm looks for a field of a POST, PUT or PATCH body of the type
// application/x-www-form-urlencoded (RFC 6750, section 2.2). It reads the whole
// body of such a request, at most 10 MB of it, into r.PostForm, where handlers
// find it; bodies of other types are not touched.
func FromForm(name string) Extractor {
	s := &source{in: InForm, name: name}
	if name == "" {
		s.bad = errors.New(`FromForm(""): name the field, such as "access_token"`)
	}
	s.find = func(r *http.Request) (string, int, error) {
		if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/x-www-form-urlencoded" {
			return "", 0, nil
		}
		if r.PostForm == nil {
			// A request without a query: ParseForm would mix its parameters in.
			body := r.WithContext(r.Context())
			body.URL, body.Form = new(url.URL), nil
			err := body.ParseForm()
			r.PostForm = body.PostForm
			if err != nil {
				delete(r.PostForm, name) // nobody further in shall take it for good
				return "", 0, fmt.Errorf("%w: a form that does not parse", ErrMalformed)
			}
		}
		values := r.PostForm[name]
		if len(values) == 0 {
			return "", 0, nil
		}
		return values[0], len(values), nil
	}
	return s.extract
}

// source is what the functions above make: its extract is the Extractor.
type source struct {
	in   Location
	name string
	bad  error // what is wrong with the arguments
	// find returns a token and how many there are.
	find func(*http.Request) (token string, n int, err error)
}

// extract answers a nil request, which only describe makes, with where it looks.
func (s *source) extract(r *http.Request) (Presented, error) {
	p := Presented{In: s.in, Name: s.name}
	if r == nil || s.bad != nil {
		return p, s.bad
	}
	token, n, err := s.find(r)
	switch {
	case err != nil:
		return p, err
	case n == 0:
		return Presented{}, nil
	case n > 1:
		return p, ErrAmbiguousToken
	case !isB64Token(token):
		return p, fmt.Errorf("%w: not the characters of a bearer token", ErrMalformed)
	}
	p.Token = token
	return p, nil
}

// describe says where an extractor of this package looks, and what is wrong
// with its arguments. Anybody else's is not called, and has the zero
// description: a function tells nothing but its address, and all of ours are
// the one method.
func describe(e Extractor) (Presented, error) {
	if reflect.ValueOf(e).Pointer() != reflect.ValueOf((*source)(nil).extract).Pointer() {
		return Presented{}, nil
	}
	return e(nil)
}

// isB64Token judges the syntax of RFC 6750, section 2.1, and the length beyond
// which nothing is looked at.
func isB64Token(token string) bool {
	if len(token) > tokenCeiling {
		return false
	}
	text := strings.TrimRight(token, "=")
	for i := range len(text) {
		if c := text[i]; !isAlphanumeric(c) && !strings.ContainsRune("-._~+/", rune(c)) {
			return false
		}
	}
	return text != ""
}

// isHTTPToken judges the syntax of a token of RFC 9110, section 5.6.2.
func isHTTPToken(word string) bool {
	for i := range len(word) {
		if !isHTTPTokenByte(word[i]) {
			return false
		}
	}
	return word != ""
}

func isHTTPTokenByte(c byte) bool {
	return isAlphanumeric(c) || strings.ContainsRune("!#$%&'*+-.^_`|~", rune(c))
}

func isAlphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

// urlTokens is what the URL of a request holds that must not be passed on.
type urlTokens struct {
	names  []string    // the parameters that were looked for
	found  []parameter // those that are there
	broken bool        // the query does not parse
}

// parameter is one parameter of a query, decoded.
type parameter struct{ name, value string }

// any reports whether there is something to cut.
func (u urlTokens) any() bool { return u.broken || len(u.found) > 0 }

// urlTokens looks for the parameters of all extractors, whichever would find
// its token first. Those of this package are known by name; others are asked.
func (a *Auth) urlTokens(r *http.Request) urlTokens {
	names := a.queryNames
	if r.URL.RawQuery != "" {
		for _, e := range a.foreign {
			if p, _ := e(r); p.In == InQuery && p.Name != "" && !slices.Contains(names, p.Name) {
				names = append(slices.Clip(names), p.Name)
			}
		}
	}
	if len(names) == 0 {
		return urlTokens{}
	}
	return scanURL(r, names)
}

// scanURL looks for parameters in the URL of a request and, where it holds
// none, among those that an outer middleware has cut.
func scanURL(r *http.Request, names []string) urlTokens {
	u := scanQuery(r.URL.RawQuery, names)
	if !u.any() {
		if outer := stateOf(r.Context()); outer != nil && outer.url != nil {
			u.found, u.broken = outer.url.found, outer.url.broken
		}
	}
	return u
}

// scanQuery parses as strictly as [url.ParseQuery], but allocates only for what
// it finds.
func scanQuery(query string, names []string) urlTokens {
	u := urlTokens{names: names}
	if strings.Contains(query, ";") {
		u.broken = true
	}
	for more := query != "" && !u.broken; more; {
		var pair string
		pair, query, more = strings.Cut(query, "&")
		name, value, _ := strings.Cut(pair, "=")
		name, err := url.QueryUnescape(name)
		switch {
		case err != nil || !escapesParse(value):
			return urlTokens{names: names, broken: true}
		case slices.Contains(names, name):
			value, _ = url.QueryUnescape(value)
			u.found = append(u.found, parameter{name, value})
		}
	}
	return u
}

// escapesParse reports whether each % of a query's value begins an escape.
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
	}
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

// cut returns the request without the tokens of its URL, wherever they were
// copied to; r itself where there is nothing to cut. The caller's request stays
// as it is. The other parameters keep their bytes and their order; a query that
// does not parse goes as a whole. What was cut goes into the context, where
// only this package finds it.
func (u urlTokens) cut(r *http.Request) *http.Request {
	if !u.any() {
		return r
	}
	s := &state{Context: r.Context(), url: &u}
	if outer := stateOf(r.Context()); outer != nil {
		s.claims, s.ok = outer.claims, outer.ok
	}
	r2 := r.WithContext(s)
	r2.URL = new(url.URL)
	*r2.URL = *r.URL
	r2.URL.RawQuery, r2.URL.ForceQuery = u.cutQuery(r.URL.RawQuery), false
	if target, query, has := strings.Cut(r.RequestURI, "?"); has {
		r2.RequestURI = target
		if query = u.cutQuery(query); query != "" {
			r2.RequestURI += "?" + query
		}
	}
	if r.Form != nil {
		r2.Form = u.cutForm(r.Form, r.PostForm)
	}
	return r2
}

func (u urlTokens) cutQuery(query string) string {
	if u.broken || scanQuery(query, u.names).broken {
		return ""
	}
	pairs := slices.DeleteFunc(strings.Split(query, "&"), func(pair string) bool {
		return len(scanQuery(pair, u.names).found) > 0
	})
	return strings.Join(pairs, "&")
}

// guard keeps an allowed response out of caches, and its address out of the
// Referer fields of what its page asks for.
func (u urlTokens) guard(header http.Header) {
	if u.any() {
		header.Set("Cache-Control", "private, no-store")
		header.Set("Referrer-Policy", "no-referrer")
	}
}

// cutForm leaves of the parameters what the body said: form holds both.
func (u urlTokens) cutForm(form, body url.Values) url.Values {
	if u.broken {
		return maps.Clone(body)
	}
	form = maps.Clone(form)
	for _, name := range u.names {
		delete(form, name)
		if values, has := body[name]; has {
			form[name] = values
		}
	}
	return form
}
