package redisstore_test

import "syscall"

// endsWithTests makes a server end with the tests, however they end.
func endsWithTests() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
