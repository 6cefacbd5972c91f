package server

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	logged "go.uber.org/zap/zaptest/observer"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/auth"
	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/enginetest"
	"github.com/blobd/blobd/internal/protocol"
	"github.com/blobd/blobd/internal/rest"
	"github.com/blobd/blobd/internal/rest/framing"
	"github.com/blobd/blobd/internal/rest/resttest"
)

// service answers with what the test says.
type service struct {
	router *rest.Router[*service]
	handle func(*rest.Request) error
}

func newService(handle func(*rest.Request) error) *service {
	h := func(s *service, r *rest.Request) error { return s.handle(r) }
	return &service{handle: handle, router: rest.NewRouter(rest.Table[*service]{
		{Name: "GetThing", Methods: "GET", Level: rest.Blob, Handle: h},
		{Name: "PutThing", Methods: "PUT", Level: rest.Blob, Handle: h, Body: rest.BodyRule{Max: rest.AtMost(1 << 20)}},
	})}
}

func (s *service) Serve(r *rest.Request) {
	rest.Dispatch(s.router, rest.Blob, s, resttest.AllowAll{}, r)
}

func ok(r *rest.Request) error { r.ReplyBytes(200, "text/plain", []byte("ok")); return nil }

// running is a server under test.
type running struct {
	*Server
	blob, table, management string // URLs
	logs                    *logged.ObservedLogs
	stop                    func() error
}

// start serves until the test ends.
func start(t *testing.T, o Options, b Backend) *running {
	core, logs := logged.New(zap.InfoLevel)
	o.BlobAddr, o.TableAddr, o.ManagementAddr = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	o.Limits, o.Log = framing.DefaultLimits(), zap.New(core)
	if o.StopWithin == 0 {
		o.StopWithin = 10 * time.Second
	}
	s, err := Listen(o)
	require.NoError(t, err)
	if b.Accounts == nil {
		b.Accounts = account.NewRegistry(resttest.Account())
	}
	if b.Store == nil {
		b.Store = enginetest.New(t)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, b, nil) }()
	scheme := "http://"
	if o.Certificate != nil {
		scheme = "https://"
	}
	stop := sync.OnceValue(func() error { cancel(); return <-done })
	t.Cleanup(func() { require.NoError(t, stop()) })
	return &running{s, scheme + s.Addr(auth.Blob).String(), scheme + s.Addr(auth.Table).String(), "http://" + s.ManagementAddr().String(), logs, stop}
}

func fetch(t *testing.T, client *http.Client, url string) (int, string) {
	resp, err := client.Get(url)
	require.NoError(t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(b)
}

// On a loopback address, the page of a stranger whose name was turned to this machine reads and writes nothing.
func TestHostsOfALoopbackAddress(t *testing.T) {
	s := start(t, Options{Domains: []string{"store.example.com"}}, Backend{Blob: newService(ok), Table: newService(ok)})
	for host, local := range map[string]bool{
		"": true, "localhost": true, "acct.blob.store.example.com": true, "host.docker.internal:1": true, "evil.example": false, "acct.blob.evil.example": false,
	} {
		for _, u := range []string{s.blob + "/acct/c/b", s.table + "/acct/c/b", s.management + "/healthz"} {
			req, err := http.NewRequest("GET", u, nil)
			require.NoError(t, err)
			req.Host = host
			resp, err := http.DefaultClient.Do(req)
			require.NoError(t, err)
			resp.Body.Close()
			refused := resp.StatusCode == 421 || resp.Header.Get("x-ms-error-code") == "InvalidHeaderValue"
			require.Equal(t, !local, refused, "%s %s: %d", u, host, resp.StatusCode)
		}
	}
	require.False(t, loopback(&net.TCPAddr{IP: net.IPv4zero}), "others are reached by whatever name they have")
}

func TestServicesAreServedByAddressAndByHost(t *testing.T) {
	name := func(name string) rest.Service {
		return newService(func(r *rest.Request) error { r.ReplyBytes(200, "text/plain", []byte(name)); return nil })
	}
	s := start(t, Options{}, Backend{Blob: name("blob"), Table: name("table")})
	for _, c := range []struct{ url, host, want string }{
		{s.blob + "/acct/c/b", "", "blob"},
		{s.table + "/acct/c/b", "", "table"},
		{s.blob + "/c/b", "acct.table.localhost", "table"},
		{s.table + "/c/b", "acct.blob.localhost", "blob"},
	} {
		req, err := http.NewRequest("GET", c.url, nil)
		require.NoError(t, err)
		req.Host = c.host
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		b, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, c.want, string(b))
	}
}

