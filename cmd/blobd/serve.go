package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/blob/check"
	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/local"
	"github.com/blobd/blobd/internal/rest/framing"
	"github.com/blobd/blobd/internal/server"
	"github.com/blobd/blobd/internal/speedup"
)

const defaultData = "blobd-data"

// serveCommand holds the settings of the server. Names and defaults are an interface: scripts use them.
type serveCommand struct {
	Data           []string `help:"Data directory; give one for each disk (default: ${default}). Two mirror each other; of three any one may fail, of four and more any two." default:"${default_data}" placeholder:"DIR,..." group:"Where"`
	InMemory       bool     `help:"Keep everything in memory and nothing on a disk, for tests, whatever --data says; it is gone when the server stops." group:"Where"`
	Existing       bool     `help:"Serve the store that is in the data directories; do not make one where there is none, as when a disk is not mounted." group:"Where"`
	AcceptMissing  []string `help:"Go on without a disk or file that is lost for good, as the error that refuses the start names it. It is written down: give it once." placeholder:"NAME,..." group:"Where"`
	BlobAddr       string   `help:"Address of the Blob service (default: ${default})." default:"127.0.0.1:10000" placeholder:"HOST:PORT" group:"Where"`
	TableAddr      string   `help:"Address of the Table service (default: ${default}); off for none." default:"127.0.0.1:10002" placeholder:"HOST:PORT" group:"Where"`
	ManagementAddr string   `help:"Address of /healthz and /metrics (default: ${default}); off for none." default:"127.0.0.1:10010" placeholder:"HOST:PORT" group:"Where"`
	Domain         []string `help:"Take host names <account>.blob.DOMAIN and <account>.table.DOMAIN only; default: whatever follows." placeholder:"DOMAIN" group:"Where"`
	ReadyFile      string   `help:"Write the real addresses to this file (JSON) once requests are served." placeholder:"FILE" group:"Where"`

	Account            []string `help:"Account to serve, with one key or two in base64; may be given again." env:"BLOBD_ACCOUNTS,AZURITE_ACCOUNTS" sep:";" placeholder:"NAME:KEY1[:KEY2]" group:"Who"`
	AccountFile        string   `help:"Read accounts from this file, NAME:KEY1[:KEY2] on each line, besides those of --account. Unlike a command line, a file can be kept from others." placeholder:"FILE" group:"Who"`
	DevAccount         bool     `help:"Serve devstoreaccount1 with its well-known key, also beside other accounts and to the network." group:"Who"`
	StrictVersions     bool     `help:"Refuse an x-ms-version newer than the newest known one." group:"Who"`
	PrivateCopySources bool     `help:"Let a copy read from this machine and from private networks; always so while only this machine can reach the server." group:"Who"`

	Container []string `help:"Container to make at the start if it is not there, private or with a level of anonymous access; may be given again. ACCOUNT is the first one unless given." placeholder:"[ACCOUNT/]NAME[=blob|container]" group:"At the start"`
	Table     []string `help:"Table to make at the start if it is not there; may be given again." placeholder:"[ACCOUNT/]NAME" group:"At the start"`

	accessSettings  `embed:""`
	managerSettings `embed:""`

	TLSCert       string `name:"tls-cert" help:"Serve HTTPS with this certificate chain (PEM), read again when it changes." placeholder:"FILE" group:"HTTPS"`
	TLSKey        string `name:"tls-key" help:"The key of --tls-cert (PEM)." placeholder:"FILE" group:"HTTPS"`
	TLSSelfSigned bool   `name:"tls-self-signed" help:"Serve HTTPS with a certificate made in the first data directory." group:"HTTPS"`

	MetricsAccounts int    `help:"Show requests, bytes in and out and bytes held by account on /metrics, for so many accounts with the most requests (default: ${default}, none)." default:"0" placeholder:"N" group:"Logs"`
	Profiling       bool   `help:"Add /debug/pprof/ to the management address." group:"Logs"`
	AccessLog       string `help:"Requests to log: ${enum}." enum:"all,errors,off" default:"all" group:"Logs"`
	AccessLogFile   string `help:"Where to: a file, or - for standard output." default:"-" placeholder:"FILE" group:"Logs"`
	AccessLogSample int    `help:"Log one in so many successful requests." default:"1" placeholder:"N" group:"Logs"`

	AuditLog string `help:"Note who deleted what, changed who may do what, or managed the server: a file, syslog, syslog+udp://HOST:PORT, syslog+tcp://HOST:PORT, or the URL of a webhook." placeholder:"WHERE" group:"Logs"`

	MaxHeader      int           `help:"Most bytes of a request's header (default: ${default})." default:"65536" placeholder:"BYTES" group:"Limits"`
	MaxURI         int           `name:"max-uri" help:"Most bytes of a request's URI (default: ${default})." default:"32768" placeholder:"BYTES" group:"Limits"`
	MaxConnections int           `help:"Most connections at a time, for each address; 0 for no limit (default: ${default}). All together take no more descriptors than the store can spare." default:"50000" placeholder:"N" group:"Limits"`
	MaxPerClient   int           `name:"max-connections-per-client" help:"Most connections at a time from one client address (an IPv6 client is a /64); 0 for no limit, as behind a proxy." default:"0" placeholder:"N" group:"Limits"`
	HeaderMemory   int64         `help:"Most bytes of memory for headers that clients have begun to send, all together; beyond it they get 503 (default: ${default})." default:"67108864" placeholder:"BYTES" group:"Limits"`
	BodyMemory     int64         `help:"Most bytes of memory that wait for the bodies of authorized requests, all together; beyond it they get 503 (default: ${default})." default:"268435456" placeholder:"BYTES" group:"Limits"`
	AnswerMemory   int64         `help:"Most bytes of memory for long answers that clients have not taken yet, all together; beyond it they get 503 (default: ${default})." default:"268435456" placeholder:"BYTES" group:"Limits"`
	StreamMemory   int64         `help:"Most bytes of memory for the buffers of content that clients are reading, all together, 256 KiB for most of them; beyond it the slowest are cut off (default: ${default})." default:"536870912" placeholder:"BYTES" group:"Limits"`
	IdleTimeout    time.Duration `help:"Close a connection that asks nothing for so long." default:"2m" group:"Limits"`
	HeaderTimeout  time.Duration `help:"Close a connection that takes longer to send a header." default:"30s" group:"Limits"`
	StallTimeout   time.Duration `help:"Close a connection whose body makes no progress for so long, in either direction." default:"1m" group:"Limits"`
	MinProgress    int           `help:"What is progress: bytes of an upload within a --stall-timeout (default: ${default})." default:"1024" placeholder:"BYTES" group:"Limits"`
	DiskTimeout    time.Duration `help:"Leave a disk out that does not answer within so long, and use it again when it does; 0 waits for ever." default:"10s" group:"Limits"`
	StopTimeout    time.Duration `help:"At the stop, wait so long for requests under way." default:"30s" group:"Limits"`

	ScrubRate int64 `help:"Bytes a second that are read of all disks together to find damage and heal it; 0 for none but what is asked for (default: ${default})." default:"16777216" placeholder:"BYTES" group:"Disks"`

	Without []string `help:"Turn off parts that are there for speed alone: ${parts}, or all. docs/operations.md tells how to see whether one pays." placeholder:"PART,..." group:"Speed"`
}

