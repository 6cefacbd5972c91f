// Package process runs the real binary: what is told, what is measured and what survives is the process's.
package process

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/blobd/blobd/internal/account"
)

var binary string

// The exit codes of a program that was refused: while it ran, or for what it was told.
const (
	exitFailed = 1
	exitUsage  = 2
)

// endpoints is what the program writes into its --ready-file.
type endpoints struct {
	Blob, Table, Management string
	PID                     int
}

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "blobd-process")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	binary = filepath.Join(dir, "blobd")
	build := exec.Command("go", "build", "-o", binary, "./cmd/blobd")
	build.Dir = "../.."
	build.Stderr = os.Stderr
	code := 1
	if err := build.Run(); err == nil {
		code = m.Run()
	}
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// process is a running blobd.
type process struct {
	endpoints
	t         *testing.T
	cmd       *exec.Cmd
	out, errs bytes.Buffer // written to until it has ended
	exited    chan struct{}
	err       error
}

// anyPorts are arguments with which nothing collides.
func anyPorts(data string, more ...string) []string {
	return append([]string{"--data", data, "--blob-addr", "127.0.0.1:0", "--table-addr", "127.0.0.1:0", "--management-addr", "127.0.0.1:0"}, more...)
}

// launch runs blobd until it serves.
func launch(t *testing.T, args ...string) *process {
	t.Helper()
	return launchIn(t, nil, args...)
}

// launchIn is launch with settings in the environment.
func launchIn(t *testing.T, env []string, args ...string) *process {
	t.Helper()
	p := &process{t: t, exited: make(chan struct{})}
	ready := filepath.Join(t.TempDir(), "ready")
	p.cmd = exec.Command(binary, append(args, "--ready-file", ready)...)
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.errs
	p.cmd.Env = append(cleanEnv(), env...)
	require.NoError(t, p.cmd.Start())
	go func() {
		p.err = p.cmd.Wait()
		close(p.exited)
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.exited
	})
	require.Eventually(t, func() bool {
		text, err := os.ReadFile(ready)
		select {
		case <-p.exited:
			return true
		default:
			return err == nil && json.Unmarshal(text, &p.endpoints) == nil
		}
	}, 30*time.Second, 5*time.Millisecond, "not ready")
	select {
	case <-p.exited:
		t.Fatalf("blobd ended: %v\n%s", p.err, p.stderr())
	default:
	}
	require.Equal(t, p.cmd.Process.Pid, p.PID)
	return p
}

// stdout is what the process wrote, and stderr what it complained of. It has ended.
func (p *process) stdout() string { return p.wrote(&p.out) }

func (p *process) stderr() string { return p.wrote(&p.errs) }

func (p *process) wrote(b *bytes.Buffer) string {
	p.t.Helper()
	select {
	case <-p.exited:
	default:
		p.t.Error("what a process writes is read before it has ended")
		return ""
	}
	return b.String()
}

func cleanEnv(more ...string) (env []string) {
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "BLOBD_") && !strings.HasPrefix(e, "AZURITE_") {
			env = append(env, e)
		}
	}
	return append(env, more...)
}

// stop ends the process as an operator does; it must end well.
func (p *process) stop() {
	p.t.Helper()
	require.NoError(p.t, p.cmd.Process.Signal(syscall.SIGTERM))
	select {
	case <-p.exited:
	case <-time.After(60 * time.Second):
		p.t.Fatal("did not stop")
	}
	require.NoError(p.t, p.err, p.stderr())
}

// refuse runs blobd with something that it must refuse, and returns its exit code and words.
func refuse(t *testing.T, env []string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.Env = &out, &errs, cleanEnv(env...)
	err := cmd.Run()
	require.NoError(t, ctx.Err(), "it was not refused")
	if err != nil {
		code = err.(*exec.ExitError).ExitCode()
	}
	return code, out.String(), errs.String()
}

// client is a Go SDK client for the development account, without retries.
func (p *process) client(transport *http.Client) *azblob.Client {
	return p.clientFor(account.DevName, transport)
}

