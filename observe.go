package jwtauth

import (
	"context"
	"errors"
	"log/slog"
	"strings"

	"github.com/joinednode/jwtauth/internal/revocation"
)

// Decision is what became of one judgement, for [WithObserver]: enough to count,
// and nothing that says who. Its fields have few values, and none of them is a text
// that a client chose.
type Decision struct {
	// Operation is what was asked: "request" by the middleware and [Auth.Check],
	// "verify" by [Auth.Verify], [Auth.VerifyAnyContainer] and [Auth.Inspect],
	// "recheck" by [Auth.Recheck] and [Auth.CheckContainer], and "mint" of [Auth.TokenEndpoint]. Package
	// session adds "login" and "refresh".
	Operation string
	// Policy is the route's, of a request; Private where a rule of [Auth.Protect]
	// gave none.
	Policy Policy
	// Allowed: the request runs, or the token is good.
	Allowed bool
	// Reason is why no token counts, as [Reason] names it, "" if one does. It stands
	// beside Allowed where a route may do without: no_token, and whatever is wrong
	// with a token on a Public one. Package session adds names of its own.
	Reason string
	// In is where the token of a "request" was found; zero of all else, if none was,
	// or if an extractor of others does not say.
	In Location
	// Cached: the token had been accepted before, so that no signature was
	// verified now. See [WithCache].
	Cached bool
}

// report is where a judgement leaves for those who run the server. No token on a
// route that may do without is nothing to log.
func (a *Auth) report(ctx context.Context, d Decision, v verdict) {
	if (v.err != nil || a.observe != nil) && revocation.IsUnobserved(ctx) {
		return
	}
	if v.err != nil {
		d.Reason = Reason(v.err)
		if !d.Allowed || d.Reason != "no_token" {
			a.logRefusal(ctx, v)
		}
	}
	if a.observe != nil {
		d.In, d.Cached = v.presented.In, v.remembered
		a.observe(ctx, d)
	}
}

// reasons names each error for logs, and those that only a genuine token can
// meet for clients too. The first that an error is decides.
var reasons = []struct {
	err     error
	name    string
	genuine bool
}{
	{ErrUnavailable, "unavailable", false},
	{ErrForbidden, "forbidden", false},
	{ErrAmbiguousToken, "ambiguous", false},
	{ErrMalformed, "malformed", false},
	{ErrUnknownKey, "unknown_key", false},
	{ErrSignature, "wrong_signature", false},
	{ErrCrossOrigin, "cross_origin", false},
	{ErrNoContainer, "no_container", false},
	{ErrNoSigningKey, "no_signing_key", false},
	{ErrType, "wrong_type", true},
	{ErrExpired, "expired", true},
	{ErrNotYetValid, "not_yet_valid", true},
	{ErrIssuer, "wrong_issuer", true},
	{ErrAudience, "wrong_audience", true},
	{ErrRevoked, "revoked", true},
	{ErrContainer, "wrong_container", true},
	{ErrNoToken, "no_token", false}, // last: it also stands behind a path that is denied
}

// reasonOf returns the name of an error, "" for one that is none of this
// package's, and whether only a genuine token meets it.
func reasonOf(err error) (name string, genuine bool) {
	if err == nil {
		return "", false
	}
	for _, r := range reasons {
		if err == r.err { // most are, and to look behind them takes longer
			return r.name, r.genuine
		}
	}
	for _, r := range reasons {
		if errors.Is(err, r.err) {
			return r.name, r.genuine
		}
	}
	return "", false
}

// Reason returns the name of an error of this package as logs and [Decision] have
// it: unavailable, forbidden, ambiguous, malformed, unknown_key, wrong_signature,
// cross_origin, no_container, no_signing_key, wrong_type, expired, not_yet_valid,
// wrong_issuer, wrong_audience, revoked, wrong_container or no_token. It is "other"
// for an error of others and "" for nil. Clients are told by [Auth.Deny], which
// knows what they may hear.
func Reason(err error) string {
	name, _ := reasonOf(err)
	if err != nil && name == "" {
		return "other"
	}
	return name
}

// logRefusal writes the one line about a refusal. What the server is to blame
// for is an error; a private route without a container is one that must be
// seen even where no logger is set, since it denies everyone.
func (a *Auth) logRefusal(ctx context.Context, v verdict) {
	level, logger := slog.LevelDebug, a.logger
	switch {
	case errors.Is(v.err, ErrNoContainer):
		level = slog.LevelError
		if !logger.Enabled(ctx, level) {
			logger = slog.Default()
		}
	case errors.Is(v.err, context.Canceled) && ctx.Err() != nil:
		// A client that did not wait for the keys, of which there may be many.
	case errors.Is(v.err, ErrUnavailable):
		level = slog.LevelError
	}
	if !logger.Enabled(ctx, level) {
		return
	}
	attrs := []slog.Attr{slog.String("reason", Reason(v.err)), slog.String("error", v.err.Error())}
	if v.kid != "" {
		attrs = append(attrs, slog.String("kid", clip(v.kid)))
	}
	if v.claims != nil && v.claims.ID != "" {
		attrs = append(attrs, slog.String("jti", clip(v.claims.ID)))
	}
	logger.LogAttrs(ctx, level, "jwtauth: refused", attrs...)
}

// clip shortens what a stranger may have chosen.
func clip(s string) string {
	const most = 64
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}
