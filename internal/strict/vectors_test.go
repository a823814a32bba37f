package strict_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth/internal/strict"
)

// vector is an example from an RFC, stored in testdata/rfc. The tests of package keys
// read the same files to verify the signatures.
type vector struct {
	Name    string          `json:"name"`
	Source  string          `json:"source"` // RFC and section
	JWK     json.RawMessage `json:"jwk"`    // the key that signs and verifies
	Alg     string          `json:"alg"`
	Token   string          `json:"token"`
	Payload string          `json:"payload"`
}

func vectors(t testing.TB) (all []vector) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", "rfc", "*.json"))
	require.NoError(t, err)
	require.Len(t, files, 9)
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		require.NoError(t, strict.Object(string(text)), file)
		var v vector
		require.NoError(t, json.Unmarshal(text, &v), file)
		all = append(all, v)
	}
	return all
}

func TestParseTakesThePublishedExamplesApart(t *testing.T) {
	for _, v := range vectors(t) {
		t.Run(v.Source, func(t *testing.T) {
			var key struct {
				KeyID string `json:"kid"`
			}
			require.NoError(t, json.Unmarshal(v.JWK, &key))
			want := strict.Header{Algorithm: v.Alg, KeyID: key.KeyID}
			if v.Source == "RFC 7515, appendix A.1" {
				want.Type, want.HasType = "JWT", true // the only example whose header has a typ
			}
			got, err := strict.Parse(v.Token, limit)
			require.NoError(t, err)
			require.Equal(t, want, got.Header)
			require.Equal(t, v.Payload, got.Payload)
			require.Equal(t, v.Token, got.Signed+"."+b64(string(got.Signature)))
			requireOneSpelling(t, v.Token)
		})
	}
}

func TestReadClaimsReadsThePublishedClaims(t *testing.T) {
	for text, want := range map[string]strict.Claims{
		// RFC 7519, section 3.1
		"{\"iss\":\"joe\",\r\n \"exp\":1300819380,\r\n \"http://example.com/is_root\":true}": {Issuer: "joe", ExpiresAt: at(1300819380, 0)},
		// RFC 9068, section 3, figure 2
		`{"iss":"https://authorization-server.example.com/","sub":"5ba552d67","aud":"https://rs.example.com/","exp":1639528912,"iat":1618354090,"jti":"dbe39bf3a3ba4238a513f51d6e1691c4","client_id":"s6BhdRkqt3","scope":"openid profile reademail"}`: {
			Issuer: "https://authorization-server.example.com/", Subject: "5ba552d67", Audience: []string{"https://rs.example.com/"},
			ID: "dbe39bf3a3ba4238a513f51d6e1691c4", ExpiresAt: at(1639528912, 0), IssuedAt: at(1618354090, 0),
		},
	} {
		got, err := strict.ReadClaims(text, "container")
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
}

// joe is the payload of RFC 7515, appendices A.1 to A.3 and A.5 to A.7.
const joe = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"

// vectorsRefused returns published examples that are not signed compact tokens.
func vectorsRefused(t testing.TB) []refusal {
	signature := map[string]string{}
	for _, v := range vectors(t) {
		signature[v.Source] = v.Token[strings.LastIndexByte(v.Token, '.')+1:]
	}
	rs256, es256 := signature["RFC 7515, appendix A.2"], signature["RFC 7515, appendix A.3"]
	require.NotEmpty(t, rs256)
	require.NotEmpty(t, es256)
	es256JSON := `"protected":"eyJhbGciOiJFUzI1NiJ9","header":{"kid":"e9bc097a-ce51-4036-9562-d2ade882db0d"},"signature":"` + es256 + `"`
	return []refusal{
		{"RFC 7515, appendix A.5: alg none, without a signature", "eyJhbGciOiJub25lIn0." + joe + ".", emptySegment},
		{"RFC 7515, appendix A.6: general JSON serialisation", `{"payload":"` + joe + `","signatures":[{"protected":"eyJhbGciOiJSUzI1NiJ9","header":{"kid":"2010-12-29"},"signature":"` + rs256 + `"},{` + es256JSON + `}]}`, badCharacter},
		{"RFC 7515, appendix A.7: flattened JSON serialisation", `{"payload":"` + joe + `",` + es256JSON + `}`, badCharacter},
		{"RFC 7515, appendix E: an extension marked critical, without a signature", "eyJhbGciOiJub25lIiwNCiAiY3JpdCI6WyJodHRwOi8vZXhhbXBsZS5jb20vVU5ERUZJTkVEIl0sDQogImh0dHA6Ly9leGFtcGxlLmNvbS9VTkRFRklORUQiOnRydWUNCn0.RkFJTA.", emptySegment},
		{"RFC 7515, appendix E, if it had a signature", "eyJhbGciOiJub25lIiwNCiAiY3JpdCI6WyJodHRwOi8vZXhhbXBsZS5jb20vVU5ERUZJTkVEIl0sDQogImh0dHA6Ly9leGFtcGxlLmNvbS9VTkRFRklORUQiOnRydWUNCn0.RkFJTA.RkFJTA", critical},
		{"RFC 7515, appendix F: a detached payload", "eyJhbGciOiJFUzI1NiJ9.." + es256, emptySegment},
		{"RFC 7797, section 4.2: a payload that is not encoded", "eyJhbGciOiJIUzI1NiIsImI2NCI6ZmFsc2UsImNyaXQiOlsiYjY0Il19..A5dxf2s96_n5FLueVuW1Z_vh161FwXZC4YLPff6dmDY", emptySegment},
		{"RFC 7797, section 4.2, if its payload were encoded", "eyJhbGciOiJIUzI1NiIsImI2NCI6ZmFsc2UsImNyaXQiOlsiYjY0Il19.JC4wMg.A5dxf2s96_n5FLueVuW1Z_vh161FwXZC4YLPff6dmDY", critical},
	}
}

func TestParseRefusesThePublishedExamplesOfSomethingElse(t *testing.T) {
	for _, tc := range vectorsRefused(t) {
		t.Run(tc.name, func(t *testing.T) { requireParseRefuses(t, tc.text, limit, tc.want) })
	}
}
