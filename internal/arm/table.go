package arm

import (
	"errors"
	"net/http"
	"strings"

	"github.com/blobd/blobd/internal/auth"
	"github.com/blobd/blobd/internal/protocol"
)

func (c *call) tableID(name string) string {
	return accountID(c.account) + "/tableServices/default/tables/" + name
}

func (c *call) tableBody(name string, policies []auth.Policy) object {
	p := object{"tableName": name}
	if len(policies) > 0 {
		var ids []object
		for _, q := range policies {
			access := object{"permission": q.Permission}
			for field, value := range map[string]string{"startTime": q.Start, "expiryTime": q.Expiry} {
				if value != "" {
					access[field] = value
				}
			}
			ids = append(ids, object{"id": q.ID, "accessPolicy": access})
		}
		p["signedIdentifiers"] = ids
	}
	return object{"id": c.tableID(name), "name": name, "type": accountType + "/tableServices/tables", "properties": p}
}

func (c *call) listTables() error {
	all := []object{}
	next, err := c.Tables.Tables(c.ctx, c.account.Name, c.query.Get("$skipToken"), func(name string) bool {
		if len(all) == maxPage {
			return false
		}
		all = append(all, c.tableBody(strings.Clone(name), nil))
		return true
	})
	if err != nil {
		return err
	}
	answer := list(all)
	if next != "" {
		answer["nextLink"] = c.next(next)
	}
	return c.reply(http.StatusOK, answer)
}

// table reads the document of PUT and PATCH; policies is nil for what it does not name.
func (c *call) table() (policies []auth.Policy, err error) {
	if c.r.ContentLength == 0 {
		return nil, nil
	}
	var d struct {
		Properties struct {
			Name string `json:"tableName"`
			IDs  *[]struct {
				ID     string `json:"id"`
				Access struct {
					Start      string `json:"startTime"`
					Expiry     string `json:"expiryTime"`
					Permission string `json:"permission"`
				} `json:"accessPolicy"`
			} `json:"signedIdentifiers"`
		} `json:"properties"`
	}
	if err := c.body(&d); err != nil {
		return nil, err
	}
	if n := d.Properties.Name; n != "" && !strings.EqualFold(n, c.param["table"]) {
		return nil, invalidProperty("tableName", n)
	}
	if d.Properties.IDs == nil {
		return nil, nil
	}
	// The rules are those of Set Table ACL, so its document is what is read.
	b := []byte("<SignedIdentifiers>")
	for _, id := range *d.Properties.IDs {
		b = append(b, "<SignedIdentifier>"...)
		b = protocol.AppendElement(b, "Id", id.ID)
		b = append(b, "<AccessPolicy>"...)
		b = protocol.AppendElement(b, "Start", id.Access.Start)
		b = protocol.AppendElement(b, "Expiry", id.Access.Expiry)
		b = protocol.AppendElement(b, "Permission", id.Access.Permission)
		b = append(b, "</AccessPolicy></SignedIdentifier>"...)
	}
	policies, err = auth.ParsePolicies(append(b, "</SignedIdentifiers>"...), "raud")
	if policies == nil {
		policies = []auth.Policy{}
	}
	return policies, err
}

func (c *call) putTable() error {
	policies, err := c.table()
	if err != nil {
		return err
	}
	if err := c.Tables.CreateTable(c.ctx, c.account.Name, c.param["table"]); err != nil && !errors.Is(err, protocol.ErrTableAlreadyExists) {
		return err
	}
	return c.setPolicies(policies)
}

func (c *call) patchTable() error {
	policies, err := c.table()
	if err != nil {
		return err
	}
	return c.setPolicies(policies)
}

func (c *call) setPolicies(policies []auth.Policy) error {
	if policies != nil {
		if err := c.Tables.SetPolicies(c.ctx, c.account.Name, c.param["table"], policies); err != nil {
			return err
		}
	}
	return c.getTable()
}

func (c *call) getTable() error {
	policies, err := c.Tables.Policies(c.ctx, c.account.Name, c.param["table"])
	if err != nil {
		return err
	}
	return c.reply(http.StatusOK, c.tableBody(c.param["table"], policies))
}

func (c *call) deleteTable() error {
	err := c.Tables.DeleteTable(c.ctx, c.account.Name, c.param["table"])
	if err != nil && !errors.Is(err, protocol.ErrTableNotFound) {
		return err
	}
	return c.empty(http.StatusNoContent)
}
