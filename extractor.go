package jwtauth

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strings"

	"github.com/joinednode/jwtauth/internal/strict"
	"github.com/joinednode/jwtauth/internal/urltoken"
)

// Extractor looks for a token in one place of a request. If it returns a RawToken without
// a token and no error, the next extractor is asked. Any other result is final, even an
// error: a good token elsewhere never makes up for a bad one.
//
//	func(r *http.Request) (jwtauth.RawToken, error) {
//		return jwtauth.RawToken{Token: r.Header.Get("X-Token"), In: jwtauth.InHeader}, nil
//	}
//
// An Extractor must be safe for concurrent use, and must not change the request. It may
// be called more than once for a request, and [New] calls it with an empty request. An
// Extractor that reads the URL must set In and Name, even with an error, so that the
// parameter can be cut. An error that wraps none of this package becomes [ErrMalformed].
// If the lookup itself fails, return an error that wraps [ErrUnavailable].
type Extractor func(*http.Request) (RawToken, error)

// RawToken is a token as it was found in a request. It has not been verified.
type RawToken struct {
	Token string
	In    Location
	Name  string // the name of the header field, query parameter, form field or cookie

	place *place // where the extractor looks; set only in the answer to placeOf
}

// Location is the kind of place where a token was found.
type Location int

// The zero Location and unknown ones count as InCookie, so they fail closed.
const (
	// InHeader: a header field that the client's code sets.
	InHeader Location = iota + 1
	// InQuery: a URL parameter. The parameter with the Name of the RawToken is cut from
	// the request. A token without a Name is rejected.
	InQuery
	// InForm: a field of the request's body.
	InForm
	// InCookie: a cookie. Browsers send cookies by themselves, so the request must also
	// pass the cross-origin protection.
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

// ambient reports whether browsers may add the token by themselves to requests that other
// sites cause.
func (p RawToken) ambient() bool {
	return p.In != InHeader && p.In != InQuery && p.In != InForm
}

// FromHeader returns an extractor that looks for a token in a header field, after a
// scheme such as "Bearer". The scheme is compared without case (RFC 9110, section 11.1)
// and followed by one or more spaces. If scheme is "", the whole field is the token.
//
// An empty field and a field with another scheme count as no token. A scheme without a
// token is [ErrMalformed], and so is a token with characters that RFC 6750, section 2.1,
// does not allow. Two fields are [ErrAmbiguousToken].
func FromHeader(name, scheme string) Extractor { return fromHeader(name, scheme).extract }

func fromHeader(name, scheme string) *place {
	key := textproto.CanonicalMIMEHeaderKey(name)
	p := &place{in: InHeader, name: name}
	if !isHTTPToken(name) || scheme != "" && !isHTTPToken(scheme) {
		p.bad = fmt.Errorf("FromHeader(%q, %q): a field's name and its scheme are tokens of RFC 9110, section 5.6.2", name, scheme)
	}
	p.find = func(r *http.Request) (string, int, error) {
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
		if rest != "" && rest[0] != ' ' && httpToken[rest[0]] {
			return "", 0, nil // a longer scheme that begins with this one
		}
		if len(rest) > 2*tokenCeiling { // do not even trim its spaces
			return "", 0, fmt.Errorf("%w: longer than any token", ErrMalformed)
		}
		return strings.TrimLeft(rest, " "), 1, nil
	}
	return p
}

// FromQuery returns an extractor that looks for a token in a URL parameter (RFC 6750,
// section 2.3). The name of a parameter is decoded before it is compared. URLs end up in
// logs, browser histories and Referer fields: prefer a header if the client can set one.
// The package comment says how tokens in URLs are kept from spreading.
//
// A query that [url.ParseQuery] rejects is [ErrMalformed] as a whole. So is a parameter
// without a value, or with characters that no token has. Two parameters of this name are
// [ErrAmbiguousToken].
func FromQuery(name string) Extractor { return fromQuery(name).extract }

func fromQuery(name string) *place {
	p, names := &place{in: InQuery, name: name}, []string{name}
	if name == "" {
		p.bad = errors.New(`FromQuery(""): name the parameter, such as "token"`)
	}
	p.find = func(r *http.Request) (string, int, error) {
		token, n, ok := urltoken.Scan(urltoken.Query(r), names)
		if n > 0 && !ok {
			return "", 0, fmt.Errorf("%w: the query does not parse", ErrMalformed)
		}
		return token, n, nil
	}
	return p
}

// FromCookie returns an extractor that looks for a token in a cookie. Browsers send
// cookies by themselves, so the request must also pass [WithCrossOriginProtection]. GET,
// HEAD and OPTIONS requests pass it from any origin, except with an Upgrade field.
// Handlers of these methods must therefore not change anything.
//
// An empty cookie counts as no token, and equal cookies count as one. Two different
// cookies of one name are [ErrAmbiguousToken]: a neighbouring domain can set the second
// one.
func FromCookie(name string) Extractor { return fromCookie(name).extract }

func fromCookie(name string) *place {
	p := &place{in: InCookie, name: name}
	if !isHTTPToken(name) {
		p.bad = fmt.Errorf("FromCookie(%q): a cookie's name is a token of RFC 9110, section 5.6.2", name)
	}
	p.find = func(r *http.Request) (string, int, error) {
		token, n := "", 0
		for _, c := range r.CookiesNamed(name) {
			if c.Value != "" && c.Value != token {
				token = c.Value
				n++
			}
		}
		return token, n, nil
	}
	return p
}

// FromForm returns an extractor that looks for a token in a field of a POST, PUT or PATCH
// body of type application/x-www-form-urlencoded (RFC 6750, section 2.2). It reads at
// most 10 MB of such a body, and puts it back for the handler. It does not touch other
// bodies.
//
// A form that does not parse, or is larger than 10 MB, is [ErrMalformed]. If another
// middleware has already parsed the form, the extractor looks in r.PostForm.
func FromForm(name string) Extractor { return fromForm(name).extract }

func fromForm(name string) *place {
	p := &place{in: InForm, name: name}
	if name == "" {
		p.bad = errors.New(`FromForm(""): name the field, such as "access_token"`)
	}
	p.find = func(r *http.Request) (string, int, error) {
		form, err := readForm(r)
		if err != nil || len(form[name]) == 0 {
			return "", 0, err
		}
		return form[name][0], len(form[name]), nil
	}
	return p
}

// maxForm is the size of the largest form that is read, in bytes. It is also the limit of
// http.Request.ParseForm.
const maxForm = 10 << 20

// readForm returns the fields of a request's body and restores the body, so that handlers
// and inner middlewares read the same.
func readForm(r *http.Request) (url.Values, error) {
	if r.PostForm != nil {
		return r.PostForm, nil
	}
	// As in net/http, parameters of the media type are ignored, even bad ones.
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
		return nil, fmt.Errorf("%w: the form cannot be read: %w", ErrMalformed, err)
	}
	form, err := url.ParseQuery(string(data))
	if err != nil || len(data) > maxForm {
		return nil, fmt.Errorf("%w: the form does not parse, or is too long", ErrMalformed)
	}
	return form, nil
}

