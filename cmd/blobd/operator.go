package main

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/alecthomas/kong"

	"github.com/blobd/blobd/internal/arm/operator"
)

// operatorCommands are the commands to a running server with a resource manager.
type operatorCommands struct {
	Init         initCommand         `cmd:"" help:"Make the first user, with a subscription of his own, and print how az signs in."`
	User         userCommand         `cmd:"" help:"Users and service principals of a running server."`
	Subscription subscriptionCommand `cmd:"" help:"Subscriptions of a running server."`
	Role         roleCommand         `cmd:"" help:"Who has what role where, on a running server."`
	Account      accountCommand      `cmd:"" help:"Storage accounts of a running server."`
	Usage        usageCommand        `cmd:"" help:"Show what each subscription has used, day by day, for billing."`
}

// operated reaches a running server by its operator's socket.
type operated struct {
	OperatorSocket string `help:"Socket of the running server (default: ${default})." default:"${default_data}/operator.sock" placeholder:"FILE"`
	Output         string `short:"o" help:"How to print: ${enum}." enum:"table,csv,json" default:"table"`
}

// ask has the server carry out a command.
func (c *operated) ask(ctx context.Context, command string, q operator.Request) (*operator.Reply, error) {
	body, err := json.Marshal(q)
	if err != nil {
		return nil, err
	}
	client := socketClient(c.OperatorSocket)
	client.Timeout = time.Minute
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://operator/"+command, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	answer, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("no server answers at %s (--operator-socket says where it is): %w", c.OperatorSocket, errors.Unwrap(err))
	}
	defer answer.Body.Close()
	var r operator.Reply
	if err := json.NewDecoder(answer.Body).Decode(&r); err != nil {
		return nil, fmt.Errorf("the server's answer cannot be read: %w", err)
	}
	if r.Error != "" {
		return nil, errors.New(r.Error)
	}
	return &r, nil
}

// do asks and prints. The server knows a command by the words it is given with: user/create.
func (c *operated) do(ctx context.Context, o *output, k *kong.Context, q operator.Request) error {
	command := k.Selected()
	r, err := c.ask(ctx, command.Parent.Name+"/"+command.Name, q)
	if err != nil {
		return err
	}
	return c.print(o.out, r)
}

