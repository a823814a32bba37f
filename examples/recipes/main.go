// Command recipes is a small service with public and private recipes in containers. Such
// services are what package jwtauth was made for:
//
//	go run ./examples/recipes
//
// It prints curl commands for every kind of call, and serves a page with buttons for the
// same calls. The signing keys are in a file, so tokens survive a restart. The service
// follows changes of the file, so the keys can be rotated there. Revocations are in a
// SQLite file beside it, or in the database of -store, which several processes may share.
// Services that only verify tokens find the public keys at /.well-known/jwks.json. To
// watch a rotation in printed steps:
//
//	go run ./examples/recipes -rotate 10s
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/joinednode/jwtauth/examples/internal/stores"
	"github.com/joinednode/jwtauth/keys"
	"github.com/joinednode/jwtauth/revoke"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// After the first signal, a second one kills the program, in case the
	// shutdown hangs.
	context.AfterFunc(ctx, stop)
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "recipes:", err)
		os.Exit(1)
	}
}

// run serves until ctx ends, then waits for the current requests and returns nil.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("recipes", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // main prints the error
	addr := flags.String("addr", "127.0.0.1:8080", "`address` to serve on")
	data := flags.String("data", ".recipes", "`folder` that keeps the keys, in keys.jwks, and the revocations")
	where := flags.String("store", "", stores.Usage)
	alg := flags.String("alg", "EdDSA", "`algorithm` of the key that is created at the first start; an existing keys.jwks keeps its own")
	rotate := flags.Duration("rotate", 0, "take a step of a key rotation every `interval` of at least 1s, to watch it (default 0, never)")
	ownerKey := flags.String("owner-key", "", "`password` of the containers' owner (default random, printed at the start)")
	verbose := flags.Bool("v", false, "log every call, and every rejected token with the reason")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprintln(stdout, "Usage of recipes:")
		flags.SetOutput(stdout)
		flags.PrintDefaults()
		return nil
	case err != nil:
		return fmt.Errorf("%w (see -help)", err)
	case flags.NArg() > 0:
		return fmt.Errorf("unexpected argument %q (see -help)", flags.Arg(0))
	case *rotate != 0 && *rotate < time.Second:
		// Ring.Run checks the file once a second, so it would miss shorter steps.
		return fmt.Errorf("-rotate is %v; use 1s or more, or 0 for never (see -help)", *rotate)
	}

	level := slog.LevelInfo
	if *verbose {
		level = slog.LevelDebug
	}
	logger := slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: level}))
	slog.SetDefault(logger) // Ring.Run logs to it

	file := filepath.Join(*data, "keys.jwks")
	ring, err := openRing(file, *alg)
	if err != nil {
		return err
	}
	banner := instructions{jwks: hasPublicKey(ring)}
	if *ownerKey == "" {
		*ownerKey = rand.Text()
		banner.ownerKey = *ownerKey
	}
	store, err := stores.Open(ctx, *where, *data)
	if err != nil {
		return err
	}
	defer store.Close()
	list, err := revoke.New(store.Revocations, revoke.WithLogger(logger))
	if err != nil {
		return err
	}
	// Every request is denied until the revocation list has been read once, so read it
	// before serving.
	if err := list.Sync(ctx); err != nil {
		return err
	}
	handler, err := newHandler(ring, list, demoCatalogue(), *ownerKey, logger)
	if err != nil {
		return err
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", *addr)
	if err != nil {
		return err
	}
	banner.url = baseURL(listener.Addr())
	rotating := rotation{file: file, every: *rotate, stdout: stdout, logger: logger, halfDone: len(ring.IDs()) > 1}
	if *rotate > 0 {
		banner.schedule = rotating.schedule(time.Now())
	}
	fmt.Fprint(stdout, banner)

	// When serve returns, stop ends the goroutines, and Wait waits for them.
	ctx, stop := context.WithCancel(ctx)
	var beside sync.WaitGroup
	defer beside.Wait()
	defer stop()
	beside.Go(func() { ring.Run(ctx) }) // returns only the error of ctx
	beside.Go(func() { list.Run(ctx) })
	if *rotate > 0 {
		beside.Go(func() { rotating.run(ctx) })
	}
	return serve(ctx, newServer(handler, logger), listener, logger)
}

// openRing opens the key file, or creates it and its folder at the first start. It gives
// only this account access to them. LoadOrCreateRing rejects an existing file that other
// accounts can read.
func openRing(file, alg string) (*keys.Ring, error) {
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return nil, err
	}
	return keys.LoadOrCreateRing(file, alg)
}

