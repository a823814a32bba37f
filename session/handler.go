package session

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/internal/reply"
	"github.com/joinednode/jwtauth/internal/strict"
)

// Credentials are what a client sent to create/. Printing or logging them shows nothing.
type Credentials struct {
	Email    string
	Username string
	Password string

	fields map[string]json.RawMessage
}

// Decode decodes all that the client sent into v with [json.Unmarshal]. Use it for fields
// of your own, such as a one-time code.
func (c Credentials) Decode(v any) error {
	all, err := json.Marshal(c.fields)
	if err != nil {
		return err
	}
	return json.Unmarshal(all, v)
}

// String returns "session.Credentials", without the password and the user.
func (c Credentials) String() string { return "session.Credentials" }

// GoString is [Credentials.String].
func (c Credentials) GoString() string { return c.String() }

// MarshalText is [Credentials.String].
func (c Credentials) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// LogValue is [Credentials.String].
func (c Credentials) LogValue() slog.Value { return slog.StringValue(c.String()) }

// Handler returns a handler that serves login, refresh, verify, logout and the list of
// sessions over HTTP: see "The endpoints" in the package comment. Mount it anywhere, such
// as at "/auth/jwt/". It panics if authenticate is nil.
//
// authenticate gets the fields of a login, and returns the subject that it has
// authenticated, or [ErrCredentials]. It should take as long for users that do not exist,
// and limit how often a client may try: this package does neither. Any other error is an
// outage, 503.
func (m *Manager) Handler(authenticate func(r *http.Request, c Credentials) (subject string, opts []LoginOption, err error)) http.Handler {
	return m.serve(authenticate, m.cookies != nil)
}

// JSONHandler is like [Manager.Handler] without [WithCookies]. It serves clients that
// keep tokens themselves, beside browsers that keep them in cookies. Mount it at a path
// of its own, outside of that of the cookies.
func (m *Manager) JSONHandler(authenticate func(r *http.Request, c Credentials) (subject string, opts []LoginOption, err error)) http.Handler {
	return m.serve(authenticate, false)
}

// server is a Handler or a JSONHandler.
type server struct {
	m            *Manager
	authenticate func(r *http.Request, c Credentials) (string, []LoginOption, error)
	byCookies    bool
}

func (m *Manager) serve(authenticate func(r *http.Request, c Credentials) (string, []LoginOption, error), byCookies bool) http.Handler {
	if authenticate == nil {
		panic("session: Handler: authenticate is nil, and without it anyone could log in as anyone")
	}
	s := server{m, authenticate, byCookies}
	type endpoint struct {
		methods   string // for the Allow field
		operation string // for the observer
		serve     func(w http.ResponseWriter, r *http.Request, body fields)
	}
	endpoints := map[string]endpoint{
		"create":   {http.MethodPost, "login", s.create},
		"verify":   {http.MethodPost, "verify", s.verify},
		"logout":   {http.MethodPost, "verify", s.logout},
		"sessions": {"GET, HEAD", "verify", s.sessions},
	}
	if !m.noRefresh {
		endpoints["refresh"] = endpoint{http.MethodPost, "refresh", s.renew}
		if m.simple() {
			endpoints["blacklist"] = endpoint{http.MethodPost, "verify", s.blacklist}
		}
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		e, found := endpoints[path.Base(r.URL.Path)]
		switch {
		case !found:
			m.writeProblem(w, r, http.StatusNotFound, "not_found", "There is nothing here.")
			return
		case !slices.Contains(strings.Split(e.methods, ", "), r.Method):
			w.Header().Set("Allow", e.methods)
			m.writeProblem(w, r, http.StatusMethodNotAllowed, "method_not_allowed", "Use "+e.methods+".")
			return
		}
		if s.byCookies {
			m.warnOfPath(r)
			// This includes logins: a page could log its victim in as another user.
			if err := m.crossOrigin.Check(r); err != nil {
				err = fmt.Errorf("%w: %w", jwtauth.ErrCrossOrigin, err)
				m.decided(r.Context(), e.operation, reason(err), false)
				s.deny(w, r, err)
				return
			}
		}
		if body, ok := m.readBody(w, r); ok {
			e.serve(w, r, body)
		}
	})
}