func (c *operated) print(w io.Writer, r *operator.Reply) error {
	if c.Output == "json" {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(r)
	}
	t, comma := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0), csv.NewWriter(w)
	row := func(cells ...any) {
		texts := make([]string, len(cells))
		for i, cell := range cells {
			texts[i] = fmt.Sprint(cell)
		}
		if c.Output == "csv" {
			_ = comma.Write(texts) // Flush tells
			return
		}
		fmt.Fprintln(t, strings.TrimRight(strings.Join(texts, "\t"), "\t"))
	}
	off := func(disabled bool) string {
		if disabled {
			return "disabled"
		}
		return ""
	}
	most := func(capacity int64) string {
		if capacity == 0 {
			return "any"
		}
		return strconv.FormatInt(capacity, 10)
	}
	if len(r.Users) > 0 {
		row("NAME", "KIND", "OBJECT ID", "APPLICATION ID", "")
		for _, u := range r.Users {
			row(u.Name, u.Kind, u.ObjectID, u.AppID, off(u.Disabled))
		}
	}
	if len(r.Subscriptions) > 0 {
		row("SUBSCRIPTION", "ID", "ACCOUNTS", "OF", "BYTES", "OF", "REQUESTS/S", "EGRESS/S", "")
		for _, s := range r.Subscriptions {
			row(s.Name, s.ID, s.Accounts, s.MaxAccounts, s.Held, most(s.Capacity), most(s.Requests), most(s.Egress), off(s.Disabled))
		}
	}
	if len(r.Roles) > 0 {
		row("WHO", "ROLE", "SCOPE", "ID")
		for _, a := range r.Roles {
			row(a.Who, a.Role, a.Scope, a.ID)
		}
	}
	if len(r.Accounts) > 0 {
		row("ACCOUNT", "SUBSCRIPTION", "GROUP", "KIND", "CREATED", "")
		for _, a := range r.Accounts {
			state := off(a.Disabled)
			if a.Deleted != "" {
				state = "deleted " + a.Deleted + ", kept until " + a.Until
			}
			row(a.Name, a.Subscription, a.Group, a.Kind, a.Created, state)
		}
	}
	if len(r.Usage) > 0 {
		row("ACCOUNT", "SUBSCRIPTION", "BLOB BYTES", "BLOBS", "TABLE BYTES", "ENTITIES", "CAPACITY", "REQUESTS/S", "EGRESS/S", "REQUESTS", "RECEIVED", "SENT")
		for _, u := range r.Usage {
			row(u.Account, u.Subscription, u.BlobBytes, u.Blobs, u.TableBytes, u.Entities, most(u.Limits.Capacity), most(u.Limits.Requests), most(u.Limits.Egress),
				u.Passed.Requests, u.Passed.Received, u.Passed.Sent)
		}
	}
	if len(r.Days) > 0 {
		row("DAY", "SUBSCRIPTION", "ID", "ACCOUNTS", "HOURS", "BLOB BYTE HOURS", "TABLE BYTE HOURS", "BLOB BYTES", "BLOBS", "TABLE BYTES", "ENTITIES", "REQUESTS", "RECEIVED", "SENT")
		for _, d := range r.Days {
			row(d.Day, d.Name, d.Subscription, d.Accounts, d.Hours, d.BlobByteHours, d.TableByteHours, d.BlobBytes, d.Blobs, d.TableBytes, d.Entities, d.Requests, d.Received, d.Sent)
		}
	}
	comma.Flush()
	if err := errors.Join(t.Flush(), comma.Error()); err != nil {
		return err
	}
	for _, u := range r.Users {
		if u.Secret != "" {
			fmt.Fprintf(w, "\nSecret, which is not shown again: %s\n", u.Secret)
		}
	}
	for _, a := range r.Accounts {
		for i, k := range a.Keys {
			fmt.Fprintf(w, "key%d  %s\n", i+1, k)
		}
	}
	return nil
}

// secretFile reads a secret from a file, so that it is in no list of processes; - is standard input.
type secretFile struct {
	SecretFile string `help:"File with the secret, - for standard input; default: one is made and shown." placeholder:"FILE"`
}

func (s *secretFile) read() (string, error) {
	var text []byte
	var err error
	switch s.SecretFile {
	case "":
		return "", nil
	case "-":
		text, err = io.ReadAll(io.LimitReader(os.Stdin, 64<<10))
	default:
		text, err = os.ReadFile(s.SecretFile)
	}
	if err != nil {
		return "", fmt.Errorf("secret: %w", err)
	}
	secret := strings.TrimRight(string(text), "\r\n")
	if secret == "" {
		return "", errors.New("secret: the file is empty")
	}
	return secret, nil
}

type initCommand struct {
	operated     `embed:""`
	secretFile   `embed:""`
	User         string `help:"Name of the user (default: ${default})." default:"admin@blobd"`
	Subscription string `help:"Name of his subscription (default: ${default})." default:"main"`
}

