// Package operator is what the operator of a server does with its directory and accounts from the command line: requests in JSON over a
// socket in the file system, which only the user that the server runs as can open. That is all the authorization there is, so the
// handler is served nowhere else.
package operator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/directory"
	"github.com/blobd/blobd/internal/usage"
	"github.com/blobd/blobd/internal/usage/daily"
)

// Operator is an http.Handler: POST /<command> with a Request, answered by a Reply.
type Operator struct {
	Directory *directory.Directory
	Accounts  *account.Store
	Daily     *daily.Book
	// KnownScope returns a scope in the case of what is there, or what is not there.
	KnownScope func(ctx context.Context, scope string) (string, error)
	// Base is where clients reach the resource manager, Location its region.
	Base, Location string
	Log            *zap.Logger
}

// Request is what a command needs; each says what.
type Request struct {
	Name         string `json:"name,omitempty"`
	App          bool   `json:"app,omitempty"` // a service principal
	Secret       string `json:"secret,omitempty"`
	Subscription string `json:"subscription,omitempty"`
	Group        string `json:"group,omitempty"`
	Owner        string `json:"owner,omitempty"` // of a new subscription
	Role         string `json:"role,omitempty"`
	Scope        string `json:"scope,omitempty"`
	MaxAccounts  *int   `json:"maxAccounts,omitempty"`
	From         string `json:"from,omitempty"` // days, as 2026-11-28; default: the first of this month, and today
	To           string `json:"to,omitempty"`
	// Limits to set, 0 for any number; those that are absent stay as they are.
	Capacity *int64 `json:"capacity,omitempty"`
	Requests *int64 `json:"requests,omitempty"`
	Egress   *int64 `json:"egress,omitempty"`
}

// Reply has what the command has made or found: the members of one kind.
type Reply struct {
	Error         string         `json:"error,omitempty"`
	Base          string         `json:"base,omitempty"`
	Tenant        string         `json:"tenant,omitempty"`
	Users         []User         `json:"users,omitempty"`
	Subscriptions []Subscription `json:"subscriptions,omitempty"`
	Roles         []Role         `json:"roles,omitempty"`
	Accounts      []Account      `json:"accounts,omitempty"`
	Usage         []Usage        `json:"usage,omitempty"`
	Days          []Day          `json:"days,omitempty"`
}

// Day is what a subscription has used in a day. Name is that of one that is still there.
type Day struct {
	Name string `json:"name,omitempty"`
	daily.Record
}

// User is a user or service principal. Secret is there once, when it was made.
type User struct {
	Name     string `json:"name"`
	Kind     string `json:"kind"`
	ObjectID string `json:"objectId"`
	AppID    string `json:"appId,omitempty"`
	Secret   string `json:"secret,omitempty"`
	Disabled bool   `json:"disabled,omitempty"`
}

// Subscription is one with what it has.
type Subscription struct {
	Name        string `json:"name"`
	ID          string `json:"id"`
	Accounts    int    `json:"accounts"`
	MaxAccounts int    `json:"maxAccounts"`
	Held        int64  `json:"held"` // bytes
	Disabled    bool   `json:"disabled,omitempty"`
	usage.Limits
}

// Role is a role assignment.
type Role struct {
	ID    string `json:"id"`
	Who   string `json:"who"`
	Role  string `json:"role"`
	Scope string `json:"scope"`
}

// Account is an account; Keys are there when they are asked for.
type Account struct {
	Name         string   `json:"name"`
	Subscription string   `json:"subscription,omitempty"`
	Group        string   `json:"group,omitempty"`
	Kind         string   `json:"kind"`
	SKU          string   `json:"sku"`
	Created      string   `json:"created"`
	Disabled     bool     `json:"disabled,omitempty"`
	Keys         []string `json:"keys,omitempty"`
	Deleted      string   `json:"deleted,omitempty"` // of one that can be had back until Until
	Until        string   `json:"until,omitempty"`
}

