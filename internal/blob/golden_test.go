package blob

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Set UPDATE=1 to write the golden answers anew.
var update = os.Getenv("UPDATE") != ""

// normalizers take out of an answer what is different each time.
var normalizers = []struct {
	re *regexp.Regexp
	to string
}{
	{regexp.MustCompile(`0x8D[0-9A-F]{13}`), "ETAG"},
	{regexp.MustCompile(`(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT`), "DATE"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{7}Z`), "STAMP"},
	{regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`), "GUID"},
	{regexp.MustCompile(`127\.0\.0\.1:\d+`), "HOST"},
}

// The answers in testdata/*.wire are those of the service, header by header and byte by byte; see blob.md for where each rule comes
// from. A case is a request line, header lines, and after "| " the body.
func TestGoldenAnswers(t *testing.T) {
	scripts, err := filepath.Glob("testdata/*.script")
	require.NoError(t, err)
	require.NotEmpty(t, scripts)
	for _, script := range scripts {
		name := strings.TrimSuffix(filepath.Base(script), ".script")
		t.Run(name, func(t *testing.T) {
			text, err := os.ReadFile(script)
			require.NoError(t, err)
			h := newHouse(t)
			var out strings.Builder
			for _, c := range strings.Split(strings.TrimSpace(string(text)), "\n\n") {
				answer(h, c, &out)
			}
			golden := strings.TrimSuffix(script, ".script") + ".wire"
			if update {
				require.NoError(t, os.WriteFile(golden, []byte(out.String()), 0o644))
			}
			want, err := os.ReadFile(golden)
			require.NoError(t, err)
			require.Equal(t, string(want), out.String())
		})
	}
}

// answer sends one case and writes request and answer down.
func answer(h *house, c string, out *strings.Builder) {
	lines := strings.Split(c, "\n")
	for strings.HasPrefix(lines[0], "#") {
		fmt.Fprintln(out, lines[0])
		lines = lines[1:]
	}
	method, target, _ := strings.Cut(lines[0], " ")
	var header []string
	body := ""
	for _, line := range lines[1:] {
		if text, ok := strings.CutPrefix(line, "| "); ok {
			body += text
		} else {
			header = append(header, line)
		}
	}
	r := h.Do(method, target, body, header...)
	fmt.Fprintf(out, "> %s\n", lines[0])
	head := strings.Split(strings.TrimSpace(r.Raw), "\r\n")
	slices.SortFunc(head[1:], func(a, b string) int { return strings.Compare(strings.ToLower(a), strings.ToLower(b)) })
	answer := strings.Join(head, "\n") + "\n"
	if len(r.Body) > 0 {
		answer += "\n" + strings.ReplaceAll(string(r.Body), "\ufeff", "<BOM>") + "\n"
	}
	for _, n := range normalizers {
		answer = n.re.ReplaceAllString(answer, n.to)
	}
	fmt.Fprintf(out, "%s\n", answer)
}
