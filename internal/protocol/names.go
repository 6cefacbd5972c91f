package protocol

import (
	"strings"
	"unicode/utf8"

	"github.com/blobd/blobd/internal/invariants"
)

// Limits of names and metadata (REST page "Naming and Referencing Containers, Blobs, and Metadata").
const (
	MaxBlobName         = 1024    // characters
	MaxBlobNameSegments = 254     // parts between slashes
	MaxMetadata         = 8 << 10 // bytes of names and values together
)

// ErrNameLength is how Azure refuses a name that is too long or too short.
var errNameLength = ErrOutOfRangeInput.Saying("The specified resource name length is not within the permissible limits.")

// CheckContainerName tells why a name cannot be that of a container: 3 to 63 lower-case letters, digits and single dashes, not
// first or last; or one of the special ones.
func CheckContainerName(name string) error {
	switch name {
	case "$root", "$web", "$logs", "$blobchangefeed":
		return nil
	}
	for i := 0; i < len(name); i++ {
		c := name[i]
		if c >= 'a' && c <= 'z' || c >= '0' && c <= '9' {
			continue
		}
		if c != '-' || i == 0 || i == len(name)-1 || name[i-1] == '-' {
			return ErrInvalidResourceName
		}
	}
	if len(name) < 3 || len(name) > 63 {
		return errNameLength
	}
	return nil
}

// CheckBlobName tells why a name cannot be that of a blob: 1 to 1024 characters of any kind.
func CheckBlobName(name string) error {
	if name == "" {
		return errNameLength
	}
	if len(name) > MaxBlobName && utf8.RuneCountInString(name) > MaxBlobName {
		return errNameLength
	}
	if !utf8.ValidString(name) || strings.Count(name, "/") >= MaxBlobNameSegments {
		return ErrInvalidUri
	}
	return nil
}

// Pair is one item of metadata or one tag.
type Pair struct{ Name, Value string }

// Metadata collects the x-ms-meta- headers of a request.
type Metadata struct {
	Pairs []Pair
	size  int
	names map[string]bool // in lower case, of the first len(names) pairs; nil for few
}

// fewPairs are looked through faster than they are noted.
const fewPairs = 16

// has tells whether there is a pair of the name, in whatever case.
func (m *Metadata) has(name string) bool {
	if len(m.Pairs) <= fewPairs {
		invariants.Look(len(m.Pairs))
		for i := range m.Pairs {
			if strings.EqualFold(m.Pairs[i].Name, name) {
				return true
			}
		}
		return false
	}
	if m.names == nil {
		m.names = map[string]bool{}
	}
	for i := len(m.names); i < len(m.Pairs); i++ {
		m.names[strings.ToLower(m.Pairs[i].Name)] = true
	}
	return m.names[strings.ToLower(name)]
}

// Add takes one header: name without its prefix. Strings are cloned. The errors are InvalidMetadata, EmptyMetadataKey and
// MetadataTooLarge; two names that differ only in case are refused, as they could not be told apart afterwards.
func (m *Metadata) Add(name, value string) error {
	value = strings.TrimSpace(value)
	if name == "" {
		return ErrEmptyMetadataKey
	}
	for i := 0; i < len(name); i++ {
		c := name[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' || i > 0 && c >= '0' && c <= '9') {
			return ErrInvalidMetadata
		}
	}
	for i := 0; i < len(value); i++ {
		if c := value[i]; c < ' ' && c != '\t' || c > '~' {
			return ErrInvalidMetadata
		}
	}
	if m.has(name) {
		return ErrInvalidMetadata
	}
	if m.size += len(name) + len(value); m.size > MaxMetadata {
		return ErrMetadataTooLarge
	}
	m.Pairs = append(m.Pairs, Pair{strings.Clone(name), strings.Clone(value)})
	return nil
}
