package strict_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth/internal/strict"
)

const (
	noAlgorithm    = "a header without alg"
	badAlgorithm   = "the header's alg is not a string"
	badKeyID       = "the header's kid is not a string"
	badType        = "the header's typ is not a string"
	badContent     = "the header's cty is not a string"
	nestedToken    = "a nested token"
	critical       = "a header with crit, b64 or zip"
	foldedInHeader = "a header name that differs from a registered one by case alone"
)

var headerRefused = append([]refusal{
	{"no alg", `{}`, noAlgorithm},
	{"a kid and a typ, but no alg", `{"kid":"1","typ":"JWT"}`, noAlgorithm},
	{"an alg within another member alone", `{"jwk":{"alg":"HS256"}}`, noAlgorithm},
	{"an alg with a space in its name", `{"alg ":"HS256"}`, noAlgorithm},
	{"an array around the header", `[{"alg":"HS256"}]`, notObject},
	{"a header in a string", `"{\"alg\":\"HS256\"}"`, notObject},
	{"a BOM", "\ufeff" + `{"alg":"HS256"}`, notObject},
	{"a second header behind the first", `{"alg":"HS256"}{"alg":"none"}`, behind},
	{"a byte behind the header", `{"alg":"HS256"}.`, behind},
	{"two algs", `{"alg":"HS256","alg":"none"}`, twice},
	{"two algs, one of them escaped", `{"alg":"HS256","\u0061lg":"none"}`, twice},
	{"two algs with other members in between", `{"alg":"HS256","kid":"1","typ":"JWT","\u0061\u006C\u0067":"none"}`, twice},
	{"two algs with 20 members in between", `{"alg":"HS256",` + numbered(20) + `,"alg":"HS256"}`, twice},
	{"two kids", `{"alg":"HS256","kid":"1","kid":"2"}`, twice},
	{"two typs", `{"alg":"HS256","typ":"JWT","t\u0079p":"JWT"}`, twice},
	{"two unknown members of one name", `{"alg":"HS256","x":1,"x":1}`, twice},
	{"two members of one name within jwk", `{"alg":"HS256","jwk":{"kty":"oct","kty":"RSA"}}`, twice},

	{"cty JWT", `{"alg":"HS256","cty":"JWT"}`, nestedToken},
	{"cty jwt", `{"alg":"HS256","cty":"jwt"}`, nestedToken},
	{"cty JwT, escaped", `{"alg":"HS256","cty":"J\u0077T"}`, nestedToken},
	{"cty application/jwt", `{"alg":"HS256","cty":"application/jwt"}`, nestedToken},
	{"cty Application/JWT", `{"cty":"Application/JWT","alg":"HS256"}`, nestedToken},
	{"the header of RFC 7519, appendix A.2", `{"alg":"RSA-OAEP","enc":"A128CBC-HS256","cty":"JWT"}`, nestedToken},

	{"ALG for alg", `{"ALG":"HS256"}`, foldedInHeader},
	{"ALG behind alg", `{"alg":"HS256","ALG":"none"}`, foldedInHeader},
	{"Alg in front of alg", `{"Alg":"none","alg":"HS256"}`, foldedInHeader},
	{"aLg, escaped", `{"alg":"HS256","a\u004cg":"none"}`, foldedInHeader},
	{"Kid", `{"alg":"HS256","Kid":"1"}`, foldedInHeader},
	{"kid with the sign for kelvin", "{\"alg\":\"HS256\",\"\u212aid\":\"1\"}", foldedInHeader},
	{"kid with the sign for kelvin, escaped", `{"alg":"HS256","\u212aid":"1"}`, foldedInHeader},
	{"TYP", `{"alg":"HS256","TYP":"JWT"}`, foldedInHeader},
	{"Cty", `{"alg":"HS256","Cty":"JWT"}`, foldedInHeader},
	{"Crit", `{"alg":"HS256","Crit":["exp"]}`, foldedInHeader},
	{"B64", `{"alg":"HS256","B64":false}`, foldedInHeader},
	{"ZIP", `{"alg":"HS256","ZIP":"DEF"}`, foldedInHeader},
}, wrongTypesInHeaders()...)

