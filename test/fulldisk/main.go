// Fulldisk fills a small ext4 through the real blobd as fast as it goes, deletes, and fills it again, with clean stops and kills between.
// It needs root, for mounts. "make full-disk" runs it.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/data/aztables"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"

	"github.com/blobd/blobd/internal/account"
)

var (
	binary  = flag.String("bin", "bin/blobd", "blobd under test")
	size    = flag.Int("mib", 128, "MiB of the file system")
	only    = flag.String("only", "", "cases whose name begins so")
	patient = flag.Duration("patience", time.Minute, "until room must be back after the deletes, or a start must serve")
)

var background = context.Background()

func main() {
	flag.Parse()
	bin, err := filepath.Abs(*binary)
	if err != nil {
		fatal(err)
	}
	fmt.Println("case                    stored  readable  left MiB  room back after deletes: running, clean stop, kill, stranger gone; deletes refused beside it")
	failed := false
	for _, c := range []struct {
		name string
		size int
	}{{"blobs of 4 KiB", 4 << 10}, {"blobs of 1 MiB", 1 << 20}, {"blobs of 8 MiB", 8 << 20}, {"entities", 0}} {
		for _, writers := range []int{1, 4, 16} {
			name := fmt.Sprintf("%s, %d", c.name, writers)
			if !strings.HasPrefix(name, *only) {
				continue
			}
			r := run{bin: bin, writers: writers, size: c.size}
			if err := r.all(); err != nil {
				fmt.Printf("%-22s FAILED: %v\n", name, err)
				failed = true
				continue
			}
			fmt.Printf("%-22s %7d  %8d  %8d  %.1f s, %.1f s, %.1f s, %.1f s; %d\n", name, r.stored, r.read, r.left>>20, r.back[0].Seconds(), r.back[1].Seconds(), r.back[2].Seconds(), r.back[3].Seconds(), r.refused.Load())
		}
	}
	if failed {
		os.Exit(1)
	}
}

