package keys_test

import (
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth/keys"
)

// vector is a worked example of an RFC: a token, and the key that signed it.
type vector struct {
	Name, Source string
	JWK          json.RawMessage
	Alg          string
	Token        string
	Payload      string
}

// vectors reads the examples that the strict reader is tested with as well.
func vectors(t *testing.T) []vector {
	t.Helper()
	files, err := filepath.Glob("../internal/strict/testdata/rfc/*.json")
	require.NoError(t, err)
	all := make([]vector, len(files))
	sources := ""
	for i, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(text, &all[i]), file)
		sources += all[i].Source + "\n"
	}
	for _, rfc := range []string{"RFC 7515", "RFC 7520", "RFC 8037"} {
		require.Contains(t, sources, rfc)
	}
	return all
}

// apart returns what the signature covers, the signature, and the header's kid.
func (v vector) apart(t *testing.T) (signed, signature []byte, kid string) {
	t.Helper()
	segments := strings.Split(v.Token, ".")
	require.Len(t, segments, 3)
	decoded := make([][]byte, 3)
	for i, segment := range segments {
		var err error
		decoded[i], err = base64.RawURLEncoding.DecodeString(segment)
		require.NoError(t, err)
	}
	var header struct{ Alg, Kid string }
	require.NoError(t, json.Unmarshal(decoded[0], &header))
	require.Equal(t, v.Alg, header.Alg)
	require.Equal(t, v.Payload, string(decoded[1]))
	return []byte(segments[0] + "." + segments[1]), decoded[2], header.Kid
}

func TestTheExamplesOfTheRFCsVerify(t *testing.T) {
	for _, v := range vectors(t) {
		t.Run(v.Source+", "+v.Name, func(t *testing.T) {
			t.Parallel()
			input, signature, kid := v.apart(t)
			k, err := keys.ParseJWK(v.JWK)
			require.NoError(t, err)
			k = k.WithAlgorithm(v.Alg) // their keys name none, and one RSA key serves several
			set := setOf(t, k)
			require.NoError(t, set.Verify(v.Alg, kid, input, signature))
			require.Equal(t, kid, k.ID(), "the examples name a key in both or neither")

			for i := range input {
				require.Equal(t, keys.ErrSignature, set.Verify(v.Alg, kid, flipped(input, i), signature))
			}
			for i := range signature {
				require.Equal(t, keys.ErrSignature, set.Verify(v.Alg, kid, input, flipped(signature, i)))
			}
			for _, alg := range algorithms {
				if alg != v.Alg {
					require.Equal(t, keys.ErrUnknownKey, set.Verify(alg, kid, input, signature))
				}
			}
			if kid != "" {
				require.Equal(t, keys.ErrUnknownKey, set.Verify(v.Alg, "", input, signature))
				require.Equal(t, keys.ErrUnknownKey, set.Verify(v.Alg, kid+"x", input, signature))
			}

			own := signed(t, set, input)
			require.NoError(t, set.Verify(v.Alg, kid, input, own))
			if slices.Contains([]string{"HS256", "RS256", "EdDSA"}, v.Alg) {
				require.Equal(t, signature, own, "this algorithm has one signature for one message")
			} else {
				require.NotEqual(t, signature, own, "this algorithm signs with fresh randomness")
			}
		})
	}
}

// The keys of the examples verify what they signed without their private half.
func TestTheExamplesOfTheRFCsVerifyWithThePublicKeyAlone(t *testing.T) {
	for _, v := range vectors(t) {
		if isSymmetric(v.Alg) {
			continue
		}
		t.Run(v.Source+", "+v.Name, func(t *testing.T) {
			var members jwkMembers
			require.NoError(t, json.Unmarshal(v.JWK, &members))
			k, err := keys.ParseJWK([]byte(members.without("d", "p", "q", "dp", "dq", "qi").with("alg", v.Alg).text(t)))
			require.NoError(t, err)
			input, signature, kid := v.apart(t)
			set := setOf(t, k)
			require.NoError(t, set.Verify(v.Alg, kid, input, signature))
			_, err = set.Sign(input)
			require.Equal(t, keys.ErrNoSigningKey, err)
		})
	}
}
