package arm

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/protocol"
)

// retentionBody is a policy of soft delete.
func retentionBody(days int) object {
	if days <= 0 {
		return object{"enabled": false}
	}
	return object{"enabled": true, "days": days}
}

func corsBody(p *account.Properties) object {
	rules := []object{}
	if p != nil {
		some := func(l []string) []string {
			if l == nil {
				return []string{}
			}
			return l
		}
		for _, r := range p.CORS {
			rules = append(rules, object{"allowedOrigins": some(r.AllowedOrigins), "allowedMethods": some(r.AllowedMethods), "allowedHeaders": some(r.AllowedHeaders),
				"exposedHeaders": some(r.ExposedHeaders), "maxAgeInSeconds": r.MaxAge})
		}
	}
	return object{"corsRules": rules}
}

func blobServiceBody(a *account.Account) object {
	p := object{"cors": corsBody(a.Blob), "isVersioningEnabled": a.Versioning, "containerDeleteRetentionPolicy": retentionBody(a.ContainerRetentionDays)}
	soft := object{"enabled": false, "allowPermanentDelete": false}
	if a.Blob != nil {
		if a.Blob.DeleteRetention.Enabled {
			soft = object{"enabled": true, "days": a.Blob.DeleteRetention.Days, "allowPermanentDelete": a.Blob.DeleteRetention.AllowPermanentDelete}
		}
		if v := a.Blob.DefaultServiceVersion; v != "" {
			p["defaultServiceVersion"] = v
		}
	}
	p["deleteRetentionPolicy"] = soft
	return object{"id": accountID(a) + "/blobServices/default", "name": "default", "type": accountType + "/blobServices", "sku": skuBody(a.SKU), "properties": p}
}

func tableServiceBody(a *account.Account) object {
	return object{"id": accountID(a) + "/tableServices/default", "name": "default", "type": accountType + "/tableServices", "properties": object{"cors": corsBody(a.Table)}}
}

func (c *call) listBlobServices() error {
	return c.reply(http.StatusOK, list([]object{blobServiceBody(c.account)}))
}

func (c *call) getBlobService() error { return c.reply(http.StatusOK, blobServiceBody(c.account)) }

func (c *call) listTableServices() error {
	return c.reply(http.StatusOK, list([]object{tableServiceBody(c.account)}))
}

func (c *call) getTableService() error { return c.reply(http.StatusOK, tableServiceBody(c.account)) }

type corsDocument struct {
	Rules []struct {
		Origins []string `json:"allowedOrigins"`
		Methods []string `json:"allowedMethods"`
		Headers []string `json:"allowedHeaders"`
		Exposed []string `json:"exposedHeaders"`
		Age     int      `json:"maxAgeInSeconds"`
	} `json:"corsRules"`
}

// xml is the section of Set Service Properties, whose rules are the same.
func (d *corsDocument) xml() []byte {
	b := []byte("<Cors>")
	for _, r := range d.Rules {
		b = append(b, "<CorsRule>"...)
		for _, e := range []struct {
			name string
			list []string
		}{{"AllowedOrigins", r.Origins}, {"AllowedMethods", r.Methods}, {"AllowedHeaders", r.Headers}, {"ExposedHeaders", r.Exposed}} {
			b = protocol.AppendElement(b, e.name, strings.Join(e.list, ","))
		}
		b = protocol.AppendElement(b, "MaxAgeInSeconds", strconv.Itoa(r.Age))
		b = append(b, "</CorsRule>"...)
	}
	return append(b, "</Cors>"...)
}

type policyDocument struct {
	Enabled   *bool `json:"enabled"`
	Days      *int  `json:"days"`
	Permanent bool  `json:"allowPermanentDelete"`
}

func (p *policyDocument) check(name string) error {
	if p != nil && p.Enabled != nil && *p.Enabled && (p.Days == nil || *p.Days < 1 || *p.Days > 365) {
		return invalidProperty(name+".days", p.Days)
	}
	return nil
}

// propertiesXML is a document of Set Service Properties of some sections.
func propertiesXML(sections []byte) []byte {
	return append(append([]byte("<StorageServiceProperties>"), sections...), "</StorageServiceProperties>"...)
}

