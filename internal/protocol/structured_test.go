package protocol

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
)

func encodeStructured(t testing.TB, content []byte) []byte {
	t.Helper()
	e := NewStructuredEncoder(io.NopCloser(bytes.NewReader(content)), int64(len(content)))
	b, err := io.ReadAll(e)
	require.NoError(t, err)
	require.NoError(t, e.Close())
	require.Equal(t, StructuredLength(int64(len(content))), int64(len(b)))
	return b
}

// TestStructuredGolden holds the format to its bytes.
func TestStructuredGolden(t *testing.T) {
	for content, want := range map[string]string{
		"": "01" + "2700000000000000" + "0100" + "0100" +
			"0100" + "0000000000000000" + "0000000000000000" + "0000000000000000",
		"123456789": "01" + "3000000000000000" + "0100" + "0100" +
			"0100" + "0900000000000000" + "313233343536373839" + "8898790a86148bae" + "8898790a86148bae",
	} {
		require.Equal(t, want, hex.EncodeToString(encodeStructured(t, []byte(content))))
	}
}

func TestStructuredRoundTrip(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for _, n := range []int{0, 1, 1000, structuredSegment - 1, structuredSegment, structuredSegment + 1, 3*structuredSegment + 7} {
		content := make([]byte, n)
		for i := range content {
			content[i] = byte(rnd.Uint32())
		}
		message := encodeStructured(t, content)
		for name, r := range map[string]io.Reader{"whole": bytes.NewReader(message), "with EOF": iotest.DataErrReader(bytes.NewReader(message)),
			"halves": iotest.HalfReader(bytes.NewReader(message))} {
			s := NewStructuredReader(r, int64(len(message)), int64(n))
			got, err := io.ReadAll(s)
			require.NoError(t, err, "%d %s", n, name)
			require.True(t, bytes.Equal(content, got))
		}
	}
	// The sum of several segments is that of the content.
	content := make([]byte, structuredSegment+5)
	message := encodeStructured(t, content)
	s := NewStructuredReader(iotest.OneByteReader(bytes.NewReader(message)), int64(len(message)), int64(len(content)))
	_, err := io.Copy(io.Discard, s)
	require.NoError(t, err)
	require.Equal(t, message[len(message)-8:], leSum(s.Sum()))
}

func leSum(v uint64) (b []byte) {
	for i := range 8 {
		b = append(b, byte(v>>(8*i)))
	}
	return b
}

func TestStructuredPlan(t *testing.T) {
	for _, content := range []int64{0, 1, structuredSegment, 65535 * structuredSegment, 65535*structuredSegment + 1, 200 << 40} {
		segments, size := structuredPlan(content)
		require.LessOrEqual(t, segments, int64(65535))
		require.GreaterOrEqual(t, segments*size, content)
		require.Less(t, (segments-1)*size, max(content, 1))
	}
}

func TestStructuredDamage(t *testing.T) {
	content := []byte("0123456789abcdef")
	good := encodeStructured(t, content)
	read := func(message []byte, content int64) error {
		_, err := io.Copy(io.Discard, NewStructuredReader(bytes.NewReader(message), int64(len(message)), content))
		return err
	}
	require.NoError(t, read(good, 16))
	for i := range good { // no flipped bit goes unseen
		for bit := range 8 {
			bad := bytes.Clone(good)
			bad[i] ^= 1 << bit
			err := read(bad, 16)
			require.Error(t, err, "byte %d bit %d", i, bit)
			var e *Error
			if !errors.As(err, &e) {
				require.ErrorIs(t, err, io.ErrUnexpectedEOF)
			}
		}
	}
	for n := range good { // nor a missing byte
		require.Error(t, read(good[:n], 16))
		_, err := io.Copy(io.Discard, NewStructuredReader(bytes.NewReader(good[:n]), int64(len(good)), 16))
		require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	}
	require.ErrorIs(t, read(append(bytes.Clone(good), 0), 16), ErrInvalidInput)
	require.ErrorIs(t, read(good, 15), ErrInvalidInput)
	require.ErrorIs(t, read(good, 17), ErrInvalidInput)
	short := append(bytes.Clone(good[:len(good)-8]), 0)
	short[1] = byte(len(short)) // a message that is whole by its own account but ends within the trailer
	require.ErrorIs(t, read(short, 16), ErrInvalidInput)
	bad := bytes.Clone(good)
	bad[25] ^= 1
	require.ErrorIs(t, read(bad, 16), ErrCrc64Mismatch)
	fail := errors.New("broken pipe")
	_, err := io.Copy(io.Discard, NewStructuredReader(io.MultiReader(bytes.NewReader(good[:30]), iotest.ErrReader(fail)), int64(len(good)), 16))
	require.ErrorIs(t, err, fail)
}

func TestStructuredEncoderShortSource(t *testing.T) {
	_, err := io.ReadAll(NewStructuredEncoder(io.NopCloser(bytes.NewReader([]byte("abc"))), 4))
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
}

// FuzzStructured: whatever is accepted has the promised length and good sums, so encoding it again gives content equal to it.
func FuzzStructured(f *testing.F) {
	f.Add(encodeStructured(f, nil), int64(0))
	f.Add(encodeStructured(f, []byte("123456789")), int64(9))
	f.Fuzz(func(t *testing.T, message []byte, n int64) {
		if n < 0 {
			return
		}
		s := NewStructuredReader(bytes.NewReader(message), int64(len(message)), n)
		content, err := io.ReadAll(s)
		if err != nil {
			return
		}
		require.Equal(t, n, int64(len(content)))
		again, err := io.ReadAll(NewStructuredReader(bytes.NewReader(encodeStructured(t, content)), StructuredLength(n), n))
		require.NoError(t, err)
		require.Equal(t, content, again)
	})
}
