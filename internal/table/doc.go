// Package table is the Table service.
//
// Guarantees:
//
//   - a write that was answered survives a power cut; an entity group transaction is all or nothing and isolated: it is one
//     engine transaction on one partition, which is one PartitionKey of one table;
//   - an update with an ETag changes the entity only if it is still the one the ETag was given for;
//   - a deleted table is gone at once and for good: no write that was under way appears in it or in its successor of the same
//     name. Its contents are swept in the background;
//   - a page of a query is read in one snapshot, which ends with the page. Continuation tokens name a position, not an entity,
//     so they survive deletes.
//
// # Where things are
//
//	SpaceTable       't' account 00 name (lower case) 00               a table: record.go
//	SpaceTableQueue  the same, then the generation (8 bytes)           a deleted table to be swept
//	SpaceEntity      'e' generation (8 bytes) PartitionKey 00 RowKey   an entity: package entity
//	SpaceEntityPart  the key of an entity, then 00 and a number        a part of a large one
//
// A table's generation is the stamp of its creation: unique in the store, so a table made again starts empty.
//
// # Locks
//
// Service.names[i] (creation, deletion and ACL of the tables whose names hash to i) before table.mu (writers of entities
// against the table's deletion) before Service.mu and the engine's. No lock is held while a socket is read or written.
package table
