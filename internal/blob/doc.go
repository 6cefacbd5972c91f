// Package blob is the Blob service: containers and blobs over an engine.Store.
//
// # Data model
//
// A container record lies under its account and name and carries a generation, a number that the store never gives again.
// Everything in the container is keyed by the generation, so a delete is one record, a create-again starts empty at once and
// the old contents are swept later. One blob name is one partition: its current blob, snapshots, versions, blocks and content
// change together or not at all.
//
//	SpaceContainer    account 00 name 00                   the container
//	                  account 00 name 00 deletion          a soft-deleted container
//	SpaceBlob         partition                            the current blob; List Blobs scans only this
//	SpaceBlobHistory  partition slot                       a snapshot, a version, or a soft-deleted blob
//	SpaceBlobData     partition [slot]                     inline content of the blob in that place
//	SpaceBlock        partition 'c' content offset         a page of a content's chunk list, by its first byte's offset
//	                  partition 'h' content                how many records share that list, if more than one
//	                  partition 'p'                        head of the uncommitted blocks
//	                  partition 'u' epoch id               an uncommitted block
//	SpacePage         partition …                          page maps
//	SpaceUncommitted  partition                            a name with uncommitted blocks and no blob
//	SpaceBlobQueue    partition kind …                     work for the sweeper
//
// where partition is generation, escaped name, terminator (see key.go) and slot is a stamp and a kind.
//
// # A write against a container's delete
//
// A transaction has one partition, so a write looks the container up first and then changes the blob under the generation it
// found. If the container is deleted between the two the write lands under a dead generation: it is as if it had happened just
// before the delete. The sweeper visits a dead generation again until it finds it empty and no such write can still be under
// way. See docs/design/020-blob-records.md.
package blob
