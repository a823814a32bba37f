package sqlstore_test

import (
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// This test runs the program of the package comment with the driver that it names.
func TestTheProgramOfTheDocumentationRuns(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "../../store/sqlstore/sqlstore.go", nil, parser.ParseComments|parser.PackageClauseOnly)
	require.NoError(t, err)
	var program strings.Builder
	for line := range strings.Lines(file.Doc.Text()) {
		if code, ok := strings.CutPrefix(line, "\t"); ok || program.Len() > 0 && strings.TrimSpace(line) == "" {
			program.WriteString(code)
		} else if program.Len() > 0 {
			break
		}
	}
	folder := t.TempDir()
	source, binary := filepath.Join(folder, "main.go"), filepath.Join(folder, "program")
	require.NoError(t, os.WriteFile(source, []byte(program.String()), 0o600))
	out, err := exec.Command("go", "build", "-o", binary, source).CombinedOutput()
	require.NoError(t, err, "%s", out)
	for range 2 {
		cmd := exec.Command(binary)
		cmd.Dir = folder
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	require.FileExists(t, filepath.Join(folder, "auth.db"))
}
