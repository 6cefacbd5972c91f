package blob

import (
	"net/url"
	"strconv"

	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/blob/store"
	"github.com/blobd/blobd/internal/protocol"
)

// Listings before 2013-08-15 name the address of what they list: one attribute holds that of the account or the container, and each
// entry has its own. They tell what their version knew, and no more.

// oldBlob appends the <Blob> element.
func (p *page) oldBlob(name string, e *store.Entry) {
	rec := &e.Blob
	b := append(p.b, "<Blob>"...)
	b = protocol.AppendName(b, "Name", name, p.version)
	address := p.address + "/" + (&url.URL{Path: name}).EscapedPath()
	if e.Slot.Kind == record.SlotSnapshot {
		id := protocol.SnapshotID(e.Slot.Stamp)
		b = protocol.AppendElement(b, "Snapshot", id)
		address += "?snapshot=" + url.QueryEscape(id)
	}
	b = protocol.AppendElement(b, "Url", address)
	b = append(b, "<Properties>"...)
	if !e.Uncommitted {
		b = protocol.AppendElement(b, "Last-Modified", protocol.Date(rec.Changed))
		b = protocol.AppendETag(append(b, "<Etag>"...), rec.Changed)
		b = append(b, "</Etag>"...)
	}
	b = strconv.AppendInt(append(b, "<Content-Length>"...), rec.Size, 10)
	b = append(b, "</Content-Length>"...)
	if !e.Uncommitted {
		md5 := ""
		if rec.MD5 != "" {
			md5 = protocol.MD5(rec.MD5)
		}
		b = protocol.AppendElement(b, "Content-Type", rec.HTTP.ContentType)
		b = protocol.AppendElement(b, "Content-Encoding", rec.HTTP.ContentEncoding)
		b = protocol.AppendElement(b, "Content-Language", rec.HTTP.ContentLanguage)
		b = protocol.AppendElement(b, "Content-MD5", md5)
		b = protocol.AppendElement(b, "Cache-Control", rec.HTTP.CacheControl)
	}
	if rec.Type == record.PageBlob {
		b = protocol.AppendElement(b, "x-ms-blob-sequence-number", strconv.FormatInt(rec.Sequence, 10))
	}
	b = protocol.AppendElement(b, "BlobType", rec.Type.String())
	switch {
	case e.Slot.Kind != record.SlotCurrent:
	case p.version >= protocol.V20120212:
		b = appendLease(b, &rec.Lease, p.now)
	default:
		b = protocol.AppendElement(b, "LeaseStatus", rec.Lease.At(p.now).Status())
	}
	if rec.Copy != nil && p.include&store.IncludeCopy != 0 {
		b = appendCopy(b, rec.Copy, p.version)
	}
	b = append(b, "</Properties>"...)
	if p.include&store.IncludeMetadata != 0 {
		b = appendMetadata(b, rec.Metadata)
	}
	p.b = append(b, "</Blob>"...)
}

// appendOldContainer appends the <Container> element.
func appendOldContainer(b []byte, c *record.Container, endpoint, name string, metadata bool, now record.Stamp, version protocol.Version) []byte {
	b = append(b, "<Container>"...)
	b = protocol.AppendElement(b, "Name", name)
	b = protocol.AppendElement(b, "Url", endpoint+name)
	b = append(b, "<Properties>"...)
	b = protocol.AppendElement(b, "Last-Modified", protocol.Date(c.Changed))
	tag := protocol.ETag(c.Changed)
	if version < protocol.V20110818 {
		tag = tag[1 : len(tag)-1]
	}
	b = append(append(append(b, "<Etag>"...), tag...), "</Etag>"...)
	if version >= protocol.V20120212 {
		b = appendLease(b, &c.Lease, now)
	}
	b = append(b, "</Properties>"...)
	if metadata {
		b = appendMetadata(b, c.Metadata)
	}
	return append(b, "</Container>"...)
}
