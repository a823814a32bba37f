package strict

import (
	"math"
	"strconv"
	"unicode/utf8"
)

// maxDepth limits how deeply objects and arrays may nest. It thereby limits the stack
// that a token can make the scanner use.
const maxDepth = 64

// Object returns an error unless text is exactly one JSON object (RFC 8259) that every
// reader understands alike: valid UTF-8, no lone surrogates, unique names at every depth,
// a depth of at most 64, no number that overflows a float64, and nothing after the
// object.
func Object(text string) error {
	return object(text, func(s *scanner, _ string) error { return s.skip() })
}

// object reads text as one JSON object, and calls member with each decoded name of the
// outermost level. member must consume exactly the value of that name.
func object(text string, member func(s *scanner, name string) error) error {
	if !utf8.ValidString(text) {
		return Error("JSON that is not valid UTF-8")
	}
	s := scanner{text: text}
	s.space()
	if s.peek() != '{' {
		return Error("not a JSON object")
	}
	if err := s.object(member); err != nil {
		return err
	}
	s.space()
	if s.pos != len(s.text) {
		return Error("data behind the JSON object")
	}
	return nil
}

// scanner walks over JSON that is known to be valid UTF-8.
type scanner struct {
	text  string
	pos   int
	depth int
}

// errSyntax is the error for everything that the grammar of RFC 8259 does not allow.
const errSyntax = Error("JSON that does not parse")

// peek returns the next byte, or 0 at the end. A NUL byte is not valid outside of a
// string, so it need not be told from the end.
func (s *scanner) peek() byte {
	if s.pos < len(s.text) {
		return s.text[s.pos]
	}
	return 0
}

func (s *scanner) space() {
	for s.pos < len(s.text) {
		switch s.text[s.pos] {
		case ' ', '\t', '\n', '\r':
			s.pos++
		default:
			return
		}
	}
}

// take consumes c if it is the next byte, and reports whether it was.
func (s *scanner) take(c byte) bool {
	if s.peek() != c {
		return false
	}
	s.pos++
	return true
}

func (s *scanner) enter() error {
	s.pos++
	if s.depth++; s.depth > maxDepth {
		return Error("JSON nested too deep")
	}
	return nil
}

func (s *scanner) object(member func(s *scanner, name string) error) error {
	if err := s.enter(); err != nil {
		return err
	}
	var names nameSet
	s.space()
	for more := !s.take('}'); more; {
		s.space()
		name, err := s.string()
		if err != nil {
			return err
		}
		if !names.add(name) {
			return Error("a JSON name that stands twice")
		}
		s.space()
		if !s.take(':') {
			return errSyntax
		}
		s.space()
		if err := member(s, name); err != nil {
			return err
		}
		if more, err = s.next('}'); err != nil {
			return err
		}
	}
	s.depth--
	return nil
}

// array calls element for each element of an array. element must consume the element.
func (s *scanner) array(element func() error) error {
	if err := s.enter(); err != nil {
		return err
	}
	s.space()
	for more := !s.take(']'); more; {
		s.space()
		err := element()
		if err != nil {
			return err
		}
		if more, err = s.next(']'); err != nil {
			return err
		}
	}
	s.depth--
	return nil
}

// next consumes the comma before another element, or the closing bracket.
func (s *scanner) next(closing byte) (more bool, err error) {
	s.space()
	switch {
	case s.take(','):
		return true, nil
	case s.take(closing):
		return false, nil
	}
	return false, errSyntax
}

// skip consumes one value of any kind.
func (s *scanner) skip() error {
	switch c := s.peek(); {
	case c == '"':
		_, err := s.string()
		return err
	case c == '{':
		return s.object(func(s *scanner, _ string) error { return s.skip() })
	case c == '[':
		return s.array(s.skip)
	case c == 't':
		return s.literal("true")
	case c == 'f':
		return s.literal("false")
	case c == 'n':
		return s.literal("null")
	default:
		_, err := s.number()
		return err
	}
}

func (s *scanner) literal(word string) error {
	if len(s.text)-s.pos < len(word) || s.text[s.pos:s.pos+len(word)] != word {
		return errSyntax
	}
	s.pos += len(word)
	return nil
}

