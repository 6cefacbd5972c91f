package main

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"go.uber.org/zap"

	"github.com/blobd/blobd/internal/arm/operator"
)

const operatorSocket = "operator.sock"

// socketIn is where the commands of a server come in that has a store in these directories, unless it was told another place.
func socketIn(given string, dirs []string) string {
	if given != "" {
		return given
	}
	return filepath.Join(dirs[0], operatorSocket)
}

// operators takes the commands that come in by the operator's socket.
type operators struct {
	server *http.Server
	socket *privateSocket
	cancel context.CancelFunc // of commands that take long
	ended  chan struct{}
}

// serveOperators takes commands until close.
func serveOperators(path string, h http.Handler, log *zap.Logger) (*operators, error) {
	ln, err := openSocket(path)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	o := &operators{socket: ln, cancel: cancel, ended: make(chan struct{})}
	o.server = &http.Server{ReadTimeout: 10 * time.Second, WriteTimeout: time.Minute, MaxHeaderBytes: 16 << 10, ErrorLog: zap.NewStdLog(log),
		Handler: h, BaseContext: func(net.Listener) context.Context { return ctx }}
	go func() {
		defer close(o.ended)
		if err := o.server.Serve(ln); err != http.ErrServerClosed {
			log.Error("the operator's socket failed", zap.Error(err))
		}
	}()
	return o, nil
}

func (o *operators) close() {
	if o == nil {
		return
	}
	o.cancel()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	o.socket.remove()
	if o.server.Shutdown(ctx) != nil {
		_ = o.server.Close()
	}
	<-o.ended
}

// noManager answers commands that are for the resource manager.
func noManager(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusConflict)
	_ = json.NewEncoder(w).Encode(&operator.Reply{Error: "the server runs without a resource manager: start it with --arm-addr"}) // a failure is the client's
}

// socketClient sends requests to a socket.
func socketClient(path string) *http.Client {
	return &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}}
}
