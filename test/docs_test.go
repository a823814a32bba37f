// Package test holds the tests that cut across files: documentation, leaks and hostile
// paths. Their coverage is counted by go test -coverpkg=./... ./test.
package test

import (
	"fmt"
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

// shown returns the Go code that the README and the package comment show, as whole programs.
func shown(t *testing.T) map[string]string {
	t.Helper()
	readme, err := os.ReadFile("../README.md")
	require.NoError(t, err)
	blocks := regexp.MustCompile("(?s)```go\n(.*?)```").FindAllStringSubmatch(string(readme), -1)
	require.Len(t, blocks, 2, "README.md shows a server, and its changes for containers")
	routes, functions, found := strings.Cut(blocks[1][1], "\n\n")
	require.True(t, found)

	file, err := parser.ParseFile(token.NewFileSet(), "../jwtauth.go", nil, parser.ParseComments|parser.PackageClauseOnly)
	require.NoError(t, err)
	return map[string]string{
		"the server of the README": blocks[0][1],
		"the package comment":      withImports(indented(file.Doc)),
		"the containers of the README": withImports("func routes(auth *jwtauth.Auth, mux *http.ServeMux) {\n" + routes + "\n}\n" + functions + `
func main()                                           {}
func hello(http.ResponseWriter, *http.Request)        {}
func isOwner(user, password, container string) bool { return false }
`),
	}
}

// withImports returns a program of what uses these packages.
func withImports(code string) string {
	imports := "package main\n\n"
	for _, path := range []string{"errors", "fmt", "log", "net/http", "os", "github.com/joinednode/jwtauth", "github.com/joinednode/jwtauth/keys"} {
		if strings.Contains(code, filepath.Base(path)+".") {
			imports += fmt.Sprintf("import %q\n", path)
		}
	}
	return imports + code
}

// indented returns the first block of code of a doc comment.
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
	for where, source := range shown(t) {
		t.Run(where, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "main.go")
			require.NoError(t, os.WriteFile(file, []byte(source), 0o600))
			out, err := exec.Command("go", "vet", file).CombinedOutput()
			require.NoError(t, err, "%s", out)
		})
	}
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

// anchors are the headings of a page as links name them.
func anchors(page string) (all []string) {
	for line := range strings.Lines(page) {
		if title := strings.TrimLeft(line, "#"); title != line {
			all = append(all, strings.ReplaceAll(strings.ToLower(strings.TrimSpace(title)), " ", "-"))
		}
	}
	return all
}
