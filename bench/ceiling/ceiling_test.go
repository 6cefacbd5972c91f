package ceiling

import (
	"net"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/bench/content"
	"github.com/blobd/blobd/bench/wire"
)

// Every mode takes bodies of every size; what it says of them is right.
func TestWrites(t *testing.T) {
	for _, mode := range Modes {
		t.Run(mode, func(t *testing.T) {
			c := serve(t, mode)
			for _, size := range []int{0, 1, 4 << 10, 64 << 10, 1<<20 + 7} {
				resp, err := c.Do(&wire.Request{Method: "PUT", Path: "/put-4096/b00000001", Body: content.Slice(1, size)}, nil)
				require.NoError(t, err)
				require.Equal(t, 201, resp.Status)
				require.Equal(t, mode == "file" && size > 0, resp.Value("Content-MD5") != "")
				require.Equal(t, mode != "network" && mode != "commit" && size > 0, resp.Value("x-ms-content-crc64") != "")
			}
			require.Equal(t, 1, c.Dials, "the connection is kept")
		})
	}
	_, err := New("none", t.TempDir())
	require.ErrorContains(t, err, "no such mode")
}

// Reads are answered with the very bytes that blobd would have to give.
func TestReads(t *testing.T) {
	c := serve(t, "network")
	for _, tc := range []struct {
		path  string
		index uint64
		size  int
	}{
		{"/get-4096/b00000000", 0, 4 << 10},
		{"/get-65536/b00000042", 42, 64 << 10},
		{"/get-1048576/b00000007", 7, 1 << 20},
		{"/listed", 0, 0},
	} {
		var check content.Checker
		check.Expect(content.Slice(tc.index, tc.size))
		resp, err := c.Do(&wire.Request{Method: "GET", Path: tc.path}, &check)
		require.NoError(t, err)
		require.Equal(t, 200, resp.Status)
		require.NoError(t, check.Close())
		resp, err = c.Do(&wire.Request{Method: "HEAD", Path: tc.path}, nil)
		require.NoError(t, err)
		require.EqualValues(t, tc.size, resp.Length)
	}
}

func serve(t *testing.T, mode string) *wire.Conn {
	t.Helper()
	s, err := New(mode, t.TempDir())
	require.NoError(t, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan error)
	go func() { done <- s.Serve(l) }()
	c := wire.NewConn(l.Addr().String(), wire.Emulator)
	t.Cleanup(func() {
		c.Close()
		require.NoError(t, s.Close())
		require.NoError(t, <-done)
	})
	return c
}
