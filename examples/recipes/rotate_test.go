package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/keys"
)

// rotating is the whole service in a synctest bubble, where time is simulated. It takes a
// step of the rotation every minute.
type rotating struct {
	t         *testing.T
	file      string
	handler   http.Handler
	out, logs lockedBuffer
	began     time.Time
	steps     int // the number of steps that the test has waited for
}

// rotate calls test with a service whose keys are in file. It creates the file if there is
// none. edit may change the rotation before it starts.
func rotate(t *testing.T, file, alg string, test func(*testing.T, *rotating), edit ...func(*rotation)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &rotating{t: t, file: file, began: time.Now()}
		ring, handler := newService(t, file, alg, demoCatalogue())
		s.handler = handler
		r := rotation{
			file: file, every: time.Minute, stdout: &s.out, halfDone: len(ring.IDs()) > 1,
			logger: slog.New(slog.NewTextHandler(&s.logs, nil)),
		}
		for _, e := range edit {
			e(&r)
		}
		ctx, stop := context.WithCancel(t.Context())
		var beside sync.WaitGroup
		defer beside.Wait()
		defer stop()
		beside.Go(func() { ring.Run(ctx) })
		beside.Go(func() { r.run(ctx) })
		test(t, s)
	})
}

func ringFile(t *testing.T) string {
	t.Helper()
	return filepath.Join(t.TempDir(), "keys.jwks")
}

// step lets time pass until the next step is due and the ring has read the file again. It
// returns what was printed meanwhile.
func (s *rotating) step() string {
	s.t.Helper()
	before := len(s.out.String())
	s.steps++
	time.Sleep(time.Until(s.began.Add(time.Duration(s.steps)*time.Minute + 2*time.Second)))
	synctest.Wait()
	return s.out.String()[before:]
}

func (s *rotating) send(method, path string, fields ...string) response {
	s.t.Helper()
	return handle(s.t, s.handler, request(s.t, method, path, "", fields...))
}

func (s *rotating) mint() string {
	s.t.Helper()
	return handle(s.t, s.handler, mintRequest(s.t, "", "demo", ownerKey)).token(s.t, "demo")
}

// accepts reports whether the service runs a private recipe for a token.
func (s *rotating) accepts(token string) bool {
	s.t.Helper()
	got := s.send("GET", "/run/demo/notify", "Authorization", "Bearer "+token)
	require.Contains(s.t, []int{200, 403}, got.status)
	return got.status == 200
}

// published returns the key IDs in the served JWK Set, or nil if none is served.
func (s *rotating) published() (kids []string) {
	s.t.Helper()
	got := s.send("GET", "/.well-known/jwks.json")
	if got.status == 404 {
		return nil
	}
	return idsOf(s.t, got.body)
}

// kept returns the key IDs in the file.
func (s *rotating) kept() []string {
	s.t.Helper()
	return idsOf(s.t, read(s.t, s.file))
}

func read(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	return string(data)
}

func idsOf(t *testing.T, set string) (kids []string) {
	t.Helper()
	for _, key := range keysOf(t, set) {
		var named struct{ Kid string }
		require.NoError(t, json.Unmarshal(key, &named))
		kids = append(kids, named.Kid)
	}
	return kids
}

func keysOf(t *testing.T, set string) []json.RawMessage {
	t.Helper()
	var parsed struct{ Keys []json.RawMessage }
	require.NoError(t, json.Unmarshal([]byte(set), &parsed))
	return parsed.Keys
}

// tokenBy returns a token signed with the given key of the file, even if the service signs
// with another key.
func (s *rotating) tokenBy(kid string) string {
	s.t.Helper()
	set := read(s.t, s.file)
	i := slices.Index(idsOf(s.t, set), kid)
	require.GreaterOrEqual(s.t, i, 0)
	key, err := keys.ParseJWK(keysOf(s.t, set)[i])
	require.NoError(s.t, err)
	auth, err := jwtauth.New(key)
	require.NoError(s.t, err)
	token, err := auth.Issue("demo")
	require.NoError(s.t, err)
	return token
}

// anotherRing returns a ring such as another program would open from the same file.
func anotherRing(t *testing.T, file string) *keys.Ring {
	t.Helper()
	ring, err := keys.OpenRing(file)
	require.NoError(t, err)
	return ring
}

func aKey(t *testing.T, alg string) keys.Key {
	t.Helper()
	key, err := keys.Generate(alg)
	require.NoError(t, err)
	return key
}

