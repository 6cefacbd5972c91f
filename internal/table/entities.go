package table

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/protocol"
	"github.com/blobd/blobd/internal/rest"
	"github.com/blobd/blobd/internal/table/entity"
	"github.com/blobd/blobd/internal/table/filter"
	"github.com/blobd/blobd/internal/table/odata"
)

// headers gives a header of a request, or of one within a batch, "" when absent. The name is given in lower case.
type headers func(lower string) string

// prepare turns an operation on an entity into a change: its keys, its encoded body and its condition. version and h are of
// the request, or the one within a batch, that carries it.
func (c *call) prepare(kind changeKind, target *odata.Target, version protocol.Version, h headers, body []byte) (ch change, err error) {
	ch = change{kind: kind, pk: target.PartitionKey, rk: target.RowKey}
	if kind != insert {
		if ch.match, err = condition(kind, version, h); err != nil {
			return ch, err
		}
	}
	if kind != remove {
		if err := c.decode(version, h("content-type"), body); err != nil {
			return ch, err
		}
		e := &c.decoder.Entity
		if kind == insert {
			if !e.HasPartitionKey || !e.HasRowKey {
				return ch, protocol.ErrPropertiesNeedValue
			}
			ch.pk, ch.rk = e.PartitionKey, e.RowKey
		}
	}
	if err := entity.CheckKey("PartitionKey", ch.pk); err != nil {
		return ch, err
	}
	if err := entity.CheckKey("RowKey", ch.rk); err != nil {
		return ch, err
	}
	if kind != remove {
		from := len(c.rows)
		c.rows = entity.AppendRow(c.rows, 0, c.decoder.Entity.Properties)
		ch.row = entity.Row(c.rows[from:len(c.rows):len(c.rows)])
		err = entity.CheckRow(ch.pk, ch.rk, ch.row)
	}
	return ch, err
}

// condition reads If-Match and If-None-Match (REST pages "Update Entity", "Insert Or Replace Entity").
func condition(kind changeKind, version protocol.Version, h headers) (engine.Stamp, error) {
	match, none := h("if-match"), h("if-none-match")
	if none != "" {
		if match != "" {
			return 0, protocol.ErrInvalidInput.Saying("Both If-Match and If-None-Match HTTP headers cannot be specified at the same time. Please specify either one of the headers or none of them.")
		}
		verb := map[changeKind]string{remove: "DELETE", merge: "MERGE", insertOrMerge: "MERGE"}[kind]
		if verb == "" {
			verb = "PUT"
		}
		return 0, protocol.ErrInvalidInput.Saying("If-None-Match HTTP header cannot be specified for " + verb + " operations.")
	}
	switch {
	case match == "" && (kind == remove || version < protocol.V20110818):
		return 0, protocol.MissingHeader("If-Match")
	case match == "" || match == "*":
		return 0, nil
	}
	if ticks, ok := entity.ParseETag(match); ok {
		return engine.Stamp(ticks), nil
	}
	if quoted := strings.TrimPrefix(strings.TrimPrefix(match, "W/"), "w/"); len(quoted) < 2 || quoted[0] != '"' || strings.IndexByte(quoted[1:], '"') != len(quoted)-2 {
		return 0, protocol.ErrInvalidInput.Saying("The etag value '" + match + "' specified in one of the request headers is not valid. Please make sure only one etag value is specified and is valid.")
	}
	return noMatch, nil
}

