// Package unobserved marks judgements that nobody asked for, such as those by which this
// library checks its own work: they are neither counted nor logged.
package unobserved

import "context"

type key struct{}

// Context returns a context whose judgements are the library's own.
func Context(ctx context.Context) context.Context {
	return context.WithValue(ctx, key{}, true)
}

// Is reports that a context came from [Context].
func Is(ctx context.Context) bool {
	return ctx.Value(key{}) != nil
}
