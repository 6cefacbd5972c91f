package main

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/blob/check"
)

func TestAReportInWords(t *testing.T) {
	var b bytes.Buffer
	require.NoError(t, printReport(&b, &check.Report{Containers: 1, Blobs: 2, History: 3, Chunks: 4, Bytes: 5 << 20, Deep: true, Read: 6 << 20, Found: 2,
		Findings: []check.Finding{{Kind: check.BadContent, Where: "media/docs/a", Detail: "is short", Loses: true}}}))
	require.Equal(t, `1 containers, 2 blobs, 3 snapshots, versions and soft-deleted blobs, 4 chunks of 5 MiB
6 MiB of content were read
content: media/docs/a: is short (content is lost, or may get lost)
and 1 more
`, b.String())
	b.Reset()
	require.NoError(t, printReport(&b, &check.Report{}))
	require.Contains(t, b.String(), "not read: --deep reads it\nnothing is wrong\n")
}
