package strict_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth/internal/strict"
)

const (
	notObject = "not a JSON object"
	syntax    = "JSON that does not parse"
	behind    = "data behind the JSON object"
	notUTF8   = "JSON that is not valid UTF-8"
	twice     = "a JSON name that stands twice"
	tooDeep   = "JSON nested too deep"
	control   = "a control character in a JSON string"
	surrogate = "a lone surrogate in a JSON string"
	notFinite = "a number that is not finite"
)

// objectRefused holds inputs that Object, the reader of headers and the reader of claims
// must all reject. No input contains a registered name.
var objectRefused = append([]refusal{
	{"nothing", "", notObject},
	{"white space", " \t\r\n", notObject},
	{"an array", `[]`, notObject},
	{"an array of objects", `[{"a":1}]`, notObject},
	{"a string", `"{}"`, notObject},
	{"a number", `1`, notObject},
	{"null", `null`, notObject},
	{"true", `true`, notObject},
	{"a BOM in front", "\ufeff{}", notObject},
	{"a NUL in front", "\x00{}", notObject},
	{"a comment in front", `/**/{}`, notObject},
	{"a no-break space in front", "\u00a0{}", notObject},
	{"a form feed in front", "\f{}", notObject},

	{"a second object behind", `{}{}`, behind},
	{"a comma behind", `{},`, behind},
	{"a bracket behind", `{}}`, behind},
	{"a NUL behind", "{}\x00", behind},
	{"a word behind", `{"a":1}null`, behind},
	{"a comment behind", `{}//`, behind},
	{"a vertical tab behind", "{}\v", behind},
	{"a no-break space behind", "{}\u00a0", behind},
	{"a line separator behind", "{}\u2028", behind},
	{"a BOM behind", "{}\ufeff", behind},

	{"a name that stands twice", `{"a":1,"a":2}`, twice},
	{"a name that stands twice with one value", `{"a":1,"a":1}`, twice},
	{"a name that stands twice, far apart", `{"a":1,"b":2,"c":3,"a":4}`, twice},
	{"a name that stands twice, once escaped", `{"a":1,"\u0061":2}`, twice},
	{"a name that stands twice, once escaped in capitals", `{"\u006A":1,"\u006a":2}`, twice},
	{"a name that stands twice, once as a surrogate pair", `{"😀":1,"\ud83d\ude00":2}`, twice},
	{"a slash that stands twice, once escaped", `{"/":1,"\/":2}`, twice},
	{"the empty name twice", `{"":1,"":2}`, twice},
	{"a name that stands twice within a member", `{"a":{"b":1,"b":2}}`, twice},
	{"a name that stands twice within an array", `{"a":[1,{"b":1,"\u0062":2}]}`, twice},
	{"a name that stands twice behind a member of the same name", `{"b":{"b":1},"b":2}`, twice},
	{"the first of 17 names twice", `{` + numbered(17) + `,"n1":0}`, twice},
	{"the ninth of 1000 names twice", `{` + numbered(1000) + `,"n9":0}`, twice},
	{"the last of 1000 names twice, once escaped", `{` + numbered(1000) + `,"\u006e1000":0}`, twice},
	{"the first of 17 names of a member twice", `{"a":{` + numbered(17) + `,"n1":0}}`, twice},

	{"objects nested 65 deep", nested(`{"a":`, 64) + `{}` + strings.Repeat("}", 64), tooDeep},
	{"arrays nested 65 deep", `{"a":` + strings.Repeat("[", 64) + strings.Repeat("]", 64) + `}`, tooDeep},
	{"objects and arrays nested 65 deep", nested(`{"a":[`, 32) + `{}` + strings.Repeat("]}", 32), tooDeep},
	{"an object nested 65 deep behind others", `{"a":[{},[]],"b":` + strings.Repeat("[", 64) + strings.Repeat("]", 64) + `}`, tooDeep},
	{"brackets without end", nested(`{"a":`, 1000), tooDeep},

	{"an object without end", `{`, syntax},
	{"an object that ends in a name", `{"a"`, syntax},
	{"an object that ends in a colon", `{"a":`, syntax},
	{"an object that ends in a value", `{"a":1`, syntax},
	{"an object that ends in a comma", `{"a":1,`, syntax},
	{"an object closed as an array", `{"a":1]`, syntax},
	{"an array closed as an object", `{"a":[1}}`, syntax},
	{"an array without end", `{"a":[`, syntax},
	{"a comma in front of the closing brace", `{"a":1,}`, syntax},
	{"a comma in front of the closing bracket", `{"a":[1,]}`, syntax},
	{"a comma alone", `{,}`, syntax},
	{"a comma in front of a member", `{,"a":1}`, syntax},
	{"a comma in front of an element", `{"a":[,1]}`, syntax},
	{"two commas", `{"a":1,,"b":2}`, syntax},
	{"no comma between members", `{"a":1 "b":2}`, syntax},
	{"no comma between elements", `{"a":[1 2]}`, syntax},
	{"no colon", `{"a" 1}`, syntax},
	{"an equals sign for a colon", `{"a"=1}`, syntax},
	{"two colons", `{"a"::1}`, syntax},
	{"no value", `{"a":}`, syntax},
	{"no value in front of a comma", `{"a":,"b":1}`, syntax},
	{"a name without quotes", `{a:1}`, syntax},
	{"a name in single quotes", `{'a':1}`, syntax},
	{"a number for a name", `{1:1}`, syntax},
	{"null for a name", `{null:1}`, syntax},
	{"an object for a name", `{{}:1}`, syntax},
	{"a comment within", `{"a":/**/1}`, syntax},
	{"a form feed between", "{\f\"a\":1}", syntax},
	{"a no-break space between", "{\"a\":\u00a01}", syntax},
	{"a NUL between", "{\"a\":\x001}", syntax},
	{"a backslash between", `{"a":\u0031}`, syntax},

	{"a word cut short", `{"a":tru}`, syntax},
	{"a word cut short by the end", `{"a":nul`, syntax},
	{"a word run on", `{"a":falsely}`, syntax},
	{"a word in capitals", `{"a":True}`, syntax},
	{"false cut short", `{"a":fals}`, syntax},
	{"null misspelt", `{"a":nuLL}`, syntax},
	{"undefined", `{"a":undefined}`, syntax},

	{"a string without end", `{"a":"`, syntax},
	{"a string that ends in a backslash", `{"a":"\`, syntax},
	{"a string that ends behind an escape", `{"a":"\n`, syntax},
	{"a string whose last quote is escaped", `{"a":"\"}`, syntax},
	{"an escape that is none", `{"a":"\x41"}`, syntax},
	{"an escaped single quote", `{"a":"\'"}`, syntax},
	{"an escaped zero", `{"a":"\0"}`, syntax},
	{"an escape with a capital U", `{"a":"\U0041"}`, syntax},
	{"an escaped line break", "{\"a\":\"\\\n\"}", syntax},
	{"an escaped NUL byte", "{\"a\":\"\\\x00\"}", syntax},
	{"a \\u without digits", `{"a":"\u"}`, syntax},
	{"a \\u with three digits", `{"a":"\u123"}`, syntax},
	{"a \\u with three digits and the end", `{"a":"\u123`, syntax},
	{"a \\u with a letter past f", `{"a":"\u12g4"}`, syntax},
	{"a \\u with a letter past F", `{"a":"\u12G4"}`, syntax},
	{"a \\u with a character just below 0", `{"a":"\u/000"}`, syntax},
	{"a \\u with a character just above 9", `{"a":"\u000:"}`, syntax},
	{"a \\u with a character just below a", "{\"a\":\"\\u00`0\"}", syntax},
	{"a \\u with a character just below A", `{"a":"\u@000"}`, syntax},
	{"a \\u with a sign", `{"a":"\u+041"}`, syntax},
	{"a \\u in braces", `{"a":"\u{41}"}`, syntax},
	{"a surrogate and a \\u with three digits", `{"a":"\ud83d\ude0"}`, syntax},

	{"a NUL in a string", "{\"a\":\"\x00\"}", control},
	{"a line feed in a string", "{\"a\":\"\n\"}", control},
	{"a tab in a string", "{\"a\":\"\t\"}", control},
	{"the last control character in a string", "{\"a\":\"\x1f\"}", control},
	{"a control character behind an escape", "{\"a\":\"\\n\x1f\"}", control},
	{"a control character in a name", "{\"a\x01\":1}", control},
	{"a control character in a name behind an escape", "{\"\\u0061\x01\":1}", control},

	{"a high surrogate alone", `{"a":"\ud83d"}`, surrogate},
	{"the lowest high surrogate alone", `{"a":"\ud800"}`, surrogate},
	{"the highest high surrogate alone", `{"a":"\uDBFF"}`, surrogate},
	{"a low surrogate alone", `{"a":"\ude00"}`, surrogate},
	{"the lowest low surrogate alone", `{"a":"\udc00"}`, surrogate},
	{"the highest low surrogate alone", `{"a":"\uDFFF"}`, surrogate},
	{"surrogates the wrong way round", `{"a":"\ude00\ud83d"}`, surrogate},
	{"two low surrogates", `{"a":"\ude00\ude00"}`, surrogate},
	{"the lowest low surrogate twice", `{"a":"\udc00\udc00"}`, surrogate},
	{"two high surrogates", `{"a":"\ud83d\ud83d"}`, surrogate},
	{"two high surrogates and a low one", `{"a":"\ud83d\ud83d\ude00"}`, surrogate},
	{"a high surrogate in front of the last one that is not low", `{"a":"\ud83d\udbff"}`, surrogate},
	{"a high surrogate in front of the first one past the low", `{"a":"\ud83d\ue000"}`, surrogate},
	{"a high surrogate in front of a letter", `{"a":"\ud83dA"}`, surrogate},
	{"a high surrogate in front of an escaped letter", `{"a":"\ud83d\u0041"}`, surrogate},
	{"a high surrogate in front of another escape", `{"a":"\ud83d\n\ude00"}`, surrogate},
	{"a high surrogate in front of a bare u", `{"a":"\ud83dude00"}`, surrogate},
	{"a high surrogate in front of an escaped backslash", `{"a":"\ud83d\\ude00"}`, surrogate},
	{"a high surrogate in a name", `{"\ud83d":1}`, surrogate},
	{"a low surrogate behind a pair", `{"a":"\ud83d\ude00\ude00"}`, surrogate},

	{"a byte that is no UTF-8 in a value", "{\"a\":\"\xff\"}", notUTF8},
	{"a byte that is no UTF-8 in a name", "{\"\x80\":1}", notUTF8},
	{"a byte that is no UTF-8 behind an escape", "{\"a\":\"\\n\xff\"}", notUTF8},
	{"a byte that is no UTF-8 outside a string", "{\xff}", notUTF8},
	{"a byte that is no UTF-8 behind", "{}\xff", notUTF8},
	{"UTF-8 cut short", "{\"a\":\"\xc3\"}", notUTF8},
	{"UTF-8 longer than need be", "{\"a\":\"\xc0\xa2\"}", notUTF8},
	{"a surrogate in UTF-8", "{\"a\":\"\xed\xa0\xbd\xed\xb8\x80\"}", notUTF8},
	{"UTF-8 past the last character", "{\"a\":\"\xf4\x90\x80\x80\"}", notUTF8},
	{"UTF-16", "{\x00}\x00\xff\xfe", notUTF8},
}, badNumbers()...)

// badNumbers returns objects with a bad number in a place where any value is allowed.
func badNumbers() (all []refusal) {
	for _, text := range []string{
		"01", "00", "-01", "-", "--1", "+1", ".5", "-.5", "1.", "1.e1", "1.2.3", "1e", "1e+", "1e-", "1E", "1e1.5", "1e1e1", "1e+-1",
		"1e-+1", "0x10", "0b1", "0o7", "1_000", "1,000", "1 000", "1/2", "1:2", "١", "½", "NaN", "nan", "Infinity", "-Infinity", "inf", "1f", "1n", "0e", "-e1",
	} {
		all = append(all, refusal{"the number " + text, `{"a":` + text + `}`, syntax})
	}
	for _, text := range []string{"1e309", "-1e309", "1e400", "1E+400", "1.8e308", "0.1e310", "1e99999999999999999999", "10e308"} {
		all = append(all, refusal{"the number " + text, `{"a":` + text + `}`, notFinite})
	}
	for _, digits := range []int{310, 320, 1000} {
		all = append(all,
			refusal{fmt.Sprintf("a number of %d digits", digits), `{"a":1` + zeros(digits-1) + `}`, notFinite},
			refusal{fmt.Sprintf("a negative number of %d digits with a fraction", digits), `{"a":-1` + zeros(digits-1) + `.5}`, notFinite},
		)
	}
	return append(all, refusal{"a number too large within an array", `{"a":[1e999]}`, notFinite})
}

func TestNamesAreUniqueHoweverManyThereAre(t *testing.T) {
	for count := range 40 {
		for i := range count {
			text := fmt.Sprintf(`{%s,"n%d":0}`, numbered(count), i+1)
			require.Equal(t, strict.Error(twice), strict.Object(text), text)
		}
		require.NoError(t, strict.Object("{"+numbered(count)+"}"))
	}
}

// numbered returns the members n1 to n<count>.
func numbered(count int) string {
	var members []string
	for i := range count {
		members = append(members, fmt.Sprintf(`"n%d":%d`, i+1, i))
	}
	return strings.Join(members, ",")
}

func nested(opening string, depth int) string { return strings.Repeat(opening, depth) }

func zeros(count int) string { return strings.Repeat("0", count) }

func TestEveryReaderRefusesWhatIsNoPlainObject(t *testing.T) {
	for _, tc := range objectRefused {
		t.Run(tc.name, func(t *testing.T) {
			require.Equal(t, strict.Error(tc.want), strict.Object(tc.text))
			requireClaimsRefused(t, tc.text, "container", tc.want)
			if tc.text != "" { // an empty header is not a segment
				requireParseRefuses(t, withHeader(tc.text), 2*limit+len(tc.text), tc.want)
			}
		})
	}
}

var objectAccepted = []struct{ name, text string }{
	{"an empty object", `{}`},
	{"white space wherever it may stand", " \t\r\n{ \"a\"\t:\r[\n1 , 2 ] , \"b\" : { } } \t\r\n"},
	{"every kind of value", `{"a":null,"b":true,"c":false,"d":0,"e":"","f":[],"g":{}}`},
	{"empty and nested arrays", `{"a":[[],[[]],[{}],[1,[2,[3]]]]}`},
	{"the empty name", `{"":1}`},
	{"names that differ by case", `{"a":1,"A":2}`},
	{"names that differ by composition", "{\"\u00e9\":1,\"e\u0301\":2}"},
	{"names that differ by an escaped NUL", `{"a":1,"a\u0000":2}`},
	{"a name that reads as an escape", `{"a":1,"\\u0061":2}`},
	{"one name at two depths", `{"a":{"a":{"a":1}}}`},
	{"one name in two members", `{"a":{"c":1},"b":{"c":1}}`},
	{"one name in many elements", `{"a":[{"b":1},{"b":1},{"b":1}]}`},
	{"16 names", `{` + numbered(16) + `}`},
	{"17 names", `{` + numbered(17) + `}`},
	{"1000 names", `{` + numbered(1000) + `}`},
	{"objects nested 64 deep", nested(`{"a":`, 63) + `{}` + strings.Repeat("}", 63)},
	{"arrays nested 64 deep", `{"a":` + strings.Repeat("[", 63) + strings.Repeat("]", 63) + `}`},
	{"objects and arrays nested 64 deep", nested(`{"a":[`, 32) + strings.Repeat("]}", 32)},
	{"many more than 64 side by side", `{"a":[{}` + strings.Repeat(`,{"b":[]}`, 200) + `]}`},
	{"every escape", `{"a":"\"\\\/\b\f\n\r\t\u0000\u001f\u007F\uabcd\uEF01"}`},
	{"characters that need no escape", "{\"a\":\"\x7f\u0080\u2028\u2029\ufffe\ufdd0 é😀\"}"},
	{"a BOM within a string", "{\"a\":\"\ufeff\"}"},
	{"the replacement character", "{\"a\":\"\ufffd\\ufffd\"}"},
	{"surrogate pairs", `{"a":"\ud800\udc00\ud83d\ude00\uDBFF\uDFFF"}`},
	{"the neighbours of surrogates", `{"a":"\ud7ff\ue000"}`},
	{"text that reads as a lone surrogate", `{"a":"\\ud83d"}`},
	{"numbers", `{"a":[0,-0,1,-1,10,1.5,-0.5,0.0,1e1,1E1,1e+1,1e-1,1.5e-10,0e0,0E+0,123456789012345678901234567890]}`},
	{"the largest float64", `{"a":[1.7976931348623157e308,-1.7976931348623157e308]}`},
	{"a number of 309 digits", `{"a":[1` + zeros(308) + `,-1` + zeros(308) + `]}`},
	{"a number too small for a float64", `{"a":[1e-400,0.` + zeros(400) + `1]}`},
	{"an exponent of many zeros", `{"a":1e` + zeros(400) + `1}`},
}

func TestObjectAcceptsWhatEveryReaderUnderstandsAlike(t *testing.T) {
	for _, tc := range objectAccepted {
		t.Run(tc.name, func(t *testing.T) { require.NoError(t, strict.Object(tc.text)) })
	}
}

func TestStringsAreDecodedAsEncodingJSONDecodesThem(t *testing.T) {
	for text, want := range map[string]string{
		`plain`:                                "plain",
		`\"\\\/\b\f\n\r\t`:                     "\"\\/\b\f\n\r\t",
		`\u0041\u00e9\u00E9\u20ac\uFFFD\u0000`: "Aéé€\ufffd\x00",
		`\ud800\udc00\ud83d\ude00\udbff\udfff`: "\U00010000😀\U0010ffff",
		`\ud7ff\ue000`:                         "\ud7ff\ue000",
		`\u0123\u4567\u89ab\ucdef\uABCD\uEF01`: "\u0123\u4567\u89ab\ucdef\uabcd\uef01",
		`é😀 plain \n and é😀 behind`:            "é😀 plain \n and é😀 behind",
		`\\u0061`:                              `\u0061`,
	} {
		got, err := strict.Parse(withHeader(`{"alg":"`+text+`","kid":"`+text+`","typ":"`+text+`"}`), limit)
		require.NoError(t, err)
		require.Equal(t, strict.Header{Algorithm: want, KeyID: want, Type: want, HasType: true}, got.Header)

		claims, err := strict.ReadClaims(`{"exp":1,"sub":"`+text+`","aud":["`+text+`"]}`, "container")
		require.NoError(t, err)
		require.Equal(t, want, claims.Subject)
		require.Equal(t, []string{want}, claims.Audience)
	}
}
