package blob

import (
	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/auth"
	"github.com/blobd/blobd/internal/blob/store"
	"github.com/blobd/blobd/internal/blob/tagquery"
	"github.com/blobd/blobd/internal/protocol"
	"github.com/blobd/blobd/internal/rest"
)

// Bodies.
var (
	noBody   = rest.BodyRule{}
	smallXML = rest.BodyRule{Max: rest.AtMost(account.MaxPropertiesSize), Length: true}
)

// What operations need of their callers (REST pages "Create a service SAS", "Create an account SAS"). Resource types are s, c and o.
func needs(sas, accountSAS, types string, role auth.Action) auth.Needs {
	return auth.Needs{SAS: sas, AccountSAS: accountSAS, ResourceTypes: types, Role: role}
}

func public(n auth.Needs, level auth.PublicAccess) auth.Needs {
	n.Public = level
	return n
}

var (
	readsBlob      = public(needs("r", "r", "o", auth.ActionRead), auth.PublicBlob)
	readsContainer = public(needs("", "r", "c", auth.ActionRead), auth.PublicContainer)
	listsBlobs     = auth.Needs{SAS: "l", AccountSAS: "l", ResourceTypes: "c", Role: auth.ActionRead, Public: auth.PublicContainer, Prefix: true}
	writesBlob     = needs("w", "w", "o", auth.ActionWrite)
	createsBlob    = needs("w|c", "w|c", "o", auth.ActionWrite)
	ofContainer    = needs("", "w", "c", auth.ActionWrite)
	accountInfo    = needs("r", "*", "sco", auth.ActionRead)
	usesTags       = needs("t", "t", "o", auth.ActionTags)
	besideTags     = needs("t", "t", "", auth.ActionTags) // of whatever the operation is on
)

// everywhere is the page's word on operations that all of them have.
func everywhere() rest.Doc { return rest.Doc{Blobd: "yes", Azurite: "yes", Stack: "yes", Azure: "yes"} }

// beyond is its word on those that the emulator has never had.
func beyond() rest.Doc { return rest.Doc{Blobd: "yes", Azurite: "no", Stack: "no", Azure: "yes"} }

