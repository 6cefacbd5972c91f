package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/blobd/blobd/internal/protocol"
	"github.com/blobd/blobd/internal/rest"
)

// AuditLog tells who deleted what, changed who may do what, or managed the server, and who was refused that. It is a line of JSON each,
// apart from the access log, to a file, to syslog or to a webhook, and like that it never holds a key, a signature or a token.
//
// Nobody waits for where the lines go: they wait in a queue of bounded length, and what finds it full is dropped and counted. What was
// refused finds it full at half its length, so that strangers cannot crowd out what was done. A nil AuditLog writes nothing.
type AuditLog struct {
	sink    auditSink
	log     *zap.Logger
	queue   chan []byte
	dropped atomic.Uint64
	written atomic.Uint64
	stop    context.CancelFunc
	done    chan struct{}
	close   sync.Once
	closing chan struct{}
}

// auditSink takes lines, each with its end. It is used by one goroutine.
type auditSink interface {
	write(ctx context.Context, lines [][]byte) error
	io.Closer
}

const (
	auditQueue = 4096 // lines
	auditBatch = 256  // lines that are written together
	auditTries = 5
	auditClose = 5 * time.Second // for what waits at the stop
)

// auditRetry is the first pause between tries; each is the double of the one before.
var auditRetry = 500 * time.Millisecond

// auditEntry is a line.
type auditEntry struct {
	Time      string `json:"time"`
	ID        string `json:"id,omitempty"`
	Kind      string `json:"kind"` // data, management, resources, operator
	Operation string `json:"operation"`
	Target    string `json:"target"`
	Status    int    `json:"status"`
	Code      string `json:"code,omitempty"`
	Client    string `json:"client,omitempty"`
	Scheme    string `json:"scheme,omitempty"`
	Principal string `json:"principal,omitempty"`
	Agent     string `json:"agent,omitempty"`
	Batch     string `json:"batch,omitempty"`
}

