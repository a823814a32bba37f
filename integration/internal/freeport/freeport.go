// Package freeport finds ports for servers that tests start and that must be told one.
package freeport

import (
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"testing"
)

var given sync.Map // by address: none is given twice

// Address is one of the loopback interface where nobody listens. It lies below those
// that systems give to clients and to whoever asks for any port (RFC 6335 has those from 49152
// on, Linux from 32768), so that nobody has it by chance before the server does.
func Address(t testing.TB) string {
	t.Helper()
	for range 100 {
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(15000+rand.IntN(17000)))
		if _, twice := given.LoadOrStore(address, true); twice {
			continue
		}
		if listener, err := net.Listen("tcp", address); err == nil {
			listener.Close()
			return address
		}
	}
	t.Fatal("no port is free")
	return ""
}

// Port is the port of [Address].
func Port(t testing.TB) string {
	t.Helper()
	_, port, err := net.SplitHostPort(Address(t))
	if err != nil {
		t.Fatal(err)
	}
	return port
}
