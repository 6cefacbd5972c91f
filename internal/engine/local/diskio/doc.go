// Package diskio stands between the store and its disks. It tells which failures of file operations are a disk's fault, and it sees to
// it that a disk that does not answer holds up nobody for longer than a limit.
//
// # Deadlines
//
// A thread that waits for a disk cannot be called back. So an operation that may wait is made by a goroutine of its own, and its caller
// waits for that one, or for the watch to say that it has waited long enough: then the caller gets ErrStalled, and the operation is
// abandoned to its goroutine. No operation has a timer: the watch looks at the oldest operation of each disk a few times within the limit.
// It counts its own looks and not the time, so that a process that was stopped for a while blames no disk for that.
//
// A disk with an abandoned operation is out of use: what comes after fails at once, so that a stuck disk has as many stuck operations as
// there were at the moment when it was found out, and no more. It is tried, when all of them have returned, with a small file in its
// directory, and is in use again when that goes well a few times: more often each time, as a disk that comes and goes is of little use.
//
// A disk that answers everything, but late, uses up its patience: where it was found slow for as long as the limit within a few times the
// limit, while all others were well, it is out of use as well.
//
// Where nothing can stand in for a disk, as for the log of a store on one disk, an operation is not abandoned: nobody would know what came
// of it. It is Kept: made by the caller itself, and the watch tells when it is overdue (Handlers.Held).
//
// # Buffers
//
// An abandoned operation goes on to use its buffer. ReadAt, Write and WriteAt give it one of its own. Only WriteLentAt does not: what was
// lent to an operation that failed with ErrStalled is its own for good.
//
// Reads of what the page cache holds are made by the caller, by a call that does not wait (RWF_NOWAIT).
package diskio
