package rest

import (
	"strings"
	"unicode/utf8"

	"github.com/blobd/blobd/internal/auth"
	"github.com/blobd/blobd/internal/protocol"
	"github.com/blobd/blobd/internal/view"
)

// Address is what a request line and Host name.
type Address struct {
	Service     auth.Service
	AccountName string // without "-secondary"
	Secondary   bool
	// PathStyle tells that the account stood in the path.
	PathStyle bool
	// RawPath is the path as sent, without the query.
	RawPath string
	// Resource is the path after the account, as sent, without its leading slash.
	Resource string
	// Container and Blob are decoded. "/blob" alone is in $root only when the service decides so; here it is a Container.
	Container string
	Blob      string
	// Table is the table addressed, as the table service reads it from Resource before it dispatches.
	Table string
}

const secondarySuffix = "-secondary"

// parseHost reads <account>.<service>.<anything>[:port]; ok is false for another host, which means path style. With domains,
// what follows the service must be one of them.
func parseHost(host string, domains []string) (account string, service auth.Service, ok bool) {
	account, rest, found := strings.Cut(host, ".")
	name := account
	if n := len(account) - len(secondarySuffix); n > 0 && strings.EqualFold(account[n:], secondarySuffix) {
		name = account[:n]
	}
	if !found || !isAccountName(name) {
		return "", 0, false
	}
	label, suffix, _ := strings.Cut(rest, ".")
	switch {
	case strings.EqualFold(label, "blob"):
		service = auth.Blob
	case strings.EqualFold(label, "table"):
		service = auth.Table
	default:
		return "", 0, false
	}
	if i := strings.LastIndexByte(suffix, ':'); i >= 0 {
		suffix = suffix[:i]
	}
	if suffix == "" || len(domains) > 0 && !isDomain(suffix, domains) {
		return "", 0, false
	}
	return account, service, true
}

func isDomain(suffix string, domains []string) bool {
	for _, d := range domains {
		if strings.EqualFold(suffix, d) {
			return true
		}
	}
	return false
}

// isAccountName reports whether a host label may be an account: 3 to 24 lower-case letters and digits. A host name is without
// case, so capitals are taken too.
func isAccountName(s string) bool {
	if len(s) < 3 || len(s) > 24 {
		return false
	}
	for i := 0; i < len(s); i++ {
		c := s[i] | 0x20
		if (c < 'a' || c > 'z') && (s[i] < '0' || s[i] > '9') {
			return false
		}
	}
	return true
}

// splitTarget cuts a request target into path and query, both as sent. The authority of an absolute target must be the Host:
// it never overrides it, as no client of this protocol sends anything else.
func splitTarget(target, host string) (path, query string, err error) {
	if target != "" && target[0] != '/' && target != "*" {
		_, rest, _ := strings.Cut(target, "://")
		end := strings.IndexAny(rest, "/?")
		if end < 0 {
			end = len(rest)
		}
		if !strings.EqualFold(rest[:end], host) {
			return "", "", protocol.ErrInvalidUri
		}
		target = rest[end:]
	}
	path, query, _ = strings.Cut(target, "?")
	if path == "" { // of an absolute target
		path = "/"
	}
	return path, query, nil
}

// parse fills the address. Decoded names are built in s.
func (a *Address) parse(host, path string, fallback auth.Service, domains []string, s *scratch) error {
	a.RawPath = path
	rest := strings.TrimPrefix(path, "/")
	name, service, hosted := parseHost(host, domains)
	if hosted {
		a.Service, a.Resource = service, rest
		name = s.lower(name)
	} else {
		a.Service, a.PathStyle = fallback, true
		name, a.Resource, _ = strings.Cut(rest, "/")
	}
	a.AccountName = strings.TrimSuffix(name, secondarySuffix)
	a.Secondary = len(a.AccountName) != len(name)
	// Python's SDK puts its secondary host before the whole path of the primary, which names the account again.
	if again, ok := strings.CutSuffix(a.Resource, "/"); ok && a.PathStyle && a.Secondary && again == a.AccountName {
		a.Resource = ""
	}
	return a.names(s)
}

// under fills the address of a path that names no account.
func (a *Address) under(account string, secondary bool, path string, s *scratch) error {
	a.AccountName, a.Secondary, a.Resource = account, secondary, strings.TrimPrefix(path, "/")
	return a.names(s)
}

// names decodes what the resource names.
func (a *Address) names(s *scratch) error {
	container, blob, _ := strings.Cut(a.Resource, "/")
	var ok1, ok2 bool
	a.Container, ok1 = s.unescape(container, false)
	a.Blob, ok2 = s.unescape(blob, false)
	if !ok1 || !ok2 {
		return protocol.ErrInvalidUri
	}
	if strings.IndexByte(a.Container, '\\') >= 0 || strings.IndexByte(a.Blob, '\\') >= 0 {
		whole, _ := s.unescape(a.Resource, false)
		a.Container, a.Blob, _ = strings.Cut(BlobName(whole), "/")
	}
	return nil
}

// BlobName is the name that a blob has which is called so: a backslash is a slash to the service, in URLs, in signatures and in
// what copies read from.
func BlobName(called string) string { return strings.ReplaceAll(called, `\`, "/") }

// scratch is where a request's derived strings live: names in lower case, decoded values. It is sized before the first use
// and never grows while strings alias it.
type scratch struct{ b []byte }

// reset makes room for n bytes.
func (s *scratch) reset(n int) {
	if cap(s.b) < n {
		s.b = make([]byte, 0, max(n, 2<<10))
	}
	s.b = s.b[:0]
}

// lower returns v in lower case (ASCII).
func (s *scratch) lower(v string) string {
	for i := 0; i < len(v); i++ {
		if c := v[i]; 'A' <= c && c <= 'Z' {
			start := len(s.b)
			for i := 0; i < len(v); i++ {
				c := v[i]
				if 'A' <= c && c <= 'Z' {
					c |= 0x20
				}
				s.b = append(s.b, c)
			}
			return view.String(s.b[start:])
		}
	}
	return v
}

// unescape decodes percent-escapes, and + as a space if plus is set. ok is false for a broken escape and for what is not
// UTF-8 after decoding.
func (s *scratch) unescape(v string, plus bool) (_ string, ok bool) {
	i := 0
	for i < len(v) && v[i] != '%' && !(plus && v[i] == '+') {
		i++
	}
	if i < len(v) {
		start := len(s.b)
		s.b = append(s.b, v[:i]...)
		for ; i < len(v); i++ {
			switch c := v[i]; {
			case c == '%':
				if i+2 >= len(v) {
					return "", false
				}
				hi, lo := protocol.Unhex(v[i+1]), protocol.Unhex(v[i+2])
				if hi > 15 || lo > 15 {
					return "", false
				}
				s.b = append(s.b, hi<<4|lo)
				i += 2
			case c == '+' && plus:
				s.b = append(s.b, ' ')
			default:
				s.b = append(s.b, c)
			}
		}
		v = view.String(s.b[start:])
	}
	return v, utf8.ValidString(v)
}
