package table

import (
	"errors"
	"net/http"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/auth"
	"github.com/blobd/blobd/internal/protocol"
	"github.com/blobd/blobd/internal/rest"
	"github.com/blobd/blobd/internal/table/entity"
	"github.com/blobd/blobd/internal/table/filter"
)

// createTable is POST /Tables.
func (c *call) createTable(r *rest.Request) error {
	prefer := applyPreference(r)
	err := c.negotiate(r)
	if err == nil {
		err = c.readBody(r)
	}
	if err == nil {
		err = c.decode(r.Version, r.Header("content-type"), c.in)
	}
	if err != nil {
		return err
	}
	name := ""
	for _, p := range c.decoder.Entity.Properties {
		if p.Name == "TableName" && p.Value.Type == entity.String {
			name = p.Value.Data
		}
	}
	if name == "" {
		return protocol.ErrPropertiesNeedValue
	}
	if err := c.CreateTable(r.Context, r.AccountName, name); err != nil {
		return err
	}
	c.setWriter(r, c.format, name)
	location := c.writer.Base + "Tables('" + name + "')"
	r.SetHeader("Location", location)
	if prefer == "return-no-content" {
		r.SetHeader("DataServiceId", location)
		return noContent(r)
	}
	c.out = c.writer.AppendTable(c.out, name, true)
	return c.reply(r, http.StatusCreated, c.format.ContentType())
}

// notThere words a missing table as the operations on "/Tables('T')" do, by which clients tell a table that is gone.
func notThere(err error) error {
	if errors.Is(err, protocol.ErrTableNotFound) {
		return protocol.ErrResourceNotFound
	}
	return err
}

// deleteTable is DELETE /Tables('T').
func (c *call) deleteTable(r *rest.Request) error {
	if c.target.Table == "" {
		return protocol.ErrMethodNotAllowed
	}
	if err := checkName(c.target.Table); err != nil {
		return err
	}
	if err := c.DeleteTable(r.Context, r.AccountName, c.target.Table); err != nil {
		return notThere(err)
	}
	return noContent(r)
}

// queryTables is GET /Tables and GET /Tables('T').
func (c *call) queryTables(r *rest.Request) error {
	if err := c.negotiate(r); err != nil {
		return err
	}
	if err := checkOptions(r); err != nil {
		return err
	}
	if name := c.target.Table; name != "" {
		t, err := c.find(r.Context, r.AccountName, name)
		if err != nil {
			return notThere(err)
		}
		c.setWriter(r, c.format, t.name)
		c.out = c.writer.AppendTable(c.out, t.name, true)
		return c.reply(r, http.StatusOK, c.format.ContentType())
	}
	f, err := filter.ParseTables(r.Query("$filter"))
	if err != nil {
		return err
	}
	top, err := parseTop(r.Query("$top"))
	if err != nil {
		return err
	}
	from := r.Query("nexttablename")
	if from != "" {
		if from, err = parseToken("NextTableName", from); err != nil {
			return err
		}
	}
	c.setWriter(r, c.format, "")
	c.out = c.writer.AppendTablesStart(c.out)
	n := 0
	next, err := c.listTables(r.Context, r.AccountName, f, from, func(name string) bool {
		if n == top {
			return false
		}
		if n > 0 && c.format.JSON() {
			c.out = append(c.out, ',')
		}
		n++
		c.out = c.writer.AppendTable(c.out, name, false)
		return true
	})
	if err != nil {
		return err
	}
	c.out = c.writer.AppendFeedEnd(c.out)
	if next != "" {
		r.SetHeader("x-ms-continuation-NextTableName", token(next))
	}
	return c.reply(r, http.StatusOK, c.format.ContentType())
}

// policyLetters are the permissions that a table's policy can give.
const policyLetters = "raud"

// getACL is GET or HEAD /T?comp=acl.
func (c *call) getACL(r *rest.Request) error {
	policies, err := c.Policies(r.Context, r.AccountName, c.target.Table)
	if err != nil {
		return err
	}
	body := auth.AppendPolicies(nil, policies)
	if r.Method == http.MethodHead {
		r.ReplyHead(http.StatusOK, int64(len(body)))
		return nil
	}
	r.ReplyXML(http.StatusOK, body)
	return nil
}

// setACL is PUT /T?comp=acl.
func (c *call) setACL(r *rest.Request) error {
	if err := c.readBody(r); err != nil {
		return err
	}
	policies, err := auth.ParsePolicies(c.in, policyLetters)
	if err != nil {
		return err
	}
	if err := checkName(c.target.Table); err != nil {
		return err
	}
	if err := c.SetPolicies(r.Context, r.AccountName, c.target.Table, policies); err != nil {
		return err
	}
	r.Reply(http.StatusNoContent)
	return nil
}

// getProperties is GET /?restype=service&comp=properties.
func (c *call) getProperties(r *rest.Request) error {
	r.ReplyXML(http.StatusOK, r.Account.Table.AppendXML(nil, account.TableService, r.Version))
	return nil
}

// setProperties is PUT /?restype=service&comp=properties.
func (c *call) setProperties(r *rest.Request) error {
	if err := c.readBody(r); err != nil {
		return err
	}
	err := c.accounts.SetProperties(r.Context, r.AccountName, account.TableService, func(p *account.Properties) (*account.Properties, error) {
		return p.Update(account.TableService, c.in, r.Version)
	})
	if err != nil {
		return err
	}
	r.Reply(http.StatusAccepted)
	return nil
}

// getStats is GET /?restype=service&comp=stats, which only the secondary address answers. What is stored here has no second
// place, so it is as new as the first.
func (c *call) getStats(r *rest.Request) error {
	if !r.Secondary {
		return protocol.InvalidQuery("comp", "stats", "")
	}
	body := []byte(protocol.XMLHead + "<StorageServiceStats><GeoReplication><Status>live</Status><LastSyncTime>")
	body = r.Now.UTC().AppendFormat(body, http.TimeFormat)
	r.ReplyXML(http.StatusOK, append(body, "</LastSyncTime></GeoReplication></StorageServiceStats>"...))
	return nil
}
