//go:build unix && !linux

package redisstore_test

import "syscall"

// endsWithTests does nothing except on Linux.
func endsWithTests() *syscall.SysProcAttr { return nil }
