// Command fleet shows keys that rotate under load. There are an issuer and two verifiers,
// each in its own process, and many clients.
//
//	go run ./examples/fleet
//
// The verifiers know only the issuer's JWK Set. While clients call both, the issuer's key
// is rotated, and the old one is retired. During the next rotation one verifier is cut
// off from the issuer, and then recovers. The program prints what happens. At the end it
// prints how many requests were wrongly denied, and how many wrong tokens were accepted.
// If there are any, it fails.
package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// role is the environment variable that makes a process of this program an issuer or a
// verifier.
const role = "FLEET_ROLE"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	switch os.Getenv(role) {
	case "issuer":
		err = issue(ctx)
	case "verifier":
		err = verify(ctx)
	default:
		err = run(ctx, os.Args[1:], os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "fleet:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout io.Writer) error {
	flags := flag.NewFlagSet("fleet", flag.ContinueOnError)
	step := flags.Duration("step", 3*time.Second, "how long the clients call after each step")
	crowd := flags.Int("clients", 8, "`number` of clients that call each verifier")
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return nil
	} else if err != nil {
		return err
	}
	if *step <= 0 || *crowd < 1 || flags.NArg() > 0 {
		return errors.New("-step and -clients must be above zero, and arguments are not allowed")
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	begun := time.Now()
	say := func(format string, args ...any) {
		fmt.Fprintf(stdout, "%5.1fs  %s\n", time.Since(begun).Seconds(), fmt.Sprintf(format, args...))
	}

	ownerKey := rand.Text()
	issuer, err := start(ctx, role+"=issuer", "FLEET_OWNER_KEY="+ownerKey)
	if err != nil {
		return err
	}
	link, err := newLink(issuer)
	if err != nil {
		return err
	}
	defer link.Close()
	f := &fleet{issuer: issuer, ownerKey: ownerKey, verifiers: []*verifier{{name: "verifier 1"}, {name: "verifier 2"}}}
	for i, jwks := range []string{issuer, link.URL} {
		if f.verifiers[i].url, err = start(ctx, role+"=verifier", "FLEET_ISSUER="+issuerName, "FLEET_JWKS="+jwks+jwksPath); err != nil {
			return err
		}
	}
	say("the issuer is %s, verifier 1 %s, and verifier 2 %s", issuer, f.verifiers[0].url, f.verifiers[1].url)
	finish := f.load(ctx, *crowd)
	defer finish()
	cut := false
	steps := []struct {
		says   string
		cutOff bool // verifier 2 cannot fetch the key that signs
		do     func() error
	}{
		{fmt.Sprintf("%d clients call each verifier", *crowd), false, func() error { return nil }},
		{"the issuer has a new key, which does not sign yet", false, func() error { return f.tell(ctx, "add") }},
		{"the new key signs; a verifier that does not know it fetches the JWK Set", false, func() error { return f.tell(ctx, "rotate") }},
		{"the old key is retired, since its tokens have expired", false, func() error {
			if err := sleep(ctx, tokenTTL+time.Second); err != nil {
				return err
			}
			return f.tell(ctx, "retire")
		}},
		{"verifier 2 is cut off from the issuer, and goes on with the keys that it has", false, func() error { link.cut(); return nil }},
		{"the issuer rotates its key: verifier 2 cannot fetch the new one, and answers 503", true, func() error {
			return errors.Join(f.tell(ctx, "add"), f.tell(ctx, "rotate"), f.verifiers[1].meets503(ctx))
		}},
		{"verifier 2 reaches the issuer again", false, func() error { link.mend(); return f.recovers(ctx, f.verifiers[1]) }},
	}
	for _, s := range steps {
		if err := s.do(); err != nil {
			return err
		}
		say("%s", s.says)
		before := [2]int64{f.verifiers[0].accepted.Load(), f.verifiers[1].accepted.Load()}
		if err := sleep(ctx, *step); err != nil {
			return err
		}
		says, err := f.count()
		say("  %s", says)
		for n, v := range f.verifiers {
			if err == nil && !(s.cutOff && n == 1) {
				err = v.accepts(ctx, before[n])
			}
			if err == nil && v.unsure.Load() > 0 && (n == 0 || !cut) && !s.cutOff {
				err = fmt.Errorf("%s answered 503 although it could reach the issuer", v.name)
			}
		}
		if cut = cut || s.cutOff; err != nil {
			return err
		}
	}
	finish()
	says, err := f.count()
	say("in total: %s", says)
	fmt.Fprintf(stdout, "wrongly denied: %d\nwrong tokens accepted: %d\n",
		f.sum(func(v *verifier) *atomic.Int64 { return &v.refused }), f.sum(func(v *verifier) *atomic.Int64 { return &v.letIn }))
	return err
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// start starts another process of this program, and returns the address that the process
// prints. The process ends when ctx ends. It also ends when this program ends, since that
// closes its standard input.
func start(ctx context.Context, env ...string) (string, error) {
	exe, err := os.Executable()
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, exe)
	cmd.Env, cmd.Stderr = append(os.Environ(), env...), os.Stderr
	out, err1 := cmd.StdoutPipe()
	_, err2 := cmd.StdinPipe()
	if err := errors.Join(err1, err2); err != nil {
		return "", err
	}
	if err := cmd.Start(); err != nil {
		return "", err
	}
	address, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return "", fmt.Errorf("%s did not start: %w", env[0], errors.Join(err, cmd.Wait()))
	}
	go func() { _ = cmd.Wait() }()
	return strings.TrimSpace(address), nil
}