// insertEntity is POST /T.
func (c *call) insertEntity(r *rest.Request) error {
	prefer := applyPreference(r)
	err := c.negotiate(r)
	if err == nil {
		err = c.readBody(r)
	}
	if err != nil {
		return err
	}
	ch, err := c.prepare(insert, &c.target, r.Version, r.Header, c.in)
	if err != nil {
		return err
	}
	t, err := c.find(r.Context, r.AccountName, c.target.Table)
	if err != nil {
		return err
	}
	if prefer != "return-no-content" {
		if err := r.HoldAnswer(len(c.in)); err != nil {
			return err
		}
	}
	stamp, err := c.writeOne(r, t, ch)
	if err != nil {
		return err
	}
	c.setWriter(r, c.format, t.name)
	r.SetHeader("ETag", etag(uint64(stamp)))
	location := string(odata.AppendEntityPath(append(make([]byte, 0, 128), c.writer.Base...), t.name, ch.pk, ch.rk))
	r.SetHeader("Location", location)
	if prefer == "return-no-content" {
		r.SetHeader("DataServiceId", location)
		return noContent(r)
	}
	c.out, err = c.writer.AppendEntity(c.out, entity.AppendKeyString(nil, ch.pk), entity.AppendKeyString(nil, ch.rk), ch.row, true)
	if err != nil {
		return err
	}
	return c.reply(r, http.StatusCreated, c.format.ContentType())
}

func noContent(r *rest.Request) error {
	common(r)
	r.Reply(http.StatusNoContent)
	return nil
}

// applyPreference tells the answer, whatever becomes of the request, which preference it has.
func applyPreference(r *rest.Request) string {
	prefer := preference(r.Header("prefer"))
	if prefer != "" {
		r.SetHeader("Preference-Applied", prefer)
	}
	return prefer
}

// preference is the one of the two that a Prefer header names, if any.
func preference(h string) string {
	for h != "" {
		var one string
		one, h, _ = strings.Cut(h, ",")
		switch one = strings.ToLower(strings.TrimSpace(one)); one {
		case "return-no-content", "return-content":
			return one
		}
	}
	return ""
}

// writeOne does one change, if the caller's SAS opens its entity.
func (c *call) writeOne(r *rest.Request, t *table, ch change) (engine.Stamp, error) {
	if !opens(r.Grant.Keys, ch.pk, ch.rk) {
		return 0, protocol.ErrAuthorizationFailure
	}
	c.changes = append(c.changes[:0], ch)
	return c.write(r.Context, t, c.changes)
}

// handleChange handles the operations on an entity's URL that write.
func handleChange(kind changeKind) func(*call, *rest.Request) error {
	return func(c *call, r *rest.Request) error {
		if err := c.readBody(r); err != nil {
			return err
		}
		ch, err := c.prepare(kind, &c.target, r.Version, r.Header, c.in)
		if err != nil {
			return err
		}
		t, err := c.find(r.Context, r.AccountName, c.target.Table)
		if err != nil {
			return err
		}
		stamp, err := c.writeOne(r, t, ch)
		if err != nil {
			return err
		}
		if kind != remove {
			r.SetHeader("ETag", etag(uint64(stamp)))
		}
		return noContent(r)
	}
}

// getEntity is GET /T(PartitionKey='…',RowKey='…').
func (c *call) getEntity(r *rest.Request) error {
	if err := c.negotiate(r); err != nil {
		return err
	}
	t, err := c.find(r.Context, r.AccountName, c.target.Table)
	if err != nil {
		return err
	}
	stamp, err := c.appendOne(r, t, &c.target, c.format, r)
	if err != nil {
		return err
	}
	r.SetHeader("ETag", etag(uint64(stamp)))
	return c.reply(r, http.StatusOK, c.format.ContentType())
}

// appendOne appends an entity to the answer.
func (c *call) appendOne(r *rest.Request, t *table, target *odata.Target, f odata.Format, param params) (stamp engine.Stamp, err error) {
	if err := checkOptions(param); err != nil {
		return 0, err
	}
	if !opens(r.Grant.Keys, target.PartitionKey, target.RowKey) {
		return 0, protocol.ErrResourceNotFound
	}
	c.setWriter(r, f, t.name)
	c.setSelect(param)
	err = c.get(r.Context, t, target.PartitionKey, target.RowKey, func(pk, rk []byte, row entity.Row) (err error) {
		stamp = row.Stamp()
		c.out, err = c.writer.AppendEntity(c.out, pk, rk, row, true)
		return err
	})
	return stamp, err
}

// setSelect has the answer hold what $select names.
func (c *call) setSelect(param params) {
	selected, ok := param.QueryOK("$select")
	c.writer.SetSelect(parseSelect(selected))
	if ok && c.writer.Format.JSON() {
		c.writer.Context = odata.AppendSelectContext(c.writer.Context[:0], selected)
	}
}

