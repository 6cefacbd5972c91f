package blob

import (
	"context"
	"errors"
	"strconv"
	"strings"

	"github.com/blobd/blobd/internal/auth"
	"github.com/blobd/blobd/internal/blob/lease"
	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/protocol"
	"github.com/blobd/blobd/internal/rest"
)

// What stored access policies of containers may say.
const (
	policyLetters  = "racwdxyltmeopif"
	maxPoliciesXML = 64 << 10 // bytes
)

// createContainer is Create Container.
func (s *Service) createContainer(r *rest.Request) error {
	if err := protocol.CheckContainerName(r.Container); err != nil {
		return err
	}
	c := &record.Container{DefaultScope: clone(r.Header("x-ms-default-encryption-scope"))}
	if c.DefaultScope == record.AccountScope {
		c.DefaultScope = ""
	}
	var err error
	if c.Public, err = decodePublic(r); err != nil {
		return err
	}
	if c.Metadata, err = decodeMetadata(r); err != nil {
		return err
	}
	if c.DenyScopeOverride, err = r.Flag("x-ms-deny-encryption-scope-override"); err != nil {
		return err
	}
	if err := s.makeContainer(r.Context, r.AccountName, r.Container, c); err != nil {
		return err
	}
	setChanged(r, c.Changed)
	r.Reply(201)
	return nil
}

// makeContainer writes a new container's record.
func (s *Service) makeContainer(ctx context.Context, account, name string, c *record.Container) error {
	key := record.AppendContainerKey(nil, account, name)
	return s.updateContainer(ctx, key, func(tx engine.Tx) error {
		switch _, err := tx.Get(engine.SpaceContainer, key); {
		case err == nil:
			return protocol.ErrContainerAlreadyExists
		case !errors.Is(err, engine.ErrNotFound):
			return err
		}
		c.Changed = tx.Stamp()
		c.Generation = record.Generation(c.Changed)
		tx.Set(engine.SpaceContainer, key, c.AppendTo(nil))
		return nil
	})
}

var publicNames = [...]string{auth.PublicContainer: "container", auth.PublicBlob: "blob"}

// decodePublic reads x-ms-blob-public-access; absent is private.
func decodePublic(r *rest.Request) (auth.PublicAccess, error) {
	text, ok := r.HeaderOK("x-ms-blob-public-access")
	if !ok {
		return auth.PublicNever, nil
	}
	level := auth.PublicNever
	switch strings.ToLower(text) {
	case "container", "true":
		level = auth.PublicContainer
	case "blob":
		level = auth.PublicBlob
	default:
		return 0, protocol.InvalidHeader("x-ms-blob-public-access", text)
	}
	if r.Account.DenyPublicAccess {
		return 0, protocol.ErrPublicAccessNotPermitted
	}
	return level, nil
}

// readContainer reads the addressed container for an operation that changes nothing; a lease id is checked if there is one.
func (s *Service) readContainer(r *rest.Request) (*record.Container, error) {
	if err := protocol.CheckContainerName(r.Container); err != nil {
		return nil, err
	}
	given, err := leaseHeader(r, "x-ms-lease-id")
	if err != nil {
		return nil, err
	}
	c, err := s.container(r.Context, r.AccountName, r.Container)
	if err != nil {
		return nil, err
	}
	return c, c.Lease.CheckRead(engine.StampOf(r.Now), given, lease.Container)
}

// getContainerProperties is Get Container Properties.
func (s *Service) getContainerProperties(r *rest.Request) error {
	c, err := s.readContainer(r)
	if err != nil {
		return err
	}
	setChanged(r, c.Changed)
	setMetadata(r, c.Metadata)
	setLease(r, &c.Lease, engine.StampOf(r.Now))
	setPublic(r, c)
	r.SetHeader("x-ms-has-immutability-policy", "false")
	r.SetHeader("x-ms-has-legal-hold", "false")
	r.SetHeader("x-ms-immutable-storage-with-versioning-enabled", "false")
	r.SetHeader("x-ms-default-encryption-scope", c.Scope())
	r.SetHeader("x-ms-deny-encryption-scope-override", boolText(c.DenyScopeOverride))
	r.Reply(200)
	return nil
}

func boolText(b bool) string {
	if b {
		return "true"
	}
	return "false"
}

