// Package arm is the resource provider: Azure Resource Manager as far as storage accounts need it, for the subscriptions of a directory.
//
// Every operation is a row of one table (operations.go), with the action that it needs; Server.serve is the one way to its handler. In
// order:
//
//   - the token: it is of the directory's issuer, made out to the resource manager, and its holder is there and not disabled, else 401;
//   - the subscription: one in which the caller has no role is answered like one that is not there, 404;
//   - the action at the scope that the path names, else 403, before anything is told of what is there;
//   - only then the resource group and the account, else 404.
package arm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/auth"
	"github.com/blobd/blobd/internal/blob/store"
	"github.com/blobd/blobd/internal/directory"
	"github.com/blobd/blobd/internal/directory/issuer"
)

// Tables is what is needed of the Table service.
type Tables interface {
	CreateTable(ctx context.Context, account, name string) error
	DeleteTable(ctx context.Context, account, name string) error
	Tables(ctx context.Context, account, from string, fn func(name string) bool) (next string, err error)
	Policies(ctx context.Context, account, name string) ([]auth.Policy, error)
	SetPolicies(ctx context.Context, account, name string, policies []auth.Policy) error
}

// Options of New.
type Options struct {
	Directory *directory.Directory
	Issuer    *issuer.Issuer
	Accounts  *account.Store
	Blobs     *store.Service
	Tables    Tables
	// Base is where clients reach this server, without a slash at its end.
	Base string
	// Location is the name of the one region.
	Location string
	// Suffix is the domain under which the accounts have their hosts, as metadata names it.
	Suffix string
	// Endpoint returns the address of an account's service, with a slash at its end; empty for one that is not served.
	Endpoint func(service auth.Service, account string) string
	// Entra gives clients the login address of the Entra family also where they would take that of AD FS.
	Entra bool
	Log   *zap.Logger
	Now   func() time.Time
	// Actor, if set, hears who makes the request of a context.
	Actor func(ctx context.Context, principal string)
}

// Server serves the resource manager and the issuer. It is an http.Handler.
type Server struct {
	Options
	// groups keeps a resource group while an account is put into it.
	groups sync.RWMutex
}

// New returns a Server.
func New(o Options) *Server { return &Server{Options: o} }

// Audience is what tokens for this server are made out to.
func (s *Server) Audience() string { return s.Base + "/" }

// audiences are the names of the resource manager in Azure, which clients with a fixed configuration ask for.
var audiences = []string{"https://management.azure.com", "https://management.core.windows.net"}

func (s *Server) isAudience(a string) bool {
	a = strings.TrimSuffix(a, "/")
	for _, known := range append([]string{s.Base}, audiences...) {
		if strings.EqualFold(a, known) {
			return true
		}
	}
	return false
}

// Limits of a request.
const (
	maxBody    = 1 << 20 // bytes
	maxSegment = 260
)

// call is one request to an operation.
type call struct {
	*Server
	ctx   context.Context
	r     *http.Request
	w     http.ResponseWriter
	query url.Values
	op    *operation
	// param holds what stood in the path where the pattern has {name}.
	param     map[string]string
	principal *directory.Principal
	sub       *directory.Subscription
	group     *directory.Group
	account   *account.Account
	uses      *account.Uses // of account: no other gets its name meanwhile
}

// leave ends the use of the account.
func (c *call) leave() {
	if c.uses != nil {
		c.uses.Leave()
		c.uses = nil
	}
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id := uuid.NewString()
	h := w.Header()
	h.Set("x-ms-request-id", id)
	correlation := r.Header.Get("x-ms-correlation-request-id")
	if uuid.Validate(correlation) != nil {
		correlation = id
	}
	h.Set("x-ms-correlation-request-id", correlation)
	if client := r.Header.Get("x-ms-client-request-id"); uuid.Validate(client) == nil && strings.EqualFold(r.Header.Get("x-ms-return-client-request-id"), "true") {
		h.Set("x-ms-client-request-id", client)
	}
	h.Set("X-Content-Type-Options", "nosniff")
	for strings.HasPrefix(r.URL.Path, "//") { // an endpoint with a slash, and a path with one
		r.URL.Path = r.URL.Path[1:]
		r.URL.RawPath = ""
	}
	if issuer.Serves(r.URL.Path) {
		s.Issuer.ServeHTTP(w, r)
		return
	}
	h.Set("Cache-Control", "no-cache")
	defer func() {
		if v := recover(); v != nil {
			s.Log.Error("a management operation has failed", zap.Any("panic", v), zap.String("path", r.URL.Path), zap.Stack("stack"))
			writeError(w, internalError)
		}
	}()
	c := &call{Server: s, ctx: r.Context(), r: r, w: w, query: r.URL.Query()}
	defer func() { c.leave() }()
	if err := c.serve(); err != nil {
		var e *Error
		if !errors.As(err, &e) {
			e = c.translate(err)
		}
		if e.Status >= 500 {
			s.Log.Error("a management operation has failed", zap.String("method", r.Method), zap.String("path", r.URL.Path), zap.String("id", id), zap.Error(err))
		}
		if e.Status == http.StatusUnauthorized {
			h.Set("WWW-Authenticate", fmt.Sprintf("Bearer authorization_uri=%q, error=\"invalid_token\", error_description=%q", s.Issuer.AuthorizationURI(), e.Message))
		}
		writeError(w, e)
	}
}

