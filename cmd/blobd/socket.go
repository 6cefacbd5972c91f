package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"syscall"
	"time"
)

// privateSocket listens on a path that only this user can open.
type privateSocket struct {
	net.Listener
	path string
	made fs.FileInfo // the file of our own socket
}

// openSocket listens on a path where nothing is, or the socket of a process that was killed.
func openSocket(path string) (*privateSocket, error) {
	if err := clearSocket(path); err != nil {
		return nil, err
	}
	ln, err := listenPrivately(path)
	if err != nil {
		return nil, err
	}
	if u, ok := ln.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(false) // by then the path may be another's
	}
	made, err := os.Lstat(path)
	if err != nil {
		return nil, errors.Join(err, ln.Close())
	}
	return &privateSocket{ln, path, made}, nil
}

// clearSocket removes a socket that nobody serves. All else stays where it is.
func clearSocket(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("%s is there and is no socket; name another file, or move it away", path)
	}
	conn, err := net.DialTimeout("unix", path, 5*time.Second)
	switch {
	case err == nil:
		return errors.Join(fmt.Errorf("another server has %s; name another file, or stop that server", path), conn.Close())
	case errors.Is(err, os.ErrNotExist):
		return nil
	case !errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("whether another server has %s cannot be told; name another file, or remove it: %w", path, err)
	}
	return os.Remove(path)
}

// remove takes the socket's file away if it is still ours. Call it before Close, which frees the file's number for another.
func (s *privateSocket) remove() {
	if info, err := os.Lstat(s.path); err == nil && os.SameFile(info, s.made) {
		_ = os.Remove(s.path)
	}
}
