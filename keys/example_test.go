package keys_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/keys"
)

// One secret signs and verifies: every service that verifies can also issue.
func ExampleHS256() {
	// The output of "openssl rand -base64 32", kept out of the source code.
	secret, err := base64.StdEncoding.DecodeString("bcyYiDUaH6T0x1H3Uohj65vdhpOlq6JYg+3JmB8y7fM=")
	if err != nil {
		log.Fatal(err)
	}
	auth, err := jwtauth.New(keys.HS256(secret))
	if err != nil {
		log.Fatal(err)
	}
	token, err := auth.Issue("demo")
	if err != nil {
		log.Fatal(err)
	}
	claims, err := auth.Verify(context.Background(), token, "demo")
	fmt.Println(claims.Container, err)
	// Output: demo <nil>
}

// HS512 needs a longer secret. New and Err return an error for a bad key.
func ExampleHS512() {
	secret := make([]byte, 64)
	if _, err := rand.Read(secret); err != nil {
		log.Fatal(err)
	}
	fmt.Println(keys.HS512(secret), keys.HS512(secret).Err())
	fmt.Println(keys.HS512(secret[:32]).Err())
	// Output:
	// HS512 key <nil>
	// keys: the secret for HS512 has 32 bytes; it needs at least 64 random ones
}

func ExampleHS384() {
	secret := make([]byte, 48)
	if _, err := rand.Read(secret); err != nil {
		log.Fatal(err)
	}
	fmt.Println(keys.HS384(secret).Algorithm())
	// Output: HS384
}

// The type of a private key fixes its algorithm. Any crypto.Signer will do, such as one
// of a KMS.
func ExampleSigner() {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		log.Fatal(err)
	}
	key := keys.Signer(private)
	fmt.Println(key.Algorithm())

	auth, err := jwtauth.New(key)
	if err != nil {
		log.Fatal(err)
	}
	token, err := auth.Issue("demo")
	if err != nil {
		log.Fatal(err)
	}
	claims, err := auth.Verify(context.Background(), token, "demo")
	fmt.Println(claims.Container, err)
	// Output:
	// EdDSA
	// demo <nil>
}

// One service issues tokens. Other services have the public key, and can only verify.
func ExampleVerifier() {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		log.Fatal(err)
	}
	issuer, err := jwtauth.New(keys.Signer(private))
	if err != nil {
		log.Fatal(err)
	}
	verifier, err := jwtauth.New(keys.Verifier(private.Public()))
	if err != nil {
		log.Fatal(err)
	}

	token, err := issuer.Issue("demo")
	if err != nil {
		log.Fatal(err)
	}
	claims, err := verifier.Verify(context.Background(), token, "demo")
	fmt.Println(claims.Container, err)
	_, err = verifier.Issue("demo")
	fmt.Println(errors.Is(err, jwtauth.ErrNoSigningKey))
	// Output:
	// demo <nil>
	// true
}

// A key with an ID verifies only tokens with that kid.
func ExampleKey_WithID() {
	secret := make([]byte, 32)
	if _, err := rand.Read(secret); err != nil {
		log.Fatal(err)
	}
	may, err := jwtauth.New(keys.HS256(secret).WithID("2026-05"))
	if err != nil {
		log.Fatal(err)
	}
	june, err := jwtauth.New(keys.HS256(secret).WithID("2026-06"))
	if err != nil {
		log.Fatal(err)
	}

	token, err := may.Issue("demo")
	if err != nil {
		log.Fatal(err)
	}
	_, err = may.Verify(context.Background(), token, "demo")
	fmt.Println(err)
	_, err = june.Verify(context.Background(), token, "demo")
	fmt.Println(errors.Is(err, jwtauth.ErrUnknownKey))
	// Output:
	// <nil>
	// true
}