// Run serves until ctx ends.
func (c *serveCommand) Run(ctx context.Context, o *output) error {
	if err := c.check(); err != nil {
		return usageError{err}
	}
	if err := speedup.TurnOff(c.Without...); err != nil {
		return usageError{fmt.Errorf("--without: %w", err)}
	}
	giveProcessors("/")
	giveHeapRoom()
	log := newLogger(o.err)
	access, err := c.openAccessLog(o.out, log)
	if err != nil {
		return err
	}
	defer access.Close()
	audit, err := server.NewAuditLog(c.AuditLog, log)
	if err != nil {
		return usageError{fmt.Errorf("--audit-log: %w", err)}
	}
	defer audit.Close()
	listed, err := c.listed()
	if err != nil {
		return usageError{err}
	}
	accounts, err := account.ParseList(listed, time.Now())
	if err != nil {
		return usageError{fmt.Errorf("--account: %w", err)}
	}
	files, err := descriptors(len(c.Data))
	if err != nil {
		return err
	}
	var certificate certificates
	srv, err := server.Listen(server.Options{
		BlobAddr: off(c.BlobAddr), TableAddr: off(c.TableAddr), ManagementAddr: off(c.ManagementAddr), ResourceManagerAddr: c.ArmAddr,
		Certificate: certificate.source(c), Limits: c.limits(files), Domains: c.Domain, Strict: c.StrictVersions,
		AccountMetrics: c.MetricsAccounts, Profiling: c.Profiling, StopWithin: c.StopTimeout, Log: log, Access: access.log, Audit: audit,
	})
	if err != nil {
		return err
	}
	defer srv.Close()
	if accounts, err = c.accounts(accounts, srv); err != nil {
		return usageError{err}
	}
	initials, err := c.initials(accounts)
	if err != nil {
		return usageError{err}
	}
	store, err := local.Open(c.storeOptions(log, files))
	if err != nil {
		return fmt.Errorf("open the data in %s: %w", strings.Join(c.Data, ", "), err)
	}
	store.NameChunks(func(ctx context.Context, refs []engine.Ref) map[engine.Ref][]string {
		names, err := check.Names(ctx, store, refs)
		if err != nil {
			log.Warn("what is kept in damaged chunks is not known", zap.Error(err))
		}
		return names
	})
	if err := certificate.load(c, log); err != nil {
		return errors.Join(err, store.Close())
	}
	for _, a := range accounts {
		a.Switches = c.switches()
	}
	tokens, err := c.openIssuer(certificate.source(c))
	if err != nil {
		return errors.Join(err, store.Close())
	}
	defer tokens.close()
	c.PrivateCopySources = c.PrivateCopySources || srv.Loopback()
	backend, stopServices, err := c.services(ctx, store, accounts, initials, tokens.config, srv, log)
	if err != nil {
		return errors.Join(err, store.Close())
	}
	reached := c.endpoints(srv, &tokens)
	if err = c.announce(o.out, reached, accounts, &tokens); err == nil {
		err = srv.Serve(ctx, backend, func() error { return c.tellReady(ctx, reached) })
	}
	err = errors.Join(err, stopServices())
	removeReadyFile(c.ReadyFile, reached)
	if closeErr := store.Close(); closeErr != nil {
		err = errors.Join(err, fmt.Errorf("close the data: %w", closeErr))
	}
	return err
}

