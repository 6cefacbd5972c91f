//go:build race

package rest

// Under the race detector pools drop at random, so that only the order of magnitude can be held.
const allocationsAllowed = 20.0
