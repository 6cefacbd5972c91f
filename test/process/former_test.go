package process

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	enc "encoding/binary"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/streaming"
	"github.com/Azure/azure-sdk-for-go/sdk/data/aztables"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/pageblob"
	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/engine/crc64"
)

// The stores of former builds, as they lay on the disks: closed well, or left by a SIGKILL. Each has a sealed extent and one that is
// not, small and large blobs of every type, a snapshot, tables, and an account of its own beside the development account; those of
// version 2 and later of the format also have versions and uncommitted blocks.
//
// A store is named after the version of its format, its disks and its end. To add those of the build in bin/blobd:
//
//	go -C test test ./process -run TestStoresOfFormerBuilds -former ../bin/blobd -former-name v2
var (
	formerMaker = flag.String("former", "", "make the stores of this binary, for TestStoresOfFormerBuilds to keep")
	formerName  = flag.String("former-name", "", "what to call its build")
)

const formerStores = "../../internal/engine/local/testdata/stores"

// formerAccount is an account of the former stores, with its key.
const (
	formerAccount = "former"
	formerKey     = "Zm9ybWVyZm9ybWVyZm9ybWVyZm9ybWVyZm9ybWVyZm9ybWVyZm9ybWVyZm9ybWVyZm9ybWVyZm9ybWVyZm9ybQ=="
)

func TestStoresOfFormerBuilds(t *testing.T) {
	if *formerMaker != "" {
		makeFormerStores(t)
	}
	paths, err := filepath.Glob(filepath.Join(formerStores, "*.tar.gz"))
	require.NoError(t, err)
	require.NotEmpty(t, paths)
	for _, path := range paths {
		name := strings.TrimSuffix(filepath.Base(path), ".tar.gz")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			unpackStore(t, path, dir)
			words := strings.Split(name, "-")
			disks, err := strconv.Atoi(words[1])
			require.NoError(t, err)
			kept := formerParts // whose history and uncommitted blocks are there
			if words[0] == "v1" {
				kept = nil
			}
			// The first start migrates it; the second reads what the first wrote, and seals what it left.
			for round := range 2 {
				p := launch(t, formerArgs(dir, disks)...)
				checkFormer(t, p, formerParts, kept)
				fillFormer(t, p, fmt.Sprintf("later%d", round))
				p.stop()
			}
			p := launch(t, formerArgs(dir, disks)...)
			later := []string{"later0", "later1"}
			checkFormer(t, p, slices.Concat(formerParts, later), slices.Concat(kept, later))
			p.stop()
		})
	}
}

// TestANewerStoreIsRefused: a store of a version that this build does not know is refused in words that say so, and not touched, be it a
// version of the store or of its log list.
func TestANewerStoreIsRefused(t *testing.T) {
	for _, file := range []string{"blobd.format", "meta/LOGS"} {
		dir := t.TempDir()
		unpackStore(t, filepath.Join(formerStores, "v2-3-closed.tar.gz"), dir)
		paths, err := filepath.Glob(filepath.Join(dir, "d*", file))
		require.NoError(t, err)
		require.NotEmpty(t, paths)
		for _, path := range paths {
			b, err := os.ReadFile(path)
			require.NoError(t, err)
			records, length := []int{0, 4096}, 512 // both copies
			if file != "blobd.format" {
				records, length = []int{0}, 64
			}
			for _, at := range records {
				r := b[at : at+length]
				enc.BigEndian.PutUint32(r[8:], 3)
				enc.BigEndian.PutUint64(r[length-8:], crc64.Sum(r[:length-8]))
			}
			require.NoError(t, os.WriteFile(path, b, 0o600))
		}
		seen := func() map[string]string {
			all := map[string]string{}
			require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
				if err != nil || d.IsDir() || d.Name() == "LOCK" || d.Name() == "reserve" {
					return err
				}
				b, err := os.ReadFile(path)
				all[path] = string(b)
				return err
			}))
			return all
		}
		before := seen()
		code, _, words := refuse(t, nil, formerArgs(dir, 3)...)
		require.Equal(t, exitFailed, code, words)
		require.Contains(t, words, "version 3")
		require.Contains(t, words, "made by a newer version of blobd")
		for path, b := range seen() {
			if filepath.Base(path) != "blobd.format" || file == "blobd.format" { // it has promised a number for its epoch by then
				require.True(t, b == before[path], "%s is another, refused for %s", path, file)
			}
		}
	}
}