// place is one place where an extractor of this package looks. Its method extract is the
// Extractor.
type place struct {
	in   Location
	name string
	bad  error // what is wrong with the arguments
	// find returns the first token of the place, and how many there are. If there are
	// several, none is used.
	find func(*http.Request) (token string, n int, err error)
}

func (p *place) extract(r *http.Request) (RawToken, error) {
	raw, err := p.look(r)
	if err == nil && raw.Token != "" && !isB64Token(raw.Token) {
		return RawToken{In: p.in, Name: p.name}, fmt.Errorf("%w: it has characters that no bearer token has, or is too long", ErrMalformed)
	}
	return raw, err
}

// look is extract without the check of the token's characters.
func (p *place) look(r *http.Request) (RawToken, error) {
	if r.URL != nil && r.URL.RawFragment == whereMark {
		return RawToken{place: p}, p.bad
	}
	raw := RawToken{In: p.in, Name: p.name}
	if p.bad != nil {
		return raw, p.bad
	}
	token, n, err := p.find(r)
	switch {
	case err != nil:
		return raw, err
	case n == 0:
		return RawToken{}, nil
	case n > 1:
		return raw, ErrAmbiguousToken
	case token == "":
		return raw, fmt.Errorf("%w: the place for a token is empty", ErrMalformed)
	}
	raw.Token = token
	return raw, nil
}

// whereMark is the RawFragment of the empty request by which placeOf asks an extractor
// where it looks. No client can send it: servers never receive a fragment.
const whereMark = "jwtauth: where"

// placeOf returns where an extractor of this package looks, by asking it about an empty
// request. It returns nil for a custom extractor, unless that returns the result of an
// extractor of this package.
func placeOf(e Extractor) *place {
	defer func() { _ = recover() }() // a custom extractor may need what the empty request lacks
	raw, _ := e(&http.Request{Method: http.MethodGet, URL: &url.URL{Path: "/", RawFragment: whereMark}, Header: http.Header{}, Body: http.NoBody})
	return raw.place
}

