package keys_test

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth/keys"
)

func keyPath(t *testing.T) string {
	t.Helper()
	return filepath.Join(t.TempDir(), "key.jwk")
}

func TestLoadOrCreate_MakesOneKeyAndKeepsIt(t *testing.T) {
	forEach(t, algorithms, func(t *testing.T, alg string) {
		path := keyPath(t)
		first, err := keys.LoadOrCreate(path, alg)
		require.NoError(t, err)
		require.Equal(t, alg, first.Algorithm())
		require.NotEmpty(t, first.ID())
		requireAlone(t, path)
		if runtime.GOOS != "windows" {
			info, err := os.Stat(path)
			require.NoError(t, err)
			require.Equal(t, fs.FileMode(0o600), info.Mode())
		}
		text, err := os.ReadFile(path)
		require.NoError(t, err)

		second, err := keys.LoadOrCreate(path, alg)
		require.NoError(t, err)
		require.Equal(t, first.ID(), second.ID())
		signature := signed(t, setOf(t, first), message)
		require.NoError(t, setOf(t, second).Verify(alg, first.ID(), message, signature))
		require.NoError(t, setOf(t, first).Verify(alg, first.ID(), message, signed(t, setOf(t, second), message)))
		again, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, text, again, "a second call must not change the file")
		requireAlone(t, path)

		parsed, err := keys.ParseJWK(text)
		require.NoError(t, err)
		require.NoError(t, setOf(t, parsed).Verify(alg, first.ID(), message, signature))
		var members map[string]string
		require.NoError(t, json.Unmarshal(text, &members))
		require.Equal(t, []string{alg, first.ID(), "sig"}, []string{members["alg"], members["kid"], members["use"]})
		for _, name := range []string{"k", "d", "p", "q"} {
			if members[name] != "" {
				require.NotContains(t, first.String()+first.ID(), members[name])
			}
		}
	})
}

func TestLoadOrCreate_EachNewKeyIsAnother(t *testing.T) {
	for _, alg := range []string{"HS256", "ES256", "EdDSA"} {
		first, err := keys.LoadOrCreate(keyPath(t), alg)
		require.NoError(t, err)
		second, err := keys.LoadOrCreate(keyPath(t), alg)
		require.NoError(t, err)
		require.NotEqual(t, first.ID(), second.ID())
		require.Equal(t, keys.ErrSignature, setOf(t, first.WithID("a")).Verify(alg, "a", message, signed(t, setOf(t, second), message)))
	}
}

func TestLoadOrCreate_ANewSecretIsLongEnoughForEveryAlgorithmThatFits(t *testing.T) {
	k, err := keys.LoadOrCreate(keyPath(t), "HS256")
	require.NoError(t, err)
	require.NoError(t, k.WithAlgorithm("HS512").Err())
}

// The ID of a key pair is a hash of its public half, so that a program with the public key
// can compute the ID. The ID of a secret must not be a hash of it, because IDs are public.
func TestLoadOrCreate_TheIDIsTheThumbprintExceptOfASecret(t *testing.T) {
	path := keyPath(t)
	k, err := keys.LoadOrCreate(path, "EdDSA")
	require.NoError(t, err)
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	var members struct{ X, K string }
	require.NoError(t, json.Unmarshal(text, &members))
	_, digest := hashOf("HS256", []byte(`{"crv":"Ed25519","kty":"OKP","x":"`+members.X+`"}`)) // RFC 7638, section 3
	require.Equal(t, base64url(digest), k.ID())

	path = keyPath(t)
	k, err = keys.LoadOrCreate(path, "HS256")
	require.NoError(t, err)
	text, err = os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &members))
	_, digest = hashOf("HS256", []byte(`{"k":"`+members.K+`","kty":"oct"}`))
	require.NotEqual(t, base64url(digest), k.ID())
	require.GreaterOrEqual(t, len(k.ID()), 16)
}

