package rest_test

import (
	"bytes"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/rest"
	"github.com/blobd/blobd/internal/rest/framing"
	"github.com/blobd/blobd/internal/rest/resttest"
)

// until waits for what other goroutines are about to do; the test's deadline is its own.
func until(t *testing.T, condition func() bool) {
	for !condition() {
		if t.Context().Err() != nil {
			t.FailNow()
		}
		runtime.Gosched()
	}
}

// What waits for bodies grows with the bytes that arrive, whatever length is declared; beyond the budget there is 503, and what is
// there at once is served all the same.
func TestMemoryFollowsTheBytesReceived(t *testing.T) {
	limits := framing.DefaultLimits()
	limits.Bodies = framing.NewBudget(200 << 10)
	s := resttest.StartWith(t, &rest.Front{Blob: newEcho(func(r *rest.Request) error {
		b, err := r.ReadBody(4 << 20)
		if err == nil {
			r.ReplyBytes(201, "text/plain", fmt.Append(nil, len(b)))
		}
		return err
	})}, limits)
	lie := func() *resttest.Conn {
		c := s.Dial()
		c.Write(fmt.Sprintf("PUT /acct/c/b HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%064d", 1<<20, 0))
		return c
	}
	var liars []*resttest.Conn
	for i := range 6 {
		liars = append(liars, lie())
		until(t, func() bool { return limits.Bodies.Used() == int64(i+1)*16<<10 })
	}
	turned := lie()
	got := turned.Response("PUT")
	require.Equal(t, "503 ServerBusy 1", fmt.Sprint(got.Status, " ", got.Code(), " ", got.Header.Get("Retry-After")))
	require.EqualValues(t, 1, limits.Bodies.Refused())
	require.Equal(t, "1000", string(s.Do("PUT", "/acct/c/b", strings.Repeat("x", 1000)).Body), "it waits for nobody")
	for _, c := range liars[1:] {
		_ = c.Close()
	}
	until(t, func() bool { return limits.Bodies.Used() == 16<<10 })
	liars[0].Write(strings.Repeat("x", 16<<10))
	until(t, func() bool { return limits.Bodies.Used() == 64<<10 })
	liars[0].Write(strings.Repeat("x", 64<<10)) // for which no more is left
	require.Equal(t, 503, liars[0].Response("PUT").Status)
	_ = liars[0].Close()
	until(t, func() bool { return limits.Bodies.Used() == 0 })
	// A body in pieces is whole in the end.
	c := s.Dial()
	c.Write("PUT /acct/c/b HTTP/1.1\r\nHost: h\r\nContent-Length: 60000\r\n\r\n")
	for range 6 {
		c.Write(strings.Repeat("y", 10_000))
	}
	require.Equal(t, "60000", string(c.Response("PUT").Body))
	until(t, func() bool { return limits.Bodies.Used() == 0 })
}

// TestAnswersThatNobodyTakes: long answers that are not read have one budget. Beyond it a GET gets 503 instead, a POST is refused before
// it does anything, and what is small is served. Memory comes back with the connections.
func TestAnswersThatNobodyTakes(t *testing.T) {
	const size = 8 << 20 // more than sockets take
	limits := framing.DefaultLimits()
	limits.Answers = framing.NewBudget(2 * (4*size + size/2)) // of which one client has half
	var done atomic.Int32
	s := resttest.StartWith(t, &rest.Front{Blob: newEcho(func(r *rest.Request) error {
		done.Add(1)
		n := size
		if r.Blob == "small" {
			n = 1000
		}
		if r.Blob == "stream" {
			return r.ReplyWhole(200, int64(n), io.NopCloser(bytes.NewReader(make([]byte, n))))
		}
		r.ReplyBytes(200, "text/plain", make([]byte, n))
		return nil
	})}, limits)
	ask := func(method, blob string) *resttest.Conn {
		c := s.Dial()
		c.Write(method + " /acct/c/" + blob + " HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n")
		return c
	}
	var slow []*resttest.Conn
	for i := range 4 {
		slow = append(slow, ask("GET", []string{"whole", "stream"}[i%2]))
		until(t, func() bool { return limits.Answers.Used() == int64(i+1)*size })
	}
	for i := range 4 {
		got := ask("GET", []string{"whole", "stream"}[i%2]).Response("GET")
		require.Equal(t, "503 ServerBusy 1", fmt.Sprint(got.Status, " ", got.Code(), " ", got.Header.Get("Retry-After")))
	}
	require.Equal(t, 200, ask("GET", "small").Response("GET").Status)
	slow = append(slow, ask("POST", "whole")) // which finds some left, and may have done something by the time that its answer is made
	until(t, func() bool { return limits.Answers.Used() == 5*size })
	before := done.Load()
	require.Equal(t, 503, ask("POST", "whole").Response("POST").Status)
	require.Equal(t, before, done.Load())
	require.Equal(t, 200, slow[0].Response("GET").Status, "it reads in the end")
	slow[0].Write("GET /acct/c/small HTTP/1.1\r\nHost: h\r\n\r\n")
	require.Equal(t, 200, slow[0].Response("GET").Status)
	require.EqualValues(t, 4*size, limits.Answers.Used())
	for _, c := range slow[1:] {
		_ = c.Close()
	}
	until(t, func() bool { return limits.Answers.Used() == 0 })
	require.EqualValues(t, 5, limits.Answers.Refused())
}

