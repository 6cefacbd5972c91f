//go:build race

package blob

const modelSteps = 2_000
