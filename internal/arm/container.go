package arm

import (
	"errors"
	"net/http"
	"regexp"
	"strconv"
	"strings"

	"github.com/blobd/blobd/internal/auth"
	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/blob/store"
	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/protocol"
)

const containerType = accountType + "/blobServices/containers"

func capital(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

func (c *call) containerID(name string) string {
	return accountID(c.account) + "/blobServices/default/containers/" + name
}

func (c *call) containerBody(name string, k *record.Container) object {
	now := engine.StampOf(c.Now())
	state := k.Lease.At(now)
	level := map[auth.PublicAccess]string{auth.PublicNever: "None", auth.PublicBlob: "Blob", auth.PublicContainer: "Container"}[k.Public]
	p := object{
		"publicAccess": level, "lastModifiedTime": timeText(k.Changed.Time()), "leaseStatus": capital(state.Status()), "leaseState": capital(state.String()),
		"hasImmutabilityPolicy": false, "hasLegalHold": false, "deleted": k.Deleted.At != 0, "remainingRetentionDays": 0,
		"defaultEncryptionScope": "$account-encryption-key", "denyEncryptionScopeOverride": k.DenyScopeOverride,
	}
	if k.DefaultScope != "" {
		p["defaultEncryptionScope"] = k.DefaultScope
	}
	if len(k.Metadata) > 0 {
		m := object{}
		for _, pair := range k.Metadata {
			m[strings.Clone(pair.Name)] = strings.Clone(pair.Value)
		}
		p["metadata"] = m
	}
	if k.Deleted.At != 0 {
		p["version"], p["deletedTime"] = k.DeletedVersion(), timeText(k.Deleted.At.Time())
		p["remainingRetentionDays"] = int((k.Deleted.Until - now) / record.Day)
	}
	return object{"id": c.containerID(name), "name": name, "type": containerType, "etag": `"` + strings.Trim(protocol.ETag(k.Changed), `"`) + `"`, "properties": p}
}

func (c *call) target() *store.Target {
	return &store.Target{Account: c.account, Container: c.param["container"], Version: protocol.Newest, Now: engine.StampOf(c.Now())}
}

const (
	maxPage  = 5000
	fullPage = 1 << 20 // bytes of metadata at which a page ends
)

func (c *call) listContainers() error {
	limit := maxPage
	if n := c.query.Get("$maxpagesize"); n != "" {
		v, err := strconv.Atoi(n)
		if err != nil || v < 1 {
			return errorf(http.StatusBadRequest, "InvalidQueryParameterValue", "The value '%s' of the query parameter $maxpagesize is not valid.", n)
		}
		limit = min(v, maxPage)
	}
	prefix := ""
	if f := c.query.Get("$filter"); f != "" {
		m := regexp.MustCompile(`(?i)^\s*startswith\(\s*name\s*,\s*'?([^')]*)'?\s*\)\s*$`).FindStringSubmatch(f)
		if prefix = f; m != nil {
			prefix = m[1]
		}
	}
	all, size := []object{}, 0
	q := &store.ContainersQuery{Account: c.account.Name, Prefix: prefix, From: c.query.Get("$skipToken"), Limit: limit,
		Deleted: strings.EqualFold(c.query.Get("$include"), "deleted"), Now: engine.StampOf(c.Now())}
	next, err := c.Blobs.Containers(c.ctx, q, func(name string, k *record.Container) (full bool) {
		all = append(all, c.containerBody(strings.Clone(name), k))
		for _, m := range k.Metadata {
			size += len(m.Name) + len(m.Value)
		}
		return size >= fullPage
	})
	if err != nil {
		return err
	}
	answer := list(all)
	if next != "" {
		answer["nextLink"] = c.next(next)
	}
	return c.reply(http.StatusOK, answer)
}

// next is the address of the page that begins with a name.
func (c *call) next(from string) string {
	q := c.r.URL.Query()
	q.Set("$skipToken", from)
	return c.Base + c.r.URL.EscapedPath() + "?" + q.Encode()
}

type containerDocument struct {
	Properties struct {
		Public   *string            `json:"publicAccess"`
		Metadata *map[string]string `json:"metadata"`
		Scope    string             `json:"defaultEncryptionScope"`
		Deny     bool               `json:"denyEncryptionScopeOverride"`
		Worm     *struct {
			Enabled bool `json:"enabled"`
		} `json:"immutableStorageWithVersioning"`
		Root bool `json:"enableNfsV3RootSquash"`
		All  bool `json:"enableNfsV3AllSquash"`
	} `json:"properties"`
}

var metadataName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// container reads the document of PUT and PATCH; public and metadata are nil for what it does not name.
func (c *call) container() (d containerDocument, public *auth.PublicAccess, metadata []protocol.Pair, err error) {
	if err := c.body(&d); err != nil {
		return d, nil, nil, err
	}
	p := &d.Properties
	if p.Worm != nil && p.Worm.Enabled {
		return d, nil, nil, unsupported("Immutable storage with versioning")
	}
	if p.Root || p.All {
		return d, nil, nil, unsupported("NFS 3.0")
	}
	if p.Public != nil {
		level, ok := map[string]auth.PublicAccess{"none": auth.PublicNever, "blob": auth.PublicBlob, "container": auth.PublicContainer}[lower(*p.Public)]
		if !ok {
			return d, nil, nil, invalidProperty("publicAccess", *p.Public)
		}
		if level != auth.PublicNever && c.account.DenyPublicAccess {
			return d, nil, nil, protocol.ErrPublicAccessNotPermitted
		}
		public = &level
	}
	if p.Metadata != nil {
		size := 0
		metadata = []protocol.Pair{}
		seen := map[string]bool{}
		for name, value := range *p.Metadata {
			size += len(name) + len(value)
			if !metadataName.MatchString(name) || seen[lower(name)] || strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r > '~' }) {
				return d, nil, nil, invalidProperty("metadata."+name, value)
			}
			seen[lower(name)] = true
			metadata = append(metadata, protocol.Pair{Name: name, Value: value})
		}
		if size > 8<<10 {
			return d, nil, nil, protocol.ErrMetadataTooLarge
		}
	}
	return d, public, metadata, nil
}

