// Package clients has the Go clients that are told of a running blobd by the environment; test/clients/run.sh -k go starts both.
package clients

import (
	"fmt"
	"os"
	"testing"
	"time"
)

// told returns what the environment says of the running blobd.
func told(t *testing.T, name string) string {
	v := os.Getenv(name)
	if v == "" {
		t.Fatalf("%s is not set: run test/clients/run.sh -k go", name)
	}
	return v
}

// name returns a container's or table's name of the test's own.
func name() string { return fmt.Sprintf("go%x", time.Now().UnixNano()) }
