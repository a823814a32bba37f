package jwtauth_test

import (
	"context"
	"crypto"
	"database/sql"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/jwtauthtest"
	"github.com/joinednode/jwtauth/keys"
	"github.com/joinednode/jwtauth/revoke"
	"github.com/joinednode/jwtauth/session"
	"github.com/joinednode/jwtauth/store/sqlstore"
)

// This file uses the whole public API, name by name. It tests by compiling. If one of its
// lines must change, the change breaks users, and CHANGELOG.md must say why.

type middleware = func(http.Handler) http.Handler

var (
	_ func(keys.Source, ...jwtauth.Option) (*jwtauth.Auth, error)                  = jwtauth.New
	_ func(*jwtauth.Auth, string, ...jwtauth.IssueOption) (string, error)          = (*jwtauth.Auth).Issue
	_ func(*jwtauth.Auth, context.Context, string, string) (jwtauth.Claims, error) = (*jwtauth.Auth).Verify
	_ func(*jwtauth.Auth, context.Context, string) (jwtauth.Claims, error)         = (*jwtauth.Auth).VerifyAnyContainer
	_ func(*jwtauth.Auth, context.Context, string) (jwtauth.Claims, error)         = (*jwtauth.Auth).Inspect
	_ func(*jwtauth.Auth, *http.Request) (jwtauth.Claims, error)                   = (*jwtauth.Auth).Check
	_ func(*jwtauth.Auth, *http.Request) (jwtauth.RawToken, error)                 = (*jwtauth.Auth).Extract
	_ func(*jwtauth.Auth, context.Context, jwtauth.Claims) error                   = (*jwtauth.Auth).Recheck
	_ func(*jwtauth.Auth, context.Context, string) error                           = (*jwtauth.Auth).CheckContainer
	_ func(*jwtauth.Auth, http.Handler) http.Handler                               = (*jwtauth.Auth).Private
	_ func(*jwtauth.Auth, http.Handler) http.Handler                               = (*jwtauth.Auth).Public
	_ func(*jwtauth.Auth, http.Handler) http.Handler                               = (*jwtauth.Auth).Optional
	_ func(*jwtauth.Auth, func(*http.Request) (jwtauth.Rule, error)) middleware    = (*jwtauth.Auth).Protect
	_ func(*jwtauth.Auth, map[string]jwtauth.Policy) (middleware, error)           = (*jwtauth.Auth).Routes
	_ func(*jwtauth.Auth, authorize) http.Handler                                  = (*jwtauth.Auth).TokenEndpoint
	_ func(*jwtauth.Auth, http.ResponseWriter, *http.Request, error)               = (*jwtauth.Auth).Deny
	_ func(*jwtauth.Auth) string                                                   = (*jwtauth.Auth).Issuer
	_ func(context.Context) (jwtauth.Claims, bool)                                 = jwtauth.FromContext
	_ func(context.Context, jwtauth.Claims) context.Context                        = jwtauth.NewContext
	_ func(jwtauth.Claims, any) error                                              = jwtauth.Claims.Decode
	_ func(jwtauth.Policy) string                                                  = jwtauth.Policy.String
	_ func(error) int                                                              = jwtauth.BearerStatus
	_ func(error) string                                                           = jwtauth.Reason
	_ func(jwtauth.Location) string                                                = jwtauth.Location.String
	_ [3]jwtauth.Policy                                                            = [...]jwtauth.Policy{jwtauth.Private, jwtauth.Public, jwtauth.Optional}
	_ [4]jwtauth.Location                                                          = [...]jwtauth.Location{jwtauth.InHeader, jwtauth.InQuery, jwtauth.InForm, jwtauth.InCookie}
	_ [2]time.Duration                                                             = [...]time.Duration{jwtauth.DefaultTTL, jwtauth.MaxLeeway}
	_ func(*http.Request) (jwtauth.RawToken, error)                                = jwtauth.Extractor(nil)
	_ interface {
		Revoked(context.Context, jwtauth.Claims) (bool, error)
	} = jwtauth.RevocationChecker(nil)
)

