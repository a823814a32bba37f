package strict

import (
	"math"
	"strconv"
	"time"
)

// Claims are the registered claims of a payload (RFC 7519, section 4.1), and the
// container. An absent claim is its zero value. A time that is present is never the zero
// time.Time, since it is in or after 1970.
type Claims struct {
	Issuer, Subject, ID, SessionID, Container string
	Audience                                  []string // not nil if there is an aud, even an empty list
	IssuedAt, NotBefore, ExpiresAt            time.Time
	Stamp                                     int64 // microseconds since 1970, 0 if there is none
}

// StampClaim is the name of the claim that says when a token was issued, in microseconds
// since 1970. It is more exact than iat.
const StampClaim = "iat_us"

// registered are the names of the claims whose meaning no user can change.
var registered = []string{"iss", "sub", "aud", "exp", "nbf", "iat", "jti", "sid", StampClaim}

// Reserved reports whether name is the name of a registered claim or of the container's
// claim, or differs from such a name only in case.
func Reserved(name, containerClaim string) bool {
	return foldsTo(name, registered) || foldsTo(name, []string{containerClaim})
}

// ReadClaims returns the claims of a payload. containerClaim is the name of the
// container's claim. The payload may come from an attacker: with several issuers it is
// read before the signature is verified, because it says whose keys to use. Reading takes
// time in proportion to the size of the payload.
func ReadClaims(payload, containerClaim string) (Claims, error) {
	var c Claims
	err := object(payload, func(s *scanner, name string) (err error) {
		switch name {
		case "iss":
			c.Issuer, err = s.stringValue("the claim iss is not a string")
		case "sub":
			c.Subject, err = s.stringValue("the claim sub is not a string")
		case "jti":
			c.ID, err = s.stringValue("the claim jti is not a string")
		case "sid":
			c.SessionID, err = s.stringValue("the claim sid is not a string")
		case containerClaim:
			c.Container, err = s.stringValue("the container's claim is not a string")
		case "aud":
			c.Audience, err = s.audience()
		case "exp":
			c.ExpiresAt, err = s.numericDate("the claim exp is not a number between 0 and the year 9999")
		case "nbf":
			c.NotBefore, err = s.numericDate("the claim nbf is not a number between 0 and the year 9999")
		case "iat":
			c.IssuedAt, err = s.numericDate("the claim iat is not a number between 0 and the year 9999")
		case StampClaim:
			c.Stamp, err = s.stamp()
		default:
			if Reserved(name, containerClaim) {
				return Error("a claim that differs from a reserved one by case alone")
			}
			err = s.skip()
		}
		return err
	})
	if err == nil && c.ExpiresAt.IsZero() {
		err = Error("no claim exp")
	}
	if err != nil {
		return Claims{}, err
	}
	return c, nil
}

// audience reads one string or an array of strings (RFC 7519, section 4.1.3).
func (s *scanner) audience() ([]string, error) {
	const wrong = Error("the claim aud is neither a string nor an array of strings")
	if s.peek() != '[' {
		one, err := s.stringValue(wrong)
		return []string{one}, err
	}
	all := []string{}
	err := s.array(func() error {
		one, err := s.stringValue(wrong)
		all = append(all, one)
		return err
	})
	return all, err
}

// maxDate is the last second of the year 9999 in Unix time. It is the latest time that
// RFC 3339 and the JSON of time.Time can write.
const maxDate = 253402300799

// numericDate reads a NumericDate (RFC 7519, section 2): seconds since 1970, with or
// without a fraction. Strings, negative numbers and times after the year 9999 are errors:
// an overflow must never become "valid for ever".
func (s *scanner) numericDate(otherwise Error) (time.Time, error) {
	if c := s.peek(); c < '0' || c > '9' {
		return time.Time{}, otherwise
	}
	text, err := s.number()
	if err != nil {
		return time.Time{}, otherwise
	}
	if seconds, ok := wholeSeconds(text); ok {
		return time.Unix(seconds, 0).UTC(), nil
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || f > maxDate {
		return time.Time{}, otherwise
	}
	whole, fraction := math.Modf(f)
	return time.Unix(int64(whole), int64(fraction*1e9)).UTC(), nil
}

// stamp reads microseconds since 1970, written as a number without fraction or exponent.
func (s *scanner) stamp() (int64, error) {
	const wrong = Error("the claim iat_us is not a whole number of microseconds between 1 and the year 9999")
	if c := s.peek(); c < '1' || c > '9' {
		return 0, wrong
	}
	text, err := s.number()
	if err != nil {
		return 0, wrong
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n > maxDate*1e6 {
		return 0, wrong
	}
	return n, nil
}

// wholeSeconds reads a number without fraction and exponent. ok is false if the number
// has one of these, or is larger than maxDate.
func wholeSeconds(text string) (seconds int64, ok bool) {
	for i := range len(text) {
		if text[i] < '0' || text[i] > '9' {
			return 0, false
		}
		if seconds = 10*seconds + int64(text[i]-'0'); seconds > maxDate {
			return 0, false
		}
	}
	return seconds, true
}