func setPublic(r *rest.Request, c *record.Container) {
	if c.Public != auth.PublicNever {
		r.SetHeader("x-ms-blob-public-access", publicNames[c.Public])
	}
}

// getContainerMetadata is Get Container Metadata.
func (s *Service) getContainerMetadata(r *rest.Request) error {
	c, err := s.readContainer(r)
	if err != nil {
		return err
	}
	setChanged(r, c.Changed)
	setMetadata(r, c.Metadata)
	r.Reply(200)
	return nil
}

// setContainerMetadata is Set Container Metadata.
func (s *Service) setContainerMetadata(r *rest.Request) error {
	metadata, err := decodeMetadata(r)
	if err != nil {
		return err
	}
	return s.editContainer(r, false, func(c *record.Container) { c.Metadata = metadata })
}

// setContainerACL is Set Container ACL.
func (s *Service) setContainerACL(r *rest.Request) error {
	public, err := decodePublic(r)
	if err != nil {
		return err
	}
	doc, err := r.ReadBody(maxPoliciesXML)
	if err != nil {
		return err
	}
	policies, err := auth.ParsePolicies(doc, policyLetters)
	if err != nil {
		return err
	}
	return s.editContainer(r, true, func(c *record.Container) { c.Public, c.Policies = public, policies })
}

// editContainer changes a container's record and with it ETag and Last-Modified, and answers.
func (s *Service) editContainer(r *rest.Request, unmodified bool, edit func(*record.Container)) error {
	if err := protocol.CheckContainerName(r.Container); err != nil {
		return err
	}
	terms, err := containerAccess(r, unmodified)
	if err != nil {
		return err
	}
	var changed engine.Stamp
	err = s.changeContainer(r.Context, r.AccountName, r.Container, func(tx engine.Tx, c *record.Container) error {
		if err := c.Lease.CheckRead(terms.now, terms.lease, lease.Container); err != nil {
			return err
		}
		if err := terms.cond.Write(c.Changed, false); err != nil {
			return err
		}
		edit(c)
		c.Changed = tx.Stamp()
		changed = c.Changed
		return nil
	})
	if err != nil {
		return err
	}
	setChanged(r, changed)
	r.Reply(200)
	return nil
}

// getContainerACL is Get Container ACL.
func (s *Service) getContainerACL(r *rest.Request) error {
	c, err := s.readContainer(r)
	if err != nil {
		return err
	}
	setChanged(r, c.Changed)
	setPublic(r, c)
	r.ReplyXML(200, auth.AppendPolicies(make([]byte, 0, 512), c.Policies))
	return nil
}

// Access implements auth.Resources.
func (s *Service) Access(ctx context.Context, account, name string) (auth.Access, error) {
	c, err := s.container(ctx, account, name)
	if err != nil {
		return auth.Access{}, err
	}
	return auth.Access{Public: c.Public, Policies: c.Policies}, nil
}

// deleteContainer is Delete Container: the record goes at once, what was in it is left to the sweeper.
func (s *Service) deleteContainer(r *rest.Request) error {
	if err := protocol.CheckContainerName(r.Container); err != nil {
		return err
	}
	terms, err := containerAccess(r, true)
	if err != nil {
		return err
	}
	key := record.AppendContainerKey(nil, r.AccountName, r.Container)
	err = s.updateContainer(r.Context, key, func(tx engine.Tx) error {
		c, err := getContainer(tx, key)
		if err != nil {
			return err
		}
		if err := c.Lease.CheckWrite(terms.now, terms.lease, lease.Container); err != nil {
			return err
		}
		if err := terms.cond.Write(c.Changed, false); err != nil {
			return err
		}
		s.retireContainer(tx, r.Account, key, c)
		return nil
	})
	if err != nil {
		return err
	}
	s.wake()
	r.Reply(202)
	return nil
}

// buryContainer leaves the contents of a deleted container to the sweeper.
func (s *Service) buryContainer(tx engine.Tx, key []byte, c *record.Container) {
	died := record.AppendStamp(nil, tx.Stamp())
	tx.Set(engine.SpaceBlobQueue, record.AppendWorkKey(nil, key, record.WorkContainer, engine.Stamp(c.Generation)), died)
}

