package directory

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Role is a built-in role, with Azure's id, actions and data actions.
type Role struct {
	ID, Name, Description                    string
	Actions, NotActions, DataActions, NoData []string
}

const (
	ofAccounts   = "Microsoft.Storage/storageAccounts/"
	ofContainers = ofAccounts + "blobServices/containers/"
	ofBlobs      = ofContainers + "blobs/"
	ofTables     = ofAccounts + "tableServices/tables/"
	ofEntities   = ofTables + "entities/"
	makesKeys    = ofAccounts + "blobServices/generateUserDelegationKey/action"
)

// The ids of the roles that reach data or administer its service.
const (
	OwnerRole              = "8e3af657-a8ff-443c-a75c-2fe8c4bcb635"
	ContributorRole        = "b24988ac-6180-42a0-ab88-20f7382dd24c"
	ReaderRole             = "acdd72a7-3385-48ef-bd42-f606fba81ae7"
	AccountContributorRole = "17d1049b-9a84-46fb-8f53-869881c3d3ab"
	KeyOperatorRole        = "81a9662b-bebf-436f-a333-f67b29880f12"
	BlobOwnerRole          = "b7e6dc6d-f1e8-4753-8033-0f276bb0955b"
	BlobContributorRole    = "ba92f5b4-2d11-453d-a403-e96b0029c9fe"
	BlobReaderRole         = "2a2b9908-6ea1-4ae2-8e65-a410df84e7d1"
	BlobDelegatorRole      = "db58b8e5-c6ad-4a2a-8342-4190687cbf4a"
	TableContributorRole   = "0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3"
	TableReaderRole        = "76199698-9eea-4c19-bc75-cec21354c6b6"
)

// Roles are the built-in roles. Actions are compared as Azure does: without case, and * stands for anything.
var Roles = []Role{
	{ID: OwnerRole, Name: "Owner", Description: "Everything, and to give roles to others.", Actions: []string{"*"}},
	{ID: ContributorRole, Name: "Contributor", Description: "Everything but to give roles to others.", Actions: []string{"*"},
		NotActions: []string{"Microsoft.Authorization/*/Delete", "Microsoft.Authorization/*/Write", "Microsoft.Authorization/elevateAccess/Action"}},
	{ID: ReaderRole, Name: "Reader", Description: "To see everything, and to change nothing.", Actions: []string{"*/read"}},
	{ID: AccountContributorRole, Name: "Storage Account Contributor", Description: "To manage storage accounts, with their keys.", Actions: []string{
		"Microsoft.Authorization/*/read", "Microsoft.Resources/deployments/*", "Microsoft.Resources/subscriptions/resourceGroups/read", ofAccounts + "*"}},
	{ID: KeyOperatorRole, Name: "Storage Account Key Operator Service Role", Description: "To list and regenerate the keys of storage accounts.",
		Actions: []string{ofAccounts + "listkeys/action", ofAccounts + "regeneratekey/action"}},
	{ID: BlobOwnerRole, Name: "Storage Blob Data Owner", Description: "All of containers and blobs.", Actions: []string{ofContainers + "*", makesKeys}, DataActions: []string{ofBlobs + "*"}},
	{ID: BlobContributorRole, Name: "Storage Blob Data Contributor", Description: "To read, write and delete containers and blobs.",
		Actions:     []string{ofContainers + "delete", ofContainers + "read", ofContainers + "write", makesKeys},
		DataActions: []string{ofBlobs + "delete", ofBlobs + "read", ofBlobs + "write", ofBlobs + "move/action", ofBlobs + "add/action"}},
	{ID: BlobReaderRole, Name: "Storage Blob Data Reader", Description: "To read containers and blobs.", Actions: []string{ofContainers + "read", makesKeys}, DataActions: []string{ofBlobs + "read"}},
	{ID: BlobDelegatorRole, Name: "Storage Blob Delegator", Description: "To get a user delegation key.", Actions: []string{makesKeys}},
	{ID: TableContributorRole, Name: "Storage Table Data Contributor", Description: "To read, write and delete tables and entities.",
		Actions:     []string{ofTables + "read", ofTables + "write", ofTables + "delete"},
		DataActions: []string{ofEntities + "read", ofEntities + "write", ofEntities + "delete", ofEntities + "add/action", ofEntities + "update/action"}},
	{ID: TableReaderRole, Name: "Storage Table Data Reader", Description: "To read tables and entities.", Actions: []string{ofTables + "read"}, DataActions: []string{ofEntities + "read"}},
}

// FindRole finds a role by its id or name, nil if there is none.
func FindRole(which string) *Role {
	for i := range Roles {
		if r := &Roles[i]; strings.EqualFold(r.ID, which) || strings.EqualFold(r.Name, which) {
			return r
		}
	}
	return nil
}

// Allows reports whether the role has an action.
func (r *Role) Allows(action string) bool {
	matches := func(pattern string) bool { return matchAction(strings.ToLower(pattern), strings.ToLower(action)) }
	return slices.ContainsFunc(r.Actions, matches) && !slices.ContainsFunc(r.NotActions, matches)
}

// matchAction compares an action with a pattern in which * stands for any run of characters.
func matchAction(pattern, action string) bool {
	head, rest, star := strings.Cut(pattern, "*")
	if !star {
		return pattern == action
	}
	action, ok := strings.CutPrefix(action, head)
	if !ok {
		return false
	}
	for i := 0; i <= len(action); i++ {
		if matchAction(rest, action[i:]) {
			return true
		}
	}
	return false
}

