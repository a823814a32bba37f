package jwtauth

// Remembers reports whether a token would cost no cryptography now.
func (a *Auth) Remembers(token string) bool { return a.cached(token) != nil }