// listContainers is List Containers.
func (s *Service) listContainers(r *rest.Request) error {
	prefix, hasPrefix := r.QueryOK("prefix")
	marker, hasMarker := r.QueryOK("marker")
	limit, hasMax, err := decodeMax(r)
	if err != nil {
		return err
	}
	var metadata, deleted bool
	for item := range strings.SplitSeq(strings.ToLower(r.Query("include")), ",") {
		switch strings.TrimSpace(item) {
		case "", "system":
		case "metadata":
			metadata = true
		case "deleted":
			deleted = true
		default:
			return protocol.InvalidQuery("include", r.Query("include"), "")
		}
	}
	page := newPage()
	b := append(page.b, protocol.XMLHead...)
	b = append(b, `<EnumerationResults ServiceEndpoint="`...)
	b = append(appendEndpoint(b, r), `">`...)
	if hasPrefix {
		b = protocol.AppendElement(b, "Prefix", prefix)
	}
	if hasMarker {
		b = protocol.AppendElement(b, "Marker", marker)
	}
	if hasMax {
		b = protocol.AppendElement(b, "MaxResults", r.Query("maxresults"))
	}
	start := len(b)
	from := strings.TrimPrefix(marker, "/"+r.AccountName+"/")
	scope := append([]byte(r.AccountName), 0)
	lower := append(append([]byte(nil), scope...), max(prefix, from)...)
	upper := record.After(append(append([]byte(nil), scope...), prefix...))
	now := engine.StampOf(r.Now)
	next := ""
	err = s.store.View(r.Context, scope, func(v engine.Reader) error {
		it := v.Scan(engine.SpaceContainer, lower, upper)
		defer it.Close()
		for n := 0; it.Next(); {
			rest := string(it.Key()[len(scope):])
			name, life, _ := strings.Cut(rest, "\x00")
			if life != "" && !deleted {
				continue
			}
			if n == limit {
				next = name
				break
			}
			value, err := it.Value()
			if err != nil {
				return err
			}
			var c record.Container
			if err := c.Decode(record.View(value)); err != nil {
				return err
			}
			if c.Deleted.At != 0 && c.Deleted.Until <= now {
				continue
			}
			n++
			b = appendContainer(b, &c, name, metadata, now)
		}
		return it.Close()
	})
	if err != nil {
		page.Close()
		return err
	}
	b = wrapList(b, start, "Containers")
	if next != "" {
		next = "/" + r.AccountName + "/" + next
	}
	b = protocol.AppendElement(b, "NextMarker", next)
	page.b = append(b, "</EnumerationResults>"...)
	page.reply(r)
	return nil
}

// appendContainer appends the <Container> element of a listing. Unlike a blob's, its ETag is quoted.
func appendContainer(b []byte, c *record.Container, name string, metadata bool, now engine.Stamp) []byte {
	b = append(b, "<Container>"...)
	b = protocol.AppendElement(b, "Name", name)
	if c.Deleted.At != 0 {
		b = append(b, "<Deleted>true</Deleted>"...)
		b = protocol.AppendElement(b, "Version", c.DeletedVersion())
	}
	b = append(b, "<Properties><Last-Modified>"...)
	b = protocol.AppendDate(b, c.Changed)
	b = append(b, "</Last-Modified><Etag>\""...)
	b = protocol.AppendETag(b, c.Changed)
	b = append(b, "\"</Etag>"...)
	b = appendLease(b, &c.Lease, now)
	if c.Public != auth.PublicNever {
		b = protocol.AppendElement(b, "PublicAccess", publicNames[c.Public])
	}
	b = protocol.AppendElement(b, "DefaultEncryptionScope", c.Scope())
	b = protocol.AppendElement(b, "DenyEncryptionScopeOverride", boolText(c.DenyScopeOverride))
	b = append(b, "<HasImmutabilityPolicy>false</HasImmutabilityPolicy><HasLegalHold>false</HasLegalHold><ImmutableStorageWithVersioningEnabled>false</ImmutableStorageWithVersioningEnabled>"...)
	if c.Deleted.At != 0 {
		b = protocol.AppendElement(b, "DeletedTime", protocol.Date(c.Deleted.At))
		b = append(b, "<RemainingRetentionDays>"...)
		b = strconv.AppendInt(b, c.Deleted.DaysLeft(now), 10)
		b = append(b, "</RemainingRetentionDays>"...)
	}
	b = append(b, "</Properties>"...)
	if metadata {
		b = appendMetadata(b, c.Metadata)
	}
	return append(b, "</Container>"...)
}