var commands = map[string]func(*Operator, context.Context, *Request, *Reply) error{
	"init":         (*Operator).begin,
	"usage":        (*Operator).usage,
	"user/create":  (*Operator).createUser,
	"user/list":    (*Operator).listUsers,
	"user/secret":  (*Operator).setSecret,
	"user/disable": func(o *Operator, ctx context.Context, q *Request, _ *Reply) error { return o.disableUser(ctx, q, true) },
	"user/enable": func(o *Operator, ctx context.Context, q *Request, _ *Reply) error {
		return o.disableUser(ctx, q, false)
	},
	"user/delete":         (*Operator).deleteUser,
	"subscription/create": (*Operator).createSubscription,
	"subscription/list":   (*Operator).listSubscriptions,
	"subscription/limit":  (*Operator).limitSubscription,
	"subscription/disable": func(o *Operator, ctx context.Context, q *Request, _ *Reply) error {
		return o.disableSubscription(ctx, q, true)
	},
	"subscription/enable": func(o *Operator, ctx context.Context, q *Request, _ *Reply) error {
		return o.disableSubscription(ctx, q, false)
	},
	"subscription/delete": (*Operator).deleteSubscription,
	"role/assign":         (*Operator).assign,
	"role/list":           (*Operator).listRoles,
	"role/remove":         (*Operator).unassign,
	"account/create":      (*Operator).createAccount,
	"account/list":        (*Operator).listAccounts,
	"account/usage":       (*Operator).accountUsage,
	"account/limit":       (*Operator).limitAccount,
	"account/keys":        (*Operator).accountKeys,
	"account/disable": func(o *Operator, ctx context.Context, q *Request, _ *Reply) error {
		return o.disableAccount(ctx, q, true)
	},
	"account/enable": func(o *Operator, ctx context.Context, q *Request, _ *Reply) error {
		return o.disableAccount(ctx, q, false)
	},
	"account/delete":  (*Operator).deleteAccount,
	"account/deleted": (*Operator).listDeleted,
	"account/restore": (*Operator).restoreAccount,
	"account/purge":   (*Operator).purgeAccount,
}

// refusal is a mistake of whoever gave the command.
type refusal struct{ error }

func refuse(format string, args ...any) error { return refusal{fmt.Errorf(format, args...)} }

// ServeHTTP implements http.Handler.
func (o *Operator) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimPrefix(r.URL.Path, "/")
	command, ok := commands[name]
	if !ok || r.Method != http.MethodPost {
		http.NotFound(w, r)
		return
	}
	var q Request
	if err := json.NewDecoder(io.LimitReader(r.Body, 64<<10)).Decode(&q); err != nil {
		http.Error(w, "the request cannot be read", http.StatusBadRequest)
		return
	}
	reply, status := &Reply{}, http.StatusOK
	if err := command(o, r.Context(), &q, reply); err != nil {
		var own refusal
		status = http.StatusInternalServerError
		if errors.As(err, &own) || errors.Is(err, directory.ErrExists) || errors.Is(err, directory.ErrMissing) || errors.Is(err, account.ErrExists) || errors.Is(err, account.ErrDeleting) || errors.Is(err, account.ErrTooMany) {
			status = http.StatusConflict
		} else {
			o.Log.Error("an operator's command has failed", zap.String("command", name), zap.Error(err))
		}
		reply = &Reply{Error: err.Error()}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(reply) // a failure is the client's
}

func (o *Operator) principal(who string) (*directory.Principal, error) {
	if p := o.Directory.Find(who); p != nil && who != "" {
		return p, nil
	}
	return nil, refuse("there is no user or service principal %q", who)
}

func (o *Operator) subscription(which string) (*directory.Subscription, error) {
	if s := o.Directory.FindSubscription(which); s != nil && which != "" {
		return s, nil
	}
	return nil, refuse("there is no subscription %q", which)
}

func (o *Operator) user(p *directory.Principal) User {
	return User{Name: p.Name, Kind: string(p.Kind), ObjectID: p.ObjectID, AppID: p.AppID, Disabled: p.Disabled}
}