// Operations is the table of the Blob service.
var Operations = rest.Table[*Service]{
	// service
	{Name: "ListContainers", Methods: "GET", Level: rest.Account, Comp: "list", Needs: needs("", "l", "s", auth.ActionRead), Handle: (*Service).listContainers, Doc: everywhere()},
	{Name: "GetBlobServiceProperties", Methods: "GET", Level: rest.Account, Restype: "service", Comp: "properties", Needs: needs("", "r", "s", auth.ActionService), Handle: (*Service).getServiceProperties, Doc: everywhere()},
	{Name: "SetBlobServiceProperties", Methods: "PUT", Level: rest.Account, Restype: "service", Comp: "properties", Needs: needs("", "w", "s", auth.ActionManage), Body: smallXML, Handle: (*Service).setServiceProperties, Doc: everywhere()},
	{Name: "GetBlobServiceStats", Methods: "GET", Level: rest.Account, Restype: "service", Comp: "stats", Since: protocol.V20130815, Needs: needs("", "r", "s", auth.ActionService), Handle: (*Service).getServiceStats, Doc: everywhere()},
	{Name: "GetAccountInformation", Methods: "GET HEAD", Level: rest.Account, Restype: "account", Comp: "properties", Since: protocol.V20180328, Needs: accountInfo, Handle: (*Service).getAccountInformation, Doc: everywhere()},
	{Name: "GetUserDelegationKey", Methods: "POST", Level: rest.Account, Restype: "service", Comp: "userdelegationkey", Since: protocol.V20181109, Needs: auth.Needs{Role: auth.ActionKey, BearerOnly: true}, Body: rest.BodyRule{Max: rest.AtMost(maxKeyInfoXML), Length: true}, Handle: (*Service).getUserDelegationKey, Doc: rest.Doc{Blobd: "yes", Azurite: "yes", Stack: "no", Azure: "yes"}},
	{Name: "BlobBatch", Methods: "POST", Level: rest.Account, Comp: "batch", Since: protocol.V20181109, Needs: needs("", "*", "sco", auth.ActionRead), Body: rest.BodyRule{Max: rest.AtMost(maxBatchBody), Length: true}, Handle: (*Service).submitBatch, Doc: rest.Doc{Blobd: "yes", Azurite: "yes", Stack: "no", Azure: "yes"}},
	// The JS SDK takes the account of a path-style address for a container.
	{Name: "BlobBatch", Methods: "POST", Level: rest.Account, Restype: "container", Comp: "batch", Since: protocol.V20181109, Needs: needs("", "*", "sco", auth.ActionRead), Body: rest.BodyRule{Max: rest.AtMost(maxBatchBody), Length: true}, Handle: (*Service).submitBatch, Doc: rest.Doc{Blobd: "in path style, as the JS SDK asks there", Azurite: "yes", Stack: "no", Azure: "no"}},
	{Name: "FindBlobsByTags", Methods: "GET", Level: rest.Account, Comp: "blobs", Since: protocol.V20191212, Needs: needs("", "f", "o", auth.ActionTags), Handle: (*Service).findBlobs, Doc: rest.Doc{Blobd: "yes", Azurite: "yes", Stack: "no", Azure: "yes"}},
	{Name: "PreflightBlobRequest", Methods: "OPTIONS", Level: rest.Account, Since: protocol.V20130815, Needs: auth.Needs{Open: true}, Handle: (*Service).preflight, Doc: everywhere()},

	// container
	{Name: "CreateContainer", Methods: "PUT", Level: rest.Container, Restype: "container", Needs: needs("", "c|w", "c", auth.ActionWrite), Body: noBody, Handle: (*Service).createContainer, Doc: everywhere()},
	{Name: "GetContainerProperties", Methods: "GET HEAD", Level: rest.Container, Restype: "container", Needs: readsContainer, Handle: (*Service).getContainerProperties, Doc: everywhere()},
	{Name: "GetContainerMetadata", Methods: "GET HEAD", Level: rest.Container, Restype: "container", Comp: "metadata", Needs: readsContainer, Handle: (*Service).getContainerMetadata, Doc: everywhere()},
	{Name: "SetContainerMetadata", Methods: "PUT", Level: rest.Container, Restype: "container", Comp: "metadata", Needs: ofContainer, Handle: (*Service).setContainerMetadata, Doc: everywhere()},
	{Name: "GetContainerACL", Methods: "GET HEAD", Level: rest.Container, Restype: "container", Comp: "acl", Needs: needs("", "", "", auth.ActionACL), Handle: (*Service).getContainerACL, Doc: everywhere()},
	{Name: "SetContainerACL", Methods: "PUT", Level: rest.Container, Restype: "container", Comp: "acl", Needs: needs("", "", "", auth.ActionACL), Body: rest.BodyRule{Max: rest.AtMost(maxPoliciesXML)}, Handle: (*Service).setContainerACL, Doc: everywhere()},
	{Name: "DeleteContainer", Methods: "DELETE", Level: rest.Container, Restype: "container", Needs: needs("", "d", "c", auth.ActionWrite), Handle: (*Service).deleteContainer, Doc: everywhere()},
	{Name: "ListBlobs", Methods: "GET", Level: rest.Container, Restype: "container", Comp: "list", Needs: listsBlobs, Handle: (*Service).listBlobs, Doc: everywhere()},
	{Name: "GetAccountInformation", Methods: "GET HEAD", Level: rest.Container, Restype: "account", Comp: "properties", Since: protocol.V20180328, Needs: accountInfo, Handle: (*Service).getAccountInformation, Doc: everywhere()},
	{Name: "RestoreContainer", Methods: "PUT", Level: rest.Container, Restype: "container", Comp: "undelete", Since: protocol.V20191212, Needs: ofContainer, Handle: (*Service).restoreContainer, Doc: rest.Doc{Blobd: "yes", Azurite: "no", Stack: "no", Azure: "yes"}},
	{Name: "LeaseContainer", Methods: "PUT", Level: rest.Container, Restype: "container", Comp: "lease", Since: protocol.V20120212, When: []rest.Selector{{Name: "x-ms-lease-action", Value: "break"}}, Needs: needs("", "w|d", "c", auth.ActionWrite), Handle: (*Service).leaseContainer, Doc: everywhere()},
	{Name: "LeaseContainer", Methods: "PUT", Level: rest.Container, Restype: "container", Comp: "lease", Since: protocol.V20120212, Needs: ofContainer, Handle: (*Service).leaseContainer, Doc: everywhere()},
	{Name: "BlobBatchInContainer", Methods: "POST", Level: rest.Container, Restype: "container", Comp: "batch", Since: protocol.V20200408, Needs: needs("*", "*", "sco", auth.ActionRead), Body: rest.BodyRule{Max: rest.AtMost(maxBatchBody), Length: true}, Handle: (*Service).submitBatch, Doc: rest.Doc{Blobd: "yes", Azurite: "yes", Stack: "no", Azure: "yes"}},
	{Name: "FindBlobsByTagsInContainer", Methods: "GET", Level: rest.Container, Restype: "container", Comp: "blobs", Since: protocol.V20210410, Needs: needs("f", "f", "c", auth.ActionTags), Handle: (*Service).findBlobs, Doc: rest.Doc{Blobd: "yes", Azurite: "yes", Stack: "no", Azure: "yes"}},

	// blob
	{Name: "PutAppendBlob", Methods: "PUT", Level: rest.Blob, Since: protocol.V20150221, When: []rest.Selector{{Name: "x-ms-blob-type", Value: "AppendBlob"}}, Needs: createsBlob, Handle: (*Service).createAppendBlob, Doc: everywhere()},
	{Name: "AppendBlockFromURL", Methods: "PUT", Level: rest.Blob, Comp: "appendblock", When: []rest.Selector{{Name: "x-ms-copy-source"}}, Since: protocol.V20181109, Needs: needs("a|w", "a|w", "o", auth.ActionWrite), Handle: (*Service).appendBlockFromURL, Doc: beyond()},
	{Name: "PutPageFromURL", Methods: "PUT", Level: rest.Blob, Comp: "page", When: []rest.Selector{{Name: "x-ms-copy-source"}}, Since: protocol.V20181109, Needs: writesBlob, Handle: (*Service).putPageFromURL, Doc: beyond()},
	{Name: "AppendBlock", Methods: "PUT", Level: rest.Blob, Comp: "appendblock", Since: protocol.V20150221, Needs: needs("a|w", "a|w", "o", auth.ActionWrite), Body: rest.BodyRule{Max: withStructure(appendBlockLimit), Length: true}, Handle: (*Service).appendBlock, Doc: everywhere()},
	{Name: "SealAppendBlob", Methods: "PUT", Level: rest.Blob, Comp: "seal", Since: protocol.V20191212, Needs: writesBlob, Handle: (*Service).sealBlob, Doc: rest.Doc{Blobd: "yes", Azurite: "yes", Stack: "no", Azure: "yes"}},
	{Name: "PutPageBlob", Methods: "PUT", Level: rest.Blob, When: []rest.Selector{{Name: "x-ms-blob-type", Value: "PageBlob"}}, Needs: createsBlob, Handle: (*Service).createPageBlob, Doc: everywhere()},
	{Name: "PutPage", Methods: "PUT", Level: rest.Blob, Comp: "page", Needs: writesBlob, Body: rest.BodyRule{Max: withStructure(rest.AtMost(maxPutPage)), Length: true}, Handle: (*Service).putPage, Doc: everywhere()},
	{Name: "GetPageRanges", Methods: "GET", Level: rest.Blob, Slots: true, Comp: "pagelist", Needs: readsBlob, Handle: (*Service).getPageRanges, Doc: everywhere()},
	{Name: "ResizePageBlob", Methods: "PUT", Level: rest.Blob, Comp: "properties", When: []rest.Selector{{Name: "x-ms-blob-content-length"}}, Needs: writesBlob, Handle: (*Service).setPageProperties, Doc: everywhere()},
	{Name: "UpdateSequenceNumber", Methods: "PUT", Level: rest.Blob, Comp: "properties", When: []rest.Selector{{Name: "x-ms-sequence-number-action"}}, Needs: writesBlob, Handle: (*Service).setPageProperties, Doc: everywhere()},
	{Name: "LeaseBlob", Methods: "PUT", Level: rest.Blob, Comp: "lease", When: []rest.Selector{{Name: "x-ms-lease-action", Value: "break"}}, Needs: needs("w|d", "w|d", "o", auth.ActionWrite), Handle: (*Service).leaseBlob, Doc: everywhere()},
	{Name: "LeaseBlob", Methods: "PUT", Level: rest.Blob, Comp: "lease", Needs: writesBlob, Handle: (*Service).leaseBlob, Doc: everywhere()},
	{Name: "SnapshotBlob", Methods: "PUT", Level: rest.Blob, Comp: "snapshot", Needs: createsBlob, Handle: (*Service).snapshotBlob, Doc: everywhere()},
	{Name: "UndeleteBlob", Methods: "PUT", Level: rest.Blob, Comp: "undelete", Since: protocol.V20170729, Needs: writesBlob, Handle: (*Service).undeleteBlob, Doc: rest.Doc{Blobd: "yes", Azurite: "no", Stack: "no", Azure: "yes"}},
	{Name: "GetBlobTags", Methods: "GET", Level: rest.Blob, Slots: true, Comp: "tags", Since: protocol.V20191212, Needs: usesTags, Handle: (*Service).getBlobTags, Doc: rest.Doc{Blobd: "yes", Azurite: "yes", Stack: "no", Azure: "yes"}},
	{Name: "SetBlobTags", Methods: "PUT", Level: rest.Blob, Slots: true, Comp: "tags", Since: protocol.V20191212, Needs: usesTags, Body: rest.BodyRule{Max: rest.AtMost(tagquery.MaxXML), Length: true}, Handle: (*Service).setBlobTags, Doc: rest.Doc{Blobd: "yes", Azurite: "yes", Stack: "no", Azure: "yes"}},
	{Name: "PutBlobFromURL", Methods: "PUT", Level: rest.Blob, When: []rest.Selector{{Name: "x-ms-copy-source"}, {Name: "x-ms-blob-type", Value: "BlockBlob"}}, Since: protocol.V20200408, Needs: createsBlob, Handle: (*Service).putBlobFromURL, Doc: beyond()},
	{Name: "CopyBlobFromURL", Methods: "PUT", Level: rest.Blob, When: []rest.Selector{{Name: "x-ms-copy-source"}, {Name: "x-ms-requires-sync", Value: "true"}}, Since: protocol.V20180328, Needs: createsBlob, Handle: (*Service).copyFromURL, Doc: everywhere()},
	{Name: "CopyBlob", Methods: "PUT", Level: rest.Blob, When: []rest.Selector{{Name: "x-ms-copy-source"}}, Needs: createsBlob, Handle: (*Service).copyBlob, Doc: everywhere()},
	{Name: "IncrementalCopyBlob", Methods: "PUT", Level: rest.Blob, Comp: "incrementalcopy", Since: protocol.V20160531, Needs: createsBlob, Handle: (*Service).copyIncremental, Doc: rest.Doc{Blobd: "from this server, else 409 InvalidSourceBlobUrl", Azurite: "no", Stack: "no", Azure: "yes"}},
	{Name: "AbortCopyBlob", Methods: "PUT", Level: rest.Blob, Comp: "copy", Since: protocol.V20120212, Needs: writesBlob, Handle: (*Service).abortCopy, Doc: everywhere()},
	{Name: "PutBlob", Methods: "PUT", Level: rest.Blob, When: []rest.Selector{{Name: "x-ms-blob-type", Value: "BlockBlob"}}, Needs: createsBlob, Body: rest.BodyRule{Max: withStructure(putBlobLimit), Length: true}, Handle: (*Service).putBlob, Doc: everywhere()},
	{Name: "GetBlob", Methods: "GET", Level: rest.Blob, Slots: true, Needs: readsBlob, Handle: (*Service).getBlob, Doc: everywhere()},
	{Name: "GetBlobProperties", Methods: "HEAD", Level: rest.Blob, Slots: true, Needs: readsBlob, Handle: (*Service).getProperties, Doc: everywhere()},
	{Name: "GetBlobMetadata", Methods: "GET HEAD", Level: rest.Blob, Slots: true, Comp: "metadata", Needs: readsBlob, Handle: (*Service).getMetadata, Doc: everywhere()},
	{Name: "SetBlobProperties", Methods: "PUT", Level: rest.Blob, Comp: "properties", Needs: writesBlob, Handle: (*Service).setProperties, Doc: everywhere()},
	{Name: "SetBlobMetadata", Methods: "PUT", Level: rest.Blob, Comp: "metadata", Needs: writesBlob, Handle: (*Service).setMetadata, Doc: everywhere()},
	{Name: "DeleteBlob", Methods: "DELETE", Level: rest.Blob, Slots: true, Needs: needs("d|x|y", "d|x|y", "o", auth.ActionDelete), Handle: (*Service).deleteBlob, Doc: everywhere()},
	{Name: "SetBlobTier", Methods: "PUT", Level: rest.Blob, Slots: true, Comp: "tier", Since: protocol.V20170417, Needs: writesBlob, Handle: (*Service).setBlobTier, Doc: rest.Doc{Blobd: "yes", Azurite: "yes", Stack: "no", Azure: "yes"}},
	{Name: "PutBlockFromURL", Methods: "PUT", Level: rest.Blob, Comp: "block", When: []rest.Selector{{Name: "x-ms-copy-source"}}, Since: protocol.V20180328, Needs: createsBlob, Handle: (*Service).putBlockFromURL, Doc: rest.Doc{Blobd: "yes", Azurite: "within the emulator", Stack: "no", Azure: "yes"}},
	{Name: "PutBlock", Methods: "PUT", Level: rest.Blob, Comp: "block", Needs: createsBlob, Body: rest.BodyRule{Max: withStructure(putBlockLimit), Length: true}, Handle: (*Service).putBlock, Doc: everywhere()},
	{Name: "PutBlockList", Methods: "PUT", Level: rest.Blob, Comp: "blocklist", Needs: createsBlob, Body: rest.BodyRule{Max: rest.AtMost(store.MaxBlockListXML), Length: true}, Handle: (*Service).putBlockList, Doc: everywhere()},
	{Name: "GetBlockList", Methods: "GET", Level: rest.Blob, Slots: true, Comp: "blocklist", Needs: readsBlob, Handle: (*Service).getBlockList, Doc: everywhere()},
	{Name: "GetAccountInformation", Methods: "GET HEAD", Level: rest.Blob, Restype: "account", Comp: "properties", Since: protocol.V20180328, Needs: accountInfo, Handle: (*Service).getAccountInformation, Doc: everywhere()},
	{Name: "PutBlob", Methods: "PUT", Level: rest.Blob, Needs: createsBlob, Body: rest.BodyRule{Max: withStructure(putBlobLimit)}, Handle: (*Service).putUntyped, Doc: everywhere()},

	// later work: refused in Azure's words
	{Name: "RenameContainer", Methods: "PUT", Level: rest.Container, Restype: "container", Comp: "rename", Since: protocol.V20200612, Needs: ofContainer, Handle: (*Service).notSupported, Doc: rest.Doc{Blobd: "refused", Azurite: "no", Stack: "no", Azure: "yes"}},
	{Name: "QueryBlobContents", Methods: "POST", Level: rest.Blob, Slots: true, Comp: "query", Since: protocol.V20191212, Needs: readsBlob, Body: rest.BodyRule{Max: rest.AtMost(maxQueryXML)}, Handle: (*Service).notSupportedOnBlob, Doc: rest.Doc{Blobd: "refused", Azurite: "no", Stack: "no", Azure: "yes"}},
	{Name: "SetImmutabilityPolicy", Methods: "PUT", Level: rest.Blob, Slots: true, Comp: "immutabilityPolicies", Since: protocol.V20200612, Needs: needs("i", "i", "o", auth.ActionOwn), Handle: (*Service).notSupportedOnBlob, Doc: rest.Doc{Blobd: "refused", Azurite: "no", Stack: "no", Azure: "yes"}},
	{Name: "DeleteImmutabilityPolicy", Methods: "DELETE", Level: rest.Blob, Slots: true, Comp: "immutabilityPolicies", Since: protocol.V20200612, Needs: needs("i", "i", "o", auth.ActionOwn), Handle: (*Service).notSupportedOnBlob, Doc: rest.Doc{Blobd: "refused", Azurite: "no", Stack: "no", Azure: "yes"}},
	{Name: "SetLegalHold", Methods: "PUT", Level: rest.Blob, Slots: true, Comp: "legalhold", Since: protocol.V20200612, Needs: needs("i", "i", "o", auth.ActionOwn), Handle: (*Service).notSupportedOnBlob, Doc: rest.Doc{Blobd: "refused", Azurite: "no", Stack: "no", Azure: "yes"}},
	{Name: "SetBlobExpiry", Methods: "PUT", Level: rest.Blob, Comp: "expiry", Since: protocol.V20200210, Needs: writesBlob, Handle: (*Service).notSupportedOnBlob, Doc: rest.Doc{Blobd: "refused", Azurite: "no", Stack: "no", Azure: "yes"}},
}

