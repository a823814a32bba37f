package keys_test

import (
	"encoding/base64"
	"fmt"
	"io"
	"os"
	"testing"
)

// childVariable turns the test's own program into one that calls LoadOrCreate
// once, for the test that wants several real processes.
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

// child waits until its input ends, so that all start at once, and prints what
// its key signs.
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
