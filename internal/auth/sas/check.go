package sas

import (
	"context"
	"net/netip"
	"strings"
	"time"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/auth"
	"github.com/blobd/blobd/internal/protocol"
)

// Verify checks the signature with the account's keys, or with the user delegation key that the signature names.
func (t *Token) Verify(acct *account.Account, r *auth.Request) error {
	message, ok := t.message(r)
	if ok {
		if t.Scheme == auth.UserDelegationSAS {
			ok = t.Delegation().Derive(acct).Verify(message, t.value[sig])
		} else {
			ok = false
			for _, key := range acct.Keys {
				if key.Verify(message, t.value[sig]) {
					ok = true
					break
				}
			}
		}
	}
	if ok {
		return nil
	}
	return auth.Failed("Signature did not match. String to sign used was " + string(message))
}

// terms are what a signature grants and for how long, after a stored access policy has completed them.
type terms struct {
	start, expiry, permission string
}

// Grant compares a verified signature with the request and with what its operation needs. resources answers for stored access
// policies; it may be nil when there are none.
func (t *Token) Grant(ctx context.Context, r *auth.Request, needs *auth.Needs, resources auth.Resources) (auth.Grant, error) {
	var g auth.Grant
	if t.given&(1<<saoid|1<<suoid) != 0 { // only accounts with a hierarchical namespace can tell what those may
		return g, protocol.ErrAuthorizationFailure
	}
	terms := terms{start: t.value[st], expiry: t.value[se], permission: t.value[sp]}
	if t.Identifier() != "" {
		if err := t.complete(ctx, r, resources, &terms); err != nil {
			return g, err
		}
	}
	if terms.expiry == "" {
		return g, auth.Failed("se is mandatory. Cannot be empty")
	}
	if terms.permission == "" {
		return g, auth.Failed("sp is mandatory. Cannot be empty")
	}
	letters, ok := auth.ParseLetters(terms.permission)
	if !ok || letters&^everLetters != 0 {
		return g, auth.Failed(notWellFormed)
	}
	if err := t.checkTime(r.Now, terms); err != nil {
		return g, err
	}
	if err := t.checkOrigin(r); err != nil {
		return g, err
	}
	g.Scheme, g.Letters, g.Principal = t.Scheme, letters&t.knownLetters(r.Service), r.Account
	g.EncryptionScope = t.value[ses]
	if t.Scheme == auth.AccountSAS {
		if err := t.checkServices(r.Service); err != nil {
			return g, err
		}
		if g.ResourceTypes, ok = auth.ParseLetters(t.value[srt]); !ok {
			return g, auth.Failed(notWellFormed)
		}
	} else {
		if t.given&overrides != 0 && t.Version >= protocol.V20130815 {
			g.Override = &auth.Override{
				CacheControl: t.value[rscc], ContentDisposition: t.value[rscd], ContentEncoding: t.value[rsce],
				ContentLanguage: t.value[rscl], ContentType: t.value[rsct],
			}
		}
	}
	if r.Service == auth.Table {
		if t.Scheme != auth.AccountSAS {
			g.Table = t.value[tn]
		}
		if g.Keys, ok = t.keyRange(); !ok {
			return g, auth.Failed(notWellFormed)
		}
	}
	err := g.Permits(needs, r.Container+r.Table)
	if err == nil && t.Scheme != auth.AccountSAS && t.value[sr] == "d" && r.Service == auth.Blob && r.Blob == "" && !needs.Prefix {
		err = protocol.ErrAuthorizationFailure // which is of the whole container
	}
	if err != nil {
		return g, t.asVersion(err)
	}
	return g, nil
}

// asVersion is the refusal as signatures before 2015-04-05 get it: 404, which tells nothing.
func (t *Token) asVersion(err error) error {
	if t.Version < protocol.V20150405 {
		return protocol.ErrResourceNotFound.Because(err)
	}
	return err
}

// complete fills in what a stored access policy says. What both say is refused.
func (t *Token) complete(ctx context.Context, r *auth.Request, resources auth.Resources, terms *terms) error {
	if t.Scheme != auth.ServiceSAS || resources == nil {
		return auth.Failed(notWellFormed)
	}
	name := r.Container
	if r.Service == auth.Table {
		name = t.value[tn]
	}
	access, err := resources.Access(ctx, r.Account, name)
	if err != nil {
		if protocolError, ok := err.(*protocol.Error); ok && protocolError.Status == 404 {
			return protocol.ErrAuthenticationFailed.Because(err)
		}
		return err
	}
	for i := range access.Policies {
		p := &access.Policies[i]
		if p.ID != t.Identifier() {
			continue
		}
		both := false
		merge := func(into *string, policy string) {
			if policy != "" {
				both = both || *into != ""
				*into = policy
			}
		}
		merge(&terms.start, p.Start)
		merge(&terms.expiry, p.Expiry)
		if p.HasPermission {
			merge(&terms.permission, p.Permission)
			if letters, _ := auth.ParseLetters(p.Permission); letters&t.laterLetters(r.Service) != 0 {
				return protocol.ErrFeatureVersionMismatch.Saying("Stored access policy contains a permission that is not supported by this version.")
			}
		}
		if both {
			return auth.Failed("Access policy fields can be associated with signature or SAS identifier but not both")
		}
		return nil
	}
	return protocol.ErrAuthenticationFailed
}

