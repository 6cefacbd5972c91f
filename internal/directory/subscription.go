package directory

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/blobd/blobd/internal/usage"
)

// Subscription is what accounts belong to. It is immutable, as is a Group.
type Subscription struct {
	ID           string    `json:"id"`
	Name         string    `json:"name"`
	Created      time.Time `json:"created"`
	MaxAccounts  int       `json:"maxAccounts"`
	usage.Limits           // of its accounts together
	Disabled     bool      `json:"disabled,omitempty"`
}

// DefaultMaxAccounts is how many accounts a subscription may have if nothing else is said, as in Azure.
const DefaultMaxAccounts = 250

// Group is a resource group.
type Group struct {
	Subscription string            `json:"subscription"`
	Name         string            `json:"name"` // as it was written first
	Location     string            `json:"location"`
	Tags         map[string]string `json:"tags,omitempty"`
}

// AddSubscription makes a subscription.
func (d *Directory) AddSubscription(ctx context.Context, name string, maxAccounts int) (*Subscription, error) {
	if err := CheckName(name); err != nil {
		return nil, err
	}
	if maxAccounts < 0 {
		return nil, fmt.Errorf("a subscription may have 0 or more accounts")
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.called[Fold(name)] != nil {
		return nil, fmt.Errorf("subscription %s: %w", name, ErrExists)
	}
	s := &Subscription{ID: uuid.NewString(), Name: name, Created: d.now().UTC(), MaxAccounts: maxAccounts}
	if err := d.keep(ctx, keptSubscription, s.ID, s); err != nil {
		return nil, err
	}
	d.noteSubscription(s)
	return s, nil
}

// noteSubscription is called with the lock held, or before anybody knows the directory.
func (d *Directory) noteSubscription(s *Subscription) {
	d.subscriptions[s.ID] = s
	d.called[Fold(s.Name)] = s
}

// SetSubscription changes how much a subscription may have, and whether it is disabled: then it is read only.
func (d *Directory) SetSubscription(ctx context.Context, id string, change func(*Subscription)) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	old := d.subscriptions[id]
	if old == nil {
		return ErrMissing
	}
	s := *old
	change(&s)
	s.ID, s.Name = old.ID, old.Name
	if err := d.keep(ctx, keptSubscription, s.ID, &s); err != nil {
		return err
	}
	d.noteSubscription(&s)
	return nil
}

// RemoveSubscription removes a subscription without resource groups, with the role assignments in it.
func (d *Directory) RemoveSubscription(ctx context.Context, id string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.subscriptions[id]
	if s == nil {
		return ErrMissing
	}
	if len(d.groups[id]) > 0 {
		return fmt.Errorf("the subscription has resource groups: delete them first")
	}
	if err := d.unassignUnder(ctx, "/subscriptions/"+id); err != nil {
		return err
	}
	if err := d.drop(ctx, keptSubscription, id); err != nil {
		return err
	}
	delete(d.subscriptions, id)
	delete(d.called, Fold(s.Name))
	return nil
}

// Subscription finds one by its id, nil if there is none.
func (d *Directory) Subscription(id string) *Subscription {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.subscriptions[strings.ToLower(id)]
}

// FindSubscription finds one by its id or name, nil if there is none.
func (d *Directory) FindSubscription(which string) *Subscription {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if s := d.subscriptions[strings.ToLower(which)]; s != nil {
		return s
	}
	return d.called[Fold(which)]
}

// Subscriptions returns all, by their names' order.
func (d *Directory) Subscriptions() []*Subscription {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return byName(d.subscriptions)
}

// byName orders subscriptions; no two have one name.
func byName(of map[string]*Subscription) []*Subscription {
	return slices.SortedFunc(maps.Values(of), func(a, b *Subscription) int { return strings.Compare(a.Name, b.Name) })
}

var groupName = regexp.MustCompile(`^[\p{L}\p{N}_().-]{1,90}$`)

// ValidGroupName tells the names that resource groups may have.
func ValidGroupName(name string) bool {
	return groupName.MatchString(name) && !strings.HasSuffix(name, ".")
}

func (d *Directory) noteGroup(g *Group) {
	in := d.groups[g.Subscription]
	if in == nil {
		in = map[string]*Group{}
		d.groups[g.Subscription] = in
	}
	in[Fold(g.Name)] = g
}

func groupID(subscription, name string) string {
	return subscription + "/" + fmt.Sprintf("%x", Fold(name))
}

// Group finds a resource group, nil if there is none.
func (d *Directory) Group(subscription, name string) *Group {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.groups[strings.ToLower(subscription)][Fold(name)]
}

// Groups returns the resource groups of a subscription, by their names' order.
func (d *Directory) Groups(subscription string) []*Group {
	d.mu.RLock()
	defer d.mu.RUnlock()
	var all []*Group
	for _, g := range d.groups[strings.ToLower(subscription)] {
		all = append(all, g)
	}
	slices.SortFunc(all, func(a, b *Group) int { return strings.Compare(Fold(a.Name), Fold(b.Name)) })
	return all
}

// PutGroup makes a resource group, or replaces its tags; its name and location stay as they were first.
func (d *Directory) PutGroup(ctx context.Context, g *Group) (kept *Group, created bool, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.subscriptions[g.Subscription] == nil {
		return nil, false, ErrMissing
	}
	c := *g
	old := d.groups[g.Subscription][Fold(g.Name)]
	if old != nil {
		c.Name, c.Location = old.Name, old.Location
	}
	if err := d.keep(ctx, keptGroup, groupID(c.Subscription, c.Name), &c); err != nil {
		return nil, false, err
	}
	d.noteGroup(&c)
	return &c, old == nil, nil
}

// RemoveGroup removes a resource group with the role assignments in it. What it has of resources is the caller's.
func (d *Directory) RemoveGroup(ctx context.Context, subscription, name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	g := d.groups[subscription][Fold(name)]
	if g == nil {
		return ErrMissing
	}
	if err := d.unassignUnder(ctx, "/subscriptions/"+subscription+"/resourceGroups/"+g.Name); err != nil {
		return err
	}
	if err := d.drop(ctx, keptGroup, groupID(subscription, g.Name)); err != nil {
		return err
	}
	delete(d.groups[subscription], Fold(name))
	return nil
}
