package process

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/sas"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/blobd/blobd/internal/account"
)

// How many connections of each kind there are at a time; make connections has 10,000, 2,000 and 800.
var (
	idleConnections  = flag.Int("idle", 300, "connections that say nothing, or were served once")
	slowConnections  = flag.Int("slow", 100, "connections within a header, or a body that nobody wants")
	lyingConnections = flag.Int("lying", 80, "authorized connections that declare a body of megabytes and send a few bytes")
)

// taker is a request that a connection begins and does not end.
type taker struct {
	name    string
	table   bool
	count   func() int
	request string
}

// TestConnectionsOfEveryKind holds connections in every state that costs memory, those that were let in among them, and looks at the
// memory, whether others are served meanwhile, and whether all is as before once they are gone.
func TestConnectionsOfEveryKind(t *testing.T) {
	cred, err := azblob.NewSharedKeyCredential(account.DevName, account.DevKey)
	require.NoError(t, err)
	q, err := sas.AccountSignatureValues{ExpiryTime: time.Now().Add(time.Hour), Permissions: "rwdlac", ResourceTypes: "sco"}.SignWithSharedKey(cred)
	require.NoError(t, err)
	signed := q.Encode() // for blobs: the SDK signs no other service
	var limit syscall.Rlimit
	require.NoError(t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit))
	limit.Cur = limit.Max
	require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit))
	total := *idleConnections + *slowConnections + *lyingConnections
	require.Greater(t, limit.Max, uint64(total+1000), "the machine allows too few open files for this test")

	p := launch(t, anyPorts(t.TempDir(), "--header-timeout", "5m", "--stall-timeout", "5m", "--access-log", "off")...)
	ctx := context.Background()
	c := p.client(&http.Client{Transport: &http.Transport{}})
	_, err = c.CreateContainer(ctx, "docs", nil)
	require.NoError(t, err)
	begun := p.memory("VmRSS")

	part := func(of *int, n, i int) func() int { return func() int { return (*of + n - 1 - i) / n } }
	const path, end = "/devstoreaccount1/docs", " HTTP/1.1\r\nHost: h\r\n"
	upload := func(query, more string, length int) string {
		return "PUT " + path + "/b?" + query + "&" + signed + end + "x-ms-version: 2026-02-06\r\n" + more + fmt.Sprintf("Content-Length: %d\r\n\r\nsome", length)
	}
	takers := []taker{
		{"silent", false, part(idleConnections, 2, 0), ""},
		{"served once", false, part(idleConnections, 2, 1), "GET " + path + "?restype=container" + end + "\r\n"},
		{"within the first line", false, part(slowConnections, 4, 0), "GET " + path + "?" + strings.Repeat("x", 1500)},
		{"within the header", false, part(slowConnections, 4, 1), "GET " + path + end + "X-Sl"},
		{"within a long header", true, part(slowConnections, 4, 2), "GET " + path + end + "X-Long: " + strings.Repeat("x", 30<<10)},
		{"within a body that nobody wants", false, part(slowConnections, 4, 3), "PUT " + path + "/b" + end + "Content-Length: 60000\r\n\r\nsome"},
		{"a batch", false, part(lyingConnections, 4, 0), "POST " + path + "?restype=container&comp=batch&" + signed + end + "x-ms-version: 2026-02-06\r\nContent-Type: multipart/mixed; boundary=b\r\nContent-Length: 4194304\r\n\r\n--b\r\n"},
		{"a block list", false, part(lyingConnections, 4, 1), upload("comp=blocklist", "", 16<<20)},
		{"a block", false, part(lyingConnections, 4, 2), upload("comp=block&blockid=AAAA", "", 100<<20)},
		{"a small blob", false, part(lyingConnections, 4, 3), upload("", "x-ms-blob-type: BlockBlob\r\n", 8<<10)},
	}
	conns := make(chan net.Conn, total)
	closeAll := func() {
		for len(conns) > 0 {
			_ = (<-conns).Close()
		}
	}
	defer closeAll()
	var opening errgroup.Group
	opening.SetLimit(16)
	for _, k := range takers {
		addr := strings.TrimPrefix(p.Blob, "http://")
		if k.table {
			addr = strings.TrimPrefix(p.Table, "http://")
		}
		for range k.count() {
			opening.Go(func() error {
				c, err := net.Dial("tcp", addr)
				if err != nil {
					return err
				}
				conns <- c
				_, err = io.WriteString(c, k.request)
				return err
			})
		}
	}
	require.NoError(t, opening.Wait())
	held := func() int {
		return p.metric(`blobd_connections{service="blob"}`) + p.metric(`blobd_connections{service="table"}`)
	}
	require.Eventually(t, func() bool { return held() >= total }, time.Minute, 50*time.Millisecond)
	var longest time.Duration
	serve := func(i int) {
		began := time.Now()
		name := fmt.Sprint("b", i)
		_, err := c.UploadBuffer(ctx, "docs", name, []byte("hello"), nil)
		require.NoError(t, err)
		got, err := c.DownloadStream(ctx, "docs", name, nil)
		require.NoError(t, err)
		require.NoError(t, got.Body.Close())
		longest = max(longest, time.Since(began))
	}
	for i := range 50 {
		serve(i)
	}
	peak := p.memory("VmHWM")
	gone := time.Now()
	closeAll()
	serve(50)
	back := time.Since(gone)
	require.Eventually(t, func() bool { return held() < 10 }, time.Minute, 10*time.Millisecond)
	t.Logf("%d idle, %d slow, %d lying: resident %.1f MiB before and %.1f MiB at most; a write and a read meanwhile took %v at most; written %v after all were told to go, which took %v",
		*idleConnections, *slowConnections, *lyingConnections, begun, peak, longest.Round(time.Millisecond), back.Round(time.Millisecond), time.Since(gone).Round(time.Millisecond))
	require.Less(t, peak, 400.0)
}
