//go:build !unix

package main

import "github.com/blobd/blobd/internal/engine/local"

// descriptors: the system has no limit that is known.
func descriptors(int) (fileBudget, error) { return fileBudget{store: local.DefaultMaxFiles}, nil }
