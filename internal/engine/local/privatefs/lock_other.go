//go:build !unix || solaris || aix

package privatefs

import "io"

func lockDirectory(string) (io.Closer, error) { return io.NopCloser(nil), nil }
