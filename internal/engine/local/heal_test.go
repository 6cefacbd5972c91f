package local

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Each step of bytes takes a tick, however the bytes are asked for, and nobody waits for a tick when the context has ended.
func TestPacer(t *testing.T) {
	const step = 100
	for _, bytes := range []int{1, 30, step, 7 * step / 2, 10 * step} {
		ticks := make(chan time.Time, 20)
		for range cap(ticks) {
			ticks <- time.Time{}
		}
		pace := pacer(ticks, step)
		for passed := 0; passed < 10*step; passed += bytes {
			pace(context.Background(), min(bytes, 10*step-passed))
		}
		require.Len(t, ticks, cap(ticks)-10, "%d bytes at a time", bytes)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	pacer(nil, step)(ctx, 10*step)
}