// Run makes the first user.
func (c *initCommand) Run(ctx context.Context, o *output) error {
	secret, err := c.read()
	if err != nil {
		return err
	}
	r, err := c.ask(ctx, "init", operator.Request{Name: c.User, Subscription: c.Subscription, Secret: secret})
	if err != nil {
		return err
	}
	if c.Output == "json" {
		return c.print(o.out, r)
	}
	password := "\"$PASSWORD\""
	if s := r.Users[0].Secret; s != "" {
		password = s
	}
	ca := filepath.Join(filepath.Dir(c.OperatorSocket), "tls", "cert.pem")
	if abs, err := filepath.Abs(ca); err == nil {
		ca = abs
	}
	trust := "" // az trusts the certificate already, or REQUESTS_CA_BUNDLE is to name its authority
	if _, err := os.Stat(ca); err == nil {
		trust = "export REQUESTS_CA_BUNDLE=" + ca + "\n"
	}
	_, err = fmt.Fprintf(o.out, "%saz cloud register -n blobd --endpoint-resource-manager %s --endpoint-active-directory %[2]s/adfs\naz cloud set -n blobd\naz login -u %[3]s -p %[4]s\naz account set -s %[5]s\n",
		trust, r.Base, r.Users[0].Name, password, r.Subscriptions[0].ID)
	return err
}

type usageCommand struct {
	operated     `embed:""`
	Subscription string `help:"Of this one only." placeholder:"NAME"`
	From         string `help:"From this day on, of UTC; default: the first of this month." placeholder:"YYYY-MM-DD"`
	To           string `help:"Up to this day; default: today." placeholder:"YYYY-MM-DD"`
}

// Run prints the daily records.
func (c *usageCommand) Run(ctx context.Context, o *output) error {
	r, err := c.ask(ctx, "usage", operator.Request{Subscription: c.Subscription, From: c.From, To: c.To})
	if err != nil {
		return err
	}
	return c.print(o.out, r)
}

type named struct {
	Name string `arg:"" help:"Which."`
}

// simple are commands that need a name and nothing else.
type simple struct {
	operated `embed:""`
	named    `embed:""`
}

// Run asks the server for it.
func (c *simple) Run(ctx context.Context, o *output, k *kong.Context) error {
	return c.do(ctx, o, k, operator.Request{Name: c.Name})
}

// listing are commands that need nothing.
type listing struct {
	operated `embed:""`
}

// Run asks the server for it.
func (c *listing) Run(ctx context.Context, o *output, k *kong.Context) error {
	return c.do(ctx, o, k, operator.Request{})
}

type userCommand struct {
	Create  userCreate `cmd:"" help:"Make a user, or with --app a service principal."`
	List    listing    `cmd:"" help:"List them."`
	Secret  userSecret `cmd:"" help:"Replace the secret; sessions of before are not renewed."`
	Disable simple     `cmd:"" help:"Keep somebody out, at once."`
	Enable  simple     `cmd:"" help:"Let somebody in again."`
	Delete  simple     `cmd:"" help:"Remove somebody, with all roles."`
}

type userCreate struct {
	simple     `embed:""`
	secretFile `embed:""`
	App        bool `help:"A service principal, for programs."`
}

// Run makes somebody.
func (c *userCreate) Run(ctx context.Context, o *output, k *kong.Context) error {
	secret, err := c.read()
	if err != nil {
		return err
	}
	return c.do(ctx, o, k, operator.Request{Name: c.Name, App: c.App, Secret: secret})
}

type userSecret struct {
	simple     `embed:""`
	secretFile `embed:""`
}

// Run replaces a secret.
func (c *userSecret) Run(ctx context.Context, o *output, k *kong.Context) error {
	secret, err := c.read()
	if err != nil {
		return err
	}
	return c.do(ctx, o, k, operator.Request{Name: c.Name, Secret: secret})
}

type subscriptionCommand struct {
	Create  subscriptionCreate `cmd:"" help:"Make a subscription for somebody."`
	List    listing            `cmd:"" help:"List them."`
	Limit   subscriptionLimit  `cmd:"" help:"Set how many accounts, bytes, requests and answers it may have, at once."`
	Disable simple             `cmd:"" help:"Make it read only for the resource manager."`
	Enable  simple             `cmd:"" help:"Make it writable again."`
	Delete  simple             `cmd:"" help:"Remove one that has no resource groups."`
}

