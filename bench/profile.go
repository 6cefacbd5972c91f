package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

// profile takes a CPU profile of blobd for the length of a turn, and its allocation profile when the returned function is
// called. What goes wrong is printed: a profile is no measurement.
func profile(management, base string, length time.Duration) (stop func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		// A profile lasts whole seconds and must end before the server is paused.
		fetch(fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", management, max(1, int(length.Seconds()))), base+".cpu.pprof")
	}()
	return func() {
		<-done
		fetch(fmt.Sprintf("http://%s/debug/pprof/allocs", management), base+".allocs.pprof")
	}
}

func fetch(url, path string) {
	if err := fetchTo(url, path); err != nil {
		fmt.Fprintln(os.Stderr, "profile:", err)
	}
}

func fetchTo(url, path string) error {
	client := http.Client{Timeout: time.Minute}
	resp, err := client.Get(url)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, resp.Status)
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if _, err := io.Copy(f, resp.Body); err != nil {
		_ = f.Close()
		return err
	}
	return f.Close()
}
