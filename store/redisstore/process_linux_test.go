package redisstore_test

import "syscall"

// endsWithTests returns attributes that make the kernel kill a server when the tests end,
// even if the tests crash.
func endsWithTests() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
