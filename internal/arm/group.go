package arm

import (
	"encoding/json"
	"net/http"
	"regexp"
	"strings"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/directory"
)

func lower(s string) string { return strings.ToLower(s) }

func within(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}

func groupID(g *directory.Group) string {
	return "/subscriptions/" + g.Subscription + "/resourceGroups/" + g.Name
}

func groupBody(g *directory.Group) object {
	b := object{"id": groupID(g), "name": g.Name, "type": "Microsoft.Resources/resourceGroups", "location": g.Location, "properties": object{"provisioningState": "Succeeded"}}
	if len(g.Tags) > 0 {
		b["tags"] = g.Tags
	}
	return b
}

func (c *call) listGroups() error {
	var all []object
	for _, g := range c.Directory.Groups(c.sub.ID) {
		if c.allowed(c.op.action, groupID(g)) {
			all = append(all, groupBody(g))
		}
	}
	return c.reply(http.StatusOK, list(all))
}

func (c *call) headGroup() error {
	if c.group == nil {
		return c.empty(http.StatusNotFound)
	}
	return c.empty(http.StatusNoContent)
}

func (c *call) getGroup() error { return c.reply(http.StatusOK, groupBody(c.group)) }

func (c *call) putGroup() error {
	var b struct {
		Location string            `json:"location"`
		Tags     map[string]string `json:"tags"`
	}
	if err := c.body(&b); err != nil {
		return err
	}
	name := c.param["group"]
	if !directory.ValidGroupName(name) {
		return errorf(http.StatusBadRequest, "InvalidResourceGroupName", "The provided resource group name '%s' has these invalid characters or is too long: it may hold letters, digits, '-', '.', '_', '(' and ')', 1 to 90 of them, and does not end with a period.", name)
	}
	if b.Location == "" {
		return errorf(http.StatusBadRequest, "LocationRequired", "The location property is required for this definition.")
	}
	if c.group != nil && !c.isLocation(b.Location) {
		return errorf(http.StatusConflict, "InvalidResourceGroupLocation", "Invalid resource group location '%s'. The Resource group already exists in location '%s'.", b.Location, c.group.Location)
	}
	if !c.isLocation(b.Location) {
		return errorf(http.StatusBadRequest, "LocationNotAvailableForResourceGroup", "The provided location '%s' is not available for resource group. List of available regions is '%s'.", b.Location, c.Location)
	}
	if err := checkTags(b.Tags); err != nil {
		return err
	}
	g, created, err := c.Directory.PutGroup(c.ctx, &directory.Group{Subscription: c.sub.ID, Name: name, Location: c.Location, Tags: b.Tags})
	if err != nil {
		return err
	}
	status := http.StatusOK
	if created {
		status = http.StatusCreated
	}
	return c.reply(status, groupBody(g))
}

func (c *call) patchGroup() error {
	var b struct {
		Tags *map[string]string `json:"tags"`
	}
	if err := c.body(&b); err != nil {
		return err
	}
	g := *c.group
	if b.Tags != nil {
		g.Tags = *b.Tags
	}
	if err := checkTags(g.Tags); err != nil {
		return err
	}
	kept, _, err := c.Directory.PutGroup(c.ctx, &g)
	if err != nil {
		return err
	}
	return c.reply(http.StatusOK, groupBody(kept))
}

// deleteGroup deletes the accounts in it too. What it cannot finish it leaves with the group, to be deleted again.
func (c *call) deleteGroup() error {
	c.Server.groups.Lock()
	defer c.Server.groups.Unlock()
	for _, a := range c.accountsIn(c.group) {
		if err := c.erase(a); err != nil {
			return err
		}
	}
	if err := c.Directory.RemoveGroup(c.ctx, c.sub.ID, c.group.Name); err != nil {
		return err
	}
	return c.empty(http.StatusOK)
}

// accountsIn returns the accounts of a group, or all of the subscription for nil.
func (c *call) accountsIn(g *directory.Group) []*account.Account {
	var in []*account.Account
	for _, a := range c.Accounts.Owned(c.sub.ID) {
		if g == nil || strings.EqualFold(a.Resource.Group, g.Name) {
			in = append(in, a)
		}
	}
	return in
}

func (c *call) isLocation(l string) bool {
	return strings.EqualFold(strings.ReplaceAll(l, " ", ""), strings.ReplaceAll(c.Location, " ", ""))
}

// Azure's bounds of tags.
const (
	maxTags     = 50
	maxTagName  = 512
	maxTagValue = 256
	// maxTagsSize is this server's own, in bytes of all tags as JSON.
	maxTagsSize = 24 << 10
)

func checkTags(tags map[string]string) error {
	if len(tags) > maxTags {
		return errorf(http.StatusBadRequest, "TooManyTags", "The number of tags, %d, exceeds the maximum of %d.", len(tags), maxTags)
	}
	// They are kept in a record with more in it, whose size is bounded.
	if text, err := json.Marshal(tags); err != nil || len(text) > maxTagsSize {
		return errorf(http.StatusBadRequest, "InvalidTags", "The tags take more than %d bytes in all.", maxTagsSize)
	}
	for name, value := range tags {
		if name == "" || len([]rune(name)) > maxTagName || strings.ContainsAny(name, `<>%&\?/`) {
			return errorf(http.StatusBadRequest, "InvalidTagNameCharacters", "The tag name '%s' is empty, too long, or holds one of <>%%&\\?/.", name)
		}
		if len([]rune(value)) > maxTagValue {
			return errorf(http.StatusBadRequest, "TagValueTooLong", "The value of the tag '%s' is longer than %d characters.", name, maxTagValue)
		}
	}
	return nil
}

var filterTerm = regexp.MustCompile(`(?i)^\s*(resourceType|resourceGroup|name|location)\s+eq\s+'((?:[^']|'')*)'\s*$`)

// listResources is the list of what there is in a subscription or group, with the filters that clients use.
func (c *call) listResources() error {
	terms := map[string]string{}
	if f := c.query.Get("$filter"); f != "" {
		for _, t := range regexp.MustCompile(`(?i)\s+and\s+`).Split(f, -1) {
			m := filterTerm.FindStringSubmatch(t)
			if m == nil {
				return errorf(http.StatusBadRequest, "InvalidFilterInQueryString", "Invalid $filter '%s' specified in the query string.", f)
			}
			terms[lower(m[1])] = strings.ReplaceAll(m[2], "''", "'")
		}
	}
	is := func(name, value string) bool { t, ok := terms[name]; return !ok || strings.EqualFold(t, value) }
	all := []object{}
	for _, a := range c.accountsIn(c.group) {
		if !is("resourcetype", accountType) || !is("resourcegroup", a.Resource.Group) || !is("name", a.Name) || !is("location", a.Resource.Location) || !c.allowed(c.op.action, accountID(a)) {
			continue
		}
		b := object{"id": accountID(a), "name": a.Name, "type": accountType, "location": a.Resource.Location, "kind": a.Kind, "sku": skuBody(a.SKU)}
		if len(a.Resource.Tags) > 0 {
			b["tags"] = a.Resource.Tags
		}
		if within(c.query.Get("$expand"), "createdTime") {
			b["createdTime"], b["changedTime"], b["provisioningState"] = timeText(a.Created), timeText(a.Created), "Succeeded"
		}
		all = append(all, b)
	}
	return c.reply(http.StatusOK, list(all))
}
