//go:build !race && !invariants

package store

// manyRanges is how many ranges the page blob of many has.
const manyRanges = 1_000_000

// TestPowerCutWhileALongListIsLaid makes so many power cuts, at one in so many operations: of a script of some 260 operations, at
// each of which it makes three.
const longCuts, longCutEvery = 1600, 1