func (t *Token) checkTime(now time.Time, terms terms) error {
	expiry, ok := ParseTime(terms.expiry)
	if !ok {
		return auth.Failed(notWellFormed)
	}
	// Recorded: a signature without a start begins now.
	ended := func(start time.Time) error {
		return auth.Failed("Signed expiry time [" + stamp(expiry) + "] must be after signed start time [" + stamp(start) + "]")
	}
	frame := "Signature not valid in the specified time frame: "
	if terms.start != "" {
		start, ok := ParseTime(terms.start)
		if !ok {
			return auth.Failed(notWellFormed)
		}
		if !start.Before(expiry) {
			return ended(start)
		}
		if now.Before(start) || !now.Before(expiry) {
			return auth.Failed(frame + "Start [" + stamp(start) + "] - Expiry [" + stamp(expiry) + "] - Current [" + stamp(now) + "]")
		}
	}
	if !now.Before(expiry) {
		return ended(now)
	}
	if t.Scheme != auth.UserDelegationSAS {
		return nil
	}
	keyStart, ok1 := ParseTime(t.value[skt])
	keyExpiry, ok2 := ParseTime(t.value[ske])
	if !ok1 || !ok2 || expiry.After(keyExpiry) {
		return auth.Failed(notWellFormed)
	}
	if now.Before(keyStart) || !now.Before(keyExpiry) {
		return auth.Failed("Signature not valid in the specified key time frame: Key start [" + stamp(keyStart) + "] - Key expiry [" +
			stamp(keyExpiry) + "] - Current [" + stamp(now) + "]")
	}
	return nil
}

const httpTime = "Mon, 02 Jan 2006 15:04:05 GMT"

func stamp(t time.Time) string { return t.UTC().Format(httpTime) }

// ParseTime reads a time of a signature or stored access policy: a day, or a day with minutes, seconds or fractions, in UTC or
// with an offset.
func ParseTime(text string) (time.Time, bool) {
	layout := "2006-01-02"
	if len(text) > len(layout) {
		layout = "2006-01-02T15:04:05Z07:00"
		if len(text) > 16 && text[16] != ':' {
			layout = "2006-01-02T15:04Z07:00"
		}
	}
	if strings.IndexByte(text, ',') >= 0 { // which time.Parse takes for a decimal point
		return time.Time{}, false
	}
	t, err := time.Parse(layout, text)
	return t, err == nil
}

// checkOrigin checks the protocol and the address that a signature is bound to.
func (t *Token) checkOrigin(r *auth.Request) error {
	switch t.value[spr] {
	case "", "https,http", "http,https":
	case "https":
		if !r.HTTPS {
			return protocol.ErrAuthorizationProtocolMismatch
		}
	default:
		return auth.Failed(notWellFormed)
	}
	if t.value[sip] == "" {
		return nil
	}
	first, last, isRange := strings.Cut(t.value[sip], "-")
	if !isRange {
		last = first
	}
	low, err1 := netip.ParseAddr(first)
	high, err2 := netip.ParseAddr(last)
	if err1 != nil || err2 != nil || low.BitLen() != high.BitLen() || high.Less(low) {
		return auth.Failed(notWellFormed)
	}
	if client := r.Client.Unmap(); client.BitLen() != low.BitLen() || client.Less(low) || high.Less(client) {
		return protocol.ErrAuthorizationSourceIPMismatch.With("SourceIP", client.String())
	}
	return nil
}

func (t *Token) checkServices(service auth.Service) error {
	services, ok := auth.ParseLetters(t.value[ss])
	if !ok {
		return auth.Failed(notWellFormed)
	}
	if !services.Has(byte(service)) {
		return protocol.ErrAuthorizationServiceMismatch
	}
	return nil
}

// keyRange returns the part of the table that the signature opens, nil for the whole. A row key bound needs its partition's.
func (t *Token) keyRange() (*auth.KeyRange, bool) {
	if t.given&(1<<spk|1<<srk|1<<epk|1<<erk) == 0 {
		return nil, true
	}
	if t.has(srk) && !t.has(spk) || t.has(erk) && !t.has(epk) {
		return nil, false
	}
	return &auth.KeyRange{
		StartPK: t.value[spk], StartRK: t.value[srk], EndPK: t.value[epk], EndRK: t.value[erk],
		HasStartPK: t.has(spk), HasStartRK: t.has(srk), HasEndPK: t.has(epk), HasEndRK: t.has(erk),
	}, true
}
