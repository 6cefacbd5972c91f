package engine

// The spaces of the key space and who writes them. A number is never given to another use: docs/format.md lists them.
const (
	SpaceSystem   Space = 0x01 // the engine itself: format, extents, reference counts, stamps
	SpaceAccount  Space = 0x02 // account: accounts, keys, service properties
	SpaceResource Space = 0x03 // srp: subscriptions, resource groups
	SpaceRestore  Space = 0x04 // backup: what a restore keeps of itself until it has ended

	SpaceContainer   Space = 0x10 // blob: container records
	SpaceBlob        Space = 0x11 // blob: current blob records, what List Blobs scans
	SpaceBlobHistory Space = 0x12 // blob: snapshots and versions
	SpaceBlobData    Space = 0x13 // blob: inline content
	SpaceBlock       Space = 0x14 // blob: committed block lists and uncommitted blocks
	SpacePage        Space = 0x15 // blob: page maps
	SpaceBlobTag     Space = 0x16 // blob: tag index
	SpaceBlobQueue   Space = 0x17 // blob: work for the sweeper (deleted containers, expiries, pending copies)
	SpaceUncommitted Space = 0x18 // blob: names that have only uncommitted blocks

	SpaceTable      Space = 0x20 // table: table records
	SpaceEntity     Space = 0x21 // table: entities
	SpaceTableQueue Space = 0x22 // table: work for the sweeper (deleted tables)
	SpaceEntityPart Space = 0x23 // table: entities too large for one value, in parts
)

// Cached tells whether values of the space are worth keeping in memory: they are looked up one by one, again and again. Where ranges are
// deleted all the time a cache costs more than it gives.
func (s Space) Cached() bool {
	switch s {
	case SpaceBlob, SpaceBlobHistory, SpaceBlobData, SpaceEntity, SpaceEntityPart, SpaceContainer, SpaceTable, SpaceAccount, SpaceResource:
		return true
	}
	return false
}

// Filtered tells whether the keys of the space are worth a Bloom filter: new ones, which are not there, are looked up all the time.
func (s Space) Filtered() bool {
	switch s {
	case SpaceBlob, SpaceBlock, SpaceEntity:
		return true
	}
	return false
}
