package e2e

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/blob"
)

// coverage is test/coverage.txt: for each operation and each error of the Blob service how each SDK shows it.
type coverage struct {
	what string
	sdks map[string]string // by "go", "js", "python": yes, or why not
	raw  string            // the test beside the service that speaks in bytes, or why there is none
}

func readCoverage(t *testing.T) (rows []coverage) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "test", "coverage.txt"))
	require.NoError(t, err)
	for _, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
		if strings.HasPrefix(line, "#") || line == "" {
			continue
		}
		f := strings.Fields(line)
		what := f[0]
		if _, err := strconv.Atoi(what); err == nil { // an error: its status, then its code
			what, f = what+" "+f[1], f[1:]
		}
		require.GreaterOrEqual(t, len(f), 5, "%q", line)
		rows = append(rows, coverage{what, map[string]string{"go": f[1], "js": f[2], "python": f[3]}, strings.Join(f[4:], " ")})
	}
	return rows
}

// shows tells what an answer is a proof of: an operation that was served, or an error. Operations that blobd has not are shown by
// being refused.
func shows(operation string, status int, code string) (what []string) {
	if code != "" {
		what = append(what, fmt.Sprint(status, " ", code))
	}
	if status < 400 && code == "" || refused[operation] {
		what = append(what, operation)
	}
	return what
}

var refused = func() map[string]bool {
	m := map[string]bool{}
	for i := range blob.Operations {
		if op := &blob.Operations[i]; op.Doc.Blobd == "refused" {
			m[op.Name] = true
		}
	}
	return m
}()

// asClaimed holds what was seen of an SDK to its column: all that it claims was seen, and what was seen is claimed.
func asClaimed(t *testing.T, sdk string, seen map[string]bool) {
	t.Helper()
	for _, row := range readCoverage(t) {
		if claimed := row.sdks[sdk] == "yes"; claimed != seen[row.what] {
			t.Errorf("test/coverage.txt says %q of %s by the %s SDK, but it was seen: %v", row.sdks[sdk], row.what, sdk, seen[row.what])
		}
	}
}

// documented are the operations of the table, and the errors of the Blob service as codes.go has them, each once, and the names that
// the errors have there.
func documented(t *testing.T) (all []string, variables map[string][]string) {
	t.Helper()
	variables = map[string][]string{}
	for i := range blob.Operations {
		all = append(all, blob.Operations[i].Name)
	}
	text, err := os.ReadFile(filepath.Join(root, "internal", "protocol", "codes.go"))
	require.NoError(t, err)
	ofBlobs, _, ok := strings.Cut(string(text), "// table\n")
	require.True(t, ok)
	for _, m := range regexp.MustCompile(`(Err\w+) += &Error{Status: (\d+), Code: "(\w+)"`).FindAllStringSubmatch(ofBlobs, -1) {
		what := m[2] + " " + m[3]
		all, variables[what] = append(all, what), append(variables[what], m[1])
	}
	slices.Sort(all)
	return slices.Compact(all), variables
}

// words are what may stand in the place of a yes.
var words = []string{"nocall", "checks", "state", "never"}

// TestEveryOperationAndErrorIsShown holds test/coverage.txt to the operation table and the error codes, and to the tests it names.
func TestEveryOperationAndErrorIsShown(t *testing.T) {
	rows, code := readCoverage(t), sources(t)
	var have []string
	all, variables := documented(t)
	for _, row := range rows {
		have = append(have, row.what)
		shown := false
		for sdk, word := range row.sdks {
			shown = shown || word == "yes"
			if word != "yes" && !slices.Contains(words, word) {
				t.Errorf("%s: %q is no word for the %s SDK", row.what, word, sdk)
			}
		}
		dir, name, named := strings.Cut(row.raw, " ")
		switch {
		case row.raw == "-":
			if !shown {
				t.Errorf("%s is shown by nothing", row.what)
			}
		case row.sdks["go"] == "never":
			for _, name := range variables[row.what] {
				if regexp.MustCompile(`\b` + name + `\b`).MatchString(code) {
					t.Errorf("%s is no never: %s is used", row.what, name)
				}
			}
		default:
			require.True(t, named, "%s: %q names no package and test", row.what, row.raw)
			text := testText(t, dir, name)
			word := row.what[strings.Index(row.what, " ")+1:]
			if word != row.what { // an error: the test must speak of it
				require.Contains(t, text, word, "%s: %s of %s does not speak of it", row.what, name, dir)
			}
		}
	}
	slices.Sort(have)
	require.Equal(t, all, have, "test/coverage.txt has not one line for each operation and error")
}

// sources is the code below internal, without its tests and the table of the errors.
func sources(t *testing.T) string {
	t.Helper()
	var code strings.Builder
	require.NoError(t, filepath.WalkDir(filepath.Join(root, "internal"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || filepath.Base(path) == "codes.go" {
			return err
		}
		text, err := os.ReadFile(path)
		code.Write(text)
		return err
	}))
	return code.String()
}

// testText is the source of a test function.
func testText(t *testing.T, dir, name string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, dir, "*_test.go"))
	require.NoError(t, err)
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		set := token.NewFileSet()
		parsed, err := parser.ParseFile(set, file, text, 0)
		require.NoError(t, err)
		for _, d := range parsed.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Name.Name == name {
				return string(text[set.Position(f.Pos()).Offset:set.Position(f.End()).Offset])
			}
		}
	}
	require.Fail(t, "no such test", "%s in %s", name, dir)
	return ""
}
