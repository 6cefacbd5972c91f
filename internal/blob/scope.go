package blob

import (
	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/protocol"
	"github.com/blobd/blobd/internal/rest"
)

// encryptionScope returns the scope of what a request makes in the container: the one that the request names or its signature
// prescribes (ses), which must not differ, else the container's own, which may refuse others. Scopes are kept by name and told;
// blobd encrypts by none (docs/security.md).
func encryptionScope(c *record.Container, r *rest.Request) (string, error) {
	named, signed := r.Header("x-ms-encryption-scope"), r.Grant.EncryptionScope
	switch {
	case named == "":
		named = signed
	case signed != "" && named != signed:
		return "", protocol.InvalidHeader("x-ms-encryption-scope", named)
	}
	switch {
	case named == "":
		return c.DefaultScope, nil
	case c.DenyScopeOverride && named != c.Scope():
		return "", protocol.ErrRequestForbiddenByContainerEncryptionPolicy
	case named == record.AccountScope:
		return "", nil
	}
	return clone(named), nil
}

// placeNew is place for what makes a blob, with the encryption scope that it gets.
func (s *Service) placeNew(r *rest.Request) (p *place, scope string, err error) {
	c, err := s.addressed(r)
	if err != nil {
		return nil, "", err
	}
	if scope, err = encryptionScope(c, r); err != nil {
		return nil, "", err
	}
	return newPlace(r.Account, c.Generation, r.Blob), scope, nil
}
