package issuer

import (
	"crypto/rand"
	"html/template"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/blobd/blobd/internal/directory"
)

const (
	deviceLifetime = 15 * time.Minute
	maxDevices     = 1000 // logins under way
	maxFrom        = 20   // of one address (IPv6: of one /64 network), so that nobody keeps others out by himself
	maxScope       = 2048 // bytes
)

// device is a login by device code under way.
type device struct {
	userCode, client, scope string
	from                    netip.Prefix
	expires                 time.Time
	approved                *directory.Principal // by whom, nil yet
}

func (i *Issuer) deviceCode(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		fail(w, http.StatusBadRequest, "invalid_request", 90014, "The form cannot be read.")
		return
	}
	scope := r.PostForm.Get("scope")
	if scope == "" {
		scope = r.PostForm.Get("resource")
	}
	// Kept for anybody who asks, so it is held to what the token endpoint takes, and is short.
	if client := r.PostForm.Get("client_id"); uuid.Validate(client) != nil || len(scope) > maxScope {
		fail(w, http.StatusBadRequest, "invalid_request", 90014, "A 'client_id', the id of an application, and a short 'scope' are needed.")
		return
	}
	now := i.now()
	d := &device{userCode: userCode(), client: r.PostForm.Get("client_id"), scope: scope, from: network(r.RemoteAddr), expires: now.Add(deviceLifetime)}
	code := directory.NewSecret()
	i.mu.Lock()
	from := 0
	for c, old := range i.devices {
		switch {
		case !now.Before(old.expires):
			delete(i.devices, c)
		case old.from == d.from:
			from++
		}
	}
	full := len(i.devices) >= maxDevices || from >= maxFrom
	if !full {
		i.devices[code] = d
	}
	i.mu.Unlock()
	if full {
		fail(w, http.StatusServiceUnavailable, "temporarily_unavailable", 90033, "Too many logins are under way.")
		return
	}
	page := i.base + "/adfs/device"
	reply(w, http.StatusOK, map[string]any{
		"device_code": code, "user_code": d.userCode, "verification_uri": page, "verification_url": page,
		"expires_in": int(deviceLifetime / time.Second), "interval": 2,
		"message": "To sign in, use a web browser to open the page " + page + " and enter the code " + d.userCode + " to authenticate.",
	})
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

// grantDevice answers the client that waits for a person's approval.
func (i *Issuer) grantDevice(w http.ResponseWriter, r *http.Request, code, other, client string) {
	if code == "" {
		code = other // the name of the parameter at the v1 endpoint
	}
	i.mu.Lock()
	d := i.devices[code]
	refusal, number, text := "", 0, ""
	switch {
	case d == nil || !strings.EqualFold(d.client, client):
		refusal, number, text = "bad_verification_code", 70019, "The device code is unknown."
	case !i.now().Before(d.expires):
		delete(i.devices, code)
		refusal, number, text = "expired_token", 70020, "The device code has expired."
	case d.approved == nil:
		refusal, number, text = "authorization_pending", 70016, "Nobody has approved this login yet."
	default:
		delete(i.devices, code)
	}
	i.mu.Unlock()
	if refusal != "" {
		fail(w, http.StatusBadRequest, refusal, number, text)
		return
	}
	p := i.directory.Principal(d.approved.ObjectID)
	if p == nil || p.Disabled || !p.Since.Equal(d.approved.Since) {
		fail(w, http.StatusBadRequest, "invalid_grant", 50034, "The user who approved may not sign in any more.")
		return
	}
	i.grant(w, r, p, client, d.scope)
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

var page = template.Must(template.New("device").Parse(`<!doctype html><html lang="en"><meta charset="utf-8"><title>blobd: sign in</title>
<h1>Sign in a device</h1>{{if .Done}}<p>Done. You can close this page.</p>{{else}}{{with .Wrong}}<p>{{.}}</p>{{end}}
<p>Go on only if you have begun this sign-in yourself.</p>
<form method="post"><p><label>Code <input name="user_code" autofocus autocomplete="off"></label></p><p><label>User name <input name="username" autocomplete="username"></label></p>
<p><label>Password <input name="password" type="password" autocomplete="current-password"></label></p><p><button>Sign in</button></p></form>{{end}}</html>`))

func (i *Issuer) devicePage(w http.ResponseWriter, _ *http.Request) {
	show(w, http.StatusOK, false, "")
}

// approve takes the code that a person has typed, with his name and password: there is no session that another page could use.
func (i *Issuer) approve(w http.ResponseWriter, r *http.Request) {
	p, err := i.directory.Authenticate(r.Context(), clientOf(r), directory.User, r.PostFormValue("username"), r.PostFormValue("password"))
	if err != nil {
		show(w, http.StatusForbidden, false, err.Error())
		return
	}
	code := strings.ToUpper(strings.TrimSpace(r.PostFormValue("user_code")))
	i.mu.Lock()
	found := false
	for _, d := range i.devices {
		if d.userCode == code && d.approved == nil && i.now().Before(d.expires) {
			d.approved, found = p, true
		}
	}
	i.mu.Unlock()
	if !found {
		show(w, http.StatusNotFound, false, "There is no such code.")
		return
	}
	show(w, http.StatusOK, true, "")
}

func show(w http.ResponseWriter, status int, done bool, wrong string) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; form-action 'self'; frame-ancestors 'none'")
	w.WriteHeader(status)
	_ = page.Execute(w, struct {
		Done  bool
		Wrong string
	}{done, wrong})
}