// putBlobService sets what the document names; the rest stays.
func (c *call) putBlobService() error {
	var b struct {
		Properties struct {
			CORS       *corsDocument   `json:"cors"`
			Version    *string         `json:"defaultServiceVersion"`
			Blobs      *policyDocument `json:"deleteRetentionPolicy"`
			Containers *policyDocument `json:"containerDeleteRetentionPolicy"`
			Versioning *bool           `json:"isVersioningEnabled"`
			Snapshots  bool            `json:"automaticSnapshotPolicyEnabled"`
			Feed       *struct {
				Enabled bool `json:"enabled"`
			} `json:"changeFeed"`
			Restore *struct {
				Enabled bool `json:"enabled"`
			} `json:"restorePolicy"`
			Access *struct {
				Enable bool `json:"enable"`
			} `json:"lastAccessTimeTrackingPolicy"`
		} `json:"properties"`
	}
	if err := c.body(&b); err != nil {
		return err
	}
	p := &b.Properties
	switch {
	case p.Feed != nil && p.Feed.Enabled:
		return unsupported("The change feed")
	case p.Restore != nil && p.Restore.Enabled:
		return unsupported("Point in time restore")
	case p.Access != nil && p.Access.Enable:
		return unsupported("Last access time tracking")
	case p.Snapshots:
		return unsupported("The automatic snapshot policy")
	}
	if err := first(p.Blobs.check("deleteRetentionPolicy"), p.Containers.check("containerDeleteRetentionPolicy")); err != nil {
		return err
	}
	var sections []byte
	if p.CORS != nil {
		sections = append(sections, p.CORS.xml()...)
	}
	if p.Version != nil && *p.Version != "" {
		sections = protocol.AppendElement(sections, "DefaultServiceVersion", *p.Version)
	}
	if p.Blobs != nil && p.Blobs.Enabled != nil {
		sections = append(sections, "<DeleteRetentionPolicy>"...)
		sections = protocol.AppendElement(sections, "Enabled", strconv.FormatBool(*p.Blobs.Enabled))
		if *p.Blobs.Enabled {
			sections = protocol.AppendElement(sections, "Days", strconv.Itoa(*p.Blobs.Days))
		}
		sections = protocol.AppendElement(sections, "AllowPermanentDelete", strconv.FormatBool(p.Blobs.Permanent))
		sections = append(sections, "</DeleteRetentionPolicy>"...)
	}
	changed, err := c.changeService(account.BlobService, sections, func(a *account.Account) {
		if p.Versioning != nil {
			a.Versioning = *p.Versioning
		}
		if r := p.Containers; r != nil && r.Enabled != nil {
			if a.ContainerRetentionDays = 0; *r.Enabled {
				a.ContainerRetentionDays = *r.Days
			}
		}
	})
	if err != nil {
		return err
	}
	return c.reply(http.StatusOK, blobServiceBody(changed))
}

func (c *call) putTableService() error {
	var b struct {
		Properties struct {
			CORS *corsDocument `json:"cors"`
		} `json:"properties"`
	}
	if err := c.body(&b); err != nil {
		return err
	}
	var sections []byte
	if b.Properties.CORS != nil {
		sections = b.Properties.CORS.xml()
	}
	changed, err := c.changeService(account.TableService, sections, func(*account.Account) {})
	if err != nil {
		return err
	}
	return c.reply(http.StatusOK, tableServiceBody(changed))
}

// changeService changes an account and the properties of one of its services together.
func (c *call) changeService(service byte, sections []byte, switches func(*account.Account)) (*account.Account, error) {
	var changed account.Account
	err := c.Accounts.Change(c.ctx, c.account.Name, func(a *account.Account) error {
		if len(sections) > 0 {
			next, err := a.Properties(service).Update(service, propertiesXML(sections), protocol.Newest)
			if err != nil {
				return errorf(http.StatusBadRequest, "InvalidRequestPropertyValue", "The service properties are not valid: %s", err)
			}
			if service == account.TableService {
				a.Table = next
			} else {
				a.Blob = next
			}
		}
		switches(a)
		changed = *a
		return nil
	})
	return &changed, err
}
