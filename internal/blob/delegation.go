package blob

import (
	"context"
	"time"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/auth"
	"github.com/blobd/blobd/internal/protocol"
	"github.com/blobd/blobd/internal/rest"
)

const maxKeyInfoXML = 4 << 10 // bytes

// keyMaker is an authorizer that hands out user delegation keys (auth/gate).
type keyMaker interface {
	NewUserDelegationKey(ctx context.Context, acct *account.Account, service auth.Service, grant *auth.Grant, version protocol.Version, now time.Time, body []byte) ([]byte, error)
}

// getUserDelegationKey is Get User Delegation Key.
func (s *Service) getUserDelegationKey(r *rest.Request) error {
	maker, ok := s.authorizer.(keyMaker)
	if !ok {
		return protocol.ErrAuthorizationFailure
	}
	body, err := r.ReadBody(maxKeyInfoXML)
	if err != nil {
		return err
	}
	answer, err := maker.NewUserDelegationKey(r.Context, r.Account, r.Service, &r.Grant, r.Version, r.Now, body)
	if err != nil {
		return err
	}
	r.ReplyXML(200, answer)
	return nil
}