func TestLoadOrCreate_RefusesWhatIsNotItsOwnKindOfFile(t *testing.T) {
	edJWK := jwkOf(t, anEdKey()).text(t)
	for name, c := range map[string]struct {
		content string
		alg     string
		says    []string
	}{
		"another algorithm's key":         {jwkOf(t, aP256Key()).text(t), "EdDSA", []string{"ES256", "EdDSA", "another file"}},
		"another algorithm of one family": {jwkOf(t, anRSAKey()).text(t), "PS256", []string{"RS256", "PS256", "another file"}},
		"a secret for another algorithm":  {jwkOf(t, aSecret()).text(t), "HS512", []string{"HS256", "HS512"}},
		"an algorithm that is unknown":    {edJWK, "none", []string{"EdDSA", "none"}},
		"no algorithm asked for":          {edJWK, "", []string{"EdDSA", `""`}},
		"a public key":                    {jwkOf(t, anEdKey().Public()).text(t), "EdDSA", []string{"cannot sign", "private"}},
		"a key that may only verify":      {jwkOf(t, anEdKey()).with("key_ops", []string{"verify"}).text(t), "EdDSA", []string{"cannot sign"}},
		"an empty file":                   {"", "EdDSA", []string{"JSON"}},
		"half a file":                     {edJWK[:len(edJWK)/2], "EdDSA", []string{"JSON"}},
		"a PEM file":                      {string(pkcs8(t, anEdKey())), "EdDSA", []string{"JSON"}},
		"two keys":                        {edJWK + edJWK, "EdDSA", []string{"data behind"}},
		"a key set":                       {`{"keys":[` + edJWK + `]}`, "EdDSA", []string{"JWK Set"}},
		"a short secret":                  {jwkOf(t, aSecret()[:31]).text(t), "HS256", []string{"31 bytes"}},
		"a file without end":              {edJWK + strings.Repeat(" ", 1<<20), "EdDSA", []string{"too long"}},
	} {
		t.Run(name, func(t *testing.T) {
			path := keyPath(t)
			require.NoError(t, os.WriteFile(path, []byte(c.content), 0o600))
			k, err := keys.LoadOrCreate(path, c.alg)
			for _, words := range append(c.says, path, "keys: LoadOrCreate") {
				require.ErrorContains(t, err, words)
			}
			require.Error(t, k.Err())
			for _, secret := range [][]byte{anEdKey().Seed(), aSecret(), aSecret()[:31], anRSAKey().D.Bytes()} {
				requireHidden(t, err.Error(), secret)
			}
			after, err := os.ReadFile(path)
			require.NoError(t, err)
			require.Equal(t, c.content, string(after), "a file that exists must not be changed")
			requireAlone(t, path)
		})
	}
}

func TestLoadOrCreate_RefusesAFileThatOtherUsersMayTouch(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no such modes")
	}
	for mode, refused := range map[fs.FileMode]bool{
		0o600: false, 0o400: false, 0o700: false,
		0o640: true, 0o620: true, 0o610: true, 0o644: true, 0o604: true, 0o602: true, 0o601: true, 0o660: true, 0o666: true, 0o777: true,
	} {
		t.Run(mode.String(), func(t *testing.T) {
			path := keyPath(t)
			require.NoError(t, os.WriteFile(path, []byte(jwkOf(t, anEdKey()).text(t)), 0o600))
			require.NoError(t, os.Chmod(path, mode))
			k, err := keys.LoadOrCreate(path, "EdDSA")
			if !refused {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, "chmod 600")
			require.ErrorContains(t, err, "make a new key")
			require.ErrorContains(t, err, path)
			require.Error(t, k.Err())
			info, err := os.Stat(path)
			require.NoError(t, err)
			require.Equal(t, mode, info.Mode(), "the mode must not be changed: only the owner can tell whether someone has read the key")
		})
	}
}

func TestLoadOrCreate_NeedsAPlaceForAFile(t *testing.T) {
	folder := t.TempDir()
	for name, c := range map[string]struct{ path, says string }{
		"a folder":                 {folder, "not a regular file"},
		"a folder that is missing": {filepath.Join(folder, "missing", "key.jwk"), "no such file"},
		"no path":                  {"", "link"},
	} {
		t.Run(name, func(t *testing.T) {
			k, err := keys.LoadOrCreate(c.path, "EdDSA")
			require.ErrorContains(t, err, "keys: LoadOrCreate")
			if runtime.GOOS != "windows" {
				require.ErrorContains(t, err, c.says)
			}
			require.Error(t, k.Err())
			entries, err := os.ReadDir(folder)
			require.NoError(t, err)
			require.Empty(t, entries, "LoadOrCreate must not create a folder, or leave a file behind")
		})
	}
}

func TestLoadOrCreate_MakesNoKeyOfAnUnknownAlgorithm(t *testing.T) {
	for _, alg := range []string{"", "none", "eddsa", "ES256K", "RSA"} {
		path := keyPath(t)
		_, err := keys.LoadOrCreate(path, alg)
		require.ErrorContains(t, err, `"`+alg+`" is not known`)
		require.ErrorContains(t, err, "EdDSA, ES256 and HS256")
		require.NoFileExists(t, path)
	}
}

func TestLoadOrCreate_FollowsALinkAndNeverReplacesIt(t *testing.T) {
	folder := t.TempDir()
	target, link := filepath.Join(folder, "target"), filepath.Join(folder, "link")
	if err := os.Symlink(target, link); err != nil {
		t.Skip("there are no symbolic links here: ", err)
	}
	_, err := keys.LoadOrCreate(link, "EdDSA")
	require.ErrorIs(t, err, fs.ErrNotExist, "no key may be created through a link to a missing file")
	require.NoFileExists(t, target)
	_, err = os.Readlink(link)
	require.NoError(t, err)

	made, err := keys.LoadOrCreate(target, "EdDSA")
	require.NoError(t, err)
	linked, err := keys.LoadOrCreate(link, "EdDSA")
	require.NoError(t, err)
	require.Equal(t, made.ID(), linked.ID())
}

