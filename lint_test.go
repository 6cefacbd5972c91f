// Package lint holds the house to its plan: what may import what, what packages may be called, and that the tests which the
// documents name are there.
package lint

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "github.com/blobd/blobd/"

// floors lists the packages from the ground up; a package stands on the floor of its longest listed parent. Imports go down,
// or stay among packages of one line.
var floors = [][]string{
	{"internal/invariants", "internal/replay", "internal/speedup", "internal/tally", "internal/view"},
	{"internal/md5lanes"},
	{"internal/engine"},
	{"internal/sweeper", "internal/backup"},
	{"internal/protocol", "internal/usage"},
	{"internal/account"},
	{"internal/directory", "internal/usage/usagetest"},
	{"internal/auth"},
	{"internal/blob/lease", "internal/blob/tagquery"},
	{"internal/blob/record"},
	{"internal/blob/source", "internal/blob/check"},
	{"internal/blob/store"},
	{"internal/blob/files"},
	{"internal/rest"},
	{"internal/blob", "internal/table", "internal/arm"},
	{"internal/keyspace"},
	{"internal/azurite"},
	{"internal/server", "internal/devissuer"},
	{"internal/compat"},
	{"cmd", "bench", "test"},
}

// fences bound where a module may be imported, tests aside.
var fences = map[string][]string{
	"github.com/valyala/fasthttp":   {"internal/rest", "internal/server", "bench"},
	"github.com/cockroachdb/pebble": {"internal/engine/local", "internal/engine/enginetest", "internal/backup", "bench"}, // backup: its file system
	"github.com/apache/arrow-go":    {"internal/blob"},
	"github.com/alecthomas/kong":    {"cmd", "bench"},
	"github.com/stretchr/testify":   {"internal/engine/enginetest", "internal/rest/resttest", "internal/auth/authtest", "bench", "test"},
}

// shapeless are names that say nothing of what a package provides.
var shapeless = map[string]bool{"util": true, "utils": true, "common": true, "helper": true, "helpers": true, "types": true, "misc": true, "shared": true, "lib": true}

// place finds the floor of a package and which entry of the floor it belongs to.
func place(pkg string) (floor int, house string) {
	floor = -1
	for i, entries := range floors {
		for _, e := range entries {
			if within(pkg, e) && len(e) > len(house) {
				floor, house = i, e
			}
		}
	}
	return floor, house
}

func within(pkg, parent string) bool { return pkg == parent || strings.HasPrefix(pkg, parent+"/") }

func withinAny(pkg string, parents []string) bool {
	for _, p := range parents {
		if within(pkg, p) {
			return true
		}
	}
	return false
}

// sources visits every Go file of the repository.
func sources(t *testing.T, visit func(pkg, file string, f *ast.File)) {
	set := token.NewFileSet()
	err := filepath.WalkDir(".", func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if n := d.Name(); n != "." && (strings.HasPrefix(n, ".") || n == "testdata" || n == "node_modules" || n == "bin") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(file, ".go") {
			return nil
		}
		f, err := parser.ParseFile(set, file, nil, parser.ImportsOnly|parser.ParseComments)
		if err != nil {
			return err
		}
		visit(path.Dir(filepath.ToSlash(file)), file, f)
		return nil
	})
	require.NoError(t, err)
}

func TestImportsGoDown(t *testing.T) {
	sources(t, func(pkg, file string, f *ast.File) {
		if strings.HasSuffix(file, "_test.go") || pkg == "internal/deps" {
			return
		}
		floor, house := place(pkg)
		if floor < 0 {
			t.Errorf("%s: package %s has no floor: give it one in lint_test.go", file, pkg)
			return
		}
		for _, spec := range f.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			require.NoError(t, err)
			for fenced, allowed := range fences {
				if within(imported, fenced) && !withinAny(pkg, allowed) {
					t.Errorf("%s imports %s, which belongs in %s only", file, imported, strings.Join(allowed, ", "))
				}
			}
			ours, ok := strings.CutPrefix(imported, module)
			if !ok {
				continue
			}
			to, toHouse := place(ours)
			if to > floor || to == floor && toHouse != house {
				t.Errorf("%s (%s) imports %s (%s): imports go down only", file, house, ours, toHouse)
			}
		}
	})
}

