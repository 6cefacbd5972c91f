package issuer

import (
	"crypto/rand"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/blobd/blobd/internal/directory"
)

const (
	deviceLifetime = 15 * time.Minute
	maxDevices     = 1000 // logins under way
	maxFrom        = 20   // of one address (IPv6: of one /64 network), so that nobody keeps others out by himself
)

// DeviceGrant is the grant type of a login by device code.
const DeviceGrant = "urn:ietf:params:oauth:grant-type:device_code"

// Logins are the logins by device code that are under way (RFC 8628).
type Logins struct {
	Page     string // where a person approves them
	Interval int    // seconds between two questions of a device

	mu  sync.Mutex
	all map[string]*Login // by device code
}

// Login is one of them.
type Login struct {
	Client, Scope string
	By            *directory.Principal // who approved it; nil yet

	userCode string
	from     netip.Prefix
	expires  time.Time
}

// Begin begins a login, and returns the answer that the device gets; nil if too many are under way, in all or from where it is asked. An
// empty address is not counted.
func (l *Logins) Begin(now time.Time, client, scope, remote string) map[string]any {
	d := &Login{Client: client, Scope: scope, userCode: userCode(), from: network(remote), expires: now.Add(deviceLifetime)}
	code := directory.NewSecret()
	l.mu.Lock()
	defer l.mu.Unlock()
	from := 0
	for c, old := range l.all {
		switch {
		case !now.Before(old.expires):
			delete(l.all, c)
		case remote != "" && old.from == d.from:
			from++
		}
	}
	if len(l.all) >= maxDevices || from >= maxFrom {
		return nil
	}
	if l.all == nil {
		l.all = map[string]*Login{}
	}
	l.all[code] = d
	return map[string]any{
		"device_code": code, "user_code": d.userCode, "verification_uri": l.Page, "verification_url": l.Page,
		"expires_in": int(deviceLifetime / time.Second), "interval": l.Interval,
		"message": "To sign in, use a web browser to open the page " + l.Page + " and enter the code " + d.userCode + " to authenticate.",
	}
}

// Approve approves the login whose code a person has typed, and tells whether there is one.
func (l *Logins) Approve(now time.Time, userCode string, by *directory.Principal) (found bool) {
	userCode = strings.ToUpper(strings.TrimSpace(userCode))
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, d := range l.all {
		if d.userCode == userCode && d.By == nil && now.Before(d.expires) {
			d.By, found = by, true
		}
	}
	return found
}

// LoginError is why a device gets no token, as OAuth and Entra have it.
type LoginError struct {
	Code   string
	Number int
	Text   string
}

// Redeem ends the login of a device code that was approved. It is good once, and for the client that began it.
func (l *Logins) Redeem(now time.Time, code, client string) (*Login, *LoginError) {
	l.mu.Lock()
	defer l.mu.Unlock()
	d := l.all[code]
	switch {
	case d == nil || !strings.EqualFold(d.Client, client):
		return nil, &LoginError{"bad_verification_code", 70019, "The device code is unknown."}
	case !now.Before(d.expires):
		delete(l.all, code)
		return nil, &LoginError{"expired_token", 70020, "The device code has expired."}
	case d.By == nil:
		return nil, &LoginError{"authorization_pending", 70016, "Nobody has approved this login yet."}
	}
	delete(l.all, code)
	return d, nil
}

// network is what counts as one asker: an IPv4 address, or the /64 that a host on IPv6 has to itself.
func network(remote string) netip.Prefix {
	at, _ := netip.ParseAddrPort(remote)
	ip, bits := at.Addr().Unmap(), 64
	if ip.Is4() {
		bits = 32
	}
	p, _ := ip.WithZone("").Prefix(bits)
	return p
}

// userCode is what a person types: 8 letters that are not mistaken for others.
func userCode() string {
	const letters = "BCDFGHJKLMNPQRSTVWXZ"
	b := make([]byte, 8)
	rand.Read(b)
	for k := range b {
		b[k] = letters[int(b[k])%len(letters)]
	}
	return string(b)
}
