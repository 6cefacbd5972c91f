package table

import (
	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/auth"
	"github.com/blobd/blobd/internal/protocol"
	"github.com/blobd/blobd/internal/rest"
)

// Bounds of bodies, in bytes.
const (
	maxBody       = 4 << 20 // an entity or a transaction
	maxSmallBody  = 64 << 10
	maxPolicyBody = auth.MaxPoliciesXML
)

// What operations on entities need (REST page "Create a service SAS", permissions for a table). A transaction asks for each of its operations by these too.
var (
	needsQuery  = auth.Needs{SAS: "r", AccountSAS: "r", ResourceTypes: "o", Role: auth.ActionRead}
	needsInsert = auth.Needs{SAS: "a", AccountSAS: "a", ResourceTypes: "o", Role: auth.ActionWrite}
	needsUpdate = auth.Needs{SAS: "u", AccountSAS: "u", ResourceTypes: "o", Role: auth.ActionWrite}
	needsUpsert = auth.Needs{SAS: "a&u", AccountSAS: "a&u", ResourceTypes: "o", Role: auth.ActionWrite}
	needsDelete = auth.Needs{SAS: "d", AccountSAS: "d", ResourceTypes: "o", Role: auth.ActionDelete}
	needsACL    = auth.Needs{Role: auth.ActionACL} // no SAS lets in
)

var (
	entityBody = rest.BodyRule{Max: rest.AtMost(maxBody), Length: true}
	full       = rest.Doc{Blobd: "yes", Azurite: "yes", Stack: "yes", Azure: "yes"}
	upsertDoc  = rest.Doc{Blobd: "yes", Azurite: "yes", Stack: "yes", Azure: "since 2011-08-18"}
)

