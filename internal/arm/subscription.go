package arm

import (
	"net/http"

	"github.com/blobd/blobd/internal/directory"
)

func (c *call) subscription(s *directory.Subscription) object {
	state := "Enabled"
	if s.Disabled {
		state = "Disabled"
	}
	return object{
		"id": "/subscriptions/" + s.ID, "subscriptionId": s.ID, "displayName": s.Name, "state": state, "tenantId": c.Directory.Tenant(),
		"authorizationSource": "RoleBased", "managedByTenants": []any{},
		"subscriptionPolicies": object{"locationPlacementId": "Public_2014-09-01", "quotaId": "blobd", "spendingLimit": "Off"},
	}
}

func (c *call) listSubscriptions() error {
	var all []object
	for _, s := range c.Directory.Visible(c.principal.ObjectID) {
		all = append(all, c.subscription(s))
	}
	return c.reply(http.StatusOK, list(all))
}

func (c *call) getSubscription() error { return c.reply(http.StatusOK, c.subscription(c.sub)) }

func (c *call) listTenants() error {
	t := c.Directory.Tenant()
	return c.reply(http.StatusOK, list([]object{{"id": "/tenants/" + t, "tenantId": t, "displayName": "blobd", "countryCode": "", "tenantCategory": "Home", "domains": []string{}, "defaultDomain": "blobd"}}))
}

func (c *call) listLocations() error {
	return c.reply(http.StatusOK, list([]object{{
		"id": "/subscriptions/" + c.sub.ID + "/locations/" + c.Location, "name": c.Location, "displayName": c.Location, "regionalDisplayName": c.Location,
		"type": "Region", "longitude": "0", "latitude": "0",
		"metadata": object{"regionType": "Physical", "regionCategory": "Recommended", "longitude": "0", "latitude": "0", "physicalLocation": "", "pairedRegion": []any{}},
	}}))
}

func (c *call) listTagNames() error { return c.reply(http.StatusOK, list[object](nil)) }

// provider describes a namespace; ok is false for one that is not there.
func (c *call) provider(namespace string) (object, bool) {
	types, ok := providers[lower(namespace)]
	if !ok {
		return nil, false
	}
	var resourceTypes []object
	for _, t := range types.types {
		resourceTypes = append(resourceTypes, object{"resourceType": t, "locations": []string{c.Location}, "apiVersions": types.versions, "capabilities": "SupportsTags, SupportsLocation"})
	}
	p := object{"namespace": types.name, "registrationState": "Registered", "registrationPolicy": "RegistrationFree", "resourceTypes": resourceTypes}
	if c.sub != nil {
		p["id"] = "/subscriptions/" + c.sub.ID + "/providers/" + types.name
	}
	return p, true
}

type providerTypes struct {
	name            string
	types, versions []string
}

var newestFirst = func() []string {
	var v []string
	for i := len(versions) - 1; i >= 0; i-- {
		v = append(v, versions[i])
	}
	return v
}()

var providers = map[string]providerTypes{
	"microsoft.storage": {storage, []string{"storageAccounts", "operations", "usages", "skus", "checkNameAvailability", "locations", "locations/usages", "locations/asyncoperations",
		"storageAccounts/blobServices", "storageAccounts/tableServices", "deletedAccounts"}, newestFirst},
	"microsoft.authorization": {"Microsoft.Authorization", []string{"roleAssignments", "roleDefinitions"}, []string{"2022-04-01", "2018-01-01-preview", "2015-07-01"}},
	"microsoft.resources":     {"Microsoft.Resources", []string{"subscriptions", "resourceGroups", "tenants", "locations", "providers"}, []string{"2024-11-01", "2021-04-01", "2019-10-01", "2016-06-01"}},
}

func (c *call) listProviders() error {
	var all []object
	for _, n := range []string{"Microsoft.Authorization", "Microsoft.Resources", storage} {
		p, _ := c.provider(n)
		all = append(all, p)
	}
	return c.reply(http.StatusOK, list(all))
}

func (c *call) getProvider() error {
	p, ok := c.provider(c.param["namespace"])
	if !ok {
		return errorf(http.StatusNotFound, "InvalidResourceNamespace", "The resource namespace '%s' is invalid.", c.param["namespace"])
	}
	return c.reply(http.StatusOK, p)
}

func (c *call) listOperations() error {
	seen := map[string]bool{}
	var all []object
	for _, o := range operations {
		if seen[o.action] || !within(o.action, storage+"/") {
			continue
		}
		seen[o.action] = true
		all = append(all, object{"name": o.action, "origin": "system", "display": object{"provider": storage, "resource": o.name, "operation": o.name}})
	}
	return c.reply(http.StatusOK, list(all))
}
