//go:build !race && !invariants

package blob

// modelSteps is the number of steps of TestModel in each of its three settings.
const modelSteps = 67_000