// clientFor is a client of an account whose key is the emulator's.
func (p *process) clientFor(name string, transport *http.Client) *azblob.Client {
	p.t.Helper()
	cred, err := azblob.NewSharedKeyCredential(name, account.DevKey)
	require.NoError(p.t, err)
	o := azcore.ClientOptions{Retry: policy.RetryOptions{MaxRetries: -1}}
	if transport != nil {
		o.Transport = transport
	}
	c, err := azblob.NewClientWithSharedKeyCredential(p.Blob+"/"+name, cred, &azblob.ClientOptions{ClientOptions: o})
	require.NoError(p.t, err)
	return c
}

func TestStartStopAndStartAgain(t *testing.T) {
	ctx := context.Background()
	data := filepath.Join(t.TempDir(), "data")
	p := launch(t, anyPorts(data)...)
	c := p.client(nil)
	_, err := c.CreateContainer(ctx, "docs", nil)
	require.NoError(t, err)
	_, err = c.UploadBuffer(ctx, "docs", "a//b.txt", []byte("hello"), nil)
	require.NoError(t, err)
	p.stop()
	banner := p.stdout()
	for _, want := range []string{data, p.Blob, p.Table, p.Management, "devstoreaccount1", "one data directory",
		"BlobEndpoint=" + p.Blob + "/devstoreaccount1;", "TableEndpoint=" + p.Table + "/devstoreaccount1;", "AccountKey=" + account.DevKey} {
		require.Contains(t, banner, want)
	}
	require.Contains(t, banner, `"operation":"PutBlob"`, "the access log")

	p = launch(t, anyPorts(data, "--access-log", "off")...)
	got, err := p.client(nil).DownloadStream(ctx, "docs", "a//b.txt", nil)
	require.NoError(t, err)
	b, err := io.ReadAll(got.Body)
	require.NoError(t, err)
	require.Equal(t, "hello", string(b))
	p.stop()
	require.NotContains(t, p.stdout(), "GetBlob")
}

func TestStopWaitsForAnUpload(t *testing.T) {
	data := t.TempDir()
	p := launch(t, anyPorts(data)...)
	c := p.client(nil)
	_, err := c.CreateContainer(context.Background(), "docs", nil)
	require.NoError(t, err)
	resting, err := net.Dial("tcp", strings.TrimPrefix(p.Blob, "http://"))
	require.NoError(t, err)
	defer resting.Close()
	body, feed := io.Pipe()
	uploaded := make(chan error, 1)
	go func() {
		_, err := c.ServiceClient().NewContainerClient("docs").NewBlockBlobClient("slow").Upload(context.Background(), &pipeBody{body, 1 << 20}, nil)
		uploaded <- err
	}()
	_, err = feed.Write(make([]byte, 1<<19))
	require.NoError(t, err)
	// What the client has sent may lie in the system's buffers: the upload is under way once the server has read of it.
	require.Eventually(t, func() bool { return p.metric("blobd_requests_in_flight") == 1 }, 30*time.Second, time.Millisecond)
	require.NoError(t, p.cmd.Process.Signal(syscall.SIGTERM))
	_, _ = io.Copy(io.Discard, resting) // is ended once new connections are refused
	_, err = feed.Write(make([]byte, 1<<19))
	require.NoError(t, err)
	require.NoError(t, feed.Close())
	require.NoError(t, <-uploaded)
	<-p.exited
	require.NoError(t, p.err)
	p = launch(t, anyPorts(data)...)
	got, err := p.client(nil).DownloadStream(context.Background(), "docs", "slow", nil)
	require.NoError(t, err)
	require.EqualValues(t, 1<<20, *got.ContentLength)
	require.NoError(t, got.Body.Close())
}

// pipeBody is a body of known length from a pipe, which the SDK rewinds only before it is read.
type pipeBody struct {
	*io.PipeReader
	size int64
}

func (p *pipeBody) Seek(offset int64, whence int) (int64, error) {
	if whence == io.SeekEnd {
		return p.size + offset, nil
	}
	return offset, nil
}

func TestSecondServerOnTheSameDataIsRefused(t *testing.T) {
	data := t.TempDir()
	p := launch(t, anyPorts(data)...)
	code, _, words := refuse(t, nil, anyPorts(data)...)
	require.Equal(t, exitFailed, code)
	require.Contains(t, words, data)
	require.Contains(t, words, "in use by another")
	p.stop()
}

