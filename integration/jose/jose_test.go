// Package jose_test exchanges tokens and keys with jose, an implementation of the same RFCs
// for node. It needs node and npm, and is skipped without them.
package jose_test

import (
	"bufio"
	"crypto"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/integration/internal/npm"
	"github.com/joinednode/jwtauth/keys"
)

const issuer = "https://issuer.example.com"

// algorithms are all algorithms with public keys. A JWK Set cannot publish secrets.
var algorithms = []string{"EdDSA", "Ed25519", "ES256", "ES384", "ES512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}

// peer is a process that runs jose.
type peer struct {
	url     string
	in      io.Writer
	answers *bufio.Reader
}

func newPeer(t *testing.T) *peer {
	t.Helper()
	folder := npm.Folder(t, "peer.mjs")
	cmd := exec.CommandContext(t.Context(), "node", "peer.mjs")
	cmd.Dir, cmd.Stderr = folder, os.Stderr
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	answers, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { in.Close(); _ = cmd.Wait() })
	p := &peer{in: in, answers: bufio.NewReader(answers)}
	p.url = p.read(t)["url"].(string)
	return p
}

func (p *peer) read(t *testing.T) (answer map[string]any) {
	t.Helper()
	line, err := p.answers.ReadBytes('\n')
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(line, &answer))
	return answer
}

// does sends a command to jose, and returns the answer.
func (p *peer) does(t *testing.T, command string, with map[string]any) map[string]any {
	t.Helper()
	with["command"] = command
	require.NoError(t, json.NewEncoder(p.in).Encode(with))
	return p.read(t)
}

func (p *peer) sign(t *testing.T, kid string) string {
	t.Helper()
	answer := p.does(t, "sign", map[string]any{"kid": kid, "container": "demo"})
	require.Contains(t, answer, "token", answer)
	return answer["token"].(string)
}

// tampered returns a token with the signature of another token.
func tampered(token string) string {
	header, _, _ := strings.Cut(token, ".")
	signature := token[strings.LastIndex(token, ".")+1:]
	return header + ".eyJpc3MiOiJodHRwczovL2lzc3Vlci5leGFtcGxlLmNvbSIsImV4cCI6OTk5OTk5OTk5OX0." + signature
}

func TestJoseVerifiesOurTokensByOurJWKS(t *testing.T) {
	p := newPeer(t)
	for _, alg := range algorithms {
		t.Run(alg, func(t *testing.T) {
			key, err := keys.Generate(alg)
			require.NoError(t, err)
			ring, err := keys.NewRing(key)
			require.NoError(t, err)
			server := httptest.NewServer(ring.JWKS())
			defer server.Close()
			auth, err := jwtauth.New(ring, jwtauth.WithIssuer(issuer))
			require.NoError(t, err)
			token, err := auth.Issue("demo", jwtauth.Subject("alice"))
			require.NoError(t, err)
			got := p.does(t, "verify", map[string]any{"token": token, "jwks": server.URL})
			require.Contains(t, got, "payload", got)
			require.Equal(t, "demo", got["payload"].(map[string]any)["container"])
			require.Equal(t, alg, got["header"].(map[string]any)["alg"])
			got = p.does(t, "verify", map[string]any{"token": tampered(token), "jwks": server.URL})
			require.Equal(t, "ERR_JWS_SIGNATURE_VERIFICATION_FAILED", got["error"])
		})
	}
}

func TestTokensOfJoseVerifyHereThroughItsJWKS(t *testing.T) {
	p := newPeer(t)
	for _, alg := range algorithms {
		require.NotContains(t, p.does(t, "generate", map[string]any{"alg": alg, "kid": "key of " + alg}), "error", alg)
	}
	remote, err := keys.NewRemote(p.url, keys.InsecureAllowHTTP())
	require.NoError(t, err)
	auth, err := jwtauth.New(remote, jwtauth.WithIssuer(issuer))
	require.NoError(t, err)
	for _, alg := range algorithms {
		t.Run(alg, func(t *testing.T) {
			token := p.sign(t, "key of "+alg)
			claims, err := auth.Verify(t.Context(), token, "demo")
			require.NoError(t, err)
			require.Equal(t, "alice", claims.Subject)
			_, err = auth.Verify(t.Context(), token, "other")
			require.ErrorIs(t, err, jwtauth.ErrContainer)
			_, err = auth.Verify(t.Context(), tampered(token), "demo")
			require.ErrorIs(t, err, jwtauth.ErrSignature)
		})
	}
	// From here on, the set has one more key.
	p.does(t, "generate", map[string]any{"alg": "EdDSA", "kid": "new"})
	_, err = auth.Verify(t.Context(), p.sign(t, "new"), "demo")
	require.NoError(t, err)
}

// Both read the same key from a PEM file of openssl.
func TestAKeyOfOpenSSLWorksInBoth(t *testing.T) {
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip("openssl is not installed")
	}
	p := newPeer(t)
	for alg, args := range map[string][]string{
		"EdDSA": {"-algorithm", "ed25519"},
		"ES256": {"-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"},
		"RS256": {"-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"},
	} {
		t.Run(alg, func(t *testing.T) {
			text, err := exec.Command("openssl", append([]string{"genpkey"}, args...)...).Output()
			require.NoError(t, err)
			key, err := keys.ParsePEM(text)
			require.NoError(t, err)
			require.Equal(t, alg, key.Algorithm())
			kid := "pem " + alg
			require.NotContains(t, p.does(t, "import", map[string]any{"alg": alg, "kid": kid, "pem": string(text), "publicPEM": public(t, text)}), "error")

			own, err := jwtauth.New(key.WithID(kid), jwtauth.WithIssuer(issuer))
			require.NoError(t, err)
			_, err = own.Verify(t.Context(), p.sign(t, kid), "demo")
			require.NoError(t, err, "jose's token, by the file")
			token, err := own.Issue("demo")
			require.NoError(t, err)
			require.Contains(t, p.does(t, "verify", map[string]any{"token": token, "jwks": p.url}), "payload", "our token, by what jose made of the file")
			remote, err := keys.NewRemote(p.url, keys.InsecureAllowHTTP())
			require.NoError(t, err)
			auth, err := jwtauth.New(remote, jwtauth.WithIssuer(issuer))
			require.NoError(t, err)
			_, err = auth.Verify(t.Context(), token, "demo")
			require.NoError(t, err, "and here by what jose publishes of it")
		})
	}
}

// public returns the public half of a private key in PEM.
func public(t *testing.T, text []byte) string {
	t.Helper()
	block, _ := pem.Decode(text)
	private, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	require.NoError(t, err)
	der, err := x509.MarshalPKIXPublicKey(private.(crypto.Signer).Public())
	require.NoError(t, err)
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

// Both compute the same thumbprint of a key (RFC 7638).
func TestThumbprintsAreThoseOfJose(t *testing.T) {
	p := newPeer(t)
	for _, alg := range algorithms {
		key, err := keys.Generate(alg)
		require.NoError(t, err)
		ring, err := keys.NewRing(key)
		require.NoError(t, err)
		w := httptest.NewRecorder()
		ring.JWKS().ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
		var set struct{ Keys []map[string]any }
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &set))
		require.Len(t, set.Keys, 1)
		require.Equal(t, key.ID(), p.does(t, "thumbprint", map[string]any{"jwk": set.Keys[0]})["thumbprint"], alg)
	}
}
