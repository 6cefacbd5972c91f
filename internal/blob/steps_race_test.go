//go:build race || invariants

package blob

const modelSteps = 2_000