// NewAuditLog writes to a file, to syslog (the word, or syslog+udp://HOST:PORT, syslog+tcp://HOST:PORT) or to a webhook (an http or https
// URL); nil if where is empty.
func NewAuditLog(where string, log *zap.Logger) (*AuditLog, error) {
	var sink auditSink
	switch u, err := url.Parse(where); {
	case where == "":
		return nil, nil
	case where == "syslog":
		sink = &syslogSink{}
	case err == nil && (u.Scheme == "syslog+udp" || u.Scheme == "syslog+tcp"):
		if _, _, err := net.SplitHostPort(u.Host); err != nil || u.Path != "" {
			return nil, fmt.Errorf("%q: syslog is at %s://HOST:PORT", where, u.Scheme)
		}
		sink = &syslogSink{network: strings.TrimPrefix(u.Scheme, "syslog+"), addr: u.Host}
	case err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "":
		sink = &webhookSink{url: where, client: &http.Client{Timeout: 10 * time.Second,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
	case strings.Contains(where, "://"):
		return nil, fmt.Errorf("%q is neither a file, nor syslog, nor the URL of a webhook", where)
	default:
		f, err := OpenLogFile(where, 0o600)
		if err != nil {
			return nil, err
		}
		sink = fileSink{f}
	}
	return startAudit(sink, log), nil
}

func startAudit(sink auditSink, log *zap.Logger) *AuditLog {
	ctx, stop := context.WithCancel(context.Background())
	a := &AuditLog{sink: sink, log: log, queue: make(chan []byte, auditQueue), stop: stop, done: make(chan struct{}), closing: make(chan struct{})}
	go a.run(ctx)
	return a
}

// Close writes what waits, if that is soon done. Nothing is noted after it.
func (a *AuditLog) Close() error {
	if a == nil {
		return nil
	}
	a.close.Do(func() {
		close(a.closing)
		late := time.AfterFunc(auditClose, a.stop)
		<-a.done
		late.Stop()
		a.stop()
	})
	return a.sink.Close()
}

func (a *AuditLog) run(ctx context.Context) {
	defer close(a.done)
	lines := make([][]byte, 0, auditBatch)
	for {
		lines = lines[:0]
		select {
		case line := <-a.queue:
			lines = append(lines, line)
		case <-a.closing:
			select {
			case line := <-a.queue:
				lines = append(lines, line)
			default:
				return
			}
		}
		for more := true; more && len(lines) < auditBatch; {
			select {
			case line := <-a.queue:
				lines = append(lines, line)
			default:
				more = false
			}
		}
		a.deliver(ctx, lines)
	}
}

// deliver tries a few times to write lines, and drops them then.
func (a *AuditLog) deliver(ctx context.Context, lines [][]byte) {
	pause := auditRetry
	for try := 1; ; try++ {
		err := a.sink.write(ctx, lines)
		if err == nil {
			a.written.Add(uint64(len(lines)))
			return
		}
		if try == auditTries || ctx.Err() != nil {
			a.dropped.Add(uint64(len(lines)))
			a.log.Error("lines of the audit log are dropped", zap.Int("lines", len(lines)), zap.String("cause", protocol.Redact(err.Error())))
			return
		}
		select {
		case <-time.After(pause):
			pause *= 2
		case <-ctx.Done():
		}
	}
}

func (a *AuditLog) note(e *auditEntry) {
	refused := e.Status >= 400
	if refused && len(a.queue) >= auditQueue/2 {
		a.dropped.Add(1)
		return
	}
	e.Time = time.Now().UTC().Format(time.RFC3339Nano)
	line, err := json.Marshal(e)
	if err != nil { // strings and numbers have no error
		a.dropped.Add(1)
		return
	}
	select {
	case a.queue <- append(line, '\n'):
	default:
		a.dropped.Add(1)
	}
}

// audited are the operations on data that are noted, beside those whose name begins with Delete.
var audited = map[string]bool{
	"SetContainerACL": true, "SetTableACL": true, "SetBlobServiceProperties": true, "SetTableServiceProperties": true, "GetUserDelegationKey": true,
	"RestoreContainer": true, "UndeleteBlob": true, "SetImmutabilityPolicy": true, "SetLegalHold": true, "EntityGroupTransaction": true,
}

// request notes a request to a service, or a part of a batch, if it is of a kind that is.
func (a *AuditLog) request(r *rest.Request) {
	if a == nil {
		return
	}
	if !audited[r.Operation] && !strings.HasPrefix(r.Operation, "Delete") && !(r.Operation == "CreateContainer" && r.Header("x-ms-blob-public-access") != "") {
		return
	}
	a.note(&auditEntry{ID: r.ID, Kind: "data", Operation: r.Operation, Target: target(r), Status: r.Status(), Code: r.Code(), Client: r.Client.String(),
		Scheme: schemes[r.Grant.Scheme], Principal: r.Grant.Principal, Agent: tame(protocol.Redact(r.Header("user-agent")), longestName), Batch: r.Batch})
}

type actorKey struct{}

// NoteActor tells the audit log who makes the request of a context.
func NoteActor(ctx context.Context, principal string) {
	if who, ok := ctx.Value(actorKey{}).(*string); ok {
		*who = principal
	}
}

// Handler notes what changes something by way of a handler: every request but GET, HEAD and OPTIONS. who is its maker unless NoteActor
// tells of another.
func (a *AuditLog) Handler(kind, who string, h http.Handler) http.Handler {
	if a == nil || h == nil {
		return h
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.Method {
		case http.MethodGet, http.MethodHead, http.MethodOptions:
			h.ServeHTTP(w, r)
			return
		}
		who := who
		e := &auditEntry{Kind: kind, Operation: tame(r.Method, 16), Target: tame(protocol.Redact(r.URL.RequestURI()), longestTarget), Client: r.RemoteAddr,
			Agent: tame(protocol.Redact(r.UserAgent()), longestName)}
		seen := &statusWriter{ResponseWriter: w, status: http.StatusOK}
		defer func() {
			e.Status, e.ID, e.Principal = seen.status, w.Header().Get("x-ms-request-id"), who
			a.note(e)
		}()
		h.ServeHTTP(seen, r.WithContext(context.WithValue(r.Context(), actorKey{}, &who)))
	})
}

// statusWriter remembers the status of an answer.
type statusWriter struct {
	http.ResponseWriter
	status int
	wrote  bool
}

// WriteHeader implements http.ResponseWriter.
func (w *statusWriter) WriteHeader(status int) {
	if !w.wrote && status >= 200 {
		w.status, w.wrote = status, true
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (w *statusWriter) Write(p []byte) (int, error) {
	w.wrote = true
	return w.ResponseWriter.Write(p)
}

// Unwrap lets http.ResponseController reach what lies below.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// fileSink appends to a file.
type fileSink struct{ *LogFile }

func (f fileSink) write(_ context.Context, lines [][]byte) error {
	_, err := f.Write(bytes.Join(lines, nil))
	return err
}

// webhookSink posts lines, one JSON object each.
type webhookSink struct {
	url    string
	client *http.Client
}

func (s *webhookSink) write(ctx context.Context, lines [][]byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, bytes.NewReader(bytes.Join(lines, nil)))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-ndjson")
	res, err := s.client.Do(req)
	if err != nil {
		var of *url.Error
		if errors.As(err, &of) { // its text has the URL, which may hold the receiver's secret
			err = of.Err
		}
		return fmt.Errorf("webhook: %w", err)
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, 64<<10)) // for the connection's next use
	if res.StatusCode/100 != 2 {
		return fmt.Errorf("webhook: it answers with status %d", res.StatusCode)
	}
	return nil
}

// Close implements io.Closer.
func (s *webhookSink) Close() error {
	s.client.CloseIdleConnections()
	return nil
}

// syslogSink sends lines as messages of RFC 5424, to the system's socket if no network is given.
type syslogSink struct {
	network, addr string
	conn          net.Conn
}

// auditPriority is facility 13, log audit, at severity 6, informational.
const auditPriority = 13<<3 | 6

func (s *syslogSink) write(ctx context.Context, lines [][]byte) (err error) {
	if s.conn == nil {
		if s.conn, err = s.dial(ctx); err != nil {
			return fmt.Errorf("syslog: %w", err)
		}
	}
	host, _ := os.Hostname() // without one it is nil, "-"
	if host == "" {
		host = "-"
	}
	_ = s.conn.SetWriteDeadline(time.Now().Add(10 * time.Second)) // without one it waits longer
	for _, line := range lines {
		message := fmt.Appendf(nil, "<%d>1 %s %s blobd %d audit - %s", auditPriority, time.Now().UTC().Format("2006-01-02T15:04:05.000000Z"), host, os.Getpid(), bytes.TrimSuffix(line, []byte("\n")))
		if s.network == "tcp" {
			message = append(fmt.Appendf(nil, "%d ", len(message)), message...) // octet counting, RFC 6587
		}
		if _, err = s.conn.Write(message); err != nil {
			err = errors.Join(fmt.Errorf("syslog: %w", err), s.Close())
			return err
		}
	}
	return nil
}

func (s *syslogSink) dial(ctx context.Context) (conn net.Conn, err error) {
	dialer := net.Dialer{Timeout: 10 * time.Second}
	if s.network != "" {
		return dialer.DialContext(ctx, s.network, s.addr)
	}
	for _, path := range []string{"/dev/log", "/var/run/syslog", "/var/run/log"} {
		if conn, err = dialer.DialContext(ctx, "unixgram", path); err == nil {
			return conn, nil
		}
	}
	return nil, err
}

// Close implements io.Closer.
func (s *syslogSink) Close() error {
	if s.conn == nil {
		return nil
	}
	conn := s.conn
	s.conn = nil
	return conn.Close()
}
