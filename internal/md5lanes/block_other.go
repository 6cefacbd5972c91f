//go:build !amd64

package md5lanes

func detect() []kernel { return nil }
