package account

// The services of an account, by their letter.
const (
	BlobService  = 'b'
	TableService = 't'
)
