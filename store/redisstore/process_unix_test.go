//go:build unix && !linux

package redisstore_test

import "syscall"

// endsWithTests returns nil: only Linux can end a server with the tests.
func endsWithTests() *syscall.SysProcAttr { return nil }
