package blob

import (
	"cmp"
	"encoding/base64"
	"strings"

	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/blob/store"
	"github.com/blobd/blobd/internal/blob/tagquery"
	"github.com/blobd/blobd/internal/protocol"
	"github.com/blobd/blobd/internal/rest"
)

// findBlobs is Find Blobs by Tags, at account and container scope.
func (s *Service) findBlobs(r *rest.Request) error {
	text, ok := r.QueryOK("where")
	if !ok || text == "" {
		return protocol.MissingQuery("where")
	}
	clause, err := tagquery.ParseWhere(text, tagquery.Find)
	if err != nil {
		return err
	}
	if r.Container != "" && clause.NamesContainer() {
		return protocol.InvalidQuery("where", text, "Cannot have container in both uri and query")
	}
	limit, hasMax, err := decodeMax(r)
	if err != nil {
		return err
	}
	versions := false
	for item := range strings.SplitSeq(strings.ToLower(r.Query("include")), ",") {
		switch strings.TrimSpace(item) {
		case "", "none":
		case "versions": // current ones: tags of earlier versions are not indexed, in Azure neither
			versions = true
		default:
			return protocol.InvalidQuery("include", r.Query("include"), "")
		}
	}
	marker, hasMarker := r.QueryOK("marker")
	q := store.FindRequest{Account: r.Account.Name, Container: r.Container, Where: clause, Limit: limit}
	if marker != "" {
		from, err := base64.URLEncoding.DecodeString(marker)
		if err != nil {
			return protocol.InvalidQuery("marker", marker, "")
		}
		q.From = string(from)
	}
	if r.Container != "" {
		if _, err := s.readContainer(r); err != nil {
			return err
		}
	}
	b := append(make([]byte, 0, 1024), protocol.XMLHead...)
	b = append(b, `<EnumerationResults ServiceEndpoint="`...)
	b = append(appendEndpoint(b, r), '"')
	if q.Container != "" {
		b = append(append(append(b, ` ContainerName="`...), q.Container...), '"')
	}
	b = append(b, '>')
	if hasMarker {
		b = protocol.AppendElement(b, "Marker", marker)
	}
	b = append(b, "<Where>"...)
	b = append(b, strings.ReplaceAll(string(protocol.AppendText(nil, text)), "'", "&apos;")...) // as recorded of the service
	b = append(b, "</Where>"...)
	if hasMax {
		b = protocol.AppendElement(b, "MaxResults", r.Query("maxresults"))
	}
	b = append(b, "<Blobs>"...)
	var refused error
	after, err := s.blobs.Find(r.Context, &q, func(container, name string, rec *record.Blob) {
		if refused == nil {
			refused = r.HoldAnswer(len(b))
		}
		if refused != nil {
			return
		}
		b = append(b, "<Blob>"...)
		b = protocol.AppendName(b, "Name", name, r.Version)
		b = protocol.AppendElement(b, "ContainerName", container)
		if versions && rec.Version != 0 {
			b = protocol.AppendElement(b, "VersionId", protocol.SnapshotID(rec.Version))
			b = protocol.AppendElement(b, "IsCurrentVersion", "true")
		}
		var named []protocol.Pair
		for _, t := range rec.Tags {
			if clause.Names(t.Name) {
				named = append(named, t)
			}
		}
		b = tagquery.AppendXML(append(b, "<Tags>"...), named)
		b = append(b, "</Tags></Blob>"...)
	})
	if err = cmp.Or(err, refused); err != nil {
		return err
	}
	b = append(b, "</Blobs>"...)
	next := ""
	if after != "" {
		next = base64.URLEncoding.EncodeToString([]byte(after))
	}
	b = protocol.AppendElement(b, "NextMarker", next)
	r.ReplyXML(200, append(b, "</EnumerationResults>"...))
	return nil
}
