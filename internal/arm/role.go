package arm

import (
	"context"
	"errors"
	"net/http"
	"regexp"
	"strings"

	"github.com/google/uuid"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/auth"
	"github.com/blobd/blobd/internal/auth/bearer"
	"github.com/blobd/blobd/internal/directory"
)

func (c *call) roleID(r *directory.Role) string {
	return "/subscriptions/" + c.sub.ID + "/providers/Microsoft.Authorization/roleDefinitions/" + r.ID
}

func (c *call) roleBody(r *directory.Role) object {
	some := func(l []string) []string {
		if l == nil {
			return []string{}
		}
		return l
	}
	return object{"id": c.roleID(r), "name": r.ID, "type": "Microsoft.Authorization/roleDefinitions", "properties": object{
		"roleName": r.Name, "type": "BuiltInRole", "description": r.Description, "assignableScopes": []string{"/"},
		"permissions": []object{{"actions": some(r.Actions), "notActions": some(r.NotActions), "dataActions": some(r.DataActions), "notDataActions": some(r.NoData)}},
	}}
}

var roleNameFilter = regexp.MustCompile(`(?i)^\s*roleName\s+eq\s+'((?:[^']|'')*)'\s*$`)

func (c *call) listRoles() error {
	name := ""
	if f := c.query.Get("$filter"); f != "" && !strings.EqualFold(f, "type eq 'BuiltInRole'") && !strings.EqualFold(f, "atScopeAndBelow()") {
		m := roleNameFilter.FindStringSubmatch(f)
		if m == nil {
			return errorf(http.StatusBadRequest, "UnsupportedQuery", "The filter '%s' is not supported.", f)
		}
		name = strings.ReplaceAll(m[1], "''", "'")
	}
	all := []object{}
	for i := range directory.Roles {
		if r := &directory.Roles[i]; name == "" || strings.EqualFold(name, r.Name) {
			all = append(all, c.roleBody(r))
		}
	}
	return c.reply(http.StatusOK, list(all))
}

func (c *call) getRole() error {
	if r := directory.FindRole(c.param["role"]); r != nil && strings.EqualFold(r.ID, c.param["role"]) {
		return c.reply(http.StatusOK, c.roleBody(r))
	}
	return errorf(http.StatusNotFound, "RoleDefinitionDoesNotExist", "The specified role definition with ID '%s' does not exist.", c.param["role"])
}

func (c *call) assignmentBody(a *directory.Assignment) object {
	kind := directory.User
	if p := c.Directory.Principal(a.Principal); p != nil {
		kind = p.Kind
	}
	return object{"id": a.Scope + "/providers/Microsoft.Authorization/roleAssignments/" + a.ID, "name": a.ID, "type": "Microsoft.Authorization/roleAssignments", "properties": object{
		"roleDefinitionId": c.roleID(directory.FindRole(a.Role)), "principalId": a.Principal, "principalType": kind, "scope": a.Scope,
		"createdOn": timeText(a.Created), "updatedOn": timeText(a.Created), "createdBy": a.By, "updatedBy": a.By,
	}}
}

var (
	assignedFilter = regexp.MustCompile(`(?i)^\s*(?:principalId\s+eq|assignedTo\()\s*'([0-9a-f-]+)'\s*\)?\s*$`)
	atScopeFilter  = regexp.MustCompile(`(?i)^\s*atScope\(\)\s*(?:and\s+(.*))?$`)
)

// listAssignments lists what holds at the scope, and below it but for atScope().
func (c *call) listAssignments() error {
	filter, below, who := c.query.Get("$filter"), true, ""
	if m := atScopeFilter.FindStringSubmatch(filter); m != nil {
		filter, below = m[1], false
	}
	if filter != "" {
		m := assignedFilter.FindStringSubmatch(filter)
		if m == nil {
			return errorf(http.StatusBadRequest, "UnsupportedQuery", "The filter '%s' is not supported.", c.query.Get("$filter"))
		}
		who = m[1]
	}
	all := []object{}
	for _, a := range c.Directory.Assignments(strings.TrimSuffix(c.scope(), "/"), below) {
		if who == "" || strings.EqualFold(who, a.Principal) {
			all = append(all, c.assignmentBody(a))
		}
	}
	return c.reply(http.StatusOK, list(all))
}

