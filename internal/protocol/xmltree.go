package protocol

import (
	"bytes"
	"encoding/xml"
	"io"
	"strconv"
	"strings"
)

// XMLNode is one element of a small document that a client sent. Attributes, comments and processing instructions mean nothing
// to the services and are dropped.
type XMLNode struct {
	Name     string
	Text     string // of this element alone
	Children []XMLNode

	line, column int // of the name in the end tag, counted from one: the place that errors name
}

// openNode is an element whose end has not come yet.
type openNode struct {
	*XMLNode
	text []byte // so far: it comes in pieces
}

// Limits on documents that are read as a tree. The deepest of the services has four levels.
const (
	maxXMLDepth = 16
	maxXMLNodes = 4096
)

// ParseXML reads a small document as a tree. Document type declarations are refused, so there are no entities but XML's own;
// depth and number of elements are bounded. The error is always InvalidXmlDocument.
func ParseXML(body []byte) (*XMLNode, error) {
	d := xml.NewDecoder(bytes.NewReader(bytes.TrimPrefix(body, []byte("\ufeff"))))
	d.CharsetReader = asciiReader
	d.Entity = nil
	var root XMLNode
	var path []*openNode
	nodes := 0
	for {
		token, err := d.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			line, column := d.InputPos()
			return nil, invalidXMLAt(line, column, "").Because(err)
		}
		switch t := token.(type) {
		case xml.Directive:
			return nil, ErrInvalidXmlDocument
		case xml.StartElement:
			if nodes++; nodes > maxXMLNodes || len(path) == maxXMLDepth || len(path) == 0 && nodes > 1 {
				return nil, ErrInvalidXmlDocument
			}
			n := &root
			if len(path) > 0 {
				parent := path[len(path)-1]
				parent.Children = append(parent.Children, XMLNode{})
				n = &parent.Children[len(parent.Children)-1]
			}
			n.Name = t.Name.Local
			path = append(path, &openNode{XMLNode: n})
		case xml.EndElement:
			n := path[len(path)-1]
			n.Text = string(n.text)
			n.line, n.column = d.InputPos()
			n.column -= len(n.Name) + len(">")
			path = path[:len(path)-1]
		case xml.CharData:
			if len(path) > 0 {
				n := path[len(path)-1]
				n.text = append(n.text, t...)
			} else if strings.TrimSpace(string(t)) != "" {
				return nil, ErrInvalidXmlDocument
			}
		}
	}
	if nodes == 0 {
		return nil, ErrInvalidXmlDocument
	}
	return &root, nil
}

// asciiReader takes documents that declare themselves as UTF-8 in other words; other encodings are refused.
func asciiReader(charset string, r io.Reader) (io.Reader, error) {
	if strings.EqualFold(charset, "utf-8") || strings.EqualFold(charset, "utf8") || strings.EqualFold(charset, "us-ascii") {
		return r, nil
	}
	return nil, ErrInvalidXmlDocument
}

// invalidXMLAt is InvalidXmlDocument for a place in the document, counted from one.
func invalidXMLAt(line, column int, reason string) *Error {
	e := *ErrInvalidXmlDocument
	e.Details = []Detail{{"LineNumber", strconv.Itoa(line)}, {"LinePosition", strconv.Itoa(column)}, {"Reason", reason}}
	return &e
}

// Invalid is InvalidXmlDocument for an element that says what cannot be.
func (n *XMLNode) Invalid(reason string) *Error { return invalidXMLAt(n.line, n.column, reason) }

// InvalidXMLNode is InvalidXmlNodeValue for one element, as Azure words it.
func InvalidXMLNode(name, value string) *Error {
	return ErrInvalidXmlNodeValue.With("XmlNodeName", name).With("XmlNodeValue", value)
}
