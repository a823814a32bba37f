package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// driver presents requests to a handler at the same price for every library: one
// request for all, of which only the Authorization field changes, and a response
// that keeps nothing.
type driver struct {
	handler       http.Handler
	request       *http.Request
	authorization [1]string
	response      discard
	_             apart
}

// apart keeps what one goroutine writes out of the cache lines of another: such
// a meeting would be the harness's doing, not the library's.
type apart [128]byte

func newDriver(h http.Handler) *driver {
	d := &driver{
		handler:  h,
		request:  httptest.NewRequest(http.MethodGet, route, nil),
		response: discard{header: http.Header{}},
	}
	d.request.Header["Authorization"] = d.authorization[:]
	d.request.SetPathValue("container", container) // what a ServeMux would do
	return d
}

// present sends a request with this Authorization field.
func (d *driver) present(authorization string) {
	d.authorization[0] = authorization
	clear(d.response.header)
	d.response.status = 0
	d.handler.ServeHTTP(&d.response, d.request)
}

// discard is the least that is a ResponseWriter.
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

// counter is the no-op handler, which knows how often it ran. It is not for
// several goroutines: an atomic would be timed with the library.
type counter struct {
	ran int
	_   apart
}

func (c *counter) ServeHTTP(http.ResponseWriter, *http.Request) { c.ran++ }

// judge makes a run worthless in which the handler did not run as often as it
// should have: what is fast because it is wrong is not timed.
func (c *counter) judge(want int) error {
	if c.ran != want {
		return fmt.Errorf("the handler ran %d times, not %d", c.ran, want)
	}
	return nil
}

func bearer(token string) string { return "Bearer " + token }

// accepting times a request that passes. What is seen before was seen in memory
// of its own, as two requests of a real server share none: strings of one memory
// compare without being read.
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

// refusing times a request that does not pass.
func refusing(name string, m middleware, token string) subject {
	next := &counter{}
	d := newDriver(m.wrap(next))
	return subject{name: name, lacks: m.lacks, run: func(b *testing.B) error {
		for value := bearer(token); b.Loop(); {
			d.present(value)
			if d.response.status < 400 {
				return fmt.Errorf("status %d for a token that is to be refused", d.response.status)
			}
		}
		return next.judge(0)
	}}
}
