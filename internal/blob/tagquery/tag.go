// Package tagquery holds the tags of blobs to their rules, in the forms in which they travel, and parses and evaluates the clauses that
// compare them with constants: x-ms-if-tags and the where of Find Blobs by Tags. Nothing in it knows a store.
package tagquery

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/blobd/blobd/internal/protocol"
)

// Bounds of a blob's tags (REST page "Set Blob Tags").
const (
	maxTags  = 10
	maxKey   = 128     // characters
	maxValue = 256     // characters
	MaxXML   = 8 << 10 // bytes: ten of the longest tags with their mark-up take less
)

// chars are the characters allowed in keys and values of tags.
var chars = func() (set [256]bool) {
	for _, c := range "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 +-./:=_" {
		set[c] = true
	}
	return set
}()

func validText(s string) bool {
	for i := 0; i < len(s); i++ {
		if !chars[s[i]] {
			return false
		}
	}
	return true
}

// check sorts tags by key, as records keep them, and holds them to the rules.
func check(tags []protocol.Pair) ([]protocol.Pair, error) {
	if len(tags) > maxTags {
		return nil, protocol.ErrTagsTooLarge
	}
	for _, t := range tags {
		switch {
		case t.Name == "":
			return nil, protocol.ErrEmptyTagName
		case utf8.RuneCountInString(t.Name) > maxKey, utf8.RuneCountInString(t.Value) > maxValue:
			return nil, protocol.ErrTagsTooLarge
		case !validText(t.Name), !validText(t.Value):
			return nil, protocol.ErrInvalidTag
		}
	}
	slices.SortFunc(tags, func(a, b protocol.Pair) int { return strings.Compare(a.Name, b.Name) })
	for i := 1; i < len(tags); i++ {
		if tags[i].Name == tags[i-1].Name {
			return nil, protocol.ErrDuplicateTagNames
		}
	}
	return tags, nil
}

// ParseHeader reads x-ms-tags: k1=v1&k2=v2, URL-encoded. An empty header is no tags. The tags do not alias s.
func ParseHeader(s string) ([]protocol.Pair, error) {
	if s == "" {
		return nil, nil
	}
	if strings.Count(s, "&") >= maxTags {
		return nil, protocol.ErrTagsTooLarge
	}
	var tags []protocol.Pair
	for _, item := range strings.Split(s, "&") {
		k, v, ok := strings.Cut(item, "=")
		if !ok {
			return nil, protocol.InvalidHeader("x-ms-tags", s)
		}
		key, err := url.QueryUnescape(k)
		if err != nil {
			return nil, protocol.InvalidHeader("x-ms-tags", s)
		}
		value, err := url.QueryUnescape(v)
		if err != nil {
			return nil, protocol.InvalidHeader("x-ms-tags", s)
		}
		tags = append(tags, protocol.Pair{Name: strings.Clone(key), Value: strings.Clone(value)})
	}
	return check(tags)
}

// ParseXML reads the body of Set Blob Tags.
func ParseXML(body []byte) ([]protocol.Pair, error) {
	type tag struct {
		Key   *string
		Value *string
	}
	var doc struct {
		XMLName xml.Name `xml:"Tags"`
		TagSet  *struct {
			Tag []tag
		}
	}
	d := xml.NewDecoder(bytes.NewReader(bytes.TrimPrefix(body, []byte("\xEF\xBB\xBF"))))
	if err := d.Decode(&doc); err != nil {
		return nil, protocol.ErrInvalidXmlDocument.Because(err)
	}
	for { // nothing but space and comments may follow
		t, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, protocol.ErrInvalidXmlDocument.Because(err)
		}
		switch t := t.(type) {
		case xml.CharData:
			if len(bytes.TrimSpace(t)) == 0 {
				continue
			}
		case xml.Comment, xml.ProcInst:
			continue
		}
		return nil, protocol.ErrInvalidXmlDocument
	}
	if doc.TagSet == nil {
		return nil, protocol.ErrMissingRequiredXmlNode.With("XmlNodeName", "TagSet")
	}
	var tags []protocol.Pair
	for _, t := range doc.TagSet.Tag {
		switch {
		case t.Key == nil:
			return nil, protocol.ErrMissingRequiredXmlNode.With("XmlNodeName", "Key")
		case t.Value == nil:
			return nil, protocol.ErrMissingRequiredXmlNode.With("XmlNodeName", "Value")
		}
		tags = append(tags, protocol.Pair{Name: *t.Key, Value: *t.Value})
	}
	return check(tags)
}

// AppendXML appends <TagSet>…</TagSet>. No character that a tag may hold needs escaping.
func AppendXML(b []byte, tags []protocol.Pair) []byte {
	b = append(b, "<TagSet>"...)
	for _, t := range tags {
		b = append(b, "<Tag><Key>"...)
		b = append(b, t.Name...)
		b = append(b, "</Key><Value>"...)
		b = append(b, t.Value...)
		b = append(b, "</Value></Tag>"...)
	}
	return append(b, "</TagSet>"...)
}

// Value returns the value of a key among sorted tags.
func Value(tags []protocol.Pair, key string) (string, bool) {
	i, ok := slices.BinarySearchFunc(tags, key, func(p protocol.Pair, k string) int { return strings.Compare(p.Name, k) })
	if !ok {
		return "", false
	}
	return tags[i].Value, true
}
