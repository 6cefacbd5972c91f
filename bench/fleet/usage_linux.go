package fleet

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Usage is what a server has taken from the machine since it started.
type Usage struct {
	CPU     time.Duration // user and system, its children included
	RSS     int64         // bytes now
	PeakRSS int64         // bytes, the most since ResetPeak
	Written int64         // bytes that it caused to be written to the disk
}

// Usage reads the server's counters. CPU comes from the process clock of the scheduler, which counts nanoseconds.
func (s *Server) Usage() (Usage, error) {
	var u Usage
	for i, pid := range family(s.Pid()) {
		cpu, err := processCPU(pid)
		if err == nil {
			u.CPU += cpu
			var m memory
			if m, err = processMemory(pid); err == nil {
				u.RSS += m.rss
				u.PeakRSS += m.peak
				u.Written += processWritten(pid)
			}
		}
		if err != nil && i == 0 { // a child may end meanwhile
			return u, fmt.Errorf("usage of %s: %w", s.Name, err)
		}
	}
	dead, err := deadChildren(s.Pid())
	u.CPU += dead
	return u, err
}

// ResetPeak makes PeakRSS begin anew.
func (s *Server) ResetPeak() {
	for _, pid := range family(s.Pid()) {
		_ = os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0) // where it is refused the peak is that of the whole life
	}
}

// Settle waits until the server takes less than a fiftieth of a core, at most for limit: what it put off is then paid.
func (s *Server) Settle(ctx context.Context, limit time.Duration) error {
	const step = 100 * time.Millisecond
	before, err := s.Usage()
	if err != nil {
		return err
	}
	for end := time.Now().Add(limit); time.Now().Before(end); {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(step):
		}
		now, err := s.Usage()
		if err != nil {
			return err
		}
		if now.CPU-before.CPU < step/50 {
			return nil
		}
		before = now
	}
	return nil
}

// DiskBytes is the space that the server's data takes on the disk, in bytes.
func (s *Server) DiskBytes() (int64, error) {
	var sum int64
	for _, d := range s.Data {
		err := filepath.WalkDir(d, func(_ string, e fs.DirEntry, err error) error {
			if err != nil {
				if os.IsNotExist(err) {
					return nil // it works on its files meanwhile
				}
				return err
			}
			if info, err := e.Info(); err == nil {
				if st, ok := info.Sys().(*syscall.Stat_t); ok {
					sum += st.Blocks * 512
				}
			}
			return nil
		})
		if err != nil {
			return sum, err
		}
	}
	return sum, nil
}

// FlushDisk writes back what the page cache holds of the file system under dir, so that no server's turn pays for another's.
func FlushDisk(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Syncfs(int(f.Fd()))
}

// warmed is the memory that is made ready for a turn of writes, in bytes: about what it writes to the page cache.
const warmed = 1 << 30

// WarmMemory takes memory, writes to each page of it and gives it back. Where the machine is a virtual one its host may lend memory
// page by page, and take back what lies free for a few seconds: whoever writes to a page first then pays for it, ten times what
// writing a page to the page cache costs otherwise (10 us instead of 0.7 were seen), and the turn's figure would be the host's.
func WarmMemory() error {
	b, err := unix.Mmap(-1, 0, warmed, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return fmt.Errorf("take %d bytes of memory: %w", warmed, err)
	}
	for i := 0; i < warmed; i += os.Getpagesize() {
		b[i] = 1
	}
	return unix.Munmap(b)
}

// family is pid and its descendants.
func family(pid int) []int {
	pids := []int{pid}
	for i := 0; i < len(pids); i++ {
		files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pids[i]))
		for _, f := range files {
			b, _ := os.ReadFile(f)
			for _, w := range bytes.Fields(b) {
				if p, err := strconv.Atoi(string(w)); err == nil {
					pids = append(pids, p)
				}
			}
		}
	}
	return pids
}

func processCPU(pid int) (time.Duration, error) {
	// The clock of another process: the complement of its id above the bits for "scheduler time, whole process"
	// (clock_getcpuclockid(3)).
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|2), &ts); err != nil {
		return 0, fmt.Errorf("CPU clock of %d: %w", pid, err)
	}
	return time.Duration(ts.Nano()), nil
}

// deadChildren is the CPU of children that ended and were waited for, in clock ticks of 10 ms.
func deadChildren(pid int) (time.Duration, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	f := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:]) // the fields from the third on
	if len(f) < 15 {
		return 0, fmt.Errorf("/proc/%d/stat has %d fields", pid, len(f))
	}
	user, _ := strconv.ParseInt(string(f[13]), 10, 64)
	system, _ := strconv.ParseInt(string(f[14]), 10, 64)
	return time.Duration(user+system) * 10 * time.Millisecond, nil
}

type memory struct{ rss, peak int64 }

func processMemory(pid int) (memory, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return memory{}, err
	}
	return memory{rss: kilobytes(b, "VmRSS:"), peak: kilobytes(b, "VmHWM:")}, nil
}

func kilobytes(status []byte, name string) int64 {
	_, rest, _ := bytes.Cut(status, []byte(name))
	if f := bytes.Fields(rest[:min(len(rest), 64)]); len(f) > 0 {
		n, _ := strconv.ParseInt(string(f[0]), 10, 64)
		return n << 10
	}
	return 0
}

func processWritten(pid int) int64 {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/io", pid))
	_, rest, _ := bytes.Cut(b, []byte("\nwrite_bytes: "))
	line, _, _ := bytes.Cut(rest, []byte("\n"))
	n, _ := strconv.ParseInt(string(line), 10, 64)
	return n
}

// BusyCPU is the time that all of the machine's cores have worked since it started: with the server's and the client's own it
// tells what neighbours took.
func BusyCPU() (time.Duration, error) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	line, _, _ := bytes.Cut(b, []byte("\n"))
	var ticks int64
	for i, f := range bytes.Fields(line)[1:] {
		n, err := strconv.ParseInt(string(f), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("/proc/stat: %w", err)
		}
		if i != 3 && i != 4 && i < 8 { // without idle, iowait, and the guests' time that is counted twice
			ticks += n
		}
	}
	return time.Duration(ticks) * 10 * time.Millisecond, nil
}

// SelfCPU is the time that the harness itself has worked.
func SelfCPU() time.Duration {
	d, _ := processCPU(os.Getpid()) // its own clock is always there
	return d
}

// Machine describes what the bench runs on.
type Machine struct {
	CPU, Kernel, Disk string
	Cores             int
	Memory            int64 // bytes
}

// Describe looks at the machine and the file system under dir.
func Describe(dir string, cores int) Machine {
	m := Machine{Cores: cores}
	if f, err := os.Open("/proc/cpuinfo"); err == nil {
		for sc := bufio.NewScanner(f); sc.Scan(); {
			if name, value, ok := strings.Cut(sc.Text(), ":"); ok && strings.TrimSpace(name) == "model name" {
				m.CPU = strings.TrimSpace(value)
				break
			}
		}
		_ = f.Close()
	}
	var uts unix.Utsname
	if unix.Uname(&uts) == nil {
		m.Kernel = unix.ByteSliceToString(uts.Release[:])
	}
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) == nil {
		m.Memory = int64(info.Totalram) * int64(info.Unit)
	}
	var st unix.Statfs_t
	if unix.Statfs(dir, &st) == nil {
		m.Disk = fmt.Sprintf("file system type %#x, %d GiB free", st.Type, int64(st.Bavail)*st.Bsize>>30)
	}
	return m
}
