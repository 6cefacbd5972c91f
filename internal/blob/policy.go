package blob

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"time"

	"github.com/blobd/blobd/internal/auth"
	"github.com/blobd/blobd/internal/protocol"
)

// Bounds of stored access policies (REST page "Set Container ACL").
const (
	maxPolicies    = 5
	maxPolicyID    = 64 // characters
	maxPoliciesXML = 64 << 10
)

// parsePolicies reads the body of Set Container ACL; an empty one clears.
func parsePolicies(doc []byte) ([]auth.Policy, error) {
	doc = bytes.TrimSpace(bytes.TrimPrefix(doc, []byte("\xEF\xBB\xBF")))
	if len(doc) == 0 {
		return nil, nil
	}
	var list struct {
		XMLName xml.Name `xml:"SignedIdentifiers"`
		Item    []struct {
			ID     string `xml:"Id"`
			Policy struct {
				Start, Expiry string
				Permission    *string
			} `xml:"AccessPolicy"`
		} `xml:"SignedIdentifier"`
	}
	d := xml.NewDecoder(bytes.NewReader(doc))
	if err := d.Decode(&list); err != nil {
		return nil, protocol.ErrInvalidXmlDocument.Because(err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, protocol.ErrInvalidXmlDocument
	}
	if len(list.Item) > maxPolicies {
		return nil, protocol.ErrInvalidXmlDocument
	}
	policies := make([]auth.Policy, 0, len(list.Item))
	for _, item := range list.Item {
		p := auth.Policy{ID: item.ID, Start: item.Policy.Start, Expiry: item.Policy.Expiry}
		if item.Policy.Permission != nil {
			p.Permission, p.HasPermission = *item.Policy.Permission, *item.Policy.Permission != ""
		}
		if p.ID == "" || len([]rune(p.ID)) > maxPolicyID {
			return nil, protocol.ErrInvalidXmlNodeValue.With("XmlNodeName", "Id").With("XmlNodeValue", p.ID)
		}
		for _, other := range policies {
			if other.ID == p.ID {
				return nil, protocol.ErrInvalidXmlDocument
			}
		}
		if !isPolicyTime(p.Start) {
			return nil, protocol.ErrInvalidXmlNodeValue.With("XmlNodeName", "Start").With("XmlNodeValue", p.Start)
		}
		if !isPolicyTime(p.Expiry) {
			return nil, protocol.ErrInvalidXmlNodeValue.With("XmlNodeName", "Expiry").With("XmlNodeValue", p.Expiry)
		}
		for _, letter := range []byte(p.Permission) {
			if !bytes.ContainsRune([]byte("racwdxyltmeopif"), rune(letter)) {
				return nil, protocol.ErrInvalidXmlNodeValue.With("XmlNodeName", "Permission").With("XmlNodeValue", p.Permission)
			}
		}
		policies = append(policies, p)
	}
	return policies, nil
}

// isPolicyTime tells the ISO 8601 forms that the service takes; absent is fine.
func isPolicyTime(s string) bool {
	if s == "" {
		return true
	}
	for _, form := range [...]string{"2006-01-02", "2006-01-02T15:04Z", "2006-01-02T15:04:05Z", "2006-01-02T15:04:05.9999999Z", time.RFC3339Nano} {
		if _, err := time.Parse(form, s); err == nil {
			return true
		}
	}
	return false
}

// appendPolicies appends the document of Get Container ACL.
func appendPolicies(b []byte, policies []auth.Policy) []byte {
	if len(policies) == 0 {
		return append(b, "<SignedIdentifiers />"...)
	}
	b = append(b, "<SignedIdentifiers>"...)
	for i := range policies {
		p := &policies[i]
		b = append(b, "<SignedIdentifier>"...)
		b = protocol.AppendElement(b, "Id", p.ID)
		b = append(b, "<AccessPolicy>"...)
		if p.Start != "" {
			b = protocol.AppendElement(b, "Start", p.Start)
		}
		if p.Expiry != "" {
			b = protocol.AppendElement(b, "Expiry", p.Expiry)
		}
		if p.HasPermission {
			b = protocol.AppendElement(b, "Permission", p.Permission)
		}
		b = append(b, "</AccessPolicy></SignedIdentifier>"...)
	}
	return append(b, "</SignedIdentifiers>"...)
}
