//go:build !plain

package speedup

const plain = false
