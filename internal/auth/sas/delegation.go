package sas

import (
	"encoding/base64"

	"github.com/blobd/blobd/internal/account"
)

// DelegationKey names a user delegation key. The key itself is derived from the account's delegation secret and these fields,
// so none is stored: whoever alters a field has another key, and a new secret revokes all keys of the account.
type DelegationKey struct {
	ObjectID, TenantID string
	Start, Expiry      string // as in the answer: 2026-11-23T12:00:00Z
	Service            string // the letter of the service, b or t
	Version            string
	DelegatedTenantID  string
}

// Derive returns the key. Fields are preceded by their lengths, so no two different sets of them give one message.
func (k DelegationKey) Derive(acct *account.Account) account.Key {
	if !acct.Delegation.Valid() {
		return account.Key{}
	}
	message := make([]byte, 0, 256)
	for _, part := range [...]string{"blobd user delegation key 1", acct.Name, k.ObjectID, k.TenantID, k.Start, k.Expiry, k.Service, k.Version, k.DelegatedTenantID} {
		message = append(message, byte(len(part)>>8), byte(len(part)))
		message = append(message, part...)
	}
	return account.NewKey(acct.Delegation.Derive(message))
}

// Value is the key as the answer of Get User Delegation Key has it, in base64.
func (k DelegationKey) Value(acct *account.Account) string {
	return base64.StdEncoding.EncodeToString(k.Derive(acct).Raw())
}
