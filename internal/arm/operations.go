package arm

import (
	"net/http"
	"strings"
)

// operation is a row: what is asked for at what path, and what the caller needs for it.
type operation struct {
	name, method string
	// path is a pattern: {name} stands for one segment, {scope} at the beginning for as many as there are. Case is without meaning.
	path   string
	action string // that is needed at the scope which the path names
	handle func(*call) error

	open                     bool // for everybody
	filtered                 bool // a list, of which each caller sees what he may
	makesGroup, makesAccount bool // the resource need not be there

	segments []string
}

func (o *operation) reads() bool { return o.method == http.MethodGet || o.method == http.MethodHead }

const (
	storage     = "Microsoft.Storage"
	accountType = storage + "/storageAccounts"

	atSub     = "/subscriptions/{subscription}"
	atGroup   = atSub + "/resourceGroups/{group}"
	atAccount = atGroup + "/providers/" + accountType + "/{account}"
	inBlobs   = atAccount + "/blobServices/default"
	inTables  = atAccount + "/tableServices/default"
	atRoles   = "{scope}/providers/Microsoft.Authorization"

	ofAccount   = accountType + "/"
	ofBlobs     = ofAccount + "blobServices/"
	ofContainer = ofBlobs + "containers/"
	ofTables    = ofAccount + "tableServices/"
	ofTable     = ofTables + "tables/"
	ofGroup     = "Microsoft.Resources/subscriptions/resourceGroups/"
	ofRoles     = "Microsoft.Authorization/"
)

var operations []operation

