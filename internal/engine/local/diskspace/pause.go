package diskspace

import "sync/atomic"

// Pause is a reason to refuse writes that passes.
type Pause struct {
	Why  error
	over chan struct{} // closed when it has passed
}

// Set notes a reason at where unless there is one, and tells whether there was none.
func Set(where *atomic.Pointer[Pause], why error) bool {
	return where.CompareAndSwap(nil, &Pause{Why: why, over: make(chan struct{})})
}

// Pass has the reason at where pass, and tells whether there was one.
func Pass(where *atomic.Pointer[Pause]) bool {
	p := where.Swap(nil)
	if p != nil {
		close(p.over)
	}
	return p != nil
}
