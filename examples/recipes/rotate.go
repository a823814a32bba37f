package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/joinednode/jwtauth/keys"
)

// rotation rotates the signing key in a ring's file again and again, one step at a time.
// Only one program may do so with a file: two that save at the same time would undo each
// other's step.
//
// A step changes only the file. Every server that shares the file, this one included,
// learns of the change from Ring.Run. So memory and file cannot differ: a step that fails
// has changed neither, and is tried again.
type rotation struct {
	file   string
	every  time.Duration
	stdout io.Writer
	logger *slog.Logger
	// halfDone is set if the file held more than one key at the start: a program ended
	// between two steps, and it left no trace of which. The first step then retires every
	// key that does not sign. Tokens of those keys were issued before this program
	// started, and are valid until that step.
	halfDone bool
}

// step changes a ring. It returns what it did, and the next step.
type step func(*keys.Ring) (did string, then step, err error)

// run takes a step at each interval, until ctx ends.
func (r rotation) run(ctx context.Context) {
	ticker := time.NewTicker(r.every)
	defer ticker.Stop()
	due := step(publish)
	if r.halfDone {
		due = retire
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		then, err := r.take(due)
		if err != nil {
			r.logger.ErrorContext(ctx, "a step of the rotation failed, and will be tried again", "in", r.every, "error", err)
			continue
		}
		due = then
	}
}

// take takes a step, and prints what it did once the file has been saved.
func (r rotation) take(due step) (then step, err error) {
	ring, err := keys.OpenRing(r.file)
	if err != nil {
		return nil, err
	}
	did, then, err := due(ring)
	if err != nil {
		return nil, err
	}
	if err := ring.Save(r.file); err != nil {
		return nil, err
	}
	fmt.Fprintf(r.stdout, "# %s  %s\n", time.Now().Format(time.DateTime), did)
	return then, nil
}

// publish is the first step. If it is tried again, it makes another key. If the first one
// has reached the file, it is later retired with the others.
func publish(ring *keys.Ring) (string, step, error) {
	alg, err := signingAlgorithm(ring)
	if err != nil {
		return "", nil, err
	}
	next, err := keys.Generate(alg)
	if err != nil {
		return "", nil, err
	}
	if err := ring.Add(next); err != nil {
		return "", nil, err
	}
	return fmt.Sprintf("published: %q verifies; %q still signs", next.ID(), ring.IDs()[0]), sign(next), nil
}

// sign is the second step. next is the key that publish has added.
func sign(next keys.Key) step {
	return func(ring *keys.Ring) (string, step, error) {
		if !slices.Contains(ring.IDs(), next.ID()) {
			// The other program may have had a reason, and verifiers may not know the key.
			return fmt.Sprintf("starting over: another program removed %q from the file", next.ID()), publish, nil
		}
		if err := ring.Rotate(next); err != nil {
			return "", nil, err
		}
		return fmt.Sprintf("rotated: %q signs; still verifying: %s", next.ID(), quoted(ring.IDs()[1:])), retire, nil
	}
}

// retire is the third step. It removes every key except the one that signs.
func retire(ring *keys.Ring) (string, step, error) {
	ids := ring.IDs()
	for _, kid := range ids[1:] {
		if err := ring.Retire(kid); err != nil {
			return "", nil, err
		}
	}
	return fmt.Sprintf("retired: %s; %q signs", quoted(ids[1:]), ids[0]), publish, nil
}

// quoted returns a list of key IDs. An ID in a file may be any string.
func quoted(ids []string) string {
	if len(ids) == 0 {
		return "none"
	}
	return strings.Trim(fmt.Sprintf("%q", ids), "[]")
}

// signingAlgorithm returns the algorithm of the key that signs.
func signingAlgorithm(ring *keys.Ring) (string, error) {
	set, err := ring.Keys(context.Background(), "")
	if err != nil {
		return "", err
	}
	alg, _, err := set.SigningKey()
	return alg, err
}

// schedule returns, as shell comments, when a rotation that starts now takes its steps.
func (r rotation) schedule(now time.Time) string {
	const retired = "every key that does not sign is retired: its tokens are rejected"
	steps := []string{"the next key is published, but does not sign yet", "the next key signs, and the previous one still verifies", retired}
	if r.halfDone {
		steps = append([]string{retired}, steps...)
	}
	var text strings.Builder
	fmt.Fprintf(&text, "# The signing key rotates, one step every %v. The server uses it within a second:\n", r.every)
	for _, what := range steps {
		now = now.Add(r.every)
		fmt.Fprintf(&text, "#   %s  %s\n", now.Format(time.DateTime), what)
	}
	text.WriteString(pace)
	return text.String()
}

const pace = `# and so on. This pace is only for watching. In production, publish a key at least
# five minutes before it signs, since verifiers may cache the JWKS for that long. Retire
# the key at least ten days after it last signed, since its tokens live for that long
`
