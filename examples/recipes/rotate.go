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

// rotation rotates the signing key in a key file again and again, one step at a time. Only
// one program may rotate the keys of a file. Two programs that save it at the same time
// would undo each other's steps.
//
// A step changes only the file. Ring.Run then updates the keys in this server, and in
// every other server that shares the file. So a step that fails has changed neither the
// file nor the keys in memory, and can be tried again.
type rotation struct {
	file   string
	every  time.Duration
	stdout io.Writer
	logger *slog.Logger
	// halfDone is set if the file held more than one key at the start. Then a program has
	// ended between two steps, and the file does not show which. So the first step retires
	// every key that does not sign. Tokens of these keys are accepted until then.
	halfDone bool
}

// step is one step of the rotation. It changes the ring, and returns a description of the
// change, and the next step.
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

// take takes a step, saves the file and then prints what the step did. It returns the next
// step.
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

// publish is the first step. It adds a new key, which does not sign yet. If saving fails
// and the step is tried again, it adds another new key. Should the first one have reached
// the file anyway, retire later removes it with the others.
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

// sign returns the second step, in which next becomes the key that signs. publish has
// added this key.
func sign(next keys.Key) step {
	return func(ring *keys.Ring) (string, step, error) {
		if !slices.Contains(ring.IDs(), next.ID()) {
			// Do not add the key again. The other program may have removed it on purpose,
			// and verifiers may not have fetched it.
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

// quoted returns a list of key IDs. It quotes them, since an ID in a file may be any
// string, even one with a line break.
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

// schedule returns shell comments that tell when each step is due, for a rotation that
// starts now.
func (r rotation) schedule(now time.Time) string {
	const retired = "every key that does not sign is retired: its tokens are rejected"
	steps := []string{"the next key is published, but does not sign yet", "the next key signs, and the previous one still verifies", retired}
	if r.halfDone {
		steps = append([]string{retired}, steps...)
	}
	var text strings.Builder
	fmt.Fprintf(&text, "# The signing key rotates, one step every %v. The server follows each step within a second:\n", r.every)
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
