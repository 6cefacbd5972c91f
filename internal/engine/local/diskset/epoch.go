package diskset

import (
	"cmp"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"strings"

	"go.uber.org/zap"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/local/diskio"
	"github.com/blobd/blobd/internal/engine/local/wal"
)

// A store has one history: whoever starts it finds what the run before acknowledged, whatever subset of the disks each of them had.
//
//   - A start needs the records of more than half of the disks. So any two starts have a disk in common.
//   - It takes a number, promise, that is higher than all it finds, and has at least half of the disks keep it before it writes its
//     epoch. So a start that was interrupted half-way cannot have left an epoch on some disk that outranks one of a later start.
//   - Its epoch, with the members, is on at least half of the disks before anything is acknowledged in it, and so is each change of
//     the members. So the next start finds it, and the highest epoch is that of the newest history.
//
// A disk that the operator leaves behind (Options.AcceptMissing) is no longer counted: that is recorded like an epoch, until the disk
// is back. A start on no more than half of the disks needs that word for all others. Where parts of a store went on without each other by
// the operator's word, there are two histories, and no start on disks of both: a disk that was left is not to have a later epoch than the
// newest one known then, and nobody is to have heard a word of which the newest history does not know.
//
// Where a store was copied and both went on, a disk of either has the epoch of a start that the other does not know. A start leaves its random
// number with its promise, so that those after it know it even if it wrote nothing else; the last few are kept.

// word is how the operator names a disk.
func (set *Set) word(i int) string { return diskWord(set.IDs[i]) }

func diskWord(id [16]byte) string { return fmt.Sprintf("%x", id[:4]) }

// oneHistory refuses records that no single history can have left.
func (set *Set) oneHistory(newest *format) error {
	for i, d := range set.Disks {
		f := d.format.Load()
		if f == nil || !d.onDisk {
			continue
		}
		if f.epoch == newest.epoch && f.version == newest.version && (f.secret != newest.secret || f.members != newest.members || f.left != newest.left) {
			return fmt.Errorf("data directories %s and %s say of the same epoch %d that the current metadata is on disks %#b and %#b: two parts of the "+
				"store went on without each other; give the disks of one part only, and empty the directories of the other: %w",
				set.Disks[newest.index].Dir, d.Dir, f.epoch, newest.members, f.members, engine.ErrCorrupt)
		}
		// Every start promises its number to half of the disks first, so two that wrote the same one did not know of each other.
		copied := f.epoch == newest.epoch && f.run != newest.run && f.run != 0 && newest.run != 0
		if copied || newest.stranger(f) || newest.left&(1<<i) != 0 && f.epoch > newest.leftEpoch || f.words[0] != 0 && !slices.Contains(newest.words[:], f.words[0]) {
			return fmt.Errorf("data directories %s and %s went on without each other: both may have acknowledged what the other does not have; "+
				"give the disks of one part only, and empty the directories of the other: %w", set.Disks[newest.index].Dir, d.Dir, engine.ErrCorrupt)
		}
	}
	return nil
}

// runOf is what is kept of a process and the number that it promised: the lower half of that, and most of its random number.
func runOf(epoch, run uint64) uint64 { return epoch<<48 | run<<16>>16 }

// promisedBy returns the number that a process promised.
func (f *format) promisedBy(run uint64) uint64 { return f.promised - (f.promised-run>>48)&0xffff }

// stranger tells whether another record has the epoch of a process that its history does not know. What is older than all that is kept may
// be of any.
func (f *format) stranger(other *format) bool {
	runs := known(f.runs)
	if other.run == 0 || len(runs) == 0 || other.epoch < f.promisedBy(runs[len(runs)-1]) {
		return false
	}
	return !slices.ContainsFunc(append(runs, f.run), func(run uint64) bool { return run<<16 == other.run<<16 })
}

// learnRuns adds to the processes that the newest record knows those that only the other disks have heard of, and this one.
func (set *Set) learnRuns() {
	at := (&format{promised: set.promised}).promisedBy
	all := known(set.runs)
	if len(all) > 0 {
		oldest := at(all[len(all)-1])
		for _, d := range set.Disks {
			f := d.format.Load()
			if f == nil || !d.onDisk {
				continue
			}
			for _, run := range known(f.runs) {
				if at(run) > oldest {
					all = append(all, run)
				}
			}
		}
	}
	all = append(all, runOf(set.promised, set.run))
	slices.SortFunc(all, func(a, b uint64) int { return cmp.Or(cmp.Compare(at(b), at(a)), cmp.Compare(a, b)) })
	set.runs = [maxRuns]uint64{}
	copy(set.runs[:], slices.Compact(all))
}

