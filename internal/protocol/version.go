package protocol

import (
	"slices"
	"time"
)

// Version is a service version such as "2026-12-06". Versions compare as strings.
type Version string

// Versions with a meaning of their own here: the first that has a behaviour.
const (
	V20090919 Version = "2009-09-19"
	V20110818 Version = "2011-08-18"
	V20120212 Version = "2012-02-12"
	V20130815 Version = "2013-08-15"
	V20140214 Version = "2014-02-14"
	V20150221 Version = "2015-02-21"
	V20150405 Version = "2015-04-05"
	V20150708 Version = "2015-07-08"
	V20151211 Version = "2015-12-11"
	V20160531 Version = "2016-05-31"
	V20170417 Version = "2017-04-17"
	V20170729 Version = "2017-07-29"
	V20171109 Version = "2017-11-09"
	V20180328 Version = "2018-03-28"
	V20181109 Version = "2018-11-09"
	V20190202 Version = "2019-02-02"
	V20190707 Version = "2019-07-07"
	V20191212 Version = "2019-12-12"
	V20200210 Version = "2020-02-10"
	V20200408 Version = "2020-04-08"
	V20200612 Version = "2020-06-12"
	V20201002 Version = "2020-10-02"
	V20201206 Version = "2020-12-06"
	V20210212 Version = "2021-02-12"
	V20210410 Version = "2021-04-10"
	V20211202 Version = "2021-12-02"
	V20221102 Version = "2022-11-02"
	V20250105 Version = "2025-01-05"
	V20250705 Version = "2025-07-05"
	V20260406 Version = "2026-04-06"
	V20260606 Version = "2026-06-06"
	V20261006 Version = "2026-10-06"
	Newest    Version = "2026-12-06"
)

// known holds every published version, oldest first (REST page "Versioning for Azure Storage").
var known = []Version{
	"2009-09-19", "2011-08-18", "2012-02-12", "2013-08-15", "2014-02-14", "2015-02-21", "2015-04-05", "2015-07-08",
	"2015-12-11", "2016-05-31", "2017-04-17", "2017-07-29", "2017-11-09", "2018-03-28", "2018-11-09", "2019-02-02",
	"2019-07-07", "2019-10-10", "2019-12-12", "2020-02-10", "2020-04-08", "2020-06-12", "2020-08-04", "2020-10-02",
	"2020-12-06", "2021-02-12", "2021-04-10", "2021-06-08", "2021-08-06", "2021-10-04", "2021-12-02", "2022-11-02",
	"2023-01-03", "2023-08-03", "2023-11-03", "2024-02-04", "2024-05-04", "2024-08-04", "2024-11-04", "2025-01-05",
	"2025-05-05", "2025-07-05", "2025-11-05", "2026-02-06", "2026-04-06", "2026-06-06", "2026-10-06", "2026-12-06",
}

// KnownVersions returns every published version, oldest first.
func KnownVersions() []Version { return slices.Clone(known) }

// ParseVersion checks the text of an x-ms-version, sv or api-version. A well-formed date after the newest known version is
// accepted unless strict: the SDKs move to a new version every month, and the newest known behaviour serves them.
func ParseVersion(s string, strict bool) (Version, bool) {
	if _, found := slices.BinarySearch(known, Version(s)); found {
		return Version(s), true
	}
	if strict || Version(s) <= Newest {
		return "", false
	}
	if _, err := time.Parse("2006-01-02", s); err != nil {
		return "", false
	}
	return Version(s), true
}