// newServer returns a server with timeouts, which net/http does not set by default, so
// that a slow client cannot hold a connection for long.
func newServer(handler http.Handler, logger *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		WriteTimeout:      15 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10, // jwtauth accepts tokens of up to 8 KiB
		ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelWarn),
	}
}

// shutdownTimeout is how long a shutdown waits for the current requests. It is longer than
// the timeouts of newServer.
const shutdownTimeout = 20 * time.Second

func serve(ctx context.Context, server *http.Server, listener net.Listener, logger *slog.Logger) error {
	logger.Info("serving", "address", listener.Addr())
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	select {
	case err := <-served:
		return err // the server did not start, or failed
	case <-ctx.Done():
	}
	logger.Info("shutting down")
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		server.Close()
		return fmt.Errorf("shutting down: %w", err)
	}
	return nil
}

// baseURL returns the URL at which a client on this machine reaches the server. If the
// server listens on all addresses, the URL has the loopback address.
func baseURL(addr net.Addr) string {
	host, port, _ := net.SplitHostPort(addr.String()) // a TCP address has both
	if net.ParseIP(host).IsUnspecified() {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, port)
}

// instructions holds the values for the shell commands that are printed at the start. The
// commands can be pasted one by one or all at once.
type instructions struct {
	url      string
	ownerKey string // "" if it was given with -owner-key
	jwks     bool   // whether the public keys are served
	schedule string // shell comments about the rotation, "" without one
}

// String returns the commands. They never contain an owner key that was given with
// -owner-key, since it would end up in logs and in the terminal's scrollback.
func (i instructions) String() string {
	ownerKey := "# Put the -owner-key of this run into OWNER_KEY first"
	if i.ownerKey != "" {
		ownerKey = "# The owner key, made for this run\nOWNER_KEY=" + i.ownerKey
	}
	lines := curlLines
	if i.jwks {
		lines += jwksLines
	}
	return strings.NewReplacer("{url}", i.url, "{owner key}", ownerKey, "{schedule}", i.schedule).Replace(lines)
}

// Each step begins with a comment that ends in the expected status.
const curlLines = `# Open {url}/ for a page with these calls. Ctrl-C ends the program
{schedule}# Paste the lines below into a second terminal

{owner key}

# Create a token for the container demo, as its owner: 200
curl -sS -i -X POST -u "demo:$OWNER_KEY" "{url}/create-token/demo"

# Keep another such token for the next calls, and one for the container other
TOKEN=$(curl -sS -X POST -u "demo:$OWNER_KEY" "{url}/create-token/demo" | sed -E 's/.*"token":"([^"]+)".*/\1/')
OTHER=$(curl -sS -X POST -u "other:$OWNER_KEY" "{url}/create-token/other" | sed -E 's/.*"token":"([^"]+)".*/\1/')

# Call a private recipe, with the token in the header: 200
curl -sS -i -H "Authorization: Bearer $TOKEN" -H "Content-Type: application/json" -d '{"hi":"me"}' "{url}/run/demo/notify"

# Call it with the token in the query: 200
curl -sS -i "{url}/run/demo/notify?token=$TOKEN"

# Call it without a token: 403
curl -sS -i "{url}/run/demo/notify"

# Call it with a token of another container: 403
curl -sS -i -H "Authorization: Bearer $OTHER" "{url}/run/demo/notify"

# Call a public recipe, without a token: 200
curl -sS -i "{url}/run/demo/hello"

# Revoke the token, as the owner of its container. It stays revoked after a restart: 200
curl -sS -i -u "demo:$OWNER_KEY" -d "token=$TOKEN" "{url}/revoke"

# Call the private recipe with the revoked token: 403
curl -sS -i -H "Authorization: Bearer $TOKEN" "{url}/run/demo/notify"

# Revoke all tokens of the container, including a new one: 204
TOKEN=$(curl -sS -X POST -u "demo:$OWNER_KEY" "{url}/create-token/demo" | sed -E 's/.*"token":"([^"]+)".*/\1/')
curl -sS -i -X POST -u "demo:$OWNER_KEY" "{url}/revoke-all/demo"

# Call the private recipe with the new token: 403
curl -sS -i -H "Authorization: Bearer $TOKEN" "{url}/run/demo/notify"

# Call it with a token that was created after the revocation: 200
TOKEN=$(curl -sS -X POST -u "demo:$OWNER_KEY" "{url}/create-token/demo" | sed -E 's/.*"token":"([^"]+)".*/\1/')
curl -sS -i -H "Authorization: Bearer $TOKEN" "{url}/run/demo/notify"

`

const jwksLines = `# Fetch the public keys, as a service that only verifies tokens does: 200
curl -sS -i "{url}/.well-known/jwks.json"

`
