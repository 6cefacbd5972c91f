package gate

import (
	"context"
	"strings"
	"time"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/auth"
	"github.com/blobd/blobd/internal/auth/bearer"
	"github.com/blobd/blobd/internal/auth/sas"
	"github.com/blobd/blobd/internal/protocol"
)

// MaxKeyLifetime is how far ahead a user delegation key may expire.
const MaxKeyLifetime = 7 * 24 * time.Hour

// keyTime is how the times of a key are written, in the answer and then by the clients in skt and ske.
const keyTime = "2006-01-02T15:04:05Z"

// NewUserDelegationKey is Get User Delegation Key: it reads the KeyInfo of the request and returns the UserDelegationKey of the
// answer, both as XML. grant is what let the caller in, a bearer token.
func (g *Gate) NewUserDelegationKey(ctx context.Context, acct *account.Account, service auth.Service, grant *auth.Grant, version protocol.Version, now time.Time, body []byte) ([]byte, error) {
	if g.options.Bearer == nil || grant.Scheme != auth.Bearer {
		return nil, protocol.ErrAuthorizationFailure
	}
	root, err := protocol.ParseXML(body)
	if err != nil {
		return nil, err
	}
	if root.Name != "KeyInfo" {
		return nil, protocol.ErrInvalidXmlDocument
	}
	fields := map[string]string{}
	for _, n := range root.Children {
		if _, twice := fields[n.Name]; twice || n.Name != "Start" && n.Name != "Expiry" && n.Name != "DelegatedUserTid" {
			return nil, protocol.ErrInvalidXmlDocument
		}
		fields[n.Name] = strings.TrimSpace(n.Text)
	}
	// The service names the value twice where the name of the element should be.
	expiry, ok := sas.ParseTime(fields["Expiry"])
	if !ok || !expiry.After(now) || expiry.Sub(now) > MaxKeyLifetime {
		return nil, protocol.InvalidXMLNode(fields["Expiry"], fields["Expiry"])
	}
	start := now
	if text := fields["Start"]; text != "" {
		if start, ok = sas.ParseTime(text); !ok || !start.Before(expiry) {
			return nil, protocol.InvalidXMLNode(text, text)
		}
	}
	if acct.Delegation.Valid() {
		p := &bearer.Principal{ObjectID: strings.Clone(grant.Principal), TenantID: strings.Clone(grant.Tenant), Groups: grant.Groups, AppRoles: grant.AppRoles}
		if err := g.options.Bearer.Directory().Remember(ctx, p); err != nil {
			return nil, err
		}
	}
	key := sas.DelegationKey{
		ObjectID: grant.Principal, TenantID: grant.Tenant, Start: start.UTC().Format(keyTime), Expiry: expiry.UTC().Format(keyTime),
		Service: string(byte(service)), Version: string(version), DelegatedTenantID: fields["DelegatedUserTid"],
	}
	b := []byte(protocol.XMLHead + "<UserDelegationKey>")
	for _, e := range [...][2]string{
		{"SignedOid", key.ObjectID}, {"SignedTid", key.TenantID}, {"SignedStart", key.Start}, {"SignedExpiry", key.Expiry},
		{"SignedService", key.Service}, {"SignedVersion", key.Version}, {"SignedDelegatedUserTid", key.DelegatedTenantID},
	} {
		if e[1] != "" || e[0] != "SignedDelegatedUserTid" {
			b = protocol.AppendElement(b, e[0], e[1])
		}
	}
	b = protocol.AppendElement(b, "Value", key.Value(acct))
	return append(b, "</UserDelegationKey>"...), nil
}
