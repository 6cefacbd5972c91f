//go:build !amd64

package md5lanes

func runnable() []kernel { return nil }
