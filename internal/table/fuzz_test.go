package table_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzBatch sends bodies of batches: every answer is a refusal, or a whole batch of answers.
func FuzzBatch(f *testing.F) {
	f.Add(inBatch(true, "PUT /devstoreaccount1/people(PartitionKey='p',RowKey='a') HTTP/1.1\r\nContent-Type: application/json\r\n\r\n{\"A\":1}"))
	f.Add(inBatch(false, "GET /devstoreaccount1/people()?$filter=A%20eq%201 HTTP/1.1\r\n"))
	f.Add(inBatch(true, "POST http://127.0.0.1/devstoreaccount1/people HTTP/1.1\r\nX-HTTP-Method: NOPE\r\nContent-ID: 1\r\n\r\n{\"PartitionKey\":\"p\",\"RowKey\":\"\"}", "DELETE /people(PartitionKey='',RowKey='') HTTP/1.1\r\nIf-Match: *\r\n"))
	f.Add(strings.ReplaceAll(jsBatch, "batch_5", "b"))
	s := open(f)
	s.Do("POST", root+"Tables", `{"TableName":"people"}`, jsonBody)
	client := http.Client{Transport: &http.Transport{}}
	f.Cleanup(client.CloseIdleConnections)
	f.Fuzz(func(t *testing.T, body string) {
		req, err := http.NewRequest("POST", "http://"+s.Addr+root+"$batch", strings.NewReader(body))
		require.NoError(t, err)
		req.Header = http.Header{"Content-Type": {"multipart/mixed; boundary=b"}, "Accept": {"application/json"}, "X-Ms-Version": {"2019-02-02"}}
		if body == "" {
			req.Header.Set("Content-Length", "0")
		}
		resp, err := client.Do(req)
		require.NoError(t, err)
		defer resp.Body.Close()
		answer, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		switch {
		case resp.StatusCode >= 400 && resp.StatusCode < 500 || resp.StatusCode == 501:
		case resp.StatusCode == 202 && strings.HasPrefix(string(answer), "--batchresponse_") && strings.HasSuffix(string(answer), "--\r\n"):
		default:
			t.Fatalf("%q: %d %s", body, resp.StatusCode, answer)
		}
	})
}
