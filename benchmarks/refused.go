package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"time"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/keys"
	"github.com/joinednode/jwtauth/revoke"
)

const (
	// followers is the number of processes besides the one that revokes.
	followers = 3
	// asFollower is the variable with which this program starts itself as a follower.
	asFollower = "JWTAUTH_BENCHMARKS_FOLLOWER"
	// patience is how long to wait for a follower that still accepts a revoked token.
	patience = 30 * time.Second
	// glance is how often a follower checks the token.
	glance = time.Millisecond

	followed, accepted, refusedNow = "followed", "accepted", "rejected"
)

// refused holds how long it took from each call of RevokeToken until the last follower
// rejected the token, and how long the calls themselves took.
type refused struct{ took, appended []time.Duration }

// errand is the first line that a follower reads.
type errand struct {
	Name, At, Prefix string
	Secret           []byte
}

// guarded returns the list and the Auth of one process, with the defaults and the shared
// log.
func guarded(secret []byte, log revoke.Store) (*revoke.List, *jwtauth.Auth) {
	list := must(revoke.New(log))
	return list, must(jwtauth.New(keys.HS256(secret), jwtauth.WithIssuer(issuer), jwtauth.WithRevocations(list)))
}

// follow is a follower's main function. It follows the log, and prints when it accepts
// and when it rejects each token that it is given.
func follow(in io.Reader, out io.Writer) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	lines := bufio.NewScanner(in)
	lines.Scan()
	var e errand
	if err := errors.Join(lines.Err(), json.Unmarshal(lines.Bytes(), &e)); err != nil {
		return err
	}
	at := slices.IndexFunc(places(""), func(p place) bool { return p.name == e.Name })
	if at < 0 {
		return fmt.Errorf("there is no %s", e.Name)
	}
	p := places("")[at]
	p.at, p.prefix = e.At, e.Prefix
	log, err := p.log()
	if err != nil {
		return err
	}
	list, auth := guarded(e.Secret, log)
	if err := list.Sync(ctx); err != nil {
		return err
	}
	go list.Run(ctx)
	fmt.Fprintln(out, followed)
	for lines.Scan() {
		token := lines.Text()
		if _, err := auth.Verify(ctx, token, container); err != nil {
			return err
		}
		fmt.Fprintln(out, accepted)
		for end := time.Now().Add(patience); ; time.Sleep(glance) {
			_, err := auth.Verify(ctx, token, container)
			if errors.Is(err, jwtauth.ErrRevoked) {
				break
			}
			if err != nil {
				return err
			}
			if time.Now().After(end) {
				return fmt.Errorf("a revoked token is still accepted after %v", patience)
			}
		}
		fmt.Fprintln(out, refusedNow)
	}
	return lines.Err()
}

// said is a line of a follower, and when it came.
type said struct {
	text string
	at   time.Time
}

type follower struct {
	process *exec.Cmd
	in      io.WriteCloser
	says    chan said
}

func startFollower(ctx context.Context, e errand, stderr io.Writer) (*follower, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	f := &follower{process: exec.CommandContext(ctx, self), says: make(chan said, 4)}
	f.process.Env = append(os.Environ(), asFollower+"=1")
	f.process.Stderr = stderr
	out, err1 := f.process.StdoutPipe()
	in, err2 := f.process.StdinPipe()
	if err := errors.Join(err1, err2, f.process.Start()); err != nil {
		return nil, err
	}
	f.in = in
	go func() {
		defer close(f.says)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			f.says <- said{lines.Text(), time.Now()}
		}
	}()
	_, err = fmt.Fprintf(f.in, "%s\n", must(json.Marshal(e)))
	return f, err
}

// hear waits for the next line of the follower, which must be want.
func (f *follower) hear(want string) (time.Time, error) {
	select {
	case got := <-f.says:
		if got.text != want {
			return got.at, fmt.Errorf("a follower says %q, not %q", got.text, want)
		}
		return got.at, nil
	case <-time.After(patience):
		return time.Time{}, fmt.Errorf("a follower does not say %q within %v", want, patience)
	}
}