func (c *call) serve() error {
	segments, err := split(c.r.URL)
	if err != nil {
		return err
	}
	op, param, other := find(c.r.Method, segments)
	if op != nil && op.open {
		c.op = op
		return op.handle(c)
	}
	// Nobody learns of operations or resources without a token.
	if err := c.authenticate(); err != nil {
		return err
	}
	switch {
	case op == nil && other:
		return errorf(http.StatusMethodNotAllowed, "HttpMethodNotSupported", "The http method '%s' is not supported at this resource path.", c.r.Method)
	case op == nil:
		return errorf(http.StatusNotFound, "InvalidResourceType", "The resource type could not be found at the path '%s'.", c.r.URL.Path)
	}
	c.op, c.param = op, param
	if err := c.checkVersion(); err != nil {
		return err
	}
	if err := c.authorize(); err != nil {
		return err
	}
	if err := c.locate(); err != nil {
		return err
	}
	return op.handle(c)
}

// split returns the segments of a path, decoded.
func split(u *url.URL) ([]string, error) {
	var segments []string
	for raw := range strings.SplitSeq(strings.Trim(u.EscapedPath(), "/"), "/") {
		s, err := url.PathUnescape(raw)
		if err != nil || s == "" || s == "." || s == ".." || len(s) > maxSegment || strings.ContainsAny(s, "/\\\x00\r\n") {
			return nil, errorf(http.StatusBadRequest, "InvalidRequestUri", "The request path is not a path of a resource.")
		}
		segments = append(segments, s)
	}
	return segments, nil
}

// authenticate finds who asks.
func (c *call) authenticate() error {
	header := c.r.Header.Get("Authorization")
	if header == "" {
		return errorf(http.StatusUnauthorized, "AuthenticationFailed", "Authentication failed. The 'Authorization' header is missing.")
	}
	scheme, token, _ := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return errorf(http.StatusUnauthorized, "AuthenticationFailedInvalidHeader", "Authentication failed. The 'Authorization' header is provided in an invalid format.")
	}
	p, audience, err := c.Issuer.Verify(strings.TrimSpace(token))
	switch {
	case errors.Is(err, issuer.ErrExpired):
		return errorf(http.StatusUnauthorized, "ExpiredAuthenticationToken", "The access token has expired.")
	case err != nil:
		return errorf(http.StatusUnauthorized, "InvalidAuthenticationToken", "The access token is invalid.")
	case !c.isAudience(audience):
		return errorf(http.StatusUnauthorized, "InvalidAuthenticationTokenAudience", "The access token has been obtained for the wrong audience or resource. It should exactly match (including forward slash) with one of the allowed audiences '%s'.", c.Audience())
	}
	c.principal = p
	if c.Actor != nil {
		c.Actor(c.ctx, p.ObjectID)
	}
	return nil
}

