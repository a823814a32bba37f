package jwtauth

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/textproto"
	"net/url"
	"reflect"
	"slices"
	"strings"
)

// Extractor looks for a token in one place of a request. A RawToken without a
// token means that there is nothing, and the next extractor is asked; anything
// else, an error included, is the answer, and no further one is asked: a bad
// token is never covered up by another.
//
// One of your own is a function of one line:
//
//	func(r *http.Request) (jwtauth.RawToken, error) {
//		return jwtauth.RawToken{Token: r.Header.Get("X-Token"), In: jwtauth.InHeader}, nil
//	}
//
// One that reads the URL gives In and Name, also beside an error: by the name
// the parameter is cut from the request. It must be safe for concurrent use and
// must not write to the request; of a request whose URL has parameters it is
// asked more than once. An error that is none of this package's is taken for
// [ErrMalformed]; wrap [ErrUnavailable] for "cannot know now".
type Extractor func(*http.Request) (RawToken, error)

// RawToken is a token as a request presents it, not judged in any way.
type RawToken struct {
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
	// InQuery: a parameter of the URL, which is cut from the request by its Name;
	// without one the token is refused.
	InQuery
	// InForm: a field of the request's body.
	InForm
	// InCookie: a cookie, which browsers send by themselves, so that the request
	// must pass the cross-origin protection.
	InCookie
)

// String returns "header", "query", "form", "cookie" or "Location(n)".
func (l Location) String() string {
	switch l {
	case InHeader:
		return "header"
	case InQuery:
		return "query"
	case InForm:
		return "form"
	case InCookie:
		return "cookie"
	}
	return fmt.Sprintf("Location(%d)", int(l))
}

// ambient reports whether browsers add the credential to requests that other
// sites cause.
func (p RawToken) ambient() bool {
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
		if len(field) < len(scheme) || field[:len(scheme)] != scheme && !strings.EqualFold(field[:len(scheme)], scheme) {
			return "", 0, nil
		}
		rest := field[len(scheme):]
		if rest != "" && rest[0] != ' ' && isHTTPTokenByte(rest[0]) {
			return "", 0, nil // the scheme is only the beginning of another one
		}
		if len(rest) > 2*tokenCeiling { // not even its spaces are worth a look
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
// A query that does not parse, as [url.ParseQuery] judges, is refused whole.
//
// ServeMux answers a path that it would clean, such as /run//a, by a redirect
// that repeats the query, before any middleware of a route runs. A server that
// must not refuses such paths first, as examples/recipes does.
//
// A parameter without a value, or with characters that no token has, is
// [ErrMalformed]; two are [ErrAmbiguousToken].
func FromQuery(name string) Extractor {
	s, names := &source{in: InQuery, name: name}, []string{name}
	if name == "" {
		s.bad = errors.New(`FromQuery(""): name the parameter, such as "token"`)
	}
	s.find = func(r *http.Request) (string, int, error) {
		token, n, ok := scanQuery(sentQuery(r), names)
		if n > 0 && !ok {
			return "", 0, fmt.Errorf("%w: in a query that does not parse", ErrMalformed)
		}
		return token, n, nil
	}
	return s.extract
}

// FromCookie looks for a cookie. Browsers send cookies by themselves, so the
// request must also pass [WithCrossOriginProtection]; GET, HEAD and OPTIONS do from
// any origin, but for those with Upgrade, so handlers must change nothing on them. An
// empty cookie, as servers leave it behind, is nothing; two of one name, which a
// neighbouring domain can cause, are [ErrAmbiguousToken].
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
// application/x-www-form-urlencoded (RFC 6750, section 2.2). It reads such a
// body, at most 10 MB of it, and puts it back for the handler; bodies of other
// types are not touched. A form that does not parse or is longer is
// [ErrMalformed]; of one that another middleware has parsed before, what that
// left in r.PostForm counts.
func FromForm(name string) Extractor {
	s := &source{in: InForm, name: name}
	if name == "" {
		s.bad = errors.New(`FromForm(""): name the field, such as "access_token"`)
	}
	s.find = func(r *http.Request) (string, int, error) {
		form, err := readForm(r)
		if err != nil || len(form[name]) == 0 {
			return "", 0, err
		}
		return form[name][0], len(form[name]), nil
	}
	return s.extract
}

// maxForm is how much of a body is read, the same as http.Request.ParseForm.
const maxForm = 10 << 20

// readForm returns the fields of a request's body, and leaves the body as it
// was: a handler, and a middleware further in, must read the same.
func readForm(r *http.Request) (url.Values, error) {
	if r.PostForm != nil {
		return r.PostForm, nil
	}
	// Like net/http, which hands a field to handlers whatever follows the type.
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	hasForm := r.Method == http.MethodPost || r.Method == http.MethodPut || r.Method == http.MethodPatch
	if !hasForm || kind != "application/x-www-form-urlencoded" || r.Body == nil {
		return nil, nil
	}
	data, err := io.ReadAll(io.LimitReader(r.Body, maxForm+1))
	r.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(data), r.Body), r.Body}
	if err != nil {
		return nil, fmt.Errorf("%w: a form that cannot be read: %w", ErrMalformed, err)
	}
	form, err := url.ParseQuery(string(data))
	if err != nil || len(data) > maxForm {
		return nil, fmt.Errorf("%w: a form that does not parse, or is too long", ErrMalformed)
	}
	return form, nil
}

