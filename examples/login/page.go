package main

import (
	"embed"
	"net/http"
)

//go:embed static
var static embed.FS

// contentSecurityPolicy allows the page to load its own files and to call its own server.
// It forbids inline scripts, plain form submission, which could put a password into a URL,
// and pages that show this one in a frame.
const contentSecurityPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"

// handlePage registers handlers for the page and its files.
func handlePage(mux *http.ServeMux) {
	const script = "text/javascript; charset=utf-8"
	for pattern, file := range map[string]struct{ name, contentType string }{
		"GET /{$}":                {"static/index.html", "text/html; charset=utf-8"},
		"GET /app.js":             {"static/app.js", script},
		"GET /client.js":          {"static/client.js", script},
		"GET /style.css":          {"static/style.css", "text/css; charset=utf-8"},
		"GET /favicon.svg":        {"static/favicon.svg", "image/svg+xml"},
		"GET /axios/axios.min.js": {"static/axios/axios.min.js", script},
		"GET /axios/LICENSE":      {"static/axios/LICENSE", "text/plain; charset=utf-8"},
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			header := w.Header()
			// Without this, net/http would use the type that the operating system has
			// for the extension.
			header.Set("Content-Type", file.contentType)
			header.Set("Content-Security-Policy", contentSecurityPolicy)
			header.Set("Cross-Origin-Opener-Policy", "same-origin")
			header.Set("Cross-Origin-Resource-Policy", "same-origin")
			header.Set("Referrer-Policy", "no-referrer")
			header.Set("X-Content-Type-Options", "nosniff")
			header.Set("Cache-Control", "no-cache")
			http.ServeFileFS(w, r, static, file.name)
		})
	}
}
