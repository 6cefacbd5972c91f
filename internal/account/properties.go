package account

import (
	"slices"
	"strconv"
	"strings"

	"github.com/blobd/blobd/internal/protocol"
)

// Properties are what Set Service Properties says of one service of an account. They are immutable: a change makes new ones.
// The JSON form is what the store keeps.
type Properties struct {
	Logging               *Logging         `json:"logging,omitempty"`
	HourMetrics           *Metrics         `json:"hourMetrics,omitempty"`
	MinuteMetrics         *Metrics         `json:"minuteMetrics,omitempty"`
	CORS                  []CORSRule       `json:"cors,omitempty"`
	DefaultServiceVersion protocol.Version `json:"defaultServiceVersion,omitempty"`
	DeleteRetention       DeleteRetention  `json:"deleteRetention,omitzero"`
	StaticWebsite         StaticWebsite    `json:"staticWebsite,omitzero"`
}

// CORSRule is a rule of the cross-origin resource sharing.
type CORSRule = protocol.CORSRule

// Logging is what of a service is to be logged. blobd stores it and has a log of its own.
type Logging struct {
	Version   string    `json:"version"`
	Delete    bool      `json:"delete"`
	Read      bool      `json:"read"`
	Write     bool      `json:"write"`
	Retention Retention `json:"retention"`
}

// Metrics is what of a service is to be counted. blobd stores it and has metrics of its own.
type Metrics struct {
	Version     string    `json:"version"`
	Enabled     bool      `json:"enabled"`
	IncludeAPIs bool      `json:"includeAPIs"`
	Retention   Retention `json:"retention"`
}

// Retention is for how many days something is kept.
type Retention struct {
	Enabled bool `json:"enabled"`
	Days    int  `json:"days,omitempty"`
}

// DeleteRetention is the soft delete of blobs.
type DeleteRetention struct {
	Retention
	AllowPermanentDelete bool `json:"allowPermanentDelete,omitempty"`
}

// StaticWebsite is the public website of $web.
type StaticWebsite struct {
	Enabled                  bool   `json:"enabled"`
	IndexDocument            string `json:"indexDocument,omitempty"`
	DefaultIndexDocumentPath string `json:"defaultIndexDocumentPath,omitempty"`
	ErrorDocument404Path     string `json:"errorDocument404Path,omitempty"`
}

// MaxPropertiesSize is the longest document that Set Service Properties takes, in bytes.
const MaxPropertiesSize = 64 << 10

// Update reads the document of Set Service Properties and returns the properties after it: sections that are not in it stay as
// they are, and nothing changes on an error.
func (p *Properties) Update(service byte, body []byte, v protocol.Version) (*Properties, error) {
	root, err := protocol.ParseXML(body)
	if err != nil {
		return nil, err
	}
	if root.Name != "StorageServiceProperties" {
		return nil, protocol.ErrInvalidXmlDocument
	}
	next := Properties{}
	if p != nil {
		next = *p
	}
	seen := map[string]bool{}
	for i := range root.Children {
		n := &root.Children[i]
		if seen[n.Name] || service == TableService && !slices.Contains(tableSections, n.Name) {
			return nil, protocol.ErrInvalidXmlDocument
		}
		seen[n.Name] = true
		d := document{node: n}
		switch n.Name {
		case "Logging":
			next.Logging = d.logging()
		case "HourMetrics", "Metrics": // the latter before 2013-08-15
			next.HourMetrics = d.metrics()
		case "MinuteMetrics":
			next.MinuteMetrics = d.metrics()
		case "Cors":
			next.CORS = d.cors()
		case "DefaultServiceVersion":
			next.DefaultServiceVersion = d.version()
		case "DeleteRetentionPolicy":
			next.DeleteRetention = d.deleteRetention()
		case "StaticWebsite":
			next.StaticWebsite = d.website()
		default:
			d.fail(protocol.ErrInvalidXmlDocument)
		}
		if d.err != nil {
			return nil, d.err
		}
	}
	if len(seen) == 0 {
		return nil, protocol.ErrInvalidXmlDocument
	}
	return &next, nil
}

var tableSections = []string{"Logging", "Metrics", "HourMetrics", "MinuteMetrics", "Cors"}

// document reads one section; the first error stays.
type document struct {
	node *protocol.XMLNode
	err  error
}