func TestAKeyIsPublishedThenSignsAndThenTheOneBeforeIsRetired(t *testing.T) {
	for _, alg := range []string{"EdDSA", "ES256", "HS256"} {
		t.Run(alg, func(t *testing.T) {
			rotate(t, ringFile(t), alg, func(t *testing.T, s *rotating) {
				require.Len(t, s.kept(), 1)
				old, was := s.kept()[0], read(t, s.file)
				tokens := map[string]string{"before the first step": s.mint()}
				// stage requires that printed is one line with the text says, and that the
				// file and the served JWK Set have the keys kids, in this order. All tokens
				// must be accepted, except those in refused.
				stage := func(printed, says string, kids []string, refused ...string) {
					t.Helper()
					require.Equal(t, fmt.Sprintf("# %s  %s\n", s.began.Add(time.Duration(s.steps)*time.Minute).Format(time.DateTime), says), printed)
					require.Equal(t, kids, s.kept())
					if alg == "HS256" {
						require.Nil(t, s.published())
					} else {
						require.Equal(t, kids, s.published())
					}
					for _, kid := range kids {
						require.True(t, s.accepts(s.tokenBy(kid)))
					}
					for when, token := range tokens {
						require.Equal(t, !slices.Contains(refused, when), s.accepts(token), when)
					}
				}
				for range 2 { // the second round must go like the first
					printed := s.step()
					require.Len(t, s.kept(), 2)
					next := s.kept()[1]
					stage(printed, fmt.Sprintf("published: %q verifies; %q still signs", next, old), []string{old, next})
					tokens["after it was published"] = s.mint()

					printed = s.step()
					stage(printed, fmt.Sprintf("rotated: %q signs; still verifying: %q", next, old), []string{next, old})
					tokens["after it signs"] = s.mint()
					require.True(t, s.accepts(tokens["after it signs"]))

					printed = s.step()
					stage(printed, fmt.Sprintf("retired: %q; %q signs", old, next), []string{next},
						"before the first step", "after it was published")
					tokens = map[string]string{"before the first step": tokens["after it signs"]}
					old = next
				}
				require.Empty(t, s.logs.String())
				for _, key := range append(keysOf(t, was), keysOf(t, read(t, s.file))...) {
					var secret struct{ D, K string }
					require.NoError(t, json.Unmarshal(key, &secret))
					require.NotEmpty(t, secret.D+secret.K)
					require.NotContains(t, s.out.String(), secret.D+secret.K)
				}
			})
		})
	}
}

func TestAHalfDoneRotationGoesOnWithRetiring(t *testing.T) {
	for name, leave := range map[string]func(*testing.T, *keys.Ring) error{
		"that published a key":      func(t *testing.T, ring *keys.Ring) error { return ring.Add(aKey(t, "EdDSA")) },
		"whose new key signs":       func(t *testing.T, ring *keys.Ring) error { return ring.Rotate(aKey(t, "EdDSA")) },
		"and keys of another maker": func(t *testing.T, ring *keys.Ring) error { return ring.Add(aKey(t, "HS384").WithID("a \"b\"\n# c")) },
	} {
		t.Run(name, func(t *testing.T) {
			file := ringFile(t)
			left, _ := newService(t, file, "EdDSA", demoCatalogue())
			require.NoError(t, leave(t, left))
			require.NoError(t, left.Save(file))
			signs, other := left.IDs()[0], left.IDs()[1]

			rotate(t, file, "EdDSA", func(t *testing.T, s *rotating) {
				token, byOther := s.mint(), s.tokenBy(other)
				require.Equal(t, left.IDs(), s.kept(), "the file must not change before the first step")
				require.True(t, s.accepts(byOther))

				require.Contains(t, s.step(), fmt.Sprintf("retired: %q; %q signs\n", other, signs))
				require.Equal(t, []string{signs}, s.kept())
				require.False(t, s.accepts(byOther))
				require.True(t, s.accepts(token))

				require.Contains(t, s.step(), "published")
				require.Contains(t, s.step(), "rotated")
				require.NotEqual(t, signs, s.kept()[0])
				require.True(t, s.accepts(token))
			})
		})
	}
}

func TestAStepThatFailsChangesNothingAndIsTriedAgain(t *testing.T) {
	for step, due := range []string{"published", "rotated", "retired"} {
		for name, spoil := range map[string]func(file string) error{
			"a file that is gone":   os.Remove,
			"a file that is broken": func(file string) error { return os.WriteFile(file, []byte("{"), 0o600) },
		} {
			t.Run(due+" in "+name, func(t *testing.T) {
				rotate(t, ringFile(t), "EdDSA", func(t *testing.T, s *rotating) {
					for range step {
						require.NotEmpty(t, s.step())
					}
					token, published, was := s.mint(), s.published(), read(t, s.file)
					require.NoError(t, spoil(s.file))
					require.Empty(t, s.step())
					require.Equal(t, 1, strings.Count(s.logs.String(), "\n"))
					require.Contains(t, s.logs.String(), `level=ERROR msg="a step of the rotation failed, and will be tried again" in=1m0s error=`)
					require.Contains(t, s.logs.String(), s.file)
					require.Equal(t, published, s.published())
					require.True(t, s.accepts(token))

					require.NoError(t, os.WriteFile(s.file, []byte(was), 0o600))
					require.Contains(t, s.step(), due)
					require.Equal(t, s.kept(), s.published())
				})
			})
		}
	}
}

