// Package guard is the file system that Pebble gets. It stands for what Pebble takes for granted of one.
//
// # Errors
//
// Pebble panics, with a mutex in a state that ends the process, where a log cannot be made, synced or closed. So it is not told: the
// error is the store's (Owner.Fail), which every commit looks at after its sync and before its acknowledgement, and a log that failed is
// not touched again. From then on no manifest is synced, no log made and no file removed: what is on the disks stays as it is.
//
// # Manifests
//
// Pebble reads a damaged chunk of a manifest as its end: that is what a crash leaves. Damage to what was synced must not pass for it, or a
// flipped bit would undo acknowledged writes without a word. A companion file names the length and sum of each prefix that was synced
// (docs/format.md, "Companion"); edits are rare enough for that. CheckManifest compares. (The logs have frames for it, package wal.)
//
// A marker names the manifest in use. Pebble syncs the directory only when both are there, so that a power cut could keep the marker
// alone: the directory is synced before a marker is made in it as well. A folder without what the markers name is refused (CheckPresence),
// where Pebble would begin anew.
//
// # Tables
//
// What is written to a table is gathered (package tablefile). Compactions end where they would take the room that the log and the flushes
// need (the fits of New). Pebble tries them, and flushes, again at once: it is made to wait a little, so that a full disk does not cost a
// core as well.
package guard
