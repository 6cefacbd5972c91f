package framing

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// These tests run on a false clock: what takes minutes takes none, and nothing depends on the machine's speed.

// bubble runs a test with a guard and a peer that are connected in memory. What the test gives to peers is waited for.
func bubble(t *testing.T, test func(t *testing.T, c *Conn, peer net.Conn, peers *sync.WaitGroup)) {
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		c := connect(a, DefaultLimits())
		var peers sync.WaitGroup
		defer peers.Wait()
		defer c.Close()
		test(t, c, b, &peers)
	})
}

// header reads one header block as the parser would.
func header(c *Conn) error {
	p := make([]byte, 4096)
	for {
		if _, err := c.Read(p); err != nil {
			return err
		}
		if c.head == 0 {
			return nil
		}
	}
}

const put1200000 = "PUT /c/b HTTP/1.1\r\nHost: h\r\nContent-Length: 1200000\r\n\r\n"

func TestSlowButMovingUploadLives(t *testing.T) {
	bubble(t, func(t *testing.T, c *Conn, peer net.Conn, peers *sync.WaitGroup) {
		peers.Go(func() {
			_, _ = io.WriteString(peer, put1200000)
			for range 2000 { // 1500 bytes a minute, for 13 hours
				time.Sleep(24 * time.Second)
				_, _ = peer.Write(make([]byte, 600))
			}
		})
		require.NoError(t, header(c))
		n, err := io.Copy(io.Discard, readerFunc(c.ReadBody))
		require.NoError(t, err)
		require.EqualValues(t, 1_200_000, n)
	})
}

func TestStalledUploadDies(t *testing.T) {
	for name, trickle := range map[string]int{"silent": 0, "a byte now and then": 1} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, c *Conn, peer net.Conn, peers *sync.WaitGroup) {
				peers.Go(func() {
					_, _ = io.WriteString(peer, put1200000)
					_, err := peer.Write(make([]byte, 5000))
					for trickle > 0 && err == nil {
						time.Sleep(10 * time.Second)
						_, err = peer.Write(make([]byte, trickle))
					}
				})
				require.NoError(t, header(c))
				start := time.Now()
				_, err := io.Copy(io.Discard, readerFunc(c.ReadBody))
				require.ErrorIs(t, err, os.ErrDeadlineExceeded)
				require.LessOrEqual(t, time.Since(start), 2*DefaultLimits().Stall)
			})
		})
	}
}

func TestSlowHeaderDies(t *testing.T) {
	bubble(t, func(t *testing.T, c *Conn, peer net.Conn, peers *sync.WaitGroup) {
		peers.Go(func() {
			for _, b := range []byte("GET /" + strings.Repeat("a", 1000)) {
				if _, err := peer.Write([]byte{b}); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		})
		var answer []byte
		peers.Go(func() { answer, _ = io.ReadAll(peer) })
		start := time.Now()
		require.ErrorIs(t, header(c), io.EOF)
		require.Equal(t, DefaultLimits().HeaderTime, time.Since(start))
		require.NoError(t, c.Close())
		peers.Wait()
		require.Contains(t, string(answer), "HTTP/1.1 408 ")
	})
}

func TestIdleConnectionIsClosedInSilence(t *testing.T) {
	bubble(t, func(t *testing.T, c *Conn, peer net.Conn, peers *sync.WaitGroup) {
		var answer []byte
		peers.Go(func() {
			_, _ = io.WriteString(peer, get+"\r\n")
			answer, _ = io.ReadAll(peer)
		})
		require.NoError(t, header(c))
		start := time.Now()
		require.ErrorIs(t, header(c), io.EOF)
		require.InDelta(t, DefaultLimits().Idle.Seconds(), time.Since(start).Seconds(), DefaultLimits().Idle.Seconds()/8)
		require.NoError(t, c.Close())
		peers.Wait()
		require.Empty(t, answer)
	})
}

func TestWriteFollowsProgress(t *testing.T) {
	bubble(t, func(t *testing.T, c *Conn, peer net.Conn, peers *sync.WaitGroup) {
		peers.Go(func() { // a reader that takes 64 KiB every 20 s, 5 minutes and more in all
			p := make([]byte, 64<<10)
			for {
				if _, err := io.ReadFull(peer, p); err != nil {
					return
				}
				time.Sleep(20 * time.Second)
			}
		})
		n, err := c.Write(make([]byte, 1<<20))
		require.NoError(t, err)
		require.Equal(t, 1<<20, n)
	})
}

func TestStalledReaderDies(t *testing.T) {
	bubble(t, func(t *testing.T, c *Conn, _ net.Conn, _ *sync.WaitGroup) {
		start := time.Now()
		_, err := c.Write(make([]byte, 1<<20))
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		require.Equal(t, DefaultLimits().Stall, time.Since(start))
	})
}

const expecting = "PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"

func TestContinueIsSentWhenTheBodyIsRead(t *testing.T) {
	peer := &script{in: []byte(expecting + "hello")}
	c := connect(peer, DefaultLimits())
	require.NoError(t, header(c))
	require.Empty(t, peer.out.String(), "before authorization nothing is promised")
	body, err := io.ReadAll(readerFunc(c.ReadBody))
	require.NoError(t, err)
	require.Equal(t, "hello", string(body))
	require.Equal(t, "HTTP/1.1 100 Continue\r\n\r\n", peer.out.String())
	require.True(t, c.Reusable())
}

func TestContinueIsNotSentWithoutNeed(t *testing.T) {
	for name, raw := range map[string]string{
		"not read":  expecting + "hello" + get + "\r\n",
		"old":       strings.Replace(expecting, "1.1", "1.0", 1) + "hello",
		"no body":   strings.Replace(expecting, ": 5", ": 0", 1),
		"no length": get + "Expect: 100-continue\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			peer := &script{in: []byte(raw)}
			c := connect(peer, DefaultLimits())
			require.NoError(t, header(c))
			if name != "not read" {
				_, err := io.ReadAll(readerFunc(c.ReadBody))
				require.NoError(t, err)
			} else {
				require.False(t, c.Reusable(), "the body may come or not: nobody knows where the next request begins")
				require.ErrorIs(t, header(c), io.EOF)
			}
			require.Empty(t, peer.out.String())
		})
	}
}