// known are the processes of a list.
func known(runs [maxRuns]uint64) []uint64 {
	return slices.DeleteFunc(runs[:], func(run uint64) bool { return run == 0 })
}

// leave takes the operator's word for the disks that are missing for good. What else it may name, a log or an extent, is held against what is
// missing where that is looked for.
func (set *Set) leave(accepted []string) error {
	before := set.left
	for _, word := range accepted {
		i := slices.IndexFunc(set.IDs[:len(set.Disks)], func(id [16]byte) bool { return strings.EqualFold(word, diskWord(id)) })
		switch {
		case i >= 0 && set.Disks[i].Usable() && set.Disks[i].onDisk:
			set.log.Warn("the disk is there: leave --accept-missing out", zap.String("disk", word), zap.String("dir", set.Disks[i].Dir))
		case i >= 0:
			set.log.Warn("the store goes on without a disk, as --accept-missing says", zap.String("disk", word))
			set.left |= 1 << i
		case !missable(word):
			return fmt.Errorf("--accept-missing %s: there is nothing of that name in this store; give the name as the refusal to start has it", word)
		}
	}
	if set.left != before {
		set.leftEpoch = set.epoch
		copy(set.words[1:], set.words[:])
		set.words[0] = random()
	}
	return nil
}

// missable tells whether a log or an extent may have a name, or what stands for the logs that nobody knows.
func missable(word string) bool {
	if n, ok := wal.Number(word); ok && word == wal.Name(n) || word == wal.ListName {
		return true
	}
	_, err := hex.DecodeString(word)
	return err == nil && len(word) == 16
}

// random is a number that nothing else has, and is not 0.
func random() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return binary.BigEndian.Uint64(b[:]) | 1
}

// voters is how many disks have not been left behind.
func (set *Set) voters() int { return len(set.Disks) - bits.OnesCount32(set.left) }

// quorum refuses a start on so few disks that another start may have gone on, or may go on, with the others. before is which disks had
// been left behind before this start.
func (set *Set) quorum(before uint32) error {
	present, votes := 0, 0
	var absent []string
	for i, d := range set.Disks {
		if d.Usable() {
			present++
		}
		seen := d.format.Load() != nil && d.onDisk
		if seen && before&(1<<i) == 0 {
			votes++
		}
		if !seen && set.left&(1<<i) == 0 {
			absent = append(absent, "--accept-missing "+set.word(i))
		}
	}
	voters := len(set.Disks) - bits.OnesCount32(before)
	need := max(set.K, voters/2+1)
	switch {
	case present < set.K:
		return fmt.Errorf("%d of the store's %d disks are there, %d are needed: %w (%s)", present, len(set.Disks), need, engine.ErrUnavailable, set.missing())
	case 2*votes <= voters && len(absent) > 0:
		return fmt.Errorf("%d of the store's %d disks are there, %d are needed, as the others may have gone on alone: %w (%s). Mount what is missing. "+
			"If it is lost for good, start once with %s: what it alone had acknowledged is given up",
			votes, len(set.Disks), need, engine.ErrUnavailable, set.missing(), strings.Join(absent, " "))
	}
	return nil
}

// record is the format record of a disk as of now.
func (set *Set) record(i int) *format {
	return &format{version: formatVersion, store: set.Store, disk: set.IDs[i], index: uint8(i), k: uint8(set.K), m: uint8(set.M), epoch: set.epoch,
		members: set.members.Load(), disks: set.IDs, started: set.Started, promised: set.promised, left: set.left,
		leftEpoch: set.leftEpoch, words: set.words, run: set.run, runs: set.runs, secret: set.Since.Secret, extent: set.Since.Extent, log: set.Since.Log}
}

// unwritten is the record of a disk that has seen no start. Epoch 0 would be that of a store that is being made.
func (set *Set) unwritten(i int) *format {
	return &format{version: formatVersion, store: set.Store, disk: set.IDs[i], index: uint8(i), k: uint8(set.K), m: uint8(set.M), epoch: 1, disks: set.IDs}
}

// promise takes the number of the epoch that this start will write.
func (set *Set) promise() error {
	next := set.epoch + 1
	for _, d := range set.Disks {
		if f := d.format.Load(); f != nil {
			next = max(next, f.epoch+1, f.promised+1)
		}
	}
	set.promised = next
	set.learnRuns()
	if len(set.Disks) == 1 {
		return nil // the epoch itself is all it takes
	}
	var errs []error
	took := 0
	for i, d := range set.Disks {
		if !d.Usable() || !d.onDisk {
			continue
		}
		f := *d.format.Load()
		f.promised, f.runs = next, set.runs
		// A record of the first version has no room for a promise, and is left as it is until all else is found good.
		if f.version > 1 {
			if err := set.put(d, &f); err != nil {
				errs = append(errs, err)
				continue
			}
		}
		if set.left&(1<<i) == 0 {
			took++
		}
	}
	if 2*took < set.voters() {
		return errors.Join(append(errs, fmt.Errorf("too few disks can be written to: %w", engine.ErrUnavailable))...)
	}
	return nil
}

