// Command compat prints docs/compatibility.md, which is made of the operation tables: what is in the page is what is routed.
// A test fails when the page is stale.
package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/blobd/blobd/internal/blob"
	"github.com/blobd/blobd/internal/protocol"
	"github.com/blobd/blobd/internal/rest"
	"github.com/blobd/blobd/internal/table"
)

//go:generate sh -c "go run . > ../../docs/compatibility.md"

func main() {
	if _, err := os.Stdout.WriteString(page()); err != nil {
		fmt.Fprintln(os.Stderr, "compat:", err)
		os.Exit(1)
	}
}

const introduction = `# Compatibility

This page is generated from the operation tables of the services (` + "`make docs`" + `): every row is an operation that blobd routes,
authorizes and measures. *Since* is the first ` + "`x-ms-version`" + ` that has the operation; a request with an older one does not find it.
"yes" means that the operation does what Azure's does; what differs stands in a few words. Azurite is the emulator at version 3.37,
Azure Stack Hub its storage service at version 2019-07-07.

blobd knows every published version up to %s; a newer one is served as that (` + "`--strict-versions`" + ` refuses it).
`

// page is the whole page.
func page() string {
	var b strings.Builder
	fmt.Fprintf(&b, introduction, protocol.Newest)
	section(&b, "Blob service", blob.Operations)
	section(&b, "Table service", table.Operations)
	b.WriteString("\n## Features\n")
	featureTables(&b)
	return b.String()
}

// section writes one service's table.
func section[S any](b *strings.Builder, title string, table rest.Table[S]) {
	fmt.Fprintf(b, "\n## %s\n\n| Operation | Request | Since | blobd | Azurite | Azure Stack Hub | Azure |\n| --- | --- | --- | --- | --- | --- | --- |\n", title)
	for i := range table {
		op := &table[i]
		since := op.Since
		if since == "" {
			since = protocol.V20090919
		}
		fmt.Fprintf(b, "| %s | %s | %s | %s | %s | %s | %s |\n", op.Name, request(op), since,
			cell(op.Doc.Blobd), cell(op.Doc.Azurite), cell(op.Doc.Stack), cell(op.Doc.Azure))
	}
}

// paths are the resources of the levels, without the account.
var paths = map[rest.Level]string{
	rest.Account: "/", rest.Container: "/container", rest.Blob: "/container/blob",
	rest.TableSet: "/Tables", rest.Entities: "/table()", rest.TableEntity: "/table(PartitionKey='…',RowKey='…')", rest.Batch: "/$batch",
}

// request is the form of a request: verb, resource and what selects the operation.
func request[S any](op *rest.Operation[S]) string {
	form := strings.ReplaceAll(op.Methods, " ", ", ") + " " + paths[op.Level]
	var query, headers []string
	for _, q := range [][2]string{{"restype", op.Restype}, {"comp", op.Comp}} {
		if q[1] != "" {
			query = append(query, q[0]+"="+q[1])
		}
	}
	for _, s := range op.When {
		switch {
		case s.Query && s.Value != "":
			query = append(query, s.Name+"="+s.Value)
		case s.Query:
			query = append(query, s.Name+"=…")
		case s.Value != "":
			headers = append(headers, s.Name+": "+s.Value)
		default:
			headers = append(headers, s.Name)
		}
	}
	if len(query) > 0 {
		form += "?" + strings.Join(query, "&")
	}
	form = "`" + form + "`"
	for _, h := range headers {
		form += ", `" + h + "`"
	}
	return form
}

func cell(s string) string {
	if s == "" {
		return "–"
	}
	return strings.ReplaceAll(s, "|", "\\|")
}