// source is what the functions above make: its extract is the Extractor.
type source struct {
	in   Location
	name string
	bad  error // what is wrong with the arguments
	// find returns a token and how many there are.
	find func(*http.Request) (token string, n int, err error)
}

// extract is the Extractor. It answers a nil request, which only describe makes,
// with itself.
func (s *source) extract(r *http.Request) (RawToken, error) {
	if r == nil {
		return RawToken{}, itself{s}
	}
	p, err := s.look(r)
	if err == nil && p.Token != "" && !isB64Token(p.Token) {
		return RawToken{In: s.in, Name: s.name}, fmt.Errorf("%w: not the characters of a bearer token", ErrMalformed)
	}
	return p, err
}

// look is extract but for the token's characters.
func (s *source) look(r *http.Request) (RawToken, error) {
	p := RawToken{In: s.in, Name: s.name}
	if s.bad != nil {
		return p, s.bad
	}
	token, n, err := s.find(r)
	switch {
	case err != nil:
		return p, err
	case n == 0:
		return RawToken{}, nil
	case n > 1:
		return p, ErrAmbiguousToken
	case token == "":
		return p, fmt.Errorf("%w: no token where one should be", ErrMalformed)
	}
	p.Token = token
	return p, nil
}

// itself is the error of an extractor that was asked about no request.
type itself struct{ source *source }

func (itself) Error() string { return "jwtauth: an extractor was given no request" }