// assignment finds the one that the path names, at its own scope.
func (c *call) assignment() *directory.Assignment {
	if a := c.Directory.Assignment(c.param["assignment"]); a != nil && strings.EqualFold(a.Scope, c.scope()) {
		return a
	}
	return nil
}

func (c *call) getAssignment() error {
	if a := c.assignment(); a != nil {
		return c.reply(http.StatusOK, c.assignmentBody(a))
	}
	return errorf(http.StatusNotFound, "RoleAssignmentNotFound", "The role assignment '%s' is not found.", c.param["assignment"])
}

func (c *call) putAssignment() error {
	var b struct {
		Properties struct {
			Role      string `json:"roleDefinitionId"`
			Principal string `json:"principalId"`
		} `json:"properties"`
	}
	if err := c.body(&b); err != nil {
		return err
	}
	id := c.param["assignment"]
	if uuid.Validate(id) != nil || len(id) != 36 {
		return errorf(http.StatusBadRequest, "InvalidRoleAssignmentId", "The role assignment ID '%s' is not valid. The role assignment ID must be a GUID.", id)
	}
	role := directory.FindRole(b.Properties.Role[strings.LastIndexByte(b.Properties.Role, '/')+1:])
	if role == nil || !strings.EqualFold(role.ID, b.Properties.Role[strings.LastIndexByte(b.Properties.Role, '/')+1:]) {
		return errorf(http.StatusBadRequest, "RoleDefinitionDoesNotExist", "The specified role definition with ID '%s' does not exist.", b.Properties.Role)
	}
	p := c.Directory.Principal(b.Properties.Principal)
	if p == nil {
		return errorf(http.StatusBadRequest, "PrincipalNotFound", "Principal %s does not exist in the directory %s.", b.Properties.Principal, c.Directory.Tenant())
	}
	scope, err := c.knownScope()
	if err != nil {
		return err
	}
	a, err := c.Directory.Assign(c.ctx, directory.Assignment{ID: id, Principal: p.ObjectID, Role: role.ID, Scope: scope, By: c.principal.ObjectID})
	switch {
	case errors.Is(err, directory.ErrExists) && a != nil && strings.EqualFold(a.ID, id):
		return c.reply(http.StatusOK, c.assignmentBody(a))
	case errors.Is(err, directory.ErrExists) && a != nil:
		return errorf(http.StatusConflict, "RoleAssignmentExists", "The role assignment already exists. The ID of the existing role assignment is %s.", strings.ReplaceAll(a.ID, "-", ""))
	case errors.Is(err, directory.ErrExists):
		return errorf(http.StatusConflict, "RoleAssignmentUpdateNotPermitted", "Tenant ID, application ID, principal ID, and scope are not allowed to be updated.")
	case err != nil:
		return err
	}
	return c.reply(http.StatusCreated, c.assignmentBody(a))
}

func (c *call) deleteAssignment() error {
	a := c.assignment()
	if a == nil {
		return c.empty(http.StatusNoContent)
	}
	body := c.assignmentBody(a)
	if err := c.Directory.Unassign(c.ctx, a.ID); err != nil && !errors.Is(err, directory.ErrMissing) {
		return err
	}
	return c.reply(http.StatusOK, body)
}

var scopeForm = regexp.MustCompile(`(?i)^/subscriptions/([^/]+)(?:/resourceGroups/([^/]+)(?:/providers/Microsoft\.Storage/storageAccounts/([^/]+)(?:/(?:blobServices/default/containers/([^/]+)|tableServices/default/tables/([^/]+)))?)?)?$`)