func init() {
	operations = []operation{
		{name: "Endpoints_List", method: "GET", path: "/metadata/endpoints", handle: (*call).metadata, open: true},

		{name: "Subscriptions_List", method: "GET", path: "/subscriptions", handle: (*call).listSubscriptions},
		{name: "Subscriptions_Get", method: "GET", path: atSub, handle: (*call).getSubscription, filtered: true},
		{name: "Subscriptions_ListLocations", method: "GET", path: atSub + "/locations", handle: (*call).listLocations, filtered: true},
		{name: "Tenants_List", method: "GET", path: "/tenants", handle: (*call).listTenants},
		{name: "Tags_List", method: "GET", path: atSub + "/tagNames", handle: (*call).listTagNames, action: "Microsoft.Resources/subscriptions/tagNames/read"},
		{name: "Providers_ListAtTenantScope", method: "GET", path: "/providers", handle: (*call).listProviders},
		{name: "Providers_List", method: "GET", path: atSub + "/providers", handle: (*call).listProviders, filtered: true},
		{name: "Providers_Get", method: "GET", path: atSub + "/providers/{namespace}", handle: (*call).getProvider, filtered: true},
		{name: "Providers_Register", method: "POST", path: atSub + "/providers/{namespace}/register", handle: (*call).getProvider, action: storage + "/register/action"},

		{name: "ResourceGroups_List", method: "GET", path: atSub + "/resourceGroups", handle: (*call).listGroups, action: ofGroup + "read", filtered: true},
		{name: "ResourceGroups_CheckExistence", method: "HEAD", path: atGroup, handle: (*call).headGroup, action: ofGroup + "read", makesGroup: true},
		{name: "ResourceGroups_CreateOrUpdate", method: "PUT", path: atGroup, handle: (*call).putGroup, action: ofGroup + "write", makesGroup: true},
		{name: "ResourceGroups_Get", method: "GET", path: atGroup, handle: (*call).getGroup, action: ofGroup + "read"},
		{name: "ResourceGroups_Update", method: "PATCH", path: atGroup, handle: (*call).patchGroup, action: ofGroup + "write"},
		{name: "ResourceGroups_Delete", method: "DELETE", path: atGroup, handle: (*call).deleteGroup, action: ofGroup + "delete"},
		{name: "Resources_ListByResourceGroup", method: "GET", path: atGroup + "/resources", handle: (*call).listResources, action: accountType + "/read", filtered: true},
		{name: "Resources_List", method: "GET", path: atSub + "/resources", handle: (*call).listResources, action: accountType + "/read", filtered: true},

		{name: "Operations_List", method: "GET", path: "/providers/" + storage + "/operations", handle: (*call).listOperations},
		{name: "Skus_List", method: "GET", path: atSub + "/providers/" + storage + "/skus", handle: (*call).listSKUs, filtered: true},
		{name: "Usages_ListByLocation", method: "GET", path: atSub + "/providers/" + storage + "/locations/{location}/usages", handle: (*call).listUsages, action: storage + "/locations/usages/read"},
		{name: "AsyncOperations_Get", method: "GET", path: atSub + "/providers/" + storage + "/locations/{location}/asyncoperations/{operation}", handle: (*call).getOperation, filtered: true},
		{name: "DeletedAccounts_List", method: "GET", path: atSub + "/providers/" + storage + "/deletedAccounts", handle: (*call).listDeleted, action: storage + "/deletedAccounts/read"},

		{name: "StorageAccounts_CheckNameAvailability", method: "POST", path: atSub + "/providers/" + storage + "/checkNameAvailability", handle: (*call).checkName, filtered: true},
		{name: "StorageAccounts_List", method: "GET", path: atSub + "/providers/" + accountType, handle: (*call).listAccounts, action: accountType + "/read", filtered: true},
		{name: "StorageAccounts_ListByResourceGroup", method: "GET", path: atGroup + "/providers/" + accountType, handle: (*call).listAccounts, action: accountType + "/read", filtered: true},
		{name: "StorageAccounts_Create", method: "PUT", path: atAccount, handle: (*call).putAccount, action: ofAccount + "write", makesAccount: true},
		{name: "StorageAccounts_GetProperties", method: "GET", path: atAccount, handle: (*call).getAccount, action: ofAccount + "read"},
		{name: "StorageAccounts_Update", method: "PATCH", path: atAccount, handle: (*call).patchAccount, action: ofAccount + "write"},
		{name: "StorageAccounts_Delete", method: "DELETE", path: atAccount, handle: (*call).deleteAccount, action: ofAccount + "delete", makesAccount: true},
		{name: "StorageAccounts_ListKeys", method: "POST", path: atAccount + "/listKeys", handle: (*call).listKeys, action: ofAccount + "listKeys/action"},
		{name: "StorageAccounts_RegenerateKey", method: "POST", path: atAccount + "/regenerateKey", handle: (*call).regenerateKey, action: ofAccount + "regenerateKey/action"},
		{name: "StorageAccounts_ListAccountSAS", method: "POST", path: atAccount + "/ListAccountSas", handle: (*call).accountSAS, action: ofAccount + "listAccountSas/action"},
		{name: "StorageAccounts_ListServiceSAS", method: "POST", path: atAccount + "/ListServiceSas", handle: (*call).serviceSAS, action: ofAccount + "listServiceSas/action"},
		{name: "StorageAccounts_RevokeUserDelegationKeys", method: "POST", path: atAccount + "/revokeUserDelegationKeys", handle: (*call).revokeDelegation, action: ofAccount + "revokeUserDelegationKeys/action"},

		{name: "BlobServices_List", method: "GET", path: atAccount + "/blobServices", handle: (*call).listBlobServices, action: ofBlobs + "read"},
		{name: "BlobServices_GetServiceProperties", method: "GET", path: inBlobs, handle: (*call).getBlobService, action: ofBlobs + "read"},
		{name: "BlobServices_SetServiceProperties", method: "PUT", path: inBlobs, handle: (*call).putBlobService, action: ofBlobs + "write"},
		{name: "BlobContainers_List", method: "GET", path: inBlobs + "/containers", handle: (*call).listContainers, action: ofContainer + "read"},
		{name: "BlobContainers_Create", method: "PUT", path: inBlobs + "/containers/{container}", handle: (*call).putContainer, action: ofContainer + "write"},
		{name: "BlobContainers_Update", method: "PATCH", path: inBlobs + "/containers/{container}", handle: (*call).patchContainer, action: ofContainer + "write"},
		{name: "BlobContainers_Get", method: "GET", path: inBlobs + "/containers/{container}", handle: (*call).getContainer, action: ofContainer + "read"},
		{name: "BlobContainers_Delete", method: "DELETE", path: inBlobs + "/containers/{container}", handle: (*call).deleteContainer, action: ofContainer + "delete"},
		{name: "BlobContainers_SetLegalHold", method: "POST", path: inBlobs + "/containers/{container}/setLegalHold", handle: refuses("Legal hold"), action: ofContainer + "write"},
		{name: "BlobContainers_ClearLegalHold", method: "POST", path: inBlobs + "/containers/{container}/clearLegalHold", handle: refuses("Legal hold"), action: ofContainer + "clearLegalHold/action"},
		{name: "BlobContainers_CreateOrUpdateImmutabilityPolicy", method: "PUT", path: inBlobs + "/containers/{container}/immutabilityPolicies/default", handle: refuses("An immutability policy"), action: ofContainer + "immutabilityPolicies/write"},

		{name: "ManagementPolicies_Get", method: "GET", path: atAccount + "/managementPolicies/default", handle: (*call).noManagementPolicy, action: ofAccount + "managementPolicies/read"},
		{name: "ManagementPolicies_CreateOrUpdate", method: "PUT", path: atAccount + "/managementPolicies/default", handle: refuses("A management policy"), action: ofAccount + "managementPolicies/write"},
		{name: "ManagementPolicies_Delete", method: "DELETE", path: atAccount + "/managementPolicies/default", handle: (*call).nothingToDelete, action: ofAccount + "managementPolicies/delete"},

		{name: "TableServices_List", method: "GET", path: atAccount + "/tableServices", handle: (*call).listTableServices, action: ofTables + "read"},
		{name: "TableServices_GetServiceProperties", method: "GET", path: inTables, handle: (*call).getTableService, action: ofTables + "read"},
		{name: "TableServices_SetServiceProperties", method: "PUT", path: inTables, handle: (*call).putTableService, action: ofTables + "write"},
		{name: "Table_List", method: "GET", path: inTables + "/tables", handle: (*call).listTables, action: ofTable + "read"},
		{name: "Table_Create", method: "PUT", path: inTables + "/tables/{table}", handle: (*call).putTable, action: ofTable + "write"},
		{name: "Table_Update", method: "PATCH", path: inTables + "/tables/{table}", handle: (*call).patchTable, action: ofTable + "write"},
		{name: "Table_Get", method: "GET", path: inTables + "/tables/{table}", handle: (*call).getTable, action: ofTable + "read"},
		{name: "Table_Delete", method: "DELETE", path: inTables + "/tables/{table}", handle: (*call).deleteTable, action: ofTable + "delete"},

		{name: "RoleDefinitions_List", method: "GET", path: atRoles + "/roleDefinitions", handle: (*call).listRoles, action: ofRoles + "roleDefinitions/read"},
		{name: "RoleDefinitions_Get", method: "GET", path: atRoles + "/roleDefinitions/{role}", handle: (*call).getRole, action: ofRoles + "roleDefinitions/read"},
		{name: "RoleAssignments_ListForScope", method: "GET", path: atRoles + "/roleAssignments", handle: (*call).listAssignments, action: ofRoles + "roleAssignments/read"},
		{name: "RoleAssignments_Get", method: "GET", path: atRoles + "/roleAssignments/{assignment}", handle: (*call).getAssignment, action: ofRoles + "roleAssignments/read"},
		{name: "RoleAssignments_Create", method: "PUT", path: atRoles + "/roleAssignments/{assignment}", handle: (*call).putAssignment, action: ofRoles + "roleAssignments/write"},
		{name: "RoleAssignments_Delete", method: "DELETE", path: atRoles + "/roleAssignments/{assignment}", handle: (*call).deleteAssignment, action: ofRoles + "roleAssignments/delete"},
	}
	for i := range operations {
		operations[i].segments = strings.Split(strings.Trim(operations[i].path, "/"), "/")
	}
}

// find returns the row of a request and what its path names. other tells that the path has rows, of other methods.
func find(method string, path []string) (op *operation, param map[string]string, other bool) {
	for i := range operations {
		o := &operations[i]
		p, ok := o.match(path)
		switch {
		case ok && o.method == method:
			return o, p, false
		case ok:
			other = true
		}
	}
	return nil, nil, other
}

func (o *operation) match(path []string) (map[string]string, bool) {
	param := map[string]string{}
	pattern := o.segments
	if pattern[0] == "{scope}" {
		pattern = pattern[1:]
		n := len(path) - len(pattern)
		if n < 2 {
			return nil, false
		}
		param["scope"] = "/" + strings.Join(path[:n], "/")
		path = path[n:]
	}
	if len(path) != len(pattern) {
		return nil, false
	}
	for i, p := range pattern {
		switch {
		case p[0] == '{':
			param[p[1:len(p)-1]] = path[i]
		case !strings.EqualFold(p, path[i]):
			return nil, false
		}
	}
	return param, true
}

// refuses is the handler of what this server has not.
func refuses(what string) func(*call) error {
	return func(*call) error { return unsupported(what) }
}
