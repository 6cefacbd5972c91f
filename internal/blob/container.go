package blob

import (
	"strconv"
	"strings"

	"github.com/blobd/blobd/internal/auth"
	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/blob/store"
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
	d := decoder{r: r}
	c := &record.Container{DefaultScope: strings.Clone(r.Header("x-ms-default-encryption-scope")), Public: d.public(), Metadata: d.metadata(),
		DenyScopeOverride: d.flag("x-ms-deny-encryption-scope-override")}
	if c.DefaultScope == record.AccountScope {
		c.DefaultScope = ""
	}
	if d.err != nil {
		return d.err
	}
	if err := s.blobs.CreateContainer(r.Context, r.Account.Name, r.Container, c); err != nil {
		return err
	}
	setChanged(r, c.Changed)
	r.Reply(201)
	return nil
}

var publicNames = [...]string{auth.PublicContainer: "container", auth.PublicBlob: "blob"}

// public reads x-ms-blob-public-access; absent is private.
func (d *decoder) public() auth.PublicAccess {
	text, ok := d.r.HeaderOK("x-ms-blob-public-access")
	if !ok {
		return auth.PublicNever
	}
	level := auth.PublicNever
	switch strings.ToLower(text) {
	case "container", "true":
		level = auth.PublicContainer
	case "blob":
		level = auth.PublicBlob
	default:
		d.fail(protocol.InvalidHeader("x-ms-blob-public-access", text))
	}
	if d.r.Account.DenyPublicAccess {
		d.fail(protocol.ErrPublicAccessNotPermitted)
	}
	return level
}

// getContainerProperties is Get Container Properties.
func (s *Service) getContainerProperties(r *rest.Request) error {
	c, err := s.readContainer(r)
	if err != nil {
		return err
	}
	setChanged(r, c.Changed)
	setMetadata(r, c.Metadata)
	setLease(r, &c.Lease, record.StampOf(r.Now))
	setPublic(r, c)
	if r.Version >= protocol.V20171109 {
		r.SetHeader("x-ms-has-immutability-policy", "false")
		r.SetHeader("x-ms-has-legal-hold", "false")
	}
	if r.Version >= protocol.V20200612 {
		r.SetHeader("x-ms-immutable-storage-with-versioning-enabled", "false")
	}
	if r.Version >= protocol.V20190202 {
		r.SetHeader("x-ms-default-encryption-scope", c.Scope())
		r.SetHeader("x-ms-deny-encryption-scope-override", boolText(c.DenyScopeOverride))
	}
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
	d := decoder{r: r}
	metadata, a := d.metadata(), d.container(false)
	if d.err != nil {
		return d.err
	}
	changed, err := s.blobs.SetContainerMetadata(r.Context, &a, metadata)
	if err != nil {
		return err
	}
	setChanged(r, changed)
	r.Reply(200)
	return nil
}

// setContainerACL is Set Container ACL.
func (s *Service) setContainerACL(r *rest.Request) error {
	d := decoder{r: r}
	public, doc := d.public(), d.document(maxPoliciesXML)
	policies, err := auth.ParsePolicies(doc, policyLetters)
	d.fail(err)
	a := d.container(true)
	if d.err != nil {
		return d.err
	}
	changed, err := s.blobs.SetContainerACL(r.Context, &a, public, policies)
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

// deleteContainer is Delete Container.
func (s *Service) deleteContainer(r *rest.Request) error {
	d := decoder{r: r}
	a := d.container(true)
	if d.err != nil {
		return d.err
	}
	if err := s.blobs.DeleteContainer(r.Context, &a); err != nil {
		return err
	}
	r.Reply(202)
	return nil
}

// restoreContainer is Restore Container. The name in the address must be the one that the container had: the public references of
// the SDKs have withdrawn their option for another ("destination container name must match deleted container name").
func (s *Service) restoreContainer(r *rest.Request) error {
	name, version := r.Header("x-ms-deleted-container-name"), r.Header("x-ms-deleted-container-version")
	switch {
	case name == "":
		return protocol.MissingHeader("x-ms-deleted-container-name")
	case version == "":
		return protocol.MissingHeader("x-ms-deleted-container-version")
	case name != r.Container:
		return protocol.InvalidHeader("x-ms-deleted-container-name", name)
	}
	if err := s.blobs.RestoreContainer(r.Context, r.Account.Name, name, version); err != nil {
		return err
	}
	r.Reply(201)
	return nil
}

// listContainers is List Containers.
func (s *Service) listContainers(r *rest.Request) error {
	prefix, hasPrefix := r.QueryOK("prefix")
	marker, hasMarker := r.QueryOK("marker")
	limit, hasMax, err := decodeMax(r)
	if err != nil {
		return err
	}
	q := store.ContainersQuery{Account: r.Account.Name, Prefix: prefix, From: strings.TrimPrefix(marker, "/"+r.AccountName+"/"), Limit: limit, Now: record.StampOf(r.Now)}
	metadata := false
	for item := range strings.SplitSeq(strings.ToLower(r.Query("include")), ",") {
		switch strings.TrimSpace(item) {
		case "", "system":
		case "metadata":
			metadata = true
		case "deleted":
			if r.Version < protocol.V20191212 {
				return protocol.InvalidQuery("include", r.Query("include"), "")
			}
			q.Deleted = true
		default:
			return protocol.InvalidQuery("include", r.Query("include"), "")
		}
	}
	page := newPage()
	b := append(page.b, protocol.XMLHead...)
	endpoint, attribute, old := string(appendEndpoint(nil, r)), "ServiceEndpoint", r.Version < protocol.V20130815
	if old {
		attribute = "AccountName"
	}
	b = append(append(append(b, "<EnumerationResults "...), attribute...), `="`...)
	b = append(append(b, endpoint...), `">`...)
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
	next, err := s.blobs.Containers(r.Context, &q, func(name string, c *record.Container) (full bool) {
		if old {
			b = appendOldContainer(b, c, endpoint, name, metadata, q.Now, r.Version)
		} else {
			b = appendContainer(b, c, name, metadata, q.Now, r.Version)
		}
		page.err = r.HoldAnswer(len(b))
		return page.err != nil || len(b) >= fullPage
	})
	if err == nil {
		err = page.err
	}
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
	return page.reply(r, "application/xml")
}

// appendContainer appends the <Container> element of a listing. Unlike a blob's, its ETag is quoted.
func appendContainer(b []byte, c *record.Container, name string, metadata bool, now record.Stamp, version protocol.Version) []byte {
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
	if c.Deleted.At != 0 { // whatever lease it had
		b = append(b, "<LeaseStatus>unlocked</LeaseStatus><LeaseState>expired</LeaseState>"...)
	} else {
		b = appendLease(b, &c.Lease, now)
	}
	if c.Public != auth.PublicNever {
		b = protocol.AppendElement(b, "PublicAccess", publicNames[c.Public])
	}
	if version >= protocol.V20190202 {
		b = protocol.AppendElement(b, "DefaultEncryptionScope", c.Scope())
		b = protocol.AppendElement(b, "DenyEncryptionScopeOverride", boolText(c.DenyScopeOverride))
	}
	if version >= protocol.V20171109 {
		b = append(b, "<HasImmutabilityPolicy>false</HasImmutabilityPolicy><HasLegalHold>false</HasLegalHold>"...)
	}
	if version >= protocol.V20200612 {
		b = append(b, "<ImmutableStorageWithVersioningEnabled>false</ImmutableStorageWithVersioningEnabled>"...)
	}
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
