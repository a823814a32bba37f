//go:build unix && !linux

package redisstore_test

import "syscall"

// endsWithTests is for Linux alone.
func endsWithTests() *syscall.SysProcAttr { return nil }
