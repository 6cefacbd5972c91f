package mirror

import "sync"

// repairs are the files being repaired, each at most once. A sync.WaitGroup would not do: readers start a repair while others wait
// for those under way. The zero value is ready, and for use by several goroutines.
type repairs struct {
	mu      sync.Mutex
	running map[string]chan struct{} // by replica and name; closed when it is done
}

// start runs repair in the background unless one of the same file is running.
func (r *repairs) start(file string, repair func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.running[file] != nil {
		return
	}
	if r.running == nil {
		r.running = make(map[string]chan struct{})
	}
	done := make(chan struct{})
	r.running[file] = done
	go func() {
		defer r.end(file)
		repair()
	}()
}

// count is how many are running.
func (r *repairs) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.running)
}

func (r *repairs) end(file string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	done := r.running[file]
	delete(r.running, file)
	close(done)
}

// wait returns when the repairs that were under way are done.
func (r *repairs) wait() {
	r.mu.Lock()
	under := make([]chan struct{}, 0, len(r.running))
	for _, done := range r.running {
		under = append(under, done)
	}
	r.mu.Unlock()
	for _, done := range under {
		<-done
	}
}