// tagUses are the ways to read, test or write tags beside the operations on them. Each needs what those need: without it, a condition
// on tags would tell them one by one. What a copy does with the tags of its source is for the source's credentials: admit.
var tagUses = []rest.Demand{
	{Selector: rest.Selector{Name: "x-ms-if-tags"}, Needs: &besideTags},
	{Selector: rest.Selector{Name: "x-ms-tags"}, Needs: &besideTags},
	{Selector: rest.Selector{Name: "x-ms-copy-source-tag-option", Value: "COPY"}, Needs: &besideTags},
	{Selector: rest.Selector{Name: "include", Value: "tags", Query: true}, Needs: &besideTags},
}

// maxQueryXML bounds the body of Query Blob Contents, in bytes.
const maxQueryXML = 1 * miB

// notSupported refuses an operation that blobd does not have.
func (s *Service) notSupported(*rest.Request) error { return protocol.ErrBlobOperationNotSupported }

// notSupportedOnBlob does the same for an operation on a blob, which must be there.
func (s *Service) notSupportedOnBlob(r *rest.Request) error {
	if _, _, err := s.look(r); err != nil {
		return err
	}
	return protocol.ErrBlobOperationNotSupported
}

// putUntyped refuses a Put Blob whose type is missing or unknown.
func (s *Service) putUntyped(r *rest.Request) error {
	if v, ok := r.HeaderOK("x-ms-blob-type"); ok {
		return protocol.InvalidHeader("x-ms-blob-type", v)
	}
	return protocol.MissingHeader("x-ms-blob-type")
}
