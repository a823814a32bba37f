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

// The names of the cookies of [WithCookies]. See "Cookies" in the package comment.
const (
	AccessCookie  = "__Host-access"    // goes with every request to this host
	SessionCookie = "__Host-session"   // the session's ID
	RefreshCookie = "__Secure-refresh" // goes only to the endpoints
)

const (
	// maxCookie is the size of a name and its value, in bytes, above which browsers drop
	// a cookie (draft-ietf-httpbis-rfc6265bis, section 5.6).
	maxCookie = 4096
	// maxRefreshCookies is how many refresh cookies of a request are read.
	maxRefreshCookies = 8
)

// Cookies configures [WithCookies].
type Cookies struct {
	// Path is where browsers see the endpoints of [Manager.Handler], such as
	// "/auth/jwt/". With a proxy or http.StripPrefix, that is the path in front of it.
	// The refresh token is sent only there. If Path is wrong, the token never arrives,
	// and every refresh is 401.
	Path string

	// TrustedOrigins are other origins whose pages may use the cookies, such as
	// "https://app.example.com" for "https://api.example.com". Browsers send the cookies
	// only from the same site. The handlers also need CORS, which this package does not
	// provide: it must allow these origins, with credentials.
	TrustedOrigins []string
}

// WithCookies makes browsers keep the tokens in cookies that no script can read: see
// "Cookies" in the package comment. By default clients keep the tokens themselves.
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

// cookieOptions returns what [WithCookies] adds to the Auth of access tokens: options
// that the user's may replace, and options that are forced.
func (m *Manager) cookieOptions() (cookies, forced []jwtauth.Option) {
	if m.cookies == nil {
		return nil, nil
	}
	cookies = []jwtauth.Option{jwtauth.WithExtractors(jwtauth.FromHeader("Authorization", "Bearer"), jwtauth.FromCookie(AccessCookie))}
	forced = []jwtauth.Option{jwtauth.WithCrossOriginProtection(m.crossOrigin)}
	return cookies, forced
}

// findsCookie returns an error if the extractors do not look into the access token's
// cookie.
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

// SetCookies sets the cookies of [WithCookies] for a pair. With the zero Pair it deletes
// them. Use it for logins that end in a redirect, such as OIDC; [Manager.Handler] does so
// itself. If a token is too large for a cookie, or the Manager has no WithCookies,
// SetCookies returns an error and sets none.
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
	if m.noAccess { // access tokens come from elsewhere
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

// refreshCookie returns the refresh token of the session that SessionCookie names, or ""
// if there is none. If there are several, such as after a change of the path, it returns
// the latest. It does not verify the token.
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
