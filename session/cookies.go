package session

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
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
	// maxRefreshCookies is how many refresh cookies of one session are compared.
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
	// "https://app.example.com" for "https://api.example.com". Without Embedded, browsers
	// send the cookies only from pages of the same site. The handlers also need CORS, which
	// this package does not provide: it must allow these origins, with credentials.
	TrustedOrigins []string

	// Embedded lets pages use the cookies in a frame on another site: they are
	// SameSite=None and Partitioned, so each embedding site has cookies of its own. The
	// default is SameSite=Lax, with which browsers send none from such a frame.
	Embedded bool

	// KeepFormer keeps the former session of a browser that logs in again. By default
	// create/ ends it, since the browser no longer has its tokens. It finds the session by
	// its refresh token, so it cannot end one of [WithoutRefresh].
	KeepFormer bool
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
		var errs []error
		for _, trusted := range cookies.TrustedOrigins {
			origin, err := normalOrigin(trusted)
			if err == nil {
				err = c.crossOrigin.AddTrustedOrigin(origin)
			}
			if err != nil {
				errs = append(errs, fmt.Errorf("WithCookies: the trusted origin %q %w", trusted, err))
			}
		}
		return errors.Join(errs...)
	}
}

// normalOrigin returns an origin as browsers write it in the Origin field (RFC 6454, section
// 6.2): in small letters, and without a default port or a slash at the end. An origin that no
// browser could send is an error, since it would never match.
func normalOrigin(origin string) (string, error) {
	u, err := url.Parse(origin)
	switch {
	case err != nil || u.Scheme == "" || u.Host == "":
		return "", errors.New("is not an origin; write one such as \"https://app.example.com\"")
	case strings.Contains(u.Host, "*"):
		return "", errors.New("has a wildcard; name each origin")
	case u.User != nil || u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.ForceQuery || strings.Contains(origin, "#"):
		return "", fmt.Errorf("has more than scheme, host and port; write \"%s://%s\"", u.Scheme, u.Host)
	case strings.ContainsFunc(u.Host, func(c rune) bool { return c > '~' }):
		return "", errors.New("has a host that is not ASCII; write it as browsers send it, such as \"https://xn--bcher-kva.example\"")
	}
	host := strings.ToLower(u.Host)
	if port, is := map[string]string{"https": ":443", "http": ":80"}[u.Scheme]; is {
		host = strings.TrimSuffix(host, port)
	}
	return u.Scheme + "://" + strings.TrimSuffix(host, ":"), nil
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
		c.Secure, c.HttpOnly, c.SameSite = true, true, http.SameSiteLaxMode
		if m.cookies.Embedded {
			c.SameSite, c.Partitioned = http.SameSiteNoneMode, true
		}
		switch {
		case c.Value == "":
			c.MaxAge = -1
		case !p.brief:
			c.MaxAge = seconds
		}
		http.SetCookie(w, c)
	}
	return nil
}

// errTooLarge: a token does not fit into a cookie. Trying again does not help, so
// [Manager.Handler] answers 500. The error of Login and Refresh is also
// jwtauth.ErrUnavailable, so that programs which deny with it do not log the client out.
var errTooLarge = errors.New("browsers would drop the cookie")

// fitCookies returns an error if browsers would drop a cookie for its size.
func fitCookies(p Pair) error {
	for name, token := range map[string]string{AccessCookie: p.AccessToken, RefreshCookie: p.RefreshToken} {
		if size := len(name) + len(token); size > maxCookie {
			claim, bytes := largestClaim(token)
			return fmt.Errorf("%w: %s would have %d bytes, and browsers keep %d at most; the largest claim is %s with %d bytes: put less into WithClaims", errTooLarge, name, size, maxCookie, claim, bytes)
		}
	}
	return nil
}

// largestClaim returns the name of a token's largest claim, and the size of its JSON.
func largestClaim(token string) (name string, size int) {
	_, rest, _ := strings.Cut(token, ".")
	payload, _, _ := strings.Cut(rest, ".")
	text, _ := base64.RawURLEncoding.DecodeString(payload)
	var claims map[string]json.RawMessage
	_ = json.Unmarshal(text, &claims) // of a token that was just signed
	for claim, value := range claims {
		if len(value) > size {
			name, size = claim, len(value)
		}
	}
	return name, size
}

