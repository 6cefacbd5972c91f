//go:build !race && !invariants

package rest

// The one byte that the HTTP library reads to wake an idle connection.
const allocationsAllowed = 1.1