func TestTakenPortIsRefused(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	code, _, words := refuse(t, nil, append(anyPorts(t.TempDir()), "--blob-addr", ln.Addr().String())...)
	require.Equal(t, exitFailed, code)
	require.Contains(t, words, "the blob address "+ln.Addr().String()+" is in use by another program")
}

func TestForeignFolderIsRefused(t *testing.T) {
	data := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(data, "holiday.jpg"), []byte("x"), 0o600))
	code, _, words := refuse(t, nil, anyPorts(data)...)
	require.Equal(t, exitFailed, code)
	require.Contains(t, words, data)
	b, err := os.ReadFile(filepath.Join(data, "holiday.jpg"))
	require.NoError(t, err)
	require.Equal(t, "x", string(b))
}

// TestExistingMakesNoStore: at a boot without the mounts, the unit's --existing refuses, and nothing is made.
func TestExistingMakesNoStore(t *testing.T) {
	data := filepath.Join(t.TempDir(), "disk1")
	code, _, words := refuse(t, nil, append(anyPorts(data), "--existing")...)
	require.Equal(t, exitFailed, code)
	require.Contains(t, words, "mount their disks")
	require.NoDirExists(t, data)
}

func TestMistakesInTheSettings(t *testing.T) {
	dir := t.TempDir()
	file := func(text string) string {
		f := filepath.Join(t.TempDir(), "blobd.yaml")
		require.NoError(t, os.WriteFile(f, []byte(text), 0o600))
		return f
	}
	key := account.DevKey
	for name, c := range map[string]struct {
		env   []string
		args  []string
		words string
	}{
		"unknown flag":                   {nil, []string{"--blob-adr", "x"}, "unknown flag --blob-adr"},
		"unknown command":                {nil, []string{"sreve"}, "sreve"},
		"address without port":           {nil, []string{"--blob-addr", "localhost"}, `--blob-addr "localhost": an address is HOST:PORT`},
		"certificate without key":        {nil, []string{"--tls-cert", "x"}, "--tls-cert and --tls-key need each other"},
		"two certificates":               {nil, []string{"--tls-cert", "x", "--tls-key", "y", "--tls-self-signed"}, "--tls-self-signed makes its own"},
		"the same directory twice":       {nil, []string{"--data", dir, "--data", dir + "/."}, "is given twice"},
		"bad duration":                   {nil, []string{"--idle-timeout", "never"}, "idle-timeout"},
		"bad access log":                 {nil, []string{"--access-log", "some"}, "access-log"},
		"bad account name":               {nil, []string{"--account", "X:" + key}, "3 to 24"},
		"bad account key":                {nil, []string{"--account", "mine:S3CRET-not-base64"}, "account mine: key1"},
		"bad account in the environment": {[]string{"AZURITE_ACCOUNTS=mine"}, nil, "name:key1"},
		"unknown setting":                {nil, []string{"--config", file("blob-adr: x\ntable-addr: 127.0.0.1:0\n")}, "unknown settings: blob-adr"},
		"no YAML":                        {nil, []string{"--config", file("[")}, "YAML"},
		"no file":                        {nil, []string{"--config", filepath.Join(dir, "none")}, "no such file"},
		"no account for the network":     {nil, []string{"--blob-addr", "0.0.0.0:0"}, "there is no account to serve"},
		"small header":                   {nil, []string{"--max-header", "100"}, "--max-header"},
	} {
		t.Run(name, func(t *testing.T) {
			code, _, words := refuse(t, c.env, append(anyPorts(t.TempDir()), c.args...)...)
			require.Equal(t, exitUsage, code, words)
			require.Contains(t, words, c.words)
			require.NotContains(t, words, "S3CRET", "keys are not repeated")
			require.NotContains(t, words, "panic")
		})
	}
}

