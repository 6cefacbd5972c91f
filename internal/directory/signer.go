package directory

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Signer is a key that signs tokens. It is kept, so that tokens outlive a restart.
type Signer struct {
	ID      string
	Private *rsa.PrivateKey
	Created time.Time
}

type signerRecord struct {
	ID      string    `json:"id"`
	Created time.Time `json:"created"`
	// The key as PKCS #8, plain or sealed as account keys are, with "signer/" and the id as additional data.
	Key    string `json:"key,omitempty"`
	Sealed string `json:"sealed,omitempty"`
}

const (
	// signFor is how long a key signs. It is published for as long again, which no token outlives.
	signFor    = 30 * 24 * time.Hour
	signerBits = 2048
)

func (d *Directory) openSigner(r *signerRecord) (*Signer, error) {
	text, sealed := r.Key, r.Sealed != ""
	if sealed {
		text = r.Sealed
	}
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, fmt.Errorf("signing key %s: %w", r.ID, err)
	}
	if sealed {
		if raw, err = d.sealer.Unseal("signer/"+r.ID, raw); err != nil {
			return nil, fmt.Errorf("signing key %s: %w", r.ID, err)
		}
	}
	key, err := x509.ParsePKCS8PrivateKey(raw)
	if err != nil {
		return nil, fmt.Errorf("signing key %s: %w", r.ID, err)
	}
	private, ok := key.(*rsa.PrivateKey)
	if !ok {
		return nil, errors.New("a signing key is of another kind than RSA")
	}
	return &Signer{r.ID, private, r.Created}, nil
}

func (d *Directory) keepSigner(ctx context.Context, s *Signer) error {
	raw, err := x509.MarshalPKCS8PrivateKey(s.Private)
	if err != nil {
		return fmt.Errorf("encode a signing key: %w", err)
	}
	r := signerRecord{ID: s.ID, Created: s.Created}
	if sealed, ok := d.sealer.Seal("signer/"+s.ID, raw); ok {
		r.Sealed = base64.StdEncoding.EncodeToString(sealed)
	} else {
		r.Key = base64.StdEncoding.EncodeToString(raw)
	}
	return d.keep(ctx, keptSigner, s.ID, &r)
}

// reseal writes all signers anew under the first master key. Those that it cannot seal it leaves.
func (d *Directory) reseal(ctx context.Context) error {
	if _, ok := d.sealer.Seal("", nil); !ok {
		return nil
	}
	for _, s := range d.signers {
		if err := d.keepSigner(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

func (d *Directory) noteSigner(s *Signer) {
	d.signers = append(d.signers, s)
	slices.SortFunc(d.signers, func(a, b *Signer) int { return a.Created.Compare(b.Created) })
}

// Signer returns the key that signs now; a new one is made when the last is old.
func (d *Directory) Signer(ctx context.Context) (*Signer, error) {
	now := d.now().UTC()
	d.mu.RLock()
	n := len(d.signers)
	if n > 0 && now.Sub(d.signers[n-1].Created) < signFor {
		s := d.signers[n-1]
		d.mu.RUnlock()
		return s, nil
	}
	d.mu.RUnlock()
	d.mu.Lock()
	defer d.mu.Unlock()
	if n := len(d.signers); n > 0 && now.Sub(d.signers[n-1].Created) < signFor {
		return d.signers[n-1], nil
	}
	private, err := rsa.GenerateKey(rand.Reader, signerBits)
	if err != nil {
		return nil, fmt.Errorf("make a signing key: %w", err)
	}
	s := &Signer{ID: NewSecret()[:22], Private: private, Created: now}
	if err := d.keepSigner(ctx, s); err != nil {
		return nil, err
	}
	kept := d.signers[:0:0]
	for _, old := range d.signers {
		if now.Sub(old.Created) < 2*signFor {
			kept = append(kept, old)
		} else if err := d.drop(ctx, keptSigner, old.ID); err != nil {
			return nil, err
		}
	}
	d.signers = append(kept, s)
	return s, nil
}

// Signers returns the keys whose tokens are believed.
func (d *Directory) Signers() []*Signer {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return slices.Clone(d.signers)
}
