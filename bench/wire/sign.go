package wire

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"hash"
	"strconv"
)

// Account is who signs.
type Account struct {
	Name string
	Key  []byte
}

// Emulator is the well-known account of the storage emulators. Its key is public knowledge.
var Emulator = Account{Name: "devstoreaccount1", Key: mustDecode(
	"Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==")}

func mustDecode(s string) []byte {
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}

// signer makes SharedKey signatures (REST page "Authorize with Shared Key"). It is written apart from the server's verifier on purpose: the
// bench would not notice a mistake that both share.
type signer struct {
	account Account
	mac     hash.Hash
	text    []byte
	sum     []byte
}

func newSigner(a Account) *signer { return &signer{account: a, mac: hmac.New(sha256.New, a.Key)} }

// append adds the value of the Authorization header for r to out.
func (s *signer) append(out []byte, r *Request, date string) []byte {
	if r.Table {
		s.text = s.tableText(s.text[:0], r, date)
	} else {
		s.text = s.blobText(s.text[:0], r, date)
	}
	s.mac.Reset()
	s.mac.Write(s.text)
	s.sum = s.mac.Sum(s.sum[:0])
	if r.Table {
		out = append(out, "SharedKeyLite "...)
	} else {
		out = append(out, "SharedKey "...)
	}
	out = append(out, s.account.Name...)
	out = append(out, ':')
	return base64.StdEncoding.AppendEncode(out, s.sum)
}

func (s *signer) blobText(t []byte, r *Request, date string) []byte {
	t = append(t, r.Method...)
	t = append(t, "\n\n\n"...) // Content-Encoding, Content-Language
	if n := r.bodyLen(); n > 0 {
		t = strconv.AppendInt(t, int64(n), 10)
	}
	t = append(t, "\n\n"...) // Content-MD5
	t = append(t, r.ContentType...)
	t = append(t, "\n\n\n\n\n\n\n"...) // Date, four conditions, Range
	named := false
	for _, h := range r.Headers {
		if !named && h.Name > "x-ms-date" {
			t, named = appendHeader(t, "x-ms-date", date), true
		}
		t = appendHeader(t, h.Name, h.Value)
	}
	if !named {
		t = appendHeader(t, "x-ms-date", date)
	}
	t = appendHeader(t, "x-ms-version", BlobVersion)
	t = s.resource(t, r)
	for _, q := range r.Query {
		t = append(t, '\n')
		t = append(t, q.Name...)
		t = append(t, ':')
		t = append(t, q.Value...)
	}
	return t
}

func (s *signer) tableText(t []byte, r *Request, date string) []byte {
	t = append(t, date...)
	t = append(t, '\n')
	return s.resource(t, r)
}

// resource is the canonicalized resource without its query. Path style names the account twice.
func (s *signer) resource(t []byte, r *Request) []byte {
	t = append(t, '/')
	t = append(t, s.account.Name...)
	t = append(t, '/')
	t = append(t, s.account.Name...)
	return append(t, r.Path...)
}

func appendHeader(t []byte, name, value string) []byte {
	t = append(t, name...)
	t = append(t, ':')
	t = append(t, value...)
	return append(t, '\n')
}
