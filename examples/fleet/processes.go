package main

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/keys"
)

const (
	issuerName = "https://issuer.example.com"
	jwksPath   = "/.well-known/jwks.json"
	container  = "fleet"
	// tokenTTL is short, so that an old key can be retired soon.
	tokenTTL = 3 * time.Second
)

// issue runs the issuer. Its keys are only in memory. A service would keep them in a file,
// with keys.LoadOrCreateRing.
func issue(ctx context.Context) error {
	first, err := keys.Generate("EdDSA")
	if err != nil {
		return err
	}
	ring, err := keys.NewRing(first)
	if err != nil {
		return err
	}
	auth, err := jwtauth.New(ring, jwtauth.WithIssuer(issuerName), jwtauth.WithTTL(tokenTTL))
	if err != nil {
		return err
	}
	ownerKey := os.Getenv("FLEET_OWNER_KEY")
	owner := func(r *http.Request) error {
		if _, password, _ := r.BasicAuth(); subtle.ConstantTimeCompare([]byte(password), []byte(ownerKey)) != 1 {
			return errors.New("not the owner")
		}
		return nil
	}
	mux := http.NewServeMux()
	mux.Handle("POST /create-token/{container}", auth.TokenEndpoint(func(r *http.Request, _ string) ([]jwtauth.IssueOption, error) {
		return []jwtauth.IssueOption{jwtauth.Subject("client")}, owner(r)
	}))
	mux.Handle(jwksPath, ring.JWKS())
	var next, old keys.Key
	for step, do := range map[string]func() error{
		"add": func() (err error) {
			if next, err = keys.Generate("EdDSA"); err != nil {
				return err
			}
			return ring.Add(next)
		},
		"rotate": func() error {
			old, _ = ring.Key(ring.IDs()[0])
			return ring.Rotate(next)
		},
		"retire": func() error { return ring.Retire(old.ID()) },
	} {
		// No lock is needed, since only one program sends these requests, one by one.
		mux.HandleFunc("POST /"+step, func(w http.ResponseWriter, r *http.Request) {
			if err := owner(r); err != nil {
				http.Error(w, err.Error(), http.StatusForbidden)
			} else if err := do(); err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
			}
		})
	}
	return serve(ctx, mux)
}

// verify runs a verifier. It has no secret, and knows only the issuer's JWK Set.
func verify(ctx context.Context) error {
	// Plain HTTP is safe here, since all processes are on one machine. Otherwise use
	// https, without this option.
	remote, err := keys.NewRemote(os.Getenv("FLEET_JWKS"), keys.InsecureAllowHTTP())
	if err != nil {
		return err
	}
	go remote.Run(ctx)
	auth, err := jwtauth.New(remote, jwtauth.WithIssuer(os.Getenv("FLEET_ISSUER")))
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("GET /run/{container}/hello", auth.Private(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "hello")
	})))
	return serve(ctx, mux)
}

// serve listens on a free port, prints the address, and serves until ctx or the parent
// process ends.
func serve(ctx context.Context, handler http.Handler) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Printf("http://%s\n", listener.Addr())
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		io.Copy(io.Discard, os.Stdin)
		stop()
	}()
	go func() {
		<-ctx.Done()
		server.Close()
	}()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