// stop lets the process end, and kills it if it does not.
func (f *follower) stop() {
	f.in.Close()
	end := time.AfterFunc(time.Second, func() { _ = f.process.Process.Kill() })
	defer end.Stop()
	for range f.says {
	}
	_ = f.process.Wait()
}

// revokeEverywhere revokes n tokens, one after the other, while three other processes
// check them.
func revokeEverywhere(ctx context.Context, p place, o *opened, n int, stderr io.Writer) (r refused, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	list, auth := guarded(secret, o.revocations)
	if err := list.Sync(ctx); err != nil {
		return r, err
	}
	go list.Run(ctx)
	all := make([]*follower, 0, followers)
	defer func() {
		for _, f := range all {
			f.stop()
		}
	}()
	for range followers {
		f, err := startFollower(ctx, errand{p.name, p.at, p.prefix, secret}, stderr)
		if f != nil {
			all = append(all, f)
		}
		if err != nil {
			return r, err
		}
	}
	if err := everyone(all, followed, nil); err != nil {
		return r, err
	}
	for range n {
		token := must(auth.Issue(container))
		claims, err := auth.Verify(ctx, token, container)
		if err != nil {
			return r, err
		}
		for _, f := range all {
			if _, err := fmt.Fprintln(f.in, token); err != nil {
				return r, err
			}
		}
		if err := everyone(all, accepted, nil); err != nil {
			return r, err
		}
		// A random wait, so that revocations do not always follow a reading.
		time.Sleep(rand.N(revoke.DefaultInterval))
		start := time.Now()
		if err := list.RevokeToken(ctx, claims.Issuer, claims.ID, claims.ExpiresAt); err != nil {
			return r, err
		}
		appended := time.Since(start)
		if _, err := auth.Verify(ctx, token, container); !errors.Is(err, jwtauth.ErrRevoked) {
			return r, fmt.Errorf("the process that revoked a token does not reject it: %v", err)
		}
		var last time.Time
		if err := everyone(all, refusedNow, &last); err != nil {
			return r, err
		}
		r.took, r.appended = append(r.took, last.Sub(start)), append(r.appended, appended)
	}
	return r, nil
}

// everyone waits until all followers have printed want. If last is not nil, everyone sets
// it to the time of the last line.
func everyone(all []*follower, want string, last *time.Time) error {
	for _, f := range all {
		at, err := f.hear(want)
		if err != nil {
			return err
		}
		if last != nil && at.After(*last) {
			*last = at
		}
	}
	return nil
}

// log opens the log of a place that another process has created.
func (p place) log() (revoke.Store, error) {
	if p.driver == "" {
		return redisLog(p)
	}
	return sqlLog(p)
}

func (r refused) median() time.Duration {
	return time.Duration(median(r.took, func(d time.Duration) float64 { return float64(d) }))
}

func (v stores) printRefused(w io.Writer) {
	if len(v) == 0 {
		return
	}
	fmt.Fprintf(w, "\n## Revoked here, rejected by %d other processes\n\n", followers)
	fmt.Fprintf(w, "From the call of RevokeToken in one process until the last of %d others, which follow the log by Run, rejects the token; "+
		"all of them with the defaults of revoke.New. They check the token every %v. The time includes the pipe by which they report.\n\n", followers, glance)
	printRow(w, []string{"log", "revocations", "median", "worst", "the call itself, median", "worst"})
	printRow(w, []string{"---", "---:", "---:", "---:", "---:", "---:"})
	ms := func(d time.Duration) string { return fmt.Sprintf("%.1f ms", d.Seconds()*1000) }
	for _, c := range v {
		call := refused{took: c.appended}
		printRow(w, []string{
			c.name, fmt.Sprint(len(c.took)), ms(c.refused.median()), ms(slices.Max(c.took)), ms(call.median()), ms(slices.Max(c.appended)),
		})
	}
}

func (r refused) target(name string) target {
	return atMost(fmt.Sprintf("%s: revoked here, rejected by %d other processes, the worst of %d", name, followers, len(r.took)),
		1, slices.Max(r.took).Seconds()).in("s").beside("median: %s s", times(r.median().Seconds()))
}
