package strict_test

import (
	"encoding/base64"
	"encoding/json"
	"math/big"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/joinednode/jwtauth/internal/strict"
)

// This is a second reader, built from the standard library without regard for cost. The
// fuzz targets require that both readers agree about every input: whether it is accepted,
// and what is read.

func referenceParse(text string, limit int) (t strict.Token, ok bool) {
	parts := strings.Split(text, ".")
	if len(text) > limit || len(parts) != 3 {
		return t, false
	}
	var decoded [3]string
	for i, part := range parts {
		b, err := base64.RawURLEncoding.Strict().DecodeString(part)
		if err != nil || part == "" || strings.ContainsAny(part, "\r\n") {
			return t, false
		}
		decoded[i] = string(b)
	}
	if t.Header, ok = referenceHeader(decoded[0]); !ok {
		return t, false
	}
	t.Signed = parts[0] + "." + parts[1]
	t.Payload, t.Signature = decoded[1], []byte(decoded[2])
	return t, true
}

func referenceHeader(text string) (h strict.Header, ok bool) {
	members, ok := referenceMembers(text)
	if !ok || takenForAnother(members, headerFields) {
		return h, false
	}
	for _, name := range []string{"crit", "b64", "zip"} {
		if _, there := members[name]; there {
			return h, false
		}
	}
	if _, there := members["alg"]; !there {
		return h, false
	}
	_, h.HasType = members["typ"]
	var content string
	for name, to := range map[string]*string{"alg": &h.Algorithm, "kid": &h.KeyID, "typ": &h.Type, "cty": &content} {
		if !referenceString(members, name, to) {
			return h, false
		}
	}
	content = strings.ToLower(content)
	return h, content != "jwt" && content != "application/jwt"
}

func referenceClaims(text, containerClaim string) (c strict.Claims, ok bool) {
	members, ok := referenceMembers(text)
	if !ok || takenForAnother(members, claimFields[containerClaim]) {
		return c, false
	}
	if _, there := members["exp"]; !there {
		return c, false
	}
	for name, to := range map[string]*string{"iss": &c.Issuer, "sub": &c.Subject, "jti": &c.ID, "sid": &c.SessionID, containerClaim: &c.Container} {
		if !referenceString(members, name, to) {
			return c, false
		}
	}
	for name, to := range map[string]*time.Time{"exp": &c.ExpiresAt, "nbf": &c.NotBefore, "iat": &c.IssuedAt} {
		if raw, there := members[name]; there && !referenceTime(string(raw), to) {
			return c, false
		}
	}
	if raw, there := members["aud"]; there {
		var values []any
		if raw[0] == '"' {
			raw = json.RawMessage("[" + string(raw) + "]")
		}
		if raw[0] != '[' || json.Unmarshal(raw, &values) != nil {
			return c, false
		}
		c.Audience = []string{}
		for _, value := range values {
			one, ok := value.(string)
			if !ok {
				return c, false
			}
			c.Audience = append(c.Audience, one)
		}
	}
	return c, true
}

func referenceString(members map[string]json.RawMessage, name string, to *string) bool {
	raw, there := members[name]
	return !there || raw[0] == '"' && json.Unmarshal(raw, to) == nil
}

// referenceTime reads a time, truncated to nanoseconds. It computes with a big number,
// because an int64 cannot hold the nanoseconds until the year 9999.
func referenceTime(text string, to *time.Time) bool {
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || text[0] == '-' || f > float64(time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC).Unix()) {
		return false
	}
	exact := new(big.Float).SetPrec(200).SetFloat64(f)
	nanoseconds, _ := exact.Mul(exact, big.NewFloat(1e9)).Int(nil)
	seconds, rest := new(big.Int).DivMod(nanoseconds, big.NewInt(1e9), new(big.Int))
	*to = time.Unix(seconds.Int64(), rest.Int64()).UTC()
	return true
}

// referenceMembers is like referenceObject, and also returns the members.
func referenceMembers(text string) (members map[string]json.RawMessage, ok bool) {
	ok = referenceObject(text) && json.Unmarshal([]byte(text), &members) == nil
	return members, ok
}

func referenceObject(text string) bool {
	if !utf8.ValidString(text) || !json.Valid([]byte(text)) || hasLoneSurrogate(text) {
		return false
	}
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	return strings.HasPrefix(strings.TrimLeft(text, " \t\r\n"), "{") && judgeValue(d, 0)
}

// judgeValue reads one value of valid JSON, and reports whether it is acceptable: no name
// stands twice in an object, every number is finite, and the nesting is at most 64 deep.
// depth is the number of objects and arrays around the value.
func judgeValue(d *json.Decoder, depth int) bool {
	token, err := d.Token()
	if err != nil {
		return false
	}
	switch token := token.(type) {
	case json.Number:
		_, err := strconv.ParseFloat(string(token), 64)
		return err == nil
	case json.Delim:
		names := map[json.Token]bool{}
		for d.More() {
			if token == '{' {
				name, err := d.Token()
				if err != nil || names[name] {
					return false
				}
				names[name] = true
			}
			if !judgeValue(d, depth+1) {
				return false
			}
		}
		_, err := d.Token() // the closing bracket
		return err == nil && depth < 64
	}
	return true
}

var escapes = regexp.MustCompile(`\\(?:u[0-9a-fA-F]{4}|[^u])`)

// hasLoneSurrogate reports whether valid JSON has an escaped lone surrogate. It searches the
// whole text, because in valid JSON a backslash occurs only in strings.
func hasLoneSurrogate(text string) bool {
	endOfHigh := -1 // the end of the last escape if that is a high surrogate, otherwise -1
	for _, at := range escapes.FindAllStringIndex(text, -1) {
		var unit uint64
		if at[1]-at[0] == 6 {
			unit, _ = strconv.ParseUint(text[at[0]+2:at[1]], 16, 16)
		}
		low := unit >= 0xDC00 && unit <= 0xDFFF
		switch follows := at[0] == endOfHigh; {
		case low != follows, endOfHigh >= 0 && !follows:
			return true
		case unit >= 0xD800 && unit <= 0xDBFF:
			endOfHigh = at[1]
		default:
			endOfHigh = -1
		}
	}
	return endOfHigh >= 0
}

// headerFields and claimFields are structs into which a user of encoding/json could decode.
var (
	headerFields = structOf("alg", "kid", "typ", "cty", "crit", "b64", "zip")
	claimFields  = map[string]reflect.Type{
		"container": structOf("iss", "sub", "aud", "exp", "nbf", "iat", "jti", "sid", "container"),
		"tenant":    structOf("iss", "sub", "aud", "exp", "nbf", "iat", "jti", "sid", "tenant"),
	}
)

func structOf(names ...string) reflect.Type {
	var fields []reflect.StructField
	for i, name := range names {
		fields = append(fields, reflect.StructField{
			Name: "F" + strconv.Itoa(i), Type: reflect.TypeFor[bool](), Tag: reflect.StructTag(`json:"` + name + `"`),
		})
	}
	return reflect.StructOf(fields)
}

// takenForAnother reports whether encoding/json decodes a member into a field with
// another name.
func takenForAnother(members map[string]json.RawMessage, fields reflect.Type) bool {
	for name := range members {
		text, err := json.Marshal(map[string]bool{name: true})
		if err != nil {
			return true
		}
		into := reflect.New(fields)
		if json.Unmarshal(text, into.Interface()) != nil {
			return true
		}
		for i := range fields.NumField() {
			if into.Elem().Field(i).Bool() && fields.Field(i).Tag.Get("json") != name {
				return true
			}
		}
	}
	return false
}
