package engine

import "time"

// Stamp is a moment in units of 100 ns since 0001-01-01T00:00:00Z (the ticks of .NET), as Azure counts: ETags, snapshot ids and
// Timestamps all have this grain.
type Stamp uint64

const ticksToUnix = 62135596800 // seconds from 0001-01-01 to 1970-01-01

// StampOf returns the moment t, cut to 100 ns.
func StampOf(t time.Time) Stamp {
	return Stamp(uint64(t.Unix()+ticksToUnix)*1e7 + uint64(t.Nanosecond()/100))
}

// Time returns the moment in UTC.
func (s Stamp) Time() time.Time {
	return time.Unix(int64(s/1e7)-ticksToUnix, int64(s%1e7)*100).UTC()
}
