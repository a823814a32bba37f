//go:build unix && !linux

package redisstore_test

import "syscall"

// endsWithTests returns nil, since only Linux can kill a server when the tests end.
func endsWithTests() *syscall.SysProcAttr { return nil }