func TestTakenPortIsToldClearly(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	_, err = Listen(Options{BlobAddr: "127.0.0.1:0", TableAddr: ln.Addr().String(), Log: zap.NewNop()})
	require.ErrorContains(t, err, "the table address "+ln.Addr().String()+" is in use by another program")
}

// sick is a store with a health of its own.
type sick struct {
	engine.Store
	health engine.Health
}

func (s sick) Health() engine.Health { return s.health }

func (s sick) Collect(context.Context) error {
	if !s.health.Writable {
		return errors.New(s.health.Detail)
	}
	return nil
}

func TestManagement(t *testing.T) {
	for name, c := range map[string]struct {
		health engine.Health
		status int
		words  string
	}{
		"well": {engine.Health{Writable: true, Disks: []engine.DiskHealth{{Path: "/d", OK: true, Free: 1, Total: 2}}}, 200, "serving"},
		"degraded": {engine.Health{Writable: true, Degraded: true, Disks: []engine.DiskHealth{{Path: "/d", Detail: "no answer"}}}, 200,
			"serving, but with less redundancy than it has disks for\n/d: no answer"},
		"full": {engine.Health{Detail: "no space"}, 503, "no space"},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, Options{}, Backend{Blob: newService(ok), Store: sick{health: c.health}})
			require.Eventually(t, func() bool { return s.Server.management.store.Load() != nil }, 10*time.Second, time.Millisecond)
			status, body := fetch(t, http.DefaultClient, s.management+"/healthz")
			require.Equal(t, c.status, status)
			var h Health
			require.NoError(t, json.Unmarshal([]byte(body), &h))
			require.Equal(t, c.health.Writable, h.Writable)
			require.Equal(t, c.health.Degraded, h.Degraded)
			require.Equal(t, c.health.Detail, h.Detail)
			require.Equal(t, c.words, h.Words())
			status, _ = fetch(t, http.DefaultClient, s.management+"/livez")
			require.Equal(t, 200, status)
			collected, err := http.Post(s.management+"/collect", "", nil)
			require.NoError(t, err)
			require.NoError(t, collected.Body.Close())
			require.Equal(t, c.status, collected.StatusCode)
			fetch(t, http.DefaultClient, s.blob+"/acct/c/b")
			_, text := fetch(t, http.DefaultClient, s.management+"/metrics")
			require.Contains(t, text, `blobd_requests_total{operation="GetThing",service="blob",status="200"} 1`)
			require.Contains(t, text, `blobd_request_seconds_count{operation="GetThing",service="blob"} 1`)
			require.Contains(t, text, `blobd_sent_bytes_total{operation="GetThing",service="blob"} 2`)
			require.Contains(t, text, "blobd_requests_in_flight 0")
			require.Contains(t, text, `blobd_connections{service="blob"}`)
			require.Contains(t, text, "process_resident_memory_bytes")
			if c.health.Writable {
				require.Contains(t, text, "blobd_store_writable 1")
			} else {
				require.Contains(t, text, "blobd_store_writable 0")
			}
		})
	}
}

// scrubbing is a store that scrubs.
type scrubbing struct {
	sick
	did []string
}

func (s *scrubbing) StartScrub() error { s.did = append(s.did, "start"); return nil }
func (s *scrubbing) PauseScrub() error { s.did = append(s.did, "pause"); return nil }

// Whoever opens connections without end takes none from the data, nor more than so many of the server's descriptors.
func TestManagementConnectionsAreBounded(t *testing.T) {
	s := start(t, Options{}, Backend{})
	dial := func() net.Conn {
		c, err := net.Dial("tcp", s.ManagementAddr().String())
		require.NoError(t, err)
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	ask := func(c net.Conn) error {
		if _, err := io.WriteString(c, "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
			return err
		}
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			return err
		}
		return resp.Body.Close()
	}
	var held []net.Conn
	for range maxOperators {
		c := dial()
		require.NoError(t, ask(c))
		held = append(held, c)
	}
	require.Error(t, ask(dial()), "one more is closed")
	require.NoError(t, held[0].Close())
	require.Eventually(t, func() bool { return ask(dial()) == nil }, 10*time.Second, time.Millisecond)
}

