//go:build race

package blob

const modelSteps = 3_000
