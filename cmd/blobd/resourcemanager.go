package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/arm"
	"github.com/blobd/blobd/internal/arm/operator"
	"github.com/blobd/blobd/internal/auth"
	"github.com/blobd/blobd/internal/auth/bearer"
	"github.com/blobd/blobd/internal/directory"
	"github.com/blobd/blobd/internal/directory/issuer"
	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/server"
	"github.com/blobd/blobd/internal/usage/daily"
)

// managerSettings are those of the resource manager, which is off unless it has an address.
type managerSettings struct {
	ArmAddr          string `name:"arm-addr" help:"Serve the resource manager on this address, over HTTPS: accounts the Azure way, with users, subscriptions and roles. \"blobd init\" makes the first user." placeholder:"HOST:PORT" group:"Resource manager"`
	ArmURL           string `name:"arm-url" help:"Where clients reach it; default: https://management.DOMAIN of the first --domain, else the address." placeholder:"URL" group:"Resource manager"`
	ArmLocation      string `name:"arm-location" help:"Name of the one region (default: ${default})." default:"local" placeholder:"NAME" group:"Resource manager"`
	ArmEntra         bool   `name:"arm-entra" help:"Describe the cloud to clients in the form of Entra, and not of AD FS, wherever its description has both." group:"Resource manager"`
	AccountRetention int    `help:"For how many days \"blobd account restore\" has a deleted account back; 0 frees its room at once." default:"0" placeholder:"DAYS" group:"Resource manager"`
	OperatorSocket   string `help:"Socket of the commands backup, init, account, subscription, user and role; default: operator.sock in the first data directory." placeholder:"FILE" group:"Resource manager"`
}

func (c *serveCommand) checkManager() error {
	switch {
	case c.ArmAddr == "":
		return nil
	case c.TLSCert == "" && !c.TLSSelfSigned:
		return errors.New("--arm-addr is served over HTTPS only: give --tls-cert and --tls-key, or --tls-self-signed")
	case c.OAuthIssuer != "" || c.OAuthDevIssuer != "":
		return errors.New("--arm-addr brings its own issuer of tokens: leave --oauth-issuer and --oauth-dev-issuer out")
	case c.ArmURL != "" && (!strings.HasPrefix(c.ArmURL, "https://") || strings.HasSuffix(c.ArmURL, "/")):
		return errors.New("--arm-url begins with https:// and has no slash at its end")
	}
	if _, _, err := net.SplitHostPort(c.ArmAddr); err != nil {
		return fmt.Errorf("--arm-addr %q: an address is HOST:PORT, as in 127.0.0.1:10003", c.ArmAddr)
	}
	return nil
}

// managerBase is where clients reach the resource manager.
func (c *serveCommand) managerBase(srv *server.Server) string {
	own := url("https", srv.ResourceManagerAddr())
	switch {
	case c.ArmURL != "":
		return c.ArmURL
	case len(c.Domain) > 0:
		return strings.TrimSuffix("https://management."+c.Domain[0]+own[strings.LastIndexByte(own, ':'):], ":443")
	}
	return own
}

// suffix is what follows <account>.<service>. in a host name, with the port of the Blob service, which knows tables by their host too.
func (c *serveCommand) suffix(srv *server.Server) string {
	domain := "localhost"
	if len(c.Domain) > 0 {
		domain = c.Domain[0]
	}
	if tcp, ok := srv.Addr(auth.Blob).(*net.TCPAddr); ok && tcp.Port != 443 {
		domain = net.JoinHostPort(domain, strconv.Itoa(tcp.Port))
	}
	return domain
}

// endpoint is the address of an account's service: by a host name of its own with a domain, else by the path.
func (c *serveCommand) endpoint(srv *server.Server) func(auth.Service, string) string {
	return func(s auth.Service, name string) string {
		tcp, ok := srv.Addr(s).(*net.TCPAddr)
		switch {
		case !ok:
			return ""
		case len(c.Domain) == 0:
			return url("https", tcp) + "/" + name + "/"
		}
		return strings.TrimSuffix(fmt.Sprintf("https://%s.%s.%s:%d", name, s, c.Domain[0], tcp.Port), ":443") + "/"
	}
}

// manager is the resource manager with what it stands on.
type manager struct {
	directory *directory.Directory
	issuer    *issuer.Issuer
	base      string
	daily     *daily.Book
}

// openManager opens the directory; nil if there is no resource manager.
func (c *serveCommand) openManager(ctx context.Context, store engine.Store, accounts *account.Store, srv *server.Server) (*manager, error) {
	if c.ArmAddr == "" {
		return nil, nil
	}
	d, err := directory.Open(ctx, store, accounts, time.Now)
	if err != nil {
		return nil, err
	}
	for _, s := range d.Subscriptions() {
		accounts.Usage().Subscription(s.ID).Limit(s.Limits)
	}
	m := &manager{directory: d, base: c.managerBase(srv)}
	if m.daily, err = daily.Open(ctx, store, accounts.Usage(), accounts.CountOwned, time.Now); err != nil {
		return nil, err
	}
	m.issuer = issuer.New(m.base, d, time.Now)
	return m, nil
}

// tokens is how the data services believe the directory's tokens.
func (m *manager) tokens() *bearer.Config {
	return &bearer.Config{
		Issuer: m.issuer.URL(), Metadata: m.issuer.Metadata(), AuthorizationURI: m.issuer.AuthorizationURI(), Client: issuer.Client(m.issuer),
		Assigned: func(p *bearer.Principal, a *account.Account) []bearer.Assignment {
			return arm.DataRoles(m.directory, p.ObjectID, a)
		},
	}
}

// commands carries out the operator's commands.
func (m *manager) commands(c *serveCommand, accounts *account.Store, resources *arm.Server, log *zap.Logger) http.Handler {
	return &operator.Operator{Directory: m.directory, Accounts: accounts, Daily: m.daily, KnownScope: resources.KnownScope, Base: m.base, Location: c.ArmLocation, Log: log}
}
