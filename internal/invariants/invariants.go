// Package invariants has the program check itself where it was built with the tag of that name or with the race detector, at any
// cost, and costs nothing elsewhere.
//
//   - Memory that belongs to a request (headers, decoded names, bodies, answers) and what the engine lends to a reader is
//     overwritten when its time is over: a string that outlived it, in a cache, a registry or a background task, is then wrong in
//     every test that looks at it.
//   - What is answered from a cache or a filter is compared with what it stands for.
//   - Counts that cannot be negative are not.
//   - Loops over what a client chose the number of count what they look at (Look), so that a test can hold a request's cost to its size.
//
// A violation panics: it is a defect of the program and never an error of a request.
package invariants

import "fmt"

// Violated stops the program for a defect.
func Violated(format string, args ...any) {
	panic("invariant violated: " + fmt.Sprintf(format, args...))
}