// TestSlowReadersMakeRoom: who does not take his answers holds their memory for as long as nobody else needs it.
func TestSlowReadersMakeRoom(t *testing.T) {
	const size = 8 << 20 // more than sockets take
	limits := framing.DefaultLimits()
	limits.Answers = framing.NewBudget(2 * (4*size + size/2)) // of which one client has half
	limits.Answers.Patience = 1
	s := resttest.StartWith(t, &rest.Front{Blob: newEcho(func(r *rest.Request) error {
		if r.Blob == "stream" {
			return r.ReplyWhole(200, size, io.NopCloser(bytes.NewReader(make([]byte, size))))
		}
		r.ReplyBytes(200, "text/plain", make([]byte, size))
		return nil
	})}, limits)
	ask := func(method, blob string) *resttest.Conn {
		c := s.Dial()
		c.Write(method + " /acct/c/" + blob + " HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n")
		return c
	}
	for i := range 4 {
		ask("GET", []string{"stream", "whole"}[i%2])
		until(t, func() bool { return limits.Answers.Used() == int64(i+1)*size })
	}
	until(t, func() bool { return limits.Answers.Waiting() == 4 })
	for i, method := range []string{"GET", "GET", "GET", "POST"} {
		got := ask(method, []string{"whole", "stream"}[i%2]).Response(method)
		require.Equal(t, 200, got.Status)
		require.Len(t, got.Body, size)
	}
	require.Positive(t, limits.Answers.Refused())
}

// TestSlowReadersOfContentMakeRoom: so does who reads content slowly, which keeps the buffers of its stream.
func TestSlowReadersOfContentMakeRoom(t *testing.T) {
	const size, buffers = 8 << 20, 1 << 20 // bytes; the content is more than sockets take
	limits := framing.DefaultLimits()
	limits.Streams = framing.NewBudget(2 * (4*buffers + buffers/2)) // of which one client has half
	s := resttest.StartWith(t, &rest.Front{Blob: newEcho(func(r *rest.Request) error {
		n := size
		if r.Blob == "small" {
			n = framing.SmallAnswer
		}
		if err := r.HoldStream(int64(min(n, buffers))); err != nil {
			return err
		}
		r.ReplyStream(200, int64(n), io.NopCloser(bytes.NewReader(make([]byte, n))))
		return nil
	})}, limits)
	ask := func(blob string) *resttest.Conn {
		c := s.Dial()
		c.Write("GET /acct/c/" + blob + " HTTP/1.1\r\nHost: h\r\n\r\n")
		return c
	}
	var slow []*resttest.Conn
	for i := range 4 {
		slow = append(slow, ask("large"))
		until(t, func() bool { return limits.Streams.Waiting() == i+1 })
	}
	require.EqualValues(t, 4*buffers, limits.Streams.Used())
	got := ask("large").Response("GET")
	require.Equal(t, "503 ServerBusy 1", fmt.Sprint(got.Status, " ", got.Code(), " ", got.Header.Get("Retry-After")), "they may wait for ever")
	require.Len(t, ask("small").Response("GET").Body, framing.SmallAnswer, "it is not counted")
	require.Len(t, slow[0].Response("GET").Body, size, "it reads in the end")
	until(t, func() bool { return limits.Streams.Used() == 3*buffers })
	_ = slow[1].Close()
	until(t, func() bool { return limits.Streams.Used() == 2*buffers })

	limits.Streams.Patience = 1
	ask("large")
	ask("large")
	until(t, func() bool { return limits.Streams.Waiting() == 4 })
	for range 4 {
		require.Len(t, ask("large").Response("GET").Body, size)
	}
	require.Greater(t, limits.Streams.Refused(), int64(1))
}

// TestSlowSendersMakeRoom: so does who hardly sends the body that he declared. Who has sent all of it is not cut off while it is worked on.
func TestSlowSendersMakeRoom(t *testing.T) {
	limits := framing.DefaultLimits()
	limits.Bodies = framing.NewBudget(200 << 10)
	limits.Bodies.Patience = 1
	working, release := make(chan bool, 1), make(chan bool)
	s := resttest.StartWith(t, &rest.Front{Blob: newEcho(func(r *rest.Request) error {
		b, err := r.ReadBody(4 << 20)
		if err != nil {
			return err
		}
		if r.Blob == "works" {
			working <- true
			<-release
		}
		r.ReplyBytes(201, "text/plain", fmt.Append(nil, len(b)))
		return nil
	})}, limits)
	send := func(blob string, size int) *resttest.Conn {
		c := s.Dial()
		c.Write(fmt.Sprintf("PUT /acct/c/%s HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n", blob, size))
		return c
	}
	works := send("works", 60_000)
	until(t, func() bool { return limits.Bodies.Waiting() == 1 })
	works.Write(strings.Repeat("x", 60_000))
	<-working
	require.Zero(t, limits.Bodies.Waiting())
	slow := send("b", 1<<20)
	slow.Write(strings.Repeat("x", 1000))
	until(t, func() bool { return limits.Bodies.Waiting() == 1 })
	c := send("b", 30_000)
	for range 3 {
		c.Write(strings.Repeat("y", 10_000))
	}
	require.Equal(t, "30000", string(c.Response("PUT").Body))
	answer, err := io.ReadAll(slow)
	if err != nil { // it is cut off with a reset if the server had bytes of it that nobody read
		require.ErrorIs(t, err, syscall.ECONNRESET)
	}
	require.Empty(t, string(answer))
	require.Positive(t, limits.Bodies.Refused())
	close(release)
	require.Equal(t, "60000", string(works.Response("PUT").Body))
	until(t, func() bool { return limits.Bodies.Used() == 0 })
}

