package redisstore_test

import "syscall"

// endsWithTests returns attributes with which the kernel kills a server when the tests end,
// even if they crash.
func endsWithTests() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
