package strict

import (
	"slices"
	"strings"
)

// Header holds those parameters of a JOSE header (RFC 7515, section 4.1) that are used.
// Keys and URLs in the header (jwk, jku, x5c, x5u) are ignored: they are never used or
// fetched.
type Header struct {
	Algorithm string
	KeyID     string // "" if there is none
	Type      string
	HasType   bool
}

// headerNames are the parameters that readHeader acts on.
var headerNames = []string{"alg", "kid", "typ", "cty", "crit", "b64", "zip"}

func readHeader(text string) (Header, error) {
	var h Header
	hasAlgorithm := false
	err := object(text, func(s *scanner, name string) (err error) {
		switch name {
		case "alg":
			hasAlgorithm = true
			h.Algorithm, err = s.stringValue("the header's alg is not a string")
		case "kid":
			h.KeyID, err = s.stringValue("the header's kid is not a string")
		case "typ":
			h.HasType = true
			h.Type, err = s.stringValue("the header's typ is not a string")
		case "cty":
			var content string
			content, err = s.stringValue("the header's cty is not a string")
			if err == nil && (strings.EqualFold(content, "JWT") || strings.EqualFold(content, "application/jwt")) {
				err = Error("a nested token")
			}
		case "crit", "b64", "zip":
			// RFC 7515, section 4.1.11: a token with a critical parameter that is not
			// understood must be rejected, and no such parameter is understood here.
			err = Error("a header with crit, b64 or zip")
		default:
			if foldsTo(name, headerNames) {
				return Error("a header name that differs from a registered one by case alone")
			}
			err = s.skip()
		}
		return err
	})
	if err == nil && !hasAlgorithm {
		err = Error("a header without alg")
	}
	return h, err
}

// stringValue consumes a value that must be a string, and returns it decoded. For any
// other value it returns the error that it was given.
func (s *scanner) stringValue(otherwise Error) (string, error) {
	if s.peek() != '"' {
		return "", otherwise
	}
	return s.string()
}

// foldsTo reports whether name is one of names, or differs from one only in case.
// encoding/json treats such names as the same, even with Unicode's special cases (U+017F
// folds to s, U+212A to k).
func foldsTo(name string, names []string) bool {
	return slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(name, n) })
}