func TestManagementOfTheScrub(t *testing.T) {
	store := &scrubbing{sick: sick{health: engine.Health{Writable: true, Scrub: engine.Scrub{State: "running", Pass: 3, Rate: 5, Read: 25, Total: 100,
		Found: 2, Healed: 1, Lost: 1, ReadBytes: 70, FoundAll: 4, HealedAll: 3, Finished: time.Now().Add(-time.Hour),
		Damaged: []engine.Damage{{What: "chunk 1", Names: []string{"acct/c/b"}}}, DamagedAll: 1}}}}
	s := start(t, Options{}, Backend{Blob: newService(ok), Store: store})
	require.Eventually(t, func() bool { return s.Server.management.store.Load() != nil }, 10*time.Second, time.Millisecond)
	post := func(query string) int {
		r, err := http.Post(s.management+"/scrub"+query, "", nil)
		require.NoError(t, err)
		require.NoError(t, r.Body.Close())
		return r.StatusCode
	}
	require.Equal(t, 200, post("?do=start"))
	require.Equal(t, 200, post("?do=pause"))
	require.Equal(t, 400, post(""))
	// A page in a browser on this machine may send this without asking first.
	foreign, err := http.NewRequest("POST", s.management+"/scrub?do=pause", nil)
	require.NoError(t, err)
	foreign.Header.Set("Origin", "http://elsewhere.example")
	refused, err := http.DefaultClient.Do(foreign)
	require.NoError(t, err)
	require.NoError(t, refused.Body.Close())
	require.Equal(t, http.StatusForbidden, refused.StatusCode)
	require.Equal(t, []string{"start", "pause"}, store.did)
	status, body := fetch(t, http.DefaultClient, s.management+"/scrub")
	require.Equal(t, 200, status)
	var got Scrub
	require.NoError(t, json.Unmarshal([]byte(body), &got))
	require.Equal(t, []Damage{{What: "chunk 1", Names: []string{"acct/c/b"}}}, got.Damaged)
	require.Equal(t, "running", got.State)
	_, body = fetch(t, http.DefaultClient, s.management+"/healthz")
	require.Contains(t, body, `"what":"chunk 1"`)
	_, text := fetch(t, http.DefaultClient, s.management+"/metrics")
	for _, line := range []string{"blobd_scrub_running 1", "blobd_scrub_paused 0", "blobd_scrub_progress_ratio 0.25", "blobd_scrub_read_bytes_total 70",
		"blobd_scrub_found_total 4", "blobd_scrub_healed_total 3", "blobd_damaged_for_good 1", "blobd_scrub_last_full_pass_age_seconds 36"} {
		require.Contains(t, text, line)
	}
	plain := start(t, Options{}, Backend{Blob: newService(ok), Store: sick{health: engine.Health{Writable: true}}})
	require.Eventually(t, func() bool { return plain.Server.management.store.Load() != nil }, 10*time.Second, time.Millisecond)
	status, _ = fetch(t, http.DefaultClient, plain.management+"/scrub")
	require.Equal(t, 404, status)
}

func TestNotReadyUntilServed(t *testing.T) {
	s, err := Listen(Options{ManagementAddr: "127.0.0.1:0", Log: zap.NewNop()})
	require.NoError(t, err)
	defer s.Close()
	status, body := fetch(t, http.DefaultClient, "http://"+s.ManagementAddr().String()+"/healthz")
	require.Equal(t, 503, status)
	require.Contains(t, body, "starting or stopping")
	failure := errors.New("nobody to tell")
	err = s.Serve(context.Background(), Backend{Store: enginetest.New(t)}, func() error {
		status, body = fetch(t, http.DefaultClient, "http://"+s.ManagementAddr().String()+"/healthz")
		return failure
	})
	require.ErrorIs(t, err, failure)
	require.Equal(t, 200, status, body)
}

