package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/coreos/go-systemd/v22/daemon"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/auth"
	"github.com/blobd/blobd/internal/devissuer"
	"github.com/blobd/blobd/internal/server"
)

// endpoints are the real addresses, as the ready file has them.
type endpoints struct {
	Blob       string `json:"blob,omitempty"`
	Table      string `json:"table,omitempty"`
	Management string `json:"management,omitempty"`
	Issuer     string `json:"issuer,omitempty"`
	Arm        string `json:"arm,omitempty"`
	PID        int    `json:"pid"`
}

func (c *serveCommand) endpoints(srv *server.Server, tokens *tokenIssuer) endpoints {
	scheme := c.scheme()
	e := endpoints{Blob: url(scheme, srv.Addr(auth.Blob)), Table: url(scheme, srv.Addr(auth.Table)), Management: url("http", srv.ManagementAddr()),
		PID: os.Getpid()}
	if srv.ResourceManagerAddr() != nil {
		e.Arm = c.managerBase(srv)
	}
	if tokens.dev != nil {
		e.Issuer = tokens.dev.URL()
	}
	return e
}

// dirs are the data directories, none of a store in memory.
func (c *serveCommand) dirs() []string {
	if c.InMemory {
		return nil
	}
	return c.Data
}

func (c *serveCommand) scheme() string {
	if c.TLSCert != "" || c.TLSSelfSigned {
		return "https"
	}
	return "http"
}

// announce tells people where to connect and with what.
func (c *serveCommand) announce(w io.Writer, e endpoints, accounts []*account.Account, tokens *tokenIssuer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "blobd %s\n\n", versionText())
	if c.InMemory {
		fmt.Fprintf(&b, "  %-11s in memory; it is gone when the server stops\n", "Data")
	}
	for i, dir := range c.dirs() {
		abs, err := filepath.Abs(dir)
		if err != nil {
			abs = dir
		}
		name := ""
		if i == 0 {
			name = "Data"
		}
		fmt.Fprintf(&b, "  %-11s %s\n", name, abs)
	}
	for _, line := range []struct{ name, url string }{{"Blob", e.Blob}, {"Table", e.Table}, {"Management", e.Management}, {"Resources", e.Arm}} {
		if line.url != "" {
			fmt.Fprintf(&b, "  %-11s %s\n", line.name, line.url)
		}
	}
	if tokens.dev != nil {
		fmt.Fprintf(&b, "  %-11s %s\n", "Issuer", e.Issuer)
		fmt.Fprintf(&b, "  %-11s tenant %s, client %s", "", devissuer.Tenant, devissuer.ClientID)
		if tokens.shown != "" {
			fmt.Fprintf(&b, ", secret %s", tokens.shown)
		}
		b.WriteString("\n")
	}
	if c.OAuthSkipSignature {
		b.WriteString("\nINSECURE: signatures of bearer tokens are not checked. Anybody can get in.\n")
	}
	names := make([]string, len(accounts))
	for i, a := range accounts {
		names[i] = a.Name
	}
	if len(names) > 0 {
		fmt.Fprintf(&b, "  %-11s %s\n", "Accounts", strings.Join(names, ", "))
	}
	if len(c.dirs()) == 1 {
		b.WriteString("\nThere is one data directory: damage to it is found, but there is nothing to rebuild from. Give --data for each of several disks for that.\n")
	}
	if len(accounts) > 0 {
		fmt.Fprintf(&b, "\nConnection string:\n%s\n\n", connectionString(e, c.scheme(), accounts[0]))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// tellReady says that requests are served, to those who asked for a file and to systemd (Type=notify); the latter hears of the stop too.
func (c *serveCommand) tellReady(ctx context.Context, reached endpoints) error {
	if _, err := daemon.SdNotify(false, daemon.SdNotifyReady); err != nil {
		return fmt.Errorf("tell systemd: %w", err)
	}
	context.AfterFunc(ctx, func() {
		_, _ = daemon.SdNotify(false, daemon.SdNotifyStopping) // it sees the end itself
	})
	return writeReadyFile(c.ReadyFile, reached)
}

// writeReadyFile makes the file, if one is asked for, appear whole.
func writeReadyFile(name string, e endpoints) error {
	if name == "" {
		return nil
	}
	text, err := e.text()
	if err != nil {
		return err
	}
	if err := server.ReplaceFile(name, text, 0o644); err != nil {
		return fmt.Errorf("ready file: %w", err)
	}
	return nil
}

func (e endpoints) text() ([]byte, error) {
	text, err := json.Marshal(e)
	return append(text, '\n'), err
}

// removeReadyFile takes the file away, as it tells of a server that is gone, unless another's lies there by now.
func removeReadyFile(name string, e endpoints) {
	if name == "" {
		return
	}
	ours, err := e.text()
	if err != nil {
		return
	}
	if there, err := server.ReadRegular(name); err == nil && bytes.Equal(there, ours) {
		_ = os.Remove(name)
	}
}

// connectionString is for the account's owner to paste; only the key that everybody knows is shown.
func connectionString(e endpoints, scheme string, a *account.Account) string {
	key := "<key>"
	if a.Name == account.DevName && len(a.Keys) > 0 && a.Keys[0].Base64() == account.DevKey {
		key = account.DevKey
	}
	s := "DefaultEndpointsProtocol=" + scheme + ";AccountName=" + a.Name + ";AccountKey=" + key + ";"
	if e.Blob != "" {
		s += "BlobEndpoint=" + e.Blob + "/" + a.Name + ";"
	}
	if e.Table != "" {
		s += "TableEndpoint=" + e.Table + "/" + a.Name + ";"
	}
	return s
}

// url is where a client on this machine reaches an address.
func url(scheme string, addr net.Addr) string {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok {
		return ""
	}
	host := tcp.IP.String()
	if tcp.IP.IsUnspecified() {
		host = "127.0.0.1"
	}
	return scheme + "://" + net.JoinHostPort(host, fmt.Sprint(tcp.Port))
}
