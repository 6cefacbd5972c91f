package process

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/streaming"
	"github.com/Azure/azure-sdk-for-go/sdk/data/aztables"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/pageblob"
	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/account"
)

// fillForBackup makes blobs of each way that content is kept, and returns what a client sees of them.
func fillForBackup(t *testing.T, c *azblob.Client) {
	ctx := context.Background()
	_, err := c.CreateContainer(ctx, "docs", nil)
	require.NoError(t, err)
	for name, size := range map[string]int{"inline": 100, "chunk": 100_000, "chunks": 9 << 20, "list": 34 << 20} {
		body := bytes.Repeat([]byte(name+" content "), size/len(name+" content ")+1)[:size]
		tags := map[string]string{"kind": name}
		_, err = c.UploadStream(ctx, "docs", name, bytes.NewReader(body), &azblob.UploadStreamOptions{BlockSize: 8 << 20, Tags: tags,
			Metadata: map[string]*string{"size": ref(name)}, HTTPHeaders: &blob.HTTPHeaders{BlobContentType: ref("text/x-" + name)}})
		require.NoError(t, err)
	}
	pages := c.ServiceClient().NewContainerClient("docs").NewPageBlobClient("pages")
	_, err = pages.Create(ctx, 1<<20, nil)
	require.NoError(t, err)
	_, err = pages.UploadPages(ctx, streaming.NopCloser(bytes.NewReader(bytes.Repeat([]byte("page"), 16<<10))), blob.HTTPRange{Offset: 512, Count: 64 << 10}, nil)
	require.NoError(t, err)
	_, err = pages.CreateSnapshot(ctx, nil)
	require.NoError(t, err)
	_, err = pages.UploadPages(ctx, streaming.NopCloser(bytes.NewReader(bytes.Repeat([]byte("PAGE"), 128))), blob.HTTPRange{Offset: 1024, Count: 512}, nil)
	require.NoError(t, err)
	staged := c.ServiceClient().NewContainerClient("docs").NewBlockBlobClient("staged")
	_, err = staged.StageBlock(ctx, "AAAA", streaming.NopCloser(bytes.NewReader(bytes.Repeat([]byte("staged"), 20_000))), nil)
	require.NoError(t, err)
	logs := c.ServiceClient().NewContainerClient("docs").NewAppendBlobClient("log")
	_, err = logs.Create(ctx, nil)
	require.NoError(t, err)
	_, err = logs.AppendBlock(ctx, streaming.NopCloser(strings.NewReader(strings.Repeat("line\n", 10_000))), nil)
	require.NoError(t, err)
}

func ref[T any](v T) *T { return &v }

// seen is what a client sees of a container, by blob and snapshot: properties and content.
func seen(t *testing.T, c *azblob.Client, name string) map[string]string {
	ctx, all := context.Background(), make(map[string]string)
	pager := c.NewListBlobsFlatPager(name, &azblob.ListBlobsFlatOptions{Include: azblob.ListBlobsInclude{Snapshots: true, Metadata: true, Tags: true, UncommittedBlobs: true, Versions: true}})
	for pager.More() {
		page, err := pager.NextPage(ctx)
		require.NoError(t, err)
		for _, item := range page.Segment.BlobItems {
			b := c.ServiceClient().NewContainerClient(name).NewBlobClient(*item.Name)
			key := *item.Name
			if item.Snapshot != nil {
				key += "@" + *item.Snapshot
				b, err = b.WithSnapshot(*item.Snapshot)
				require.NoError(t, err)
			}
			if *item.Name == "staged" {
				blocks, err := c.ServiceClient().NewContainerClient(name).NewBlockBlobClient("staged").GetBlockList(ctx, blockblob.BlockListTypeAll, nil)
				require.NoError(t, err)
				require.Len(t, blocks.UncommittedBlocks, 1)
				all[key] = *blocks.UncommittedBlocks[0].Name
				continue
			}
			p, err := b.GetProperties(ctx, nil)
			require.NoError(t, err)
			got, err := b.DownloadStream(ctx, nil)
			require.NoError(t, err)
			body, err := io.ReadAll(got.Body)
			require.NoError(t, err)
			tags := ""
			if item.BlobTags != nil {
				for _, tag := range item.BlobTags.BlobTagSet {
					tags += *tag.Key + "=" + *tag.Value
				}
			}
			if *p.BlobType == blob.BlobTypePageBlob {
				ranges := c.ServiceClient().NewContainerClient(name).NewPageBlobClient(*item.Name)
				if item.Snapshot != nil {
					ranges, err = ranges.WithSnapshot(*item.Snapshot)
					require.NoError(t, err)
				}
				pager := ranges.NewGetPageRangesPager(&pageblob.GetPageRangesOptions{})
				for pager.More() {
					page, err := pager.NextPage(ctx)
					require.NoError(t, err)
					for _, r := range page.PageRange {
						tags += string(body[*r.Start:][:4])
					}
				}
			}
			size := ""
			for k, v := range p.Metadata {
				size += k + "=" + *v
			}
			all[key] = strings.Join([]string{string(*p.ETag), p.LastModified.String(), *p.ContentType, size, tags, string(body)}, "\x00")
		}
	}
	return all
}