// begin makes the first user with a subscription of his own, where there is no user yet.
func (o *Operator) begin(ctx context.Context, q *Request, r *Reply) error {
	if len(o.Directory.Principals()) > 0 {
		return refuse("the directory has users already; \"blobd user create\" makes more")
	}
	if o.Directory.FindSubscription(q.Subscription) != nil {
		return refuse("there is a subscription %s already", q.Subscription)
	}
	if err := o.createUser(ctx, q, r); err != nil {
		return err
	}
	s, err := o.Directory.AddSubscription(ctx, q.Subscription, directory.DefaultMaxAccounts)
	if err != nil {
		return refusal{err}
	}
	if err := o.own(ctx, r.Users[0].ObjectID, s); err != nil {
		return err
	}
	r.Subscriptions = []Subscription{o.counted(s)}
	return nil
}

func (o *Operator) own(ctx context.Context, objectID string, s *directory.Subscription) error {
	_, err := o.Directory.Assign(ctx, directory.Assignment{ID: uuid.NewString(), Principal: objectID, Role: directory.OwnerRole, Scope: "/subscriptions/" + s.ID})
	return err
}

func (o *Operator) createUser(ctx context.Context, q *Request, r *Reply) error {
	kind, secret := directory.User, q.Secret
	if q.App {
		kind = directory.ServicePrincipal
	}
	if secret == "" {
		secret = directory.NewSecret()
	}
	p, err := o.Directory.AddPrincipal(ctx, kind, q.Name, secret)
	if err != nil {
		return refusal{err}
	}
	u := o.user(p)
	if q.Secret == "" {
		u.Secret = secret
	}
	r.Base, r.Tenant, r.Users = o.Base, o.Directory.Tenant(), []User{u}
	return nil
}

func (o *Operator) listUsers(_ context.Context, _ *Request, r *Reply) error {
	for _, p := range o.Directory.Principals() {
		r.Users = append(r.Users, o.user(p))
	}
	return nil
}

func (o *Operator) setSecret(ctx context.Context, q *Request, r *Reply) error {
	p, err := o.principal(q.Name)
	if err != nil {
		return err
	}
	secret, u := q.Secret, o.user(p)
	if secret == "" {
		secret = directory.NewSecret()
		u.Secret = secret
	}
	r.Users = []User{u}
	if err := o.Directory.SetSecret(ctx, p.ObjectID, secret); err != nil {
		return refusal{err}
	}
	return nil
}

func (o *Operator) disableUser(ctx context.Context, q *Request, disabled bool) error {
	p, err := o.principal(q.Name)
	if err != nil {
		return err
	}
	return o.Directory.SetDisabled(ctx, p.ObjectID, disabled)
}

func (o *Operator) deleteUser(ctx context.Context, q *Request, _ *Reply) error {
	p, err := o.principal(q.Name)
	if err != nil {
		return err
	}
	return o.Directory.RemovePrincipal(ctx, p.ObjectID)
}

func (o *Operator) counted(s *directory.Subscription) Subscription {
	return Subscription{Name: s.Name, ID: s.ID, Accounts: o.Accounts.CountOwned(s.ID), MaxAccounts: s.MaxAccounts, Disabled: s.Disabled,
		Limits: s.Limits, Held: o.Accounts.Usage().Subscription(s.ID).Bytes()}
}

func (o *Operator) createSubscription(ctx context.Context, q *Request, r *Reply) error {
	p, err := o.principal(q.Owner)
	if err != nil {
		return err
	}
	most := directory.DefaultMaxAccounts
	if q.MaxAccounts != nil && *q.MaxAccounts != 0 {
		most = *q.MaxAccounts
	}
	s, err := o.Directory.AddSubscription(ctx, q.Name, most)
	if err != nil {
		return refusal{err}
	}
	r.Subscriptions = []Subscription{o.counted(s)}
	return o.own(ctx, p.ObjectID, s)
}

