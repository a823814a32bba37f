package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// driver sends requests to a handler at the same cost for every library: one request for
// all, in which only the Authorization field changes, and a response that keeps nothing.
type driver struct {
	handler       http.Handler
	request       *http.Request
	authorization [1]string
	response      discard
	_             apart
}

// apart keeps what one goroutine writes out of the cache lines of another. Otherwise the
// harness would slow the library down.
type apart [128]byte

func newDriver(h http.Handler) *driver {
	d := &driver{
		handler:  h,
		request:  httptest.NewRequest(http.MethodGet, route, nil),
		response: discard{header: http.Header{}},
	}
	d.request.Header["Authorization"] = d.authorization[:]
	d.request.SetPathValue("container", container) // as a ServeMux would
	return d
}

// present sends a request with this Authorization field.
func (d *driver) present(authorization string) {
	d.authorization[0] = authorization
	clear(d.response.header)
	d.response.status = 0
	d.handler.ServeHTTP(&d.response, d.request)
}

// discard is a minimal ResponseWriter.
type discard struct {
	header http.Header
	status int
}

func (d *discard) Header() http.Header { return d.header }

func (d *discard) Write(p []byte) (int, error) {
	if d.status == 0 {
		d.status = http.StatusOK
	}
	return len(p), nil
}

func (d *discard) WriteHeader(status int) {
	if d.status == 0 {
		d.status = status
	}
}

// counter is a handler that counts its calls. It is not safe for concurrent use, since the
// cost of an atomic counter would be measured with the library's.
type counter struct {
	ran int
	_   apart
}

func (c *counter) ServeHTTP(http.ResponseWriter, *http.Request) { c.ran++ }

// judge returns an error if the handler did not run as often as it should have. A library
// that is fast because it is wrong is not timed.
func (c *counter) judge(want int) error {
	if c.ran != want {
		return fmt.Errorf("the handler ran %d times, not %d", c.ran, want)
	}
	return nil
}

func bearer(token string) string { return "Bearer " + token }

// accepting times a request that is allowed. The first request sends a copy of the token,
// since two requests of a real server share no memory. Go compares two strings at the same
// address without reading them.
func accepting(name string, m middleware, token string) subject {
	next := &counter{}
	d := newDriver(m.wrap(next))
	d.present(strings.Clone(bearer(token)))
	return subject{name: name, lacks: m.lacks, run: func(b *testing.B) error {
		next.ran = 0
		for value := bearer(token); b.Loop(); {
			d.present(value)
		}
		return next.judge(b.N)
	}}
}

// refusing times a request that is denied.
func refusing(name string, m middleware, token string) subject {
	next := &counter{}
	d := newDriver(m.wrap(next))
	return subject{name: name, lacks: m.lacks, run: func(b *testing.B) error {
		for value := bearer(token); b.Loop(); {
			d.present(value)
			if d.response.status < 400 {
				return fmt.Errorf("status %d for a token that must be rejected", d.response.status)
			}
		}
		return next.judge(0)
	}}
}