func formerArgs(dir string, disks int) []string {
	args := []string{"--blob-addr", "127.0.0.1:0", "--table-addr", "127.0.0.1:0", "--management-addr", "127.0.0.1:0", "--access-log", "off",
		"--dev-account", "--account", formerAccount + ":" + formerKey, "--versioning"}
	for i := range disks {
		args = append(args, "--data", filepath.Join(dir, fmt.Sprintf("d%d", i)))
	}
	return args
}

// formerParts are the parts of a former store: each is filled in a run of its own, so that the extent of the first is sealed.
var formerParts = []string{"first", "second"}

func makeFormerStores(t *testing.T) {
	now := binary
	defer func() { binary = now }()
	maker, err := filepath.Abs(*formerMaker)
	require.NoError(t, err)
	binary = maker
	for _, disks := range []int{1, 2, 3, 6} {
		for _, end := range []string{"closed", "killed"} {
			if end == "closed" && disks%2 == 0 {
				continue // each store takes a hundred KiB of the repository
			}
			dir := t.TempDir()
			args := formerArgs(dir, disks)
			for i, part := range formerParts {
				p := launch(t, args...)
				fillFormer(t, p, part)
				if end == "killed" && i == len(formerParts)-1 {
					require.NoError(t, p.cmd.Process.Kill())
					<-p.exited
				} else {
					p.stop()
				}
			}
			packStore(t, dir, filepath.Join(formerStores, fmt.Sprintf("%s-%d-%s.tar.gz", *formerName, disks, end)))
		}
	}
}

// formerContent is content that compresses and is not the same at two places of a row.
func formerContent(name string, n int) []byte {
	var seed [32]byte
	copy(seed[:], name)
	block := make([]byte, 251)
	_, _ = rand.NewChaCha8(seed).Read(block)
	return bytes.Repeat(block, n/len(block)+1)[:n]
}

// formerBlobs are the sizes of the blobs of a part: inline, packed, striped over a row and over several.
var formerBlobs = map[string]int{"empty": 0, "small": 100, "inline": 16 << 10, "packed": 20_000, "block": 64 << 10, "row": 200_001, "rows": 600_000}

func (p *process) former(t *testing.T) (*azblob.Client, *aztables.ServiceClient) {
	cred, err := azblob.NewSharedKeyCredential(formerAccount, formerKey)
	require.NoError(t, err)
	c, err := azblob.NewClientWithSharedKeyCredential(p.Blob+"/"+formerAccount, cred, nil)
	require.NoError(t, err)
	tcred, err := aztables.NewSharedKeyCredential(formerAccount, formerKey)
	require.NoError(t, err)
	ts, err := aztables.NewServiceClientWithSharedKey(p.Table+"/"+formerAccount, tcred, nil)
	require.NoError(t, err)
	return c, ts
}

