// Package ceiling has the servers that no storage server can beat on the same machine with the same front end: they do the part
// of the work that cannot be left out and nothing else. No signature is checked, nothing can be read back.
//
//   - network: read the request, answer. For reads the content comes from memory.
//   - commit: the same, and one synced Pebble commit of the body under its path for each write.
//   - file: the body's MD5 and CRC-64/NVME, its bytes into a file, fdatasync, answer.
//   - file-crc: the same without MD5, as for blocks, whose MD5 the protocol does not return.
package ceiling

import (
	"crypto/md5"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"github.com/minio/crc64nvme"
	"github.com/valyala/fasthttp"
	"golang.org/x/sys/unix"

	"github.com/blobd/blobd/bench/content"
)

// Modes are the names that New takes.
var Modes = []string{"network", "commit", "file", "file-crc"}

// Server is one ceiling.
type Server struct {
	mode string
	http *fasthttp.Server
	db   *pebble.DB
	file *os.File
	end  atomic.Int64 // of the file
}

// fileMax is where writing begins again at the front of the file, in bytes.
const fileMax = 2 << 30

// New returns a ceiling that keeps what it must under dir.
func New(mode, dir string) (*Server, error) {
	s := &Server{mode: mode}
	var err error
	switch mode {
	case "network":
	case "commit":
		s.db, err = pebble.Open(filepath.Join(dir, "db"), &pebble.Options{
			FormatMajorVersion: pebble.FormatNewest, Logger: silent{}, MemTableSize: 64 << 20,
			CompactionConcurrencyRange: func() (int, int) { return 1, 2 },
		})
	case "file", "file-crc":
		s.file, err = os.Create(filepath.Join(dir, "file"))
	default:
		err = fmt.Errorf("no such mode; there are %s", strings.Join(Modes, ", "))
	}
	if err != nil {
		return nil, fmt.Errorf("ceiling %q: %w", mode, err)
	}
	s.http = &fasthttp.Server{
		Handler: s.handle, StreamRequestBody: true, MaxRequestBodySize: 1 << 30, NoDefaultServerHeader: true, NoDefaultContentType: true,
		ReadBufferSize: 16 << 10, WriteBufferSize: 16 << 10, Logger: silent{},
	}
	return s, nil
}

type silent struct{}

func (silent) Infof(string, ...any)  {}
func (silent) Errorf(string, ...any) {}
func (silent) Printf(string, ...any) {}
func (silent) Fatalf(format string, args ...any) {
	panic(fmt.Sprintf(format, args...)) // what Pebble says here it does not survive
}

// Serve answers on l until Close.
func (s *Server) Serve(l net.Listener) error { return s.http.Serve(l) }

// Close ends Serve and releases the files.
func (s *Server) Close() error {
	err := s.http.Shutdown()
	if s.db != nil {
		err = firstError(err, s.db.Close())
	}
	if s.file != nil {
		err = firstError(err, s.file.Close())
	}
	return err
}

