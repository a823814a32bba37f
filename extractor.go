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
// asked more than once, and [New] asks it about an empty one. An error that is none of this package's is taken for
// [ErrMalformed]; wrap [ErrUnavailable] for "cannot know now".
type Extractor func(*http.Request) (RawToken, error)

// RawToken is a token as found in a request, not verified.
type RawToken struct {
	Token string
	In    Location
	Name  string // of the header field, query parameter, form field or cookie

	place *place // where an extractor of this package looks, of the empty request of New alone
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
func FromHeader(name, scheme string) Extractor { return fromHeader(name, scheme).extract }

func fromHeader(name, scheme string) *place {
	key := textproto.CanonicalMIMEHeaderKey(name)
	p := &place{in: InHeader, name: name}
	if !isHTTPToken(name) || scheme != "" && !isHTTPToken(scheme) {
		p.bad = fmt.Errorf("FromHeader(%q, %q): a field's name and its scheme are words of RFC 9110, section 5.6.2", name, scheme)
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
			return "", 0, nil // the scheme is only the beginning of another one
		}
		if len(rest) > 2*tokenCeiling { // not even its spaces are worth a look
			return "", 0, fmt.Errorf("%w: longer than any token", ErrMalformed)
		}
		return strings.TrimLeft(rest, " "), 1, nil
	}
	return p
}

// FromQuery looks for a parameter of the URL (RFC 6750, section 2.3), matched
// by its decoded name. URLs end up in logs, histories and Referer fields, so
// prefer a header where the client can send one; what this package can keep
// from leaking it does: see the package's documentation.
//
// A query that does not parse, as [url.ParseQuery] says, is rejected as a whole.
//
// ServeMux answers a path that it would clean, such as /run//a, by a redirect
// that repeats the query, before any middleware of a route runs. A server that
// must not refuses such paths first, as examples/recipes does.
//
// A parameter without a value, or with characters that no token has, is
// [ErrMalformed]; two are [ErrAmbiguousToken].
func FromQuery(name string) Extractor { return fromQuery(name).extract }

func fromQuery(name string) *place {
	p, names := &place{in: InQuery, name: name}, []string{name}
	if name == "" {
		p.bad = errors.New(`FromQuery(""): name the parameter, such as "token"`)
	}
	p.find = func(r *http.Request) (string, int, error) {
		token, n, ok := urltoken.Scan(urltoken.Query(r), names)
		if n > 0 && !ok {
			return "", 0, fmt.Errorf("%w: in a query that does not parse", ErrMalformed)
		}
		return token, n, nil
	}
	return p
}

// FromCookie looks for a cookie. Browsers send cookies by themselves, so the
// request must also pass [WithCrossOriginProtection]; GET, HEAD and OPTIONS do from
// any origin, except those with Upgrade, so handlers must change nothing on them. An
// empty cookie, as servers leave it behind, is nothing; two of one name, which a
// neighbouring domain can cause, are [ErrAmbiguousToken].
func FromCookie(name string) Extractor { return fromCookie(name).extract }

func fromCookie(name string) *place {
	p := &place{in: InCookie, name: name}
	if !isHTTPToken(name) {
		p.bad = fmt.Errorf("FromCookie(%q): a cookie's name is a word of RFC 9110, section 5.6.2", name)
	}
	p.find = func(r *http.Request) (string, int, error) {
		cookies := r.CookiesNamed(name)
		if len(cookies) == 0 || len(cookies) == 1 && cookies[0].Value == "" {
			return "", 0, nil
		}
		return cookies[0].Value, len(cookies), nil
	}
	return p
}

// FromForm looks for a field of a POST, PUT or PATCH body of the type
// application/x-www-form-urlencoded (RFC 6750, section 2.2). It reads such a
// body, at most 10 MB of it, and puts it back for the handler; bodies of other
// types are not touched. A form that does not parse or is longer is
// [ErrMalformed]; of one that another middleware has parsed before, what that
// left in r.PostForm counts.
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

// place is where an extractor of this package looks: its extract is the Extractor.
type place struct {
	in   Location
	name string
	bad  error // what is wrong with the arguments
	// find returns a token and how many there are.
	find func(*http.Request) (token string, n int, err error)
}

func (p *place) extract(r *http.Request) (RawToken, error) {
	raw, err := p.look(r)
	if err == nil && raw.Token != "" && !isB64Token(raw.Token) {
		return RawToken{In: p.in, Name: p.name}, fmt.Errorf("%w: not the characters of a bearer token", ErrMalformed)
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
		return raw, fmt.Errorf("%w: no token where one should be", ErrMalformed)
	}
	raw.Token = token
	return raw, nil
}

// whereMark is the RawFragment of the URL of an empty request: asked about it, an extractor
// of this package says where it looks. No server reads a fragment.
const whereMark = "jwtauth: where"

// placeOf asks an extractor where it looks. It returns nil for a custom one, which finds
// nothing in an empty request.
func placeOf(e Extractor) *place {
	defer func() { _ = recover() }() // of a custom one that needs more than such a request has
	raw, _ := e(&http.Request{Method: http.MethodGet, URL: &url.URL{Path: "/", RawFragment: whereMark}, Header: http.Header{}, Body: http.NoBody})
	return raw.place
}

// places returns what the extractors say of themselves: the parameters of the URL that
// they look for, and the fields of a request that decide. Those whose answer on a request
// may name further parameters are dynamic. A custom extractor may end in a call of one of
// this package's, so only a place in a query or a form is taken for all there is.
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

// asSent makes a custom extractor see the query as the client sent it.
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

// keepBody gives a request the body of a copy that may have been read, with what was
// made of it. Form is left out: it may hold a token of the URL, and net/http makes it
// again.
func keepBody(r, view *http.Request) {
	r.Body, r.PostForm, r.MultipartForm = view.Body, view.PostForm, view.MultipartForm
}

// urlTokens looks for the parameters of all extractors, whichever would find its token
// first.
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

// find finds the token of a request, unless the request itself is wrong.
func (a *Auth) find(r *http.Request, u urltoken.Tokens, policy Policy) (RawToken, error) {
	if err := checkPath(r); err != nil {
		return RawToken{}, a.andNoToken(r, err)
	}
	if u.Broken && policy != Public {
		return RawToken{}, a.andNoToken(r, fmt.Errorf("%w: a query that does not parse", ErrMalformed))
	}
	return a.extract(r)
}

// andNoToken adds to what is wrong with a request that it presents no token
// either: that much the client may know.
func (a *Auth) andNoToken(r *http.Request, wrong error) error {
	if _, err := a.extract(r); errors.Is(err, ErrNoToken) {
		return fmt.Errorf("%w: %w", wrong, ErrNoToken)
	}
	return wrong
}

// extract asks the extractors in order. What the first one finds decides, good or bad; a
// cookie must not have been sent by a page of another origin.
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
			return raw, fmt.Errorf("%w: of a parameter without a name, which could not be cut", ErrMalformed)
		case raw.ambient():
			return raw, a.checkOrigin(r)
		}
		return raw, nil
	}
	return RawToken{}, ErrNoToken
}

// checkOrigin refuses what a page of another origin may have caused. A request
// that opens a WebSocket counts as unsafe although it is a GET: browsers send
// it across origins, cookies included.
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

// isB64Token checks the syntax of RFC 6750, section 2.1, and the length beyond
// which nothing is looked at.
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