func (o *Operator) listSubscriptions(_ context.Context, _ *Request, r *Reply) error {
	for _, s := range o.Directory.Subscriptions() {
		r.Subscriptions = append(r.Subscriptions, o.counted(s))
	}
	return nil
}

func (o *Operator) limitSubscription(ctx context.Context, q *Request, _ *Reply) error {
	s, err := o.subscription(q.Name)
	if err != nil {
		return err
	}
	if q.MaxAccounts != nil && *q.MaxAccounts < 0 {
		return refuse("a subscription may have 0 or more accounts")
	}
	if q.MaxAccounts == nil && !q.limits() {
		return errNoLimit
	}
	if err := q.limit(&usage.Limits{}); err != nil {
		return err
	}
	var limits usage.Limits
	err = o.Directory.SetSubscription(ctx, s.ID, func(s *directory.Subscription) {
		if q.MaxAccounts != nil {
			s.MaxAccounts = *q.MaxAccounts
		}
		_ = q.limit(&s.Limits) // which was tried before
		limits = s.Limits
	})
	if err == nil {
		o.Accounts.Usage().Subscription(s.ID).Limit(limits)
	}
	return err
}

var errNoLimit = refuse("a limit is missing: --capacity, --requests or --egress")

func (q *Request) limits() bool { return q.Capacity != nil || q.Requests != nil || q.Egress != nil }

// limit sets the limits that the command names.
func (q *Request) limit(l *usage.Limits) error {
	for _, set := range []struct {
		to   *int64
		from *int64
		what string
	}{{&l.Capacity, q.Capacity, "a capacity is 0 (no limit) or more bytes"}, {&l.Requests, q.Requests, "a request rate is 0 (no limit) or more a second"},
		{&l.Egress, q.Egress, "an egress is 0 (no limit) or more bytes a second"}} {
		if set.from == nil {
			continue
		}
		if *set.from < 0 {
			return refuse("%s", set.what)
		}
		*set.to = *set.from
	}
	return nil
}

func (o *Operator) limitAccount(ctx context.Context, q *Request, _ *Reply) error {
	if _, err := o.find(q.Name); err != nil {
		return err
	}
	if !q.limits() {
		return errNoLimit
	}
	return o.Accounts.Change(ctx, q.Name, func(a *account.Account) error { return q.limit(&a.Limits) })
}

// Usage is what an account holds, what has come and gone since the start, and what it may.
type Usage struct {
	Account      string       `json:"account"`
	Subscription string       `json:"subscription,omitempty"`
	BlobBytes    int64        `json:"blobBytes"`
	Blobs        int64        `json:"blobs"` // with snapshots, versions and soft-deleted ones
	TableBytes   int64        `json:"tableBytes"`
	Entities     int64        `json:"entities"`
	Passed       usage.Passed `json:"sinceStart"`
	Limits       usage.Limits `json:"limits"`
}

func (o *Operator) accountUsage(_ context.Context, _ *Request, r *Reply) error {
	for _, a := range o.Accounts.All() {
		blobs, tables := a.Meter.Held(usage.Blobs), a.Meter.Held(usage.Tables)
		r.Usage = append(r.Usage, Usage{Account: a.Name, Subscription: o.account(a).Subscription, BlobBytes: blobs.Bytes, Blobs: blobs.Objects,
			TableBytes: tables.Bytes, Entities: tables.Objects, Passed: a.Meter.Passed(), Limits: a.Limits})
	}
	return nil
}

// usage are the daily records.
func (o *Operator) usage(ctx context.Context, q *Request, r *Reply) error {
	today := time.Now().UTC()
	from, to, only := q.From, q.To, q.Subscription
	if from == "" {
		from = today.AddDate(0, 0, 1-today.Day()).Format(time.DateOnly)
	}
	if to == "" {
		to = today.Format(time.DateOnly)
	}
	if s := o.Directory.FindSubscription(only); s != nil {
		only = s.ID
	} else if only != "" && uuid.Validate(only) != nil { // one that was deleted is known by its id
		return refuse("there is no subscription %q", only)
	}
	records, err := o.Daily.Between(ctx, from, to, only)
	if errors.Is(err, daily.ErrDay) {
		return refusal{err}
	}
	if err != nil {
		return err
	}
	for _, rec := range records {
		d := Day{Record: rec}
		if s := o.Directory.Subscription(rec.Subscription); s != nil {
			d.Name = s.Name
		}
		r.Days = append(r.Days, d)
	}
	return nil
}