type authorize = func(r *http.Request, container string) ([]jwtauth.IssueOption, error)

var _ = []error{
	jwtauth.ErrNoToken, jwtauth.ErrAmbiguousToken, jwtauth.ErrMalformed, jwtauth.ErrUnknownKey, jwtauth.ErrSignature,
	jwtauth.ErrType, jwtauth.ErrExpired, jwtauth.ErrNotYetValid, jwtauth.ErrIssuer, jwtauth.ErrAudience,
	jwtauth.ErrContainer, jwtauth.ErrNoContainer, jwtauth.ErrRevoked, jwtauth.ErrCrossOrigin, jwtauth.ErrForbidden,
	jwtauth.ErrUnavailable, jwtauth.ErrNoSigningKey, keys.ErrUnknownKey, keys.ErrSignature, keys.ErrNoSigningKey,
}

var _ = []func() jwtauth.Option{
	jwtauth.WithAnyContainer,
	func() jwtauth.Option { return jwtauth.WithIssuer("") },
	func() jwtauth.Option { return jwtauth.WithAudience([]string{}...) },
	func() jwtauth.Option { return jwtauth.WithTrustedIssuer("", keys.Source(nil), []string{}...) },
	func() jwtauth.Option { return jwtauth.WithTTL(time.Second) },
	func() jwtauth.Option { return jwtauth.WithMaxLifetime(time.Second) },
	func() jwtauth.Option { return jwtauth.WithLeeway(time.Second) },
	func() jwtauth.Option { return jwtauth.WithTypes([]string{}...) },
	func() jwtauth.Option { return jwtauth.WithContainer(func(*http.Request) string { return "" }) },
	func() jwtauth.Option { return jwtauth.WithContainerClaim("") },
	func() jwtauth.Option { return jwtauth.WithExtractors([]jwtauth.Extractor{}...) },
	func() jwtauth.Option { return jwtauth.WithCrossOriginProtection((*http.CrossOriginProtection)(nil)) },
	func() jwtauth.Option { return jwtauth.WithRevocations(jwtauth.RevocationChecker(nil)) },
	func() jwtauth.Option {
		return jwtauth.WithDenial(func(http.ResponseWriter, *http.Request, jwtauth.Denial) {})
	},
	func() jwtauth.Option { return jwtauth.WithStatus(func(error) int { return 0 }) },
	func() jwtauth.Option { return jwtauth.WithLogger((*slog.Logger)(nil)) },
	func() jwtauth.Option {
		return jwtauth.WithObserver(func(context.Context, jwtauth.Decision) {})
	},
	func() jwtauth.Option { return jwtauth.WithClock(func() time.Time { return time.Time{} }) },
	func() jwtauth.Option { return jwtauth.WithMaxTokenSize(0) },
	func() jwtauth.Option { return jwtauth.WithCache(0) },
}

var _ = []jwtauth.IssueOption{
	jwtauth.Subject(""), jwtauth.TTL(time.Second), jwtauth.ID(""), jwtauth.Audience([]string{}...),
	jwtauth.SessionID(""), jwtauth.NotBefore(time.Time{}), jwtauth.Claim("", any(nil)),
}

var _ = []jwtauth.Extractor{
	jwtauth.FromHeader("", ""), jwtauth.FromQuery(""), jwtauth.FromCookie(""), jwtauth.FromForm(""),
}

var _ = []any{
	jwtauth.Claims{
		Issuer: "", Subject: "", Container: "", ID: "", SessionID: "", Audience: []string{},
		IssuedAt: time.Time{}, NotBefore: time.Time{}, ExpiresAt: time.Time{}, Stamp: int64(0),
	},
	jwtauth.RawToken{Token: "", In: jwtauth.Location(0), Name: ""},
	jwtauth.Rule{Policy: jwtauth.Policy(0), Container: ""},
	jwtauth.Denial{Err: error(nil), Status: 0, Code: "", Detail: "", Reason: ""},
	jwtauth.Decision{Operation: "", Policy: jwtauth.Policy(0), Allowed: false, Reason: "", In: jwtauth.Location(0), Cached: false},
}

