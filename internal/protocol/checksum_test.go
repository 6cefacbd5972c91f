package protocol

import (
	"crypto/md5"
	"math/rand/v2"
	"testing"

	"github.com/minio/crc64nvme"
	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/replay"
)

// The values are those of recorded answers.
func TestCRC64(t *testing.T) {
	for text, want := range map[string]string{"": "AAAAAAAAAAA=", "H": "MlSW/U5mnKQ=", "Hello World": "YeJLfssylmU=", "123456789": "iJh5CoYUi64="} {
		sum := crc64nvme.Checksum([]byte(text))
		require.Equal(t, want, CRC64(sum))
		back, err := ParseCRC64("x-ms-content-crc64", want)
		require.NoError(t, err)
		require.Equal(t, sum, back)
	}
	for _, bad := range []string{"", "AAAA", "AAAAAAAAAAAAAAA=", "!AAAAAAAAAA=", "AAAAAAAAAAAA"} {
		_, err := ParseCRC64("x-ms-content-crc64", bad)
		require.ErrorIs(t, err, ErrInvalidHeaderValue, bad)
	}
}

func TestCombineCRC64(t *testing.T) {
	seed := replay.Seed(t)
	rng := rand.New(rand.NewPCG(seed, 0))
	for range 300 {
		b := make([]byte, rng.IntN(100000))
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		cut := rng.IntN(len(b) + 1)
		require.Equal(t, crc64nvme.Checksum(b), CombineCRC64(crc64nvme.Checksum(b[:cut]), crc64nvme.Checksum(b[cut:]), int64(len(b)-cut)))
	}
}

func TestParseMD5(t *testing.T) {
	sum := md5.Sum([]byte("Hello World"))
	got, err := ParseMD5("content-md5", MD5(sum[:]))
	require.NoError(t, err)
	require.Equal(t, sum, got)
	for _, bad := range []string{"", "AAAAAAAAAAA=", "sQqNsWTgdUEFt6mb5y4/5Qab"} {
		_, err := ParseMD5("content-md5", bad)
		require.ErrorIs(t, err, ErrInvalidMd5, bad)
	}
	for _, bad := range []string{"sQqNsWTgdUEFt6mb5y4/5", "!QqNsWTgdUEFt6mb5y4/5Q=="} { // no base64
		_, err := ParseMD5("content-md5", bad)
		require.ErrorIs(t, err, ErrInvalidHeaderValue, bad)
	}
	require.Equal(t, `Md5Mismatch: The MD5 value specified in the request did not match with the MD5 value calculated by the server.; UserSpecifiedMd5=AAAAAAAAAAAAAAAAAAAAAA==; ServerCalculatedMd5=`+MD5(sum[:]),
		MD5Mismatch([16]byte{}, sum).Error())
}

func FuzzChecksumHeaders(f *testing.F) {
	f.Add("sQqNsWTgdUEFt6mb5y4/5Q==")
	f.Add("iJh5CoYUi64=")
	f.Fuzz(func(t *testing.T, s string) {
		if sum, err := ParseCRC64("x-ms-content-crc64", s); err == nil {
			again, err := ParseCRC64("x-ms-content-crc64", CRC64(sum))
			require.NoError(t, err)
			require.Equal(t, sum, again)
		}
		if sum, err := ParseMD5("content-md5", s); err == nil {
			again, err := ParseMD5("content-md5", MD5(sum[:]))
			require.NoError(t, err)
			require.Equal(t, sum, again)
		}
	})
}
