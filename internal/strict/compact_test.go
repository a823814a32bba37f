package strict_test

import (
	"encoding/base64"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth/internal/strict"
)

// limit is the size limit that most tests give to Parse, in bytes.
const limit = 8 << 10

// Errors that several tables expect.
const (
	tooLong      = "longer than the largest token accepted"
	badCharacter = "a character outside base64url"
	tooFew       = "fewer than three segments"
	tooMany      = "more than three segments"
	emptySegment = "an empty segment"
	notCanonical = "a segment that is not canonical base64url"
)

// refusal holds an input that must be rejected, and the exact error. With only a part of the
// error, a test could pass because another check rejects the input.
type refusal struct{ name, text, want string }

func b64(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }

// token encodes three parts, and joins them to a compact JWS. The parts need not be well
// formed.
func token(header, payload, signature string) string {
	return b64(header) + "." + b64(payload) + "." + b64(signature)
}

// withHeader returns a token in which only the header can be wrong.
func withHeader(header string) string { return token(header, `{"exp":1}`, "signature") }

var (
	goodHeader = b64(`{"alg":"HS256"}`)
	good       = withHeader(`{"alg":"HS256"}`)
)

var compactRefused = []refusal{
	{"the empty string", "", tooFew},
	{"no dot", goodHeader, tooFew},
	{"one dot", goodHeader + ".e30", tooFew},
	{"one dot behind two segments' worth of text", "e30e30.e30", tooFew},
	{"three dots", goodHeader + ".e30.e30.e30", tooMany},
	{"four dots, as in JWE", goodHeader + ".e30.e30.e30.e30", tooMany},
	{"a dot behind the token", good + ".", tooMany},
	{"a dot in front of the token", "." + good, tooMany},
	{"two tokens with a dot in between", good + "." + good, tooMany},
	{"a dot alone", ".", tooFew},
	{"two dots alone", "..", emptySegment},
	{"three dots alone", "...", tooMany},
	{"four dots alone", "....", tooMany},
	{"an empty header", ".e30.e30", emptySegment},
	{"an empty payload, as if detached", goodHeader + "..e30", emptySegment},
	{"an empty signature, as with alg none", goodHeader + ".e30.", emptySegment},
	{"a signature alone", "..e30", emptySegment},
	{"a header alone", goodHeader + "..", emptySegment},
	{"a payload alone", ".e30.", emptySegment},

	{"padding behind the header", b64(`{"alg":"HS256"} `) + "==.e30.e30", badCharacter},
	{"padding behind the payload", goodHeader + ".e30=.e30", badCharacter},
	{"padding behind the signature", goodHeader + ".e30.e30=", badCharacter},
	{"padding that nothing asks for", goodHeader + "====.e30.e30", badCharacter},
	{"a plus of the other base64", goodHeader + ".e30.+-+-", badCharacter},
	{"a slash of the other base64", goodHeader + ".e30.//__", badCharacter},
	{"a space in front", " " + good, badCharacter},
	{"a space behind", good + " ", badCharacter},
	{"a line feed behind", good + "\n", badCharacter},
	{"a CRLF behind", good + "\r\n", badCharacter},
	{"a CRLF in the header", good[:8] + "\r\n" + good[8:], badCharacter},
	{"a CRLF in the payload", goodHeader + ".e\r\n30.e30", badCharacter},
	{"a CRLF in the signature", goodHeader + ".e30.e3\r\n0", badCharacter},
	{"a carriage return alone in a segment", goodHeader + ".e\r30.e30", badCharacter},
	{"a CRLF for a segment", goodHeader + ".e30.\r\n", badCharacter},
	{"a tab", goodHeader + ".e3\t0.e30", badCharacter},
	{"a NUL behind", good + "\x00", badCharacter},
	{"a NUL in the payload", goodHeader + ".e\x0030.e30", badCharacter},
	{"a letter outside ASCII", goodHeader + ".é30é.e30", badCharacter},
	{"a full stop of another width", goodHeader + "．e30．e30", badCharacter},
	{"a letter of another width", goodHeader + ".ｅ30.e30", badCharacter},
	{"a byte that is no UTF-8", goodHeader + ".e30.\xff\xff\xff\xff", badCharacter},
	{"a BOM in front", "\ufeff" + good, badCharacter},
	{"a dot in percent encoding", goodHeader + "%2Ee30%2Ee30", badCharacter},
	{"a scheme in front", "Bearer " + good, badCharacter},
	{"quotes around", `"` + good + `"`, badCharacter},
	{"two tokens with a comma in between", good + "," + good, badCharacter},
	{"a token in JSON serialisation", `{"payload":"e30","protected":"` + goodHeader + `","signature":"e30"}`, badCharacter},

	{"two loose bits behind the header", b64(`{"alg":"HS256"}  `)[:22] + "B.e30.e30", notCanonical},
	{"four loose bits behind the header", b64(`{"alg":"HS256"} `)[:21] + "B.e30.e30", notCanonical},
	{"two loose bits behind the payload", goodHeader + ".e31.e30", notCanonical},
	{"four loose bits behind the payload", goodHeader + ".eB.e30", notCanonical},
	{"two loose bits behind the signature", goodHeader + ".e30.e31", notCanonical},
	{"four loose bits behind the signature", goodHeader + ".e30.eP", notCanonical},
	{"one character too many in the header", goodHeader + "A.e30.e30", notCanonical},
	{"one character for a payload", goodHeader + ".A.e30", notCanonical},
	{"five characters for a payload", goodHeader + ".e30AA.e30", notCanonical},
	{"one character for a signature", goodHeader + ".e30.A", notCanonical},
	{"nine characters for a signature", goodHeader + ".e30.AAAAAAAAA", notCanonical},

	{"a payload for a header", b64(`"payload"`) + ".e30.e30", "not a JSON object"},
	{"bytes for a header", b64("\xff\xfe") + ".e30.e30", "JSON that is not valid UTF-8"},
}