// authorize decides by the row and the path alone, before anything is looked up but the subscription.
func (c *call) authorize() error {
	id := c.param["subscription"]
	if c.param["scope"] != "" {
		if id = directory.SubscriptionOf(c.param["scope"]); id == "" {
			return errorf(http.StatusBadRequest, "InvalidScope", "The scope '%s' is not in a subscription.", c.param["scope"])
		}
	}
	if id == "" {
		return nil // what is the same for everybody, and lists of what the caller may see
	}
	if uuid.Validate(id) != nil {
		return errorf(http.StatusBadRequest, "InvalidSubscriptionId", "The provided subscription identifier '%s' is malformed or invalid.", id)
	}
	c.sub = c.Directory.Subscription(id)
	if c.sub == nil || !c.Directory.Sees(c.principal.ObjectID, c.sub.ID) {
		return errorf(http.StatusNotFound, "SubscriptionNotFound", "The subscription '%s' could not be found.", id)
	}
	if !c.op.filtered && !c.allowed(c.op.action, c.scope()) {
		return errorf(http.StatusForbidden, "AuthorizationFailed", "The client '%[1]s' with object id '%[1]s' does not have authorization to perform action '%[2]s' over scope '%[3]s' or the scope is invalid. If access was recently granted, please refresh your credentials.",
			c.principal.ObjectID, c.op.action, c.scope())
	}
	if c.sub.Disabled && !c.op.reads() {
		return errorf(http.StatusConflict, "ReadOnlyDisabledSubscription", "The subscription '%s' is disabled and therefore marked as read only. You cannot perform any write actions on this subscription until it is re-enabled.", c.sub.ID)
	}
	return nil
}

func (c *call) allowed(action, scope string) bool {
	return c.Directory.Allowed(c.principal.ObjectID, action, scope)
}

// scope is the resource that the path names.
func (c *call) scope() string {
	if s := c.param["scope"]; s != "" {
		return s
	}
	id := "/subscriptions/" + c.sub.ID
	if g := c.param["group"]; g != "" {
		id += "/resourceGroups/" + g
	}
	if a := c.param["account"]; a != "" {
		id += "/providers/" + accountType + "/" + a
	}
	if n := c.param["container"]; n != "" {
		id += "/blobServices/default/containers/" + n
	}
	if n := c.param["table"]; n != "" {
		id += "/tableServices/default/tables/" + n
	}
	return id
}

// locate finds the resource group and account of the path, where the operation is on one that is there.
func (c *call) locate() error {
	name, ok := c.param["group"]
	if !ok {
		return nil
	}
	c.group = c.Directory.Group(c.sub.ID, name)
	if c.group == nil && !c.op.makesGroup {
		return errorf(http.StatusNotFound, "ResourceGroupNotFound", "Resource group '%s' could not be found.", name)
	}
	if name, ok = c.param["account"]; !ok {
		return nil
	}
	a, uses := c.Accounts.Enter(strings.ToLower(name))
	if c.uses = uses; a != nil && a.Resource != nil && a.Resource.Subscription == c.sub.ID && strings.EqualFold(a.Resource.Group, c.group.Name) {
		c.account = a
	}
	if c.account == nil {
		c.leave()
	}
	if c.account == nil && !c.op.makesAccount {
		return c.noAccount()
	}
	return nil
}

func (c *call) noAccount() error {
	return errorf(http.StatusNotFound, "ResourceNotFound", "The Resource '%s/%s' under resource group '%s' was not found. For more details please go to https://aka.ms/ARMResourceNotFoundFix", accountType, c.param["account"], c.group.Name)
}

// body reads the request's document into v. Members that v does not have are taken: clients send back all that they were given.
func (c *call) body(v any) error {
	text, err := io.ReadAll(http.MaxBytesReader(c.w, c.r.Body, maxBody))
	if err != nil {
		var large *http.MaxBytesError
		if errors.As(err, &large) {
			return errorf(http.StatusRequestEntityTooLarge, "RequestContentTooLarge", "The request content size exceeds the maximum size of %d bytes.", maxBody)
		}
		return errorf(http.StatusBadRequest, "InvalidRequestContent", "The request content could not be read.")
	}
	if err := json.Unmarshal(text, v); err != nil {
		return errorf(http.StatusBadRequest, "InvalidRequestContent", "The request content was invalid and could not be deserialized: '%s'.", err)
	}
	return nil
}

func (c *call) reply(status int, body any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("encode the answer: %w", err)
	}
	c.w.Header().Set("Content-Type", "application/json; charset=utf-8")
	c.w.WriteHeader(status)
	_, _ = c.w.Write(text) // a failure is the client's
	return nil
}

func (c *call) empty(status int) error {
	c.w.WriteHeader(status)
	return nil
}

type object = map[string]any

func list[T any](items []T) object {
	if items == nil {
		items = []T{}
	}
	return object{"value": items}
}

// timeText is how the resource provider writes times.
func timeText(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.0000000Z") }