func (s server) create(w http.ResponseWriter, r *http.Request, body fields) {
	name := "email"
	if _, ok := body["username"]; ok {
		name = "username"
	}
	if !s.m.has(w, body, name, "password") {
		return
	}
	if body == nil {
		s.m.writeProblem(w, r, http.StatusBadRequest, "malformed", "The body is empty.")
		return
	}
	for name := range body {
		for _, known := range []string{"email", "username", "password"} {
			if name != known && strings.EqualFold(name, known) { // Decode ignores case
				s.m.writeProblem(w, r, http.StatusBadRequest, "malformed", "The names of fields are in small letters.")
				return
			}
		}
	}
	c := Credentials{fields: body}
	for name, to := range map[string]*string{"email": &c.Email, "username": &c.Username, "password": &c.Password} {
		if !s.m.field(w, body, name, to) {
			return
		}
	}
	subject, opts, err := s.authenticate(r, c)
	if err != nil && !errors.Is(err, ErrCredentials) {
		err = s.m.outage(r.Context(), "authenticating", err)
	}
	var pair Pair
	if err == nil {
		pair, err = s.m.Login(r.Context(), subject, opts...)
	} else {
		s.m.decided(r.Context(), "login", reason(err), false)
	}
	switch {
	case err == nil:
		if s.byCookies {
			s.m.warnOfHTTP(r)
			s.endFormer(r)
		}
		s.deliver(w, r, pair)
	case errors.Is(err, jwtauth.ErrUnavailable):
		s.deny(w, r, err)
	case errors.Is(err, ErrCredentials), errors.Is(err, ErrSubjectGone):
		w.Header().Set("WWW-Authenticate", s.m.bodies.challenge("Bearer"))
		s.m.writeProblem(w, r, http.StatusUnauthorized, "credentials_not_valid", "No active account was found with these credentials.")
	default: // a mistake of the server, such as an empty subject
		s.deny(w, r, s.m.outage(r.Context(), "a login", err))
	}
}

// endFormer ends the session whose cookies a login replaces. A failure is only logged: the
// new session is good, and the former one ends when it is idle for too long.
func (s server) endFormer(r *http.Request) {
	token := refreshCookie(r)
	if token == "" || s.m.cookies.KeepFormer {
		return
	}
	c, err := s.m.inspectRefresh(r.Context(), token)
	if c, err = ofSession(c, err); err != nil {
		return
	}
	if err := s.m.end(r.Context(), c.Subject, c.SessionID, ReasonLogout); err != nil {
		_ = s.m.outage(r.Context(), "ending the former session of a browser", err)
	}
}

// refreshToken returns the refresh token of a request, or "" if there is none. It answers a
// field of a wrong type itself, and then returns false.
func (s server) refreshToken(w http.ResponseWriter, r *http.Request, body fields) (token string, ok bool) {
	if s.byCookies {
		return refreshCookie(r), true
	}
	ok = s.m.field(w, body, s.m.bodies.refreshField(), &token)
	return token, ok
}

var fromAccessCookie = jwtauth.FromCookie(AccessCookie)

// accessToken returns the access token of a request. It looks only in the cookie if browsers
// keep the tokens in cookies, and otherwise everywhere except in cookies.
func (s server) accessToken(r *http.Request) (string, error) {
	extract := s.m.access.Extract
	if s.byCookies {
		extract = fromAccessCookie // the origin has already been checked
	}
	found, err := extract(r)
	if !s.byCookies && found.In == jwtauth.InCookie {
		return "", jwtauth.ErrNoToken
	}
	if err == nil && found.Token == "" {
		err = jwtauth.ErrNoToken
	}
	return found.Token, err
}

func (s server) renew(w http.ResponseWriter, r *http.Request, body fields) {
	if !s.byCookies && !s.m.has(w, body, s.m.bodies.refreshField()) {
		return
	}
	token, ok := s.refreshToken(w, r, body)
	if !ok {
		return
	}
	if token == "" {
		s.m.decided(r.Context(), "refresh", reason(jwtauth.ErrNoToken), false)
		s.deny(w, r, jwtauth.ErrNoToken)
		return
	}
	pair, err := s.m.Refresh(r.Context(), token)
	if err != nil {
		s.deny(w, r, err)
		return
	}
	s.deliver(w, r, pair)
}

func (s server) verify(w http.ResponseWriter, r *http.Request, body fields) {
	var token string
	var err error
	if s.byCookies {
		token, err = s.accessToken(r)
	} else {
		if !s.m.has(w, body, "token") || !s.m.field(w, body, "token", &token) {
			return
		}
		if token == "" {
			err = jwtauth.ErrNoToken
		}
	}
	if err != nil {
		s.m.decided(r.Context(), "verify", reason(err), false)
	} else {
		err = s.verifyEither(r.Context(), token)
	}
	if errors.Is(err, errBlacklisted) {
		reply.JSON(w, http.StatusBadRequest, nonField("Token is blacklisted"))
		return
	}
	if err != nil {
		s.deny(w, r, err)
		return
	}
	reply.JSON(w, http.StatusOK, struct{}{})
}