func TestUnreadBody(t *testing.T) {
	next := get + "\r\n"
	for name, c := range map[string]struct {
		size  int
		reuse bool
	}{"little is read away": {64 << 10, true}, "much closes": {64<<10 + 1, false}} {
		t.Run(name, func(t *testing.T) {
			raw := "PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: " + itoa(c.size) + "\r\n\r\n" + strings.Repeat("G", c.size) + next
			conn := connect(&script{in: []byte(raw), burst: 999}, DefaultLimits())
			require.NoError(t, header(conn))
			require.Equal(t, c.reuse, conn.Reusable())
			err := header(conn)
			if !c.reuse {
				require.ErrorIs(t, err, io.EOF)
				return
			}
			require.NoError(t, err)
			require.EqualValues(t, -1, conn.Head().Length)
		})
	}
}

func itoa(n int) string {
	if n < 10 {
		return string(rune('0' + n))
	}
	return itoa(n/10) + string(rune('0'+n%10))
}

// tcp is a guarded listener on a real socket, with an echo of bodies behind it.
func tcp(t *testing.T, limits Limits) (*Listener, <-chan struct{}) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	l := Listen(ln, limits, nil)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				conn := c.(*Conn)
				for header(conn) == nil {
					body, err := io.ReadAll(readerFunc(conn.ReadBody))
					if err != nil {
						return
					}
					if _, err := io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: "+itoa(len(body))+"\r\n\r\n"+string(body)); err != nil {
						return
					}
				}
			}()
		}
	}()
	return l, done
}

func dial(t *testing.T, l *Listener) net.Conn {
	c, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	require.NoError(t, c.SetDeadline(time.Now().Add(20*time.Second)))
	return c
}

func TestShutdownFinishesWhatIsUnderWay(t *testing.T) {
	l, accepting := tcp(t, DefaultLimits())
	resting, working := dial(t, l), dial(t, l)
	_, err := io.WriteString(working, "PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nhello")
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		n := 0
		l.each(func(c *Conn) { n += int(c.state.Load()) })
		return n == int(busy) && l.Open() == 2
	}, 10*time.Second, time.Millisecond)
	stopped := make(chan error, 1)
	go func() { stopped <- l.Shutdown(context.Background()) }()
	b, err := io.ReadAll(resting)
	require.NoError(t, err, "an idle connection is ended at once")
	require.Empty(t, b)
	_, err = io.WriteString(working, "world")
	require.NoError(t, err)
	b, err = io.ReadAll(working)
	require.NoError(t, err)
	require.True(t, strings.HasSuffix(string(b), "\r\n\r\nhelloworld"), "%q", b)
	require.NoError(t, <-stopped)
	<-accepting
	_, err = l.Listener.Accept()
	require.ErrorIs(t, err, net.ErrClosed, "new connections are refused") // a dial could reach who has the port now
}

func TestShutdownCutsWhatDoesNotFinish(t *testing.T) {
	l, _ := tcp(t, DefaultLimits())
	c := dial(t, l)
	_, err := io.WriteString(c, put1200000)
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		n := int32(0)
		l.each(func(c *Conn) { n += c.state.Load() })
		return n == busy
	}, 10*time.Second, time.Millisecond)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	require.ErrorIs(t, l.Shutdown(ctx), context.Canceled)
	require.Zero(t, l.Open())
}

