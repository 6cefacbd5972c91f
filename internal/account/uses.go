package account

import (
	"math"
	"sync"
	"sync/atomic"
)

// Uses counts the requests under way on an account, through all its states. What was authorized for a deleted account must not reach
// the next one of the same name, however long its body takes: so the name is free only when the last use has ended.
type Uses struct {
	n    atomic.Int64 // ended is added once no more may enter
	idle chan struct{}
	once sync.Once
}

const ended = math.MinInt64

func newUses() *Uses { return &Uses{idle: make(chan struct{})} }

// enter reports whether the account is still there.
func (u *Uses) enter() bool {
	if u.n.Add(1) > 0 {
		return true
	}
	u.Leave()
	return false
}

// Leave ends one use.
func (u *Uses) Leave() { u.settled(u.n.Add(-1)) }

func (u *Uses) end() { u.settled(u.n.Add(ended)) }

func (u *Uses) settled(n int64) {
	if n == ended {
		u.once.Do(func() { close(u.idle) })
	}
}

// Idle is closed when the account has been removed and its last use has ended.
func (u *Uses) Idle() <-chan struct{} { return u.idle }
