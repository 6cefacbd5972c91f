package server

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/blobd/blobd/internal/rest"
)

// entries reads lines of an audit log.
func entries(t *testing.T, text string) (all []auditEntry) {
	for line := range strings.Lines(text) {
		var e auditEntry
		require.NoError(t, json.Unmarshal([]byte(line), &e), line)
		_, err := time.Parse(time.RFC3339Nano, e.Time)
		require.NoError(t, err)
		all = append(all, e)
	}
	return all
}

// deleting is a service of deletes, reads and permission changes.
func deleting() *service {
	s := newService(ok)
	h := func(s *service, r *rest.Request) error { return s.handle(r) }
	s.router = rest.NewRouter(rest.Table[*service]{
		{Name: "GetBlob", Methods: "GET", Level: rest.Blob, Handle: h},
		{Name: "DeleteBlob", Methods: "DELETE", Level: rest.Blob, Handle: h},
		{Name: "SetContainerACL", Methods: "PUT", Level: rest.Blob, Comp: "acl", Handle: h, Body: rest.BodyRule{Max: rest.AtMost(1 << 20)}},
	})
	return s
}

// TestAuditLogOfRequests: deletes, permission changes and management are noted and reads are not; no signature is in a line.
func TestAuditLogOfRequests(t *testing.T) {
	file := filepath.Join(t.TempDir(), "audit")
	audit, err := NewAuditLog(file, zap.NewNop())
	require.NoError(t, err)
	s := start(t, Options{Audit: audit}, Backend{Blob: deleting()})
	require.Eventually(t, func() bool { return s.Server.management.store.Load() != nil }, 10*time.Second, time.Millisecond)
	for _, c := range []struct{ method, url string }{
		{"GET", s.blob + "/acct/c/read"}, {"DELETE", s.blob + "/acct/c/b%20?sig=c2VjcmV0&se=2030-01-01"}, {"PUT", s.blob + "/acct/c/b?comp=acl"},
		{"GET", s.management + "/healthz"}, {"POST", s.management + "/collect"}, {"POST", s.management + "/reset"},
	} {
		req, err := http.NewRequest(c.method, c.url, nil)
		require.NoError(t, err)
		req.Header.Set("User-Agent", "tester sig=c2VjcmV0")
		res, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		_, _ = io.Copy(io.Discard, res.Body)
		require.NoError(t, res.Body.Close())
	}
	require.NoError(t, s.stop())
	require.NoError(t, audit.Close())
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NotContains(t, string(text), "c2VjcmV0")
	var got []string
	for _, e := range entries(t, string(text)) {
		got = append(got, e.Kind+" "+e.Operation+" "+e.Target)
		require.NotEmpty(t, e.Client)
		if e.Kind == "data" {
			require.Equal(t, 200, e.Status)
			require.NotEmpty(t, e.ID)
		}
	}
	require.Len(t, got, 4)
	require.True(t, strings.HasPrefix(got[0], "data DeleteBlob /acct/c/b%20?"), got[0])
	require.Equal(t, []string{"data SetContainerACL /acct/c/b?comp=acl", "management POST /collect", "management POST /reset"}, got[1:])
	info, err := os.Stat(file)
	require.NoError(t, err)
	require.EqualValues(t, 0o600, info.Mode().Perm())
}

// blocked is a sink that takes nothing until it is told to.
type blocked struct {
	free  chan struct{}
	lines atomic.Int64
}

