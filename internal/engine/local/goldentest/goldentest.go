// Package goldentest holds the bytes that a format makes to a dump in the testdata of its package, which stands for docs/format.md and the
// stores that are out there. -update writes the dumps anew: for a new version of a format only.
package goldentest

import (
	"encoding/hex"
	"flag"
	"os"
	"path/filepath"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files anew: for a new version of a format only")

// Hex compares bytes with the hex dump testdata/NAME.hex.
func Hex(t *testing.T, name string, b []byte) {
	t.Helper()
	Text(t, name+".hex", hex.Dump(b))
}

// Text compares a text with testdata/NAME.
func Text(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s has other bytes now; docs/format.md and the stores that are out there have these:\n%s\nand these were made:\n%s", path, want, got)
	}
}