// put writes the format file of a disk.
func (set *Set) put(d *Disk, f *format) (err error) {
	name := set.fs.PathJoin(d.Dir, FormatName)
	if d.onDisk && !d.repair {
		err = updateFormat(set.fs, name, f)
	} else {
		err = diskio.WriteFile(set.fs, d.Dir, FormatName, f.encode())
	}
	if err != nil {
		d.repair = !errors.Is(err, diskio.ErrOtherDisk) // nobody knows how much of it was written
		return fmt.Errorf("write %s: %w", name, diskio.Kind(err))
	}
	d.format.Store(f)
	d.onDisk, d.repair = true, false
	return nil
}

// Start records, at a start, which disks hold current metadata, with a new epoch. started is the number that the list of the logs has
// by now, so that a list from before this start is none.
func (set *Set) Start(members uint32, started uint64) error {
	set.mu.Lock()
	defer set.mu.Unlock()
	if set.Fresh() {
		if members != set.members.Load() {
			return fmt.Errorf("a disk failed while the store was being made: %w", engine.ErrUnavailable)
		}
		set.Started = started
		return nil
	}
	set.Started = started
	for i, d := range set.Disks {
		if d.Usable() {
			set.left &^= 1 << i // it is back
		}
	}
	return set.write(set.Next(), members)
}

// Finish ends the making of a store.
func (set *Set) Finish() error {
	set.mu.Lock()
	defer set.mu.Unlock()
	if !set.Fresh() {
		return nil
	}
	if err := set.write(1, set.members.Load()); err != nil {
		return err
	}
	// Said aloud, as the disks of an old one may only not be mounted.
	var dirs []string
	for _, d := range set.Disks {
		dirs = append(dirs, d.Dir)
	}
	set.log.Info("made a new, empty store; with --existing none would be made", zap.Strings("dirs", dirs))
	return nil
}

// Next is the number of the next epoch.
func (set *Set) Next() uint64 { return max(set.epoch+1, set.promised) }

// Current is the mask of the disks that are there and whose metadata is current.
func (set *Set) Current() (mask uint32) {
	for i, d := range set.Disks {
		if d.Usable() && set.members.Load()&(1<<i) != 0 && d.format.Load().epoch == set.epoch {
			mask |= 1 << i
		}
	}
	return mask
}

// write records a new epoch with its members on every disk that is there. A disk that cannot take it is left behind, in an
// older epoch; at least one member must take it, and so many disks that no start misses it.
func (set *Set) write(epoch uint64, members uint32) error {
	fresh := set.Fresh()
	// Also if it fails: no number is used twice.
	set.epoch = epoch
	set.members.Store(members)
	var errs []error
	var took uint32
	for _, i := range set.order(members) {
		if members&(1<<i) == 0 && took&members == 0 {
			break // an epoch of which no member knows would end the store
		}
		d := set.Disks[i]
		if !d.Usable() {
			continue
		}
		if err := set.put(d, set.record(i)); err != nil {
			errs = append(errs, err)
			if fresh {
				break
			}
			continue
		}
		took |= 1 << i
	}
	if took&members == 0 || 2*bits.OnesCount32(took&^set.left) < set.voters() || len(errs) > 0 && fresh {
		return errors.Join(append(errs, fmt.Errorf("too few disks can be written to: %w", engine.ErrUnavailable))...)
	}
	for _, err := range errs {
		set.log.Error("a disk was left behind", zap.Error(err))
	}
	return nil
}

// order returns the indexes of the disks with the members first: whenever a disk is in the new epoch, a member is.
func (set *Set) order(members uint32) (order []int) {
	for i := range set.Disks {
		if members&(1<<i) != 0 {
			order = append(order, i)
		}
	}
	for i := range set.Disks {
		if members&(1<<i) == 0 {
			order = append(order, i)
		}
	}
	return order
}

// Drop records that the metadata on disk i is no longer current.
func (set *Set) Drop(i int) error {
	set.mu.Lock()
	defer set.mu.Unlock()
	if set.members.Load()&(1<<i) == 0 {
		return nil
	}
	members := set.members.Load() &^ (1 << i)
	if members == 0 || set.Fresh() {
		return fmt.Errorf("no disk with current metadata is left: %w", engine.ErrUnavailable)
	}
	return set.write(set.Next(), members)
}
