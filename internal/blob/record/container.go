package record

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/blobd/blobd/internal/auth"
	"github.com/blobd/blobd/internal/blob/lease"
	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/protocol"
)

// Container is one container as it is stored. Its strings alias what it was decoded from.
type Container struct {
	Generation Generation
	Changed    engine.Stamp // ETag and Last-Modified
	Public     auth.PublicAccess
	Metadata   []protocol.Pair
	Policies   []auth.Policy // stored access policies, in the order set
	Lease      lease.Lease
	// DefaultScope is empty for $account-encryption-key.
	DefaultScope      string
	DenyScopeOverride bool
	Deleted           SoftDelete

	extra string
}

// The form is that of a blob record: a version byte, generation and stamp, then fields.
const containerVersion = 1

const (
	fieldContainerPublic = iota + 1
	fieldContainerMetadata
	fieldContainerPolicy // one for each: the only field that is repeated
	fieldContainerLease
	fieldContainerScope
	fieldContainerDenyScope
	fieldContainerDeleted
	fieldsContainerKnown
)

var errContainer = errors.New("container record is malformed")

// AppendTo appends the stored form.
func (c *Container) AppendTo(b []byte) []byte {
	b = append(b, containerVersion)
	b = binary.LittleEndian.AppendUint64(b, uint64(c.Generation))
	b = binary.LittleEndian.AppendUint64(b, uint64(c.Changed))
	if c.Public != auth.PublicNever {
		b = append(b, fieldContainerPublic, 1, byte(c.Public))
	}
	b = appendPairs(b, fieldContainerMetadata, c.Metadata)
	for i := range c.Policies {
		p := &c.Policies[i]
		var f []byte
		for _, s := range []string{p.ID, p.Start, p.Expiry, p.Permission} {
			f = appendString(f, s)
		}
		b = append(b, fieldContainerPolicy)
		b = binary.AppendUvarint(b, uint64(len(f)+1))
		b = append(append(b, f...), flag(p.HasPermission))
	}
	if c.Lease.State != lease.Available {
		b = append(b, fieldContainerLease, leaseSize)
		b = appendStoredLease(b, &c.Lease)
	}
	b = appendText(b, fieldContainerScope, c.DefaultScope)
	if c.DenyScopeOverride {
		b = append(b, fieldContainerDenyScope, 0)
	}
	b = appendDeleted(b, fieldContainerDeleted, c.Deleted)
	return append(b, c.extra...)
}

// Decode reads the stored form. The record's strings alias v.
func (c *Container) Decode(v string) error {
	*c = Container{}
	d := decoder{v: v}
	if version := d.byte(); version != containerVersion {
		return fmt.Errorf("%w: version %d", errContainer, version)
	}
	c.Generation = Generation(d.uint64())
	c.Changed = engine.Stamp(d.uint64())
	for last := byte(0); d.more(); {
		start := len(v) - len(d.v)
		tag := d.byte()
		if tag < last || tag == last && tag != fieldContainerPolicy || tag == 0 {
			d.fail()
			break
		}
		if tag >= fieldsContainerKnown {
			c.extra = v[start:]
			d.skipFields()
			break
		}
		last = tag
		f := decoder{v: d.text()}
		switch tag {
		case fieldContainerPublic:
			c.Public = auth.PublicAccess(f.byte())
		case fieldContainerMetadata:
			c.Metadata = f.pairs(nil)
		case fieldContainerPolicy:
			c.Policies = append(c.Policies, auth.Policy{ID: f.text(), Start: f.text(), Expiry: f.text(), Permission: f.text(), HasPermission: f.byte() != 0})
		case fieldContainerLease:
			c.Lease = f.lease()
		case fieldContainerScope:
			c.DefaultScope = f.rest()
		case fieldContainerDenyScope:
			c.DenyScopeOverride = true
		case fieldContainerDeleted:
			c.Deleted = SoftDelete{engine.Stamp(f.uint64()), engine.Stamp(f.uint64())}
		default:
			f.fail()
		}
		if f.bad || f.more() {
			d.fail()
		}
	}
	if d.bad {
		return errContainer
	}
	return nil
}

func (c *Container) Scope() string {
	if c.DefaultScope == "" {
		return AccountScope
	}
	return c.DefaultScope
}

// AccountScope is what containers of an account that has no other encryption scope belong to.
const AccountScope = "$account-encryption-key"

// DeletedVersion names one of several deleted containers of a name: 16 hex digits of the generation.
func (c *Container) DeletedVersion() string {
	tag := string(protocol.AppendETag(nil, engine.Stamp(c.Generation)))[2:]
	return strings.Repeat("0", 16-len(tag)) + tag
}
