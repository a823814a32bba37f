// Package operators_test follows docs/production.md and docs/past-one-machine.md.
package operators_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/keys"
	"github.com/joinednode/jwtauth/revoke"
)

const production = "../../docs/production.md"

// program builds the program that the page shows.
func program(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(production)
	require.NoError(t, err)
	source := regexp.MustCompile("(?s)\n```go\n(// Command ring .*?)```\n").FindSubmatch(text)
	require.NotNil(t, source, "the page shows the program")
	folder := t.TempDir()
	file, binary := filepath.Join(folder, "main.go"), filepath.Join(folder, "ring")
	require.NoError(t, os.WriteFile(file, source[1], 0o600))
	out, err := exec.Command("go", "build", "-o", binary, file).CombinedOutput()
	require.NoError(t, err, "%s", out)
	return binary
}

// drill has a service that signs with the keys of a file, and a service that verifies with
// its JWK Set.
type drill struct {
	t        *testing.T
	binary   string
	file     string
	ring     *keys.Ring
	auth     *jwtauth.Auth
	verifier *jwtauth.Auth
	jwks     string
}

func newDrill(t *testing.T) *drill {
	t.Helper()
	d := &drill{t: t, binary: program(t), file: filepath.Join(t.TempDir(), "keys.jwks")}
	var err error
	d.ring, err = keys.LoadOrCreateRing(d.file, "EdDSA")
	require.NoError(t, err)
	ctx, stop := context.WithCancel(context.Background())
	t.Cleanup(stop)
	go d.ring.Run(ctx)
	d.auth, err = jwtauth.New(d.ring)
	require.NoError(t, err)
	issuer := httptest.NewServer(d.ring.JWKS())
	t.Cleanup(issuer.Close)
	d.jwks = issuer.URL
	remote, err := keys.NewRemote(issuer.URL, keys.InsecureAllowHTTP(), keys.WithFetchTimeout(time.Minute))
	require.NoError(t, err)
	go remote.Run(ctx)
	d.verifier, err = jwtauth.New(remote)
	require.NoError(t, err)
	return d
}

// do runs the program of the page, and waits until the service has the keys that it prints.
func (d *drill) do(args ...string) (ids []string) {
	d.t.Helper()
	out, err := exec.Command(d.binary, append([]string{d.file}, args...)...).CombinedOutput()
	require.NoError(d.t, err, "%s", out)
	for line := range strings.Lines(string(out)) {
		kid, what, _ := strings.Cut(strings.TrimSpace(line), " ")
		ids = append(ids, kid)
		require.Equal(d.t, map[bool]string{true: "signs", false: "verifies"}[len(ids) == 1], what)
	}
	require.Eventually(d.t, func() bool { return strings.Join(d.ring.IDs(), " ") == strings.Join(ids, " ") }, time.Minute, 50*time.Millisecond)
	return ids
}

func (d *drill) issue() string {
	d.t.Helper()
	token, err := d.auth.Issue("A")
	require.NoError(d.t, err)
	return token
}

func (d *drill) published() (ids []string) {
	d.t.Helper()
	response, err := http.Get(d.jwks)
	require.NoError(d.t, err)
	defer response.Body.Close()
	var set struct {
		Keys []struct {
			ID string `json:"kid"`
		}
	}
	require.NoError(d.t, json.NewDecoder(response.Body).Decode(&set))
	for _, key := range set.Keys {
		ids = append(ids, key.ID)
	}
	return ids
}

func (d *drill) verify(auth *jwtauth.Auth, token string) error {
	_, err := auth.Verify(d.t.Context(), token, "A")
	return err
}

func TestTheRotationDrill(t *testing.T) {
	d := newDrill(t)
	first := d.do("list")
	require.Len(t, first, 1)
	before := d.issue()

	both := d.do("publish")
	require.Equal(t, first[0], both[0], "the old one signs")
	require.ElementsMatch(t, both, d.published())
	require.NoError(t, d.verify(d.verifier, before))

	signs := d.do("sign", both[1])
	require.Equal(t, both[1], signs[0])
	after := d.issue()
	for _, token := range []string{before, after} {
		require.NoError(t, d.verify(d.auth, token))
		require.NoError(t, d.verify(d.verifier, token))
	}

	require.Equal(t, both[1:], d.do("retire", first[0]))
	require.ErrorIs(t, d.verify(d.auth, before), jwtauth.ErrUnknownKey)
	require.NoError(t, d.verify(d.auth, after))
}

