package arm

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A shape is what the published description of the provider, of 2023-05-01, says of a value: "string", "bool", "int", "time", an enumeration
// ("a|b"), an object of shapes, or a list of one. A member whose name ends in "!" has to be there.
type (
	shape     = any
	described = map[string]shape
	listOf    struct{ item shape }
)

// fits compares a value with a shape; no member may be there that the description has not.
func fits(at string, v any, s shape) error {
	switch s := s.(type) {
	case described:
		m, ok := v.(map[string]any)
		if !ok {
			return fmt.Errorf("%s is no object: %v", at, v)
		}
		known := map[string]shape{}
		for name, of := range s {
			bare, needed := strings.CutSuffix(name, "!")
			if _, there := m[bare]; needed && !there {
				return fmt.Errorf("%s has no %s", at, bare)
			}
			known[bare] = of
		}
		for name, member := range m {
			of, ok := known[name]
			if !ok {
				return fmt.Errorf("%s.%s is not described", at, name)
			}
			if err := fits(at+"."+name, member, of); err != nil {
				return err
			}
		}
	case listOf:
		l, ok := v.([]any)
		if !ok {
			return fmt.Errorf("%s is no list: %v", at, v)
		}
		for i, item := range l {
			if err := fits(fmt.Sprintf("%s[%d]", at, i), item, s.item); err != nil {
				return err
			}
		}
	case string:
		text, isText := v.(string)
		number, isNumber := v.(float64)
		_, isBool := v.(bool)
		ok := isText
		switch {
		case s == "bool":
			ok = isBool
		case s == "int":
			ok = isNumber && number == math.Trunc(number)
		case s == "time":
			_, err := time.Parse("2006-01-02T15:04:05.0000000Z", text)
			ok = err == nil
		case s == "map":
			_, ok = v.(map[string]any)
		case s != "string":
			ok = isText && strings.Contains("|"+s+"|", "|"+text+"|")
		}
		if !ok {
			return fmt.Errorf("%s is %v, and not %s", at, v, s)
		}
	}
	return nil
}