// parseSelect reads $select; nil means everything. Names that no property can have select nothing.
func parseSelect(s string) []string {
	if s == "" {
		return nil
	}
	names := make([]string, 0, 8)
	for s != "" {
		var name string
		name, s, _ = strings.Cut(s, ",")
		if name = strings.TrimSpace(name); name == "*" {
			return nil
		}
		if entity.CheckName(name) == nil {
			names = append(names, name)
		}
	}
	return names
}

// unsupported are the query options of OData that the service has not.
var unsupported = [...]string{"$orderby", "$skip", "$skiptoken", "$expand", "$inlinecount"}

// checkOptions refuses what would make an answer of other rows, or in another order, than were asked for. Options that OData does not
// have mean nothing.
func checkOptions(param params) error {
	for _, name := range unsupported {
		if _, ok := param.QueryOK(name); ok {
			return protocol.ErrNotImplemented
		}
	}
	return nil
}

// parseTop reads $top.
func parseTop(s string) (int, error) {
	if s == "" {
		return maxPageRows, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > maxPageRows {
		return 0, protocol.ErrInvalidInput
	}
	return n, nil
}

// params gives a query parameter of a request, or of one within a batch. The name is given in lower case.
type params interface {
	QueryOK(lower string) (string, bool)
}

// queryEntities is GET /T.
func (c *call) queryEntities(r *rest.Request) error {
	if err := c.negotiate(r); err != nil {
		return err
	}
	t, err := c.find(r.Context, r.AccountName, c.target.Table)
	if err != nil {
		return err
	}
	next, err := c.appendPage(r, t, r, c.format)
	if err != nil {
		return err
	}
	if next != nil {
		pk, rk := splitPosition(next)
		r.SetHeader("x-ms-continuation-NextPartitionKey", token(pk))
		r.SetHeader("x-ms-continuation-NextRowKey", token(rk))
	}
	return c.reply(r, http.StatusOK, c.format.ContentType())
}

// appendPage appends a page of entities to the answer.
func (c *call) appendPage(r *rest.Request, t *table, param params, f odata.Format) (next []byte, err error) {
	if err := checkOptions(param); err != nil {
		return nil, err
	}
	get := func(name string) string { v, _ := param.QueryOK(name); return v }
	q := query{time: maxPageTime, bounds: bounds(r.Grant.Keys)}
	if q.filter, err = filter.Parse(get("$filter")); err != nil {
		return nil, err
	}
	if q.top, err = parseTop(get("$top")); err != nil {
		return nil, err
	}
	if pk, ok := param.QueryOK("nextpartitionkey"); ok && pk != "" {
		rk := ""
		if pk, err = parseToken("NextPartitionKey", pk); err != nil {
			return nil, err
		}
		if rk = get("nextrowkey"); rk != "" {
			if rk, err = parseToken("NextRowKey", rk); err != nil {
				return nil, err
			}
		}
		q.from = position(pk, rk)
	}
	c.setWriter(r, f, t.name)
	c.setSelect(param)
	c.out = c.writer.AppendFeedStart(c.out)
	p := entityPage{c: c, r: r, comma: f.JSON()}
	if next, err = c.run(r.Context, t, &q, &p); err != nil {
		return nil, err
	}
	c.out = c.writer.AppendFeedEnd(c.out)
	return next, nil
}

// entityPage writes a page into a call's answer.
type entityPage struct {
	c     *call
	r     *rest.Request // nil for none that is answered
	comma bool
	any   bool
}

func (p *entityPage) add(pk, rk []byte, row entity.Row) (bool, error) {
	if p.any && p.comma {
		p.c.out = append(p.c.out, ',')
	}
	p.any = true
	out, err := p.c.writer.AppendEntity(p.c.out, pk, rk, row, false)
	if err != nil {
		return false, err
	}
	p.c.out = out
	return len(out) >= maxPageBytes, p.r.HoldAnswer(len(out))
}
