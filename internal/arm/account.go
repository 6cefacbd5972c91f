package arm

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/auth"
)

func accountID(a *account.Account) string { return a.Resource.ID(a.Name) }

// skus are the names that accounts may have. They are kept for their owner: how data is kept is the operator's choice of disks.
var skus = []string{"Standard_LRS", "Standard_GRS", "Standard_RAGRS", "Standard_ZRS", "Standard_GZRS", "Standard_RAGZRS", "Premium_LRS", "Premium_ZRS"}

var kinds = []string{"Storage", "StorageV2", "BlobStorage", "BlockBlobStorage"}

func skuBody(name string) object {
	tier, _, _ := strings.Cut(name, "_")
	return object{"name": name, "tier": tier}
}

var tlsVersions = map[string]uint16{"TLS1_0": tls.VersionTLS10, "TLS1_1": tls.VersionTLS11, "TLS1_2": tls.VersionTLS12, "TLS1_3": tls.VersionTLS13}

func tlsName(version uint16) string {
	for name, v := range tlsVersions {
		if v == version {
			return name
		}
	}
	return "TLS1_2" // the server speaks no other
}

func (c *call) accountBody(a *account.Account) object {
	r := a.Resource
	endpoints := object{}
	for name, service := range map[string]auth.Service{"blob": auth.Blob, "table": auth.Table} {
		if e := c.Endpoint(service, a.Name); e != "" {
			endpoints[name] = e
		}
	}
	enabled := object{"enabled": true, "keyType": "Account", "lastEnabledTime": timeText(a.Created)}
	p := object{
		"provisioningState": "Succeeded", "creationTime": timeText(a.Created), "primaryLocation": r.Location, "statusOfPrimary": "available", "primaryEndpoints": endpoints,
		"keyCreationTime":       object{"key1": timeText(r.KeysCreated[0]), "key2": timeText(r.KeysCreated[1])},
		"allowBlobPublicAccess": !a.DenyPublicAccess, "allowSharedKeyAccess": !a.DenySharedKey, "supportsHttpsTrafficOnly": a.RequireHTTPS, "minimumTlsVersion": tlsName(a.MinimumTLS),
		"encryption":          object{"keySource": storage, "services": object{"blob": enabled}},
		"networkAcls":         networkBody(a.Network),
		"publicNetworkAccess": "Enabled", "privateEndpointConnections": []any{}, "isHnsEnabled": false, "isNfsV3Enabled": false, "isSftpEnabled": false, "isLocalUserEnabled": false,
	}
	if a.Disabled {
		p["statusOfPrimary"] = "unavailable"
	}
	if a.Kind != "Storage" {
		p["accessTier"] = r.AccessTier
		if r.AccessTier == "" {
			p["accessTier"] = "Hot"
		}
	}
	for name, value := range r.Noted {
		p[name] = value
	}
	b := object{"id": accountID(a), "name": a.Name, "type": accountType, "location": r.Location, "kind": a.Kind, "sku": skuBody(a.SKU), "tags": object{}, "properties": p}
	if len(r.Tags) > 0 {
		b["tags"] = r.Tags
	}
	return b
}

// accountDocument is what PUT and PATCH take.
type accountDocument struct {
	SKU *struct {
		Name string `json:"name"`
	} `json:"sku"`
	Kind       string                     `json:"kind"`
	Location   string                     `json:"location"`
	Tags       *map[string]string         `json:"tags"`
	Properties map[string]json.RawMessage `json:"properties"`
	// Before 2016-01-01 the SKU was in the properties.
}

// apply changes an account, in place, as the document says. The account's resource is its own copy.
func (c *call) apply(d *accountDocument, a *account.Account) error {
	if d.SKU != nil {
		i := slices.IndexFunc(skus, func(s string) bool { return strings.EqualFold(s, d.SKU.Name) })
		if i < 0 {
			return errorf(http.StatusBadRequest, "InvalidValuesForRequestParameters", "Values for request parameters are invalid: sku.name. The SKU '%s' is not one of %s.", d.SKU.Name, strings.Join(skus, ", "))
		}
		a.SKU = skus[i]
	}
	if d.Kind != "" {
		i := slices.IndexFunc(kinds, func(k string) bool { return strings.EqualFold(k, d.Kind) })
		switch {
		case i < 0:
			return errorf(http.StatusBadRequest, "InvalidValuesForRequestParameters", "Values for request parameters are invalid: kind. The kind '%s' is not one of %s.", d.Kind, strings.Join(kinds, ", "))
		case a.Kind != "" && a.Kind != kinds[i] && (a.Kind != "Storage" || kinds[i] != "StorageV2"):
			return errorf(http.StatusBadRequest, "AccountPropertyCannotBeUpdated", "The property 'kind' was specified in the input, but it cannot be updated.")
		}
		a.Kind = kinds[i]
	}
	if d.Tags != nil {
		if err := checkTags(*d.Tags); err != nil {
			return err
		}
		a.Resource.Tags = *d.Tags
	}
	for _, name := range slices.Sorted(maps.Keys(d.Properties)) {
		if value := d.Properties[name]; string(bytes.TrimSpace(value)) != "null" {
			if err := applyProperty(a, name, value); err != nil {
				return err
			}
		}
	}
	return nil
}