var (
	skuShape       = described{"name!": strings.Join(skus, "|"), "tier": "Standard|Premium"}
	encryptedShape = described{"enabled": "bool", "lastEnabledTime": "time", "keyType": "Account|Service"}
	endpointsShape = described{"blob!": "string", "table!": "string", "queue": "string", "file": "string", "web": "string", "dfs": "string"}
	accountShape   = described{"id!": "string", "name!": "string", "type!": "Microsoft.Storage/storageAccounts", "location!": "string", "tags": "map", "kind": strings.Join(kinds, "|"), "sku": skuShape, "properties": described{
		"provisioningState": "Creating|ResolvingDNS|Succeeded", "primaryEndpoints": endpointsShape, "primaryLocation": "string", "statusOfPrimary": "available|unavailable",
		"creationTime": "time", "keyCreationTime": described{"key1": "time", "key2": "time"}, "accessTier": "Hot|Cool|Premium|Cold", "supportsHttpsTrafficOnly": "bool",
		"encryption":   described{"services": described{"blob": encryptedShape, "table": encryptedShape}, "keySource": "Microsoft.Storage|Microsoft.Keyvault"},
		"networkAcls":  described{"bypass": "None|Logging|Metrics|AzureServices", "defaultAction!": "Allow|Deny", "ipRules": listOf{described{}}, "virtualNetworkRules": listOf{described{}}},
		"isHnsEnabled": "bool", "isNfsV3Enabled": "bool", "isSftpEnabled": "bool", "isLocalUserEnabled": "bool", "privateEndpointConnections": listOf{described{}},
		"allowBlobPublicAccess": "bool", "minimumTlsVersion": "TLS1_0|TLS1_1|TLS1_2|TLS1_3", "allowSharedKeyAccess": "bool", "allowCrossTenantReplication": "bool",
		"defaultToOAuthAuthentication": "bool", "publicNetworkAccess": "Enabled|Disabled", "keyPolicy": described{"keyExpirationPeriodInDays!": "int"},
		"sasPolicy": described{"sasExpirationPeriod!": "string", "expirationAction!": "Log"},
	}}
	corsShape      = described{"corsRules": listOf{described{"allowedOrigins!": listOf{"string"}, "allowedMethods!": listOf{"DELETE|GET|HEAD|MERGE|POST|OPTIONS|PUT|PATCH"}, "maxAgeInSeconds!": "int", "exposedHeaders!": listOf{"string"}, "allowedHeaders!": listOf{"string"}}}}
	retentionShape = described{"enabled": "bool", "days": "int", "allowPermanentDelete": "bool"}
	blobsShape     = described{"id!": "string", "name!": "default", "type!": "Microsoft.Storage/storageAccounts/blobServices", "sku": skuShape, "properties": described{"cors": corsShape,
		"defaultServiceVersion": "string", "deleteRetentionPolicy": retentionShape, "isVersioningEnabled": "bool", "containerDeleteRetentionPolicy": retentionShape}}
	tablesShape    = described{"id!": "string", "name!": "default", "type!": "Microsoft.Storage/storageAccounts/tableServices", "properties": described{"cors": corsShape}}
	containerShape = described{"id!": "string", "name!": "string", "type!": "Microsoft.Storage/storageAccounts/blobServices/containers", "etag": "string", "properties": described{"version": "string", "deleted": "bool",
		"deletedTime": "time", "remainingRetentionDays": "int", "defaultEncryptionScope": "string", "denyEncryptionScopeOverride": "bool", "publicAccess": "Container|Blob|None", "lastModifiedTime": "time",
		"leaseStatus": "Locked|Unlocked", "leaseState": "Available|Leased|Expired|Breaking|Broken", "metadata": "map", "hasLegalHold": "bool", "hasImmutabilityPolicy": "bool"}}
	tableShape = described{"id!": "string", "name!": "string", "type!": "Microsoft.Storage/storageAccounts/tableServices/tables", "properties": described{"tableName": "string",
		"signedIdentifiers": listOf{described{"id!": "string", "accessPolicy": described{"startTime": "string", "expiryTime": "string", "permission!": "string"}}}}}
	keysShape       = described{"keys!": listOf{described{"keyName!": "key1|key2", "value!": "string", "permissions": "FULL|READ", "creationTime": "time"}}}
	usagesShape     = described{"value!": listOf{described{"unit": "Count", "currentValue": "int", "limit": "int", "name": described{"value": "string", "localizedValue": "string"}}}}
	skusShape       = described{"value!": listOf{described{"name!": "string", "tier": "string", "resourceType": "string", "kind": "string", "locations": listOf{"string"}, "capabilities": listOf{described{}}, "restrictions": listOf{described{}}}}}
	operationsShape = described{"value!": listOf{described{"name": "string", "origin": "string", "display": described{"provider": "string", "resource": "string", "operation": "string"}}}}
	errorShape      = described{"error!": described{"code!": "string", "message!": "string"}}
)

func pageOf(item shape) shape { return described{"value!": listOf{item}, "nextLink": "string"} }

