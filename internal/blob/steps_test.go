//go:build !race

package blob

// modelSteps is the number of steps of TestModel in each of its three settings.
const modelSteps = 67_000

// manyRanges is how many ranges the page blob of many has.
const manyRanges = 1_000_000
