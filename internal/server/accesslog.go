package server

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/blobd/blobd/internal/auth"
	"github.com/blobd/blobd/internal/protocol"
	"github.com/blobd/blobd/internal/rest"
)

// AccessLog writes one JSON line for each request, and one for each part of a batch, which names the batch's request. Lines are buffered for up to a second. It never holds a key, a signature or
// a token, and what a client sent cannot break a line. A nil AccessLog writes nothing.
type AccessLog struct {
	log    *zap.Logger
	buffer *zapcore.BufferedWriteSyncer
	lost   atomic.Uint64 // lines
	errors bool          // only what failed
	sample uint64        // of what succeeded, one in so many
	count  atomic.Uint64
}

// NewAccessLog writes to w: what is "all", "errors" (status 400 and up) or "off". With sample > 1 only one in so many
// successful requests is written. log is told when lines begin to be lost.
func NewAccessLog(w io.Writer, what string, sample int, log *zap.Logger) (*AccessLog, error) {
	switch what {
	case "off":
		return nil, nil
	case "all", "errors":
	default:
		return nil, fmt.Errorf("access log %q: all, errors or off is needed", what)
	}
	config := zapcore.EncoderConfig{
		TimeKey: "time", EncodeTime: zapcore.RFC3339NanoTimeEncoder, EncodeDuration: zapcore.SecondsDurationEncoder, LineEnding: "\n",
	}
	a := &AccessLog{errors: what == "errors", sample: uint64(max(sample, 1))}
	a.buffer = &zapcore.BufferedWriteSyncer{WS: zapcore.AddSync(&lossy{w: w, lost: &a.lost, log: log}), Size: 64 << 10, FlushInterval: time.Second}
	a.log = zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(config), a.buffer, zapcore.InfoLevel))
	return a, nil
}

// lossy passes lines on, and counts those that cannot be written. It tells the buffer before it of no error, since after one that would
// take no line any more.
type lossy struct {
	w       io.Writer
	lost    *atomic.Uint64
	log     *zap.Logger
	failing bool // the buffer's lock holds it
}

// Write implements io.Writer.
func (l *lossy) Write(p []byte) (int, error) {
	n, err := l.w.Write(p)
	if err != nil {
		l.lost.Add(uint64(max(1, bytes.Count(p[min(n, len(p)):], []byte("\n")))))
		if !l.failing {
			l.log.Error("lines of the access log are lost", zap.Error(err))
		}
	}
	l.failing = err != nil
	return len(p), nil
}

// Close writes what is buffered.
func (a *AccessLog) Close() error {
	if a == nil {
		return nil
	}
	return a.buffer.Stop()
}

// write logs one request.
func (a *AccessLog) write(r *rest.Request, took time.Duration) {
	if a == nil {
		return
	}
	status := r.Status()
	if status < 400 && (a.errors || a.sample > 1 && a.count.Add(1)%a.sample != 0) {
		return
	}
	entry := a.log.Check(zapcore.InfoLevel, "")
	fields := fieldLists.Get().(*[18]zap.Field)
	*fields = [...]zap.Field{
		zap.String("id", r.ID),
		zap.String("client", r.Client.String()),
		zap.String("service", r.Service.String()),
		zap.String("operation", r.Operation),
		zap.String("method", r.Method),
		zap.String("target", target(r)),
		zap.Int("status", status),
		zap.Duration("seconds", took),
		zap.Int64("received", r.Received()),
		zap.Int64("sent", r.Sent()),
		zap.String("version", string(r.Version)),
		zap.String("scheme", schemes[r.Grant.Scheme]),
		zap.String("principal", r.Grant.Principal),
		zap.String("agent", tame(protocol.Redact(r.Header("user-agent")), longestName)),
		optional("host", tame(r.Header("host"), longestName), !r.PathStyle),
		optional("clientRequestId", protocol.Redact(r.ClientID), r.ClientID != ""),
		optional("code", r.Code(), r.Code() != ""),
		optional("batch", r.Batch, r.Batch != ""),
	}
	entry.Write(fields[:]...)
	clear(fields[:]) // they alias the request
	fieldLists.Put(fields)
}

var fieldLists = sync.Pool{New: func() any { return new([18]zap.Field) }}

func optional(name, value string, there bool) zap.Field {
	if !there {
		return zap.Skip()
	}
	return zap.String(name, value)
}

var schemes = [...]string{
	auth.Anonymous: "none", auth.SharedKey: "SharedKey", auth.AccountSAS: "AccountSAS", auth.ServiceSAS: "ServiceSAS",
	auth.UserDelegationSAS: "UserDelegationSAS", auth.Bearer: "Bearer",
}

// How much of what a client sent a line may hold, in bytes.
const (
	longestTarget = 4 << 10
	longestName   = 512 // of agent and host
)

// target is a request's target without secrets.
func target(r *rest.Request) string { return tame(protocol.Redact(r.Target()), longestTarget) }

// tame bounds a text that a client sent: it is cut, and what a log would have to write as an escape, so that the line is many times
// as long, becomes a question mark.
func tame(s string, most int) string {
	cut := len(s) > most
	if cut {
		s = s[:most]
	}
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < ' ' || c >= 0x7f || c == '"' || c == '\\' {
			s = strings.Map(func(c rune) rune {
				if c < ' ' || c == 0x7f || c == utf8.RuneError || c == '\u2028' || c == '\u2029' {
					return '?'
				}
				return c
			}, s)
			break
		}
	}
	if cut {
		s += "..."
	}
	return s
}
