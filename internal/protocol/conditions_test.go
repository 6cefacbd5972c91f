package protocol

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/engine"
)

type headers map[string]string

func (h headers) HeaderOK(name string) (string, bool) { v, ok := h[name]; return v, ok }

// One row is one combination of conditions (REST page "Specifying conditional headers"). The blob was changed at 10:00:00.5; its ETag is written E.
func TestConditions(t *testing.T) {
	changed := engine.StampOf(time.Date(2024, 5, 6, 10, 0, 0, 5e8, time.UTC))
	const before, same, later = "Mon, 06 May 2024 09:59:59 GMT", "Mon, 06 May 2024 10:00:00 GMT", "Mon, 06 May 2024 10:00:01 GMT"
	const newer, older = Newest, V20120212
	for _, c := range []struct {
		name                               string
		match, noneMatch, since, unmod     string
		read, oldRead, write, create, none error // none: nothing is there
	}{
		{name: "no condition"},
		{name: "the same tag", match: "E", none: ErrConditionNotMet},
		{name: "another tag", match: `"x"`, read: ErrConditionNotMet, oldRead: ErrConditionNotMet, write: ErrConditionNotMet, create: ErrConditionNotMet, none: ErrConditionNotMet},
		{name: "any", match: "*", none: ErrConditionNotMet},
		{name: "one of several", match: `"x", E`, oldRead: ErrMultipleConditionHeadersNotSupported, write: ErrMultipleConditionHeadersNotSupported, create: ErrMultipleConditionHeadersNotSupported, none: ErrMultipleConditionHeadersNotSupported},
		{name: "not that tag", noneMatch: `"x"`},
		{name: "not the same tag", noneMatch: "E", read: ErrNotModified, oldRead: ErrNotModified, write: ErrConditionNotMet, create: ErrConditionNotMet},
		{name: "create only", noneMatch: "*", read: ErrUnsatisfiableCondition, oldRead: ErrUnsatisfiableCondition, write: ErrConditionNotMet, create: ErrBlobAlreadyExists},
		{name: "modified since", since: before},
		{name: "not modified since", since: same, read: ErrNotModified, oldRead: ErrNotModified, write: ErrConditionNotMet, create: ErrConditionNotMet},
		{name: "unmodified since", unmod: same},
		{name: "unmodified since later", unmod: later},
		{name: "modified meanwhile", unmod: before, read: ErrConditionNotMet, oldRead: ErrConditionNotMet, write: ErrConditionNotMet, create: ErrConditionNotMet},
		{name: "either of tag and date", noneMatch: "E", since: before, oldRead: ErrNotModified, write: ErrConditionNotMet, create: ErrConditionNotMet},
		{name: "neither of tag and date", noneMatch: "E", since: same, read: ErrNotModified, oldRead: ErrNotModified, write: ErrConditionNotMet, create: ErrConditionNotMet},
		{name: "tag and date", match: "E", unmod: before, read: ErrConditionNotMet, none: ErrConditionNotMet},
		{name: "two tags", match: "E", noneMatch: `"x"`, oldRead: ErrMultipleConditionHeadersNotSupported, write: ErrMultipleConditionHeadersNotSupported, create: ErrMultipleConditionHeadersNotSupported, none: ErrMultipleConditionHeadersNotSupported},
		{name: "two dates", since: before, unmod: later, oldRead: ErrMultipleConditionHeadersNotSupported, write: ErrMultipleConditionHeadersNotSupported, create: ErrMultipleConditionHeadersNotSupported, none: ErrMultipleConditionHeadersNotSupported},
	} {
		t.Run(c.name, func(t *testing.T) {
			tag := func(s string) string { return strings.ReplaceAll(s, "E", ETag(changed)) }
			parse := func() *Conditions {
				got, err := ParseConditions(headers{"if-match": tag(c.match), "if-none-match": tag(c.noneMatch), "if-modified-since": c.since, "if-unmodified-since": c.unmod}, &TargetConditions)
				require.NoError(t, err)
				return &got
			}
			require.Equal(t, c.read, parse().Read(changed, newer), "read")
			require.Equal(t, c.oldRead, parse().Read(changed, older), "old read")
			require.Equal(t, c.write, parse().Write(changed, false), "write")
			require.Equal(t, c.create, parse().Write(changed, true), "create over it")
			require.Equal(t, c.none, parse().Create(), "create")
		})
	}
}

func TestConditionsRefuseBadDates(t *testing.T) {
	_, err := ParseConditions(headers{"x-ms-source-if-modified-since": "yesterday"}, &SourceConditions)
	require.Equal(t, InvalidHeader("x-ms-source-if-modified-since", "yesterday"), err)
}

func FuzzConditions(f *testing.F) {
	f.Add(`"0x1"`, "*", "Mon, 06 May 2024 10:00:00 GMT", "")
	f.Add(`"a","b"`, "", "", "Mon, 06 May 2024 10:00:00 GMT")
	f.Fuzz(func(t *testing.T, a, b, c, d string) {
		got, err := ParseConditions(headers{"if-match": a, "if-none-match": b, "if-modified-since": c, "if-unmodified-since": d}, &TargetConditions)
		if err != nil {
			return
		}
		for _, err := range []error{got.Read(1, Newest), got.Read(1, V20090919), got.Write(1, true), got.Write(1, false), got.Create()} {
			if err != nil {
				require.IsType(t, &Error{}, err)
			}
		}
	})
}
