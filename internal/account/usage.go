package account

// The services whose use of an account is counted, by their letter.
const (
	BlobService  = 'b'
	TableService = 't'
)

// UsedKey names the engine's counter of the bytes that an account holds in one service: content, not metadata, with
// versions, soft-deleted blobs and uncommitted blocks; snapshots, which share the content of their blob, count for nothing.
func UsedKey(account string, service byte) []byte {
	return append(append(make([]byte, 0, 6+len(account)), "used/"...), append([]byte{service, '/'}, account...)...)
}
