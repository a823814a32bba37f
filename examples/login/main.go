// Command login is a small service with logins. Its access tokens live for minutes, and
// its refresh tokens rotate:
//
//	go run ./examples/login
//
// The page at / logs in, calls the service and refreshes tokens with axios. At the start
// the program prints curl commands for every kind of call, including the theft of a
// refresh token. The signing keys are in a file. The sessions are in a SQLite file beside
// it, or in the database of -store, which several processes may share. To watch access
// tokens expire, and refresh tokens rotate, after 20 seconds:
//
//	go run ./examples/login -access-ttl 20s -grace 0s
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
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/joinednode/jwtauth/examples/internal/stores"
	"github.com/joinednode/jwtauth/keys"
	"github.com/joinednode/jwtauth/revoke"
	"github.com/joinednode/jwtauth/session"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// After the first signal, a second one kills the program, in case the
	// shutdown hangs.
	context.AfterFunc(ctx, stop)
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "login:", err)
		os.Exit(1)
	}
}

// run serves until ctx ends, then waits for the current requests and returns nil.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("login", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // main prints the error
	addr := flags.String("addr", "127.0.0.1:8080", "`address` to serve on")
	data := flags.String("data", ".login", "`folder` that keeps the keys, in keys.jwks, and the sessions")
	where := flags.String("store", "", stores.Usage)
	accessTTL := flags.Duration("access-ttl", session.DefaultAccessTTL, "how long access tokens live, in whole seconds")
	grace := flags.Duration("grace", session.DefaultGrace, "how long a client may repeat a refresh with a replaced token, and get the same new token; 10s are added to allow for clock skew")
	verbose := flags.Bool("v", false, "log every rejected access token, with the reason")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprintln(stdout, "Usage of login:")
		flags.SetOutput(stdout)
		flags.PrintDefaults()
		return nil
	case err != nil:
		return fmt.Errorf("%w (see -help)", err)
	case flags.NArg() > 0:
		return fmt.Errorf("unexpected argument %q (see -help)", flags.Arg(0))
	case *accessTTL < time.Second || *accessTTL%time.Second != 0:
		return fmt.Errorf("-access-ttl is %v; use whole seconds, at least one (see -help)", *accessTTL)
	case *grace < 0 || *grace > 10*time.Minute:
		return fmt.Errorf("-grace is %v; use 0 to 10m (see -help)", *grace)
	}

	level := slog.LevelInfo
	if *verbose {
		level = slog.LevelDebug
	}
	logger := slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: level}))
	slog.SetDefault(logger) // Ring.Run logs to it

	ring, err := openRing(filepath.Join(*data, "keys.jwks"))
	if err != nil {
		return err
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
	sessions, err := newSessions(ring, store.Sessions, list, *accessTTL, *grace, logger)
	if err != nil {
		return err
	}
	banner := instructions{store: store.Name, alice: rand.Text(), bob: rand.Text(), grace: *grace}
	users, err := newUsers(banner.alice, banner.bob, logger)
	if err != nil {
		return err
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", *addr)
	if err != nil {
		return err
	}
	banner.url = baseURL(listener.Addr())
	fmt.Fprint(stdout, banner)

	// When serve returns, stop ends the goroutines, and Wait waits for them.
	ctx, stop := context.WithCancel(ctx)
	var beside sync.WaitGroup
	defer beside.Wait()
	defer stop()
	beside.Go(func() { ring.Run(ctx) }) // returns only the error of ctx
	beside.Go(func() { list.Run(ctx) })
	beside.Go(func() { sessions.Run(ctx) })
	return serve(ctx, newServer(newHandler(sessions, users), logger), listener, logger)
}

// openRing opens the key file, or creates it and its folder at the first start. It gives
// only this account access to them. LoadOrCreateRing rejects an existing file that other
// accounts can read.
func openRing(file string) (*keys.Ring, error) {
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return nil, err
	}
	return keys.LoadOrCreateRing(file, "EdDSA")
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
	url        string
	store      string
	alice, bob string // their passwords
	grace      time.Duration
}

