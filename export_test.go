package jwtauth

// Cached reports whether a token would cost no cryptography now.
func (a *Auth) Cached(token string) bool { return a.cached(token) != nil }
