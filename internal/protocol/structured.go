package protocol

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/minio/crc64nvme"
)

// StructuredBody is the one value of x-ms-structured-body that there is: content in segments, each followed by its CRC-64/NVME,
// and the sum of all at the end.
//
// The message is little-endian: a header of version (1 byte, 1), message length (8), flags (2, bit 0: CRC-64) and number of
// segments (2); each segment has a header of its number (2, from 1) and content length (8), the content, and its CRC-64 (8);
// the trailer is the CRC-64 (8) of the whole content.
const StructuredBody = "XSM/1.0; properties=crc64"

const (
	structuredVersion       = 1
	structuredCRC64         = 1
	structuredHeader        = 1 + 8 + 2 + 2
	structuredSegmentHeader = 2 + 8
	structuredSum           = 8
	structuredSegment       = 4 << 20 // bytes of content in a segment that is written
)

// errStructured is a structured message that breaks the format. Its segments and their sums cannot be told apart any more.
func errStructured(format string, args ...any) error {
	return ErrInvalidInput.Because(fmt.Errorf("structured message: "+format, args...))
}

// StructuredReader reads the content out of a structured message. Every segment is checked against its sum: a reader that saw
// io.EOF has seen good content, of exactly the length promised. It holds no more than a frame.
type StructuredReader struct {
	r        io.Reader
	encoded  int64 // declared length of the message in bytes
	left     int64 // content bytes still to come, by x-ms-structured-content-length
	read     int64 // bytes of the message taken so far
	segments uint16
	segment  uint16 // number of the current one, 0 before the header
	rest     uint64 // content bytes left in it
	size     int64  // content bytes of it
	sum, all uint64 // CRC-64 of the segment so far, and of the segments before it
	err      error
	frame    [structuredHeader]byte
}

// NewStructuredReader reads a message of encoded bytes with content bytes of content from r.
func NewStructuredReader(r io.Reader, encoded, content int64) *StructuredReader {
	return &StructuredReader{r: r, encoded: encoded, left: content}
}

// Read implements io.Reader. Its errors are those of r, Crc64Mismatch and InvalidInput.
func (s *StructuredReader) Read(p []byte) (int, error) {
	for s.err == nil {
		if s.rest > 0 {
			if len(p) == 0 {
				return 0, nil
			}
			n, err := s.r.Read(p[:min(uint64(len(p)), s.rest)])
			s.sum = crc64nvme.Update(s.sum, p[:n])
			s.rest -= uint64(n)
			s.left -= int64(n)
			s.read += int64(n)
			if err != nil {
				if errors.Is(err, io.EOF) && (s.rest > 0 || n == 0) {
					s.err = io.ErrUnexpectedEOF
				} else if !errors.Is(err, io.EOF) {
					s.err = err
				}
			}
			if n > 0 {
				return n, nil
			}
			continue
		}
		s.err = s.advance()
	}
	return 0, s.err
}

// Sum returns the CRC-64/NVME of the content. It is valid after io.EOF.
func (s *StructuredReader) Sum() uint64 { return s.all }

// advance reads what lies between two runs of content. It returns io.EOF after the trailer.
func (s *StructuredReader) advance() error {
	if s.segment == 0 {
		if err := s.readHeader(); err != nil {
			return err
		}
		return s.readSegmentHeader()
	}
	if err := s.checkSum(s.sum); err != nil {
		return err
	}
	s.all = CombineCRC64(s.all, s.sum, s.size)
	if s.segment < s.segments {
		return s.readSegmentHeader()
	}
	if s.left != 0 {
		return errStructured("%d content bytes are missing", s.left)
	}
	if err := s.checkSum(s.all); err != nil {
		return err
	}
	if s.read != s.encoded {
		return errStructured("%d bytes follow it", s.encoded-s.read)
	}
	return io.EOF
}

func (s *StructuredReader) readFrame(n int) ([]byte, error) {
	if s.encoded-s.read < int64(n) {
		return nil, errStructured("ends within a frame")
	}
	m, err := io.ReadFull(s.r, s.frame[:n])
	s.read += int64(m)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return s.frame[:n], err
}

func (s *StructuredReader) readHeader() error {
	b, err := s.readFrame(structuredHeader)
	if err != nil {
		return err
	}
	switch {
	case b[0] != structuredVersion:
		return errStructured("version %d", b[0])
	case binary.LittleEndian.Uint64(b[1:]) != uint64(s.encoded):
		return errStructured("length %d, but the request declares %d", binary.LittleEndian.Uint64(b[1:]), s.encoded)
	case binary.LittleEndian.Uint16(b[9:]) != structuredCRC64:
		return errStructured("flags %#x", binary.LittleEndian.Uint16(b[9:]))
	}
	if s.segments = binary.LittleEndian.Uint16(b[11:]); s.segments == 0 {
		return errStructured("no segments")
	}
	return nil
}