// Assignment gives a principal a role at a scope and all below it.
type Assignment struct {
	ID        string    `json:"id"`
	Principal string    `json:"principal"` // object id
	Role      string    `json:"role"`      // id
	Scope     string    `json:"scope"`     // as written, without a slash at its end
	Created   time.Time `json:"created"`
	By        string    `json:"by,omitempty"` // object id
}

// covers reports whether a scope is at or below another. Both are paths of resources; case is without meaning, whole segments count.
func covers(above, scope string) bool {
	rest, ok := strings.CutPrefix(Fold(scope), Fold(above))
	return ok && (rest == "" || rest[0] == '/')
}

// SubscriptionOf is the id of the subscription that a scope lies in, empty for none.
func SubscriptionOf(scope string) string {
	parts := strings.Split(scope, "/")
	if len(parts) < 3 || parts[0] != "" || !strings.EqualFold(parts[1], "subscriptions") {
		return ""
	}
	return strings.ToLower(parts[2])
}

func (d *Directory) hold(a *Assignment) {
	d.assignments[a.ID] = a
	d.held[a.Principal] = append(d.held[a.Principal], a)
}

// Assign gives a role. One that the principal has there already is ErrExists, and an id that is used for another assignment too. The scope
// lies in a subscription that is there.
func (d *Directory) Assign(ctx context.Context, a Assignment) (*Assignment, error) {
	a.ID, a.Principal, a.Scope, a.Created = strings.ToLower(a.ID), strings.ToLower(a.Principal), strings.TrimSuffix(a.Scope, "/"), d.now().UTC()
	role := FindRole(a.Role)
	d.mu.Lock()
	defer d.mu.Unlock()
	if role == nil || d.principals[a.Principal] == nil || d.subscriptions[SubscriptionOf(a.Scope)] == nil {
		return nil, ErrMissing
	}
	a.Role = role.ID
	for _, b := range d.held[a.Principal] {
		if b.Role == a.Role && strings.EqualFold(b.Scope, a.Scope) {
			return b, ErrExists
		}
	}
	if d.assignments[a.ID] != nil {
		return nil, ErrExists
	}
	if err := d.keep(ctx, keptAssignment, a.ID, &a); err != nil {
		return nil, err
	}
	d.hold(&a)
	return &a, nil
}

// Assignment finds an assignment by its id, nil if there is none.
func (d *Directory) Assignment(id string) *Assignment {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.assignments[strings.ToLower(id)]
}

// Unassign takes a role away.
func (d *Directory) Unassign(ctx context.Context, id string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	a := d.assignments[strings.ToLower(id)]
	if a == nil {
		return ErrMissing
	}
	return d.unassign(ctx, a)
}

func (d *Directory) unassign(ctx context.Context, a *Assignment) error {
	if err := d.drop(ctx, keptAssignment, a.ID); err != nil {
		return err
	}
	delete(d.assignments, a.ID)
	d.held[a.Principal] = slices.DeleteFunc(slices.Clone(d.held[a.Principal]), func(b *Assignment) bool { return a == b })
	return nil
}

// UnassignUnder takes away every role at a scope and below it, as when what is there is deleted.
func (d *Directory) UnassignUnder(ctx context.Context, scope string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.unassignUnder(ctx, scope)
}

func (d *Directory) unassignUnder(ctx context.Context, scope string) error {
	for _, a := range d.assignments {
		if !covers(scope, a.Scope) {
			continue
		}
		if err := d.unassign(ctx, a); err != nil {
			return err
		}
	}
	return nil
}

// Assignments returns those that hold at a scope: at it, above it, and with below those below it too. By their ids' order.
func (d *Directory) Assignments(scope string, below bool) []*Assignment {
	d.mu.RLock()
	defer d.mu.RUnlock()
	var all []*Assignment
	for _, a := range d.assignments {
		if covers(a.Scope, scope) || below && covers(scope, a.Scope) {
			all = append(all, a)
		}
	}
	slices.SortFunc(all, func(a, b *Assignment) int { return strings.Compare(a.ID, b.ID) })
	return all
}

// Held returns the assignments of a principal that hold at a scope or below it.
func (d *Directory) Held(objectID, scope string) []*Assignment {
	d.mu.RLock()
	defer d.mu.RUnlock()
	p := d.principals[strings.ToLower(objectID)]
	if p == nil || p.Disabled {
		return nil
	}
	var held []*Assignment
	for _, a := range d.held[p.ObjectID] {
		if covers(a.Scope, scope) || covers(scope, a.Scope) {
			held = append(held, a)
		}
	}
	return held
}

// Allowed reports whether a principal may do an action at a scope.
func (d *Directory) Allowed(objectID, action, scope string) bool {
	for _, a := range d.Held(objectID, scope) {
		if covers(a.Scope, scope) && FindRole(a.Role).Allows(action) {
			return true
		}
	}
	return false
}

// Visible returns the subscriptions in which a principal has any role.
func (d *Directory) Visible(objectID string) []*Subscription {
	var all []*Subscription
	for _, s := range d.Subscriptions() {
		if len(d.Held(objectID, "/subscriptions/"+s.ID)) > 0 {
			all = append(all, s)
		}
	}
	return all
}

// String is for logs and the operator.
func (a *Assignment) String() string {
	return fmt.Sprintf("%s: %s at %s", a.Principal, FindRole(a.Role).Name, a.Scope)
}