func TestStopFinishesWhatIsUnderWay(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	s := start(t, Options{}, Backend{Blob: newService(func(r *rest.Request) error {
		close(entered)
		<-leave
		return ok(r)
	})})
	resting, err := net.Dial("tcp", s.Addr(auth.Blob).String())
	require.NoError(t, err)
	defer resting.Close()
	answer := make(chan int, 1)
	go func() {
		resp, err := http.Get(s.blob + "/acct/c/b")
		if err != nil {
			answer <- 0
			return
		}
		resp.Body.Close()
		answer <- resp.StatusCode
	}()
	<-entered
	stopped := make(chan error, 1)
	go func() { stopped <- s.stop() }()
	_, _ = io.Copy(io.Discard, resting) // is ended once nobody new is let in
	select {
	case err := <-stopped:
		t.Fatalf("stopped under a request: %v", err)
	default:
	}
	close(leave)
	require.Equal(t, 200, <-answer)
	require.NoError(t, <-stopped)
}

func TestStopGivesUpInTheEnd(t *testing.T) {
	entered := make(chan struct{})
	left := make(chan error, 1)
	s := start(t, Options{StopWithin: time.Millisecond}, Backend{Blob: newService(func(r *rest.Request) error {
		close(entered)
		_, err := r.ReadBody(1 << 20) // never comes
		left <- err
		return err
	})})
	c, err := net.Dial("tcp", s.Addr(auth.Blob).String())
	require.NoError(t, err)
	defer c.Close()
	_, err = io.WriteString(c, "PUT /acct/c/b HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n")
	require.NoError(t, err)
	<-entered
	require.NoError(t, s.stop())
	require.Error(t, <-left)
	require.Equal(t, 1, s.logs.FilterMessageSnippet("did not finish in time").Len())
}

// lines is a writer whose lines can be looked at.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) { l.mu.Lock(); defer l.mu.Unlock(); return l.b.Write(p) }

func (l *lines) all(t *testing.T) (out []map[string]any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range strings.Split(strings.TrimSuffix(l.b.String(), "\n"), "\n") {
		if line == "" {
			continue
		}
		var m map[string]any
		require.NoError(t, json.Unmarshal([]byte(line), &m), line)
		out = append(out, m)
	}
	return out
}

func TestAccessLog(t *testing.T) {
	var w lines
	access, err := NewAccessLog(&w, "all", 1, zap.NewNop())
	require.NoError(t, err)
	s := start(t, Options{Access: access}, Backend{Blob: newService(ok)})
	raw := func(request string) {
		c, err := net.Dial("tcp", s.Addr(auth.Blob).String())
		require.NoError(t, err)
		defer c.Close()
		_, err = io.WriteString(c, request)
		require.NoError(t, err)
		_, err = io.ReadAll(c)
		require.NoError(t, err)
	}
	raw("GET /acct/c/b?sv=2021-12-02&sIg=SECRET%2B&se=2030&%73ig=SECRET&x=sig HTTP/1.1\r\nHost: h\r\nUser-Agent: a\"\\{}b\r\nx-ms-client-request-id: see?sig=SECRET\r\nAuthorization: SharedKey acct:SECRET\r\nConnection: close\r\n\r\n")
	raw("PUT /acct/c/b HTTP/1.1\r\nHost: acct.blob.localhost\r\nUser-Agent: from https://h/c?sv=1&sig=SECRET\r\nContent-Length: 99999999\r\nConnection: close\r\n\r\n")
	require.NoError(t, s.stop())
	require.NoError(t, access.Close())
	require.NotContains(t, w.b.String(), "SECRET")
	got := w.all(t)
	require.Len(t, got, 2)
	require.Equal(t, "/acct/c/b?sv=2021-12-02&sIg=REDACTED&se=2030&%73ig=REDACTED&x=sig", got[0]["target"])
	require.Equal(t, "GetThing", got[0]["operation"])
	require.Equal(t, 200.0, got[0]["status"])
	require.Equal(t, 2.0, got[0]["sent"])
	require.Equal(t, "acct", got[0]["principal"])
	require.Equal(t, "SharedKey", got[0]["scheme"])
	require.Equal(t, "127.0.0.1", got[0]["client"])
	require.Equal(t, `a"\{}b`, got[0]["agent"])
	require.Regexp(t, `^[0-9a-f-]{36}$`, got[0]["id"])
	require.Equal(t, 413.0, got[1]["status"])
	require.Equal(t, "RequestBodyTooLarge", got[1]["code"])
	require.Equal(t, "acct.blob.localhost", got[1]["host"])
}

