package bearer

import (
	"fmt"
	"slices"
	"strings"

	"github.com/blobd/blobd/internal/auth"
)

// Role is a built-in role of Azure Storage.
type Role byte

// The roles.
const (
	BlobOwner Role = iota
	BlobContributor
	BlobReader
	BlobDelegator
	TableContributor
	TableReader
	AccountContributor
)

type roleRow struct {
	role        Role
	short       string
	name        string
	blob, table actions // what it lets do in each service
}

// actions is a set of actions.
type actions uint16

func of(list ...auth.Action) (set actions) {
	for _, a := range list {
		set |= 1 << a
	}
	return set
}

var (
	readsBlobs  = of(auth.ActionRead, auth.ActionService, auth.ActionKey)
	writesBlobs = readsBlobs | of(auth.ActionWrite, auth.ActionDelete)
	readsTables = of(auth.ActionRead, auth.ActionBatch)
	administers = of(auth.ActionService, auth.ActionManage, auth.ActionACL)
)

// roles says what each role may do, in the order of the roles. Account Contributor administers, and reaches no data.
var roles = [...]roleRow{
	{role: BlobOwner, short: "blob-owner", name: "Storage Blob Data Owner", blob: writesBlobs | of(auth.ActionTags, auth.ActionOwn, auth.ActionACL)},
	{role: BlobContributor, short: "blob-contributor", name: "Storage Blob Data Contributor", blob: writesBlobs},
	{role: BlobReader, short: "blob-reader", name: "Storage Blob Data Reader", blob: readsBlobs},
	{role: BlobDelegator, short: "blob-delegator", name: "Storage Blob Delegator", blob: of(auth.ActionKey)},
	{role: TableContributor, short: "table-contributor", name: "Storage Table Data Contributor", table: readsTables | of(auth.ActionWrite, auth.ActionDelete)},
	{role: TableReader, short: "table-reader", name: "Storage Table Data Reader", table: readsTables},
	{role: AccountContributor, short: "account-contributor", name: "Storage Account Contributor", blob: administers | of(auth.ActionKey), table: administers},
}

// allow reports whether the role lets do it.
func (r *roleRow) allow(service auth.Service, action auth.Action) bool {
	switch service {
	case auth.Blob:
		return r.blob&(1<<action) != 0
	case auth.Table:
		return r.table&(1<<action) != 0
	}
	return false
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
// name as Azure has it, or blob-owner, blob-contributor, blob-reader, blob-delegator, table-contributor, table-reader,
// account-contributor.
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
	i := slices.IndexFunc(roles[:], func(r roleRow) bool {
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

// allows reports whether some assignment lets the principal do it. What works on a whole account needs a role on all of it, but for a
// transaction, which names its table in its operations only.
func allows(assignments []Assignment, p *Principal, account string, service auth.Service, action auth.Action, container string) bool {
	for i := range assignments {
		a := &assignments[i]
		if !roles[a.Role].allow(service, action) || !a.is(p) {
			continue
		}
		if (a.Account == "" || a.Account == account) && (a.Container == "" || action == auth.ActionBatch || strings.EqualFold(a.Container, container)) {
			return true
		}
	}
	return false
}
