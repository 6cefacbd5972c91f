package blob

import (
	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/protocol"
	"github.com/blobd/blobd/internal/rest"
)

// getAccountInformation is Get Account Information, which is the same on every level.
func (s *Service) getAccountInformation(r *rest.Request) error {
	r.SetHeader("x-ms-sku-name", r.Account.SKU)
	r.SetHeader("x-ms-account-kind", r.Account.Kind)
	if r.Version >= protocol.V20190707 {
		r.SetHeader("x-ms-is-hns-enabled", "false")
	}
	r.Reply(200)
	return nil
}

// getServiceStats is Get Blob Service Stats, which only the secondary address has. What is written is there at once, so the
// time of the last replication is now.
func (s *Service) getServiceStats(r *rest.Request) error {
	if !r.Secondary {
		return protocol.InvalidQuery("comp", "stats", "")
	}
	b := append(make([]byte, 0, 256), protocol.XMLHead...)
	b = append(b, "<StorageServiceStats><GeoReplication><Status>live</Status><LastSyncTime>"...)
	b = protocol.AppendDate(b, record.StampOf(r.Now))
	r.ReplyXML(200, append(b, "</LastSyncTime></GeoReplication></StorageServiceStats>"...))
	return nil
}

// getServiceProperties is Get Blob Service Properties.
func (s *Service) getServiceProperties(r *rest.Request) error {
	r.ReplyXML(200, r.Account.Properties(account.BlobService).AppendXML(make([]byte, 0, 1024), account.BlobService, r.Version))
	return nil
}

// setServiceProperties is Set Blob Service Properties.
func (s *Service) setServiceProperties(r *rest.Request) error {
	doc, err := r.ReadBody(account.MaxPropertiesSize)
	if err != nil {
		return err
	}
	err = s.accounts.SetProperties(r.Context, r.AccountName, account.BlobService, func(p *account.Properties) (*account.Properties, error) {
		return p.Update(account.BlobService, doc, r.Version)
	})
	if err != nil {
		return err
	}
	r.Reply(202)
	return nil
}

// preflight answers a browser's OPTIONS. The row is for the documentation: the front answers before any row is looked for.
func (s *Service) preflight(*rest.Request) error { return protocol.ErrUnsupportedHttpVerb }
