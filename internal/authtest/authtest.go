// Package authtest holds what the tests of several packages share.
package authtest

import (
	"time"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/internal/revocation"
)

// IssuedAt sets iat, from which the lifetime counts, as package session does.
func IssuedAt(t time.Time) jwtauth.IssueOption {
	return func(i *revocation.Issue) { i.IssuedAt = t }
}