func (i instructions) String() string {
	lines := strings.NewReplacer("{log in}", logIn, "{refresh}", refresh).Replace(curlLines)
	return strings.NewReplacer("{url}", i.url, "{store}", i.store, "{alice}", i.alice, "{bob}", i.bob, "{grace}", i.grace.String(), "{rest}", strconv.Itoa(int(rest(i.grace)/time.Second))).Replace(lines)
}

// rest returns the time after which a refresh replaces the refresh token. Until then the
// client gets the same one again.
func rest(grace time.Duration) time.Duration { return grace + 20*time.Second }

// logIn and refresh are shell commands. They print the response and keep its tokens in the
// variables ACCESS and REFRESH.
const (
	keep = `; printf '%s\n' "$PAIR"
ACCESS=$(printf '%s\n' "$PAIR" | sed -n -E 's/.*"access_token":"([^"]+)".*/\1/p')
REFRESH=$(printf '%s\n' "$PAIR" | sed -n -E 's/.*"refresh_token":"([^"]+)".*/\1/p')`
	logIn = `PAIR=$(curl -sS -i -H "Content-Type: application/json" \
  -d '{"email":"alice@example.com","password":"'"$ALICE"'"}' "{url}/auth/jwt/create/")` + keep
	refresh = `PAIR=$(curl -sS -i -H "Content-Type: application/json" -d '{"refresh_token":"'"$REFRESH"'"}' "{url}/auth/jwt/refresh/")` + keep
)

// Each step begins with a comment that ends in the expected status.
const curlLines = `# Serving on {url} until Ctrl-C
# Sessions are in {store}, and survive a restart
# Log in on the page, with the passwords below: {url}/
# Paste the lines below into a second terminal

# The passwords of alice@example.com and bob@example.com, made for this run
ALICE={alice}
BOB={bob}

# Log in as alice: 200
{log in}

# Call with the access token: 200
curl -sS -i -H "Authorization: Bearer $ACCESS" "{url}/api/me"

# Call without a token: 401
curl -sS -i "{url}/api/me"

# Log in with a wrong password: 401
curl -sS -i -H "Content-Type: application/json" -d '{"email":"bob@example.com","password":"'"$ALICE"'"}' "{url}/auth/jwt/create/"

# Refresh. For {rest} seconds the response has a new access token and the same refresh token: 200
FIRST=$REFRESH
{refresh}

# Refresh after that. Now the response has a new refresh token, too: 200
sleep {rest}
{refresh}

# Refresh with the replaced token, as a second tab would. The response has the same new refresh token: 200
curl -sS -i -H "Content-Type: application/json" -d '{"refresh_token":"'"$FIRST"'"}' "{url}/auth/jwt/refresh/"

# Refresh with the new refresh token. From now on, the server treats the first one as stolen: 200
sleep {rest}
{refresh}

# Refresh with the first token, as a thief would. The session ends: 401
curl -sS -i -H "Content-Type: application/json" -d '{"refresh_token":"'"$FIRST"'"}' "{url}/auth/jwt/refresh/"

# Call with the newest access token, which no longer works: 401
curl -sS -i -H "Authorization: Bearer $ACCESS" "{url}/api/me"

# Refresh with the newest refresh token, which no longer works either: 401
curl -sS -i -H "Content-Type: application/json" -d '{"refresh_token":"'"$REFRESH"'"}' "{url}/auth/jwt/refresh/"

# Log in again: 200
{log in}

# List the sessions of alice. The one of this token is marked as current: 200
curl -sS -i -H "Authorization: Bearer $ACCESS" "{url}/auth/jwt/sessions/"

# Log out: 204
curl -sS -i -X POST -H "Authorization: Bearer $ACCESS" "{url}/auth/jwt/logout/"

# Call after the logout: 401
curl -sS -i -H "Authorization: Bearer $ACCESS" "{url}/api/me"

# Refresh after the logout: 401
curl -sS -i -H "Content-Type: application/json" -d '{"refresh_token":"'"$REFRESH"'"}' "{url}/auth/jwt/refresh/"

`