// The handlers of the Blob service decode, call and encode; what they call knows no request (it stands below rest, see floors) and is
// the only one to open the engine.
func TestHandlersOpenNoEngine(t *testing.T) {
	sources(t, func(pkg, file string, f *ast.File) {
		if pkg != "internal/blob" || strings.HasSuffix(file, "_test.go") {
			return
		}
		for _, spec := range f.Imports {
			if imported, _ := strconv.Unquote(spec.Path.Value); within(imported, module+"internal/engine") {
				t.Errorf("%s imports %s: only internal/blob/store opens the engine", file, imported)
			}
		}
	})
}

// rooms are the parts of the local engine, each with the other parts that it may import. Nobody but their tests imports local itself.
var rooms = map[string][]string{
	"crashtest":   {"."},
	"diskio":      {},
	"diskset":     {"diskio", "diskspace", "extent", "wal"},
	"diskspace":   {"diskio"},
	"extent":      {"diskio"},
	"goldentest":  {},
	"groupcommit": {},
	"guard":       {"diskio", "tablefile"},
	"logfs":       {},
	"mirror":      {"diskio"},
	"overlay":     {},
	"privatefs":   {"diskio"},
	"rowcache":    {},
	"scrub":       {},
	"tablefile":   {},
	"wal":         {"diskio"},
}

func TestTheEngineHasWalls(t *testing.T) {
	const local = "internal/engine/local"
	sources(t, func(pkg, file string, f *ast.File) {
		room, ok := strings.CutPrefix(pkg, local+"/")
		if !ok || strings.HasSuffix(file, "_test.go") {
			return
		}
		may, ok := rooms[room]
		if !ok {
			t.Errorf("%s: say in lint_test.go which parts of the engine %s may import", file, pkg)
		}
		for _, spec := range f.Imports {
			imported, _ := strconv.Unquote(spec.Path.Value)
			if !within(imported, module+local) {
				continue
			}
			if to := path.Clean("./" + strings.TrimPrefix(imported, module+local)); !slices.Contains(may, to) {
				t.Errorf("%s imports %s: not from %s", file, imported, room)
			}
		}
	})
}

func TestTheContractKnowsNoImplementation(t *testing.T) {
	sources(t, func(pkg, file string, f *ast.File) {
		if pkg != "internal/engine" || strings.HasSuffix(file, "_test.go") {
			return
		}
		for _, spec := range f.Imports {
			if strings.Contains(spec.Path.Value, ".") {
				t.Errorf("%s imports %s: the contract stands on the standard library alone", file, spec.Path.Value)
			}
		}
	})
}

func TestPackagesAreNamedForWhatTheyProvide(t *testing.T) {
	documented := map[string]bool{}
	sources(t, func(pkg, file string, f *ast.File) {
		if shapeless[f.Name.Name] || shapeless[path.Base(pkg)] {
			t.Errorf("%s: package %s is named for nothing", file, f.Name.Name)
		}
		if !strings.HasSuffix(file, "_test.go") {
			documented[pkg] = documented[pkg] || f.Doc != nil
		}
	})
	for pkg, ok := range documented {
		if !ok {
			t.Errorf("package %s does not say what it guarantees: it has no package comment", pkg)
		}
	}
}

