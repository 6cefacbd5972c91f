package blob

import (
	"strings"
	"testing"
)

// A small put and a small get over the wire; the client's part is in it.
func BenchmarkPutSmall(b *testing.B) {
	h := newHouse(b)
	h.must(b, 201, "PUT", "/acct/con?restype=container", "", v)
	body := strings.Repeat("x", 4096)
	c := h.Dial()
	b.ReportAllocs()
	for b.Loop() {
		if r := c.Do("PUT", "/acct/con/folder/name", body, v, isBlock); r.Status != 201 {
			b.Fatal(r)
		}
	}
}

func BenchmarkGetSmall(b *testing.B) {
	h := newHouse(b)
	h.must(b, 201, "PUT", "/acct/con?restype=container", "", v)
	h.must(b, 201, "PUT", "/acct/con/folder/name", strings.Repeat("x", 4096), v, isBlock)
	c := h.Dial()
	b.ReportAllocs()
	for b.Loop() {
		if r := c.Do("GET", "/acct/con/folder/name", "", v); r.Status != 200 {
			b.Fatal(r)
		}
	}
}
