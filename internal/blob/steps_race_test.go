//go:build race || invariants

package blob

const modelSteps = 2_000

const manyRanges = 50_000

const longCuts, longCutEvery = 300, 3