func TestAFileThatCannotBeWrittenStaysAsTheMemory(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no such modes")
	}
	file := ringFile(t)
	newService(t, file, "EdDSA", demoCatalogue())
	readOnly := func(*rotation) {}
	if os.Geteuid() == 0 {
		// Root can write to every folder except /dev/fd, which lists the open files. So
		// give the rotation the file's name there. The file was opened by a second name,
		// which is removed, so that Save cannot resolve /dev/fd to another folder.
		name := file + ".opened"
		require.NoError(t, os.Link(file, name))
		opened, err := os.Open(name)
		require.NoError(t, err)
		defer opened.Close()
		require.NoError(t, os.Remove(name))
		readOnly = func(r *rotation) { r.file = fmt.Sprintf("/dev/fd/%d", opened.Fd()) }
	} else {
		require.NoError(t, os.Chmod(filepath.Dir(file), 0o500))
		t.Cleanup(func() { require.NoError(t, os.Chmod(filepath.Dir(file), 0o700)) })
	}

	rotate(t, file, "EdDSA", func(t *testing.T, s *rotating) {
		token, was := s.mint(), read(t, file)
		for failures := 1; failures <= 2; failures++ {
			require.Empty(t, s.step())
			require.Equal(t, failures, strings.Count(s.logs.String(), "keys: Ring.Save"), s.logs.String())
			require.Equal(t, was, read(t, file))
			require.Equal(t, idsOf(t, was), s.published())
			require.True(t, s.accepts(token))
		}
	}, readOnly)
}

func TestWhatAnotherProgramDoesToTheFileIsKept(t *testing.T) {
	t.Run("after a rotation to another algorithm, the next key has that algorithm", func(t *testing.T) {
		rotate(t, ringFile(t), "EdDSA", func(t *testing.T, s *rotating) {
			other, key := anotherRing(t, s.file), aKey(t, "ES384")
			require.NoError(t, other.Rotate(key))
			require.NoError(t, other.Save(s.file))
			require.Contains(t, s.step(), fmt.Sprintf("%q still signs", key.ID()))
			require.Equal(t, other.IDs(), s.kept()[:2])
			var next struct{ Alg string }
			require.NoError(t, json.Unmarshal(keysOf(t, read(t, s.file))[2], &next))
			require.Equal(t, "ES384", next.Alg)
			s.step()
			s.step()
			require.Len(t, s.kept(), 1)
		})
	})
	t.Run("a key that was removed never signs", func(t *testing.T) {
		rotate(t, ringFile(t), "EdDSA", func(t *testing.T, s *rotating) {
			was := read(t, s.file)
			s.step()
			gone := s.kept()[1]
			require.NoError(t, os.WriteFile(s.file, []byte(was), 0o600))
			require.Contains(t, s.step(), fmt.Sprintf("starting over: another program removed %q", gone))
			require.Equal(t, idsOf(t, was), s.kept())
			require.Contains(t, s.step(), "published")
			require.NotContains(t, s.kept(), gone)
		})
	})
	t.Run("a key that was retired is not retired again", func(t *testing.T) {
		rotate(t, ringFile(t), "EdDSA", func(t *testing.T, s *rotating) {
			s.step()
			s.step()
			other := anotherRing(t, s.file)
			require.NoError(t, other.Retire(other.IDs()[1]))
			require.NoError(t, other.Save(s.file))
			require.Contains(t, s.step(), fmt.Sprintf("retired: none; %q signs", other.IDs()[0]))
			require.Equal(t, other.IDs(), s.kept())
		})
	})
}

