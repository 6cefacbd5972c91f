// Package store is the Blob service as plain Go: containers and blobs over an engine.Store, with the sweeper and the copies that run
// in the background. A request is a value that is decoded once; an error that a client is to see is a *protocol.Error. Nothing here
// knows HTTP or who asks: a caller has decided on that before, and what remains of the decision is in the request (Target.CreateOnly,
// OwnSource.Admit). Methods of Service are safe for concurrent use. Package record has the data model.
//
// # A write against a container's delete
//
// A transaction has one partition, so a write looks the container up first and then changes the blob under the generation it
// found. If the container is deleted between the two the write lands under a dead generation: it is as if it had happened just
// before the delete. The sweeper visits a dead generation again until it finds it empty and no such write can still be under
// way. See docs/design/020-blob-records.md.
package store
