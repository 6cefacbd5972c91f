package mirror

import (
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
)

// TestRepairsStartWhileOthersWait: a sync.WaitGroup panics at this, and the race detector says so each time.
func TestRepairsStartWhileOthersWait(t *testing.T) {
	var (
		r   repairs
		all sync.WaitGroup
	)
	for g := range 4 {
		all.Go(func() {
			ran := 0
			for i := range 1000 {
				r.start(fmt.Sprint(g), func() { ran++ })
				r.wait()
				if ran != i+1 {
					t.Errorf("wait returned before repair %d was done", i)
					return
				}
			}
		})
	}
	all.Wait()
	assert.Empty(t, r.running)
}

func TestAFileIsRepairedOnceAtATime(t *testing.T) {
	var r repairs
	hold := make(chan struct{})
	r.start("file", func() { <-hold })
	r.start("file", func() { t.Error("the file is being repaired") })
	close(hold)
	r.wait()
	ran := false
	r.start("file", func() { ran = true })
	r.wait()
	assert.True(t, ran, "a later repair is another one")
}