// putContainer makes a container, or changes the one that is there.
func (c *call) putContainer() error {
	d, public, metadata, err := c.container()
	if err != nil {
		return err
	}
	k := &record.Container{Metadata: metadata, DefaultScope: strings.TrimPrefix(d.Properties.Scope, "$account-encryption-key"), DenyScopeOverride: d.Properties.Deny}
	if public != nil {
		k.Public = *public
	}
	name := c.param["container"]
	err = c.Blobs.CreateContainer(c.ctx, c.account.Name, name, k)
	if errors.Is(err, protocol.ErrContainerAlreadyExists) {
		return c.changeContainer(public, metadata)
	}
	if err != nil {
		return err
	}
	return c.reply(http.StatusCreated, c.containerBody(name, k))
}

func (c *call) patchContainer() error {
	_, public, metadata, err := c.container()
	if err != nil {
		return err
	}
	return c.changeContainer(public, metadata)
}

func (c *call) changeContainer(public *auth.PublicAccess, metadata []protocol.Pair) error {
	if public != nil {
		old, err := c.Blobs.Container(c.ctx, c.target())
		if err == nil {
			_, err = c.Blobs.SetContainerACL(c.ctx, c.target(), *public, old.Policies)
		}
		if err != nil {
			return err
		}
	}
	if metadata != nil {
		if _, err := c.Blobs.SetContainerMetadata(c.ctx, c.target(), metadata); err != nil {
			return err
		}
	}
	return c.getContainer()
}

func (c *call) getContainer() error {
	k, err := c.Blobs.Container(c.ctx, c.target())
	if err != nil {
		return err
	}
	return c.reply(http.StatusOK, c.containerBody(c.param["container"], k))
}

func (c *call) deleteContainer() error {
	err := c.Blobs.DeleteContainer(c.ctx, c.target())
	if errors.Is(err, protocol.ErrContainerNotFound) {
		return c.empty(http.StatusNoContent)
	}
	if err != nil {
		return err
	}
	return c.empty(http.StatusOK)
}