func TestTheScheduleIsOfThisClockAndNotForProduction(t *testing.T) {
	now := time.Date(2026, 12, 31, 23, 59, 50, 0, time.Local)
	for name, c := range map[string]struct {
		r     rotation
		times []string
	}{
		"from the start": {rotation{every: 10 * time.Second}, []string{
			"#   2027-01-01 00:00:00  the next key is published, but does not sign yet",
			"#   2027-01-01 00:00:10  the next key signs, and the previous one still verifies",
			"#   2027-01-01 00:00:20  every key that does not sign is retired: its tokens are rejected",
		}},
		"from half a rotation on": {rotation{every: time.Hour, halfDone: true}, []string{
			"#   2027-01-01 00:59:50  every key that does not sign is retired: its tokens are rejected",
			"#   2027-01-01 01:59:50  the next key is published, but does not sign yet",
			"#   2027-01-01 02:59:50  the next key signs, and the previous one still verifies",
			"#   2027-01-01 03:59:50  every key that does not sign is retired: its tokens are rejected",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			lines := strings.Split(strings.TrimSuffix(c.r.schedule(now), "\n"), "\n")
			require.Contains(t, lines[0], "every "+c.r.every.String())
			require.Equal(t, c.times, lines[1:len(c.times)+1])
			said := strings.Join(lines[len(c.times)+1:], " ")
			for _, says := range []string{"for watching", "In production", "five minutes", "ten days"} {
				require.Contains(t, said, says)
			}
			for _, line := range lines {
				require.True(t, strings.HasPrefix(line, "#"), "every line must be a shell comment")
			}
		})
	}
	require.Equal(t, 10*24*time.Hour, jwtauth.DefaultTTL, "the schedule names the lifetime of a token, ten days")
}

func TestTheProgramFollowsItsFile(t *testing.T) {
	data := t.TempDir()
	file := filepath.Join(data, "keys.jwks")
	r := start(t, "-data", data)
	require.NotContains(t, r.banner, "rotates")
	before := mint(t, r.url, "demo", r.ownerKey(t))
	accepts := func(token string) bool {
		return send(t, request(t, "GET", r.url+"/run/demo/notify", "", "Authorization", "Bearer "+token)).status == 200
	}
	served := func() []string {
		return idsOf(t, send(t, request(t, "GET", r.url+"/.well-known/jwks.json", "")).body)
	}
	// follows saves the keys of another program, and waits until this program has them.
	other := anotherRing(t, file)
	follows := func(err error) {
		t.Helper()
		require.NoError(t, err)
		require.NoError(t, other.Save(file))
		require.Eventually(t, func() bool { return slices.Equal(other.IDs(), served()) }, time.Minute, 20*time.Millisecond)
	}

	follows(other.Rotate(aKey(t, "ES256")))
	after := mint(t, r.url, "demo", r.ownerKey(t))
	require.True(t, accepts(before))
	require.True(t, accepts(after))

	follows(other.Retire(other.IDs()[1]))
	require.False(t, accepts(before))
	require.True(t, accepts(after))
	require.Contains(t, r.logs.String(), other.IDs()[0], "Ring.Run logs to the program's logger")
	require.Empty(t, r.out.String())
}

func TestTheProgramRotatesIfToldToAndEndsAfterAStep(t *testing.T) {
	data := t.TempDir()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	out, in := io.Pipe()
	defer out.Close()
	ended := make(chan error, 1)
	go func() {
		ended <- run(ctx, []string{"-addr", "127.0.0.1:0", "-data", data, "-rotate", "1s"}, in, io.Discard)
		in.Close()
	}()
	require.Contains(t, readBanner(out), "# The signing key rotates, one step every 1s")
	saved := func() bool { return len(idsOf(t, read(t, filepath.Join(data, "keys.jwks")))) == 2 }
	require.Eventually(t, saved, time.Minute, 10*time.Millisecond)

	// The test does not read the output yet, so the program waits in the middle of the step,
	// where it prints.
	stop()
	select {
	case <-ended:
		require.Fail(t, "the program ended in the middle of a step")
	case <-time.After(100 * time.Millisecond):
	}
	printed, err := io.ReadAll(out)
	require.NoError(t, err)
	require.Contains(t, string(printed), "published")
	require.NoError(t, <-ended)
}

func TestTheProgramTellsHalfARotationByItsFile(t *testing.T) {
	data := t.TempDir()
	file := filepath.Join(data, "keys.jwks")
	ring, _ := newService(t, file, "EdDSA", demoCatalogue())
	require.NoError(t, ring.Add(aKey(t, "EdDSA")))
	require.NoError(t, ring.Save(file))
	banner := start(t, "-data", data, "-rotate", "1h").banner
	require.Regexp(t, `one step every 1h0m0s.*\n# .* retired.*\n# .* published`, banner)
}

func TestNothingRunsOnBesideAProgramThatEnded(t *testing.T) {
	running := func() string {
		stacks := make([]byte, 1<<20)
		return string(stacks[:runtime.Stack(stacks, true)])
	}
	r := start(t, "-data", t.TempDir(), "-rotate", "1h")
	inBackground := []string{"keys.(*Ring).Run(", "rotation.run("}
	for _, function := range inBackground {
		require.Eventually(t, func() bool { return strings.Contains(running(), function) }, time.Minute, time.Millisecond)
	}
	require.NoError(t, r.stop())
	for _, function := range inBackground {
		require.NotContains(t, running(), function)
	}
}