// RSA keys have six algorithms. The default is RS256.
func ExampleKey_WithAlgorithm() {
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		log.Fatal(err)
	}
	key := keys.Signer(private)
	fmt.Println(key)
	fmt.Println(key.WithAlgorithm("PS256"))
	fmt.Println(key.WithAlgorithm("HS256").Err())
	// Output:
	// RS256 key
	// PS256 key
	// keys: the algorithm "HS256" does not fit an RSA key, which takes RS256, RS384, RS512, PS256, PS384, PS512
}

// Err is meant for programs that make a key in one place and an Auth in another. New
// returns the same error.
func ExampleKey_Err() {
	fmt.Println(keys.HS256([]byte("a password")).Err())
	_, err := jwtauth.New(keys.HS256([]byte("a password")))
	fmt.Println(err != nil)
	// Output:
	// keys: the secret for HS256 has 10 bytes; it needs at least 32 random ones
	// true
}

func ExampleParsePEM() {
	text := []byte(`-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=
-----END PUBLIC KEY-----
`)
	key, err := keys.ParsePEM(text)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(key)
	// Output: EdDSA key
}

func ExampleParseJWK() {
	text := []byte(`{"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": "2026-05",
		"x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`)
	key, err := keys.ParseJWK(text)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(key)
	_, err = keys.ParseJWK([]byte(`{"keys": []}`))
	fmt.Println(err)
	// Output:
	// EdDSA key "2026-05"
	// keys: ParseJWK: a JWK Set, not a key; pass only the key you mean
}

// The first start creates the key. Every later start reads it.
func ExampleLoadOrCreate() {
	folder, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(folder)
	path := filepath.Join(folder, "signing.jwk")

	first, err := keys.LoadOrCreate(path, "EdDSA")
	if err != nil {
		log.Fatal(err)
	}
	again, err := keys.LoadOrCreate(path, "EdDSA")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(first.Algorithm(), first.ID() == again.ID())
	// Output: EdDSA true
}

// changeable is a Source whose key can be replaced while it is in use.
type changeable struct{ set atomic.Pointer[keys.Set] }

func (c *changeable) Use(key keys.Key) error {
	set, err := key.Keys(context.Background(), "")
	if err != nil {
		return err
	}
	c.set.Store(set)
	return nil
}

func (c *changeable) Keys(context.Context, string) (*keys.Set, error) { return c.set.Load(), nil }

// A custom Source returns the set of a Key. When the key is replaced, tokens of the old
// one are rejected.
func ExampleSource() {
	newKey := func() keys.Key {
		_, private, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			log.Fatal(err)
		}
		return keys.Signer(private)
	}
	var source changeable
	if err := source.Use(newKey()); err != nil {
		log.Fatal(err)
	}
	auth, err := jwtauth.New(&source)
	if err != nil {
		log.Fatal(err)
	}
	token, err := auth.Issue("demo")
	if err != nil {
		log.Fatal(err)
	}
	_, err = auth.Verify(context.Background(), token, "demo")
	fmt.Println(err)

	if err := source.Use(newKey()); err != nil {
		log.Fatal(err)
	}
	_, err = auth.Verify(context.Background(), token, "demo")
	fmt.Println(errors.Is(err, jwtauth.ErrSignature))
	// Output:
	// <nil>
	// true
}