func (s *StructuredReader) readSegmentHeader() error {
	b, err := s.readFrame(structuredSegmentHeader)
	if err != nil {
		return err
	}
	s.segment++
	if n := binary.LittleEndian.Uint16(b); n != s.segment {
		return errStructured("segment %d where %d was to come", n, s.segment)
	}
	s.rest = binary.LittleEndian.Uint64(b[2:])
	if s.rest > uint64(min(s.left, s.encoded-s.read)) {
		return errStructured("segment %d of %d bytes where %d are left", s.segment, s.rest, s.left)
	}
	s.size, s.sum = int64(s.rest), 0
	return nil
}

func (s *StructuredReader) checkSum(got uint64) error {
	b, err := s.readFrame(structuredSum)
	if err != nil {
		return err
	}
	if want := binary.LittleEndian.Uint64(b); want != got {
		return CRC64Mismatch(want, got)
	}
	return nil
}

// structuredPlan tells into how many segments of which size content is cut: the count has two bytes only.
func structuredPlan(content int64) (segments, size int64) {
	size = structuredSegment
	if content > math.MaxUint16*size {
		size = (content + math.MaxUint16 - 1) / math.MaxUint16
	}
	return max(1, (content+size-1)/size), size
}

// StructuredLength returns the length of the message that holds content bytes of content.
func StructuredLength(content int64) int64 {
	segments, _ := structuredPlan(content)
	return structuredHeader + segments*(structuredSegmentHeader+structuredSum) + content + structuredSum
}

// StructuredEncoder is the structured message of a content, read as it is needed.
type StructuredEncoder struct {
	r              io.ReadCloser
	left           int64 // content bytes not yet in a segment
	segments, size int64
	segment        int64 // of the current one, from 1
	rest, length   int64 // content bytes of it: still to come, and all
	sum, all       uint64
	frame          []byte // to be sent before more content
	ended          bool   // the trailer is in frame or sent
	store          [structuredSum + structuredSegmentHeader + structuredHeader]byte
}

// NewStructuredEncoder encodes content bytes of r; closing the encoder closes r.
func NewStructuredEncoder(r io.ReadCloser, content int64) *StructuredEncoder {
	e := &StructuredEncoder{r: r, left: content}
	e.segments, e.size = structuredPlan(content)
	b := append(e.store[:0], structuredVersion)
	b = binary.LittleEndian.AppendUint64(b, uint64(StructuredLength(content)))
	b = binary.LittleEndian.AppendUint16(b, structuredCRC64)
	b = binary.LittleEndian.AppendUint16(b, uint16(e.segments))
	e.begin(b)
	return e
}

func (e *StructuredEncoder) begin(b []byte) {
	e.segment++
	e.rest = min(e.size, e.left)
	e.left -= e.rest
	e.length, e.sum = e.rest, 0
	b = binary.LittleEndian.AppendUint16(b, uint16(e.segment))
	e.frame = binary.LittleEndian.AppendUint64(b, uint64(e.length))
}

// Read implements io.Reader. If r ends early the message is cut short too, with io.ErrUnexpectedEOF.
func (e *StructuredEncoder) Read(p []byte) (int, error) {
	for {
		switch {
		case len(e.frame) > 0:
			n := copy(p, e.frame)
			e.frame = e.frame[n:]
			return n, nil
		case e.ended:
			return 0, io.EOF
		case e.rest == 0:
			e.all = CombineCRC64(e.all, e.sum, e.length)
			b := binary.LittleEndian.AppendUint64(e.store[:0], e.sum)
			if e.segment < e.segments {
				e.begin(b)
				continue
			}
			e.frame, e.ended = binary.LittleEndian.AppendUint64(b, e.all), true
			continue
		}
		n, err := e.r.Read(p[:min(int64(len(p)), e.rest)])
		e.sum = crc64nvme.Update(e.sum, p[:n])
		e.rest -= int64(n)
		if errors.Is(err, io.EOF) {
			err = nil
			if n == 0 {
				err = io.ErrUnexpectedEOF
			}
		}
		return n, err
	}
}

// Close implements io.Closer.
func (e *StructuredEncoder) Close() error { return e.r.Close() }
