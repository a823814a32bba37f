// Package npm installs what the tests' programs for node need.
package npm

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// Folder returns a folder with package.json and the program of the test's own folder,
// and with the packages installed that they need. It skips the test where node or npm is
// not installed.
func Folder(t *testing.T, program string) string {
	t.Helper()
	for _, tool := range []string{"node", "npm"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip(tool + " is not installed")
		}
	}
	folder := t.TempDir()
	for _, name := range []string{"package.json", program} {
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(folder, name), text, 0o600))
	}
	install := exec.CommandContext(t.Context(), "npm", "install", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts")
	install.Dir = folder
	out, err := install.CombinedOutput()
	require.NoError(t, err, "%s", out)
	return folder
}
