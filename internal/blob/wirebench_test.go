package blob

import (
	"fmt"
	"strings"
	"testing"
)

// Small requests over the wire; the client's part is in them.
func benchWire(b *testing.B, status int, method, target, body string, header ...string) {
	h := newHouse(b)
	h.must(b, 201, "PUT", "/acct/con?restype=container", "", v)
	for i := range 50 {
		h.must(b, 201, "PUT", fmt.Sprintf("/acct/con/folder/name%d", i), strings.Repeat("x", 4096), v, isBlock)
	}
	c := h.Dial()
	b.ReportAllocs()
	for b.Loop() {
		if r := c.Do(method, target, body, append(header, v)...); r.Status != status {
			b.Fatal(r)
		}
	}
}

func BenchmarkPutSmall(b *testing.B) {
	benchWire(b, 201, "PUT", "/acct/con/folder/name0", strings.Repeat("x", 4096), isBlock)
}
func BenchmarkGetSmall(b *testing.B)  { benchWire(b, 200, "GET", "/acct/con/folder/name0", "") }
func BenchmarkHeadSmall(b *testing.B) { benchWire(b, 200, "HEAD", "/acct/con/folder/name0", "") }
func BenchmarkList50(b *testing.B) {
	benchWire(b, 200, "GET", "/acct/con?restype=container&comp=list", "")
}
