package jwtauth

import (
	"strings"
	"unsafe"

	"github.com/joinednode/jwtauth/internal/revocation"
	"github.com/joinednode/jwtauth/internal/strict"
)

// remembered is what an Auth keeps of a token that it accepted. Only what holds
// as long as its keys do is taken from it: everything else is judged anew.
type remembered struct {
	marks  revocation.Marks
	claims Claims
}

// entrySize is what a remembered token may cost on average, in bytes.
const entrySize = 1 << 10

// recall returns what is remembered of a token, nil if nothing is. A token that
// is too long is not even looked for.
func (a *Auth) recall(token string) *remembered {
	if a.memory == nil || len(token) > a.maxTokenSize {
		return nil
	}
	return a.memory.Get(token)
}

// forget drops a token that expired, or whose keys changed.
func (a *Auth) forget(token string) {
	if a.memory != nil {
		a.memory.Delete(token)
	}
}

// remember keeps a token that was accepted, which must not be part of a larger
// text, such as all the header fields of its request.
func (a *Auth) remember(token string, c *Claims) {
	if a.memory == nil {
		return
	}
	m := remembered{claims: *c}
	if a.clearly {
		m.marks = a.list.Marks(c.Issuer, c.ID, c.SessionID, c.Subject, c.Container)
	}
	a.memory.Put(token, m, m.size()+len(token))
}

// rememberHeader keeps the header of the last token that was accepted, known
// being the one before: nobody but who has the key can change it.
func (a *Auth) rememberHeader(known *strict.KnownHeader, token string, h strict.Header) {
	segment, _, _ := strings.Cut(token, ".")
	if known == nil || known.Segment != segment {
		a.header.Store(&strict.KnownHeader{Segment: strings.Clone(segment), Header: h})
	}
}

// size is what the texts of m take, in bytes. The claims are parts of the
// payload, but for those that were written with escapes.
func (m *remembered) size() int {
	n := len(m.claims.verified.kid) + int(unsafe.Sizeof(verified{})) + len(m.claims.payload) + 16*cap(m.claims.Audience)
	if strings.IndexByte(m.claims.payload, '\\') >= 0 {
		n += len(m.claims.payload)
	}
	return n + n/8 // what the allocator rounds up
}
