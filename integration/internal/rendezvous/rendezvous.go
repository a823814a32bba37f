// Package rendezvous makes requests wait for one another, so that a test knows that they run
// at the same time.
package rendezvous

import (
	"net/http"
	"sync"
)

// Point is a place where requests wait for one another. At a zero Point, no request waits.
type Point struct {
	mu      sync.Mutex
	missing int
	all     chan struct{}
}

// Await holds the next n requests until all of them have arrived.
func (p *Point) Await(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.missing, p.all = n, make(chan struct{})
}

// Before returns a handler whose requests wait at the point before next handles them.
func (p *Point) Before(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.meet(r)
		next.ServeHTTP(w, r)
	})
}

// meet also returns when the client gives up.
func (p *Point) meet(r *http.Request) {
	p.mu.Lock()
	if p.missing == 0 {
		p.mu.Unlock()
		return
	}
	p.missing--
	all := p.all
	if p.missing == 0 {
		close(all)
	}
	p.mu.Unlock()
	select {
	case <-all:
	case <-r.Context().Done():
	}
}