// places asks the extractors where they look. It returns the URL parameters that they
// read and, in vary, the header fields, which always include Authorization. dynamic holds
// the extractors that may name further URL parameters for a request. These are the custom
// ones, and all that look in a header or cookie: a custom extractor that ends with a call
// of FromHeader or FromCookie cannot be told from those.
func places(extractors []Extractor) (queryNames []string, dynamic []Extractor, vary []string) {
	vary = []string{"Authorization"}
	for _, e := range extractors {
		p := placeOf(e)
		if p == nil {
			dynamic = append(dynamic, e)
			continue
		}
		field := ""
		switch p.in {
		case InQuery:
			queryNames = append(queryNames, p.name)
		case InHeader:
			field = http.CanonicalHeaderKey(p.name)
		case InCookie:
			field = "Cookie"
		}
		if p.in == InHeader || p.in == InCookie {
			dynamic = append(dynamic, e)
		}
		if field != "" && !slices.Contains(vary, field) {
			vary = append(vary, field)
		}
	}
	return queryNames, dynamic, vary
}

// asSent returns an extractor that sees the query as the client sent it, before it was
// cut.
func asSent(e Extractor) Extractor {
	return func(r *http.Request) (RawToken, error) {
		view := urltoken.Sent(r)
		if view == r {
			return e(r)
		}
		defer keepBody(r, view)
		return e(view)
	}
}

// keepBody gives r the body of view, which may have been read and parsed. It does not
// copy Form, which may hold a token of the URL. If the handler needs Form, net/http
// builds it again.
func keepBody(r, view *http.Request) {
	r.Body, r.PostForm, r.MultipartForm = view.Body, view.PostForm, view.MultipartForm
}

// urlTokens finds the URL parameters of all extractors, not only of the one that finds
// the token.
func (a *Auth) urlTokens(r *http.Request) urltoken.Tokens {
	if !urltoken.Possible(r) {
		return urltoken.Tokens{}
	}
	names := a.queryNames
	if urltoken.Query(r) != "" {
		for _, e := range a.dynamic {
			if raw, _ := e(r); raw.In == InQuery && raw.Name != "" {
				names = append(slices.Clip(names), raw.Name)
			}
		}
	}
	return urltoken.Find(r, names)
}

// find checks the request itself, and then looks for its token.
func (a *Auth) find(r *http.Request, u urltoken.Tokens, policy Policy) (RawToken, error) {
	if err := checkPath(r); err != nil {
		return RawToken{}, a.andNoToken(r, err)
	}
	if u.Broken && policy != Public {
		return RawToken{}, a.andNoToken(r, fmt.Errorf("%w: the query does not parse", ErrMalformed))
	}
	return a.extract(r)
}

// andNoToken adds ErrNoToken to an error about the request if the request also has no
// token. Clients may learn that much.
func (a *Auth) andNoToken(r *http.Request, wrong error) error {
	if _, err := a.extract(r); errors.Is(err, ErrNoToken) {
		return fmt.Errorf("%w: %w", wrong, ErrNoToken)
	}
	return wrong
}

// extract asks the extractors in order, until one finds a token or fails. If the token is
// in a cookie, extract also checks the origin of the request.
func (a *Auth) extract(r *http.Request) (RawToken, error) {
	for _, e := range a.extractors {
		raw, err := e(r)
		switch {
		case err != nil:
			if name, _ := reasonOf(err); name == "" {
				err = fmt.Errorf("%w: %w", ErrMalformed, err)
			}
			return raw, err
		case raw.Token == "":
			continue
		case raw.In == InQuery && raw.Name == "":
			return raw, fmt.Errorf("%w: its extractor did not name the URL parameter, so it cannot be cut", ErrMalformed)
		case raw.ambient():
			return raw, a.checkOrigin(r)
		}
		return raw, nil
	}
	return RawToken{}, ErrNoToken
}

// checkOrigin denies a request that a page of another origin may have caused. A request
// with an Upgrade field counts as unsafe although it is a GET: browsers open WebSockets
// across origins, cookies included.
func (a *Auth) checkOrigin(r *http.Request) error {
	if len(r.Header["Upgrade"]) > 0 {
		r = r.WithContext(r.Context())
		r.Method = http.MethodPost
	}
	if err := a.crossOrigin.Check(r); err != nil {
		return fmt.Errorf("%w: %w", ErrCrossOrigin, err)
	}
	return nil
}

// isB64Token reports whether a token has the syntax of RFC 6750, section 2.1, and is no
// longer than WithMaxTokenSize can allow.
func isB64Token(token string) bool {
	if len(token) > tokenCeiling {
		return false
	}
	rest := strings.TrimRight(token, "=")
	return rest != "" && strict.Only(rest, b64token)
}

// b64token is the alphabet of RFC 6750, section 2.1.
var b64token = strict.Set(alphanumeric + "-._~+/")

const alphanumeric = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

// httpToken is the alphabet of a token of RFC 9110, section 5.6.2.
var httpToken = strict.Set(alphanumeric + "!#$%&'*+-.^_`|~")

func isHTTPToken(word string) bool { return word != "" && strict.Only(word, httpToken) }