func (d *document) fail(err error) {
	if d.err == nil {
		d.err = err
	}
}

// children checks that the element has only the named ones, each at most once.
func (d *document) children(names ...string) {
	for i, c := range d.node.Children {
		if !slices.Contains(names, c.Name) {
			d.fail(protocol.ErrInvalidXmlDocument)
		}
		for _, other := range d.node.Children[:i] {
			if other.Name == c.Name {
				d.fail(protocol.ErrInvalidXmlDocument)
			}
		}
	}
}

func (d *document) child(name string) (*protocol.XMLNode, bool) {
	for i := range d.node.Children {
		if d.node.Children[i].Name == name {
			return &d.node.Children[i], true
		}
	}
	return nil, false
}

func (d *document) text(name string) (string, bool) {
	c, ok := d.child(name)
	if !ok {
		return "", false
	}
	if len(c.Children) > 0 {
		d.fail(protocol.ErrInvalidXmlDocument)
	}
	return strings.TrimSpace(c.Text), true
}

func (d *document) bool(name string, required bool) bool {
	text, ok := d.text(name)
	switch {
	case !ok && required:
		d.fail(protocol.ErrInvalidXmlDocument)
	case ok:
		value, isFlag := protocol.ParseFlag(text)
		if !isFlag {
			d.fail(protocol.InvalidXMLNode(name, text))
		}
		return value
	}
	return false
}