// noted are the properties that are kept and given back, with what is kept of each: the members that are known, nil for a value that is
// not of the kind. None of them keeps anybody out.
var noted = map[string]func(json.RawMessage) any{
	"allowcrosstenantreplication":  flag,
	"defaulttooauthauthentication": flag,
	"keypolicy":                    keyPolicy,
	"saspolicy":                    loggingSASPolicy,
}

var notedNames = map[string]string{
	"allowcrosstenantreplication": "allowCrossTenantReplication", "defaulttooauthauthentication": "defaultToOAuthAuthentication", "keypolicy": "keyPolicy", "saspolicy": "sasPolicy",
}

func flag(v json.RawMessage) any {
	var on *bool
	if json.Unmarshal(v, &on) != nil || on == nil {
		return nil
	}
	return *on
}

func keyPolicy(v json.RawMessage) any {
	var p struct {
		Days int32 `json:"keyExpirationPeriodInDays"`
	}
	if json.Unmarshal(v, &p) != nil || p.Days < 0 {
		return nil
	}
	return p
}

// sasPeriod is days, hours, minutes and seconds, as in 1.12:00:00.
var sasPeriod = regexp.MustCompile(`^(?:\d{1,5}\.)?\d{1,2}:\d{1,2}:\d{1,2}$`)

// loggingSASPolicy takes policies that log, and not those that refuse longer signatures, as that is not done here.
func loggingSASPolicy(v json.RawMessage) any {
	var p struct {
		Period string `json:"sasExpirationPeriod,omitempty"`
		Action string `json:"expirationAction,omitempty"`
	}
	if json.Unmarshal(v, &p) != nil || p.Action != "" && !strings.EqualFold(p.Action, "Log") || p.Period != "" && !sasPeriod.MatchString(p.Period) {
		return nil
	}
	return p
}

// onlyOff are switches of features that this server has not: they may be given as they are.
var onlyOff = map[string]any{
	"ishnsenabled": false, "isnfsv3enabled": false, "issftpenabled": false, "islocaluserenabled": false, "enableextendedgroups": false,
	"publicnetworkaccess": "Enabled", "dnsendpointtype": "Standard", "largefilesharesstate": "Disabled",
}

// applyProperty sets one property. What asks for something that this server does not do is refused, so that nobody relies on it;
// what is only told by the server, and what is not known, is passed over, as clients send back all that they were given.
func applyProperty(a *account.Account, name string, value json.RawMessage) error {
	key := lower(name)
	refuse := func() error { return invalidProperty(name, value) }
	set := func(to *bool, not bool) error {
		var v bool
		if json.Unmarshal(value, &v) != nil {
			return refuse()
		}
		*to = v != not
		return nil
	}
	text := func(fields ...string) string {
		var v any
		_ = json.Unmarshal(value, &v) // another kind is no text
		for _, f := range fields {
			m, _ := v.(map[string]any)
			v = m[f]
		}
		s, _ := v.(string)
		return s
	}
	switch key {
	case "allowblobpublicaccess":
		return set(&a.DenyPublicAccess, true)
	case "allowsharedkeyaccess":
		return set(&a.DenySharedKey, true)
	case "supportshttpstrafficonly":
		return set(&a.RequireHTTPS, false)
	case "minimumtlsversion":
		v, ok := tlsVersions[strings.ToUpper(text())]
		if !ok {
			return refuse()
		}
		a.MinimumTLS = v
	case "accesstier":
		for _, tier := range []string{"Hot", "Cool", "Cold", "Premium"} {
			if strings.EqualFold(text(), tier) {
				a.Resource.AccessTier = tier
				return nil
			}
		}
		return refuse()
	case "encryption":
		var e struct {
			Source  string `json:"keySource"`
			Require bool   `json:"requireInfrastructureEncryption"`
		}
		if json.Unmarshal(value, &e) != nil || e.Source != "" && !strings.EqualFold(e.Source, storage) || e.Require {
			return refuse()
		}
	case "networkacls":
		n := parseNetwork(value)
		if n == nil {
			return refuse()
		}
		a.Network = n
	case "customdomain":
		if text("name") != "" {
			return refuse()
		}
	case "allowedcopyscope":
		return refuse()
	case "immutablestoragewithversioning":
		var i struct {
			Enabled bool `json:"enabled"`
		}
		if json.Unmarshal(value, &i) != nil || i.Enabled {
			return refuse()
		}
	case "azurefilesidentitybasedauthentication":
		if o := text("directoryServiceOptions"); o != "" && !strings.EqualFold(o, "None") {
			return refuse()
		}
	case "routingpreference":
		if r := text("routingChoice"); r != "" && !strings.EqualFold(r, "MicrosoftRouting") {
			return refuse()
		}
	default:
		if off, ok := onlyOff[key]; ok {
			var v any
			if json.Unmarshal(value, &v) != nil || !strings.EqualFold(fmt.Sprint(v), fmt.Sprint(off)) {
				return refuse()
			}
		}
		if good, ok := noted[key]; ok {
			kept := good(value)
			if kept == nil {
				return refuse()
			}
			text, err := json.Marshal(kept)
			if err != nil {
				return err
			}
			n := maps.Clone(a.Resource.Noted)
			if n == nil {
				n = map[string]json.RawMessage{}
			}
			n[notedNames[key]] = text
			a.Resource.Noted = n
		}
	}
	return nil
}