// Every answer of the storage provider is as the description has it, with everything set that can be; and every refusal is an envelope.
func TestBodiesAreAsDescribed(t *testing.T) {
	h := newHouse(t)
	o := h.tenant("one")
	all := `{"tags":{"a":"b"},"properties":{"accessTier":"cool","minimumTlsVersion":"TLS1_3","allowCrossTenantReplication":false,"defaultToOAuthAuthentication":true,
		"keyPolicy":{"keyExpirationPeriodInDays":3},"sasPolicy":{"sasExpirationPeriod":"1.00:00:00","expirationAction":"Log"},"allowBlobPublicAccess":true}}`
	h.ok(200, o.user, "PATCH", o.account, all)
	cors := `"cors":{"corsRules":[{"allowedOrigins":["*"],"allowedMethods":["GET"],"allowedHeaders":["*"],"exposedHeaders":[],"maxAgeInSeconds":1}]}`
	days := `{"enabled":true,"days":7}`
	con, tab := o.account+"/blobServices/default/containers/con", o.account+"/tableServices/default/tables/Tab"
	provider := "/providers/Microsoft.Storage"
	for _, c := range []struct {
		method, target, body string
		shape                shape
	}{
		{"PUT", o.account + "/blobServices/default", `{"properties":{` + cors + `,"deleteRetentionPolicy":` + days + `,"containerDeleteRetentionPolicy":` + days + `,"isVersioningEnabled":true,"defaultServiceVersion":"2020-10-02"}}`, blobsShape},
		{"GET", o.account + "/blobServices", "", pageOf(blobsShape)},
		{"PUT", o.account + "/tableServices/default", `{"properties":{` + cors + `}}`, tablesShape},
		{"GET", o.account + "/tableServices", "", pageOf(tablesShape)},
		{"PATCH", con, `{"properties":{"publicAccess":"Blob","metadata":{"m":"v"}}}`, containerShape},
		{"GET", con, "", containerShape},
		{"GET", o.account + "/blobServices/default/containers?$include=deleted", "", pageOf(containerShape)},
		{"PATCH", tab, `{"properties":{"signedIdentifiers":[{"id":"p","accessPolicy":{"startTime":"2026-01-01T00:00:00Z"}},{"id":"q","accessPolicy":{"permission":"raud"}}]}}`, tableShape},
		{"GET", tab, "", tableShape},
		{"GET", o.account + "/tableServices/default/tables", "", pageOf(tableShape)},
		{"GET", o.account, "", accountShape},
		{"PUT", o.account, newAccount, accountShape},
		{"GET", o.group + provider + "/storageAccounts", "", pageOf(accountShape)},
		{"GET", o.sub + provider + "/storageAccounts", "", pageOf(accountShape)},
		{"POST", o.account + "/listkeys", "", keysShape},
		{"POST", o.account + "/regenerateKey", `{"keyName":"KEY2"}`, keysShape},
		{"GET", o.sub + provider + "/locations/local/usages", "", usagesShape},
		{"GET", o.sub + provider + "/skus", "", skusShape},
		{"GET", provider + "/operations", "", operationsShape},
	} {
		a := h.ok(200, o.user, c.method, c.target, c.body)
		require.NoError(t, fits("body", map[string]any(a.body), c.shape), "%s %s", c.method, c.target)
	}

	// What the client was given it may send back whole; what this server does not do is refused, and changes nothing.
	given := h.ok(200, o.user, "GET", o.account, "").text
	require.Equal(t, given, h.ok(200, o.user, "PATCH", o.account, given).text)
	before := h.everything()
	for body, code := range map[string]string{
		`{"properties":{"networkAcls":{"defaultAction":"Deny","virtualNetworkRules":[{"id":"x"}]}}}`: "InvalidRequestPropertyValue", `{"properties":{"isHnsEnabled":true}}`: "InvalidRequestPropertyValue",
		`{"properties":{"publicNetworkAccess":"Disabled"}}`: "InvalidRequestPropertyValue", `{"properties":{"encryption":{"keySource":"Microsoft.Keyvault"}}}`: "InvalidRequestPropertyValue",
		`{"properties":{"sasPolicy":{"sasExpirationPeriod":"1.00:00:00","expirationAction":"Block"}}}`: "InvalidRequestPropertyValue", `{"properties":{"allowedCopyScope":"AAD"}}`: "InvalidRequestPropertyValue",
		`{"properties":{"allowSharedKeyAccess":"no"}}`: "InvalidRequestPropertyValue", `{"properties":{"minimumTlsVersion":"SSL3"}}`: "InvalidRequestPropertyValue",
		`{"kind":"Storage"}`: "AccountPropertyCannotBeUpdated", `{"sku":{"name":"Standard_XRS"}}`: "InvalidValuesForRequestParameters", `{"location":"mars"}`: "InvalidResourceLocation", `{`: "InvalidRequestContent",
	} {
		a := h.do(o.user, "PATCH", o.account, body)
		require.Equal(t, code, a.code(), "%s: %s", body, a.text)
		require.NoError(t, fits("body", map[string]any(a.body), errorShape))
	}
	for _, c := range []struct{ method, target, body, code string }{
		{"PUT", o.group + provider + "/storageAccounts/No_Name", newAccount, "AccountNameInvalid"},
		{"PUT", o.group + provider + "/storageAccounts/other", `{"kind":"FileStorage","location":"local","sku":{"name":"Premium_LRS"}}`, "InvalidValuesForRequestParameters"},
		{"PUT", o.group + provider + "/storageAccounts/other", `{"kind":"StorageV2","location":"mars","sku":{"name":"Standard_LRS"}}`, "LocationNotAvailableForResourceType"},
		{"PUT", o.sub + "/resourceGroups/none" + provider + "/storageAccounts/other", newAccount, "ResourceGroupNotFound"},
		{"GET", o.group + provider + "/storageAccounts/other", "", "ResourceNotFound"},
		{"GET", o.account + "?api-version=", "", "MissingApiVersionParameter"}, {"GET", o.account + "?api-version=2016-02-02", "", "InvalidApiVersionParameter"},
		{"POST", o.account, "", "HttpMethodNotSupported"}, {"GET", o.account + "/queueServices/default", "", "InvalidResourceType"},
		{"GET", o.account + "/managementPolicies/default", "", "ManagementPolicyNotFound"}, {"PUT", o.account + "/managementPolicies/default", "{}", "FeatureNotSupportedForAccount"},
		{"PUT", o.account + "/blobServices/default", `{"properties":{"changeFeed":{"enabled":true},"isVersioningEnabled":false}}`, "FeatureNotSupportedForAccount"},
		{"GET", o.account + "/blobServices/default/containers/none", "", "ContainerNotFound"}, {"GET", o.account + "/tableServices/default/tables/None", "", "TableNotFound"},
		{"POST", o.account + "/ListServiceSas", `{"canonicalizedResource":"/blob/other/con","signedResource":"c","signedPermission":"r","signedExpiry":"2030-01-01T00:00:00Z"}`, "InvalidRequestPropertyValue"},
		{"POST", o.account + "/ListAccountSas", `{"signedServices":"b","signedResourceTypes":"s","signedPermission":"r\nw","signedExpiry":"2030-01-01T00:00:00Z"}`, "InvalidRequestPropertyValue"},
		{"GET", o.sub + provider + "/locations/local/asyncoperations/x", "", "OperationIdNotFound"},
	} {
		a := h.do(o.user, c.method, c.target, c.body)
		require.Equal(t, c.code, a.code(), "%s %s: %s", c.method, c.target, a.text)
		require.NoError(t, fits("body", map[string]any(a.body), errorShape))
	}
	require.Equal(t, before, h.everything())
	h.ok(200, o.user, "GET", o.account+"?api-version=2031-01-01", "") // as the newest
	require.Contains(t, h.ok(200, o.user, "POST", o.account+"/listKeys?api-version=2015-06-15", "").body, "key1")
	h.ok(204, o.user, "DELETE", o.group+provider+"/storageAccounts/none", "")
	sub := strings.TrimPrefix(o.sub, "/subscriptions/")
	for i := range 9 { // ten may be
		h.ok(200, o.user, "PUT", fmt.Sprintf("%s%s/storageAccounts/more%d", o.group, provider, i), newAccount)
	}
	require.Equal(t, "MaxStorageAccountsCountPerSubscriptionExceeded", h.do(o.user, "PUT", o.group+provider+"/storageAccounts/more9", newAccount).code())
	h.ok(200, o.user, "DELETE", o.group, "")
	require.Empty(t, h.Accounts.Owned(sub))
}

// The description of the cloud has three shapes.
func TestMetadata(t *testing.T) {
	h := newHouse(t)
	old := h.ok(200, "", "GET", "//metadata/endpoints?api-version=2015-01-01", "")
	require.Equal(t, base+"/adfs", old.at("authentication", "loginEndpoint"))
	require.Contains(t, h.ok(200, "", "GET", "/metadata/endpoints?api-version=2020-06-01", "").text[:2], "[{")
	newer := h.ok(200, "", "GET", "/metadata/endpoints?api-version=2022-09-01", "")
	require.Equal(t, "AAD", newer.at("authentication", "identityProvider"))
	require.Equal(t, "common", newer.at("authentication", "tenant"))
	require.Equal(t, base, newer.at("resourceManager"))
	require.NotEmpty(t, newer.at("microsoftGraphResourceId"))
}
