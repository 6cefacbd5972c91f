package account

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
)

// errSealed: a secret does not open under the account's secret.
var errSealed = errors.New("sealed under another secret of the account")

// sealing is the cipher for secrets that others have entrusted to the account. It is made of the delegation secret, which every account
// has: they lie as safely as that does, and are lost with it.
func (a *Account) sealing() (cipher.AEAD, error) {
	if !a.Delegation.Valid() {
		return nil, errSealed
	}
	block, err := aes.NewCipher(a.Delegation.Derive([]byte("blobd sealed secrets 1")))
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	return cipher.NewGCM(block)
}

// Seal encrypts a secret under a key of the account: a nonce of 12 bytes and the text under AES-256-GCM, bound to a context. An account
// without a secret keeps none: nil, which does not open again.
func (a *Account) Seal(context string, plain []byte) []byte {
	aead, err := a.sealing()
	if err != nil {
		return nil
	}
	nonce := make([]byte, aead.NonceSize())
	rand.Read(nonce)
	return aead.Seal(nonce, nonce, plain, []byte(context))
}

// Unseal opens what Seal has encrypted for the same context, as long as the account has the same secret.
func (a *Account) Unseal(context string, sealed []byte) ([]byte, error) {
	aead, err := a.sealing()
	if err != nil {
		return nil, err
	}
	if len(sealed) < aead.NonceSize() {
		return nil, errSealed
	}
	plain, err := aead.Open(nil, sealed[:aead.NonceSize()], sealed[aead.NonceSize():], []byte(context))
	if err != nil {
		return nil, errSealed
	}
	return plain, nil
}