// TestABurstOfChangesStaysWithinTheMemory: many that were let in while nothing was taken, and then have long answers, are answered as far as
// memory goes. The others' connections end: no refusal says that nothing was done.
func TestABurstOfChangesStaysWithinTheMemory(t *testing.T) {
	const size, all = 8 << 20, 8 // bytes, more than sockets take; requests
	limits := framing.DefaultLimits()
	limits.Answers = framing.NewBudget(4 * size)
	begun, release := make(chan bool), make(chan bool)
	done := make(chan error, all)
	s := resttest.StartWith(t, &rest.Front{
		Blob: newEcho(func(r *rest.Request) error {
			begun <- true
			<-release
			if r.Blob == "stream" {
				return r.ReplyWhole(201, size, io.NopCloser(bytes.NewReader(make([]byte, size))))
			}
			r.ReplyBytes(201, "text/plain", make([]byte, size))
			return nil
		}),
		Done: func(r *rest.Request) {
			if r.Cause() != nil {
				done <- r.Cause()
			}
		},
	}, limits)
	var conns []*resttest.Conn
	for i := range all {
		c := s.Dial()
		c.Write("POST /acct/c/" + []string{"whole", "stream"}[i%2] + " HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n")
		conns = append(conns, c)
		<-begun
	}
	close(release)
	for range all - 5 { // a quarter more than there is
		<-done
	}
	until(t, func() bool { return limits.Answers.Waiting() == 5 })
	require.EqualValues(t, 5*size, limits.Answers.Used())
	require.EqualValues(t, all-5, limits.Answers.Refused())
	whole := 0
	for _, c := range conns {
		b, err := io.ReadAll(io.LimitReader(c, size)) // less than an answer with its header
		if err != nil {
			require.ErrorIs(t, err, syscall.ECONNRESET)
		}
		if len(b) > 0 {
			require.Contains(t, string(b[:20]), "HTTP/1.1 201 ")
			require.Len(t, b, size)
			whole++
		}
		_ = c.Close()
	}
	require.Equal(t, 5, whole)
	until(t, func() bool { return limits.Answers.Used() == 0 })
}

// TestAnswersThatAreMade: what is being made counts as it grows, so that many at a time stay within the budget as well.
func TestAnswersThatAreMade(t *testing.T) {
	limits := framing.DefaultLimits()
	limits.Answers = framing.NewBudget(1 << 20)
	most := 0
	s := resttest.StartWith(t, &rest.Front{Blob: newEcho(func(r *rest.Request) error {
		for n := 0; n <= 4<<20; n += 10_000 {
			if err := r.HoldAnswer(n); err != nil {
				return err
			}
			most = n
		}
		return nil
	})}, limits)
	require.Equal(t, 503, s.Do("GET", "/acct/c/b", "").Status)
	require.Greater(t, most, 700<<10)
	require.Less(t, most, 1<<20)
	until(t, func() bool { return limits.Answers.Used() == 0 })
}

// So do headers that are not whole, of which nobody knows whose they are.
func TestMemoryOfHeadersThatAreAwaited(t *testing.T) {
	limits := framing.DefaultLimits()
	limits.Headers = framing.NewBudget(80 << 10)
	s := resttest.StartWith(t, &rest.Front{Blob: newEcho(func(r *rest.Request) error { r.Reply(200); return nil })}, limits)
	begin := func(n int) *resttest.Conn {
		c := s.Dial()
		c.Write("GET /acct/c/b HTTP/1.1\r\nHost: h\r\nX-Long: " + strings.Repeat("a", n))
		return c
	}
	begin(100) // in the connection's own memory
	first, second := begin(3000), begin(3000)
	until(t, func() bool { return limits.Headers.Used() == 32<<10 })
	third := begin(3000)
	require.Equal(t, 503, third.Response("GET").Status)
	require.Equal(t, 200, s.Do("GET", "/acct/c/b", "", "X-Long: "+strings.Repeat("a", 1000)).Status, "what is there at once")
	first.Write("\r\n\r\n")
	require.Equal(t, 200, first.Response("GET").Status)
	_ = second.Close()
	until(t, func() bool { return limits.Headers.Used() == 0 })
}
