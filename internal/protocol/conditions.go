package protocol

import (
	"strings"
	"time"

	"github.com/blobd/blobd/internal/engine"
)

// Header gives access to request headers by lower-case name.
type Header interface {
	HeaderOK(lower string) (value string, ok bool)
}

// Conditions are the conditional headers of a request. The zero value has none.
type Conditions struct {
	match, noneMatch           string
	modified, unmodified       time.Time
	hasMatch, hasNoneMatch     bool
	hasModified, hasUnmodified bool
}

// ConditionNames are the four headers; a copy source has them under other names.
type ConditionNames struct{ Match, NoneMatch, Modified, Unmodified string }

// The names of conditions on the addressed blob, on the source of a copy, and on the blob in tag operations.
var (
	TargetConditions = ConditionNames{"if-match", "if-none-match", "if-modified-since", "if-unmodified-since"}
	SourceConditions = ConditionNames{"x-ms-source-if-match", "x-ms-source-if-none-match", "x-ms-source-if-modified-since", "x-ms-source-if-unmodified-since"}
	TagConditions    = ConditionNames{"x-ms-blob-if-match", "x-ms-blob-if-none-match", "x-ms-blob-if-modified-since", "x-ms-blob-if-unmodified-since"}
)

// ParseConditions reads the conditional headers. An empty one counts as absent; a date that is none is InvalidHeaderValue.
func ParseConditions(h Header, n *ConditionNames) (c Conditions, err error) {
	c.match, c.hasMatch = present(h, n.Match)
	c.noneMatch, c.hasNoneMatch = present(h, n.NoneMatch)
	if c.modified, c.hasModified, err = date(h, n.Modified); err != nil {
		return Conditions{}, err
	}
	if c.unmodified, c.hasUnmodified, err = date(h, n.Unmodified); err != nil {
		return Conditions{}, err
	}
	return c, nil
}

// NewConditions makes conditions of values; an empty string and a zero time stand for an absent header.
func NewConditions(match, noneMatch string, modified, unmodified time.Time) Conditions {
	return Conditions{match, noneMatch, modified, unmodified, match != "", noneMatch != "", !modified.IsZero(), !unmodified.IsZero()}
}

func present(h Header, name string) (string, bool) {
	v, _ := h.HeaderOK(name)
	return v, v != ""
}

func date(h Header, name string) (time.Time, bool, error) {
	v, ok := present(h, name)
	if !ok {
		return time.Time{}, false, nil
	}
	t, ok := ParseDate(v)
	if !ok {
		return time.Time{}, false, InvalidHeader(name, v)
	}
	return t, true, nil
}

// Any reports whether there is a condition at all.
func (c *Conditions) Any() bool {
	return c.hasMatch || c.hasNoneMatch || c.hasModified || c.hasUnmodified
}

// HasETag reports whether one of the two ETag conditions is there: container operations take none.
func (c *Conditions) HasETag() bool { return c.hasMatch || c.hasNoneMatch }

// HasUnmodified reports whether If-Unmodified-Since is there, which Set Container Metadata does not take.
func (c *Conditions) HasUnmodified() bool { return c.hasUnmodified }

// MustExist reports whether the conditions can only hold on something that exists.
func (c *Conditions) MustExist() bool { return c.hasMatch }

// CreateOnly reports whether the conditions ask that nothing exists: If-None-Match: *.
func (c *Conditions) CreateOnly() bool { return c.hasNoneMatch && c.noneMatch == "*" }

// Read evaluates the conditions of a GET or HEAD (REST page "Specifying Conditional Headers for Blob Service Operations"). Since
// 2013-08-15 any combination is taken and each ETag header may list several; before, the rules are those of a write.
func (c *Conditions) Read(changed engine.Stamp, v Version) error {
	if !c.Any() {
		return nil
	}
	if v < V20130815 {
		if err := c.reduce(); err != nil {
			return err
		}
	}
	if c.CreateOnly() {
		return ErrUnsatisfiableCondition
	}
	if c.hasMatch && !listed(c.match, changed) || c.hasUnmodified && after(changed, c.unmodified) {
		return ErrConditionNotMet
	}
	if !c.hasNoneMatch && !c.hasModified ||
		c.hasNoneMatch && !listed(c.noneMatch, changed) || c.hasModified && after(changed, c.modified) {
		return nil
	}
	return ErrNotModified
}

// Write evaluates the conditions of a write on something that exists. create tells that the operation makes a new blob, so that
// If-None-Match: * means BlobAlreadyExists.
func (c *Conditions) Write(changed engine.Stamp, create bool) error {
	if !c.Any() {
		return nil
	}
	w := *c
	if err := w.reduce(); err != nil {
		return err
	}
	switch {
	case create && w.CreateOnly():
		return ErrBlobAlreadyExists
	case w.hasMatch && !listed(w.match, changed),
		w.hasNoneMatch && listed(w.noneMatch, changed),
		w.hasModified && !after(changed, w.modified),
		w.hasUnmodified && after(changed, w.unmodified):
		return ErrConditionNotMet
	}
	return nil
}

// Create evaluates the conditions of a write that makes a blob where there is none.
func (c *Conditions) Create() error {
	w := *c
	if err := w.reduce(); err != nil {
		return err
	}
	if w.hasMatch {
		return ErrConditionNotMet
	}
	return nil
}

// reduce applies the rules for writes: one header counts, two pairs are known, and no other combination is taken.
func (c *Conditions) reduce() error {
	if c.hasNoneMatch && c.hasModified && !c.hasMatch && !c.hasUnmodified {
		c.hasModified = false
	}
	if c.hasMatch && c.hasUnmodified && !c.hasNoneMatch && !c.hasModified {
		c.hasUnmodified = false
	}
	n := 0
	for _, has := range [...]bool{c.hasMatch, c.hasNoneMatch, c.hasModified, c.hasUnmodified} {
		if has {
			n++
		}
	}
	if n > 1 || strings.IndexByte(c.match, ',') >= 0 || strings.IndexByte(c.noneMatch, ',') >= 0 {
		return ErrMultipleConditionHeadersNotSupported
	}
	return nil
}

// listed reports whether a list of ETags has the stamp's, or is "*".
func listed(list string, s engine.Stamp) bool {
	for {
		tag, rest, more := strings.Cut(list, ",")
		tag = strings.TrimSpace(tag)
		if tag == "*" || IsETag(tag, s) {
			return true
		}
		if !more {
			return false
		}
		list = rest
	}
}

// ModifiedWithin evaluates a pair of dates on something that changed at s, a zero one being no condition.
func ModifiedWithin(s engine.Stamp, modified, unmodified time.Time) error {
	c := NewConditions("", "", modified, unmodified)
	return c.Write(s, false)
}

// after compares at the grain of the wire: whole seconds.
func after(s engine.Stamp, t time.Time) bool {
	return uint64(s)/ticksPerSecond > uint64(engine.StampOf(t))/ticksPerSecond
}

// Visit gives the conditions as the headers of a plain request, to be put to somebody else.
func (c *Conditions) Visit(set func(name, value string)) {
	if c.hasMatch {
		set("If-Match", c.match)
	}
	if c.hasNoneMatch {
		set("If-None-Match", c.noneMatch)
	}
	if c.hasModified {
		set("If-Modified-Since", Date(engine.StampOf(c.modified)))
	}
	if c.hasUnmodified {
		set("If-Unmodified-Since", Date(engine.StampOf(c.unmodified)))
	}
}
