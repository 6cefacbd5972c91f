// Package azurite reads the folder in which Azurite keeps its data into an account.
//
// What it knows of the folder is what lies there: three documents of JSON, each a list of collections with their records, and a folder of
// extents, in which the records find their bytes by extent, offset and length.
package azurite

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// The folder's files.
const (
	blobFile   = "__azurite_db_blob__.json"
	extentFile = "__azurite_db_blob_extent__.json"
	tableFile  = "__azurite_db_table__.json"
	extentDir  = "__blobstorage__"
)

// The collections of their records. A table's entities are in one of their own, named by its account and name.
const (
	containersCollection = "$CONTAINERS_COLLECTION$"
	blobsCollection      = "$BLOBS_COLLECTION$"
	blocksCollection     = "$BLOCKS_COLLECTION$"
	extentsCollection    = "$EXTENTS_COLLECTION$"
	tablesCollection     = "$TABLES_COLLECTION$"
)

// container is a record of containersCollection.
type container struct {
	Account    string            `json:"accountName"`
	Name       string            `json:"name"`
	Metadata   map[string]string `json:"metadata"`
	Policies   []policy          `json:"containerAcl"`
	Properties struct {
		Public string `json:"publicAccess"`
	} `json:"properties"`
}

// policy is a stored access policy, of a container or a table.
type policy struct {
	ID     string `json:"id"`
	Access struct {
		Start      string  `json:"start"`
		Expiry     string  `json:"expiry"`
		Permission *string `json:"permission"`
	} `json:"accessPolicy"`
}

// blob is a record of blobsCollection: a current blob, or a snapshot of one.
type blob struct {
	Account    string            `json:"accountName"`
	Container  string            `json:"containerName"`
	Name       string            `json:"name"`
	Snapshot   string            `json:"snapshot"` // its time; empty for the current blob
	Committed  bool              `json:"isCommitted"`
	Deleted    bool              `json:"deleted"`
	Metadata   map[string]string `json:"metadata"`
	Properties struct {
		Type         string   `json:"blobType"`
		Size         int64    `json:"contentLength"`
		ContentType  string   `json:"contentType"`
		Encoding     string   `json:"contentEncoding"`
		Language     string   `json:"contentLanguage"`
		Disposition  string   `json:"contentDisposition"`
		CacheControl string   `json:"cacheControl"`
		MD5          byteList `json:"contentMD5"`
		Tier         string   `json:"accessTier"`
		TierInferred bool     `json:"accessTierInferred"`
		Sequence     int64    `json:"blobSequenceNumber"`
		Sealed       bool     `json:"isSealed"`
	} `json:"properties"`
	Tags struct {
		Set []struct {
			Key   string `json:"key"`
			Value string `json:"value"`
		} `json:"blobTagSet"`
	} `json:"blobTags"`
	Content *piece  `json:"persistency"`            // of one that was put as a whole
	Blocks  []block `json:"committedBlocksInOrder"` // of one that was put together, or appended to
	Pages   []pages `json:"pageRangesInOrder"`
}

// piece is bytes in an extent.
type piece struct {
	Extent string `json:"id"`
	Offset int64  `json:"offset"`
	Count  int64  `json:"count"`
}

type block struct {
	Account   string `json:"accountName"`
	Container string `json:"containerName"`
	Blob      string `json:"blobName"`
	Name      string `json:"name"` // base64
	Size      int64  `json:"size"`
	Content   *piece `json:"persistency"`
}

// pages are written pages, from their first byte to their last.
type pages struct {
	Start   int64  `json:"start"`
	End     int64  `json:"end"`
	Content *piece `json:"persistency"`
}

// extent is a record of extentsCollection.
type extent struct {
	ID   string `json:"id"`
	Path string `json:"path"`
}

// tableRecord is a record of tablesCollection.
type tableRecord struct {
	Account  string   `json:"account"`
	Name     string   `json:"table"`
	Policies []policy `json:"tableAcl"`
}

// entity is a record of a table's collection.
type entity struct {
	PartitionKey string                     `json:"PartitionKey"`
	RowKey       string                     `json:"RowKey"`
	Properties   map[string]json.RawMessage `json:"properties"`
}

// byteList is bytes in one of the forms that JavaScript's buffers take in JSON.
type byteList []byte

// UnmarshalJSON implements json.Unmarshaler.
func (b *byteList) UnmarshalJSON(text []byte) error {
	var s string
	var buffer struct{ Data []byte }
	var byIndex map[string]byte
	switch {
	case string(text) == "null":
		return nil
	case json.Unmarshal(text, &s) == nil:
		got, err := base64.StdEncoding.DecodeString(s)
		*b = got
		return err
	case json.Unmarshal(text, &buffer) == nil && buffer.Data != nil:
		*b = buffer.Data
		return nil
	}
	if err := json.Unmarshal(text, &byIndex); err != nil {
		return err
	}
	for i := range len(byIndex) {
		c, ok := byIndex[strconv.Itoa(i)]
		if !ok {
			return fmt.Errorf("byte %d of %d is missing", i, len(byIndex))
		}
		*b = append(*b, c)
	}
	return nil
}

// folder is an Azurite folder.
type folder struct {
	root    *os.Root
	extents map[string]string // file of each
	sizes   map[string]int64  // of the files
}

