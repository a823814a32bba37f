package jwtauth

// Cached reports whether a token is in the cache.
func (a *Auth) Cached(token string) bool { return a.cached(token) != nil }
