// Package test holds the tests that cut across files: documentation, leaks and hostile
// paths. Their coverage is counted by go test -coverpkg=./... ./test.
package test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// programs are the complete programs in the documentation.
func programs(t *testing.T) map[string]string {
	t.Helper()
	readme, err := os.ReadFile("../README.md")
	require.NoError(t, err)
	block := regexp.MustCompile("(?s)```go\n(.*?)```").FindSubmatch(readme)
	require.NotNil(t, block, "README.md shows no program")

	file, err := parser.ParseFile(token.NewFileSet(), "../jwtauth.go", nil, parser.ParseComments|parser.PackageClauseOnly)
	require.NoError(t, err)
	return map[string]string{"README.md": string(block[1]), "the package comment": indented(file.Doc)}
}

// indented returns the first code block of a doc comment.
func indented(doc *ast.CommentGroup) string {
	var code []string
	for line := range strings.Lines(doc.Text()) {
		switch {
		case strings.HasPrefix(line, "\t"):
			code = append(code, strings.TrimPrefix(line, "\t"))
		case len(code) > 0 && strings.TrimSpace(line) != "":
			return strings.Join(code, "")
		case len(code) > 0:
			code = append(code, line)
		}
	}
	return strings.Join(code, "")
}

func TestPrograms_OfTheDocumentationBuild(t *testing.T) {
	shown := programs(t)
	for where, source := range shown {
		t.Run("of "+where+" build", func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "main.go")
			require.NoError(t, os.WriteFile(file, []byte(source), 0o600))
			out, err := exec.Command("go", "vet", file).CombinedOutput()
			require.NoError(t, err, "%s", out)
		})
	}
	require.Equal(t, strings.TrimSpace(shown["README.md"]), strings.TrimSpace(shown["the package comment"]),
		"the README and the package comment show one program")
}

var (
	link = regexp.MustCompile(`\]\(([^)]+)\)`)
	code = regexp.MustCompile("(?s)```.*?```|`[^`]*`")
)

// Links to other sites are not followed.
func TestLinks_OfEveryDocumentLeadToAFile(t *testing.T) {
	pages, err := filepath.Glob("../docs/*.md")
	require.NoError(t, err)
	require.NotEmpty(t, pages)
	for _, page := range append(pages, "../README.md", "../CHANGELOG.md", "../SECURITY.md") {
		text, err := os.ReadFile(page)
		require.NoError(t, err)
		for _, found := range link.FindAllStringSubmatch(code.ReplaceAllString(string(text), ""), -1) {
			to, heading, _ := strings.Cut(found[1], "#")
			if strings.Contains(to, ":") {
				continue
			}
			target := page
			if to != "" {
				target = filepath.Join(filepath.Dir(page), to)
			}
			_, err := os.Stat(target)
			require.NoError(t, err, "%s links to %s", page, found[1])
			if heading != "" {
				shown, err := os.ReadFile(target)
				require.NoError(t, err)
				require.Contains(t, anchors(string(shown)), heading, "%s links to %s", page, found[1])
			}
		}
	}
}

// anchors returns the anchors of the headings of a page.
func anchors(page string) (all []string) {
	for line := range strings.Lines(page) {
		if title := strings.TrimLeft(line, "#"); title != line {
			all = append(all, strings.ReplaceAll(strings.ToLower(strings.TrimSpace(title)), " ", "-"))
		}
	}
	return all
}