func TestSettingsFromFileAndEnvironment(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "blobd.yaml")
	text := fmt.Sprintf("data: [%s]\nblob-addr: 127.0.0.1:0\ntable-addr: \"off\"\nmanagement-addr: 127.0.0.1:0\nmax-connections: 7\naccount:\n  - filed:%s\naccess-log: errors\n",
		filepath.Join(dir, "d"), account.DevKey)
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	p := launch(t, "--config", file)
	require.Empty(t, p.Table)
	p.stop()
	require.Contains(t, p.stdout(), "filed")
	require.NotContains(t, p.stdout(), account.DevKey, "a configured key is not printed")
	require.NotContains(t, p.stdout(), account.DevName, "the account that everybody knows is not served beside it")

	cmd := exec.Command(binary, "--account", "flagged:"+account.DevKey, "--dev-account")
	cmd.Env = cleanEnv("BLOBD_CONFIG="+file, "BLOBD_MANAGEMENT_ADDR=off", "BLOBD_ACCOUNTS=environ:"+account.DevKey+";")
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	var banner strings.Builder
	for lines := bufio.NewScanner(out); lines.Scan(); {
		banner.WriteString(lines.Text() + "\n")
		if strings.HasPrefix(lines.Text(), "DefaultEndpointsProtocol=") {
			require.NoError(t, cmd.Process.Signal(os.Interrupt))
		}
	}
	require.NoError(t, cmd.Wait())
	require.Contains(t, banner.String(), "flagged, devstoreaccount1", "the command line wins over environment and file")
	require.NotContains(t, banner.String(), "Management", "the environment wins over the file")
}

func TestVersionAndHelp(t *testing.T) {
	code, out, _ := refuse(t, nil, "version")
	require.Zero(t, code)
	require.Regexp(t, `^blobd .*go1\.`, out)
	code, out, _ = refuse(t, nil, "--help")
	require.Zero(t, code)
	for _, want := range []string{"Examples:", "--data", "--blob-addr", "--account", "BLOBD_", "Commands:", "version", `"blobd serve --help"`} {
		require.Contains(t, out, want)
	}
	code, out, _ = refuse(t, nil, "serve", "--help")
	require.Zero(t, code)
	require.Contains(t, out, "$BLOBD_BLOB_ADDR")
}

func TestHTTPSWithACertificateOfItsOwn(t *testing.T) {
	data := t.TempDir()
	p := launch(t, anyPorts(data, "--tls-self-signed")...)
	require.True(t, strings.HasPrefix(p.Blob, "https://"))
	pem, err := os.ReadFile(filepath.Join(data, "tls", "cert.pem"))
	require.NoError(t, err)
	roots := x509.NewCertPool()
	require.True(t, roots.AppendCertsFromPEM(pem))
	c := p.client(&http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}})
	_, err = c.CreateContainer(context.Background(), "docs", nil)
	require.NoError(t, err)
	p.stop()
	launch(t, anyPorts(data, "--tls-self-signed")...)
	again, err := os.ReadFile(filepath.Join(data, "tls", "cert.pem"))
	require.NoError(t, err)
	require.Equal(t, pem, again)
}

func TestReadinessAndMetrics(t *testing.T) {
	p := launch(t, anyPorts(t.TempDir())...)
	resp, err := http.Get(p.Management + "/healthz")
	require.NoError(t, err)
	b, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, 200, resp.StatusCode)
	require.Contains(t, string(b), `"ready":true,"writable":true`)
}

// memory reads a line of /proc/<pid>/status in MiB.
func (p *process) memory(line string) float64 {
	p.t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID))
	require.NoError(p.t, err)
	_, rest, ok := strings.Cut(string(status), line+":")
	require.True(p.t, ok, "no %s", line)
	kib, err := strconv.Atoi(strings.Fields(rest)[0])
	require.NoError(p.t, err)
	return float64(kib) / 1024
}

func TestIdleMemory(t *testing.T) {
	p := launch(t, anyPorts(t.TempDir())...)
	resp, err := http.Get(p.Management + "/healthz")
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	rss := p.memory("VmRSS")
	t.Logf("resident after the start: %.1f MiB", rss)
	require.Less(t, rss, 64.0)
}