func TestParseRefusesWhatIsNoCompactToken(t *testing.T) {
	for _, tc := range compactRefused {
		t.Run(tc.name, func(t *testing.T) { requireParseRefuses(t, tc.text, limit, tc.want) })
	}
}

// requireParseRefuses requires that Parse returns the error want, and no token.
func requireParseRefuses(t testing.TB, token string, limit int, want string) {
	t.Helper()
	got, err := strict.Parse(token, limit)
	require.Equal(t, strict.Error(want), err)
	require.Zero(t, got)
}

var compactAccepted = []struct{ name, header, payload, signature string }{
	{"the smallest token", `{"alg":""}`, "p", "s"},
	{"a payload that is not looked at yet", `{"alg":"HS256"}`, "\x00 no JSON, \xff\xfe no UTF-8 \r\n", "signature"},
	{"a payload and a signature that use the whole alphabet", `{"alg":"HS256"}`, alphabet, alphabet},
	{"segments without trailing bits", `{"alg":"HS256"}`, "123", "456"},
	{"segments with two trailing bits", `{"alg":"HS256"}  `, "12", "45"},
	{"segments with four trailing bits", `{"alg":"HS256"} `, "1", "4"},
}

// alphabet is the string whose base64url form is the alphabet itself, in order.
var alphabet = func() string {
	b, err := base64.RawURLEncoding.DecodeString("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
	if err != nil {
		panic(err)
	}
	return string(b)
}()

func TestParseTakesTheBytesAsReceived(t *testing.T) {
	for _, tc := range compactAccepted {
		t.Run(tc.name, func(t *testing.T) {
			text := token(tc.header, tc.payload, tc.signature)
			got, err := strict.Parse(text, limit)
			require.NoError(t, err)
			require.Equal(t, text[:strings.LastIndexByte(text, '.')], got.Signed)
			require.Equal(t, tc.payload, got.Payload)
			require.Equal(t, tc.signature, string(got.Signature))
		})
	}
}

func TestParseJudgesTheSizeBeforeAnythingElse(t *testing.T) {
	for name, text := range map[string]string{
		"a good token":             good,
		"dots":                     strings.Repeat(".", 100),
		"no segment at all":        strings.Repeat("A", 100),
		"bytes outside base64url":  strings.Repeat("{", 100),
		"a bad last segment":       good + "=",
		"a header that is no JSON": token(strings.Repeat("{", 100), "p", "s"),
	} {
		t.Run(name, func(t *testing.T) {
			for _, limit := range []int{len(text) - 1, 1, 0, -1} {
				requireParseRefuses(t, text, limit, tooLong)
			}
			_, err := strict.Parse(text, len(text))
			require.NotEqual(t, strict.Error(tooLong), err, "a token may be as long as the limit")
		})
	}
	_, err := strict.Parse(good, len(good))
	require.NoError(t, err)
}

func TestParseRefusesEveryByteOutsideTheAlphabetAnywhere(t *testing.T) {
	for c := range 256 {
		if strings.ContainsRune("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.", rune(c)) {
			continue
		}
		for at := range len(good) + 1 {
			requireParseRefuses(t, good[:at]+string([]byte{byte(c)})+good[at:], limit, badCharacter)
		}
	}
	for at := range len(good) + 1 {
		requireParseRefuses(t, good[:at]+"."+good[at:], limit, tooMany)
	}
}

func TestATokenHasNoSecondSpelling(t *testing.T) {
	for _, tc := range compactAccepted {
		t.Run(tc.name, func(t *testing.T) { requireOneSpelling(t, token(tc.header, tc.payload, tc.signature)) })
	}
}

// requireOneSpelling requires that no other string decodes to the same bytes as an accepted
// token. Encoding the decoded bytes must give the token again. Another last character in a
// segment must give other bytes, or an error.
func requireOneSpelling(t testing.TB, text string) {
	t.Helper()
	got, err := strict.Parse(text, len(text))
	require.NoError(t, err)
	header, _, _ := strings.Cut(text, ".")
	require.Equal(t, header+"."+b64(got.Payload), got.Signed)
	require.Equal(t, text, got.Signed+"."+b64(string(got.Signature)))

	ends := []int{len(header), len(got.Signed), len(text)}
	start := 0
	for _, end := range ends {
		segment := text[start:end]
		for _, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") {
			other := segment[:len(segment)-1] + string([]byte{c})
			if other == segment || decoded(other) != decoded(segment) {
				continue
			}
			requireParseRefuses(t, text[:start]+other+text[end:], len(text), notCanonical)
		}
		start = end + 1
	}
}

