// Package release_test tests that .ci/release rejects bad releases. It needs git and bash, and
// is skipped outside a clone.
package release_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// clone returns a new clone for one test.
type clone struct {
	*testing.T
	dir string
}

func (c clone) run(name string, args ...string) {
	c.Helper()
	cmd := exec.CommandContext(c.Context(), name, args...)
	cmd.Dir = c.dir
	cmd.Env = append(os.Environ(), "GOWORK=off", "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.com", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.com")
	out, err := cmd.CombinedOutput()
	require.NoError(c, err, "%s %s: %s", name, args, out)
}

func (c clone) write(name, text string) {
	c.Helper()
	path := filepath.Join(c.dir, name)
	require.NoError(c, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(c, os.WriteFile(path, []byte(text), 0o600))
}

func (c clone) remove(name string) {
	c.Helper()
	require.NoError(c, os.RemoveAll(filepath.Join(c.dir, name)))
}

// version sets the version to be released.
func (c clone) version(v string) {
	c.Helper()
	c.write("CHANGELOG.md", "# Changelog\n\n## [Unreleased]\n\n## ["+v+"] - 2006-01-02\n")
	c.run("bash", "-c", `sed -i -E 's,^(\s*(require )?github.com/joinednode/jwtauth(/[a-z/]+)?) v.*,\1 v`+v+`,' $(git ls-files '*/go.mod')`)
}

func (c clone) commit() {
	c.Helper()
	c.run("git", "add", "--all")
	c.run("git", "commit", "--quiet", "--allow-empty", "--message=a commit")
}

func TestTheCheckOfARelease(t *testing.T) {
	if err := exec.Command("git", "rev-parse", "HEAD").Run(); err != nil {
		t.Skip("this is not a clone, or git is not installed")
	}
	script, err := os.ReadFile("../../.ci/release")
	require.NoError(t, err)

	original := clone{t, t.TempDir()}
	original.run("git", "clone", "--quiet", "--no-tags", repository(t), ".")
	original.write(".ci/release", string(script))
	original.write("keys/sample.go", "package keys\n\n// Sample is compared.\nfunc Sample(n int) {}\n")
	original.write("internal/sample/sample.go", "// Package sample is no user's.\npackage sample\n\nfunc Sample(n int) {}\n")
	original.write("store/redisstore/sample.go", "package redisstore\n\n// Sample is compared.\nfunc Sample(n int) {}\n")
	original.commit()

	// These changes happen between two versions.
	broken := func(c clone) {
		c.write("keys/sample.go", "package keys\n\n// Sample is broken.\nfunc Sample(n int64) {}\n")
	}
	const change = "- ./keys.Sample: changed from func(int) to func(int64)"
	tests := []struct {
		name       string
		last, next string
		edit       func(c clone)
		says       string
		fails      bool
	}{
		{"a first release has nothing to break", "", "0.1.0", broken, "no release before v0.1.0", false},
		{"a patch release must not break the API", "0.1.0", "0.1.1", broken, change, true},
		{"a minor release may, below 1.0", "0.1.9", "0.2.0", broken, change, false},
		{"a nested module must not be broken either", "0.1.0", "0.1.1", func(c clone) {
			c.write("store/redisstore/sample.go", "package redisstore\n")
		}, "Sample: removed", true},
		{"what is internal may go, and what is added is told", "0.1.0", "0.1.1", func(c clone) {
			c.remove("internal/sample")
			c.write("keys/added.go", "package keys\n\n// Added is new.\nfunc Added() {}\n")
		}, "- ./keys.Added: added", false},
		{"a module without a licence is not released", "", "0.1.0", func(c clone) { c.remove("store/redisstore/LICENSE") }, "store/redisstore has not the LICENSE", true},
		{"a module that requires another version is not released", "", "0.1.0", func(c clone) {
			c.run("go", "mod", "edit", "-require=github.com/joinednode/jwtauth@v0.0.9", "store/redisstore/go.mod")
		}, "store/redisstore requires github.com/joinednode/jwtauth v0.0.9, which is not v0.1.0", true},
		{"a module whose requirements cannot be found is not released", "", "0.1.0", func(c clone) {
			c.run("go", "mod", "edit", "-require=github.com/joinednode/jwtauth/nowhere@v0.1.0", "store/redisstore/go.mod")
		}, "what store/redisstore requires cannot be found", true},
		{"a version is named by its heading", "", "0.1.0", func(c clone) { c.write("CHANGELOG.md", "## [Unreleased]\n\n## 0.1.0\n") }, "CHANGELOG.md names no version", true},
		{"earlier releases without their tags are not taken for a first one", "", "0.1.1", func(c clone) {
			c.write("CHANGELOG.md", "## [0.1.1] - 2006-01-02\n\n## [0.1.0] - 2006-01-02\n")
		}, "git fetch --tags", true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := clone{t, t.TempDir()}
			c.run("git", "clone", "--quiet", original.dir, ".")
			if test.last != "" {
				c.version(test.last)
				c.commit()
				c.run("git", "tag", "v"+test.last)
				c.run("git", "tag", "store/redisstore/v"+test.last)
			}
			c.version(test.next)
			test.edit(c)
			c.commit()

			check := exec.CommandContext(t.Context(), "bash", ".ci/release", "--quick")
			check.Dir = c.dir
			out, err := check.CombinedOutput()
			require.Equal(t, test.fails, err != nil, "%s", out)
			require.Contains(t, string(out), test.says)
		})
	}
}

func repository(t *testing.T) string {
	t.Helper()
	path, err := filepath.Abs("../..")
	require.NoError(t, err)
	return path
}
