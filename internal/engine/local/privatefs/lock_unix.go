//go:build unix && !solaris && !aix

package privatefs

import (
	"errors"
	"io"
	"os"
	"syscall"
)

// lockDirectory locks a directory until it is closed, or the process ends. Where the file system cannot do that it is left as it is.
func lockDirectory(dir string) (io.Closer, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(d.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, errors.Join(&os.PathError{Op: "lock", Path: dir, Err: err}, d.Close())
	}
	return d, nil
}
