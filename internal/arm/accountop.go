package arm

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/blobd/blobd/internal/account"
)

func (c *call) listAccounts() error {
	all := []object{}
	for _, a := range c.accountsIn(c.group) {
		if c.allowed(c.op.action, accountID(a)) {
			all = append(all, c.accountBody(a))
		}
	}
	return c.reply(http.StatusOK, list(all))
}

func (c *call) getAccount() error { return c.reply(http.StatusOK, c.accountBody(c.account)) }

func nameInvalid(name string) string {
	return fmt.Sprintf("%s is not a valid storage account name. Storage account name must be between 3 and 24 characters in length and use numbers and lower-case letters only.", name)
}

func (c *call) checkName() error {
	var b struct {
		Name string `json:"name"`
		Type string `json:"type"`
	}
	if err := c.body(&b); err != nil {
		return err
	}
	switch {
	case !strings.EqualFold(b.Type, accountType):
		return errorf(http.StatusBadRequest, "InvalidValuesForRequestParameters", "Values for request parameters are invalid: type.")
	case account.CheckName(b.Name) != nil:
		return c.reply(http.StatusOK, object{"nameAvailable": false, "reason": "AccountNameInvalid", "message": nameInvalid(b.Name)})
	case c.Accounts.Taken(b.Name):
		return c.reply(http.StatusOK, object{"nameAvailable": false, "reason": "AlreadyExists", "message": fmt.Sprintf("The storage account named %s is already taken.", b.Name)})
	}
	return c.reply(http.StatusOK, object{"nameAvailable": true})
}

// eraseWait is how long the creation of an account waits for the end of a deleted one of its name.
const eraseWait = 20 * time.Second

// putAccount makes an account, or updates the one that is there.
func (c *call) putAccount() error {
	name := c.param["account"]
	if account.CheckName(name) != nil {
		return errorf(http.StatusBadRequest, "AccountNameInvalid", "%s", nameInvalid(name))
	}
	var d accountDocument
	if err := c.body(&d); err != nil {
		return err
	}
	switch {
	case d.Location == "":
		return errorf(http.StatusBadRequest, "LocationRequired", "The location property is required for this definition.")
	case !c.isLocation(d.Location):
		return errorf(http.StatusBadRequest, "LocationNotAvailableForResourceType", "The provided location '%s' is not available for resource type '%s'. List of available regions for the resource type is '%s'.", d.Location, accountType, c.Location)
	case d.SKU == nil && c.account == nil:
		return errorf(http.StatusBadRequest, "InvalidValuesForRequestParameters", "Values for request parameters are invalid: sku.")
	}
	if c.account != nil {
		return c.change(&d)
	}
	if d.Kind == "" {
		d.Kind = "Storage" // which it was before there were kinds
	}
	now := c.Now().UTC()
	a := account.New(name, now, account.GenerateKey(), account.GenerateKey())
	a.Kind = ""
	a.Switches = account.Switches{DenyPublicAccess: true, RequireHTTPS: true}
	a.Resource = &account.Resource{Subscription: c.sub.ID, Group: c.group.Name, Location: c.Location, KeysCreated: [2]time.Time{now, now}}
	if err := c.apply(&d, a); err != nil {
		return err
	}
	// Whoever makes an account again gives the deleted one up, if that was the subscription's own.
	if err := c.Accounts.Purge(c.ctx, name, c.sub.ID); err != nil && !errors.Is(err, account.ErrMissing) {
		return err
	}
	wait, cancel := context.WithTimeout(c.ctx, eraseWait)
	defer cancel()
	switch err := c.Accounts.Erased(wait, name); {
	case errors.Is(err, account.ErrKept):
		return errorf(http.StatusConflict, "StorageAccountAlreadyTaken", "The storage account named %s is already taken.", name)
	case err != nil:
		return operationUnderWay
	}
	c.groups.RLock()
	defer c.groups.RUnlock()
	if c.Directory.Group(c.sub.ID, c.group.Name) == nil {
		return errorf(http.StatusNotFound, "ResourceGroupNotFound", "Resource group '%s' could not be found.", c.group.Name)
	}
	err := c.Accounts.Create(c.ctx, a, c.sub.MaxAccounts)
	switch {
	case errors.Is(err, account.ErrExists):
		if old := c.Accounts.Get(name); old != nil && old.Resource != nil && old.Resource.Subscription == c.sub.ID && !strings.EqualFold(old.Resource.Group, c.group.Name) {
			return errorf(http.StatusConflict, "StorageAccountInAnotherResourceGroup", "The account %s is already in another resource group in this subscription.", name)
		}
		return errorf(http.StatusConflict, "StorageAccountAlreadyTaken", "The storage account named %s is already taken.", name)
	case errors.Is(err, account.ErrTooMany):
		return errorf(http.StatusConflict, "MaxStorageAccountsCountPerSubscriptionExceeded", "Subscription %s already contains %d storage accounts in location %s and the maximum allowed is %d.", c.sub.ID, c.sub.MaxAccounts, c.Location, c.sub.MaxAccounts)
	case err != nil:
		return err
	}
	return c.reply(http.StatusOK, c.accountBody(a))
}

func (c *call) patchAccount() error {
	var d accountDocument
	if err := c.body(&d); err != nil {
		return err
	}
	if d.Location != "" && !c.isLocation(d.Location) {
		return errorf(http.StatusConflict, "InvalidResourceLocation", "The resource '%s' already exists in location '%s'. A resource with the same name cannot be created in location '%s'.", c.account.Name, c.account.Resource.Location, d.Location)
	}
	return c.change(&d)
}