func fatal(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// run is one case.
type run struct {
	bin           string
	writers, size int // of a blob; 0: entities
	dir           string
	server        *exec.Cmd
	blobs         *azblob.Client
	rows          *aztables.Client
	next          int

	stored, read int
	left         uint64
	back         [4]time.Duration

	beside  bool         // a stranger: deletes may be refused for a while, when the reserve is used up
	refused atomic.Int64 // so many were
}

func (r *run) all() (err error) {
	if r.dir, err = os.MkdirTemp("", "fulldisk-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(r.dir)) }()
	image, mnt := filepath.Join(r.dir, "image"), filepath.Join(r.dir, "mnt")
	if err := errors.Join(os.Mkdir(mnt, 0o700), os.WriteFile(image, nil, 0o600), os.Truncate(image, int64(*size)<<20)); err != nil {
		return err
	}
	for _, c := range [][]string{{"mkfs.ext4", "-q", "-m", "0", "-F", image}, {"mount", "-o", "loop", image, mnt}} {
		if out, err := exec.Command(c[0], c[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%v: %w: %s", c, err, out)
		}
	}
	defer func() { err = errors.Join(err, exec.Command("umount", mnt).Run()) }()
	defer func() {
		if err != nil {
			log, _ := os.ReadFile(filepath.Join(r.dir, "log"))
			err = fmt.Errorf("%w\n%s", err, log[max(0, len(log)-2000):])
		}
	}()
	if err := r.start(); err != nil {
		return err
	}
	defer func() { r.stop(syscall.SIGKILL) }()
	return r.stages()
}

func (r *run) stages() error {
	// A full store is read, also after a kill; all of it is deleted.
	kept, err := r.fill()
	if err != nil {
		return err
	}
	r.stored = len(kept)
	r.left = r.free()
	if err := r.check(kept); err != nil {
		return fmt.Errorf("while full: %w", err)
	}
	r.stop(syscall.SIGKILL)
	if err := r.start(); err != nil {
		return fmt.Errorf("start while full: %w", err)
	}
	if err := r.check(kept); err != nil {
		return fmt.Errorf("after a kill while full: %w", err)
	}
	if err := r.delete(kept); err != nil {
		return err
	}
	if r.back[0], err = r.untilRoom(); err != nil {
		return err
	}
	// Half is deleted before a clean stop.
	if kept, err = r.fill(); err != nil {
		return err
	}
	if err := r.delete(kept[len(kept)/2:]); err != nil {
		return err
	}
	kept = kept[:len(kept)/2]
	r.stop(syscall.SIGTERM)
	if err := r.start(); err != nil {
		return fmt.Errorf("start after a clean stop: %w", err)
	}
	if r.back[1], err = r.untilRoom(); err != nil {
		return err
	}
	if err := r.check(kept); err != nil {
		return fmt.Errorf("after a clean stop: %w", err)
	}
	// It is filled, all is deleted, and the process killed at once.
	more, err := r.fill()
	if err != nil {
		return err
	}
	if err := errors.Join(r.check(kept), r.delete(append(kept, more...))); err != nil {
		return err
	}
	r.stop(syscall.SIGKILL)
	if err := r.start(); err != nil {
		return fmt.Errorf("start after a kill: %w", err)
	}
	if r.back[2], err = r.untilRoom(); err != nil {
		return err
	}
	r.back[3], err = r.stranger()
	return err
}

// stranger takes the last block of a disk that is full. Reads, deletes and a start go on.
func (r *run) stranger() (back time.Duration, err error) {
	kept, err := r.fill()
	if err != nil {
		return 0, err
	}
	name := filepath.Join(r.dir, "mnt", "stranger")
	f, err := os.Create(name)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	b := content(0, 4<<10)
	for {
		if _, err := f.Write(b); errors.Is(err, syscall.ENOSPC) {
			break
		} else if err != nil {
			return 0, err
		}
	}
	r.beside = true
	half := len(kept) / 2
	if err := r.delete(kept[:half]); err != nil {
		return 0, fmt.Errorf("beside a stranger: %w", err)
	}
	r.stop(syscall.SIGKILL)
	if err := r.start(); err != nil {
		return 0, fmt.Errorf("start beside a stranger: %w", err)
	}
	if err := errors.Join(r.check(kept[half:]), r.delete(kept[half:])); err != nil {
		return 0, fmt.Errorf("after a start beside a stranger: %w", err)
	}
	if err := os.Remove(name); err != nil {
		return 0, err
	}
	_ = f.Close() // its blocks are free then
	return r.untilRoom()
}

func (r *run) start() error {
	ready := filepath.Join(r.dir, "ready.json")
	_ = os.Remove(ready)
	log, err := os.OpenFile(filepath.Join(r.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	const anyPort = "127.0.0.1:0"
	r.server = exec.Command(r.bin, "serve", "--access-log", "off", "--blob-addr", anyPort, "--table-addr", anyPort, "--management-addr", anyPort,
		"--ready-file", ready, "--data", filepath.Join(r.dir, "mnt", "d"))
	r.server.Stdout, r.server.Stderr = log, log
	if err := r.server.Start(); err != nil {
		return err
	}
	var at struct{ Blob, Table string }
	for begun := time.Now(); ; time.Sleep(20 * time.Millisecond) { // a poll: the file appears when it serves
		text, err := os.ReadFile(ready)
		if err == nil && json.Unmarshal(text, &at) == nil {
			break
		}
		if time.Since(begun) > *patient {
			return errors.New("it does not serve")
		}
	}
	once := policy.ClientOptions{Retry: policy.RetryOptions{MaxRetries: -1}}
	shared, err := azblob.NewSharedKeyCredential(account.DevName, account.DevKey)
	if err != nil {
		return err
	}
	if r.blobs, err = azblob.NewClientWithSharedKeyCredential(at.Blob+"/"+account.DevName, shared, &azblob.ClientOptions{ClientOptions: once}); err != nil {
		return err
	}
	key, err := aztables.NewSharedKeyCredential(account.DevName, account.DevKey)
	if err != nil {
		return err
	}
	tables, err := aztables.NewServiceClientWithSharedKey(at.Table+"/"+account.DevName, key, &aztables.ClientOptions{ClientOptions: once})
	if err != nil {
		return err
	}
	r.rows = tables.NewClient("full")
	if r.next == 0 {
		_, err1 := r.blobs.CreateContainer(background, "full", nil)
		_, err2 := r.rows.CreateTable(background, nil)
		return errors.Join(err1, err2)
	}
	return nil
}

func (r *run) stop(sig syscall.Signal) {
	if r.server.ProcessState == nil {
		_ = r.server.Process.Signal(sig)
		_ = r.server.Wait() // how it ended was asked for
	}
}

func content(n, size int) []byte {
	b := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{byte(n), byte(n >> 8), byte(n >> 16)}).Read(b)
	return b
}

const entity = 1 << 10 // bytes of an entity's property

func (r *run) put(n int) error {
	name := fmt.Sprintf("n%07d", n)
	if r.size > 0 {
		_, err := r.blobs.ServiceClient().NewContainerClient("full").NewBlockBlobClient(name).Upload(background,
			nopCloser{bytes.NewReader(content(n, r.size))}, &blockblob.UploadOptions{})
		return err
	}
	text, err := json.Marshal(map[string]any{"PartitionKey": fmt.Sprint(n % 50), "RowKey": name, "V": content(n, entity), "V@odata.type": "Edm.Binary"})
	if err == nil {
		_, err = r.rows.AddEntity(background, text, nil)
	}
	return err
}

func (r *run) get(n int) error {
	name := fmt.Sprintf("n%07d", n)
	want, got := content(n, max(r.size, entity)), []byte(nil)
	if r.size > 0 {
		d, err := r.blobs.DownloadStream(background, "full", name, nil)
		if err != nil {
			return err
		}
		if got, err = io.ReadAll(d.Body); err != nil {
			return err
		}
	} else {
		e, err := r.rows.GetEntity(background, fmt.Sprint(n%50), name, nil)
		if err != nil {
			return err
		}
		var v struct{ V []byte }
		if err := json.Unmarshal(e.Value, &v); err != nil {
			return err
		}
		got = v.V
	}
	if !bytes.Equal(got, want) {
		return fmt.Errorf("%s: wrong bytes", name)
	}
	return nil
}

func (r *run) remove(n int) error {
	name := fmt.Sprintf("n%07d", n)
	if r.size > 0 {
		_, err := r.blobs.DeleteBlob(background, "full", name, nil)
		return err
	}
	_, err := r.rows.DeleteEntity(background, fmt.Sprint(n%50), name, nil)
	return err
}

type nopCloser struct{ io.ReadSeeker }

func (nopCloser) Close() error { return nil }

// full tells whether an error is the answer of a full disk.
func full(err error) bool {
	var e *azcore.ResponseError
	return errors.As(err, &e) && e.StatusCode == http.StatusServiceUnavailable && e.ErrorCode == "ServerBusy"
}

// each runs fn on so many workers until it ends them.
func (r *run) each(fn func() (more bool, err error)) error {
	var wg sync.WaitGroup
	errs := make([]error, r.writers)
	for w := range r.writers {
		wg.Go(func() {
			for more := true; more && errs[w] == nil; {
				more, errs[w] = fn()
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// fill writes until each writer is refused, and returns what was acknowledged, mixed.
func (r *run) fill() (kept []int, err error) {
	var mu sync.Mutex
	err = r.each(func() (bool, error) {
		mu.Lock()
		r.next++
		n := r.next
		mu.Unlock()
		switch err := r.put(n); {
		case full(err):
			return false, nil
		case err != nil:
			return false, fmt.Errorf("put: %w", err)
		}
		mu.Lock()
		defer mu.Unlock()
		kept = append(kept, n)
		return true, nil
	})
	rand.Shuffle(len(kept), func(i, j int) { kept[i], kept[j] = kept[j], kept[i] })
	return kept, err
}

// check reads what was acknowledged, 2000 at most.
func (r *run) check(kept []int) error {
	for _, n := range kept[:min(len(kept), 2000)] {
		if err := r.get(n); err != nil {
			return fmt.Errorf("get: %w", err)
		}
		r.read++
	}
	return nil
}

func (r *run) delete(kept []int) error {
	var mu sync.Mutex
	left := slices.Clone(kept)
	return r.each(func() (bool, error) {
		mu.Lock()
		if len(left) == 0 {
			mu.Unlock()
			return false, nil
		}
		n := left[0]
		left = left[1:]
		mu.Unlock()
		err := r.remove(n)
		for begun := time.Now(); r.beside && full(err) && time.Since(begun) < *patient; err = r.remove(n) {
			r.refused.Add(1)
			time.Sleep(100 * time.Millisecond) // as a client that was told to come again
		}
		if err != nil {
			return false, fmt.Errorf("delete: %w", err)
		}
		return true, nil
	})
}

// untilRoom returns how long it takes until writes are taken and a tenth of the disk is free that was not when it was full.
func (r *run) untilRoom() (time.Duration, error) {
	for begun := time.Now(); ; time.Sleep(100 * time.Millisecond) { // a poll: nothing tells a client that there is room
		r.next++
		err := r.put(r.next)
		if err == nil {
			took := time.Since(begun)
			if err := r.remove(r.next); err != nil || r.free() > uint64(*size)<<20/10+r.left {
				return took, err
			}
			if took > *patient {
				return 0, fmt.Errorf("writes are taken, but only %d MiB are free after %v", r.free()>>20, *patient)
			}
			continue
		}
		if !full(err) {
			return 0, err
		}
		if time.Since(begun) > *patient {
			return 0, fmt.Errorf("no room after %v: %w, %d MiB free", *patient, err, r.free()>>20)
		}
	}
}

func (r *run) free() uint64 {
	var s syscall.Statfs_t
	if syscall.Statfs(filepath.Join(r.dir, "mnt"), &s) != nil {
		return 0
	}
	return s.Bavail * uint64(s.Bsize)
}
