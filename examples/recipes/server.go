package main

import (
	"crypto/sha256"
	"crypto/subtle"
	"embed"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/rs/cors"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/keys"
	"github.com/joinednode/jwtauth/revoke"
)

// newHandler returns the whole service. The {container} in a pattern is the container
// that a token must have.
func newHandler(ring *keys.Ring, list *revoke.List, recipes catalogue, ownerKey string, logger *slog.Logger) (http.Handler, error) {
	auth, err := jwtauth.New(ring, jwtauth.WithRevocations(list), jwtauth.WithLogger(logger))
	if err != nil {
		return nil, err
	}
	owner := ownersBy(recipes, ownerKey)
	mux := http.NewServeMux()
	mux.Handle("/create-token/{container}", auth.TokenEndpoint(owner.mayMint))
	mux.Handle("/revoke", list.Handler(auth, owner.mayRevoke))
	mux.Handle("/revoke-all/{container}", revokeAll(list, auth.Issuer(), owner, logger))
	run := auth.Protect(recipes.rule)(runRecipe(recipes, logger))
	// CORS must wrap Protect, since a preflight request has no token, and since pages of
	// other sites may also read a denial. Such pages can call recipes and nothing else.
	mux.Handle("/run/{container}/{recipe}", anyOrigin().Handler(run))
	if hasPublicKey(ring) {
		mux.Handle("GET /.well-known/jwks.json", ring.JWKS())
	}
	handlePage(mux)
	return withoutRedirects(mux), nil
}

// hasPublicKey reports whether the signing key has a public half, which can be published.
// A secret has none. hasPublicKey is called only at the start, so after a change of the
// file from a secret to a key pair the program must be restarted.
func hasPublicKey(ring *keys.Ring) bool {
	alg, err := signingAlgorithm(ring)
	return err == nil && !strings.HasPrefix(alg, "HS")
}

// errNotOwner is returned for every reason, so that a client does not learn whether the
// container exists or the password was wrong.
var errNotOwner = errors.New("not the owner of this container")

// owners authenticates a request, and returns the container whose owner sent it.
type owners func(*http.Request) (container string, err error)

// ownersBy returns a function that authenticates owners with HTTP Basic. The user name is
// the container, and the password is the owner key. A real service would use its user
// database or a session.
func ownersBy(recipes catalogue, ownerKey string) owners {
	// ConstantTimeCompare takes the same time only for strings of the same length, so
	// compare hashes.
	want := sha256.Sum256([]byte(ownerKey))
	return func(r *http.Request) (string, error) {
		user, password, _ := r.BasicAuth()
		got := sha256.Sum256([]byte(password))
		isOwner := subtle.ConstantTimeCompare(got[:], want[:]) == 1
		if _, exists := recipes[user]; !exists || !isOwner {
			return "", errNotOwner
		}
		return user, nil
	}
}

// mayChange returns an error unless the owner of this container sent the request.
func (o owners) mayChange(r *http.Request, container string) error {
	own, err := o(r)
	if err == nil && own != container {
		err = errNotOwner
	}
	return err
}

// mayMint authorizes a request to the token endpoint. Only the owner of a container may
// create tokens for it.
func (o owners) mayMint(r *http.Request, container string) ([]jwtauth.IssueOption, error) {
	return nil, o.mayChange(r, container)
}

// mayRevoke authorizes a request to List.Handler. If the token is not authentic, c is the
// zero Claims. Any owner may send such a token, since List.Handler then revokes nothing.
func (o owners) mayRevoke(r *http.Request, c jwtauth.Claims) error {
	if c.ExpiresAt.IsZero() {
		_, err := o(r)
		return err
	}
	return o.mayChange(r, c.Container)
}

