package keys_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/keys"
)

func ringPath(t testing.TB) string {
	t.Helper()
	return filepath.Join(t.TempDir(), "keys.jwks")
}

func write(t testing.TB, path, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
}

func TestRing_IsOpenedAsItWasSaved(t *testing.T) {
	forEach(t, algorithms, func(t *testing.T, alg string) {
		path := ringPath(t)
		verified := aP256Key()
		if alg == "ES256" {
			verified = aP384Key()
		}
		saved := newRing(t, key(alg), anotherKey(alg).WithID("other"), keys.Verifier(verified.Public()))
		require.NoError(t, saved.Save(path))
		requireAlone(t, path)
		if runtime.GOOS != "windows" {
			info, err := os.Stat(path)
			require.NoError(t, err)
			require.Equal(t, fs.FileMode(0o600), info.Mode())
		}
		opened, err := keys.OpenRing(path)
		require.NoError(t, err)
		require.Equal(t, saved.IDs(), opened.IDs())
		require.Equal(t, published(t, saved), published(t, opened))
		requireAccepted(t, opened, tokenBy(t, saved))
		requireAccepted(t, saved, tokenBy(t, opened))
		requireAccepted(t, opened, tokenBy(t, anotherKey(alg).WithID("other")))
		requireAccepted(t, opened, tokenBy(t, keys.Signer(verified).WithID(saved.IDs()[2])))
		require.Error(t, opened.Rotate(keys.Verifier(verified.Public())), "a key that only verifies must not sign")

		again := ringPath(t)
		require.NoError(t, opened.Save(again))
		first, err := os.ReadFile(path)
		require.NoError(t, err)
		second, err := os.ReadFile(again)
		require.NoError(t, err)
		require.Equal(t, string(first), string(second))
	})
}

func TestRing_SavesASecretThatOnlyVerifiesAsSuch(t *testing.T) {
	path := ringPath(t)
	write(t, path, jwksText(t, jwkOf(t, anEdKey()), jwkOf(t, aSecret()).with("kid", "s").with("key_ops", []string{"verify"})))
	ring, err := keys.OpenRing(path)
	require.NoError(t, err)
	require.NoError(t, ring.Save(path))
	opened, err := keys.OpenRing(path)
	require.NoError(t, err)
	requireAccepted(t, opened, tokenBy(t, keys.HS256(aSecret()).WithID("s")))
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, 1, strings.Count(string(text), "key_ops"))
	require.Contains(t, string(text), `"verify"`)
}

// A JWK can describe an RSA key of more than two primes, but Save writes only keys of two.
func TestRing_DoesNotSaveAnRSAKeyOfThreePrimes(t *testing.T) {
	//lint:ignore SA1019 such keys exist, and this makes one
	private, err := rsa.GenerateMultiPrimeKey(rand.Reader, 3, 2048)
	require.NoError(t, err)
	require.ErrorContains(t, newRing(t, keys.Signer(private)).Save(ringPath(t)), "3 primes")
}

func TestRing_SaveReplacesTheFileOrLeavesItAsItWas(t *testing.T) {
	path := ringPath(t)
	ring := newRing(t, key("EdDSA"))
	require.NoError(t, ring.Save(path))
	require.NoError(t, ring.Rotate(key("ES256")))
	require.NoError(t, ring.Save(path))
	opened, err := keys.OpenRing(path)
	require.NoError(t, err)
	require.Equal(t, ring.IDs(), opened.IDs())
	before, err := os.ReadFile(path)
	require.NoError(t, err)

	require.NoError(t, ring.Rotate(keys.Signer(hidden(anRSAKey())).WithID("kms")))
	err = ring.Save(path)
	require.ErrorContains(t, err, `keys: Ring.Save: the private key "kms" is kept by its signer`)
	after, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(before), string(after))
	requireAlone(t, path)
	require.ErrorContains(t, ring.Save(filepath.Join(filepath.Dir(path), "none", "keys")), "keys: Ring.Save: ")
}

func TestLoadOrCreateRing_MakesOneKeyAndKeepsTheFile(t *testing.T) {
	forEach(t, algorithms, func(t *testing.T, alg string) {
		path := ringPath(t)
		first, err := keys.LoadOrCreateRing(path, alg)
		require.NoError(t, err)
		require.Len(t, first.IDs(), 1)
		require.NotEmpty(t, first.IDs()[0])
		token := tokenBy(t, first)
		second, err := keys.LoadOrCreateRing(path, "ES256")
		require.NoError(t, err, "the algorithm must be ignored if the file exists")
		requireAccepted(t, second, token)
		requireAlone(t, path)
	})
	_, err := keys.LoadOrCreateRing(ringPath(t), "none")
	require.ErrorContains(t, err, `keys: LoadOrCreateRing: the algorithm "none" is not known`)
}