func TestLoadOrCreate_InAFolderThatIsNotWritable(t *testing.T) {
	folder := t.TempDir()
	require.NoError(t, os.Chmod(folder, 0o500))
	t.Cleanup(func() {
		if err := os.Chmod(folder, 0o700); err != nil {
			t.Error(err)
		}
	})
	want := fs.ErrPermission
	switch {
	case runtime.GOOS == "linux" && os.Geteuid() == 0:
		folder, want = "/proc", fs.ErrNotExist // not even root can create a file here
	case runtime.GOOS == "windows" || os.Geteuid() == 0:
		t.Skip("root, and Windows, may write into any folder")
	}
	k, err := keys.LoadOrCreate(filepath.Join(folder, "key.jwk"), "EdDSA")
	require.ErrorIs(t, err, want)
	require.Error(t, k.Err())
}

func TestLoadOrCreate_ManyGoroutinesAtOnceGetOneKey(t *testing.T) {
	for _, alg := range []string{"EdDSA", "HS256"} { // both are deterministic, so equal signatures mean equal keys
		path := keyPath(t)
		signatures := make([]string, 16)
		var ready, group sync.WaitGroup
		ready.Add(len(signatures))
		for i := range signatures {
			group.Go(func() {
				ready.Done()
				ready.Wait()
				k, err := keys.LoadOrCreate(path, alg)
				if err != nil {
					t.Error(err)
					return
				}
				signature, err := mustSet(k).Sign(message)
				if err != nil {
					t.Error(err)
				}
				signatures[i] = string(signature)
			})
		}
		group.Wait()
		for _, signature := range signatures {
			require.NotEmpty(t, signature)
			require.Equal(t, signatures[0], signature)
		}
		requireAlone(t, path)
	}
}

func mustSet(k keys.Key) *keys.Set {
	set, err := k.Keys(context.Background(), "")
	if err != nil {
		panic(err)
	}
	return set
}

func loadAndSign(path string) ([]byte, error) {
	k, err := keys.LoadOrCreate(path, "EdDSA")
	if err != nil {
		return nil, err
	}
	return mustSet(k).Sign(message)
}

func TestLoadOrCreate_ManyProcessesAtOnceGetOneKey(t *testing.T) {
	program, err := os.Executable()
	require.NoError(t, err)
	path := keyPath(t)
	type process struct {
		command *exec.Cmd
		input   io.Closer
		output  *bufio.Reader
		errors  *strings.Builder
	}
	processes := make([]process, 8)
	for i := range processes {
		command := exec.CommandContext(t.Context(), program)
		command.Env = append(os.Environ(), childVariable+"="+path)
		input, err := command.StdinPipe()
		require.NoError(t, err)
		output, err := command.StdoutPipe()
		require.NoError(t, err)
		errors := new(strings.Builder)
		command.Stderr = errors
		require.NoError(t, command.Start())
		processes[i] = process{command, input, bufio.NewReader(output), errors}
	}
	for _, p := range processes {
		line, err := p.output.ReadString('\n')
		require.NoError(t, err, p.errors)
		require.Equal(t, "ready\n", line)
	}
	require.NoFileExists(t, path)
	for _, p := range processes {
		require.NoError(t, p.input.Close())
	}
	signatures := map[string]int{}
	for _, p := range processes {
		line, readErr := p.output.ReadString('\n')
		require.NoError(t, errors.Join(readErr, p.command.Wait()), p.errors)
		signatures[strings.TrimSpace(line)]++
	}
	require.Len(t, signatures, 1)
	signature, err := loadAndSign(path)
	require.NoError(t, err)
	require.Equal(t, map[string]int{base64url(signature): len(processes)}, signatures)
	requireAlone(t, path)
}

// childVariable is an environment variable that holds a path. If it is set, this test binary
// runs no tests, and only calls LoadOrCreate with that path.
const childVariable = "JWTAUTH_TEST_LOAD_OR_CREATE"

func TestMain(m *testing.M) {
	if path := os.Getenv(childVariable); path != "" {
		if err := child(path); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// child waits until its input ends, so that all children call LoadOrCreate at once. It
// prints a signature made with the key.
func child(path string) error {
	fmt.Println("ready")
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return err
	}
	signature, err := loadAndSign(path)
	if err != nil {
		return err
	}
	fmt.Println(base64.RawURLEncoding.EncodeToString(signature))
	return nil
}