// A batch is one line, and one for each of its parts, which names it.
func TestAccessLogOfABatch(t *testing.T) {
	var w lines
	access, err := NewAccessLog(&w, "all", 1, zap.NewNop())
	require.NoError(t, err)
	s := start(t, Options{Access: access}, Backend{Blob: newService(func(r *rest.Request) error {
		if r.Blob != "batch" {
			return protocol.ErrBlobNotFound
		}
		part, err := r.Part(&protocol.PartRequest{Method: "GET", Target: "/acct/c/part?sig=SECRET", Header: protocol.Fields{{Name: "x-ms-client-request-id", Value: "mine"}}})
		if err != nil {
			return err
		}
		part.AnswerPart(func() { part.Fail(protocol.ErrBlobNotFound, nil) })
		return ok(r)
	})})
	fetch(t, http.DefaultClient, s.blob+"/acct/c/batch")
	require.NoError(t, s.stop())
	require.NoError(t, access.Close())
	got := w.all(t)
	require.Len(t, got, 2)
	require.Equal(t, []any{"/acct/c/part?sig=REDACTED", 404.0, "BlobNotFound", "mine", got[1]["id"]},
		[]any{got[0]["target"], got[0]["status"], got[0]["code"], got[0]["clientRequestId"], got[0]["batch"]})
	require.NotEqual(t, got[0]["id"], got[1]["id"])
	require.NotContains(t, got[1], "batch")
}

func TestAccessLogChoosesWhatToWrite(t *testing.T) {
	for _, c := range []struct {
		what    string
		sample  int
		ok, bad int
	}{{"all", 1, 10, 3}, {"errors", 1, 0, 3}, {"off", 1, 0, 0}, {"all", 5, 2, 3}} {
		var w lines
		access, err := NewAccessLog(&w, c.what, c.sample, zap.NewNop())
		require.NoError(t, err)
		s := start(t, Options{Access: access}, Backend{Blob: newService(ok)})
		for range 10 {
			fetch(t, http.DefaultClient, s.blob+"/acct/c/b")
		}
		for range 3 {
			fetch(t, http.DefaultClient, s.blob+"/acct/c/b?comp=x")
		}
		require.NoError(t, s.stop())
		require.NoError(t, access.Close())
		good, bad := 0, 0
		for _, m := range w.all(t) {
			if m["status"].(float64) < 400 {
				good++
			} else {
				bad++
			}
		}
		require.Equal(t, [2]int{c.ok, c.bad}, [2]int{good, bad}, "%+v", c)
	}
	_, err := NewAccessLog(io.Discard, "some", 1, zap.NewNop())
	require.Error(t, err)
}