// inMemory is the folder of a store in memory, as messages and metrics name it.
const inMemory = "/memory"

func (c *serveCommand) storeOptions(log *zap.Logger, files fileBudget) local.Options {
	o := local.Options{Dirs: c.Data, Existing: c.Existing, AcceptMissing: c.AcceptMissing, Logger: log, MaxFiles: files.store, OpTimeout: c.DiskTimeout, ScrubRate: scrubRate(c.ScrubRate)}
	if c.InMemory {
		// No deadlines, as there is no disk; small extents, so that what was deleted is soon free for what comes.
		o.Dirs, o.FS, o.OpTimeout, o.ScrubRate, o.ExtentSize = []string{inMemory}, local.Memory(), 0, -1, 16<<20
	}
	return o
}

// scrubRate is the rate as the store takes it.
func scrubRate(rate int64) int64 {
	if rate == 0 {
		return -1
	}
	return rate
}

// off turns the word into the absence of an address.
func off(addr string) string {
	if addr == "off" {
		return ""
	}
	return addr
}

// check finds what does not fit together, before anything is opened.
func (c *serveCommand) check() error {
	switch {
	case (c.TLSCert == "") != (c.TLSKey == ""):
		return errors.New("--tls-cert and --tls-key need each other")
	case c.TLSCert != "" && c.TLSSelfSigned:
		return errors.New("--tls-self-signed makes its own certificate: leave --tls-cert out")
	case c.InMemory && (c.Existing || len(c.AcceptMissing) > 0):
		return errors.New("--in-memory keeps nothing on a disk: leave --existing and --accept-missing out")
	case c.MaxURI > c.MaxHeader:
		return errors.New("--max-uri is over --max-header, of which it is a part")
	}
	for _, f := range []struct {
		flag  string
		ok    bool
		takes string
	}{
		{"--max-header", c.MaxHeader >= 4096, "4096 bytes or more: clients need as much"},
		{"--max-uri", c.MaxURI >= 1024, "1024 bytes or more: clients need as much"},
		{"--max-connections", c.MaxConnections >= 0, "0 (no limit) or more"},
		{"--max-connections-per-client", c.MaxPerClient >= 0, "0 (no limit) or more"},
		{"--header-memory", c.HeaderMemory >= 1<<20, "1048576 bytes or more: each connection takes some"},
		{"--body-memory", c.BodyMemory >= 16<<20, "16777216 bytes or more: one body may take as much"},
		{"--answer-memory", c.AnswerMemory >= 16<<20, "16777216 bytes or more: one answer may take as much"},
		{"--stream-memory", c.StreamMemory >= 16<<20, "16777216 bytes or more: each reader takes 262144 and more"},
		{"--min-progress", c.MinProgress >= 1, "1 byte or more"},
		{"--metrics-accounts", c.MetricsAccounts >= 0, "0 (none) or more"},
		{"--account-retention", c.AccountRetention >= 0 && c.AccountRetention <= 365, "0 to 365 days"},
		{"--access-log-sample", c.AccessLogSample >= 1, "1 (every request) or more"},
		{"--idle-timeout", c.IdleTimeout > 0, "more than no time, as in 30s or 2m"},
		{"--header-timeout", c.HeaderTimeout > 0, "more than no time, as in 30s or 2m"},
		{"--stall-timeout", c.StallTimeout > 0, "more than no time, as in 30s or 2m"},
		{"--scrub-rate", c.ScrubRate == 0 || c.ScrubRate >= 4096, "0 (none) or 4096 bytes a second and more"},
		{"--disk-timeout", c.DiskTimeout >= 0, "0 (no limit) or more, as in 10s"},
		{"--stop-timeout", c.StopTimeout >= 0, "no time or more, as in 0s or 30s"},
	} {
		if !f.ok {
			return fmt.Errorf("%s takes %s", f.flag, f.takes)
		}
	}
	if err := c.accessSettings.check(c.ArmAddr != ""); err != nil {
		return err
	}
	if err := c.checkManager(); err != nil {
		return err
	}
	seen := map[string]bool{}
	for _, dir := range c.Data {
		abs, err := filepath.Abs(dir)
		if err != nil {
			return err
		}
		if seen[abs] {
			return fmt.Errorf("--data: the directory %s is given twice", dir)
		}
		seen[abs] = true
	}
	for flag, addr := range map[string]string{"--blob-addr": c.BlobAddr, "--table-addr": c.TableAddr, "--management-addr": c.ManagementAddr} {
		if addr == "off" {
			continue
		}
		if _, _, err := net.SplitHostPort(addr); err != nil {
			return fmt.Errorf("%s %q: an address is HOST:PORT, as in 127.0.0.1:10000", flag, addr)
		}
	}
	return nil
}