// A comment names no document or source file that a reader would look for in vain.
func TestCommentsNameFilesThatAreThere(t *testing.T) {
	there := map[string]bool{}
	require.NoError(t, filepath.WalkDir(".", func(file string, d fs.DirEntry, err error) error {
		there[path.Base(filepath.ToSlash(file))] = true
		return err
	}))
	names := regexp.MustCompile(`[\w./-]*\w\.(?:md|go)\b`)
	sources(t, func(_, file string, _ *ast.File) {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		for line := range strings.Lines(string(text)) {
			if line = strings.TrimSpace(line); !strings.HasPrefix(line, "//") {
				continue
			}
			for _, name := range names.FindAllString(line, -1) {
				if !there[path.Base(name)] {
					t.Errorf("%s: a comment names %s, which is not there", file, name)
				}
			}
		}
	})
}

// Every test that docs/security.md names is there, and it names none without saying where.
func TestSecurityNamesTestsThatAreThere(t *testing.T) {
	text, err := os.ReadFile("docs/security.md")
	require.NoError(t, err)
	name := "`((?:Test|Fuzz|Benchmark|test_)[A-Za-z0-9_]+)`"
	names := regexp.MustCompile(name)
	groups := regexp.MustCompile("("+name+"(?:,? and\\s|,\\s)?)+\\s*\\(`([^`]+)`\\)").FindAllSubmatch(text, -1)
	found := 0
	for _, g := range groups {
		where := string(g[3])
		files := []string{where}
		if !strings.HasSuffix(where, ".py") {
			files, err = filepath.Glob(filepath.Join(where, "*_test.go"))
			require.NoError(t, err)
		}
		var source strings.Builder
		for _, file := range files {
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			source.Write(text)
		}
		for _, n := range names.FindAllSubmatch(g[0], -1) {
			found++
			require.Regexp(t, `(?m)^(func|def) `+string(n[1])+`\(`, source.String(), "%s in %s", n[1], where)
		}
	}
	require.Greater(t, found, 50)
	require.Len(t, names.FindAll(text, -1), found, "names of tests without the place where they are")
}

// README names the clients that are tested, all of them, and at the versions which the tests are pinned to.
func TestReadmeNamesTheClientsThatAreTested(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	pinned := map[string]bool{}
	for _, pins := range []struct{ files, pin, unnamed string }{
		{"test/clients/requirements-*.txt", `(?m)^([\w-]+)==(\S+)$`, "pytest nanoarrow"},
		{"test/clients/java/*/pom.xml", `<dependency>\s*<groupId>.*</groupId>\s*<artifactId>([\w-]+)</artifactId>\s*<version>(.+)</version>`, "azure-core-http-netty hadoop-common"},
		{"test/clients/rust/Cargo.toml", `(?m)^(\w+) = .*"=([\d.]+)"`, "azure_core"},
		{"test/clients/run.sh", `/(opentofu)@v([\d.]+)`, ""},
		{"test/clients/*/go.mod", `(?m)^(?:require|\t).*/([\w-]+) v(\S+)$`, "log kit testify"},
		{"test/go.mod", `(?m)^\t.*/(az\w+) v(\S+)$`, "azcore"},
		{"test/js/package.json", `"(?:@azure-tools/)?([@\w/-]+)": "([\d.]+)"`, "azurite esbuild"},
	} {
		files, err := filepath.Glob(pins.files)
		require.NoError(t, err)
		require.NotEmpty(t, files, pins.files)
		for _, file := range files {
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			found := regexp.MustCompile(pins.pin).FindAllSubmatch(text, -1)
			require.NotEmpty(t, found, file)
			for _, m := range found {
				client := "`" + string(m[1]) + " " + string(m[2]) + "`"
				pinned[client] = true
				if !strings.Contains(" "+pins.unnamed+" ", " "+string(m[1])+" ") {
					require.True(t, strings.Contains(string(readme), client), "%s has %s, README not", file, client)
				}
			}
		}
	}
	for _, client := range regexp.MustCompile("`[@\\w/-]+ [0-9]+\\.[^`]+`").FindAllString(string(readme), -1) {
		require.True(t, pinned[client], "README names %s, which no test is pinned to", client)
	}
}
