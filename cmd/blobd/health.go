package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/blobd/blobd/internal/server"
)

// managed reaches the management address of a running server, on which commands ask it.
type managed struct {
	ManagementAddr string        `help:"Management address of the running server (default: ${default})." default:"127.0.0.1:10010" placeholder:"HOST:PORT"`
	Timeout        time.Duration `help:"Give up after so long (default: ${default})." default:"5s"`
}

// ask sends a request and returns the answer's status and body.
func (m *managed) ask(ctx context.Context, method, path string) (status int, body []byte, err error) {
	if m.ManagementAddr == "off" {
		return 0, nil, usageError{errors.New("--management-addr is off: the server has no address to ask")}
	}
	host, port, err := net.SplitHostPort(m.ManagementAddr)
	if err != nil {
		return 0, nil, usageError{fmt.Errorf("--management-addr %q: an address is HOST:PORT, as in 127.0.0.1:10010", m.ManagementAddr)}
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() { // where it listens; this machine reaches it by loopback
		host = "127.0.0.1"
	}
	ctx, cancel := context.WithTimeout(ctx, m.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, "http://"+net.JoinHostPort(host, port)+path, nil)
	if err != nil {
		return 0, nil, err
	}
	direct := &http.Client{Transport: &http.Transport{Proxy: nil, DisableKeepAlives: true}}
	res, err := direct.Do(req)
	if err != nil {
		return 0, nil, fmt.Errorf("no server answers on the management address %s: %w", m.ManagementAddr, errors.Unwrap(err))
	}
	defer func() { _ = res.Body.Close() }()
	if body, err = io.ReadAll(io.LimitReader(res.Body, 16<<20)); err != nil {
		return 0, nil, fmt.Errorf("the server's answer broke off: %w", err)
	}
	return res.StatusCode, body, nil
}

// healthCommand tells whether a running server serves: for a container's health check and for scripts.
type healthCommand struct {
	managed `embed:""`
	JSON    bool `help:"Print all that the server says of itself, in JSON."`
}

// Run succeeds when requests are served and writes taken.
func (c *healthCommand) Run(ctx context.Context, o *output) error {
	status, body, err := c.ask(ctx, http.MethodGet, "/healthz")
	if err != nil {
		return err
	}
	var h server.Health
	if err := json.Unmarshal(body, &h); err != nil {
		return fmt.Errorf("%s is not blobd's management address: status %d", c.ManagementAddr, status)
	}
	if c.JSON {
		if _, err := o.out.Write(body); err != nil {
			return err
		}
	}
	if status != http.StatusOK {
		return fmt.Errorf("not healthy: %s", h.Words())
	}
	if !c.JSON {
		_, err = fmt.Fprintln(o.out, h.Words())
	}
	return err
}