func (c *serveCommand) limits(files fileBudget) framing.Limits {
	l := framing.DefaultLimits()
	l.Headers, l.Bodies = framing.NewBudget(c.HeaderMemory), framing.NewBudget(c.BodyMemory)
	l.Answers = framing.NewBudget(c.AnswerMemory)
	l.Streams = framing.NewBudget(c.StreamMemory)
	l.Bodies.Patience, l.Answers.Patience, l.Streams.Patience = time.Second, time.Second, time.Second
	l.Quota = framing.NewQuota(files.connections, c.MaxPerClient)
	l.Header, l.URI, l.Connections = c.MaxHeader, c.MaxURI, c.MaxConnections
	l.Idle, l.HeaderTime, l.Stall, l.Progress = c.IdleTimeout, c.HeaderTimeout, c.StallTimeout, c.MinProgress
	return l
}

// listed is the list of accounts: those of --account and of --account-file, in which # begins a comment.
func (c *serveCommand) listed() (string, error) {
	list := strings.Join(c.Account, ";")
	if c.AccountFile == "" {
		return list, nil
	}
	text, err := os.ReadFile(c.AccountFile)
	if err != nil {
		return "", fmt.Errorf("--account-file: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		line, _, _ = strings.Cut(line, "#")
		list += ";" + strings.TrimSpace(line)
	}
	return list, nil
}

// accounts adds the emulator's account where it may be: when asked for, or when there is no other and nobody but this machine
// can reach it, since everybody knows its key.
func (c *serveCommand) accounts(given []*account.Account, srv *server.Server) ([]*account.Account, error) {
	for _, a := range given {
		if a.Name == account.DevName {
			return given, nil
		}
	}
	switch {
	case c.DevAccount, len(given) == 0 && srv.Loopback() && c.ArmAddr == "":
		return append(given, account.Development(time.Now())), nil
	case c.ArmAddr != "":
		return given, nil
	case len(given) == 0:
		return nil, errors.New("there is no account to serve: give --account NAME:KEY, or --dev-account to serve the emulator's, " +
			"whose key everybody knows, also to the network")
	}
	return given, nil
}

// certificates is the source of the certificate, which is loaded after the addresses are bound.
type certificates struct{ loaded *server.Certificate }

func (c *certificates) source(s *serveCommand) func() (*tls.Certificate, error) {
	if s.TLSCert == "" && !s.TLSSelfSigned {
		return nil
	}
	return func() (*tls.Certificate, error) { return c.loaded.Get() }
}

func (c *certificates) load(s *serveCommand, log *zap.Logger) (err error) {
	cert, key := s.TLSCert, s.TLSKey
	if s.TLSSelfSigned {
		names := []string{"127.0.0.1", "::1", "localhost", "*.blob.localhost", "*.table.localhost"}
		for _, d := range s.Domain {
			names = append(names, "*.blob."+d, "*.table."+d)
			if s.ArmAddr != "" {
				names = append(names, "management."+d)
			}
		}
		for _, addr := range []string{s.BlobAddr, s.TableAddr, s.ArmAddr} {
			if host, _, err := net.SplitHostPort(addr); err == nil && host != "" && !net.ParseIP(host).IsUnspecified() {
				names = append(names, host)
			}
		}
		if s.InMemory {
			c.loaded, err = server.SelfSignedInMemory(names, time.Now())
			return err
		}
		if cert, key, err = server.SelfSigned(filepath.Join(s.Data[0], "tls"), names, time.Now()); err != nil {
			return err
		}
	} else if cert == "" {
		return nil
	}
	c.loaded, err = server.LoadCertificate(cert, key, log)
	return err
}

// newLogger writes what an operator should read, a line each.
func newLogger(w io.Writer) *zap.Logger {
	config := zapcore.EncoderConfig{
		TimeKey: "time", LevelKey: "level", MessageKey: "message", EncodeTime: zapcore.ISO8601TimeEncoder,
		EncodeLevel: zapcore.LowercaseLevelEncoder, EncodeDuration: zapcore.StringDurationEncoder, LineEnding: "\n",
	}
	return zap.New(zapcore.NewCore(zapcore.NewConsoleEncoder(config), zapcore.Lock(zapcore.AddSync(w)), zapcore.InfoLevel))
}

// accessLog is the access log with the file behind it.
type accessLog struct {
	log  *server.AccessLog
	file *server.LogFile
}

func (c *serveCommand) openAccessLog(stdout io.Writer, log *zap.Logger) (a accessLog, err error) {
	w := stdout
	if c.AccessLogFile != "-" && c.AccessLog != "off" {
		if a.file, err = server.OpenLogFile(c.AccessLogFile, 0o640); err != nil {
			return a, fmt.Errorf("access log: %w", err)
		}
		w = a.file
	}
	a.log, err = server.NewAccessLog(w, c.AccessLog, c.AccessLogSample, log)
	return a, err
}

// Close writes what is buffered.
func (a accessLog) Close() {
	_ = a.log.Close()
	if a.file != nil {
		_ = a.file.Close()
	}
}