var (
	_ keys.Source = keys.Key{}
	_ interface {
		Keys(context.Context, string) (*keys.Set, error)
	} = keys.Source(nil)
	_ [3]func([]byte) keys.Key                                 = [...]func([]byte) keys.Key{keys.HS256, keys.HS384, keys.HS512}
	_ func(crypto.Signer) keys.Key                             = keys.Signer
	_ func(crypto.PublicKey) keys.Key                          = keys.Verifier
	_ [2]func([]byte) (keys.Key, error)                        = [...]func([]byte) (keys.Key, error){keys.ParsePEM, keys.ParseJWK}
	_ func(string, string) (keys.Key, error)                   = keys.LoadOrCreate
	_ [2]func(keys.Key, string) keys.Key                       = [...]func(keys.Key, string) keys.Key{keys.Key.WithID, keys.Key.WithAlgorithm}
	_ [4]func(keys.Key) string                                 = [...]func(keys.Key) string{keys.Key.ID, keys.Key.Algorithm, keys.Key.String, keys.Key.GoString}
	_ func(keys.Key) error                                     = keys.Key.Err
	_ func(keys.Key, ...keys.Key) (*keys.Ring, error)          = keys.NewRing
	_ [2]func(*keys.Ring, keys.Key) error                      = [...]func(*keys.Ring, keys.Key) error{(*keys.Ring).Add, (*keys.Ring).Rotate}
	_ func(*keys.Ring, string) error                           = (*keys.Ring).Retire
	_ func(*keys.Ring) http.Handler                            = (*keys.Ring).JWKS
	_ keys.Source                                              = (*keys.Ring)(nil)
	_ func(*keys.Ring) []string                                = (*keys.Ring).IDs
	_ func(*keys.Ring, string) error                           = (*keys.Ring).Save
	_ func(*keys.Ring, string) (keys.Key, bool)                = (*keys.Ring).Key
	_ func(*keys.Ring, context.Context) error                  = (*keys.Ring).Run
	_ func(string) (*keys.Ring, error)                         = keys.OpenRing
	_ func(string, string) (*keys.Ring, error)                 = keys.LoadOrCreateRing
	_ keys.Source                                              = (*keys.Remote)(nil)
	_ func(string, ...keys.RemoteOption) (*keys.Remote, error) = keys.NewRemote
	_ func(*keys.Remote, context.Context) error                = (*keys.Remote).Run
	_ func(*http.Client) keys.RemoteOption                     = keys.WithHTTPClient
	_ func(*slog.Logger) keys.RemoteOption                     = keys.WithLogger
	_ [2]func(time.Duration) keys.RemoteOption                 = [...]func(time.Duration) keys.RemoteOption{keys.WithFetchTimeout, keys.WithMaxStale}
	_ func() keys.RemoteOption                                 = keys.InsecureAllowHTTP
	_ [2]time.Duration                                         = [...]time.Duration{keys.DefaultFetchTimeout, keys.DefaultMaxStale}
	_ func(string) (keys.Key, error)                           = keys.Generate
	_ func(*keys.Set) (string, string, error)                  = (*keys.Set).SigningKey
	_ func(*keys.Set, []byte) ([]byte, error)                  = (*keys.Set).Sign
	_ func(*keys.Set, string, string, []byte, []byte) error    = (*keys.Set).Verify
)

type mayRevoke = func(*http.Request, jwtauth.Claims) error

