// Package blob serves the Blob service: the operation table, one handler for each operation (decode, call, encode) and batches. The
// rules are those of blob/store, which knows no request.
package blob
