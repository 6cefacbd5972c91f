package blob

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/account"
)

// Set UPDATE=1 to write the golden answers anew.
var update = os.Getenv("UPDATE") != ""

// deletedVersion is that of a deleted container in a listing.
var deletedVersion = regexp.MustCompile(`<Version>([0-9A-F]{16})</Version>`)

// normalizers take out of an answer what is different each time.
var normalizers = []struct {
	re *regexp.Regexp
	to string
}{
	{regexp.MustCompile(`0x8D[0-9A-F]{13}`), "ETAG"},
	{regexp.MustCompile(`(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT`), "DATE"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{7}Z`), "STAMP"},
	{regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`), "GUID"},
	{deletedVersion, "<Version>VERSION</Version>"},
	{regexp.MustCompile(`127\.0\.0\.1:\d+`), "HOST"},
}

// The answers in testdata/*.wire are those of the service, header by header and byte by byte. A case is a request line, header lines, and after "| " the body; "@ 512 x" is a body of 512 times x. {snapshot}, {version},
// {copyid} and {deleted} stand for the last that an answer had. Every operation is in one of them.
func TestGoldenAnswers(t *testing.T) {
	var served sync.Map
	scripts, err := filepath.Glob("testdata/*.script")
	require.NoError(t, err)
	require.NotEmpty(t, scripts)
	for _, script := range scripts {
		name := strings.TrimSuffix(filepath.Base(script), ".script")
		t.Run(name, func(t *testing.T) {
			text, err := os.ReadFile(script)
			require.NoError(t, err)
			h := newHouse(t, func(h *house, a *account.Account) {
				h.served = &served
				a.Versioning = name == "history"
				if name == "history" {
					a.ContainerRetentionDays = 7
				}
			})
			var out strings.Builder
			last := map[string]string{}
			for _, c := range strings.Split(strings.TrimSpace(string(text)), "\n\n") {
				answer(h, c, last, &out)
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
	for i := range Operations { // the servers are down, all is told
		if _, ok := served.Load(Operations[i].Name); !ok && Operations[i].Methods != "OPTIONS" { // which the front answers
			t.Errorf("no golden answer of %s", Operations[i].Name)
		}
	}
}

// answer sends one case and writes request and answer down.
func answer(h *house, c string, last map[string]string, out *strings.Builder) {
	for name, value := range last {
		c = strings.ReplaceAll(c, name, value)
	}
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
			body += strings.ReplaceAll(text, `\r\n`, "\r\n")
		} else if strings.HasPrefix(line, "@ ") {
			var n int
			var text string
			_, _ = fmt.Sscanf(line, "@ %d %s", &n, &text)
			body = strings.Repeat(text, n)
		} else {
			header = append(header, line)
		}
	}
	r := h.Do(method, target, body, header...)
	for name, header := range map[string]string{"{snapshot}": "x-ms-snapshot", "{version}": "x-ms-version-id", "{copyid}": "x-ms-copy-id"} {
		if v := r.Header.Get(header); v != "" {
			last[name] = v
		}
	}
	if v := deletedVersion.FindSubmatch(r.Body); v != nil {
		last["{deleted}"] = string(v[1])
	}
	fmt.Fprintf(out, "> %s\n", normalized(lines[0]))
	head := strings.Split(strings.TrimSpace(r.Raw), "\r\n")
	slices.SortFunc(head[1:], func(a, b string) int { return strings.Compare(strings.ToLower(a), strings.ToLower(b)) })
	answer := strings.Join(head, "\n") + "\n"
	if len(r.Body) > 0 {
		answer += "\n" + strings.ReplaceAll(string(r.Body), "\ufeff", "<BOM>") + "\n"
	}
	fmt.Fprintf(out, "%s\n", normalized(answer))
}

func normalized(s string) string {
	for _, n := range normalizers {
		s = n.re.ReplaceAllString(s, n.to)
	}
	return s
}