func (o *Operator) disableSubscription(ctx context.Context, q *Request, disabled bool) error {
	s, err := o.subscription(q.Name)
	if err != nil {
		return err
	}
	return o.Directory.SetSubscription(ctx, s.ID, func(s *directory.Subscription) { s.Disabled = disabled })
}

func (o *Operator) deleteSubscription(ctx context.Context, q *Request, _ *Reply) error {
	s, err := o.subscription(q.Name)
	if err != nil {
		return err
	}
	if err := o.Directory.RemoveSubscription(ctx, s.ID); err != nil {
		return refusal{err}
	}
	return nil
}

// scope reads a scope: a path of a resource, or the name of a subscription.
func (o *Operator) scope(ctx context.Context, text string) (string, error) {
	if strings.HasPrefix(text, "/") {
		known, err := o.KnownScope(ctx, text)
		if err != nil {
			return "", refuse("the scope %s: %w", text, err)
		}
		return known, nil
	}
	s, err := o.subscription(text)
	if err != nil {
		return "", err
	}
	return "/subscriptions/" + s.ID, nil
}

func (o *Operator) assign(ctx context.Context, q *Request, r *Reply) error {
	p, err := o.principal(q.Name)
	if err != nil {
		return err
	}
	role := directory.FindRole(q.Role)
	if role == nil {
		var names []string
		for _, known := range directory.Roles {
			names = append(names, known.Name)
		}
		return refuse("there is no role %q; the roles are %s", q.Role, strings.Join(names, ", "))
	}
	scope, err := o.scope(ctx, q.Scope)
	if err != nil {
		return err
	}
	a, err := o.Directory.Assign(ctx, directory.Assignment{ID: uuid.NewString(), Principal: p.ObjectID, Role: role.ID, Scope: scope})
	if err != nil {
		return err
	}
	r.Roles = []Role{o.role(a)}
	return nil
}

func (o *Operator) role(a *directory.Assignment) Role {
	who := a.Principal
	if p := o.Directory.Principal(a.Principal); p != nil {
		who = p.Name
	}
	return Role{ID: a.ID, Who: who, Role: directory.FindRole(a.Role).Name, Scope: a.Scope}
}

func (o *Operator) listRoles(_ context.Context, _ *Request, r *Reply) error {
	for _, s := range o.Directory.Subscriptions() {
		for _, a := range o.Directory.Assignments("/subscriptions/"+s.ID, true) {
			r.Roles = append(r.Roles, o.role(a))
		}
	}
	return nil
}

func (o *Operator) unassign(ctx context.Context, q *Request, _ *Reply) error {
	return o.Directory.Unassign(ctx, q.Name)
}

func (o *Operator) account(a *account.Account) Account {
	b := Account{Name: a.Name, Kind: a.Kind, SKU: a.SKU, Created: a.Created.UTC().Format(time.RFC3339), Disabled: a.Disabled}
	if r := a.Resource; r != nil {
		b.Subscription, b.Group = r.Subscription, r.Group
	}
	return b
}

// defaultGroup is where the operator's accounts are if nothing else is said.
const defaultGroup = "default"

