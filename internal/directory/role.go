package directory

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/blobd/blobd/internal/invariants"
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

	folded string // Scope, as scopes are compared
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
	a.folded = Fold(a.Scope)
	d.assignments[a.ID] = a
	d.assigned.add(a)
	held := d.held[a.Principal]
	if held == nil {
		held = newScopes()
		d.held[a.Principal] = held
	}
	held.add(a)
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
	if held := d.held[a.Principal]; held != nil {
		for _, b := range held.at[Fold(a.Scope)] {
			if b.Role == a.Role {
				return b, ErrExists
			}
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
	d.assigned.remove(a)
	held := d.held[a.Principal]
	if held.remove(a); len(held.at) == 0 {
		delete(d.held, a.Principal)
	}
	return nil
}

// UnassignUnder takes away every role at a scope and below it, as when what is there is deleted.
func (d *Directory) UnassignUnder(ctx context.Context, scope string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.unassignUnder(ctx, scope)
}

func (d *Directory) unassignUnder(ctx context.Context, scope string) error {
	for _, a := range slices.Clone(d.assigned.under(Fold(scope))) {
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
	all := d.assigned.around(Fold(scope), below)
	slices.SortFunc(all, func(a, b *Assignment) int { return strings.Compare(a.ID, b.ID) })
	return all
}

// heldBy is what a principal holds, nil if it may do nothing. The lock is held.
func (d *Directory) heldBy(objectID string) *scopes {
	p := d.principals[strings.ToLower(objectID)]
	if p == nil || p.Disabled {
		return nil
	}
	return d.held[p.ObjectID]
}

// Held returns the assignments of a principal that hold at a scope or below it.
func (d *Directory) Held(objectID, scope string) []*Assignment {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.heldBy(objectID).around(Fold(scope), true)
}

// Sees reports whether a principal has any role in a subscription.
func (d *Directory) Sees(objectID, subscription string) bool {
	d.mu.RLock()
	defer d.mu.RUnlock()
	held := d.heldBy(objectID)
	return held != nil && len(held.below["/subscriptions/"+strings.ToLower(subscription)]) > 0
}

// Allowed reports whether a principal may do an action at a scope.
func (d *Directory) Allowed(objectID, action, scope string) bool {
	d.mu.RLock()
	defer d.mu.RUnlock()
	for a := range d.heldBy(objectID).over(Fold(scope)) {
		if FindRole(a.Role).Allows(action) {
			return true
		}
	}
	return false
}

// Visible returns the subscriptions in which a principal has any role, by their names' order.
func (d *Directory) Visible(objectID string) []*Subscription {
	d.mu.RLock()
	defer d.mu.RUnlock()
	held := d.heldBy(objectID)
	if held == nil {
		return nil
	}
	seen := map[string]*Subscription{}
	for scope := range held.at {
		if id := SubscriptionOf(scope); d.subscriptions[id] != nil {
			seen[id] = d.subscriptions[id]
		}
	}
	invariants.Look(len(held.at))
	return byName(seen)
}

// String is for logs and the operator.
func (a *Assignment) String() string {
	return fmt.Sprintf("%s: %s at %s", a.Principal, FindRole(a.Role).Name, a.Scope)
}
