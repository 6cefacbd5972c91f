//go:build race || invariants

package store

const manyRanges = 50_000

const longCuts, longCutEvery = 300, 3