// describe returns where an extractor of this package looks. Anybody else's is
// not called, and gives nil: a function tells nothing but its address, and all
// of ours are the one method.
func describe(e Extractor) *source {
	if reflect.ValueOf(e).Pointer() != reflect.ValueOf((*source)(nil).extract).Pointer() {
		return nil
	}
	_, err := e(nil)
	return err.(itself).source
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

// sentURL is the query of a request as the client sent it. A middleware that cut
// tokens out of the URL keeps it in the context, for one further in to look for them.
type sentURL struct{ query string }

// cutMark is the RawFragment of a URL out of which tokens were cut. A copy of the URL
// keeps it, as http.StripPrefix makes one; a URL that a handler makes has none. No
// server reads a fragment, and nothing prints a RawFragment without one.
const cutMark = "jwtauth: cut"

// sentQuery returns the query of a request as the client sent it. A request that a
// handler makes, even in the context of this one or by Clone, sends nothing that its
// own URL does not hold.
func sentQuery(r *http.Request) string {
	if s := stateOf(r.Context()); s != nil && s.sent != nil && r.URL.RawFragment == cutMark {
		return s.sent.query
	}
	return r.URL.RawQuery
}

// asSent makes a custom extractor see the query as the client sent it.
func asSent(e Extractor) Extractor {
	return func(r *http.Request) (RawToken, error) {
		query := sentQuery(r)
		if query == r.URL.RawQuery {
			return e(r)
		}
		view := r.WithContext(r.Context())
		view.URL = withQuery(r.URL, query)
		defer keepBody(r, view)
		return e(view)
	}
}

// keepBody gives a request the body of a copy that may have been read, with what was
// made of it. Form is left out: it may hold a token of the URL, and net/http makes it
// again.
func keepBody(r, view *http.Request) {
	r.Body, r.PostForm, r.MultipartForm = view.Body, view.PostForm, view.MultipartForm
}

func withQuery(u *url.URL, query string) *url.URL {
	u2 := *u
	u2.RawQuery, u2.ForceQuery = query, false
	return &u2
}

// urlTokens is what was found in the URL of a request that must not be passed
// on.
type urlTokens struct {
	names  []string // the parameters that were looked for
	found  bool     // the request holds one of them
	broken bool     // its query does not parse
}

// urlTokens looks for the parameters of all extractors, whichever would find
// its token first. Those of this package are known by name; others are asked.
func (a *Auth) urlTokens(r *http.Request) urlTokens {
	query, u := sentQuery(r), urlTokens{names: a.queryNames}
	if query == "" && r.URL.RawQuery == "" && r.Form == nil && strings.IndexByte(r.RequestURI, '?') < 0 {
		return u // most requests: there is no place for a parameter
	}
	if query != "" {
		for _, e := range a.foreign {
			if p, _ := e(r); p.In == InQuery && p.Name != "" {
				u.names = append(slices.Clip(u.names), p.Name)
			}
		}
	}
	if len(u.names) == 0 {
		return u
	}
	_, n, ok := scanQuery(query, u.names)
	u.found, u.broken = n > 0, !ok
	// Something outside may have changed one of the copies, and left the others.
	if _, query, has := strings.Cut(r.RequestURI, "?"); has && query != r.URL.RawQuery {
		_, n, ok := scanQuery(query, u.names)
		u.found = u.found || n > 0 || !ok
	}
	for _, name := range u.names {
		u.found = u.found || len(r.Form[name]) > len(r.PostForm[name])
	}
	return u
}

// scanQuery returns the first value of the parameters with these names, how
// many there are, and whether the query parses as [url.ParseQuery] judges. It
// allocates for escapes only.
func scanQuery(query string, names []string) (value string, n int, ok bool) {
	const most = 10000 // parameters; net/url parses no more by default
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
		value = value[2:]
	}
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

// cut returns the request without the tokens of its URL, wherever they were
// copied to; r itself where there is nothing to cut. The caller's request stays
// as it is. The other parameters keep their bytes and their order; a query that
// does not parse goes as a whole.
func (u urlTokens) cut(r *http.Request) *http.Request {
	if !u.found && !u.broken {
		return r
	}
	uri := r.RequestURI
	if target, query, has := strings.Cut(uri, "?"); has {
		uri = target
		if query = u.cutQuery(query); query != "" {
			uri += "?" + query
		}
	}
	s := newState(r.Context())
	s.sent = &sentURL{sentQuery(r)}
	r2 := r.WithContext(s)
	r2.URL = withQuery(r.URL, u.cutQuery(r.URL.RawQuery))
	r2.URL.RawFragment = cutMark
	r2.RequestURI = uri
	if r.Form != nil {
		r2.Form = u.cutForm(r.Form, r.PostForm)
	}
	return r2
}

func (u urlTokens) cutQuery(query string) string {
	_, n, ok := scanQuery(query, u.names)
	switch {
	case !ok:
		return ""
	case n == 0:
		return query
	}
	var kept []string
	for pair := range strings.SplitSeq(query, "&") {
		if _, n, _ := scanQuery(pair, u.names); n == 0 {
			kept = append(kept, pair)
		}
	}
	return strings.Join(kept, "&")
}

// cutForm leaves of the parameters what the body said: form holds both. Of a
// query that does not parse nobody knows what form took, and all of it goes.
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

// cutURL returns the request without the tokens of its URL, and what is to know of
// them. Where there are some, the response is kept out of caches, let in or not, and
// its address out of the Referer fields of what browsers ask for next.
func (a *Auth) cutURL(w http.ResponseWriter, r *http.Request) (*http.Request, urlTokens) {
	u := a.urlTokens(r)
	if u.found || u.broken {
		w.Header().Set("Cache-Control", "private, no-store")
		w.Header().Set("Referrer-Policy", "no-referrer")
	}
	return u.cut(r), u
}