// string consumes a JSON string and returns it decoded.
func (s *scanner) string() (string, error) {
	if !s.take('"') {
		return "", errSyntax
	}
	start := s.pos
	for s.pos < len(s.text) {
		switch c := s.text[s.pos]; {
		case c == '"':
			s.pos++
			return s.text[start : s.pos-1], nil
		case c == '\\':
			return s.escaped(start)
		case c < ' ':
			return "", Error("a control character in a JSON string")
		}
		s.pos++
	}
	return "", errSyntax
}

// escaped continues the string that begins at start, from its first backslash.
func (s *scanner) escaped(start int) (string, error) {
	out := []byte(s.text[start:s.pos])
	for s.pos < len(s.text) {
		c := s.text[s.pos]
		s.pos++
		switch {
		case c == '"':
			return string(out), nil
		case c < ' ':
			return "", Error("a control character in a JSON string")
		case c != '\\':
			out = append(out, c)
			continue
		}
		c = s.peek()
		s.pos++
		switch c {
		case '"', '\\', '/':
			out = append(out, c)
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		case 'u':
			r, err := s.codePoint()
			if err != nil {
				return "", err
			}
			out = utf8.AppendRune(out, r)
		default:
			return "", errSyntax
		}
	}
	return "", errSyntax
}

// codePoint reads the four digits after \u, and the second half of a surrogate pair. A
// lone surrogate is an error, because readers disagree about its meaning.
func (s *scanner) codePoint() (rune, error) {
	r, err := s.hex4()
	if err != nil || r < 0xD800 || r > 0xDFFF {
		return r, err
	}
	if r <= 0xDBFF && s.take('\\') && s.take('u') {
		low, err := s.hex4()
		if err != nil {
			return 0, err
		}
		if low >= 0xDC00 && low <= 0xDFFF {
			return 0x10000 + (r-0xD800)<<10 + (low - 0xDC00), nil
		}
	}
	return 0, Error("a lone surrogate in a JSON string")
}

func (s *scanner) hex4() (rune, error) {
	if len(s.text)-s.pos < 4 {
		return 0, errSyntax
	}
	var r rune
	for _, c := range []byte(s.text[s.pos : s.pos+4]) {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, errSyntax
		}
		r = r<<4 | rune(c)
	}
	s.pos += 4
	return r, nil
}

// number consumes a JSON number and returns it as it was written.
func (s *scanner) number() (string, error) {
	start, exponent := s.pos, false
	s.take('-')
	if !s.take('0') && !s.digits() {
		return "", errSyntax
	}
	if s.take('.') && !s.digits() {
		return "", errSyntax
	}
	if s.take('e') || s.take('E') {
		exponent = true
		if !s.take('+') {
			s.take('-')
		}
		if !s.digits() {
			return "", errSyntax
		}
	}
	text := s.text[start:s.pos]
	// Without an exponent, only a number of more than 300 digits can overflow.
	if exponent || len(text) > 300 {
		if f, err := strconv.ParseFloat(text, 64); err != nil || math.IsInf(f, 0) {
			return "", Error("a number that is not finite")
		}
	}
	return text, nil
}

func (s *scanner) digits() bool {
	start := s.pos
	for c := s.peek(); '0' <= c && c <= '9'; c = s.peek() {
		s.pos++
	}
	return s.pos > start
}

// nameSet finds duplicate names in an object. Typical objects have few names, which stay
// in an array. Many names go into a map, so that a hostile object with thousands of names
// does not cost quadratic time.
type nameSet struct {
	few  [16]string
	n    int
	many map[string]struct{}
}

// add adds a name, and reports whether it is new.
func (set *nameSet) add(name string) bool {
	if set.many == nil {
		for _, known := range set.few[:set.n] {
			if known == name {
				return false
			}
		}
		if set.n < len(set.few) {
			set.few[set.n] = name
			set.n++
			return true
		}
		set.many = make(map[string]struct{}, 2*len(set.few))
		for _, known := range set.few {
			set.many[known] = struct{}{}
		}
	}
	if _, twice := set.many[name]; twice {
		return false
	}
	set.many[name] = struct{}{}
	return true
}