func TestLoadOrCreateRing_ManyGoroutinesAtOnceGetOneRing(t *testing.T) {
	path := ringPath(t)
	rings := make([]*keys.Ring, 16)
	var ready, group sync.WaitGroup
	ready.Add(len(rings))
	for i := range rings {
		group.Go(func() {
			ready.Done()
			ready.Wait()
			var err error
			if rings[i], err = keys.LoadOrCreateRing(path, "EdDSA"); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	require.False(t, t.Failed())
	for _, ring := range rings {
		require.Equal(t, rings[0].IDs(), ring.IDs())
	}
}

// badRingFiles returns contents of files that OpenRing rejects, and words that the error
// must contain.
func badRingFiles(t testing.TB) map[string]struct{ text, says string } {
	one, two := jwkOf(t, anEdKey()), jwkOf(t, aSecret())
	whole := jwksText(t, one, two)
	return map[string]struct{ text, says string }{
		"an empty file":               {"", "JSON"},
		"half a file":                 {whole[:len(whole)/2], "JSON"},
		"a file without its end":      {whole[:len(whole)-1], "JSON"},
		"two sets":                    {whole + whole, "data behind"},
		"no keys":                     {`{"keys":[]}`, "not a JWK Set"},
		"keys that are no list":       {`{"keys":` + one.text(t) + `}`, "not a JWK Set"},
		"null":                        {`{"keys":null}`, "not a JWK Set"},
		"a null key":                  {`{"keys":[null]}`, "key 1 of 1"},
		"a key alone":                 {one.text(t), "not a JWK Set"},
		"keys twice":                  {`{"keys":[` + one.text(t) + `],"keys":[` + one.text(t) + `]}`, "twice"},
		"keys in capitals beside it":  {`{"keys":[` + one.text(t) + `],"Keys":[]}`, "case alone"},
		"a set inside of a set":       {`{"keys":[` + whole + `]}`, "key 1 of 1"},
		"a bad key among good ones":   {jwksText(t, one, jwkOf(t, aSecret()[:31])), "key 2 of 2"},
		"two keys of one id":          {jwksText(t, one.with("kid", "a"), two.with("kid", "a")), "two keys have the id"},
		"two secrets without one":     {jwksText(t, two, jwkOf(t, anotherSecret())), "two keys have the id"},
		"one key twice":               {jwksText(t, one, one), "two keys have the id"},
		"a first key that is public":  {jwksText(t, jwkOf(t, anEdKey().Public()), two), "cannot sign"},
		"a first key without sign":    {jwksText(t, one.with("key_ops", []string{"verify"}), two), "cannot sign"},
		"a key for another use":       {jwksText(t, one, two.with("use", "enc")), "use is not"},
		"more than there is room for": {whole + strings.Repeat(" ", 1<<20), "too long"},
	}
}

func TestOpenRing_RefusesABrokenFile(t *testing.T) {
	for name, c := range badRingFiles(t) {
		t.Run(name, func(t *testing.T) {
			path := ringPath(t)
			write(t, path, c.text)
			for called, open := range map[string]func() (*keys.Ring, error){
				"OpenRing":         func() (*keys.Ring, error) { return keys.OpenRing(path) },
				"LoadOrCreateRing": func() (*keys.Ring, error) { return keys.LoadOrCreateRing(path, "EdDSA") },
			} {
				ring, err := open()
				require.Nil(t, ring)
				for _, says := range []string{c.says, path, "keys: " + called + ": "} {
					require.ErrorContains(t, err, says)
				}
				for _, secret := range [][]byte{anEdKey().Seed(), aSecret(), aSecret()[:31]} {
					requireHidden(t, err.Error(), secret)
				}
			}
			after, err := os.ReadFile(path)
			require.NoError(t, err)
			require.Equal(t, c.text, string(after), "a file that exists must not be changed")
		})
	}
	_, err := keys.OpenRing(filepath.Join(t.TempDir(), "none"))
	require.ErrorIs(t, err, fs.ErrNotExist)
}

func TestOpenRing_RefusesAFileThatUsersOutsideTheGroupMayRead(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no such modes")
	}
	for mode, refused := range map[fs.FileMode]bool{
		0o600: false, 0o400: false, 0o440: false, 0o640: false,
		0o660: true, 0o650: true, 0o620: true, 0o644: true, 0o444: true, 0o604: true, 0o602: true, 0o601: true, 0o777: true,
	} {
		t.Run(mode.String(), func(t *testing.T) {
			path := ringPath(t)
			require.NoError(t, newRing(t, key("EdDSA")).Save(path))
			require.NoError(t, os.Chmod(path, mode))
			_, err := keys.OpenRing(path)
			if !refused {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, "chmod 600")
		})
	}
}

// followed is a ring that follows the file at path, and the log of what it reports.
type followed struct {
	*keys.Ring
	t    *testing.T
	path string
	log  logBuffer
}

// follow calls test in a synctest bubble, with a ring that follows a file. The file holds
// one key, whose ID is "first".
func follow(t *testing.T, test func(t *testing.T, ring *followed)) {
	synctest.Test(t, func(t *testing.T) {
		ring := &followed{t: t, path: ringPath(t)}
		require.NoError(t, newRing(t, key("EdDSA").WithID("first")).Save(ring.path))
		before := slog.Default()
		slog.SetDefault(slog.New(slog.NewTextHandler(&ring.log, nil)))
		defer slog.SetDefault(before)
		var err error
		ring.Ring, err = keys.OpenRing(ring.path)
		require.NoError(t, err)
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- ring.Run(ctx) }()
		defer func() {
			stop()
			require.ErrorIs(t, <-done, context.Canceled)
		}()
		test(t, ring)
	})
}

// wait lets time pass, and returns what the ring has logged since.
func (f *followed) wait(d time.Duration) string {
	f.log.take()
	time.Sleep(d)
	synctest.Wait()
	return f.log.take()
}

// soon is a little longer than a ring takes to notice a change of its file.
const soon = time.Second + time.Millisecond

func TestRing_RunTakesARotationFromTheFile(t *testing.T) {
	first, second := key("EdDSA").WithID("first"), key("ES256").WithID("second")
	follow(t, func(t *testing.T, ring *followed) {
		auth, old := ringAuth(t, ring), tokenBy(t, ring)
		elsewhere, err := keys.OpenRing(ring.path)
		require.NoError(t, err)
		change := func(err error) {
			require.NoError(t, err)
			require.NoError(t, elsewhere.Save(ring.path))
		}
		requireUnknown(t, ring, tokenBy(t, second))

		change(elsewhere.Add(second))
		require.Contains(t, ring.wait(soon), `kids="[first second]"`)
		requireAccepted(t, ring, tokenBy(t, second))
		requireAccepted(t, first, tokenBy(t, ring))

		change(elsewhere.Rotate(second))
		require.Contains(t, ring.wait(soon), `kids="[second first]"`)
		requireAccepted(t, second, tokenBy(t, ring))
		_, err = auth.Verify(t.Context(), old, "demo")
		require.NoError(t, err)

		change(elsewhere.Retire("first"))
		require.Contains(t, ring.wait(soon), `kids=[second]`)
		_, err = auth.Verify(t.Context(), old, "demo")
		require.ErrorIs(t, err, jwtauth.ErrUnknownKey)
		require.Empty(t, ring.wait(time.Hour), "nothing may be logged while the file stays the same")
	})
}

// To update a mounted secret, Kubernetes replaces a link to a folder. The path of the file
// then leads to another file.
func TestRing_RunFollowsAMountedSecretAcrossItsLinks(t *testing.T) {
	folder := t.TempDir()
	mount := func(name string, ring *keys.Ring) {
		require.NoError(t, os.Mkdir(filepath.Join(folder, name), 0o700))
		require.NoError(t, ring.Save(filepath.Join(folder, name, "keys.jwks")))
		if err := os.Symlink(name, filepath.Join(folder, "..tmp")); err != nil {
			t.Skip("there are no symbolic links here: ", err)
		}
		require.NoError(t, os.Rename(filepath.Join(folder, "..tmp"), filepath.Join(folder, "..data")))
	}
	mount("..2026_03", newRing(t, key("EdDSA").WithID("first")))
	path := filepath.Join(folder, "keys.jwks")
	require.NoError(t, os.Symlink(filepath.Join("..data", "keys.jwks"), path))
	synctest.Test(t, func(t *testing.T) {
		ring, err := keys.OpenRing(path)
		require.NoError(t, err)
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		go ring.Run(ctx)
		mount("..2026_04", newRing(t, key("ES256").WithID("second")))
		time.Sleep(soon)
		synctest.Wait()
		require.Equal(t, []string{"second"}, ring.IDs())
	})
}

// repair replaces the file with a good one, and waits until the ring has read it.
func repair(t *testing.T, ring *followed) {
	t.Helper()
	require.NoError(t, newRing(t, key("EdDSA").WithID("first")).Save(ring.path))
	require.Contains(t, ring.wait(soon), "level=INFO")
}

func TestRing_RunReportsABrokenFileAndKeepsTheKeys(t *testing.T) {
	broken := badRingFiles(t)
	follow(t, func(t *testing.T, ring *followed) {
		token := tokenBy(t, ring)
		set, _ := ring.Keys(t.Context(), "")
		requireKept := func(log, says string) {
			t.Helper()
			for _, secret := range [][]byte{anEdKey().Seed(), aSecret(), aSecret()[:31]} {
				requireHidden(t, log, secret)
			}
			require.Contains(t, log, "level=ERROR")
			require.Contains(t, log, says)
			require.Equal(t, 1, strings.Count(log, "\n"), "%s", log)
			now, _ := ring.Keys(t.Context(), "")
			require.Same(t, set, now)
			requireAccepted(t, ring, token)
		}
		for name, c := range broken {
			t.Log(name)
			write(t, ring.path, c.text)
			requireKept(ring.wait(soon), ring.path)
			require.ErrorContains(t, ring.Save(ring.path), ring.path, "Save must not replace a broken file, whose keys may still be needed")
			repair(t, ring)
			set, _ = ring.Keys(t.Context(), "")
		}
		require.NoError(t, os.Remove(ring.path))
		requireKept(ring.wait(soon), "no such file")
		require.Empty(t, ring.wait(50*time.Second), "the error must not be logged again at once")
		requireKept(ring.wait(20*time.Second), "no such file")
		require.Equal(t, 60, strings.Count(ring.wait(time.Hour), "\n"), "the error must be logged again every minute")
		if runtime.GOOS != "windows" {
			repair(t, ring)
			set, _ = ring.Keys(t.Context(), "")
			require.NoError(t, os.Chmod(ring.path, 0o644))
			requireKept(ring.wait(soon), "chmod 600")
		}
	})
}

// If the file is gone, a restarting process gets an error from OpenRing, and a new key
// from LoadOrCreateRing. Processes that follow the file then have only the new key.
func TestRing_ALostFileIsANewKeyOnlyForLoadOrCreateRing(t *testing.T) {
	follow(t, func(t *testing.T, ring *followed) {
		token := tokenBy(t, ring)
		require.NoError(t, os.Remove(ring.path))
		_, err := keys.OpenRing(ring.path)
		require.ErrorIs(t, err, fs.ErrNotExist)
		require.Contains(t, ring.wait(soon), "no such file")
		requireAccepted(t, ring, token)

		made, err := keys.LoadOrCreateRing(ring.path, "EdDSA")
		require.NoError(t, err)
		ring.wait(soon)
		require.Equal(t, made.IDs(), ring.IDs())
		requireUnknown(t, ring, token)
	})
}

func TestRing_RunReportsThatABrokenFileIsWholeAgain(t *testing.T) {
	follow(t, func(t *testing.T, ring *followed) {
		set, _ := ring.Keys(t.Context(), "")
		whole, err := os.ReadFile(ring.path)
		require.NoError(t, err)
		write(t, ring.path, "{")
		require.Contains(t, ring.wait(soon), "level=ERROR")
		write(t, ring.path, string(whole))
		require.Contains(t, ring.wait(soon), "level=INFO")
		now, _ := ring.Keys(t.Context(), "")
		require.Same(t, set, now, "the same keys must be the same set")
	})
}

func TestRing_TheFileWinsOverWhatWasNotSaved(t *testing.T) {
	follow(t, func(t *testing.T, ring *followed) {
		require.NoError(t, ring.Rotate(key("ES256").WithID("unsaved")))
		ring.wait(time.Minute)
		require.Equal(t, []string{"unsaved", "first"}, ring.IDs(), "an unsaved change must last as long as the file stays the same")
		require.NoError(t, newRing(t, key("HS256").WithID("third")).Save(ring.path))
		ring.wait(soon)
		require.Equal(t, []string{"third"}, ring.IDs())

		require.NoError(t, ring.Rotate(key("ES256").WithID("saved")))
		require.NoError(t, ring.Save(ring.path))
		ring.wait(time.Minute)
		require.Equal(t, []string{"saved", "third"}, ring.IDs())
	})
}

// If a ring took its own save for another program's change, it would read the file again,
// and so undo its own later changes.
func TestRing_ARetiredKeyDoesNotComeBackByTheRingsOwnSave(t *testing.T) {
	follow(t, func(t *testing.T, ring *followed) {
		old := tokenBy(t, ring)
		require.NoError(t, ring.Rotate(key("ES256").WithID("second")))
		require.NoError(t, ring.Save(ring.path))
		require.NoError(t, ring.Retire("first"))
		set, _ := ring.Keys(t.Context(), "")
		require.Empty(t, ring.wait(time.Minute))
		requireUnknown(t, ring, old)
		now, _ := ring.Keys(t.Context(), "")
		require.Same(t, set, now)
	})
}

func TestRing_SaveThatWouldUndoAnotherProgramsChangeIsAnError(t *testing.T) {
	path := ringPath(t)
	require.NoError(t, newRing(t, key("EdDSA").WithID("first"), key("ES256").WithID("second")).Save(path))
	open := func() *keys.Ring {
		ring, err := keys.OpenRing(path)
		require.NoError(t, err)
		return ring
	}
	operator, server := open(), open()
	require.NoError(t, operator.Retire("second"))
	require.NoError(t, operator.Save(path))
	require.NoError(t, server.Add(key("HS256").WithID("third")))
	require.ErrorContains(t, server.Save(path), "has changed since")
	require.Equal(t, []string{"first"}, open().IDs())
	require.NoError(t, operator.Save(path), "a ring's own save must not count as another program's change")
	require.NoError(t, server.Save(ringPath(t)), "a save to another file must be allowed")
}

func TestRing_SaveWritesThroughALink(t *testing.T) {
	path := ringPath(t)
	link := path + ".link"
	ring := newRing(t, key("EdDSA"))
	require.NoError(t, ring.Save(path))
	if err := os.Symlink(path, link); err != nil {
		t.Skip("there are no symbolic links here: ", err)
	}
	require.NoError(t, ring.Rotate(key("ES256")))
	require.NoError(t, ring.Save(link))
	opened, err := keys.OpenRing(path)
	require.NoError(t, err)
	require.Equal(t, ring.IDs(), opened.IDs())
	_, err = os.Readlink(link)
	require.NoError(t, err)
}

func TestRing_SaveWritesNothingThatCannotBeOpened(t *testing.T) {
	path := ringPath(t)
	require.ErrorContains(t, newRing(t, key("EdDSA").WithID(strings.Repeat("k", 70<<10))).Save(path), "too long")
	require.NoFileExists(t, path)
}

func TestRing_RotatesToAKeyOfTheFileByItsID(t *testing.T) {
	path := ringPath(t)
	next := key("ES256").WithID("next")
	require.NoError(t, newRing(t, key("EdDSA"), next).Save(path))
	ring, err := keys.OpenRing(path)
	require.NoError(t, err)
	_, ok := ring.Key("other")
	require.False(t, ok)
	published, ok := ring.Key("next")
	require.True(t, ok)
	require.NoError(t, ring.Rotate(published))
	requireAccepted(t, next, tokenBy(t, ring))
}

func TestRing_RunWithoutAFileIsAnError(t *testing.T) {
	require.ErrorContains(t, newRing(t, key("EdDSA")).Run(t.Context()), "does not come from a file")
}

// A process that read half a file, or found none, would reject good tokens.
func TestRing_AReaderDuringASaveSeesOneWholeRing(t *testing.T) {
	path := ringPath(t)
	ring := newRing(t, key("EdDSA").WithID("0"))
	require.NoError(t, ring.Save(path))
	done := make(chan struct{})
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if _, err := keys.OpenRing(path); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for i := range 100 {
		require.NoError(t, ring.Rotate(key([]string{"EdDSA", "ES256", "HS256"}[i%3]).WithID(fmt.Sprint(i+1))))
		require.NoError(t, ring.Retire(fmt.Sprint(i)))
		require.NoError(t, ring.Save(path))
	}
	close(done)
	group.Wait()
}