// fillFormer writes one part of a store.
func fillFormer(t *testing.T, p *process, part string) {
	ctx := context.Background()
	both, tables := p.former(t)
	for _, c := range []*azblob.Client{p.client(nil), both} {
		_, err := c.CreateContainer(ctx, part, nil)
		require.NoError(t, err)
	}
	cc := both.ServiceClient().NewContainerClient(part)
	body := func(b []byte) io.ReadSeekCloser { return streaming.NopCloser(bytes.NewReader(b)) }
	_, err := p.client(nil).UploadBuffer(ctx, part, "dev", formerContent(part+"dev", 100_000), nil)
	require.NoError(t, err)
	for _, name := range slices.Sorted(maps.Keys(formerBlobs)) {
		b := cc.NewBlockBlobClient(name)
		_, err := b.Upload(ctx, body(formerContent(part+name, formerBlobs[name])), &blockblob.UploadOptions{Metadata: map[string]*string{"part": &part}})
		require.NoError(t, err)
	}

	b := cc.NewBlockBlobClient("changed")
	_, err = b.Upload(ctx, body(formerContent(part+"before", 50_000)), nil)
	require.NoError(t, err)
	_, err = b.CreateSnapshot(ctx, nil)
	require.NoError(t, err)
	_, err = b.Upload(ctx, body(formerContent(part+"after", 30_000)), nil)
	require.NoError(t, err)

	b = cc.NewBlockBlobClient("blocks")
	var ids []string
	for i := range 7 {
		ids = append(ids, base64.StdEncoding.EncodeToString([]byte{'0' + byte(i)}))
		_, err = b.StageBlock(ctx, ids[i], body(formerContent(part+ids[i], 70_000+i)), nil)
		require.NoError(t, err)
	}
	_, err = b.CommitBlockList(ctx, ids[:6], nil)
	require.NoError(t, err)
	for _, b := range []*blockblob.Client{b, cc.NewBlockBlobClient("staged")} {
		_, err = b.StageBlock(ctx, ids[6], body(formerContent(part+"staged", 30_000)), nil)
		require.NoError(t, err)
	}

	a := cc.NewAppendBlobClient("append")
	_, err = a.Create(ctx, nil)
	require.NoError(t, err)
	for i := range 3 {
		_, err = a.AppendBlock(ctx, body(formerContent(fmt.Sprint(part, "append", i), 40_000)), nil)
		require.NoError(t, err)
	}

	g := cc.NewPageBlobClient("page")
	_, err = g.Create(ctx, 256<<10, nil)
	require.NoError(t, err)
	_, err = g.UploadPages(ctx, body(formerContent(part+"page", 64<<10)), blob.HTTPRange{Offset: 128 << 10, Count: 64 << 10}, nil)
	require.NoError(t, err)
	_, err = g.ClearPages(ctx, blob.HTTPRange{Offset: 130 << 10, Count: 1 << 10}, nil)
	require.NoError(t, err)

	_, err = tables.CreateTable(ctx, part, nil)
	require.NoError(t, err)
	tc := tables.NewClient(part)
	for i := range 12 {
		e, err := json.Marshal(map[string]any{"PartitionKey": part, "RowKey": fmt.Sprintf("%03d", i), "N": i, "Text": strings.Repeat(part+" ", 1+i*200)})
		require.NoError(t, err)
		_, err = tc.AddEntity(ctx, e, nil)
		require.NoError(t, err)
	}
}