var (
	_ func(revoke.Store, ...revoke.Option) (*revoke.List, error)                     = revoke.New
	_ func() *revoke.Memory                                                          = revoke.NewMemory
	_ func(*revoke.List, context.Context, string, string, time.Time) error           = (*revoke.List).RevokeToken
	_ [3]func(*revoke.List, context.Context, string, string) error                   = [...]func(*revoke.List, context.Context, string, string) error{(*revoke.List).RevokeSession, (*revoke.List).RevokeSubject, (*revoke.List).RevokeContainer}
	_ [2]func(*revoke.List, context.Context) error                                   = [...]func(*revoke.List, context.Context) error{(*revoke.List).Run, (*revoke.List).Sync}
	_ func(*revoke.List, *jwtauth.Auth, mayRevoke, ...revoke.TokenKind) http.Handler = (*revoke.List).Handler
	_ interface {
		Inspect(context.Context, string) (jwtauth.Claims, error)
		Revoke(context.Context, jwtauth.Claims) error
	} = revoke.TokenKind(nil)
	_ func(*revoke.List) revoke.Status                = (*revoke.List).Status
	_ func(*testing.T, func(*testing.T) revoke.Store) = jwtauthtest.TestRevocationStore
	_ jwtauth.RevocationChecker                       = (*revoke.List)(nil)
	_ func(*revoke.List) time.Duration                = (*revoke.List).MaxLifetime
	_ revoke.Store                                    = (*revoke.Memory)(nil)
	_ [2]error                                        = [...]error{revoke.ErrStale, revoke.ErrIssuer}
	_ [4]revoke.Kind                                  = [...]revoke.Kind{revoke.Token, revoke.Session, revoke.Subject, revoke.Container}
	_ func(revoke.Entry) error                        = revoke.Entry.Validate
	_ [4]time.Duration                                = [...]time.Duration{revoke.DefaultMaxLifetime, revoke.DefaultStaleness, revoke.DefaultInterval, revoke.DefaultSkew}
	_ interface {
		Append(context.Context, revoke.Entry) error
		Since(context.Context, string, int) (revoke.Page, error)
		Purge(context.Context, time.Time) error
	} = revoke.Store(nil)
)

var _ = []revoke.Option{
	revoke.WithMaxLifetime(0), revoke.WithStaleness(0), revoke.WithInterval(0), revoke.WithSkew(0), revoke.WithClock(nil),
	revoke.WithLogger(nil), revoke.InsecureAcceptStale(),
}

var _ = []any{
	revoke.Entry{Kind: revoke.Kind(0), Issuer: "", ID: "", Epoch: int64(0), Expires: time.Time{}},
	revoke.Page{Entries: []revoke.Entry{}, Cursor: "", More: false},
	revoke.Status{Ready: false, Age: time.Duration(0), Entries: 0, Err: error(nil)},
	revoke.MaxText,
}

type authenticate = func(*http.Request, session.Credentials) (string, []session.LoginOption, error)

