// Command fileproxy writes modules to a folder in the layout of a module proxy. With
// GOPROXY=file://PROXY, the go command then uses them like a release:
//
//	fileproxy PROXY VERSION DIR...
//
// Each DIR has a go.mod. Its zip has the files that the go command would put there. Nested
// modules, vendor folders and version control files are left out.
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

// add writes the module of a folder to the proxy, as its only version.
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
	// CreateFromDir rejects the same as the go command: names that differ only in case,
	// files that are too large and invalid versions.
	return errors.Join(zip.CreateFromDir(archive, module.Version{Path: path, Version: version}, dir), archive.Close())
}
