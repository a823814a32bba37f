// Package freeport finds ports for servers that cannot choose one themselves.
package freeport

import (
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"testing"
)

var given sync.Map // the addresses returned so far, so that none is returned twice

// Address returns a loopback address on which no process listens. The port lies below the
// dynamic ports, which begin at 49152 in RFC 6335 and at 32768 on Linux. So no other process
// gets it by chance before the server does.
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

// Port returns the port of a new [Address].
func Port(t testing.TB) string {
	t.Helper()
	_, port, err := net.SplitHostPort(Address(t))
	if err != nil {
		t.Fatal(err)
	}
	return port
}
