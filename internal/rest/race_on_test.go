//go:build race || invariants

package rest

// Under the race detector and with invariants checked pools drop at random, so that only the order of magnitude can be held.
const allocationsAllowed = 20.0