// A Set can also sign and verify bytes that are not a JWT.
func ExampleSet() {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		log.Fatal(err)
	}
	set, err := keys.Signer(private).WithID("2026-05").Keys(context.Background(), "")
	if err != nil {
		log.Fatal(err)
	}
	alg, kid, err := set.SigningKey()
	if err != nil {
		log.Fatal(err)
	}
	signature, err := set.Sign([]byte("any bytes"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(alg, kid)
	fmt.Println(set.Verify(alg, kid, []byte("any bytes"), signature))
	fmt.Println(set.Verify(alg, kid, []byte("other bytes"), signature))
	fmt.Println(set.Verify("HS256", kid, []byte("any bytes"), signature))
	// Output:
	// EdDSA 2026-05
	// <nil>
	// jwtauth: wrong signature
	// jwtauth: no key for the token's alg and kid
}

func ExampleRing() {
	_, first, _ := ed25519.GenerateKey(nil)
	_, second, _ := ed25519.GenerateKey(nil)
	ring, err := keys.NewRing(keys.Signer(first).WithID("2026-03"))
	if err != nil {
		fmt.Println(err)
		return
	}
	auth, err := jwtauth.New(ring)
	if err != nil {
		fmt.Println(err)
		return
	}
	old, _ := auth.Issue("my-container")

	next := keys.Signer(second).WithID("2026-04")
	fmt.Println(ring.Add(next))    // published; wait until all verifiers know it
	fmt.Println(ring.Rotate(next)) // signs; wait until the old tokens have expired
	_, err = auth.Verify(context.Background(), old, "my-container")
	fmt.Println(err)
	fmt.Println(ring.Retire("2026-03"))
	_, err = auth.Verify(context.Background(), old, "my-container")
	fmt.Println(err)
	// Output:
	// <nil>
	// <nil>
	// <nil>
	// <nil>
	// jwtauth: no key for the token's alg and kid
}

// To rotate the keys of several processes, change a file that all of them see, such as a
// mounted secret.
func ExampleOpenRing() {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "keys.jwks")

	// Every process runs this.
	ring, err := keys.LoadOrCreateRing(path, "EdDSA")
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	go ring.Run(ctx)

	// An operator's program publishes the next key.
	file, err := keys.OpenRing(path)
	if err != nil {
		log.Fatal(err)
	}
	next, err := keys.Generate("EdDSA")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(file.Add(next), file.Save(path))

	for range 600 { // a second at most, unless the machine is suspended
		if _, ok := ring.Key(next.ID()); ok {
			fmt.Println("followed")
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	// Output:
	// <nil> <nil>
	// followed
}

func ExampleRing_JWKS() {
	ring, err := keys.NewRing(keys.HS256(make32()))
	if err != nil {
		fmt.Println(err)
		return
	}
	mux := http.NewServeMux()
	mux.Handle("/.well-known/jwks.json", ring.JWKS())
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, httptest.NewRequest("GET", "/.well-known/jwks.json", nil))
	fmt.Println(w.Code, w.Body) // secrets are never published
	// Output: 200 {"keys":[]}
}

// One service issues tokens and publishes its keys. Other services fetch them, and can
// only verify.
func ExampleNewRemote() {
	key, err := keys.Generate("EdDSA")
	if err != nil {
		log.Fatal(err)
	}
	ring, err := keys.NewRing(key)
	if err != nil {
		log.Fatal(err)
	}
	issuer, err := jwtauth.New(ring)
	if err != nil {
		log.Fatal(err)
	}
	server := httptest.NewTLSServer(ring.JWKS())
	defer server.Close()

	remote, err := keys.NewRemote(server.URL,
		keys.WithHTTPClient(server.Client()), // this client trusts the server's certificate
		keys.WithLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	go remote.Run(ctx)
	verifier, err := jwtauth.New(remote)
	if err != nil {
		log.Fatal(err)
	}

	token, err := issuer.Issue("demo")
	if err != nil {
		log.Fatal(err)
	}
	claims, err := verifier.Verify(ctx, token, "demo")
	fmt.Println(claims.Container, err)

	next, err := keys.Generate("EdDSA")
	if err != nil {
		log.Fatal(err)
	}
	if err := ring.Rotate(next); err != nil {
		log.Fatal(err)
	}
	token, err = issuer.Issue("demo")
	if err != nil {
		log.Fatal(err)
	}
	claims, err = verifier.Verify(ctx, token, "demo") // fetches the new key
	fmt.Println(claims.Container, err)

	_, err = verifier.Issue("demo")
	fmt.Println(errors.Is(err, jwtauth.ErrNoSigningKey))
	// Output:
	// demo <nil>
	// demo <nil>
	// true
}

func make32() []byte {
	secret := make([]byte, 32)
	rand.Read(secret)
	return secret
}
