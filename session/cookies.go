package session

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"strings"

	"github.com/joinednode/jwtauth"
)

// Names of the cookies of [WithCookies]. Browsers accept them over TLS alone, from
// this host alone, and Chromium and Firefox from localhost, too (RFC 6265bis, section
// 4.1.3).
const (
	AccessCookie  = "__Host-access"    // goes with every request
	RefreshCookie = "__Secure-refresh" // goes to the endpoints alone
)

// maxCookie is how many bytes a name and its value may have, more than which browsers
// drop (RFC 6265bis, section 5.6).
const maxCookie = 4096

// Cookies says how browsers keep tokens. See [WithCookies].
type Cookies struct {
	// Path is where browsers see the endpoints of [Manager.Handler], such as
	// "/auth/jwt/": what is in front of a proxy or of http.StripPrefix counts. The
	// refresh token is sent nowhere else. With a wrong one it never arrives, and
	// every refresh is 401.
	Path string

	// TrustedOrigins are other origins whose pages may use the cookies, such as
	// "https://app.example.com" for "https://api.example.com". Browsers send them
	// from the same site only, and CORS, which is not this package's, must allow
	// those origins and their credentials.
	TrustedOrigins []string
}

// WithCookies has browsers keep the tokens in cookies that no script can read:
// [AccessCookie] and [RefreshCookie], with HttpOnly, Secure and SameSite=Lax, each
// for as long as its token lives. Then
//
//   - [Manager.Handler] and [Manager.Deliver] set cookies and write no token into a
//     body, and Handler ignores tokens in bodies; [Manager.JSONHandler] goes on
//     serving clients that keep tokens themselves;
//   - [Manager.Require] and [Manager.Auth] find a token in the Authorization field, in
//     ?token=, and then in the cookie; whoever gives WithAccess extractors of their
//     own gives them jwtauth.FromCookie(AccessCookie), too;
//   - whatever browsers do by themselves must come from this origin or a trusted one
//     (see [http.CrossOriginProtection]), each POST to Handler included: 403
//     otherwise.
func WithCookies(cookies Cookies) Option {
	return func(c *config) error {
		c.cookies = &cookies
		u, err := url.Parse(cookies.Path)
		clean := err == nil && u.Path == cookies.Path && path.Clean(u.Path) == strings.TrimSuffix(u.Path, "/") || cookies.Path == "/"
		if !clean || !strings.HasPrefix(cookies.Path, "/") || strings.ContainsFunc(cookies.Path, func(r rune) bool { return r <= ' ' || r > '~' || r == ';' }) {
			return fmt.Errorf("WithCookies: the Path %q must be where browsers see the endpoints, such as \"/auth/jwt/\", in ASCII and without semicolons", cookies.Path)
		}
		c.crossOrigin = http.NewCrossOriginProtection()
		for _, origin := range cookies.TrustedOrigins {
			if err := c.crossOrigin.AddTrustedOrigin(origin); err != nil {
				return fmt.Errorf("WithCookies: TrustedOrigins: %w; give it one such as \"https://app.example.com\"", err)
			}
		}
		return nil
	}
}

// cookieOptions are those of the Auths of access and refresh tokens: the first may be
// followed by extractors of the user's, the others not.
func (m *Manager) cookieOptions() (access, always, refresh []jwtauth.Option) {
	if m.cookies == nil {
		return nil, nil, nil
	}
	access = []jwtauth.Option{jwtauth.WithExtractors(jwtauth.FromHeader("Authorization", "Bearer"), jwtauth.FromQuery("token"), jwtauth.FromCookie(AccessCookie))}
	always = []jwtauth.Option{jwtauth.WithCrossOriginProtection(m.crossOrigin)}
	return access, always, append(always, jwtauth.WithExtractors(jwtauth.FromCookie(RefreshCookie)))
}

// findsCookie is an error if the access token in its cookie would not be found.
func (m *Manager) findsCookie() error {
	if m.cookies == nil || m.noAccess {
		return nil
	}
	r, err := http.NewRequest(http.MethodGet, "/", nil)
	if err != nil {
		return err
	}
	r.AddCookie(&http.Cookie{Name: AccessCookie, Value: "a.b.c"})
	if p, err := m.access.Extract(r); err != nil || p.In != jwtauth.InCookie {
		return errors.New("WithCookies: the extractors that WithAccess was given leave out jwtauth.FromCookie(session.AccessCookie); add it")
	}
	return nil
}

// SetCookies sets the cookies of [WithCookies] for a pair, and with the zero Pair takes
// them away: for logins that end in a redirect, such as OIDC. [Manager.Handler] does so
// by itself. The error, of a token that browsers would drop for its size, or of a
// Manager without WithCookies, comes before any is set.
func (m *Manager) SetCookies(w http.ResponseWriter, p Pair) error {
	if m.cookies == nil {
		return errors.New("session: SetCookies: the Manager was made without WithCookies")
	}
	cookies := []*http.Cookie{
		{Name: AccessCookie, Value: p.AccessToken, Path: "/", MaxAge: int(p.ExpiresIn)},
		{Name: RefreshCookie, Value: p.RefreshToken, Path: m.cookies.Path, MaxAge: int(p.RefreshExpiresIn)},
	}
	for _, c := range cookies {
		if size := len(c.Name) + len(c.Value); size > maxCookie {
			return fmt.Errorf("session: SetCookies: %s would have %d bytes, and browsers keep %d at most; put less into WithClaims", c.Name, size, maxCookie)
		}
	}
	for _, c := range cookies {
		c.Secure, c.HttpOnly, c.SameSite = true, true, http.SameSiteLaxMode
		if c.Value == "" {
			c.MaxAge = -1
		}
		http.SetCookie(w, c)
	}
	return nil
}
