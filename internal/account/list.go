package account

import (
	"fmt"
	"strings"
	"time"
)

// The account as it is made when nothing else is said.
const (
	DefaultKind = "StorageV2"
	DefaultSKU  = "Standard_RAGRS"
)

// New returns an account with Azure's defaults for a new one, but for the secure transfer switch: the operator decides on that.
func New(name string, created time.Time, keys ...Key) *Account {
	return &Account{Name: name, Keys: keys, Kind: DefaultKind, SKU: DefaultSKU, Created: created, Delegation: GenerateKey()}
}

// Development returns the emulator's account.
func Development(created time.Time) *Account {
	key, err := ParseKey(DevKey)
	if err != nil {
		panic(err) // a constant
	}
	return New(DevName, created, key)
}

// CheckName tells whether a name can be an account's: 3 to 24 lower-case letters and digits.
func CheckName(name string) error {
	if len(name) < 3 || len(name) > 24 {
		return fmt.Errorf("account name %q: 3 to 24 characters are needed", name)
	}
	for i := 0; i < len(name); i++ {
		if c := name[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return fmt.Errorf("account name %q: only lower-case letters and digits are allowed", name)
		}
	}
	return nil
}

// ParseList reads accounts in the emulator's form, name:key1[:key2];… (a semicolon at the end is allowed). Errors name the
// account and never a key.
func ParseList(list string, created time.Time) ([]*Account, error) {
	var accounts []*Account
	seen := map[string]bool{}
	for i, item := range strings.Split(list, ";") {
		item = strings.TrimSpace(item)
		if item == "" {
			continue
		}
		parts := strings.Split(item, ":")
		if len(parts) < 2 || len(parts) > 3 {
			return nil, fmt.Errorf("account %d in the list: name:key1 or name:key1:key2 is needed", i+1)
		}
		name := parts[0]
		if err := CheckName(name); err != nil {
			return nil, err
		}
		if seen[name] {
			return nil, fmt.Errorf("account %s is in the list twice", name)
		}
		seen[name] = true
		a := New(name, created)
		for j, text := range parts[1:] {
			key, err := ParseKey(text)
			if err != nil {
				return nil, fmt.Errorf("account %s: key%d: %w", name, j+1, err)
			}
			a.Keys = append(a.Keys, key)
		}
		accounts = append(accounts, a)
	}
	return accounts, nil
}

// WithKey returns a copy of the account in which key1 (index 0) or key2 (index 1) is replaced. What the old key has signed is
// no longer accepted once the copy is in the Registry.
func (a *Account) WithKey(index int, key Key) (*Account, error) {
	if index < 0 || index > 1 {
		return nil, fmt.Errorf("account %s: there is no key%d", a.Name, index+1)
	}
	c := *a
	c.Keys = make([]Key, max(len(a.Keys), index+1))
	copy(c.Keys, a.Keys)
	c.Keys[index] = key
	return &c, nil
}
