// Package strict reads compact JWS tokens and their claims, and writes claims. It rejects
// everything that two readers could understand differently.
//
// The package decides nothing about trust: what it returns is well formed, but need not
// be authentic. It fails closed, and no error contains a byte of the token.
package strict

import (
	"encoding/base64"
	"strings"
)

// Error says why something is not well formed. It contains no input.
type Error string

func (e Error) Error() string { return string(e) }

// Token is a parsed compact JWS (RFC 7515, section 7.1). Its signature is not verified.
type Token struct {
	Header
	// Signed is what the signature covers: the first two segments as received.
	Signed string
	// Signature is the decoded third segment.
	Signature []byte
	// Payload is the decoded second segment, not parsed. Callers read its claims after they
	// have verified the signature. Before that, they read them only to learn whose key
	// verifies the token.
	Payload string
}

// Parse parses a token of at most limit bytes and reads its header. It checks length and
// alphabet before it decodes or allocates anything, so garbage costs no more than a few
// passes over limit bytes.
func Parse(token string, limit int) (Token, error) {
	t, _, err := ParseKnowing(nil, token, limit)
	return t, err
}

// KnownHeader holds a parsed header and the segment of a token that encodes the header.
type KnownHeader struct {
	Segment string
	Header
}

// ParseKnowing is like [Parse], but does not parse the header again if its segment is
// that of known, which may be nil. Tokens of one key have the same header. own is a copy
// of the token that can be kept: it shares memory only with the fields of t.
func ParseKnowing(known *KnownHeader, token string, limit int) (t Token, own string, err error) {
	if len(token) > limit {
		return Token{}, "", Error("longer than the largest token accepted")
	}
	first, second, err := segments(token)
	if err != nil {
		return Token{}, "", err
	}
	if known != nil && token[:first] == known.Segment {
		t.Header = known.Header
	} else if t.Header, err = parseHeader(token[:first]); err != nil {
		return Token{}, "", err
	}
	if t.Signature, err = decode(nil, token[second+1:]); err != nil {
		return Token{}, "", err
	}
	var room [1 << 10]byte // on the stack, so that a typical token allocates only what is kept
	text := room[:0]
	if most := len(token) + canonical.DecodedLen(second-first-1); most > len(room) {
		text = make([]byte, 0, most)
	}
	if text, err = decode(append(text, token...), token[first+1:second]); err != nil {
		return Token{}, "", err
	}
	own = string(text)
	t.Signed, t.Payload = own[:second], own[len(token):]
	return t, own[:len(token)], nil
}

func parseHeader(segment string) (Header, error) {
	var room [256]byte
	text, err := decode(room[:0], segment)
	if err != nil {
		return Header{}, err
	}
	return readHeader(string(text))
}

// segments returns the positions of the two dots of a token whose three segments are not
// empty and contain only base64url characters.
func segments(token string) (first, second int, err error) {
	first = strings.IndexByte(token, '.')
	second = first + 1 + strings.IndexByte(token[first+1:], '.')
	if 0 < first && first+1 < second && second+1 < len(token) &&
		Only(token[:first], base64url) && Only(token[first+1:second], base64url) && Only(token[second+1:], base64url) {
		return first, second, nil
	}
	return 0, 0, diagnose(token)
}

// Only reports whether text consists only of bytes of set. It checks eight bytes at a
// time, since it reads every byte of every token.
func Only(text string, set *[256]bool) bool {
	ok := true
	for ; len(text) >= 8; text = text[8:] {
		ok = ok && set[text[0]] && set[text[1]] && set[text[2]] && set[text[3]] &&
			set[text[4]] && set[text[5]] && set[text[6]] && set[text[7]]
	}
	for i := range len(text) {
		ok = ok && set[text[i]]
	}
	return ok
}

// Set returns the set of the bytes that occur in a string.
func Set(bytes string) *[256]bool {
	var set [256]bool
	for i := range len(bytes) {
		set[bytes[i]] = true
	}
	return &set
}

// diagnose returns what is wrong with a token that does not have three non-empty segments
// of base64url characters.
func diagnose(token string) error {
	dots := 0
	for i := range len(token) {
		switch c := token[i]; {
		case base64url[c]:
		case c != '.':
			return Error("a character outside base64url")
		case dots < 2:
			dots++
		default:
			return Error("more than three segments")
		}
	}
	if dots < 2 {
		return Error("fewer than three segments")
	}
	return Error("an empty segment")
}

// base64url is the alphabet of RFC 4648, section 5. It is checked before decoding, since
// encoding/base64 skips line breaks even in strict mode.
var base64url = Set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")

// canonical is base64url, but rejects trailing bits that are not zero. Otherwise up to
// sixteen strings would decode to the same bytes.
var canonical = base64.RawURLEncoding.Strict()

// decode appends the decoded segment to to.
func decode(to []byte, segment string) ([]byte, error) {
	b, err := canonical.AppendDecode(to, []byte(segment))
	if err != nil {
		return nil, Error("a segment that is not canonical base64url")
	}
	return b, nil
}