var fromSessionCookie = jwtauth.FromCookie(SessionCookie)

// refreshCookie returns the refresh token of the session that SessionCookie names, or ""
// if there is none. If there are several, such as after a change of the path, it returns
// the latest. It does not verify the token. Cookies of other sessions, which a sibling
// subdomain can set, do not count, however many there are.
func refreshCookie(r *http.Request) (token string) {
	bound, err := fromSessionCookie(r)
	if err != nil || bound.Token == "" {
		return ""
	}
	latest, seen := int64(0), 0
	for _, c := range r.CookiesNamed(RefreshCookie) {
		session, generation := boundTo(c.Value)
		if session != bound.Token {
			continue
		}
		if generation > latest {
			token, latest = c.Value, generation
		}
		if seen++; seen == maxRefreshCookies {
			break
		}
	}
	return token
}

// boundTo returns the session and the generation that a refresh token names, without
// verifying it.
func boundTo(token string) (session string, generation int64) {
	if len(token) > maxCookie {
		return "", 0
	}
	_, rest, _ := strings.Cut(token, ".")
	payload, _, _ := strings.Cut(rest, ".")
	text, err := base64.RawURLEncoding.DecodeString(payload)
	if err != nil {
		return "", 0
	}
	var claims struct {
		Session    string `json:"sid"`
		Generation int64  `json:"gen"`
	}
	if err := json.Unmarshal(text, &claims); err != nil {
		return "", 0
	}
	return claims.Session, claims.Generation
}

// warnOfPath logs two signs that the refresh token's cookie does not reach the endpoints,
// each once: a request's path is not within that of the cookie, or a browser sent the
// session's cookie to refresh/ without that of the refresh token.
func (m *Manager) warnOfPath(r *http.Request) {
	path, _, _ := strings.Cut(r.RequestURI, "?") // http.StripPrefix leaves it alone
	if !strings.HasPrefix(path, "/") {
		path = r.URL.Path
	}
	if !isWithin(path, m.cookies.Path) && m.warnedOfPath.CompareAndSwap(false, true) {
		m.log().WarnContext(r.Context(), "session: the endpoints are not within the path of the cookies, so no refresh token arrives, unless a proxy changes the path; set the Path of WithCookies to where browsers see the endpoints",
			"cookies", m.cookies.Path, "request", clip(path))
	}
	bound, err := fromSessionCookie(r)
	if err == nil && bound.Token != "" && len(r.CookiesNamed(RefreshCookie)) == 0 && strings.HasSuffix(strings.TrimSuffix(path, "/"), "/refresh") && m.warnedOfRefresh.CompareAndSwap(false, true) {
		m.log().WarnContext(r.Context(), "session: a browser sent the cookie of a session without that of its refresh token; usually the Path of WithCookies is not where browsers see the endpoints",
			"cookies", m.cookies.Path, "request", clip(path))
	}
}

// warnOfHTTP logs once that a page without TLS logs in: browsers drop Secure cookies there,
// except for pages of this machine. The Origin field tells, since TLS may end at a proxy.
func (m *Manager) warnOfHTTP(r *http.Request) {
	origin, err := url.Parse(r.Header.Get("Origin"))
	if err != nil || origin.Scheme != "http" || isLoopback(origin.Hostname()) || !m.warnedOfHTTP.CompareAndSwap(false, true) {
		return
	}
	m.log().WarnContext(r.Context(), "session: a page over plain HTTP logs in, and browsers drop its cookies, which are Secure; use https, or localhost for development",
		"origin", clip(origin.Scheme+"://"+origin.Host))
}

// isLoopback reports whether a host is this machine, as browsers see it.
func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || ip != nil && ip.IsLoopback()
}

// isWithin reports whether browsers send a cookie of a path with requests for another one
// (RFC 6265, section 5.1.4).
func isWithin(path, cookie string) bool {
	return path == cookie || strings.HasPrefix(path, strings.TrimSuffix(cookie, "/")+"/")
}

// clip shortens a path or an origin that a client may have chosen.
func clip(path string) string {
	const most = 200
	if len(path) <= most {
		return path
	}
	return strings.ToValidUTF8(path[:most], "") + "…"
}