type subscriptionCreate struct {
	simple      `embed:""`
	Owner       string `required:"" help:"User or service principal."`
	MaxAccounts int    `help:"How many accounts it may have (default: ${default})." default:"250"`
}

// Run makes a subscription.
func (c *subscriptionCreate) Run(ctx context.Context, o *output, k *kong.Context) error {
	return c.do(ctx, o, k, operator.Request{Name: c.Name, Owner: c.Owner, MaxAccounts: &c.MaxAccounts})
}

type subscriptionLimit struct {
	simple      `embed:""`
	MaxAccounts *int `help:"How many accounts it may have." placeholder:"N"`
	limits      `embed:""`
}

// limits are of an account, or of all accounts of a subscription together.
type limits struct {
	Capacity *int64 `help:"How many bytes may be held; 0 for any number." placeholder:"BYTES"`
	Requests *int64 `help:"How many requests may come in a second; 0 for any number." placeholder:"N"`
	Egress   *int64 `help:"How many bytes of answers may go in a second; 0 for any number." placeholder:"BYTES"`
}

// Run sets the limit.
func (c *subscriptionLimit) Run(ctx context.Context, o *output, k *kong.Context) error {
	return c.do(ctx, o, k, operator.Request{Name: c.Name, MaxAccounts: c.MaxAccounts, Capacity: c.Capacity, Requests: c.Requests, Egress: c.Egress})
}

type roleCommand struct {
	Assign roleAssign `cmd:"" help:"Give a role."`
	List   listing    `cmd:"" help:"List who has what role where."`
	Remove simple     `cmd:"" help:"Take a role away, by the id of its assignment."`
}

type roleAssign struct {
	operated `embed:""`
	Who      string `arg:"" help:"User or service principal."`
	Role     string `arg:"" help:"Name of the role, as Azure has it."`
	Scope    string `arg:"" help:"Subscription, or the path of a resource."`
}

// Run gives a role.
func (c *roleAssign) Run(ctx context.Context, o *output, k *kong.Context) error {
	return c.do(ctx, o, k, operator.Request{Name: c.Who, Role: c.Role, Scope: c.Scope})
}

type accountCommand struct {
	Create  accountCreate `cmd:"" help:"Make an account in a subscription."`
	List    listing       `cmd:"" help:"List them, those of the configuration too."`
	Usage   listing       `cmd:"" help:"Show what each holds, as counted with every write."`
	Limit   accountLimit  `cmd:"" help:"Set how many bytes, requests and answers an account may have, at once."`
	Keys    simple        `cmd:"" help:"Show the keys of an account."`
	Disable simple        `cmd:"" help:"Refuse all requests to an account, at once."`
	Enable  simple        `cmd:"" help:"Serve an account again."`
	Delete  simple        `cmd:"" help:"Delete an account with all that is in it."`
	Deleted listing       `cmd:"" help:"List the deleted accounts that can be had back."`
	Restore simple        `cmd:"" help:"Have a deleted account back, as it was but for the roles at it."`
	Purge   simple        `cmd:"" help:"Give a deleted account up: its name and room are free."`
}

type accountLimit struct {
	simple `embed:""`
	limits `embed:""`
}

// Run sets the limit.
func (c *accountLimit) Run(ctx context.Context, o *output, k *kong.Context) error {
	return c.do(ctx, o, k, operator.Request{Name: c.Name, Capacity: c.Capacity, Requests: c.Requests, Egress: c.Egress})
}

type accountCreate struct {
	simple       `embed:""`
	Subscription string `required:"" help:"Its subscription."`
	Group        string `help:"Its resource group (default: ${default}), which is made if it is not there." default:"default"`
}

// Run makes an account.
func (c *accountCreate) Run(ctx context.Context, o *output, k *kong.Context) error {
	return c.do(ctx, o, k, operator.Request{Name: c.Name, Subscription: c.Subscription, Group: c.Group})
}
