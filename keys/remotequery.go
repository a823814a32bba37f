package keys

import (
	"errors"
	"net/url"
	"slices"
	"strings"
)

// The query of a Remote's URL may hold a secret. No log and no error may show it.

// where returns the URL without its query.
func (r *Remote) where() string { return r.url.Scheme + "://" + r.url.Host + r.url.EscapedPath() }

// withoutQuery returns an error of the client without the query. It drops the URL that
// the client adds. If the rest repeats the query or one of its values, as the URL of a
// Location field may, it masks that.
func (r *Remote) withoutQuery(err error) error {
	if whole := (*url.Error)(nil); errors.As(err, &whole) {
		err = whole.Err
	}
	text := err.Error()
	for _, secret := range secretsOf(r.url.RawQuery) {
		text = strings.ReplaceAll(text, secret, "…")
	}
	return told{err, text}
}

// secretsOf returns a query and its values, as given, decoded and encoded again, the
// longest first. It leaves out those shorter than 8 bytes: they are unlikely to be
// secrets, and may be part of an address.
func secretsOf(query string) []string {
	all := []string{query}
	for _, pair := range strings.FieldsFunc(query, func(r rune) bool { return r == '&' || r == ';' }) {
		_, value, named := strings.Cut(pair, "=")
		if !named {
			value = pair
		}
		decoded, err := url.QueryUnescape(value)
		if err != nil {
			decoded = value
		}
		all = append(all, value, decoded, url.QueryEscape(decoded), url.PathEscape(decoded))
	}
	all = slices.DeleteFunc(all, func(s string) bool { return len(s) < 8 })
	slices.SortFunc(all, func(a, b string) int { return len(b) - len(a) })
	return all
}

// told is an error with another message. It still wraps the error.
type told struct {
	error
	text string
}

func (t told) Error() string { return t.text }
func (t told) Unwrap() error { return t.error }