func (d *document) number(name string, low, high int) (int, bool) {
	text, ok := d.text(name)
	if !ok {
		return 0, false
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < low || n > high {
		d.fail(protocol.InvalidXMLNode(name, text))
	}
	return n, true
}

// analyticsVersion is the version of logging and metrics.
func (d *document) analyticsVersion() string {
	text, ok := d.text("Version")
	switch {
	case !ok || text == "":
		return "1.0"
	case text != "1.0" && text != "2.0":
		d.fail(protocol.InvalidXMLNode("Version", text))
	}
	return text
}

func (d *document) retention() (r Retention) {
	c, ok := d.child("RetentionPolicy")
	if !ok {
		return r
	}
	sub := document{node: c}
	sub.children("Enabled", "Days")
	r = sub.days()
	d.adopt(sub.err)
	return r
}

func (d *document) adopt(err error) {
	if err != nil {
		d.fail(err)
	}
}

// days reads Enabled and Days, which is needed when it is enabled.
func (d *document) days() (r Retention) {
	r.Enabled = d.bool("Enabled", true)
	days, ok := d.number("Days", -1<<31, 1<<31-1)
	if r.Enabled && !ok || ok && (days < 1 || days > 365) {
		d.fail(d.node.Invalid("Retention days must be greater than 0 and less than or equal to 365 days."))
	}
	if r.Enabled {
		r.Days = days
	}
	return r
}

func (d *document) logging() *Logging {
	d.children("Version", "Delete", "Read", "Write", "RetentionPolicy")
	return &Logging{
		Version: d.analyticsVersion(), Delete: d.bool("Delete", true), Read: d.bool("Read", true), Write: d.bool("Write", true),
		Retention: d.retention(),
	}
}

func (d *document) metrics() *Metrics {
	d.children("Version", "Enabled", "IncludeAPIs", "RetentionPolicy")
	return &Metrics{Version: d.analyticsVersion(), Enabled: d.bool("Enabled", true), IncludeAPIs: d.bool("IncludeAPIs", false), Retention: d.retention()}
}

func (d *document) version() protocol.Version {
	text := strings.TrimSpace(d.node.Text)
	if text == "2008-10-27" {
		return protocol.Version(text)
	}
	v, ok := protocol.ParseVersion(text, false)
	if !ok || len(d.node.Children) > 0 {
		d.fail(protocol.InvalidXMLNode("DefaultServiceVersion", text))
	}
	return v
}

func (d *document) deleteRetention() DeleteRetention {
	d.children("Enabled", "Days", "AllowPermanentDelete")
	return DeleteRetention{Retention: d.days(), AllowPermanentDelete: d.bool("AllowPermanentDelete", false)}
}

func (d *document) website() (w StaticWebsite) {
	d.children("Enabled", "IndexDocument", "DefaultIndexDocumentPath", "ErrorDocument404Path")
	if w.Enabled = d.bool("Enabled", true); !w.Enabled {
		return w
	}
	w.IndexDocument, _ = d.text("IndexDocument")
	w.DefaultIndexDocumentPath, _ = d.text("DefaultIndexDocumentPath")
	w.ErrorDocument404Path, _ = d.text("ErrorDocument404Path")
	if w.IndexDocument != "" && w.DefaultIndexDocumentPath != "" {
		d.fail(protocol.ErrInvalidXmlDocument)
	}
	for name, value := range map[string]string{"IndexDocument": w.IndexDocument, "DefaultIndexDocumentPath": w.DefaultIndexDocumentPath, "ErrorDocument404Path": w.ErrorDocument404Path} {
		if len(value) > 255 || name == "IndexDocument" && strings.Contains(value, "/") {
			d.fail(protocol.InvalidXMLNode(name, value))
		}
	}
	return w
}

func (d *document) cors() (rules []CORSRule) {
	if len(d.node.Children) > protocol.MaxCORSRules {
		d.fail(protocol.ErrInvalidXmlDocument)
		return nil
	}
	size := 0
	for i := range d.node.Children {
		rule := document{node: &d.node.Children[i]}
		if rule.node.Name != "CorsRule" {
			d.fail(protocol.ErrInvalidXmlDocument)
			return nil
		}
		rule.children("AllowedOrigins", "AllowedMethods", "AllowedHeaders", "ExposedHeaders", "MaxAgeInSeconds")
		c := CORSRule{
			AllowedOrigins: rule.list("AllowedOrigins", protocol.MaxCORSOrigins),
			AllowedMethods: rule.list("AllowedMethods", len(protocol.CORSMethods)),
			AllowedHeaders: rule.headers("AllowedHeaders"),
			ExposedHeaders: rule.headers("ExposedHeaders"),
		}
		var ok bool
		if c.MaxAge, ok = rule.number("MaxAgeInSeconds", 0, 1<<31-1); !ok || len(c.AllowedOrigins) == 0 || len(c.AllowedMethods) == 0 {
			rule.fail(protocol.ErrInvalidXmlDocument)
		}
		for _, m := range c.AllowedMethods {
			if !slices.Contains(protocol.CORSMethods, m) {
				rule.fail(protocol.InvalidXMLNode("AllowedMethods", m))
			}
		}
		for _, o := range c.AllowedOrigins {
			if !protocol.ValidOrigin(o) || o == "*" && len(c.AllowedOrigins) > 1 {
				rule.fail(protocol.InvalidXMLNode("AllowedOrigins", o))
			}
		}
		d.adopt(rule.err)
		rules = append(rules, c)
		size += len(appendCORSRule(nil, &c))
	}
	if size > protocol.MaxCORSSize {
		d.fail(protocol.ErrInvalidXmlDocument)
	}
	return rules
}

// list reads a comma-separated list, which must be there.
func (d *document) list(name string, limit int) []string {
	text, ok := d.text(name)
	if !ok {
		d.fail(protocol.ErrInvalidXmlDocument)
		return nil
	}
	var list []string
	for item := range strings.SplitSeq(text, ",") {
		if item = strings.TrimSpace(item); item == "" {
			continue
		}
		if len([]rune(item)) > protocol.MaxCORSLength || strings.ContainsFunc(item, func(r rune) bool { return r < 0x20 || r == 0x7f }) {
			d.fail(protocol.InvalidXMLNode(name, item))
		}
		list = append(list, item)
	}
	if len(list) > limit {
		d.fail(protocol.InvalidXMLNode(name, text))
	}
	return list
}

func (d *document) headers(name string) []string {
	list := d.list(name, protocol.MaxCORSLiteralHeaders+protocol.MaxCORSPrefixedHeaders)
	prefixed := 0
	for _, h := range list {
		if strings.HasSuffix(h, "*") {
			prefixed++
		}
		if strings.Contains(strings.TrimSuffix(h, "*"), "*") {
			d.fail(protocol.InvalidXMLNode(name, h))
		}
	}
	if prefixed > protocol.MaxCORSPrefixedHeaders || len(list)-prefixed > protocol.MaxCORSLiteralHeaders {
		d.fail(protocol.InvalidXMLNode(name, strings.Join(list, ",")))
	}
	return list
}
