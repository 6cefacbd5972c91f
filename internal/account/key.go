package account

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"sync"
)

// Key is an account key. Its bytes stand behind a pointer to a closed struct, so that no way of printing or encoding an Account
// shows them; Base64 is the one way out. The zero Key signs nothing.
type Key struct{ secret *secret }

type secret struct {
	raw  []byte
	macs sync.Pool // of *mac, whose key schedule is computed once
}

type mac struct {
	hash hash.Hash
	sum  [sha256.Size]byte
	text [base64Size]byte
}

// base64Size is the length of a signature in base64.
const base64Size = 44

var errKey = errors.New("a key is base64 of 1 to 1024 bytes")

// NewKey makes a key of raw bytes, which it keeps.
func NewKey(raw []byte) Key {
	s := &secret{raw: raw}
	s.macs.New = func() any { return &mac{hash: hmac.New(sha256.New, s.raw)} }
	return Key{s}
}

// ParseKey decodes a key from base64. The error does not repeat the text.
func ParseKey(text string) (Key, error) {
	raw, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil || len(raw) == 0 || len(raw) > 1024 {
		return Key{}, errKey
	}
	return NewKey(raw), nil
}

// GenerateKey makes a new random key of Azure's size, 64 bytes.
func GenerateKey() Key {
	raw := make([]byte, 64)
	rand.Read(raw)
	return NewKey(raw)
}

// Valid reports whether the key is not the zero Key.
func (k Key) Valid() bool { return k.secret != nil }

// Base64 reveals the key, for its owner's eyes only.
func (k Key) Base64() string {
	if !k.Valid() {
		return ""
	}
	return base64.StdEncoding.EncodeToString(k.secret.raw)
}

// Raw reveals the key's bytes, which must not be changed.
func (k Key) Raw() []byte {
	if !k.Valid() {
		return nil
	}
	return k.secret.raw
}

// Sign returns the HMAC-SHA256 of the message in base64.
func (k Key) Sign(message []byte) string {
	m := k.secret.macs.Get().(*mac)
	m.compute(message)
	text := string(m.text[:])
	k.secret.macs.Put(m)
	return text
}

// Verify reports whether signature is the base64 of the message's HMAC-SHA256, in a time that does not depend on where they
// differ. The texts are compared, not the bytes: base64 has several texts for some bytes and only one of them is right.
func (k Key) Verify(message []byte, signature string) bool {
	if !k.Valid() || len(signature) != base64Size {
		return false
	}
	m := k.secret.macs.Get().(*mac)
	m.compute(message)
	var sent [base64Size]byte
	copy(sent[:], signature)
	equal := subtle.ConstantTimeCompare(m.text[:], sent[:]) == 1
	k.secret.macs.Put(m)
	return equal
}

// Derive returns the HMAC-SHA256 of the message as bytes: a key made from this key.
func (k Key) Derive(message []byte) []byte {
	m := k.secret.macs.Get().(*mac)
	m.compute(message)
	sum := m.sum
	k.secret.macs.Put(m)
	return sum[:]
}

func (m *mac) compute(message []byte) {
	m.hash.Reset()
	m.hash.Write(message)
	m.hash.Sum(m.sum[:0])
	base64.StdEncoding.Encode(m.text[:], m.sum[:])
}

const redacted = "[key]"

// String, Format and MarshalText print that there is a key, not which.
func (k Key) String() string { return redacted }

// Format implements fmt.Formatter.
func (k Key) Format(f fmt.State, _ rune) { f.Write([]byte(redacted)) }

// MarshalText implements encoding.TextMarshaler, which encoding/json and zap use.
func (k Key) MarshalText() ([]byte, error) { return []byte(redacted), nil }