// Operations is the operation table of the service.
var Operations = rest.Table[*call]{
	// The account.
	{Name: "GetTableServiceProperties", Methods: "GET", Level: rest.Account, Restype: "service", Comp: "properties",
		Needs:  auth.Needs{AccountSAS: "r", ResourceTypes: "s", Role: auth.ActionService},
		Handle: (*call).getProperties, Doc: full},
	{Name: "SetTableServiceProperties", Methods: "PUT", Level: rest.Account, Restype: "service", Comp: "properties",
		Needs: auth.Needs{AccountSAS: "w", ResourceTypes: "s", Role: auth.ActionManage}, Body: rest.BodyRule{Max: rest.AtMost(account.MaxPropertiesSize), Length: true},
		Handle: (*call).setProperties, Doc: full},
	{Name: "GetTableServiceStats", Methods: "GET", Level: rest.Account, Restype: "service", Comp: "stats",
		Needs:  auth.Needs{AccountSAS: "r", ResourceTypes: "s", Role: auth.ActionService},
		Handle: (*call).getStats, Doc: rest.Doc{Blobd: "on the secondary address", Azurite: "yes", Stack: "no", Azure: "on the secondary address"}},

	// Tables.
	{Name: "QueryTables", Methods: "GET", Level: rest.TableSet,
		Needs:  auth.Needs{AccountSAS: "l", ResourceTypes: "c", Role: auth.ActionRead},
		Handle: (*call).queryTables, Doc: full},
	{Name: "DeleteTable", Methods: "POST", Level: rest.TableSet, When: tunnel("DELETE"),
		Needs:  auth.Needs{AccountSAS: "d", ResourceTypes: "c", Role: auth.ActionDelete},
		Handle: (*call).deleteTable, Doc: full},
	{Name: "CreateTable", Methods: "POST", Level: rest.TableSet,
		Needs: auth.Needs{AccountSAS: "c|w|a", ResourceTypes: "c", Role: auth.ActionWrite}, Body: rest.BodyRule{Max: rest.AtMost(maxSmallBody), Length: true},
		Handle: (*call).createTable, Doc: full},
	{Name: "DeleteTable", Methods: "DELETE", Level: rest.TableSet,
		Needs:  auth.Needs{AccountSAS: "d", ResourceTypes: "c", Role: auth.ActionDelete},
		Handle: (*call).deleteTable, Doc: full},
	{Name: "GetTableACL", Methods: "GET HEAD", Level: rest.Entities, Comp: "acl", Needs: needsACL,
		Handle: (*call).getACL, Doc: full},
	{Name: "SetTableACL", Methods: "PUT", Level: rest.Entities, Comp: "acl", Needs: needsACL, Body: rest.BodyRule{Max: rest.AtMost(maxPolicyBody), Length: true},
		Handle: (*call).setACL, Doc: full},

	// Entities.
	{Name: "QueryEntities", Methods: "GET", Level: rest.Entities, Needs: needsQuery, Handle: (*call).queryEntities, Doc: full},
	{Name: "InsertEntity", Methods: "POST", Level: rest.Entities, Needs: needsInsert, Body: entityBody, Handle: (*call).insertEntity, Doc: full},
	{Name: "GetEntity", Methods: "GET", Level: rest.TableEntity, Needs: needsQuery, Handle: (*call).getEntity, Doc: full},
	{Name: "UpdateEntity", Methods: "PUT", Level: rest.TableEntity, When: ifMatch, Needs: needsUpdate, Body: entityBody,
		Handle: handleChange(replace), Doc: full},
	{Name: "UpdateEntity", Methods: "POST", Level: rest.TableEntity, When: tunnel("PUT", ifMatch...), Needs: needsUpdate, Body: entityBody,
		Handle: handleChange(replace), Doc: full},
	{Name: "InsertOrReplaceEntity", Methods: "PUT", Level: rest.TableEntity, Needs: needsUpsert, Body: entityBody,
		Handle: handleChange(insertOrReplace), Doc: upsertDoc},
	{Name: "InsertOrReplaceEntity", Methods: "POST", Level: rest.TableEntity, When: tunnel("PUT"), Needs: needsUpsert, Body: entityBody,
		Handle: handleChange(insertOrReplace), Doc: upsertDoc},
	{Name: "MergeEntity", Methods: "MERGE PATCH", Level: rest.TableEntity, When: ifMatch, Needs: needsUpdate, Body: entityBody,
		Handle: handleChange(merge), Doc: full},
	{Name: "MergeEntity", Methods: "POST", Level: rest.TableEntity, When: tunnel("MERGE", ifMatch...), Needs: needsUpdate, Body: entityBody,
		Handle: handleChange(merge), Doc: full},
	{Name: "InsertOrMergeEntity", Methods: "MERGE PATCH", Level: rest.TableEntity, Needs: needsUpsert, Body: entityBody,
		Handle: handleChange(insertOrMerge), Doc: upsertDoc},
	{Name: "InsertOrMergeEntity", Methods: "POST", Level: rest.TableEntity, When: tunnel("MERGE"), Needs: needsUpsert, Body: entityBody,
		Handle: handleChange(insertOrMerge), Doc: upsertDoc},
	{Name: "DeleteEntity", Methods: "DELETE", Level: rest.TableEntity, Needs: needsDelete, Handle: handleChange(remove), Doc: full},
	{Name: "DeleteEntity", Methods: "POST", Level: rest.TableEntity, When: tunnel("DELETE"), Needs: needsDelete, Handle: handleChange(remove), Doc: full},

	// What a transaction needs is asked for each of its operations.
	{Name: "EntityGroupTransaction", Methods: "POST", Level: rest.Batch,
		Needs: auth.Needs{SAS: "*", AccountSAS: "*", ResourceTypes: "o", Role: auth.ActionBatch}, Body: entityBody,
		Handle: (*call).batch, Doc: full},
}

var ifMatch = []rest.Selector{{Name: "if-match"}}

// tunnel selects a POST that stands for another method.
func tunnel(method string, more ...rest.Selector) []rest.Selector {
	return append([]rest.Selector{{Name: "x-http-method", Value: method}}, more...)
}

// changeOf is the kind of write that a method on an entity's URL means, and what it needs.
func changeOf(method string, match bool) (changeKind, *auth.Needs, error) {
	switch method {
	case "PUT":
		if match {
			return replace, &needsUpdate, nil
		}
		return insertOrReplace, &needsUpsert, nil
	case "MERGE", "PATCH":
		if match {
			return merge, &needsUpdate, nil
		}
		return insertOrMerge, &needsUpsert, nil
	case "DELETE":
		return remove, &needsDelete, nil
	}
	return 0, nil, protocol.ErrMethodNotAllowed
}
