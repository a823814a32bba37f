package session

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path"
	"strings"

	"github.com/joinednode/jwtauth"
)

// Names of the cookies of [WithCookies]. Browsers take them over TLS alone, and Chromium
// and Firefox from localhost, too (draft-ietf-httpbis-rfc6265bis, section 4.1.3). Those
// whose name begins with __Host- they take from this host alone; the other one, which
// has a path, a sibling subdomain could set as well, so that it counts only if it is of
// the session that SessionCookie names.
const (
	AccessCookie  = "__Host-access"    // goes with every request
	SessionCookie = "__Host-session"   // the session's id
	RefreshCookie = "__Secure-refresh" // goes to the endpoints alone
)

const (
	// maxCookie is how many bytes a name and its value may have, more than which
	// browsers drop (the same, section 5.6).
	maxCookie = 4096
	// maxRefreshCookies is how many of that name are looked at.
	maxRefreshCookies = 8
)

// Cookies says how browsers keep tokens. See [WithCookies].
type Cookies struct {
	// Path is where browsers see the endpoints of [Manager.Handler], such as
	// "/auth/jwt/": what is in front of a proxy or of http.StripPrefix counts. The
	// refresh token is sent nowhere else. With a wrong one it never arrives, and
	// every refresh is 401.
	Path string

	// TrustedOrigins are other origins whose pages may use the cookies, such as
	// "https://app.example.com" for "https://api.example.com". Browsers send them
	// from the same site only, and CORS, which is not this package's, must stand
	// around the handlers and allow those origins and their credentials.
	TrustedOrigins []string
}

// WithCookies has browsers keep the tokens in cookies that no script can read:
// [AccessCookie], [RefreshCookie] and [SessionCookie], with HttpOnly, Secure and
// SameSite=Lax, each for as long as the session lasts unless it is refreshed, so that an
// access token that has expired is still sent, and refused as such. Then
//
//   - [Manager.Handler] and [Manager.WritePair] set cookies and write no token into a
//     body, and Handler takes tokens from cookies alone; [Manager.JSONHandler] goes
//     on serving clients that keep tokens themselves, and takes none from cookies;
//   - [Manager.Require] and [Manager.Auth] find a token in the Authorization field, and
//     then in the cookie; extractors that WithAccess is given must have
//     jwtauth.FromCookie(AccessCookie) among them;
//   - whatever browsers do by themselves must come from this origin or a trusted one
//     (see [http.CrossOriginProtection]), each POST to Handler included: 403
//     otherwise. Its own protection takes the place of one given to WithAccess. GET,
//     HEAD and OPTIONS pass from any origin, except for WebSockets: handlers must change
//     nothing on them;
//   - tokens of more than 4096 bytes, name of the cookie included, which browsers
//     drop, are an outage, before anything changes.
//
// All tabs share the cookies, and the answer that comes last wins. Pages should log in,
// refresh and log out one at a time, by Web Locks: examples/login has a client to copy.
func WithCookies(cookies Cookies) Option {
	return func(c *config) error {
		c.cookies = &cookies
		if !isCookiePath(cookies.Path) {
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

// isCookiePath reports whether a string is a clean path that a Set-Cookie field can hold.
func isCookiePath(s string) bool {
	for _, c := range s {
		if c <= ' ' || c > '~' || strings.ContainsRune(";?#%\\", c) {
			return false
		}
	}
	return s == "/" || strings.HasPrefix(s, "/") && path.Clean(s) == strings.TrimSuffix(s, "/")
}

// cookieOptions returns what [WithCookies] adds to the Auth of access tokens: the options
// that the user's may replace, and those that are forced.
func (m *Manager) cookieOptions() (cookies, forced []jwtauth.Option) {
	if m.cookies == nil {
		return nil, nil
	}
	cookies = []jwtauth.Option{jwtauth.WithExtractors(jwtauth.FromHeader("Authorization", "Bearer"), jwtauth.FromCookie(AccessCookie))}
	forced = []jwtauth.Option{jwtauth.WithCrossOriginProtection(m.crossOrigin)}
	return cookies, forced
}

// findsCookie returns an error if the access token in its cookie would not be found.
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
	if err := fitCookies(p); err != nil {
		return fmt.Errorf("session: SetCookies: %w", err)
	}
	seconds := int(max(p.ExpiresIn, p.RefreshExpiresIn))
	cookies := []*http.Cookie{
		{Name: AccessCookie, Value: p.AccessToken, Path: "/"},
		{Name: SessionCookie, Value: p.SessionID, Path: "/"},
		{Name: RefreshCookie, Value: p.RefreshToken, Path: m.cookies.Path},
	}
	if m.noAccess { // it comes from elsewhere
		cookies = cookies[1:]
	}
	for _, c := range cookies {
		c.Secure, c.HttpOnly, c.SameSite, c.MaxAge = true, true, http.SameSiteLaxMode, seconds
		if c.Value == "" {
			c.MaxAge = -1
		}
		http.SetCookie(w, c)
	}
	return nil
}

// fitCookies returns an error if browsers would drop a cookie for its size.
func fitCookies(p Pair) error {
	for name, token := range map[string]string{AccessCookie: p.AccessToken, RefreshCookie: p.RefreshToken} {
		if size := len(name) + len(token); size > maxCookie {
			return fmt.Errorf("%s would have %d bytes, and browsers keep %d at most; put less into WithClaims", name, size, maxCookie)
		}
	}
	return nil
}

// refreshCookie returns the refresh token of the session that SessionCookie names, "" if
// there is none: of several the latest, as after a change of the path. The token is not
// verified here.
func refreshCookie(r *http.Request) (token string) {
	bound := r.CookiesNamed(SessionCookie)
	if len(bound) != 1 || bound[0].Value == "" {
		return ""
	}
	latest := int64(0)
	all := r.CookiesNamed(RefreshCookie)
	for _, c := range all[:min(len(all), maxRefreshCookies)] {
		_, rest, _ := strings.Cut(c.Value, ".")
		payload, _, _ := strings.Cut(rest, ".")
		text, err := base64.RawURLEncoding.DecodeString(payload)
		if err != nil {
			continue
		}
		var claims struct {
			Session    string `json:"sid"`
			Generation int64  `json:"gen"`
		}
		if json.Unmarshal(text, &claims) == nil && claims.Session == bound[0].Value && claims.Generation > latest {
			token, latest = c.Value, claims.Generation
		}
	}
	return token
}