// TestBackupOfARunningServer: backed up while it serves, restored to more disks, it is the same to a client; a second backup copies what
// is new.
func TestBackupOfARunningServer(t *testing.T) {
	root, err := os.MkdirTemp("", "b") // the socket's path is short
	require.NoError(t, err)
	defer os.RemoveAll(root)
	data, backups := filepath.Join(root, "d"), filepath.Join(root, "backups")
	p := launch(t, anyPorts(data)...)
	c := p.client(nil)
	fillForBackup(t, c)
	want := seen(t, c, "docs")
	require.Len(t, want, 8)

	code, out, words := refuse(t, nil, "backup", backups, "--data", data)
	require.Zero(t, code, out+words)
	require.Contains(t, out, "backup 1:")
	code, out, words = refuse(t, nil, "backup", backups, "--data", data, "--keep", "1")
	require.Zero(t, code, out+words)
	require.Contains(t, out, "0 B are new")
	code, out, _ = refuse(t, nil, "backup", backups, "--list")
	require.Zero(t, code)
	require.Equal(t, 1, strings.Count(out, "complete"))
	code, out, words = refuse(t, nil, "restore", backups, "--verify")
	require.Zero(t, code, out+words)
	require.Contains(t, out, "is whole")
	code, _, words = refuse(t, nil, "restore", backups, "--data", data)
	require.Equal(t, exitFailed, code)
	require.Contains(t, words, "in use by another process")
	code, _, words = refuse(t, nil, "user", "list", "--operator-socket", filepath.Join(data, "operator.sock"))
	require.Equal(t, exitFailed, code)
	require.Contains(t, words, "--arm-addr")
	p.stop()
	code, _, words = refuse(t, nil, "restore", backups, "--data", data)
	require.Equal(t, exitFailed, code)
	require.Contains(t, words, "there is a store")
	code, _, words = refuse(t, nil, "backup", backups, "--data", data)
	require.Equal(t, exitFailed, code)
	require.Contains(t, words, "--offline")
	code, out, words = refuse(t, nil, "backup", backups, "--data", data, "--offline")
	require.Zero(t, code, out+words)

	disks := filepath.Join(root, "x") + "," + filepath.Join(root, "y") + "," + filepath.Join(root, "z")
	code, out, words = refuse(t, nil, "restore", backups, "--data", disks)
	require.Zero(t, code, out+words)
	require.Contains(t, out, "is restored to")
	code, out, words = refuse(t, nil, "check", "--offline", "--deep", "--data", disks)
	require.Zero(t, code, out+words)
	p = launch(t, anyPorts(disks)...)
	c = p.client(nil)
	require.Equal(t, want, seen(t, c, "docs"))
	_, err = c.ServiceClient().NewContainerClient("docs").NewBlockBlobClient("staged").CommitBlockList(context.Background(), []string{"AAAA"}, nil)
	require.NoError(t, err)
	p.stop()
}

// TestAnAccountIsMoved: exported to files and imported by another server, its blobs, snapshots and tables are the same to a client but for their
// times.
func TestAnAccountIsMoved(t *testing.T) {
	root, err := os.MkdirTemp("", "b") // the socket's path is short
	require.NoError(t, err)
	defer os.RemoveAll(root)
	files := filepath.Join(root, "files")
	current := func(c *azblob.Client) map[string]string {
		all := seen(t, c, "docs")
		for key, text := range all {
			if all[key] = strings.SplitN(text, "\x00", 3)[min(2, strings.Count(text, "\x00"))]; key == "staged" {
				delete(all, key)
			}
		}
		return all
	}
	p := launch(t, anyPorts(filepath.Join(root, "p"))...)
	fillForBackup(t, p.client(nil))
	want := current(p.client(nil))
	require.Len(t, want, 7)
	fillTable(t, p)
	entities := tableSeen(t, p)
	require.Len(t, entities, 2)
	code, out, words := refuse(t, nil, "export", "devstoreaccount1", files, "--data", filepath.Join(root, "p"))
	require.Zero(t, code, out+words)
	require.Contains(t, out, "1 containers, 6 blobs, 1 snapshots and versions")
	require.Contains(t, out, "1 tables of 2 entities")
	require.Contains(t, out, "left out: 1 names with uncommitted blocks only")
	code, _, words = refuse(t, nil, "export", "nobody", files+"2", "--data", filepath.Join(root, "p"))
	require.Equal(t, exitFailed, code)
	require.Contains(t, words, "there is no account nobody")
	p.stop()

	p = launch(t, anyPorts(filepath.Join(root, "q"))...)
	code, out, words = refuse(t, nil, "import", "devstoreaccount1", files, "--data", filepath.Join(root, "q"))
	require.Zero(t, code, out+words)
	require.Equal(t, want, current(p.client(nil)))
	require.Equal(t, entities, tableSeen(t, p))
	p.stop()
}

func (p *process) rows(t *testing.T) *aztables.Client {
	cred, err := aztables.NewSharedKeyCredential(account.DevName, account.DevKey)
	require.NoError(t, err)
	c, err := aztables.NewServiceClientWithSharedKey(p.Table+"/"+account.DevName, cred, nil)
	require.NoError(t, err)
	return c.NewClient("Rows")
}

func fillTable(t *testing.T, p *process) {
	c := p.rows(t)
	_, err := c.CreateTable(context.Background(), nil)
	require.NoError(t, err)
	for _, e := range []string{`{"PartitionKey":"p","RowKey":"1","N@odata.type":"Edm.Int64","N":"7"}`, `{"PartitionKey":"p","RowKey":"2","D@odata.type":"Edm.DateTime","D":"2020-02-03T04:05:06.7Z"}`} {
		_, err := c.AddEntity(context.Background(), []byte(e), nil)
		require.NoError(t, err)
	}
}

// tableSeen returns the entities as a client gets them, but for their times.
func tableSeen(t *testing.T, p *process) (all []map[string]any) {
	pages := p.rows(t).NewListEntitiesPager(nil)
	for pages.More() {
		page, err := pages.NextPage(context.Background())
		require.NoError(t, err)
		for _, raw := range page.Entities {
			var e map[string]any
			require.NoError(t, json.Unmarshal(raw, &e))
			delete(e, "Timestamp")
			delete(e, "odata.etag")
			all = append(all, e)
		}
	}
	return all
}