// A request writes no line of many times its size, whatever bytes it is made of.
func TestLinesAreBounded(t *testing.T) {
	var w lines
	access, err := NewAccessLog(&w, "all", 1, zap.NewNop())
	require.NoError(t, err)
	s := start(t, Options{Access: access}, Backend{Blob: newService(ok)})
	for _, junk := range []string{"\xff", "\xc3\xa9", "%00", `"`, `\`, "a"} {
		long := strings.Repeat(junk, 30_000/len(junk))
		for _, request := range []string{
			"GET /acct/c/" + long + " HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
			"GET /acct/c/b HTTP/1.1\r\nHost: h\r\nUser-Agent: " + long + "\r\nConnection: close\r\n\r\n",
		} {
			c, err := net.Dial("tcp", s.Addr(auth.Blob).String())
			require.NoError(t, err)
			_, err = io.WriteString(c, request)
			require.NoError(t, err)
			_, _ = io.ReadAll(c)
			c.Close()
		}
	}
	require.NoError(t, s.stop())
	require.NoError(t, access.Close())
	for line := range strings.Lines(w.b.String()) {
		require.Less(t, len(line), 2*longestTarget+4*longestName)
	}
	require.Len(t, w.all(t), 12)
}

func TestOperatorsAreToldOfDamage(t *testing.T) {
	for name, c := range map[string]struct {
		handle  func(*rest.Request) error
		level   string
		message string
	}{
		"damage": {func(*rest.Request) error { return engine.ErrCorrupt }, "error", "stored data is damaged and cannot be rebuilt"},
		"full":   {func(*rest.Request) error { return engine.ErrNoSpace }, "warn", "a request was turned away"},
		"defect": {func(*rest.Request) error { return errors.New("x") }, "error", "a request failed"},
		"panic":  {func(*rest.Request) error { panic("x") }, "error", "a defect broke off a request"},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, Options{}, Backend{Blob: newService(c.handle)})
			fetch(t, http.DefaultClient, s.blob+"/acct/c/b?sig=SECRET")
			require.NoError(t, s.stop())
			entries := s.logs.FilterMessage(c.message).All()
			require.Len(t, entries, 1)
			require.Equal(t, c.level, entries[0].Level.String())
			for _, e := range s.logs.All() {
				for _, f := range e.Context {
					require.NotContains(t, f.String, "SECRET")
				}
			}
		})
	}
}

func TestSelfSignedCertificateServesHTTPS(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tls")
	names := []string{"127.0.0.1", "localhost", "*.blob.localhost"}
	cert, key, err := SelfSigned(dir, names, time.Now())
	require.NoError(t, err)
	first, err := os.ReadFile(cert)
	require.NoError(t, err)
	_, _, err = SelfSigned(dir, names, time.Now())
	require.NoError(t, err)
	again, err := os.ReadFile(cert)
	require.NoError(t, err)
	require.Equal(t, first, again, "a good one is kept, so that trust in it lasts")
	info, err := os.Stat(key)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())

	c, err := LoadCertificate(cert, key, zap.NewNop())
	require.NoError(t, err)
	s := start(t, Options{Certificate: c.Get}, Backend{Blob: newService(func(r *rest.Request) error {
		require.True(t, r.HTTPS)
		return ok(r)
	})})
	roots := x509.NewCertPool()
	require.True(t, roots.AppendCertsFromPEM(first))
	for _, serverName := range []string{"", "acct.blob.localhost"} {
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: serverName}}}
		status, body := fetch(t, client, s.blob+"/acct/c/b")
		require.Equal(t, 200, status)
		require.Equal(t, "ok", body)
		client.CloseIdleConnections()
	}
	old := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}}}
	_, err = old.Get(s.blob + "/acct/c/b")
	require.ErrorContains(t, err, "protocol version")

	status, body := fetch(t, http.DefaultClient, strings.Replace(s.blob, "https", "http", 1))
	require.Equal(t, 400, status)
	require.Equal(t, "This port speaks HTTPS.", body)

	_, _, err = SelfSigned(dir, names, time.Now().AddDate(2, 0, -10))
	require.NoError(t, err)
	renewed, err := os.ReadFile(cert)
	require.NoError(t, err)
	require.NotEqual(t, first, renewed, "one near its end is replaced")
	_, _, err = SelfSigned(dir, append(names, "*.blob.stack.local"), time.Now())
	require.NoError(t, err)
	wider, err := os.ReadFile(cert)
	require.NoError(t, err)
	require.NotEqual(t, renewed, wider, "one that lacks a name is replaced")
}

func TestCertificateIsReadAgainWhenItChanges(t *testing.T) {
	core, logs := logged.New(zap.InfoLevel)
	dir := t.TempDir()
	cert, key, err := SelfSigned(dir, []string{"one.example"}, time.Now())
	require.NoError(t, err)
	c, err := LoadCertificate(cert, key, zap.New(core))
	require.NoError(t, err)
	name := func() string {
		c.mu.Lock()
		c.checked = time.Time{} // a second has passed
		c.mu.Unlock()
		got, err := c.Get()
		require.NoError(t, err)
		return got.Leaf.DNSNames[0]
	}
	require.Equal(t, "one.example", name())
	_, _, err = SelfSigned(dir, []string{"two.example"}, time.Now())
	require.NoError(t, err)
	require.Equal(t, "two.example", name())
	require.NoError(t, os.WriteFile(cert, []byte("half a file"), 0o600))
	require.Equal(t, "two.example", name(), "the old one stays")
	require.Equal(t, "two.example", name())
	require.Equal(t, 1, logs.FilterMessageSnippet("cannot be used").Len())
	require.NoError(t, os.Remove(cert))
	require.Equal(t, "two.example", name())
	_, err = LoadCertificate(cert, key, zap.NewNop())
	require.Error(t, err)
}
