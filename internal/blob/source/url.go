package source

import (
	"net/url"
	"strings"

	"github.com/blobd/blobd/internal/protocol"
)

// URL is the address of a copy's source.
type URL struct {
	Text   string // as sent
	Parsed *url.URL
	Path   string // as sent, for the signature
	Query  params
}

// params is the query of a source.

type params []protocol.Pair

// Get implements auth.Fields.
func (p params) Get(name string) (string, bool) {
	for i := range p {
		if strings.EqualFold(p[i].Name, name) {
			return p[i].Value, true
		}
	}
	return "", false
}

// All implements auth.Fields.
func (p params) All(visit func(name, value string)) {
	for i := range p {
		visit(p[i].Name, p[i].Value)
	}
}

// maxSourceURL is the longest x-ms-copy-source, in bytes (REST page "Copy Blob").
const maxSourceURL = 2 << 10

// Parse reads x-ms-copy-source. The address does not alias the text.
func Parse(text string) (*URL, error) {
	bad := protocol.InvalidHeader("x-ms-copy-source", text)
	if len(text) > maxSourceURL+4*protocol.MaxBlobName {
		return nil, bad
	}
	text = strings.Clone(text)
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil {
		return nil, bad
	}
	src := &URL{Text: text, Parsed: u}
	_, rest, _ := strings.Cut(src.Text, "://")
	path, query, _ := strings.Cut(rest, "?")
	query, _, _ = strings.Cut(query, "#")
	if i := strings.IndexByte(path, '/'); i >= 0 {
		src.Path = path[i:]
	}
	for item := range strings.SplitSeq(query, "&") {
		if item == "" {
			continue
		}
		name, value, _ := strings.Cut(item, "=")
		name, err1 := url.QueryUnescape(name)
		value, err2 := url.QueryUnescape(value)
		if err1 != nil || err2 != nil {
			return nil, bad
		}
		src.Query = append(src.Query, protocol.Pair{Name: name, Value: value})
	}
	return src, nil
}

// Shown is the source as x-ms-copy-source tells it to every reader: of the query only what selects a blob, as the rest may open
// something, here or elsewhere.
func (src *URL) Shown() string {
	text, _, _ := strings.Cut(src.Text, "?")
	text, _, _ = strings.Cut(text, "#")
	text = protocol.Redact(text)
	sep := "?"
	for _, name := range [...]string{"snapshot", "versionid"} {
		v, _ := src.Query.Get(name)
		if _, ok := protocol.ParseSnapshotID(v); ok {
			text += sep + name + "=" + v
			sep = "&"
		}
	}
	return text
}
