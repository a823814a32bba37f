// Package rendezvous has requests wait for each other, so that a test knows that they
// are under way at once.
package rendezvous

import (
	"net/http"
	"sync"
)

// Point is where they meet. The zero Point has nobody wait.
type Point struct {
	mu      sync.Mutex
	missing int
	all     chan struct{}
}

// Await has the next n requests go on when all of them are there.
func (p *Point) Await(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.missing, p.all = n, make(chan struct{})
}

// Before is a handler whose requests meet here before next.
func (p *Point) Before(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.meet(r)
		next.ServeHTTP(w, r)
	})
}

// meet waits no longer than the client does.
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
