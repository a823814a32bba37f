// Command fileproxy lays modules out in a folder as the go command wants a module
// proxy, so that GOPROXY=file://PROXY gives them to a user as a release would:
//
//	fileproxy PROXY VERSION DIR...
//
// Each DIR holds a go.mod. What is in its zip is what the go command would put there:
// no module below it, no vendor, nothing of a version control.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/module"
	"golang.org/x/mod/zip"
)

func main() {
	if len(os.Args) < 4 {
		fmt.Fprintln(os.Stderr, "usage: fileproxy PROXY VERSION DIR...")
		os.Exit(2)
	}
	for _, dir := range os.Args[3:] {
		if err := add(os.Args[1], os.Args[2], dir); err != nil {
			fmt.Fprintf(os.Stderr, "fileproxy: %s: %v\n", dir, err)
			os.Exit(1)
		}
	}
}

// add puts the module of a folder into the proxy, as the one version that it has.
func add(proxy, version, dir string) error {
	mod, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	if err != nil {
		return err
	}
	path := modfile.ModulePath(mod)
	escaped, err := module.EscapePath(path)
	if err != nil {
		return err
	}
	into := filepath.Join(proxy, filepath.FromSlash(escaped), "@v")
	if err := os.MkdirAll(into, 0o755); err != nil {
		return err
	}
	info, err := json.Marshal(struct {
		Version string
		Time    time.Time
	}{version, time.Now().UTC()})
	if err != nil {
		return err
	}
	for name, text := range map[string][]byte{"list": []byte(version + "\n"), version + ".info": info, version + ".mod": mod} {
		if err := os.WriteFile(filepath.Join(into, name), text, 0o644); err != nil {
			return err
		}
	}
	archive, err := os.Create(filepath.Join(into, version+".zip"))
	if err != nil {
		return err
	}
	// CreateFromDir refuses what the go command would: names that differ in case
	// only, files that are too large, a version that is none.
	return errors.Join(zip.CreateFromDir(archive, module.Version{Path: path, Version: version}, dir), archive.Close())
}
