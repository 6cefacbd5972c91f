package auth

import (
	"strings"
	"time"
	"unicode/utf8"

	"github.com/blobd/blobd/internal/protocol"
)

// Bounds of stored access policies (REST pages Set Container ACL and Set Table ACL).
const (
	MaxPolicies    = 5
	MaxPolicyID    = 64       // characters
	MaxPoliciesXML = 64 << 10 // bytes
)

// ParsePolicies reads the document of Set Container ACL or Set Table ACL; an empty one clears. letters are the permissions that
// there are.
func ParsePolicies(doc []byte, letters string) ([]Policy, error) {
	if strings.TrimSpace(strings.TrimPrefix(string(doc), "\ufeff")) == "" {
		return nil, nil
	}
	root, err := protocol.ParseXML(doc)
	if err != nil {
		return nil, err
	}
	if root.Name != "SignedIdentifiers" || len(root.Children) > MaxPolicies {
		return nil, protocol.ErrInvalidXmlDocument
	}
	var policies []Policy
	for i := range root.Children {
		p, err := parsePolicy(&root.Children[i], letters)
		if err != nil {
			return nil, err
		}
		for j := range policies {
			if policies[j].ID == p.ID {
				return nil, protocol.ErrInvalidXmlDocument
			}
		}
		policies = append(policies, p)
	}
	return policies, nil
}

func parsePolicy(n *protocol.XMLNode, letters string) (p Policy, err error) {
	if n.Name != "SignedIdentifier" {
		return p, protocol.ErrInvalidXmlDocument
	}
	for i := range n.Children {
		switch c := &n.Children[i]; c.Name {
		case "Id":
			p.ID = strings.TrimSpace(c.Text)
		case "AccessPolicy":
			for j := range c.Children {
				f := &c.Children[j]
				text := strings.TrimSpace(f.Text)
				ok := true
				switch f.Name {
				case "Start":
					p.Start, ok = text, isPolicyTime(text)
				case "Expiry":
					p.Expiry, ok = text, isPolicyTime(text)
				case "Permission":
					if p.Permission, p.HasPermission = text, text != ""; strings.Trim(text, letters) != "" {
						return p, protocol.ErrInvalidXmlDocument // as recorded
					}
				default:
					return p, protocol.ErrInvalidXmlDocument
				}
				if !ok {
					return p, protocol.InvalidXMLNode(f.Name, text)
				}
			}
		default:
			return p, protocol.ErrInvalidXmlDocument
		}
	}
	if p.ID == "" {
		return p, protocol.ErrInvalidXmlDocument
	}
	if utf8.RuneCountInString(p.ID) > MaxPolicyID {
		return p, protocol.InvalidXMLNode("Id", p.ID)
	}
	return p, nil
}

// isPolicyTime tells the ISO 8601 forms that the services take; absent is fine.
func isPolicyTime(s string) bool {
	_, ok := policyTime(s)
	return ok || s == ""
}

func policyTime(s string) (time.Time, bool) {
	for _, form := range [...]string{"2006-01-02", "2006-01-02T15:04Z", "2006-01-02T15:04:05Z", "2006-01-02T15:04:05.9999999Z", time.RFC3339Nano} {
		if t, err := time.Parse(form, s); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}

// answeredTime is the one form in which times are given back, whatever came in; az reads no other.
func answeredTime(s string) string {
	if t, ok := policyTime(s); ok {
		return t.UTC().Format("2006-01-02T15:04:05.0000000Z")
	}
	return s
}

// AppendPolicies appends the document of Get Container ACL or Get Table ACL.
func AppendPolicies(b []byte, policies []Policy) []byte {
	b = append(b, protocol.XMLHead...)
	if len(policies) == 0 {
		return append(b, "<SignedIdentifiers />"...)
	}
	b = append(b, "<SignedIdentifiers>"...)
	for i := range policies {
		p := &policies[i]
		b = append(b, "<SignedIdentifier>"...)
		b = protocol.AppendElement(b, "Id", p.ID)
		if p.Start != "" || p.Expiry != "" || p.HasPermission {
			b = append(b, "<AccessPolicy>"...)
			if p.Start != "" {
				b = protocol.AppendElement(b, "Start", answeredTime(p.Start))
			}
			if p.Expiry != "" {
				b = protocol.AppendElement(b, "Expiry", answeredTime(p.Expiry))
			}
			if p.HasPermission {
				b = protocol.AppendElement(b, "Permission", p.Permission)
			}
			b = append(b, "</AccessPolicy>"...)
		}
		b = append(b, "</SignedIdentifier>"...)
	}
	return append(b, "</SignedIdentifiers>"...)
}
