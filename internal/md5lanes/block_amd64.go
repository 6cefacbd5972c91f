package md5lanes

import "golang.org/x/sys/cpu"

func detect() []kernel {
	switch {
	case cpu.X86.HasAVX512F && cpu.X86.HasAVX512VL:
		return append(scalar, avx512...)
	case cpu.X86.HasAVX2:
		return append(scalar, avx2...)
	}
	return nil
}

// A vector has its steps at half the speed of general registers, or at the same, so that two streams are better off in these.
var scalar = []kernel{{"scalar", 1, scalarx1}, {"scalar", 2, scalarx2}}

var (
	avx2   = []kernel{{"avx2", 4, avx2x4}, {"avx2", 8, avx2x8}, {"avx2", 16, avx2x16}}
	avx512 = []kernel{{"avx512", 4, avx512x4}, {"avx512", 8, avx512x8}, {"avx512", 16, avx512x16}, {"avx512", 32, avx512x32}}
)

//go:noescape
func scalarx1(state *[4][32]uint32, from *[32]*byte, n int)

//go:noescape
func scalarx2(state *[4][32]uint32, from *[32]*byte, n int)

//go:noescape
func avx2x4(state *[4][32]uint32, from *[32]*byte, n int)

//go:noescape
func avx2x8(state *[4][32]uint32, from *[32]*byte, n int)

//go:noescape
func avx2x16(state *[4][32]uint32, from *[32]*byte, n int)

//go:noescape
func avx512x4(state *[4][32]uint32, from *[32]*byte, n int)

//go:noescape
func avx512x8(state *[4][32]uint32, from *[32]*byte, n int)

//go:noescape
func avx512x16(state *[4][32]uint32, from *[32]*byte, n int)

//go:noescape
func avx512x32(state *[4][32]uint32, from *[32]*byte, n int)
