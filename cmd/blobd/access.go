package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/auth/bearer"
	"github.com/blobd/blobd/internal/devissuer"
)

// accessSettings say who gets in besides those who hold a key, and what the accounts refuse.
type accessSettings struct {
	MasterKeyFile  string `help:"Encrypt the stored account keys with the master key in this file, base64 of 32 bytes; further lines hold former ones. BLOBD_MASTER_KEY may hold the text itself." placeholder:"FILE" group:"Who"`
	SecureTransfer bool   `help:"Refuse plain HTTP (secure transfer required)." group:"Who"`
	MinimumTLS     string `name:"minimum-tls" help:"Refuse HTTPS under an older version of TLS than this: ${enum} (default: ${default}); TlsVersionNotPermitted." enum:"1.2,1.3" default:"1.2" group:"Who"`
	NoPublicAccess bool   `help:"Refuse anonymous access, whatever a container says." group:"Who"`
	NoSharedKey    bool   `help:"Refuse account keys and what they sign: bearer tokens and user delegation SAS only." group:"Who"`

	Versioning         bool `help:"Keep what is overwritten or deleted as versions of the blob." group:"Who"`
	ContainerRetention int  `help:"Keep deleted containers this long, so that they can be restored; at most 365." placeholder:"DAYS" group:"Who"`

	OAuthIssuer        string   `name:"oauth-issuer" help:"Believe bearer tokens with this iss." placeholder:"URL" group:"Tokens"`
	OAuthMetadata      string   `name:"oauth-metadata" help:"The issuer's discovery document, if it is not under the issuer's address." placeholder:"URL" group:"Tokens"`
	OAuthAudience      []string `name:"oauth-audience" help:"Audience to accept besides those of Azure Storage; may be given again." placeholder:"AUD" group:"Tokens"`
	OAuthRole          []string `name:"oauth-role" help:"Who may do what; may be given again. WHO is an object id, group:ID, approle:NAME or *; ROLE is blob-owner, blob-contributor, blob-reader, blob-delegator, table-contributor, table-reader, account-contributor or Azure's name for it." placeholder:"WHO=ROLE[@ACCOUNT[/CONTAINER]]" sep:"none" group:"Tokens"`
	OAuthDevIssuer     string   `name:"oauth-dev-issuer" help:"Serve an issuer for development on this loopback address; who it signs in may do everything unless --oauth-role says otherwise." placeholder:"HOST:PORT" group:"Tokens"`
	OAuthDevSecret     string   `name:"oauth-dev-secret" help:"Secret of the development issuer's client; default: one is made and shown." placeholder:"SECRET" group:"Tokens"`
	OAuthAllowHTTP     bool     `name:"oauth-allow-http" help:"INSECURE: take bearer tokens over plain HTTP from other machines too." group:"Tokens"`
	OAuthSkipSignature bool     `name:"oauth-insecure-skip-signature" help:"INSECURE: do not check the signatures of bearer tokens, only their claims. Anybody can make one." group:"Tokens"`
}

func (c *accessSettings) check(issuing bool) error {
	switch {
	case c.ContainerRetention < 0 || c.ContainerRetention > 365:
		return errors.New("--container-retention takes 0 (off) to 365 days")
	case c.OAuthIssuer != "" && c.OAuthDevIssuer != "":
		return errors.New("--oauth-issuer and --oauth-dev-issuer are two issuers: give one")
	case c.NoSharedKey && c.OAuthIssuer == "" && c.OAuthDevIssuer == "" && !issuing:
		return errors.New("--no-shared-key leaves bearer tokens only: give --oauth-issuer or --oauth-dev-issuer")
	}
	for _, f := range []struct {
		flag string
		set  bool
	}{{"--oauth-role", len(c.OAuthRole) > 0}, {"--oauth-audience", len(c.OAuthAudience) > 0}, {"--oauth-metadata", c.OAuthMetadata != ""},
		{"--oauth-insecure-skip-signature", c.OAuthSkipSignature}} {
		if f.set && c.OAuthIssuer == "" && c.OAuthDevIssuer == "" {
			return fmt.Errorf("%s needs an issuer: give --oauth-issuer or --oauth-dev-issuer", f.flag)
		}
	}
	_, err := c.roles()
	return err
}