// knownScope is the scope of the path in the case of what is there: a subscription, group, account, container or table. What is not there
// can have no roles, as they would be for whoever makes it later.
func (c *call) knownScope() (string, error) {
	scope := c.scope()
	m := scopeForm.FindStringSubmatch(scope)
	if m == nil {
		return "", errorf(http.StatusBadRequest, "InvalidScope", "The scope '%s' is not one of a subscription, resource group, storage account, container or table.", scope)
	}
	known := "/subscriptions/" + c.sub.ID
	if m[2] == "" {
		return known, nil
	}
	if c.group = c.Directory.Group(c.sub.ID, m[2]); c.group == nil {
		return "", errorf(http.StatusNotFound, "ResourceGroupNotFound", "Resource group '%s' could not be found.", m[2])
	}
	known = groupID(c.group)
	if m[3] == "" {
		return known, nil
	}
	c.param["group"], c.param["account"] = m[2], m[3]
	if err := c.locate(); err != nil {
		return "", err
	}
	if c.account == nil {
		return "", c.noAccount()
	}
	known = accountID(c.account)
	var err error
	switch container, table := m[4], m[5]; {
	case container != "":
		known = c.containerID(container)
		c.param["container"] = container
		_, err = c.Blobs.Container(c.ctx, c.target())
	case table != "":
		known = c.tableID(table)
		_, err = c.Tables.Policies(c.ctx, c.account.Name, table)
	}
	return known, err
}

// KnownScope returns a scope in the case of what is there, or an error that says what is not there.
func (s *Server) KnownScope(ctx context.Context, scope string) (string, error) {
	c := &call{Server: s, ctx: ctx, op: &operation{}, param: map[string]string{"scope": strings.TrimSuffix(scope, "/")}}
	defer c.leave()
	if c.sub = s.Directory.Subscription(directory.SubscriptionOf(scope)); c.sub == nil {
		return "", errorf(http.StatusNotFound, "SubscriptionNotFound", "The scope '%s' is not in a subscription that is there.", scope)
	}
	return c.knownScope()
}

// Forget returns what takes away the roles at a container or table, by its service: one of the same name that is made later is another,
// whoever deletes it, and by whatever service.
func Forget(d *directory.Directory, accounts *account.Store, service auth.Service) func(ctx context.Context, account, name string) error {
	below := "/blobServices/default/containers/"
	if service == auth.Table {
		below = "/tableServices/default/tables/"
	}
	return func(ctx context.Context, account, name string) error {
		a := accounts.Lookup(account)
		if a == nil || a.Resource == nil {
			return nil
		}
		return d.UnassignUnder(ctx, accountID(a)+below+name)
	}
}

// dataRoles are the roles of the gate for those of the directory, at the services where they reach anything.
var dataRoles = map[string]struct {
	role        bearer.Role
	blob, table bool
}{
	directory.BlobOwnerRole:          {bearer.BlobOwner, true, false},
	directory.BlobContributorRole:    {bearer.BlobContributor, true, false},
	directory.BlobReaderRole:         {bearer.BlobReader, true, false},
	directory.BlobDelegatorRole:      {bearer.BlobDelegator, true, false},
	directory.TableContributorRole:   {bearer.TableContributor, false, true},
	directory.TableReaderRole:        {bearer.TableReader, false, true},
	directory.OwnerRole:              {bearer.AccountContributor, true, true},
	directory.ContributorRole:        {bearer.AccountContributor, true, true},
	directory.AccountContributorRole: {bearer.AccountContributor, true, true},
}

// DataRoles returns what roles a principal has at an account, as the gate knows them. An account that belongs to no subscription is
// for nobody by a role.
func DataRoles(d *directory.Directory, objectID string, a *account.Account) []bearer.Assignment {
	if a.Resource == nil {
		return nil
	}
	id := accountID(a)
	var roles []bearer.Assignment
	for _, held := range d.Held(objectID, id) {
		r, ok := dataRoles[held.Role]
		if !ok {
			continue
		}
		as := bearer.Assignment{ID: objectID, Role: r.role, Account: a.Name}
		if below := held.Scope[min(len(held.Scope), len(id)):]; below != "" {
			service, name, _ := strings.Cut(strings.TrimPrefix(below, "/"), "/default/")
			_, name, _ = strings.Cut(name, "/")
			if name == "" || r.blob != r.table && r.blob != strings.EqualFold(service, "blobServices") || r.blob == r.table {
				continue
			}
			as.Container = name
		}
		roles = append(roles, as)
	}
	return roles
}