func openFolder(dir string) (*folder, error) {
	entries, err := os.ReadDir(dir) // first, as it waits for nobody at a named pipe
	if err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return e.Name() == blobFile || e.Name() == tableFile }) {
		return nil, fmt.Errorf("%s is no folder of Azurite: there is neither %s nor %s (what it keeps in a database by AZURITE_DB cannot be read)", dir, blobFile, tableFile)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	f := &folder{root: root, extents: make(map[string]string), sizes: make(map[string]int64)}
	err = f.each(extentFile, func(collection string, text json.RawMessage) error {
		var e extent
		if collection != extentsCollection {
			return nil
		}
		if err := json.Unmarshal(text, &e); err != nil {
			return err
		}
		f.extents[e.ID] = extentDir + "/" + e.Path
		return nil
	})
	if err != nil {
		return nil, errors.Join(err, root.Close())
	}
	return f, nil
}

// open opens a regular file. Another kind, as a named pipe, could keep whoever opens it waiting for ever.
func (f *folder) open(name string) (*os.File, error) {
	file, err := f.root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(fmt.Errorf("%s is no regular file", name), err, file.Close())
	}
	return file, nil
}

// each calls fn with every record of a document, none if there is no such file.
func (f *folder) each(name string, fn func(collection string, text json.RawMessage) error) (err error) {
	file, err := f.open(name)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	d := json.NewDecoder(bufio.NewReaderSize(file, 1<<20))
	if err := members(d, func(key string) error {
		if key != "collections" {
			return skip(d)
		}
		return elements(d, func() error {
			collection := ""
			return members(d, func(key string) error {
				switch key {
				case "name":
					return d.Decode(&collection)
				case "data":
					return elements(d, func() error {
						var text json.RawMessage
						if err := d.Decode(&text); err != nil {
							return err
						}
						return fn(collection, text)
					})
				}
				return skip(d)
			})
		})
	}); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// members calls fn for each member of the object that comes, to read its value.
func members(d *json.Decoder, fn func(key string) error) error {
	if err := expect(d, '{'); err != nil {
		return err
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return err
		}
		if err := fn(key.(string)); err != nil { // what comes here is a key, or an error above
			return err
		}
	}
	return expect(d, '}')
}

// elements calls fn for each element of the list that comes, to read it.
func elements(d *json.Decoder, fn func() error) error {
	if err := expect(d, '['); err != nil {
		return err
	}
	for d.More() {
		if err := fn(); err != nil {
			return err
		}
	}
	return expect(d, ']')
}

func expect(d *json.Decoder, want json.Delim) error {
	got, err := d.Token()
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	if err == nil && got != want {
		err = fmt.Errorf("there is %v where %v is expected", got, want)
	}
	return err
}

func skip(d *json.Decoder) error {
	var text json.RawMessage
	return d.Decode(&text)
}

// zeroExtent is the id of an extent that is not there: its bytes are zero.
const zeroExtent = "*ZERO*"

// whole tells what is wrong with the place of some bytes.
func (f *folder) whole(p *piece) error {
	switch {
	case p.Count < 0 || p.Offset < 0:
		return fmt.Errorf("it has %d bytes from %d of an extent", p.Count, p.Offset)
	case p.Count == 0 || p.Extent == zeroExtent:
		return nil
	}
	name, ok := f.extents[p.Extent]
	if !ok {
		return fmt.Errorf("its bytes are in the extent %s, which is not known", p.Extent)
	}
	size, ok := f.sizes[name]
	if !ok {
		info, err := f.root.Stat(name)
		if err != nil {
			return err
		}
		size = info.Size()
		f.sizes[name] = size
	}
	if p.Offset+p.Count > size {
		return fmt.Errorf("its bytes are in the extent %s, which ends before them", strings.TrimPrefix(name, extentDir+"/"))
	}
	return nil
}

// span is a piece in its place within a blob.
type span struct {
	from int64
	piece
}

// reader reads a blob from its pieces, which are in order; between them it is zero.
type reader struct {
	f        *folder
	spans    []span
	at       int64
	name     string // of the file that is open
	file     *os.File
	progress func(int64)
}

// Seek implements io.Seeker, from the start.
func (r *reader) Seek(at int64, _ int) (int64, error) {
	r.at = at
	return at, nil
}

// Read implements io.Reader.
func (r *reader) Read(p []byte) (int, error) {
	i, _ := slices.BinarySearchFunc(r.spans, r.at, func(s span, at int64) int {
		if s.from+s.Count <= at {
			return -1
		}
		return 1
	})
	if i == len(r.spans) {
		return 0, io.ErrUnexpectedEOF
	}
	s := r.spans[i]
	if r.at < s.from {
		return 0, fmt.Errorf("there are no bytes for its offset %d", r.at)
	}
	p = p[:min(int64(len(p)), s.from+s.Count-r.at)]
	n := len(p)
	if s.Extent == zeroExtent {
		clear(p)
	} else {
		name := r.f.extents[s.Extent]
		if r.name != name {
			file, err := r.f.open(name)
			if err != nil {
				return 0, err
			}
			if err := r.Close(); err != nil {
				return 0, errors.Join(err, file.Close())
			}
			r.name, r.file = name, file
		}
		var err error
		n, err = r.file.ReadAt(p, s.Offset+r.at-s.from)
		if n == 0 && err != nil {
			if errors.Is(err, io.EOF) { // it was looked at before
				err = io.ErrUnexpectedEOF
			}
			return 0, err
		}
	}
	r.at += int64(n)
	r.progress(int64(n))
	return n, nil
}

// Close implements io.Closer.
func (r *reader) Close() error {
	if r.file == nil {
		return nil
	}
	file := r.file
	r.file, r.name = nil, ""
	return file.Close()
}