func (c *accessSettings) roles() ([]bearer.Assignment, error) {
	var roles []bearer.Assignment
	for _, text := range c.OAuthRole {
		a, err := bearer.ParseAssignment(text)
		if err != nil {
			return nil, fmt.Errorf("--oauth-role: %w", err)
		}
		roles = append(roles, a)
	}
	return roles, nil
}

// masters reads the keys under which account keys are kept, none if there are none.
func (c *accessSettings) masters() ([][]byte, error) {
	text, source := os.Getenv("BLOBD_MASTER_KEY"), "BLOBD_MASTER_KEY"
	if c.MasterKeyFile != "" {
		file, err := os.ReadFile(c.MasterKeyFile)
		if err != nil {
			return nil, fmt.Errorf("master key: %w", err)
		}
		text, source = string(file), c.MasterKeyFile
	}
	keys, err := account.ParseMasters(text)
	if err == nil && len(keys) == 0 && c.MasterKeyFile != "" {
		err = errors.New("the file holds none")
	}
	if err != nil {
		return nil, fmt.Errorf("master key in %s: %w", source, err)
	}
	return keys, nil
}

// switches are those of every configured account.
func (c *accessSettings) switches() account.Switches {
	var least uint16 // 1.2 is the least that the server speaks
	if c.MinimumTLS == "1.3" {
		least = tls.VersionTLS13
	}
	return account.Switches{
		RequireHTTPS: c.SecureTransfer, MinimumTLS: least, DenyPublicAccess: c.NoPublicAccess, DenySharedKey: c.NoSharedKey,
		Versioning: c.Versioning, ContainerRetentionDays: c.ContainerRetention,
	}
}

// tokenIssuer is where bearer tokens come from.
type tokenIssuer struct {
	config *bearer.Config // nil for none
	dev    *devissuer.Server
	shown  string // the secret to show
}

// openIssuer starts the development issuer if there is to be one. certificate is nil for plain HTTP.
func (c *accessSettings) openIssuer(certificate func() (*tls.Certificate, error)) (i tokenIssuer, err error) {
	roles, err := c.roles()
	if err != nil {
		return i, err
	}
	config := &bearer.Config{
		Issuer: c.OAuthIssuer, Metadata: c.OAuthMetadata, Audiences: c.OAuthAudience, Roles: roles,
		AllowHTTP: c.OAuthAllowHTTP, InsecureSkipSignature: c.OAuthSkipSignature,
	}
	if c.OAuthIssuer != "" {
		i.config = config
	}
	if c.OAuthDevIssuer == "" {
		return i, nil
	}
	secret := c.OAuthDevSecret
	if secret == "" {
		b := make([]byte, 18)
		rand.Read(b)
		secret = base64.RawURLEncoding.EncodeToString(b)
		i.shown = secret
	}
	var forClient func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	if certificate != nil {
		forClient = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return certificate() }
	}
	if i.dev, err = devissuer.Listen(c.OAuthDevIssuer, secret, forClient); err != nil {
		return i, err
	}
	if len(roles) == 0 {
		config.Roles = []bearer.Assignment{{Kind: bearer.Everyone, Role: bearer.BlobOwner}, {Kind: bearer.Everyone, Role: bearer.TableContributor}, {Kind: bearer.Everyone, Role: bearer.AccountContributor}}
	}
	config.Issuer, config.AuthorizationURI, config.Client = i.dev.URL(), i.dev.AuthorizationURI(), i.dev.Client()
	i.config = config
	return i, nil
}

func (i *tokenIssuer) close() {
	if i.dev != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = i.dev.Close(ctx)
	}
}
