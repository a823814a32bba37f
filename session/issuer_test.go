package session_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/keys"
	"github.com/joinednode/jwtauth/session"
)

// Another issuer that is trusted with calls names a subject and a session of ours.
func TestATrustedIssuerHasNoBusinessWithSessions(t *testing.T) {
	theirs := keys.HS256([]byte("fedcba9876543210fedcba9876543210"))
	a := newAPI(t, session.WithAccess(jwtauth.WithIssuer("https://api.example.com"), jwtauth.WithTrustedIssuer("https://id.example.com", theirs)))
	pair := a.login(t, aliceLogin)
	other, err := jwtauth.New(theirs, jwtauth.WithIssuer("https://id.example.com"), jwtauth.WithTypes(session.AccessType), jwtauth.WithAnyContainer(), jwtauth.WithClock(a.clock.now))
	require.NoError(t, err)
	claims, err := a.Auth().VerifyAnyContainer(t.Context(), pair.AccessToken)
	require.NoError(t, err)
	token, err := other.Issue("", jwtauth.Subject(claims.Subject), jwtauth.SessionID(claims.SessionID))
	require.NoError(t, err)
	require.Equal(t, 200, a.me(t, token).status, "it is good for calls")
	require.Equal(t, 401, a.call(t, "GET", "/auth/jwt/sessions/", "", bearer(token)...).status)
	for _, body := range []string{"", `{"everywhere":true}`, object("session_id", claims.SessionID)} {
		require.Equal(t, 401, a.call(t, "POST", "/auth/jwt/logout/", body, bearer(token)...).status, body)
	}
	a.live(t, pair, true)
}