// revokeAll returns a handler with which the owner of a container revokes every token that
// was issued for it so far. Tokens issued afterwards are valid.
func revokeAll(list *revoke.List, issuer string, owner owners, logger *slog.Logger) http.Handler {
	// A browser that has stored the owner key would also send it for a page of another
	// origin.
	crossOrigin := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		if r.Method != http.MethodPost {
			w.Header().Set("Allow", http.MethodPost)
			writeProblem(w, http.StatusMethodNotAllowed, "method_not_allowed", "Use POST.")
			return
		}
		container := r.PathValue("container")
		err := crossOrigin.Check(r)
		if err == nil {
			err = owner.mayChange(r, container)
		}
		if err != nil {
			logger.DebugContext(r.Context(), "not revoked", "error", err)
			writeProblem(w, http.StatusForbidden, "not_authenticated", "You may not revoke the tokens of this container.")
			return
		}
		if err := list.RevokeContainer(r.Context(), issuer, container); err != nil {
			// This process already rejects the tokens. Other processes may not.
			logger.ErrorContext(r.Context(), "not revoked everywhere", "container", container, "error", err)
			w.Header().Set("Retry-After", "5")
			writeProblem(w, http.StatusServiceUnavailable, "unavailable", "The tokens cannot be revoked now. Try again.")
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
}

// anyOrigin allows pages of all sites to send requests with a token that they hold, and
// to read the responses. It never allows credentials that browsers send by themselves,
// such as cookies. With these, a site could act in the name of its visitors.
func anyOrigin() *cors.Cors {
	return cors.New(cors.Options{
		AllowedOrigins: []string{"*"},
		AllowedMethods: []string{http.MethodGet, http.MethodHead, http.MethodPost},
		AllowedHeaders: []string{"Authorization", "Content-Type"},
		ExposedHeaders: []string{"WWW-Authenticate", "Retry-After"},
		MaxAge:         600, // seconds
	})
}

// maxBody is the largest body of a request, in bytes.
const maxBody = 64 << 10

// answer is the body of a recipe's response.
type answer struct {
	Message string `json:"message"`
	Caller  caller `json:"caller"`
	// URL is the request's target as the recipe saw it, without the token.
	URL  string          `json:"url"`
	Data json.RawMessage `json:"data,omitempty"` // as it was posted
}

// caller identifies the client by its token.
type caller struct {
	Kind    string    `json:"kind"` // "anonymous" or "token"
	TokenID string    `json:"token_id,omitempty"`
	Expires time.Time `json:"expires,omitzero"`
}

// runRecipe returns a handler that runs the recipe named in the path. Protect must have
// allowed the request before.
func runRecipe(recipes catalogue, logger *slog.Logger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		found, ok := recipes.of(r)
		if !ok {
			writeProblem(w, http.StatusNotFound, "not_found", "There is no such recipe.")
			return
		}
		a := answer{URL: r.RequestURI, Caller: caller{Kind: "anonymous"}}
		switch r.Method {
		case http.MethodGet, http.MethodHead:
		case http.MethodPost:
			if a.Data, ok = readData(w, r); !ok {
				return
			}
		default:
			w.Header().Set("Allow", "GET, HEAD, POST")
			writeProblem(w, http.StatusMethodNotAllowed, "method_not_allowed", "Use GET or POST.")
			return
		}
		if claims, ok := jwtauth.FromContext(r.Context()); ok {
			a.Caller = caller{Kind: "token", TokenID: claims.ID, Expires: claims.ExpiresAt}
		}
		a.Message = found.run(r)
		logger.DebugContext(r.Context(), "recipe ran", "container", r.PathValue("container"),
			"recipe", r.PathValue("recipe"), "jti", a.Caller.TokenID)
		writeJSON(w, http.StatusOK, a)
	})
}

// readData returns the JSON of a body, or nil if the body is empty. If the body is bad, it
// writes the response and returns false.
func readData(w http.ResponseWriter, r *http.Request) (json.RawMessage, bool) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		writeProblem(w, http.StatusRequestEntityTooLarge, "too_large", "A recipe accepts at most 64 KiB of data.")
		return nil, false
	case err != nil:
		writeProblem(w, http.StatusBadRequest, "unreadable", "The data did not arrive.")
		return nil, false
	case len(body) > 0 && !json.Valid(body):
		writeProblem(w, http.StatusBadRequest, "malformed", "The data is not JSON.")
		return nil, false
	}
	return body, true
}

// writeProblem writes an error with the JSON fields of jwtauth's denials, so that clients
// have only one kind of error to parse.
func writeProblem(w http.ResponseWriter, status int, code, detail string) {
	writeJSON(w, status, struct {
		Code   string `json:"code"`
		Detail string `json:"detail"`
	}{code, detail})
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(body) // an error means that the client is gone
}

//go:embed static
var static embed.FS

// contentSecurityPolicy allows the page to load its own files and to call its own server.
// It forbids inline scripts, plain form submission, which could put the owner key into a
// URL, and pages that show this one in a frame.
const contentSecurityPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"

// handlePage registers handlers for the page and its files.
func handlePage(mux *http.ServeMux) {
	for pattern, file := range map[string]struct{ name, contentType string }{
		"GET /{$}":         {"static/index.html", "text/html; charset=utf-8"},
		"GET /app.js":      {"static/app.js", "text/javascript; charset=utf-8"},
		"GET /style.css":   {"static/style.css", "text/css; charset=utf-8"},
		"GET /favicon.svg": {"static/favicon.svg", "image/svg+xml"},
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			header := w.Header()
			// Without this, net/http would use the type that the operating system has
			// for the extension.
			header.Set("Content-Type", file.contentType)
			header.Set("Content-Security-Policy", contentSecurityPolicy)
			header.Set("Cross-Origin-Resource-Policy", "same-origin")
			header.Set("Referrer-Policy", "no-referrer")
			header.Set("X-Content-Type-Options", "nosniff")
			header.Set("Cache-Control", "no-cache")
			http.ServeFileFS(w, r, static, file.name)
		})
	}
}

// withoutRedirects responds with 404 to a path with dot segments, empty segments or a last
// slash. ServeMux would redirect most such paths. The redirect would repeat the query with
// its token, in a response that caches may keep.
func withoutRedirects(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if path.Clean(r.URL.Path) != r.URL.Path {
			http.NotFound(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}