func wrongTypesInHeaders() (all []refusal) {
	for _, member := range []struct{ name, want string }{
		{"alg", badAlgorithm}, {"kid", badKeyID}, {"typ", badType}, {"cty", badContent},
	} {
		for _, value := range []string{`null`, `true`, `false`, `0`, `1`, `["HS256"]`, `[]`, `{}`, `{"alg":"HS256"}`, `HS256`, ``} {
			text := `{"` + member.name + `":` + value
			if member.name != "alg" {
				text += `,"alg":"HS256"`
			}
			all = append(all, refusal{member.name + " that is " + value, text + `}`, member.want})
		}
	}
	for _, name := range []string{"crit", "b64", "zip", `c\u0072it`} {
		for _, value := range []string{`["exp"]`, `[]`, `["b64"]`, `true`, `false`, `null`, `""`, `"DEF"`, `{}`, `0`} {
			all = append(all, refusal{name + " that is " + value, `{"alg":"HS256","` + name + `":` + value + `}`, critical})
		}
	}
	return all
}

func TestParseRefusesHeadersOfTwoMeanings(t *testing.T) {
	for _, tc := range headerRefused {
		t.Run(tc.name, func(t *testing.T) { requireParseRefuses(t, withHeader(tc.text), limit, tc.want) })
	}
}

var headerAccepted = []struct {
	name, text string
	want       strict.Header
}{
	{"alg alone", `{"alg":"HS256"}`, strict.Header{Algorithm: "HS256"}},
	{"alg, kid and typ", `{"alg":"ES256","kid":"k1","typ":"JWT"}`, strict.Header{Algorithm: "ES256", KeyID: "k1", Type: "JWT", HasType: true}},
	{"members in another order", `{"typ":"x+jwt","kid":"k1","alg":"ES256"}`, strict.Header{Algorithm: "ES256", KeyID: "k1", Type: "x+jwt", HasType: true}},
	{"names that are escaped", `{"\u0061lg":"HS256","k\u0069d":"1","\u0074yp":"JWT"}`, strict.Header{Algorithm: "HS256", KeyID: "1", Type: "JWT", HasType: true}},
	{"values as they stand, neither trimmed nor folded", `{"alg":" hs256 ","kid":" K ","typ":"jwt"}`, strict.Header{Algorithm: " hs256 ", KeyID: " K ", Type: "jwt", HasType: true}},
	{"an alg that no key has", `{"alg":"none"}`, strict.Header{Algorithm: "none"}},
	{"empty strings", `{"alg":"","kid":"","typ":""}`, strict.Header{HasType: true}},
	{"white space around and behind", "\r\n { \"alg\" : \"HS256\" } \t\r\n", strict.Header{Algorithm: "HS256"}},
	{"a cty that is no token", `{"alg":"HS256","cty":"json"}`, strict.Header{Algorithm: "HS256"}},
	{"a cty that starts like a token", `{"alg":"HS256","cty":"JWTs"}`, strict.Header{Algorithm: "HS256"}},
	{"an empty cty", `{"alg":"HS256","cty":""}`, strict.Header{Algorithm: "HS256"}},
	{"key material and URLs, which are ignored", `{"jwk":{"kty":"oct","k":"AAAA","kid":"evil"},"jku":"https://attacker.example/","x5u":"https://attacker.example/","x5c":["AAAA"],"x5t":"AAAA","x5t#S256":"AAAA","alg":"HS256","kid":"k1"}`, strict.Header{Algorithm: "HS256", KeyID: "k1"}},
	{"key material of the wrong types, which is ignored too", `{"alg":"HS256","jwk":"x","jku":7,"x5c":null}`, strict.Header{Algorithm: "HS256"}},
	{"unknown members", `{"alg":"HS256","nonce":"1","http://example.com/x":{"alg":"none","ALG":"none","crit":[]}}`, strict.Header{Algorithm: "HS256"}},
	{"claims in the header, which are ignored", `{"alg":"HS256","exp":1,"iss":"x","EXP":2}`, strict.Header{Algorithm: "HS256"}},
	{"names that look alike but fold to no other", "{\"alg\":\"HS256\",\"k\u0131d\":1,\"\uff41lg\":1,\"al\":1,\"algs\":1,\" alg\":1,\"alg\\u0000\":1}", strict.Header{Algorithm: "HS256"}},
	{"more members than most", `{` + numbered(40) + `,"alg":"HS256"}`, strict.Header{Algorithm: "HS256"}},
}

func TestParseReadsWhatHeadersSay(t *testing.T) {
	for _, tc := range headerAccepted {
		t.Run(tc.name, func(t *testing.T) {
			got, err := strict.Parse(withHeader(tc.text), limit)
			require.NoError(t, err)
			require.Equal(t, tc.want, got.Header)
		})
	}
}