func (b *blocked) write(ctx context.Context, lines [][]byte) error {
	select {
	case <-b.free:
		b.lines.Add(int64(len(lines)))
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
func (b *blocked) Close() error { return nil }

// TestAuditLogIsBounded: nobody waits for a sink that does not take lines; what is refused leaves room for what was done, and what was
// dropped is counted.
func TestAuditLogIsBounded(t *testing.T) {
	sink := &blocked{free: make(chan struct{})}
	a := startAudit(sink, zap.NewNop())
	for range 2 * auditQueue {
		a.note(&auditEntry{Status: 403})
	}
	refused := 2*auditQueue - int(a.dropped.Load())
	require.LessOrEqual(t, refused, auditQueue/2+auditBatch+1)
	for range auditQueue/2 - auditBatch {
		a.note(&auditEntry{Status: 202})
	}
	require.EqualValues(t, 2*auditQueue-refused, a.dropped.Load(), "what was done still finds room")
	for range auditQueue {
		a.note(&auditEntry{Status: 202})
	}
	close(sink.free)
	require.NoError(t, a.Close())
	require.EqualValues(t, 2*auditQueue+auditQueue/2-auditBatch+auditQueue, int64(a.dropped.Load())+sink.lines.Load())
	require.EqualValues(t, sink.lines.Load(), a.written.Load())
}

// failing is a sink that fails.
type failing struct{ tries atomic.Int64 }

func (f *failing) write(context.Context, [][]byte) error { f.tries.Add(1); return errors.New("no") }
func (f *failing) Close() error                          { return nil }

func TestAuditLogGivesUp(t *testing.T) {
	defer func(was time.Duration) { auditRetry = was }(auditRetry)
	auditRetry = time.Microsecond
	sink := &failing{}
	a := startAudit(sink, zap.NewNop())
	a.note(&auditEntry{Status: 202})
	require.NoError(t, a.Close())
	require.EqualValues(t, auditTries, sink.tries.Load())
	require.EqualValues(t, 1, a.dropped.Load())
}

func TestAuditLogToAWebhook(t *testing.T) {
	defer func(was time.Duration) { auditRetry = was }(auditRetry)
	auditRetry = time.Microsecond
	got := make(chan string, 10)
	var asked atomic.Int64
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1) == 1 {
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect) // what is to be noted here goes nowhere else
			return
		}
		text, _ := io.ReadAll(r.Body)
		got <- r.Header.Get("Content-Type") + " " + r.URL.Path + "\n" + string(text)
	}))
	defer hook.Close()
	a, err := NewAuditLog(hook.URL+"/hook?token=secret", zap.NewNop())
	require.NoError(t, err)
	a.note(&auditEntry{Operation: "DeleteBlob", Status: 202})
	require.NoError(t, a.Close())
	head, text, _ := strings.Cut(<-got, "\n")
	require.Equal(t, "application/x-ndjson /hook", head)
	require.Equal(t, "DeleteBlob", entries(t, text)[0].Operation)

	hook.Close()
	err = (&webhookSink{url: hook.URL + "/?token=secret", client: http.DefaultClient}).write(t.Context(), [][]byte{[]byte("{}\n")})
	require.Error(t, err)
	require.NotContains(t, err.Error(), "secret")
}

func TestAuditLogToSyslog(t *testing.T) {
	message := `^<110>1 \S+Z \S+ blobd \d+ audit - \{.*"operation":"DeleteBlob".*\}$`
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	defer udp.Close()
	a, err := NewAuditLog("syslog+udp://"+udp.LocalAddr().String(), zap.NewNop())
	require.NoError(t, err)
	a.note(&auditEntry{Operation: "DeleteBlob", Status: 202})
	require.NoError(t, a.Close())
	b := make([]byte, 2048)
	n, _, err := udp.ReadFrom(b)
	require.NoError(t, err)
	require.Regexp(t, message, string(b[:n]))

	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer tcp.Close()
	a, err = NewAuditLog("syslog+tcp://"+tcp.Addr().String(), zap.NewNop())
	require.NoError(t, err)
	a.note(&auditEntry{Operation: "DeleteBlob", Status: 202})
	conn, err := tcp.Accept()
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, a.Close())
	all, err := io.ReadAll(bufio.NewReader(conn))
	require.NoError(t, err)
	length, text, _ := strings.Cut(string(all), " ")
	require.Regexp(t, message, text)
	require.Equal(t, length, json.Number(length).String())
	n64, err := json.Number(length).Int64()
	require.NoError(t, err)
	require.EqualValues(t, len(text), n64)
}

func TestWhereAnAuditLogGoes(t *testing.T) {
	for _, where := range []string{"syslog+udp://host", "syslog+tcp://host:1/path", "ftp://host/x", "https://", filepath.Join(t.TempDir(), "none", "file")} {
		_, err := NewAuditLog(where, zap.NewNop())
		require.Error(t, err, where)
	}
	a, err := NewAuditLog("", zap.NewNop())
	require.NoError(t, err)
	require.NoError(t, a.Close())
	a.request(nil)
}

// TestActors: the maker of a request that is known only within is noted, and one that is refused before that is nobody's.
func TestActors(t *testing.T) {
	file := filepath.Join(t.TempDir(), "audit")
	a, err := NewAuditLog(file, zap.NewNop())
	require.NoError(t, err)
	h := a.Handler("resources", "", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/known" {
			NoteActor(r.Context(), "ann")
			return
		}
		http.Error(w, "no", http.StatusUnauthorized)
	}))
	for _, path := range []string{"/known", "/unknown"} {
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("PUT", path, nil))
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", path, nil))
	}
	NoteActor(t.Context(), "nobody listens")
	require.NoError(t, a.Close())
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	got := entries(t, string(text))
	require.Len(t, got, 2)
	require.Equal(t, []any{"ann", 200, "", 401}, []any{got[0].Principal, got[0].Status, got[1].Principal, got[1].Status})
}