func (o *Operator) createAccount(ctx context.Context, q *Request, r *Reply) error {
	s, err := o.subscription(q.Subscription)
	if err != nil {
		return err
	}
	if err := account.CheckName(q.Name); err != nil {
		return refusal{err}
	}
	group := q.Group
	if group == "" {
		group = defaultGroup
	}
	if !directory.ValidGroupName(group) {
		return refuse("a resource group cannot be called %q", group)
	}
	g := o.Directory.Group(s.ID, group)
	if g == nil {
		if g, _, err = o.Directory.PutGroup(ctx, &directory.Group{Subscription: s.ID, Name: group, Location: o.Location}); err != nil {
			return err
		}
	}
	now := time.Now().UTC()
	a := account.New(q.Name, now, account.GenerateKey(), account.GenerateKey())
	a.SKU = "Standard_LRS"
	a.Switches = account.Switches{DenyPublicAccess: true, RequireHTTPS: true}
	a.Resource = &account.Resource{Subscription: s.ID, Group: g.Name, Location: g.Location, KeysCreated: [2]time.Time{now, now}}
	if err := o.Accounts.Create(ctx, a, s.MaxAccounts); err != nil {
		return err
	}
	r.Accounts = []Account{o.account(a)}
	return nil
}

func (o *Operator) listAccounts(_ context.Context, _ *Request, r *Reply) error {
	for _, a := range o.Accounts.All() {
		r.Accounts = append(r.Accounts, o.account(a))
	}
	return nil
}

func (o *Operator) find(name string) (*account.Account, error) {
	if a := o.Accounts.Get(name); a != nil {
		return a, nil
	}
	return nil, refuse("there is no account %q", name)
}

func (o *Operator) accountKeys(_ context.Context, q *Request, r *Reply) error {
	a, err := o.find(q.Name)
	if err != nil {
		return err
	}
	b := o.account(a)
	for _, k := range a.Keys {
		b.Keys = append(b.Keys, k.Base64())
	}
	r.Accounts = []Account{b}
	return nil
}

func (o *Operator) disableAccount(ctx context.Context, q *Request, disabled bool) error {
	if _, err := o.find(q.Name); err != nil {
		return err
	}
	return o.Accounts.Change(ctx, q.Name, func(a *account.Account) error {
		a.Disabled = disabled
		return nil
	})
}

func (o *Operator) deleteAccount(ctx context.Context, q *Request, _ *Reply) error {
	a, err := o.find(q.Name)
	if err != nil {
		return err
	}
	if a.Resource == nil {
		return refuse("the account %s belongs to the configuration: take it out there", a.Name)
	}
	if err := o.Directory.UnassignUnder(ctx, a.Resource.ID(a.Name)); err != nil {
		return err
	}
	return o.Accounts.DeleteOwned(ctx, a)
}

func (o *Operator) listDeleted(_ context.Context, _ *Request, r *Reply) error {
	for _, k := range o.Accounts.Kept("") {
		b := o.account(k.Account)
		b.Deleted, b.Until = k.Deleted.Format(time.RFC3339), k.Until.Format(time.RFC3339)
		r.Accounts = append(r.Accounts, b)
	}
	return nil
}

var errNotKept = refuse("there is no deleted account of that name that can be had back; \"blobd account deleted\" lists them")

// restoreAccount has a deleted account back, in its subscription and group.
func (o *Operator) restoreAccount(ctx context.Context, q *Request, _ *Reply) error {
	for _, k := range o.Accounts.Kept("") {
		if k.Name != q.Name {
			continue
		}
		s := o.Directory.Subscription(k.Resource.Subscription)
		if s == nil {
			return refuse("the subscription of the account %s is not there any more", k.Name)
		}
		if o.Directory.Group(s.ID, k.Resource.Group) == nil {
			if _, _, err := o.Directory.PutGroup(ctx, &directory.Group{Subscription: s.ID, Name: k.Resource.Group, Location: k.Resource.Location}); err != nil {
				return err
			}
		}
		err := o.Accounts.Restore(ctx, k.Name, s.MaxAccounts)
		if errors.Is(err, account.ErrMissing) {
			return errNotKept
		}
		return err
	}
	return errNotKept
}

func (o *Operator) purgeAccount(ctx context.Context, q *Request, _ *Reply) error {
	err := o.Accounts.Purge(ctx, q.Name, "")
	if errors.Is(err, account.ErrMissing) {
		return errNotKept
	}
	return err
}