// change updates the account of the path, whose name the use of it keeps from others.
func (c *call) change(d *accountDocument) error {
	var changed account.Account
	err := c.Accounts.Change(c.ctx, c.account.Name, func(a *account.Account) error {
		r := *a.Resource
		a.Resource = &r
		if err := c.apply(d, a); err != nil {
			return err
		}
		changed = *a
		return nil
	})
	if err != nil {
		return err
	}
	return c.reply(http.StatusOK, c.accountBody(&changed))
}

func (c *call) deleteAccount() error {
	if c.account == nil {
		return c.empty(http.StatusNoContent)
	}
	a := c.account
	c.leave()
	if err := c.erase(a); err != nil {
		return err
	}
	return c.empty(http.StatusOK)
}

// erase deletes an account with the roles at it. It is out of reach when this returns; its content goes in the background.
func (c *call) erase(a *account.Account) error {
	if err := c.Directory.UnassignUnder(c.ctx, accountID(a)); err != nil {
		return err
	}
	if err := c.Accounts.DeleteOwned(c.ctx, a); err != nil && !errors.Is(err, account.ErrMissing) {
		return err
	}
	return nil
}

func (c *call) keys(a *account.Account) error {
	if c.version() < "2016-01-01" {
		return c.reply(http.StatusOK, object{"key1": a.Keys[0].Base64(), "key2": a.Keys[1].Base64()})
	}
	var keys []object
	for i, k := range a.Keys {
		keys = append(keys, object{"keyName": fmt.Sprintf("key%d", i+1), "value": k.Base64(), "permissions": "FULL", "creationTime": timeText(a.Resource.KeysCreated[i])})
	}
	c.w.Header().Set("Cache-Control", "no-store")
	return c.reply(http.StatusOK, object{"keys": keys})
}

func (c *call) listKeys() error { return c.keys(c.account) }

func (c *call) regenerateKey() error {
	var b struct {
		Name string `json:"keyName"`
	}
	if err := c.body(&b); err != nil {
		return err
	}
	index := -1
	for i, name := range []string{"key1", "key2"} {
		if strings.EqualFold(b.Name, name) {
			index = i
		}
	}
	if index < 0 {
		return invalidProperty("keyName", b.Name)
	}
	var changed *account.Account
	err := c.Accounts.Change(c.ctx, c.account.Name, func(a *account.Account) error {
		next, err := a.WithKey(index, account.GenerateKey())
		if err != nil {
			return err
		}
		r := *a.Resource
		r.KeysCreated[index] = c.Now().UTC()
		next.Resource = &r
		*a = *next
		changed = next
		return nil
	})
	if err != nil {
		return err
	}
	return c.keys(changed)
}

func (c *call) revokeDelegation() error {
	err := c.Accounts.Change(c.ctx, c.account.Name, func(a *account.Account) error {
		a.Delegation = account.GenerateKey()
		return nil
	})
	if err != nil {
		return err
	}
	return c.empty(http.StatusOK)
}

func (c *call) listSKUs() error {
	var all []object
	for _, name := range skus {
		for _, kind := range kinds {
			tier := skuBody(name)["tier"]
			all = append(all, object{"name": name, "tier": tier, "resourceType": "storageAccounts", "kind": kind, "locations": []string{c.Location}, "capabilities": []any{}, "restrictions": []any{}})
		}
	}
	return c.reply(http.StatusOK, list(all))
}

func (c *call) listUsages() error {
	if !c.isLocation(c.param["location"]) {
		return errorf(http.StatusBadRequest, "LocationNotAvailableForResourceType", "The provided location '%s' is not available for resource type '%s'. List of available regions for the resource type is '%s'.", c.param["location"], accountType, c.Location)
	}
	all := []object{{
		"unit": "Count", "currentValue": c.Accounts.CountOwned(c.sub.ID), "limit": c.sub.MaxAccounts, "name": object{"value": "StorageAccounts", "localizedValue": "Storage Accounts"},
	}}
	// A number of bytes is beyond the description's 32 bits: what is held is told in GB, begun ones too.
	const gb = 1 << 30
	if c.sub.Capacity > 0 {
		held := c.Accounts.Usage().Subscription(c.sub.ID).Bytes()
		all = append(all, object{"unit": "Count", "currentValue": (held + gb - 1) / gb, "limit": (c.sub.Capacity + gb - 1) / gb,
			"name": object{"value": "CapacityInGB", "localizedValue": "Capacity in GB"}})
	}
	return c.reply(http.StatusOK, list(all))
}

// getOperation: every operation answers when it is done, so there is none to ask after.
func (c *call) getOperation() error {
	return errorf(http.StatusNotFound, "OperationIdNotFound", "The operation id '%s' could not be found.", c.param["operation"])
}

// listDeleted lists the accounts that the operator can have back.
func (c *call) listDeleted() error {
	all := []object{}
	for _, k := range c.Accounts.Kept(c.sub.ID) {
		all = append(all, object{
			"id":   "/subscriptions/" + c.sub.ID + "/providers/" + storage + "/locations/" + k.Resource.Location + "/deletedAccounts/" + k.Name,
			"name": k.Name, "type": storage + "/deletedAccounts", "properties": object{
				"storageAccountResourceId": accountID(k.Account), "location": k.Resource.Location, "creationTime": timeText(k.Created), "deletionTime": timeText(k.Deleted),
			},
		})
	}
	return c.reply(http.StatusOK, list(all))
}

func (c *call) noManagementPolicy() error {
	return errorf(http.StatusNotFound, "ManagementPolicyNotFound", "No ManagementPolicy found for account %s", c.account.Name)
}

func (c *call) nothingToDelete() error { return c.empty(http.StatusNoContent) }