func TestAStolenKeyIsRetiredAtOnce(t *testing.T) {
	d := newDrill(t)
	old := d.do("list")[0]
	stolen := d.issue()
	require.NoError(t, d.verify(d.verifier, stolen))
	next := d.do("publish")[1]
	d.do("sign", next)
	d.do("retire", old)
	require.ErrorIs(t, d.verify(d.auth, stolen), jwtauth.ErrUnknownKey)
	require.Equal(t, []string{next}, d.published())
	require.NoError(t, d.verify(d.verifier, stolen), "who verifies by the JWK Set has not asked yet")
	require.NoError(t, d.verify(d.verifier, d.issue()), "and does so for the first token of the new key")
	require.ErrorIs(t, d.verify(d.verifier, stolen), jwtauth.ErrUnknownKey)
}

func TestWhatAWrongClockLooksLike(t *testing.T) {
	key := keys.HS256([]byte("0123456789abcdef0123456789abcdef"))
	at := func(off time.Duration) jwtauth.Option {
		return jwtauth.WithClock(func() time.Time { return time.Now().Add(off) })
	}
	for _, c := range []struct {
		name             string
		issuer, verifier time.Duration
		want             error
	}{
		{"both right", 0, 0, nil},
		{"the issuer early by four seconds", 4 * time.Second, 0, nil},
		{"the issuer early by a minute", time.Minute, 0, jwtauth.ErrNotYetValid},
		{"the verifier late by a minute", 0, -time.Minute, jwtauth.ErrNotYetValid},
		{"the verifier early by a minute: of tokens of half a minute", 0, time.Minute, jwtauth.ErrExpired},
		{"the issuer late by a minute: of tokens of half a minute", -time.Minute, 0, jwtauth.ErrExpired},
	} {
		t.Run(c.name, func(t *testing.T) {
			issuer, err := jwtauth.New(key, at(c.issuer))
			require.NoError(t, err)
			verifier, err := jwtauth.New(key, at(c.verifier))
			require.NoError(t, err)
			token, err := issuer.Issue("A", jwtauth.TTL(30*time.Second))
			require.NoError(t, err)
			_, err = verifier.Verify(t.Context(), token, "A")
			require.ErrorIs(t, err, c.want)
		})
	}
}

// one wraps a Memory so that two lists can share it, as two processes share a log.
type one struct{ revoke.Store }

func TestARevocationMissesTokensOfAClockThatIsEarlierThanTheSkew(t *testing.T) {
	key := keys.HS256([]byte("0123456789abcdef0123456789abcdef"))
	for _, c := range []struct {
		name  string
		early time.Duration
		want  error
	}{
		{"within", revoke.DefaultSkew / 2, jwtauth.ErrRevoked},
		{"beyond", 3 * time.Second, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			log, now := one{revoke.NewMemory()}, time.Now()
			process := func(off time.Duration) (*revoke.List, *jwtauth.Auth) {
				clock := func() time.Time { return now.Add(off) }
				list, err := revoke.New(log, revoke.WithClock(clock), revoke.WithStaleness(time.Hour))
				require.NoError(t, err)
				require.NoError(t, list.Sync(t.Context()))
				auth, err := jwtauth.New(key, jwtauth.WithClock(clock), jwtauth.WithRevocations(list))
				require.NoError(t, err)
				return list, auth
			}
			here, auth := process(0)
			there, early := process(c.early)
			token, err := early.Issue("A", jwtauth.Subject("alice"))
			require.NoError(t, err)
			require.NoError(t, here.RevokeSubject(t.Context(), "", "alice"))
			require.NoError(t, there.Sync(t.Context()))
			for _, auth := range []*jwtauth.Auth{auth, early} {
				_, err = auth.Verify(t.Context(), token, "A")
				require.ErrorIs(t, err, c.want)
			}
		})
	}
}