// verifyEither verifies an access token or, for simplejwt clients, a refresh token. The
// token's typ says which, and each Auth accepts only its own type.
func (s server) verifyEither(ctx context.Context, token string) error {
	if s.m.simple() {
		if t, err := strict.Parse(token, maxBody); err == nil && t.Type == RefreshType {
			_, err := s.m.refresh.VerifyAnyContainer(ctx, token)
			s.m.decided(ctx, "verify", reason(err), err == nil)
			if errors.Is(err, jwtauth.ErrRevoked) {
				err = errBlacklisted
			}
			return err
		}
	}
	_, err := s.m.access.VerifyAnyContainer(ctx, token)
	return err
}

// errBlacklisted: a refresh token is revoked, for which verify/ of simplejwt returns 400.
var errBlacklisted = errors.New("session: revoked refresh token")

// blacklist is logout, and requires a refresh token unless it is in a cookie.
func (s server) blacklist(w http.ResponseWriter, r *http.Request, body fields) {
	if s.byCookies || s.m.has(w, body, s.m.bodies.refreshField()) {
		s.logout(w, r, body)
	}
}

func (s server) logout(w http.ResponseWriter, r *http.Request, body fields) {
	refreshToken, ok := s.refreshToken(w, r, body)
	if !ok {
		return
	}
	var other string
	var everywhere bool
	if !s.m.field(w, body, "session_id", &other) || !s.m.field(w, body, "everywhere", &everywhere) {
		return
	}
	c, err := s.caller(r, refreshToken)
	wider := everywhere || other != "" && other != c.SessionID
	switch {
	case err == nil && wider:
		err = s.m.logoutOthers(r.Context(), c, other, everywhere)
	case errors.Is(err, jwtauth.ErrExpired) && c.SessionID != "" && !wider:
		if err = s.m.Logout(r.Context(), c.Subject, c.SessionID); errors.Is(err, ErrNoSession) {
			err = nil
		}
	case err == nil, errors.Is(err, jwtauth.ErrRevoked) && !wider:
		// end, unlike Logout, ends the tokens even if the store has lost the session.
		if err = s.m.end(r.Context(), c.Subject, c.SessionID, ReasonLogout); err != nil {
			err = s.m.outage(r.Context(), "a logout", err)
		}
	}
	ended := err == nil && (everywhere || !wider)
	dead := err != nil && !everywhere && other == "" && status(err) == http.StatusUnauthorized && !errors.Is(err, jwtauth.ErrUnavailable)
	if s.byCookies && (ended || dead) { // the cookies are of no more use
		s.m.SetCookies(w, Pair{})
	}
	if err != nil {
		s.deny(w, r, err)
		return
	}
	if s.m.simple() {
		reply.JSON(w, http.StatusOK, struct{}{})
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// logoutOthers ends another session of the caller's subject, or all of them, with the
// caller's own last so that the caller can retry. A valid token is not enough: its
// session must be live, and a refresh token must not count as stolen.
func (m *Manager) logoutOthers(ctx context.Context, caller jwtauth.Claims, other string, everywhere bool) error {
	s, found, err := m.store.Get(ctx, caller.Subject, caller.SessionID)
	if err != nil {
		return m.outage(ctx, "a logout", err)
	}
	generation := s.Generation // unknown for an access token
	var own refreshClaims
	if err := caller.Decode(&own); err == nil && caller.ID == refreshID(caller.SessionID, own.Generation) {
		generation = own.Generation
	}
	now := m.now()
	switch m.rules.check(s, found, generation, now, now) {
	case gone, expired, stolen:
		return fmt.Errorf("%w: the session has ended, or the refresh token was replaced long ago", jwtauth.ErrRevoked)
	}
	if !everywhere {
		if err := m.Logout(ctx, caller.Subject, other); !errors.Is(err, ErrNoSession) {
			return err
		}
		return nil
	}
	if _, err := m.LogoutAll(ctx, caller.Subject, caller.SessionID); err != nil {
		return err
	}
	if err := m.end(ctx, caller.Subject, caller.SessionID, ReasonLogout); err != nil {
		return m.outage(ctx, "a logout", err)
	}
	return nil
}

// caller returns the claims of the request's refresh token or, if there is none, of its
// access token, of any container. It also returns claims with ErrRevoked, and those of an
// access token with ErrExpired: such a token may still end its own session.
func (s server) caller(r *http.Request, refreshToken string) (jwtauth.Claims, error) {
	if refreshToken == "" {
		return s.accessCaller(r)
	}
	c, err := s.m.inspectRefresh(r.Context(), refreshToken)
	hopeless := err != nil && !errors.Is(err, jwtauth.ErrRevoked) && !errors.Is(err, jwtauth.ErrUnavailable)
	if s.byCookies && hopeless { // a browser always sends both tokens
		return s.accessCaller(r)
	}
	s.m.decided(r.Context(), "verify", reason(err), err == nil)
	if hopeless {
		return jwtauth.Claims{}, err
	}
	return ofSession(c, err)
}

// accessCaller is caller for the access token.
func (s server) accessCaller(r *http.Request) (jwtauth.Claims, error) {
	token, err := s.accessToken(r)
	if err != nil {
		s.m.decided(r.Context(), "verify", reason(err), false)
		return jwtauth.Claims{}, err
	}
	c, err := s.m.access.Inspect(r.Context(), token) // reports to the observer
	if own := s.m.access.Issuer(); own != "" && c.Issuer != own && mayEndOwn(err) {
		// A token of a trusted issuer is good for requests. It has no session here,
		// whatever its sub and sid are.
		return jwtauth.Claims{}, jwtauth.ErrIssuer
	}
	return ofSession(c, err)
}

// mayEndOwn reports whether a token with this error may end its own session.
func mayEndOwn(err error) bool {
	return err == nil || errors.Is(err, jwtauth.ErrRevoked) || errors.Is(err, jwtauth.ErrExpired)
}

// ofSession returns the claims and the error that it is given. Claims without a session or
// a subject become an error.
func ofSession(c jwtauth.Claims, err error) (jwtauth.Claims, error) {
	if mayEndOwn(err) && (c.SessionID == "" || c.Subject == "") {
		return jwtauth.Claims{}, fmt.Errorf("%w: a token of no session", jwtauth.ErrMalformed)
	}
	return c, err
}

// listed is a session as its user sees it.
type listed struct {
	ID       string    `json:"id"`
	Created  time.Time `json:"created"`
	LastUsed time.Time `json:"last_used"`
	Expires  time.Time `json:"expires"`
	Label    string    `json:"label"`
	Current  bool      `json:"current"`
}

func (s server) sessions(w http.ResponseWriter, r *http.Request, _ fields) {
	c, err := s.caller(r, "")
	if err != nil {
		s.deny(w, r, err)
		return
	}
	all, err := s.m.Sessions(r.Context(), c.Subject)
	if err != nil {
		s.deny(w, r, err)
		return
	}
	answer := struct {
		Sessions []listed `json:"sessions"`
	}{make([]listed, 0, len(all))}
	for _, one := range all {
		answer.Sessions = append(answer.Sessions, listed{one.ID, one.Created, one.Rotated, one.IdleExpires, one.Label, one.ID == c.SessionID})
	}
	reply.JSON(w, http.StatusOK, answer)
}

// WritePair writes a pair as [Manager.Handler] does for create/. Use it for logins by
// other means, such as OIDC or a code by SMS. If such a login ends in a redirect, use
// [Manager.SetCookies]. With [WithCookies] WritePair sets cookies: for an app that keeps
// its tokens itself, write the Pair as JSON instead.
//
// If a token is too large for a cookie, the client gets 500, and WritePair returns the
// error of SetCookies. Otherwise it returns the error of writing.
func (m *Manager) WritePair(w http.ResponseWriter, r *http.Request, p Pair) error {
	w.Header().Set("Cache-Control", "no-store")
	if m.cookies == nil {
		return reply.JSON(w, http.StatusOK, m.bodies.pair(p))
	}
	if err := m.SetCookies(w, p); err != nil {
		err = m.outage(r.Context(), "delivering a pair", err)
		m.deny(w, r, err)
		return err
	}
	return reply.JSON(w, http.StatusOK, struct {
		ExpiresIn        int64 `json:"expires_in,omitempty"`
		RefreshExpiresIn int64 `json:"refresh_expires_in,omitempty"`
	}{p.ExpiresIn, p.RefreshExpiresIn})
}

// deliver writes a pair. It ignores errors: a client that got no response tries again. The
// size of the tokens was checked when they were signed.
func (s server) deliver(w http.ResponseWriter, r *http.Request, p Pair) {
	if s.byCookies {
		s.m.WritePair(w, r, p)
		return
	}
	reply.JSON(w, http.StatusOK, s.m.bodies.pair(p))
}

// deny denies a request. If its token was stolen, it also deletes the cookies.
func (s server) deny(w http.ResponseWriter, r *http.Request, err error) {
	if s.byCookies && errors.Is(err, ErrReused) {
		s.m.SetCookies(w, Pair{})
	}
	s.m.deny(w, r, err)
}

// deny writes a denial in the form of those of refresh tokens. A token that is too large for
// a cookie is 500.
func (m *Manager) deny(w http.ResponseWriter, r *http.Request, err error) {
	if errors.Is(err, errTooLarge) {
		m.writeProblem(w, r, http.StatusInternalServerError, "server_error", "The session does not fit into cookies.")
		return
	}
	m.refresh.Deny(w, r, err)
}