func firstError(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

func (s *Server) handle(ctx *fasthttp.RequestCtx) {
	var err error
	if ctx.IsGet() || ctx.IsHead() {
		s.get(ctx)
	} else {
		err = s.write(ctx)
	}
	if err != nil {
		ctx.Error(err.Error(), 500)
	}
}

// inline is the size up to which content is given in one piece, in bytes.
const inline = 64 << 10

var buffers = sync.Pool{New: func() any { b := make([]byte, 256<<10); return &b }}

func (s *Server) write(ctx *fasthttp.RequestCtx) error {
	h := &ctx.Response.Header
	h.SetStatusCode(fasthttp.StatusCreated)
	h.Set("ETag", `"0x8DB00B42101E88C"`)
	h.Set("x-ms-request-id", "5e0ee0c5-901e-0000-0000-000000000000")
	h.Set("x-ms-version", "2023-11-03")
	size := ctx.Request.Header.ContentLength()
	body := ctx.RequestBodyStream()
	if body == nil || size <= 0 {
		if s.db != nil {
			return s.db.Delete(ctx.Path(), pebble.Sync)
		}
		return nil
	}
	bp := buffers.Get().(*[]byte)
	defer buffers.Put(bp)
	if s.file != nil {
		return s.toFile(ctx, body, int64(size), *bp)
	}
	if size > len(*bp) {
		_, err := io.CopyBuffer(onlyWriter{io.Discard}, body, *bp)
		return err
	}
	p := (*bp)[:size]
	if _, err := io.ReadFull(body, p); err != nil {
		return err
	}
	if s.db != nil {
		return s.db.Set(ctx.Path(), p, pebble.Sync)
	}
	return nil
}

// onlyWriter hides ReadFrom, so that the given buffer is used.
type onlyWriter struct{ io.Writer }

func (s *Server) toFile(ctx *fasthttp.RequestCtx, body io.Reader, size int64, buf []byte) error {
	at := s.reserve(size)
	sum := crc64nvme.New()
	digest := md5.New()
	for left := size; left > 0; {
		n, err := io.ReadFull(body, buf[:min(int64(len(buf)), left)])
		if err != nil {
			return err
		}
		p := buf[:n]
		_, _ = sum.Write(p) // hashes never fail
		if s.mode == "file" {
			_, _ = digest.Write(p)
		}
		if _, err := s.file.WriteAt(p, at); err != nil {
			return err
		}
		at += int64(n)
		left -= int64(n)
	}
	if err := unix.Fdatasync(int(s.file.Fd())); err != nil {
		return fmt.Errorf("fdatasync: %w", err)
	}
	ctx.Response.Header.Set("x-ms-content-crc64", base64.StdEncoding.EncodeToString(binary.LittleEndian.AppendUint64(nil, sum.Sum64())))
	if s.mode == "file" {
		ctx.Response.Header.Set("Content-MD5", base64.StdEncoding.EncodeToString(digest.Sum(nil)))
	}
	return nil
}

// reserve gives out a run of the file.
func (s *Server) reserve(size int64) int64 {
	for {
		old := s.end.Load()
		at, next := old, old+size
		if next > fileMax {
			at, next = 0, size
		}
		if s.end.CompareAndSwap(old, next) {
			return at
		}
	}
}

// get serves the content that the path names: …/<container>-<size>/<anything><index>. Other paths get an empty answer.
func (s *Server) get(ctx *fasthttp.RequestCtx) {
	h := &ctx.Response.Header
	h.Set("ETag", `"0x8DB00B42101E88C"`)
	h.Set("x-ms-request-id", "5e0ee0c5-901e-0000-0000-000000000000")
	h.Set("x-ms-version", "2023-11-03")
	size, index, ok := parsePath(string(ctx.Path()))
	if !ok {
		return
	}
	h.SetContentType("application/octet-stream")
	p := content.Slice(index, size)
	switch {
	case ctx.IsHead():
		ctx.Response.SkipBody = true
		h.SetContentLength(size)
	case size <= inline:
		ctx.Response.SetBodyRaw(p)
	default:
		ctx.Response.SetBodyStream(&reader{p}, size)
	}
}

// parsePath reads size and index out of /account/name-SIZE/bINDEX.
func parsePath(path string) (size int, index uint64, ok bool) {
	dir, name, ok := strings.Cut(strings.TrimPrefix(path, "/devstoreaccount1/"), "/")
	if !ok {
		return 0, 0, false
	}
	_, digits, ok := strings.Cut(dir, "-")
	size, err := strconv.Atoi(digits)
	if !ok || err != nil || size > content.Max || size < 0 {
		return 0, 0, false
	}
	index, err = strconv.ParseUint(strings.TrimLeft(name, "b0"), 10, 64)
	return size, index, err == nil || strings.Trim(name, "b0") == ""
}

// reader reads memory, and hands it over whole when it is asked for everything.
type reader struct{ p []byte }

func (r *reader) Read(p []byte) (int, error) {
	if len(r.p) == 0 {
		return 0, io.EOF
	}
	n := copy(p, r.p)
	r.p = r.p[n:]
	return n, nil
}

func (r *reader) WriteTo(w io.Writer) (int64, error) {
	n, err := w.Write(r.p)
	r.p = r.p[n:]
	return int64(n), err
}
