package main

import (
	"net/http"

	"github.com/joinednode/jwtauth"
)

// recipe holds what a recipe does, and who may run it.
type recipe struct {
	policy jwtauth.Policy
	// run does the recipe's work and returns its message.
	run func(r *http.Request) string
}

// catalogue holds the recipes by container and name. In a real service this is a database
// table that owners may change at any time. So it is read on every request.
type catalogue map[string]map[string]recipe

// demoCatalogue returns a public and a private recipe in each of two containers.
func demoCatalogue() catalogue {
	c := catalogue{}
	for _, container := range []string{"demo", "other"} {
		c[container] = map[string]recipe{
			"hello": {jwtauth.Public, func(*http.Request) string {
				return "Hello from " + container + "."
			}},
			// A real recipe would send an e-mail or write to a channel.
			"notify": {jwtauth.Private, func(*http.Request) string {
				return "The team of " + container + " was notified."
			}},
		}
	}
	return c
}

// of returns the recipe that a request names, and reports whether there is one.
func (c catalogue) of(r *http.Request) (recipe, bool) {
	found, ok := c[r.PathValue("container")][r.PathValue("recipe")]
	return found, ok
}

// rule returns the rule of a request, for Auth.Protect. A recipe that does not exist is
// private, so that only clients with a token of the container learn which recipes exist.
// If a look-up can fail, return its error here: the response is then 503, and the recipe
// does not run.
func (c catalogue) rule(r *http.Request) (jwtauth.Rule, error) {
	found, ok := c.of(r)
	if !ok {
		return jwtauth.Rule{Policy: jwtauth.Private}, nil
	}
	return jwtauth.Rule{Policy: found.policy}, nil
}
