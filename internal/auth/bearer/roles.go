package bearer

import (
	"fmt"
	"slices"
	"strings"

	"github.com/blobd/blobd/internal/auth"
)

// Role is a built-in data role of Azure Storage.
type Role byte

// The roles.
const (
	BlobOwner Role = iota
	BlobContributor
	BlobReader
	BlobDelegator
	TableContributor
	TableReader
)

type roleRow struct {
	role    Role
	service auth.Service
	short   string
	name    string
	actions []auth.Action
}

var roles = []roleRow{
	{BlobOwner, auth.Blob, "blob-owner", "Storage Blob Data Owner", []auth.Action{auth.ActionRead, auth.ActionWrite, auth.ActionDelete, auth.ActionTags, auth.ActionOwn, auth.ActionKey}},
	{BlobContributor, auth.Blob, "blob-contributor", "Storage Blob Data Contributor", []auth.Action{auth.ActionRead, auth.ActionWrite, auth.ActionDelete, auth.ActionKey}},
	{BlobReader, auth.Blob, "blob-reader", "Storage Blob Data Reader", []auth.Action{auth.ActionRead, auth.ActionKey}},
	{BlobDelegator, auth.Blob, "blob-delegator", "Storage Blob Delegator", []auth.Action{auth.ActionKey}},
	{TableContributor, auth.Table, "table-contributor", "Storage Table Data Contributor", []auth.Action{auth.ActionRead, auth.ActionWrite, auth.ActionDelete}},
	{TableReader, auth.Table, "table-reader", "Storage Table Data Reader", []auth.Action{auth.ActionRead}},
}

// Assignment gives a role to somebody.
type Assignment struct {
	Kind PrincipalKind
	ID   string
	Role Role
	// Account and Container bound the role; empty for all.
	Account, Container string
}

// PrincipalKind is by which claim an assignment recognises its principals.
type PrincipalKind byte

// The kinds.
const (
	Object   PrincipalKind = iota // oid
	Group                         // one of groups
	AppRole                       // one of roles
	Everyone                      // any holder of a good token
)

// ParseAssignment reads WHO=ROLE[@ACCOUNT[/CONTAINER]]. WHO is an object id, group:ID, approle:NAME or *; ROLE is a role's
// name as Azure has it, or blob-owner, blob-contributor, blob-reader, blob-delegator, table-contributor, table-reader.
func ParseAssignment(text string) (a Assignment, err error) {
	who, rest, ok := strings.Cut(text, "=")
	if !ok || who == "" {
		return a, fmt.Errorf("role %q: WHO=ROLE[@ACCOUNT[/CONTAINER]] is needed", text)
	}
	switch kind, id, typed := strings.Cut(who, ":"); {
	case who == "*":
		a.Kind = Everyone
	case typed && kind == "group" && id != "":
		a.Kind, a.ID = Group, id
	case typed && kind == "approle" && id != "":
		a.Kind, a.ID = AppRole, id
	case typed:
		return a, fmt.Errorf("role %q: WHO is an object id, group:ID, approle:NAME or *", text)
	default:
		a.ID = who
	}
	name, scope, scoped := strings.Cut(rest, "@")
	i := slices.IndexFunc(roles, func(r roleRow) bool {
		return strings.EqualFold(r.short, name) || strings.EqualFold(r.name, name)
	})
	if i < 0 {
		return a, fmt.Errorf("role %q: there is no role %q", text, name)
	}
	a.Role = roles[i].role
	if scoped {
		a.Account, a.Container, _ = strings.Cut(scope, "/")
		if a.Account == "" {
			return a, fmt.Errorf("role %q: the account is missing", text)
		}
	}
	return a, nil
}

func (a *Assignment) is(p *Principal) bool {
	switch a.Kind {
	case Object:
		return strings.EqualFold(a.ID, p.ObjectID)
	case Group:
		return slices.Contains(p.Groups, a.ID)
	case AppRole:
		return slices.Contains(p.AppRoles, a.ID)
	}
	return true
}

// allows reports whether some assignment lets the principal do it. What works on a whole account needs a role on all of it.
func allows(assignments []Assignment, p *Principal, account string, service auth.Service, action auth.Action, container string) bool {
	for i := range assignments {
		a := &assignments[i]
		role := &roles[a.Role]
		if role.service != service || !slices.Contains(role.actions, action) || !a.is(p) {
			continue
		}
		if (a.Account == "" || a.Account == account) && (a.Container == "" || strings.EqualFold(a.Container, container)) {
			return true
		}
	}
	return false
}
