//go:build invariants

package e2e

func init() { buildFlags = []string{"-tags", "invariants"} }