// TestTenThousandSlowConnections holds connections in every slow state there is and looks whether others are served.
func TestTenThousandSlowConnections(t *testing.T) {
	const n = 10_000
	var limit syscall.Rlimit
	require.NoError(t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit))
	limit.Cur = limit.Max
	require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit))
	require.Greater(t, limit.Max, uint64(n+500), "the machine allows too few open files for this test")
	p := launch(t, anyPorts(t.TempDir(), "--header-timeout", "5m", "--stall-timeout", "5m")...)
	ctx := context.Background()
	c := p.client(nil)
	_, err := c.CreateContainer(ctx, "docs", nil)
	require.NoError(t, err)
	before := p.memory("VmRSS")
	addr := strings.TrimPrefix(p.Blob, "http://")
	conns := make([]net.Conn, n)
	defer func() {
		for _, c := range conns {
			if c != nil {
				c.Close()
			}
		}
	}()
	states := []string{
		"", // says nothing
		"GET /devstoreaccount1/docs?restype=container HTTP/1.1\r\nHost: h\r\nX-Sl",                            // within the header
		"GET /devstoreaccount1/docs?restype=container HTTP/1.1\r\nHost: h\r\n\r\n",                            // served once, idle since
		"PUT /devstoreaccount1/docs/b HTTP/1.1\r\nHost: h\r\nContent-Length: 60000\r\n\r\npart of the body …", // within a body that nobody wants
	}
	var opening errgroup.Group
	opening.SetLimit(16)
	for i := range conns {
		opening.Go(func() error {
			c, err := net.Dial("tcp", addr)
			if err != nil {
				return err
			}
			conns[i] = c
			_, err = io.WriteString(c, states[i%len(states)])
			return err
		})
	}
	require.NoError(t, opening.Wait())
	require.Eventually(t, func() bool { return p.metric(`blobd_connections{service="blob"}`) >= n }, 30*time.Second, 50*time.Millisecond)
	for i := range 50 {
		name := fmt.Sprint("b", i)
		_, err = c.UploadBuffer(ctx, "docs", name, []byte("hello"), nil)
		require.NoError(t, err)
		got, err := c.DownloadStream(ctx, "docs", name, nil)
		require.NoError(t, err)
		require.NoError(t, got.Body.Close())
	}
	peak := p.memory("VmHWM")
	t.Logf("resident before %.1f MiB, at most %.1f MiB with %d connections", before, peak, n)
	require.Less(t, peak, 400.0)
}

// metric asks for a gauge.
func (p *process) metric(name string) int {
	resp, err := http.Get(p.Management + "/metrics")
	require.NoError(p.t, err)
	defer resp.Body.Close()
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		if value, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
			n, err := strconv.Atoi(value)
			require.NoError(p.t, err)
			return n
		}
	}
	return 0
}

// TestMemoryOfConcurrentUploads: 64 uploads of 64 MiB at a time, each in one request, take no more than a buffer each.
func TestMemoryOfConcurrentUploads(t *testing.T) {
	const uploads, size = 64, 64 << 20
	p := launch(t, anyPorts(t.TempDir(), "--access-log", "off")...)
	ctx := context.Background()
	c := p.client(&http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: uploads}})
	_, err := c.CreateContainer(ctx, "docs", nil)
	require.NoError(t, err)
	content := make([]byte, size) // shared by all: the test's own memory is not the matter
	for i := range content {
		content[i] = byte(i * 31 >> 4)
	}
	var group errgroup.Group
	var together sync.WaitGroup
	together.Add(uploads)
	for i := range uploads {
		group.Go(func() error {
			body := &starter{Reader: bytes.NewReader(content), arrived: sync.OnceFunc(func() { together.Done(); together.Wait() })}
			_, err := c.ServiceClient().NewContainerClient("docs").NewBlockBlobClient(fmt.Sprint("b", i)).Upload(ctx, body, &blockblob.UploadOptions{})
			return err
		})
	}
	require.NoError(t, group.Wait())
	peak := p.memory("VmHWM")
	t.Logf("resident at most %.1f MiB", peak)
	require.Less(t, peak, 400.0)
}

// starter is a body whose first read waits until all uploads have come as far.
type starter struct {
	*bytes.Reader
	arrived func()
}

func (g *starter) Read(p []byte) (int, error) { g.arrived(); return g.Reader.Read(p) }
func (g *starter) Close() error               { return nil }