var (
	_ func(keys.Source, session.Store, ...session.Option) (*session.Manager, error)                 = session.New
	_ func(*session.Manager, context.Context, string, ...session.LoginOption) (session.Pair, error) = (*session.Manager).Login
	_ func(*session.Manager, context.Context, string) (session.Pair, error)                         = (*session.Manager).Refresh
	_ func(*session.Manager, context.Context, string, string) error                                 = (*session.Manager).Logout
	_ func(*session.Manager, context.Context, string, ...string) (int, error)                       = (*session.Manager).LogoutAll
	_ func(*session.Manager, context.Context, string) ([]session.Session, error)                    = (*session.Manager).Sessions
	_ func(*session.Manager) *jwtauth.Auth                                                          = (*session.Manager).Auth
	_ func(*session.Manager) revoke.TokenKind                                                       = (*session.Manager).RefreshTokens
	_ middlewareOf                                                                                  = (*session.Manager).Require
	_ func(*session.Manager, authenticate) http.Handler                                             = (*session.Manager).Handler
	_ func(*session.Manager, authenticate) http.Handler                                             = (*session.Manager).JSONHandler
	_ func(*session.Manager, http.ResponseWriter, *http.Request, session.Pair) error                = (*session.Manager).WritePair
	_ func(*session.Manager, context.Context) error                                                 = (*session.Manager).Run
	_ func() *session.Memory                                                                        = session.NewMemory
	_ func(int) *session.Memory                                                                     = session.NewMemoryOf
	_ session.Store                                                                                 = (*session.Memory)(nil)
	_ func(*session.Manager, http.ResponseWriter, session.Pair) error                               = (*session.Manager).SetCookies
	_ [3]string                                                                                     = [...]string{session.AccessCookie, session.SessionCookie, session.RefreshCookie}
	_ func(session.Credentials, any) error                                                          = session.Credentials.Decode
	_ func(*testing.T, func(*testing.T) session.Store)                                              = jwtauthtest.TestSessionStore
	_ [2]string                                                                                     = [...]string{session.AccessType, session.RefreshType}
	_ [5]string                                                                                     = [...]string{session.ReasonLogout, session.ReasonReused, session.ReasonSubjectGone, session.ReasonAnswerLost, session.ReasonStoreBehind}
	_ [4]error                                                                                      = [...]error{session.ErrCredentials, session.ErrSubjectGone, session.ErrReused, session.ErrNoSession}
	_ [5]time.Duration                                                                              = [...]time.Duration{session.DefaultAccessTTL, session.DefaultRefreshTTL, session.DefaultMaxAge, session.DefaultGrace, session.DefaultStoreTimeout}
	_ [6]session.EventKind                                                                          = [...]session.EventKind{session.LoggedIn, session.Refreshed, session.Retried, session.Recovered, session.Reused, session.LoggedOut}
	_ [2]int                                                                                        = [...]int{session.MaxText, session.DefaultSessions}
	_ interface {
		Create(context.Context, session.Session) error
		Get(ctx context.Context, subject, id string) (session.Session, bool, error)
		Advance(ctx context.Context, from, next session.Session, now time.Time) (bool, error)
		Revoke(ctx context.Context, subject, id, reason string, at time.Time) (bool, error)
		List(context.Context, string, time.Time) ([]session.Session, error)
		Purge(context.Context, time.Time) error
	} = session.Store(nil)
)

var (
	_ func(*sql.DB, sqlstore.Dialect, ...sqlstore.Option) (*sqlstore.DB, error) = sqlstore.New
	_ func(*sqlstore.DB, context.Context) error                                 = (*sqlstore.DB).Migrate
	_ func(*sqlstore.DB, context.Context) error                                 = (*sqlstore.DB).NewLog
	_ func(*sqlstore.DB, context.Context) error                                 = (*sqlstore.DB).Check
	_ error                                                                     = sqlstore.ErrUnsafe
	_ func(*sqlstore.DB) session.Store                                          = (*sqlstore.DB).Sessions
	_ func(*sqlstore.DB) revoke.Store                                           = (*sqlstore.DB).Revocations
	_ [3]sqlstore.Dialect                                                       = [...]sqlstore.Dialect{sqlstore.SQLite, sqlstore.Postgres, sqlstore.MySQL}
	_ [2]sqlstore.Option                                                        = [...]sqlstore.Option{sqlstore.WithPrefix(sqlstore.DefaultPrefix), sqlstore.WithSchema("")}
	_ error                                                                     = sqlstore.ErrNewer
)

type middlewareOf = func(*session.Manager, http.Handler) http.Handler

var _ = []session.Option{
	session.WithAccess([]jwtauth.Option{}...), session.WithContainers(), session.WithAccessTTL(0), session.WithRefreshTTL(0),
	session.WithMaxAge(0), session.WithGrace(0), session.WithStoreTimeout(0), session.WithClock(nil), session.WithObserver(nil), session.WithClaims(nil), session.WithRevocations((*revoke.List)(nil)),
	session.WithRefreshKeys(keys.Source(nil)), session.WithoutRefresh(), session.WithoutAccess(), session.WithoutRecovery(),
	session.WithEvents(func(session.Event) {}), session.WithLogger(nil),
	session.WithSimpleJWTBodies(), session.WithCookies(session.Cookies{Path: "", TrustedOrigins: []string{}, Embedded: false, KeepFormer: false}),
}