// decoded returns what a lenient reader decodes from a segment.
func decoded(segment string) string {
	b, err := base64.RawURLEncoding.DecodeString(segment)
	if err != nil {
		return "no base64url: " + segment
	}
	return string(b)
}

func TestGarbageCostsNoMemory(t *testing.T) {
	const size = 10 << 20
	read := map[string]func(text string) error{
		"Parse with the default limit": func(text string) error { _, err := strict.Parse(text, limit); return err },
		"Parse with a limit above it":  func(text string) error { _, err := strict.Parse(text, 2*size); return err },
		"Object":                       strict.Object,
		"ReadClaims":                   func(text string) error { _, err := strict.ReadClaims(text, "container"); return err },
	}
	for _, unit := range []string{".", "A", "{", "[", " ", `{"a":`, `{"a":[`, "A.", "A.A.", "\x00", "\xff", "é"} {
		text := strings.Repeat(unit, size/len(unit))
		for name, read := range read {
			t.Run(name+" on 10 MB of "+unit, func(t *testing.T) {
				requireCheapRefusal(t, func() error { return read(text) })
			})
		}
	}
	for name, text := range map[string]string{
		"a character outside base64url at the end": goodHeader + "." + strings.Repeat("A", size) + ".e30=",
		"an empty signature":                       goodHeader + "." + strings.Repeat("A", size) + ".",
		"a fourth segment":                         goodHeader + "." + strings.Repeat("A", size) + ".e30.",
	} {
		t.Run("Parse on 10 MB of payload and "+name, func(t *testing.T) {
			requireCheapRefusal(t, func() error { _, err := strict.Parse(text, 2*size); return err })
		})
	}
}

// requireCheapRefusal requires an error. For an input of any size, the rejection may cost at
// most 4 allocations, and less than 64 KiB.
func requireCheapRefusal(t *testing.T, read func() error) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	err := read()
	runtime.ReadMemStats(&after)
	require.Error(t, err)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(64<<10))
	require.LessOrEqual(t, testing.AllocsPerRun(1, func() { _ = read() }), 4.0)
}
