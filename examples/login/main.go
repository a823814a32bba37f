// Command login is a small service with logins. Access tokens live for minutes, and
// refresh tokens replace each other:
//
//	go run ./examples/login
//
// It serves a page at / that logs in, calls and refreshes with axios, and prints curl
// commands for every kind of call, including the theft of a refresh token. Its keys are
// in a file. Its sessions are in a SQLite file beside it, or in the database of -store,
// which several processes may share. To watch tokens expire, and refresh tokens rotate
// after 20 seconds:
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

// run serves until ctx ends. It returns nil once all requests have been answered.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("login", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // main prints the error
	addr := flags.String("addr", "127.0.0.1:8080", "`address` to serve on")
	data := flags.String("data", ".login", "`folder` that keeps the keys, in keys.jwks, and the sessions")
	where := flags.String("store", "", stores.Usage)
	accessTTL := flags.Duration("access-ttl", session.DefaultAccessTTL, "how long access tokens live, in whole seconds")
	grace := flags.Duration("grace", session.DefaultGrace, "how long a replaced refresh token still returns its successor; 10s are added for clocks that differ")
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
	// A list that was never read denies every request, so read it before serving.
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

	// The goroutines end with the server, and before run returns.
	ctx, stop := context.WithCancel(ctx)
	var beside sync.WaitGroup
	defer beside.Wait()
	defer stop()
	beside.Go(func() { ring.Run(ctx) }) // the error is that of ctx
	beside.Go(func() { list.Run(ctx) })
	beside.Go(func() { sessions.Run(ctx) })
	return serve(ctx, newServer(newHandler(sessions, users), logger), listener, logger)
}

// openRing opens the file of keys, or creates it at the first start. Only this account
// can enter the folder, and LoadOrCreateRing rejects a file that other accounts can read.
func openRing(file string) (*keys.Ring, error) {
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return nil, err
	}
	return keys.LoadOrCreateRing(file, "EdDSA")
}

// newServer returns a server that limits what one client can occupy. By default net/http
// has no timeouts.
func newServer(handler http.Handler, logger *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		WriteTimeout:      15 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10, // a token may have 8 KiB
		ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelWarn),
	}
}

// shutdownTimeout is how long current requests may take at a shutdown: longer than the
// timeouts above allow any request.
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

// baseURL returns the address at which this machine reaches the server. If the server
// listens on all addresses, that is the loopback one.
func baseURL(addr net.Addr) string {
	host, port, _ := net.SplitHostPort(addr.String()) // a TCP address has both
	if net.ParseIP(host).IsUnspecified() {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, port)
}

// instructions are shell commands, printed at the start. They can be pasted one by one or
// all at once.
type instructions struct {
	url        string
	store      string
	alice, bob string // the passwords
	grace      time.Duration
}

func (i instructions) String() string {
	lines := strings.NewReplacer("{log in}", logIn, "{refresh}", refresh).Replace(curlLines)
	return strings.NewReplacer("{url}", i.url, "{store}", i.store, "{alice}", i.alice, "{bob}", i.bob, "{grace}", i.grace.String(), "{rest}", strconv.Itoa(int(rest(i.grace)/time.Second))).Replace(lines)
}

// rest returns how long a refresh token is given out again before it rotates.
func rest(grace time.Duration) time.Duration { return grace + 20*time.Second }

// logIn and refresh print the response, and keep its tokens in shell variables.
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
# To log in on a page, with the passwords below: {url}/
# Paste the lines below into a second terminal

# The passwords of alice@example.com and bob@example.com, made for this run
ALICE={alice}
BOB={bob}

# Log in as alice: 200
{log in}

# A call with the access token: 200
curl -sS -i -H "Authorization: Bearer $ACCESS" "{url}/api/me"

# Without a token: 401
curl -sS -i "{url}/api/me"

# With a wrong password: 401
curl -sS -i -H "Content-Type: application/json" -d '{"email":"bob@example.com","password":"'"$ALICE"'"}' "{url}/auth/jwt/create/"

# Refresh. For {rest} seconds the response has a new access token and the same refresh token: 200
FIRST=$REFRESH
{refresh}

# After that the response has a new refresh token, too: 200
sleep {rest}
{refresh}

# The replaced token again, as a second tab would send it. It returns the same successor: 200
curl -sS -i -H "Content-Type: application/json" -d '{"refresh_token":"'"$FIRST"'"}' "{url}/auth/jwt/refresh/"

# Refresh with the successor, which makes the first token useless: 200
sleep {rest}
{refresh}

# Theft: the first token is used again, and the session ends: 401
curl -sS -i -H "Content-Type: application/json" -d '{"refresh_token":"'"$FIRST"'"}' "{url}/auth/jwt/refresh/"

# The newest access token no longer works: 401
curl -sS -i -H "Authorization: Bearer $ACCESS" "{url}/api/me"

# Nor does the newest refresh token: 401
curl -sS -i -H "Content-Type: application/json" -d '{"refresh_token":"'"$REFRESH"'"}' "{url}/auth/jwt/refresh/"

# Log in again: 200
{log in}

# The sessions of alice, with this one marked: 200
curl -sS -i -H "Authorization: Bearer $ACCESS" "{url}/auth/jwt/sessions/"

# Log out: 204
curl -sS -i -X POST -H "Authorization: Bearer $ACCESS" "{url}/auth/jwt/logout/"

# A call afterwards: 401
curl -sS -i -H "Authorization: Bearer $ACCESS" "{url}/api/me"

# A refresh afterwards: 401
curl -sS -i -H "Content-Type: application/json" -d '{"refresh_token":"'"$REFRESH"'"}' "{url}/auth/jwt/refresh/"

`
