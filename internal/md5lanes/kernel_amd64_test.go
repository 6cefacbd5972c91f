package md5lanes

import "golang.org/x/sys/cpu"

// runnable is every kernel that this processor can run, chosen or not.
func runnable() []kernel {
	k := append([]kernel{}, scalar...)
	if cpu.X86.HasAVX2 {
		k = append(k, avx2...)
	}
	if cpu.X86.HasAVX512F && cpu.X86.HasAVX512VL {
		k = append(k, avx512...)
	}
	return k
}