var _ = []session.LoginOption{session.Label(""), session.MaxAge(0), session.UntilBrowserCloses()}

var _ = []any{
	session.Pair{AccessToken: "", RefreshToken: "", TokenType: "", ExpiresIn: int64(0), RefreshExpiresIn: int64(0), SessionID: "", Subject: ""},
	session.Event{Kind: session.EventKind(""), SessionID: "", Subject: "", Reason: ""},
	session.Credentials{Email: "", Username: "", Password: ""},
	session.Session{
		ID: "", Subject: "", Generation: int64(0), Prev: int64(0), Created: time.Time{}, Rotated: time.Time{}, Given: time.Time{}, IdleExpires: time.Time{},
		MaxExpires: time.Time{}, RevokedAt: time.Time{}, Reason: "", Label: "", ClockAhead: time.Duration(0),
	},
}

type makeToken = func(a *jwtauthtest.Auth, container string, opts ...jwtauth.IssueOption) string

var (
	_ func(jwtauthtest.TB, ...jwtauth.Option) *jwtauthtest.Auth                      = jwtauthtest.New
	_ func(*jwtauthtest.Auth, *jwtauth.Auth) *jwtauthtest.Auth                       = (*jwtauthtest.Auth).For
	_ func() keys.Key                                                                = jwtauthtest.Key
	_ func(jwtauthtest.TB, string, ...jwtauth.IssueOption) jwtauth.Claims            = jwtauthtest.Claims
	_ func(*jwtauthtest.Auth, string, ...jwtauth.IssueOption) jwtauth.Claims         = (*jwtauthtest.Auth).Claims
	_ func(jwtauthtest.TB, string, ...jwtauth.IssueOption) context.Context           = jwtauthtest.Context
	_ [2]func(method, target, token string) *http.Request                            = [...]func(string, string, string) *http.Request{jwtauthtest.Request, jwtauthtest.QueryRequest}
	_ func(*jwtauthtest.Auth, string, ...jwtauth.IssueOption) []jwtauthtest.BadToken = (*jwtauthtest.Auth).Bad
	_ func(*testing.T, session.Store, func(*testing.T, session.Session) func())      = jwtauthtest.TestHeldStep
	_ func(*jwtauthtest.Clock) time.Time                                             = (*jwtauthtest.Clock).Now
	_ func(*jwtauthtest.Clock, time.Duration)                                        = (*jwtauthtest.Clock).Advance
	_ func(*jwtauthtest.Clock, time.Time)                                            = (*jwtauthtest.Clock).Set
)

var _ = []makeToken{
	(*jwtauthtest.Auth).Token, (*jwtauthtest.Auth).Malformed, (*jwtauthtest.Auth).Unsigned, (*jwtauthtest.Auth).WrongAlgorithm,
	(*jwtauthtest.Auth).UnknownKey, (*jwtauthtest.Auth).Forged, (*jwtauthtest.Auth).Tampered, (*jwtauthtest.Auth).WithoutExpiry,
	(*jwtauthtest.Auth).WrongType, (*jwtauthtest.Auth).Expired, (*jwtauthtest.Auth).NotYetValid, (*jwtauthtest.Auth).WrongIssuer,
	(*jwtauthtest.Auth).WrongAudience, (*jwtauthtest.Auth).WrongContainer,
}

var _ = []any{
	jwtauthtest.Auth{Auth: (*jwtauth.Auth)(nil), Clock: (*jwtauthtest.Clock)(nil)},
	jwtauthtest.BadToken{Name: "", Token: "", Err: error(nil)},
}
