package issuer

import (
	"html/template"
	"net/http"

	"github.com/google/uuid"

	"github.com/blobd/blobd/internal/directory"
)

const maxScope = 2048 // bytes

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
	answer := i.logins.Begin(i.now(), r.PostForm.Get("client_id"), scope, r.RemoteAddr)
	if answer == nil {
		fail(w, http.StatusServiceUnavailable, "temporarily_unavailable", 90033, "Too many logins are under way.")
		return
	}
	reply(w, http.StatusOK, answer)
}

// grantDevice answers the client that waits for a person's approval.
func (i *Issuer) grantDevice(w http.ResponseWriter, r *http.Request, code, other, client string) {
	if code == "" {
		code = other // the name of the parameter at the v1 endpoint
	}
	d, refused := i.logins.Redeem(i.now(), code, client)
	if refused != nil {
		fail(w, http.StatusBadRequest, refused.Code, refused.Number, refused.Text)
		return
	}
	p := i.directory.Principal(d.By.ObjectID)
	if p == nil || p.Disabled || !p.Since.Equal(d.By.Since) {
		fail(w, http.StatusBadRequest, "invalid_grant", 50034, "The user who approved may not sign in any more.")
		return
	}
	i.grant(w, r, p, client, d.Scope)
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
	if !i.logins.Approve(i.now(), r.PostFormValue("user_code"), p) {
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
