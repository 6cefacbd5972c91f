//go:build !invariants && !race

package invariants

// Enabled tells that the program checks itself.
const Enabled = false

// Overwrite ends the life of memory that is about to be used again: not in this build.
func Overwrite([]byte) {}

// Look counts what a loop looks at: not in this build.
func Look(int) {}
