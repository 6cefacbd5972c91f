// Package wal vouches for Pebble's write-ahead log. Pebble reads damage at the end of a log as the tail that a crash left, and a log that is
// gone or cut off as one that was never written: acknowledged writes would be undone without a word. Two things tell the difference.
//
// # Frames
//
// What Pebble writes to a log lies on the disk in frames (docs/format.md, "Log"), one for each write, that carry the store's secret, the
// number of the log and their own offset. A log is full of bytes that clients chose, and so is what follows its end where Pebble made
// it of an old one: chunks of Pebble's, which only have a CRC and the number, cannot be told from a client's there, and would be
// replayed. A frame can: nobody can make one, nor use one of another log or place again.
//
// A frame also says how much of the log was synced when it was written. So damage to what was synced is told from the tail that a crash
// left: a later frame proves it. What is missing to that is the very last sync: the store follows it by a frame of its own when it falls
// idle.
//
// # The list
//
// A file beside the logs (docs/format.md, "Log list") names them and a length that each of their files has reached, so that what was
// acknowledged lies before it. It is written when a log is made, has grown or goes, and never for a write as such: the room for a log is
// made in steps, ahead of what is written.
//
// It also has the number of the start that wrote it, so that a folder of metadata that was put back from an older copy is not taken
// for the one that belongs to the disk.
//
// # Order
//
// FS stands between Pebble and the file system below: a log is on the list, durably, before anything is written to it, and off the list
// before its file is removed or reused. A sync of a log returns when the list, too, has the file's new length.
package wal