// checkFormer reads every part of a store. Those in kept have versions and uncommitted blocks.
func checkFormer(t *testing.T, p *process, parts, kept []string) {
	ctx := context.Background()
	c, tables := p.former(t)
	get := func(b *blob.Client) []byte {
		t.Helper()
		r, err := b.DownloadStream(ctx, nil)
		require.NoError(t, err)
		got, err := io.ReadAll(r.Body)
		require.NoError(t, err)
		return got
	}
	for _, part := range parts {
		want := map[string][]byte{"changed": formerContent(part+"after", 30_000), "page": make([]byte, 256<<10)}
		for name, n := range formerBlobs {
			want[name] = formerContent(part+name, n)
		}
		for i := range 6 {
			id := base64.StdEncoding.EncodeToString([]byte{'0' + byte(i)})
			want["blocks"] = append(want["blocks"], formerContent(part+id, 70_000+i)...)
		}
		for i := range 3 {
			want["append"] = append(want["append"], formerContent(fmt.Sprint(part, "append", i), 40_000)...)
		}
		copy(want["page"][128<<10:], formerContent(part+"page", 64<<10))
		clear(want["page"][130<<10 : 131<<10])

		cc := c.ServiceClient().NewContainerClient(part)
		names := map[string]bool{}
		pages := cc.NewListBlobsFlatPager(&container.ListBlobsFlatOptions{Include: container.ListBlobsInclude{Snapshots: true, Versions: true, UncommittedBlobs: true, Metadata: true}})
		for pages.More() {
			page, err := pages.NextPage(ctx)
			require.NoError(t, err)
			for _, item := range page.Segment.BlobItems {
				b, content := cc.NewBlobClient(*item.Name), want[*item.Name]
				switch {
				case *item.Name == "staged":
					names["uncommitted"] = true
					continue
				case item.VersionID != nil && item.IsCurrentVersion == nil && item.Snapshot == nil:
					require.Equal(t, "changed", *item.Name)
					b, err = b.WithVersionID(*item.VersionID)
					require.NoError(t, err)
					content = formerContent(part+"before", 50_000)
					names["a version"] = true
				case item.Snapshot != nil:
					require.Equal(t, "changed", *item.Name)
					b, err = b.WithSnapshot(*item.Snapshot)
					require.NoError(t, err)
					content = formerContent(part+"before", 50_000)
					names["a snapshot"] = true
				default:
					names[*item.Name] = true
				}
				require.True(t, bytes.Equal(content, get(b)), "%s/%s", part, *item.Name)
				if _, ok := formerBlobs[*item.Name]; ok {
					require.Equal(t, part, *item.Metadata["part"])
				}
			}
		}
		past := []string{"a snapshot"}
		if slices.Contains(kept, part) {
			past = []string{"a snapshot", "a version", "uncommitted"}
			staged, err := cc.NewBlockBlobClient("staged").GetBlockList(ctx, blockblob.BlockListTypeAll, nil)
			require.NoError(t, err)
			require.Len(t, staged.UncommittedBlocks, 1)
			require.EqualValues(t, 30_000, *staged.UncommittedBlocks[0].Size)
		}
		require.ElementsMatch(t, slices.Concat(slices.Collect(maps.Keys(want)), past), slices.Collect(maps.Keys(names)), "%s", part)
		staged, err := cc.NewBlockBlobClient("blocks").GetBlockList(ctx, blockblob.BlockListTypeAll, nil)
		require.NoError(t, err)
		require.Len(t, staged.CommittedBlocks, 6)
		if slices.Contains(kept, part) {
			require.Len(t, staged.UncommittedBlocks, 1)
		}
		ranges := cc.NewPageBlobClient("page").NewGetPageRangesPager(&pageblob.GetPageRangesOptions{})
		pr, err := ranges.NextPage(ctx)
		require.NoError(t, err)
		require.Len(t, pr.PageRange, 2)
		dev := p.client(nil).ServiceClient().NewContainerClient(part).NewBlobClient("dev")
		require.True(t, bytes.Equal(formerContent(part+"dev", 100_000), get(dev)))

		rows := tables.NewClient(part).NewListEntitiesPager(nil)
		n := 0
		for rows.More() {
			page, err := rows.NextPage(ctx)
			require.NoError(t, err)
			for _, raw := range page.Entities {
				var e struct {
					RowKey, Text string
					N            int
				}
				require.NoError(t, json.Unmarshal(raw, &e))
				require.Equal(t, fmt.Sprintf("%03d", n), e.RowKey)
				require.Equal(t, n, e.N)
				require.Equal(t, strings.Repeat(part+" ", 1+n*200), e.Text)
				n++
			}
		}
		require.Equal(t, 12, n)
	}
	_, err := c.ServiceClient().GetProperties(ctx, nil)
	require.NoError(t, err)
}

// packStore packs what lies under dir. Locks, sockets and the room held free are left out.
func packStore(t *testing.T, dir, path string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	f, err := os.Create(path)
	require.NoError(t, err)
	z, err := gzip.NewWriterLevel(f, gzip.BestCompression)
	require.NoError(t, err)
	w := tar.NewWriter(z)
	err = filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || d.Name() == "LOCK" || d.Name() == "reserve" {
			return err
		}
		b, err := os.ReadFile(name)
		require.NoError(t, err)
		rel, err := filepath.Rel(dir, name)
		require.NoError(t, err)
		require.NoError(t, w.WriteHeader(&tar.Header{Name: filepath.ToSlash(rel), Mode: 0o600, Size: int64(len(b))}))
		_, err = w.Write(b)
		return err
	})
	require.NoError(t, err)
	require.NoError(t, w.Close())
	require.NoError(t, z.Close())
	require.NoError(t, f.Close())
}

func unpackStore(t *testing.T, path, dir string) {
	t.Helper()
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	z, err := gzip.NewReader(f)
	require.NoError(t, err)
	r := tar.NewReader(z)
	for {
		h, err := r.Next()
		if err == io.EOF {
			return
		}
		require.NoError(t, err)
		name := filepath.Join(dir, filepath.FromSlash(h.Name))
		require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o700))
		b, err := io.ReadAll(r)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(name, b, 0o600))
	}
}
