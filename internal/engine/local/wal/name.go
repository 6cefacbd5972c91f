package wal

import (
	"fmt"
	"strconv"
	"strings"
)

// Number returns the number of a log from its file name.
func Number(name string) (uint64, bool) {
	base, ok := strings.CutSuffix(name, ".log")
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseUint(base, 10, 32)
	return n, err == nil
}

// Name is the name of a log's file.
func Name(number uint64) string { return fmt.Sprintf("%06d.log", number) }