func TestTooManyConnectionsAreTurnedAway(t *testing.T) {
	limits := DefaultLimits()
	limits.Connections = 2
	l, _ := tcp(t, limits)
	first := dial(t, l)
	dial(t, l)
	require.Eventually(t, func() bool { return l.Open() == 2 }, 10*time.Second, time.Millisecond)
	b, err := io.ReadAll(dial(t, l))
	require.NoError(t, err)
	require.Contains(t, string(b), "HTTP/1.1 503 ")
	_, err = io.WriteString(first, get+"\r\n")
	require.NoError(t, err)
	line, err := bufio.NewReader(first).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "HTTP/1.1 200 OK\r\n", line)
	require.EqualValues(t, 1, l.Turned())
	require.NoError(t, l.Shutdown(context.Background()))
}

// TestListenersShareAQuota: what one listener's connections take the other's lack, a client has its share, and what ends is given back.
func TestListenersShareAQuota(t *testing.T) {
	for name, q := range map[string]*Quota{"in all": NewQuota(2, 0), "of a client": NewQuota(0, 2)} {
		t.Run(name, func(t *testing.T) {
			limits := DefaultLimits()
			limits.Quota = q
			a, _ := tcp(t, limits)
			b, _ := tcp(t, limits)
			first := dial(t, a)
			dial(t, b)
			require.Eventually(t, func() bool { return a.Open()+b.Open() == 2 }, 10*time.Second, time.Millisecond)
			for _, l := range []*Listener{a, b} {
				answer, err := io.ReadAll(dial(t, l))
				require.NoError(t, err)
				require.Contains(t, string(answer), "HTTP/1.1 503 ")
			}
			require.NoError(t, first.Close())
			require.Eventually(t, func() bool { return a.Open() == 0 }, 10*time.Second, time.Millisecond)
			dial(t, b)
			require.Eventually(t, func() bool { return b.Open() == 2 }, 10*time.Second, time.Millisecond)
			require.NoError(t, b.Shutdown(context.Background()))
			require.NoError(t, a.Shutdown(context.Background()))
			require.Zero(t, q.open)
			require.Empty(t, q.clients)
		})
	}
}

func TestAClientIsAnAddressOrANetwork(t *testing.T) {
	q := NewQuota(0, 1)
	require.True(t, q.Acquire(netip.MustParseAddr("192.0.2.1")))
	require.True(t, q.Acquire(netip.MustParseAddr("192.0.2.2")))
	require.True(t, q.Acquire(netip.MustParseAddr("2001:db8::1")))
	require.False(t, q.Acquire(netip.MustParseAddr("2001:db8::2")))
	require.True(t, q.Acquire(netip.MustParseAddr("2001:db8:0:1::1")))
}

// shortage is a listener without file descriptors for a while.
type shortage struct {
	net.Listener
	left int
}

func (s *shortage) Accept() (net.Conn, error) {
	if s.left--; s.left >= 0 {
		return nil, errors.New("accept: too many open files")
	}
	return s.Listener.Accept()
}

func TestShortageOfDescriptorsIsWaitedOut(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	l := Listen(&shortage{ln, 3}, DefaultLimits(), nil)
	peer := dial(t, l)
	defer peer.Close()
	c, err := l.Accept()
	require.NoError(t, err)
	require.NoError(t, c.Close())
	require.NoError(t, l.Shutdown(context.Background()))
}

// TestAnswerSurvivesAnUnreadBody: a peer that is still sending when it is answered must get the answer, not a reset.
func TestAnswerSurvivesAnUnreadBody(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	l := Listen(ln, DefaultLimits(), nil)
	peer := dial(t, l)
	c, err := l.Accept()
	require.NoError(t, err)
	conn := c.(*Conn)
	const size = 4 << 20
	sent := make(chan error, 1)
	go func() {
		_, err := io.WriteString(peer, "PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: "+itoa(size)+"\r\n\r\n"+strings.Repeat("x", size))
		sent <- err
	}()
	require.NoError(t, header(conn))
	require.False(t, conn.Reusable())
	_, err = io.WriteString(conn, "HTTP/1.1 403 Forbidden\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
	require.NoError(t, err)
	closed := make(chan error, 1)
	go func() { closed <- conn.Close() }()
	require.NoError(t, <-sent)
	b, err := io.ReadAll(peer)
	require.NoError(t, err)
	require.Contains(t, string(b), "403 Forbidden")
	require.NoError(t, peer.Close())
	require.NoError(t, <-closed)
	require.NoError(t, l.Shutdown(context.Background()))
}
