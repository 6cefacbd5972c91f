// Package md5lanes is MD5 of many bodies at once.
//
// MD5 is a chain of steps that wait for each other: one body leaves most of a core idle, and several that are hashed together,
// one in each lane of a vector, cost little more than one. This package finds the company. Sum hashes a body in memory together
// with those of other goroutines that call it at the same time; a Digest hashes a body as it comes in, together with those that
// other Digests receive.
//
// Every sum is that of crypto/md5. Whoever is alone is as fast as with crypto/md5, and where the processor has no kernels it is
// crypto/md5 that does the work. No goroutine outlives the work there is.
package md5lanes

//go:generate go run gen/main.go
