package main

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"errors"
	"math/big"
	"net/http"
	"strings"
	"testing"

	stdcrypto "crypto"

	"github.com/joinednode/jwtauth/internal/strict"
)

// Names of the floors: work that no library can avoid, measured on its own.
const (
	floorHandler = "floor: the no-op handler"
	floorCopy    = "floor: a copy of the request for the handler"
	floorHMAC    = "floor: HMAC-SHA256 of the token, keyed once"
	floorStrict  = "floor: strict scan of the claims, names unique"
	floorValid   = "floor: encoding/json.Valid of the claims"
	floorEcho    = "floor: echo, its router alone"
	floorGin     = "floor: gin, its router alone"
)

var errFloor = errors.New("the floor does not hold: it rejects the good token")

// floors returns the floors for the same HS256 token and handler as the middlewares.
func floors() []subject {
	token := hs256().mint()
	payload := string(taken(token).payload)
	return []subject{
		accepting(floorHandler, middleware{wrap: func(next http.Handler) http.Handler { return next }}, token),
		accepting(floorCopy, middleware{wrap: copying}, token),
		macing(token),
		{name: floorStrict, run: func(b *testing.B) error {
			for b.Loop() {
				if err := strict.Object(payload); err != nil {
					return err
				}
			}
			return nil
		}},
		{name: floorValid, run: func(b *testing.B) error {
			raw := []byte(payload)
			for b.Loop() {
				if !json.Valid(raw) {
					return errFloor
				}
			}
			return nil
		}},
		accepting(floorEcho, middleware{wrap: inEcho()}, token),
		accepting(floorGin, middleware{wrap: inGin()}, token),
	}
}

// copying passes a copy of the request on. Every middleware must do so to give the
// handler claims.
func copying(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, r.WithContext(r.Context()))
	})
}

func macing(token string) subject {
	t := taken(token)
	return subject{name: floorHMAC, run: func(b *testing.B) error {
		mac, sum := hmac.New(sha256.New, secret), make([]byte, 0, sha256.Size)
		for b.Loop() {
			mac.Reset()
			mac.Write(t.signed)
			if !hmac.Equal(mac.Sum(sum), t.signature) {
				return errFloor
			}
		}
		return nil
	}}
}

// arithmetic verifies one signature over the same bytes, including the digest. An ECDSA
// signature is converted to ASN.1 beforehand.
func arithmetic(a algorithm, token string) subject {
	t := taken(token)
	var good func() bool
	switch private := a.private.(type) {
	case ed25519.PrivateKey:
		public := private.Public().(ed25519.PublicKey)
		good = func() bool { return ed25519.Verify(public, t.signed, t.signature) }
	case *ecdsa.PrivateKey:
		half := len(t.signature) / 2
		signature := must(asn1.Marshal(struct{ R, S *big.Int }{
			new(big.Int).SetBytes(t.signature[:half]), new(big.Int).SetBytes(t.signature[half:]),
		}))
		good = func() bool {
			digest := sha256.Sum256(t.signed)
			return ecdsa.VerifyASN1(&private.PublicKey, digest[:], signature)
		}
	case *rsa.PrivateKey:
		// A parsed copy of the key, as from a file: a key that was just made may hold
		// precomputed values that a verifier does not have.
		public := must(x509.ParsePKCS1PublicKey(x509.MarshalPKCS1PublicKey(&private.PublicKey)))
		good = func() bool {
			digest := sha256.Sum256(t.signed)
			return rsa.VerifyPKCS1v15(public, stdcrypto.SHA256, digest[:], t.signature) == nil
		}
	}
	return subject{name: bareCrypto(a.name()), run: func(b *testing.B) error {
		for b.Loop() {
			if !good() {
				return errFloor
			}
		}
		return nil
	}}
}

// pieces are the parts of a token that a floor needs.
type pieces struct{ signed, payload, signature []byte }

func taken(token string) pieces {
	end := strings.LastIndexByte(token, '.')
	_, payload, _ := strings.Cut(token[:end], ".")
	return pieces{
		signed:    []byte(token[:end]),
		payload:   must(base64.RawURLEncoding.DecodeString(payload)),
		signature: must(base64.RawURLEncoding.DecodeString(token[end+1:])),
	}
}
