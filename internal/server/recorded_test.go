package server_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/auth/gate"
	"github.com/blobd/blobd/internal/blob"
	"github.com/blobd/blobd/internal/blob/store"
	"github.com/blobd/blobd/internal/engine/enginetest"
	"github.com/blobd/blobd/internal/rest"
	"github.com/blobd/blobd/internal/rest/resttest"
	"github.com/blobd/blobd/internal/table"
)

// recording is a file of testdata/recorded: what clients of the real service asked, in order, and what it answered.
type recording struct {
	Source    string
	Service   string // blob or table
	Sequences []sequence
}

// sequence is one test of a client, from an account without anything in it.
type sequence struct {
	Name      string
	Account   string
	Exchanges []exchange
}

// exchange is one request and the real answer to it. Names of headers are in lower case; headers that say nothing of the service
// are left out.
type exchange struct {
	Request         string // method and target
	At              string // when, by the service's clock
	Headers         map[string]string
	Body            string
	BodyIsBase64    bool
	Anonymous       bool
	Status          int
	Reason          string // unless it is that of the status
	Answer          map[string]string
	Content         string
	ContentIsBase64 bool
}

// different is what differs from run to run in every answer, and what stands for it in a comparison.
var different = []struct {
	re *regexp.Regexp
	to string
}{
	{regexp.MustCompile(`datetime'[^']*'`), "datetime'STAMP'"},
	{regexp.MustCompile(`0x8[0-9A-F]{14}`), "ETAG"},
	{regexp.MustCompile(`(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT`), "DATE"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d(:|%3A)\d\d(:|%3A)\d\d(\.\d+)?Z`), "STAMP"},
	{regexp.MustCompile(`(batch|changeset)response_[0-9a-f-]{36}`), "${1}response_GUID"},
	{regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`), "GUID"},
	{regexp.MustCompile(`RequestId:[^\n<"\\]*`), "RequestId:GUID"},
	{regexp.MustCompile(`Time:[^\n<"\\]*`), "Time:STAMP"},
}

// player plays one sequence.
type player struct {
	t        *testing.T
	s        *resttest.Server
	key      account.Key
	service  string
	account  string
	began    time.Time         // of the recording
	ahead    time.Duration     // how far the services' clock is ahead of the machine's: the recording waited, this does not
	recorded string            // the address of the account in the recording
	learnt   map[string]string // values of the recorded answers, and what stands in their place here
	found    []string          // differences
	at       string            // which exchange
}

// TestRecordedAnswers plays what clients of the real service have asked it, and compares the answers: status, text of the status
// line, headers, bodies. Every difference stands in testdata/recorded/differences.txt under the reason for it; one that is not
// there fails the test, and so does one that is there and no longer seen.
func TestRecordedAnswers(t *testing.T) {
	files, err := filepath.Glob("testdata/recorded/*.json")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	var found []string
	exchanges := 0
	kinds := &sync.Map{} // operations with the statuses and codes that they were answered with
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		var r recording
		require.NoError(t, json.Unmarshal(text, &r))
		for i := range r.Sequences {
			found = append(found, play(t, r.Service, &r.Sequences[i], kinds)...)
			exchanges += len(r.Sequences[i].Exchanges)
		}
	}
	require.GreaterOrEqual(t, exchanges, 1000)
	answered := 0
	kinds.Range(func(any, any) bool { answered++; return true })
	require.GreaterOrEqual(t, answered, 110, "operations by status and code")
	text, err := os.ReadFile("testdata/recorded/differences.txt")
	require.NoError(t, err)
	known, reason := map[string]string{}, ""
	for line := range strings.Lines(string(text)) {
		switch line = strings.TrimSpace(line); {
		case line == "":
			reason = ""
		case strings.HasPrefix(line, "# "):
			reason += line[2:] + " "
		default:
			require.NotEmpty(t, reason, "without a reason: %s", line)
			known[line] = reason
		}
	}
	if name := os.Getenv("RECORDED"); name != "" { // for whoever writes the list
		require.NoError(t, os.WriteFile(name, []byte(strings.Join(found, "\n")+"\n"), 0o644))
	}
	for _, d := range found {
		if known[d] == "" {
			t.Errorf("the real service answers differently: %s", d)
		}
	}
	for d, reason := range known {
		if !slices.Contains(found, d) {
			t.Errorf("no longer different, take it out of the list: %s (%s)", d, reason)
		}
	}
}

func play(t *testing.T, service string, seq *sequence, kinds *sync.Map) (found []string) {
	ctx := context.Background()
	on := enginetest.New(t)
	registry := account.NewRegistry()
	accounts, err := account.OpenStore(ctx, on, registry, nil)
	require.NoError(t, err)
	acct := resttest.Account()
	require.NoError(t, accounts.Create(ctx, acct, 0))
	front := &rest.Front{Accounts: registry}
	last := make(chan string, 1)
	front.Done = func(r *rest.Request) { last <- strings.Clone(r.Operation) }
	p := &player{t: t, key: acct.Keys[0], service: service, account: seq.Account, learnt: map[string]string{},
		recorded: "https://" + seq.Account + "." + service + ".core.windows.net"}
	if service == "blob" {
		s := blob.New(store.Options{Store: on, Accounts: accounts})
		defer s.Close()
		s.Authorize(gate.New(gate.Options{Blob: s}))
		front.Blob = &clocked{s, &p.ahead}
	} else {
		s := table.New(table.Options{Store: on, Accounts: accounts})
		defer s.Close()
		s.Authorize(gate.New(gate.Options{Table: s}))
		front.Table = &clocked{s, &p.ahead}
	}
	p.s = resttest.Start(t, front)
	for i := range seq.Exchanges {
		e := &seq.Exchanges[i]
		at, err := http.ParseTime(e.At)
		require.NoError(t, err)
		if p.began.IsZero() {
			p.began = at
		}
		p.ahead = at.Sub(p.began)
		method, target, _ := strings.Cut(e.Request, " ")
		_, query, _ := strings.Cut(target, "?")
		values, err := url.ParseQuery(query)
		require.NoError(t, err)
		p.at = strings.TrimSpace(fmt.Sprintf("%s %d %s %s", seq.Name, i+1, method, values.Get("comp")))
		answer := p.ask(e)
		kinds.Store(fmt.Sprint(<-last, answer.Status, answer.Code()), true)
		p.compare(e, answer)
	}
	return p.found
}

// clocked is a service whose clock is ahead.
type clocked struct {
	rest.Service
	ahead *time.Duration
}

// Serve implements rest.Service.
func (c *clocked) Serve(r *rest.Request) {
	r.Now = r.Now.Add(*c.ahead)
	c.Service.Serve(r)
}

func (p *player) differs(format string, args ...any) {
	text := strings.ReplaceAll(p.at+": "+fmt.Sprintf(format, args...), "\n", `\n`)
	p.found = append(p.found, strings.ReplaceAll(text, "\r", `\r`))
}

// here puts a text of the recording into the terms of this server.
func (p *player) here(s string) string {
	for was, is := range p.learnt {
		s = strings.ReplaceAll(s, was, is)
		for _, escape := range []func(string) string{url.QueryEscape, url.PathEscape} {
			s = strings.ReplaceAll(s, escape(was), escape(is))
		}
	}
	return strings.ReplaceAll(s, p.recorded, "http://"+p.s.Addr+"/acct")
}

func decoded(s string, isBase64 bool) string {
	if !isBase64 {
		return s
	}
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// ask sends the request of an exchange, signed with the key of this server.
func (p *player) ask(e *exchange) *resttest.Response {
	method, target, _ := strings.Cut(p.here(e.Request), " ")
	target = "/acct" + target
	now := time.Now().UTC().Add(p.ahead)
	headers := map[string]string{}
	for name, value := range e.Headers {
		value = p.here(value)
		if strings.HasSuffix(name, "since") { // as far from now as it was then
			at, err := http.ParseTime(e.At)
			require.NoError(p.t, err)
			if since, err := http.ParseTime(value); err == nil {
				value = now.Add(since.Sub(at)).Format(http.TimeFormat)
			}
		}
		headers[name] = value
	}
	if !e.Anonymous {
		headers["x-ms-date"] = now.Format(http.TimeFormat)
		headers["authorization"] = "SharedKeyLite acct:" + p.key.Sign([]byte(p.toSign(method, target, headers)))
	}
	body := p.here(decoded(e.Body, e.BodyIsBase64))
	raw := method + " " + target + " HTTP/1.1\r\nHost: " + p.s.Addr + "\r\n"
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		raw += name + ": " + headers[name] + "\r\n"
	}
	if body != "" || method != http.MethodGet && method != http.MethodHead {
		raw += fmt.Sprintf("Content-Length: %d\r\n", len(body))
	}
	conn := p.s.Dial()
	defer conn.Close()
	conn.Write(raw + "\r\n" + body)
	return conn.Response(method)
}

// toSign is the string to sign of SharedKeyLite.
func (p *player) toSign(method, target string, headers map[string]string) string {
	path, query, _ := strings.Cut(target, "?")
	resource := "/acct" + path
	values, err := url.ParseQuery(query)
	require.NoError(p.t, err)
	if comp := values.Get("comp"); comp != "" {
		resource += "?comp=" + comp
	}
	if p.service == "table" {
		return headers["x-ms-date"] + "\n" + resource
	}
	text := method + "\n" + headers["content-md5"] + "\n" + headers["content-type"] + "\n\n"
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		if strings.HasPrefix(name, "x-ms-") {
			text += name + ":" + strings.TrimSpace(headers[name]) + "\n"
		}
	}
	return text + resource
}

// framing are headers of the connection or of one answer only.
var framingHeaders = []string{"date", "server", "x-ms-request-id", "x-ms-client-request-id", "transfer-encoding", "connection", "keep-alive", "vary"}

// opaque are values that mean something to their own server only.
var opaque = []string{"x-ms-continuation-nexttablename", "x-ms-continuation-nextpartitionkey", "x-ms-continuation-nextrowkey", "NextMarker"}

func (p *player) compare(e *exchange, r *resttest.Response) {
	if e.Status != r.Status {
		p.differs("status %d, here %d %s", e.Status, r.Status, r.Code())
		return
	}
	reason := e.Reason
	if reason == "" {
		reason = http.StatusText(e.Status)
	}
	line, _, _ := strings.Cut(r.Raw, "\r\n")
	if got := strings.SplitN(line, " ", 3)[2]; got != reason && e.Status < 500 {
		p.differs("reason %q, here %q", reason, got)
	}
	got := map[string]string{}
	for name, values := range r.Header {
		got[strings.ToLower(name)] = strings.Join(values, ", ")
	}
	if asked := e.Headers["x-ms-version"]; asked != "" && got["x-ms-version"] == asked { // as every recorded answer does
		delete(got, "x-ms-version")
	}
	contentType := e.Answer["content-type"]
	structured := strings.Contains(contentType, "xml") || strings.Contains(contentType, "json") || strings.Contains(contentType, "multipart")
	for _, name := range slices.Sorted(maps.Keys(e.Answer)) {
		value, ok := got[name]
		delete(got, name)
		switch {
		case slices.Contains(framingHeaders, name), name == "content-length" && (structured || e.Status >= 204 && e.Status != 206):
		case !ok:
			p.differs("header %s: %s, here none", name, p.plain(e.Answer[name]))
		default:
			p.same("header "+name, e.Answer[name], value)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(got)) {
		if !slices.Contains(framingHeaders, name) && name != "content-length" {
			p.differs("header %s: none, here %s", name, p.plain(got[name]))
		}
	}
	want, have := decoded(e.Content, e.ContentIsBase64), strings.TrimPrefix(string(r.Body), "\ufeff")
	switch {
	case strings.HasPrefix(want, "<?xml"):
		p.sameLists(leavesOfXML(p.t, want), leavesOfXML(p.t, have))
	case strings.HasPrefix(want, "{"):
		p.sameLists(leavesOfJSON(p.t, want), leavesOfJSON(p.t, have))
	case strings.Contains(contentType, "multipart"):
		lines := func(s string) (l []leaf) {
			for i, line := range strings.Split(s, "\r\n") {
				l = append(l, leaf{fmt.Sprintf("line %d", i+1), line})
			}
			return l
		}
		p.sameLists(lines(want), lines(have))
	case want != have:
		p.differs("content of %d bytes, here of %d", len(want), len(have))
	}
}

// plain is a value without what differs from run to run.
func (p *player) plain(s string) string {
	s = strings.NewReplacer(p.recorded, "ENDPOINT", "http://"+p.s.Addr+"/acct", "ENDPOINT", p.account, "ACCOUNT", "/acct/", "/ACCOUNT/", "acct.", "ACCOUNT.").Replace(s)
	for _, d := range different {
		s = d.re.ReplaceAllString(s, d.to)
	}
	if s == "" {
		return "(empty)"
	}
	return s
}

// same compares two values and learns what stands here for one of the recording.
func (p *player) same(what, want, got string) {
	if want == got {
		return
	}
	for _, name := range opaque {
		if strings.HasSuffix(what, name) && want != "" && got != "" {
			p.learnt[want] = got
			return
		}
	}
	if w, g := p.plain(want), p.plain(got); w != g {
		p.differs("%s: %s, here %s", what, w, g)
		return
	}
	if len(want) > 15 && !strings.HasSuffix(want, " GMT") && !strings.Contains(want, "RequestId") && !strings.Contains(want, p.recorded) {
		p.learnt[want] = got
		if bare := strings.Trim(want, `"`); bare != want {
			p.learnt[bare] = strings.Trim(got, `"`)
		}
	}
}

// leaf is a text in a body and where it stands.
type leaf struct{ path, text string }

func (p *player) sameLists(want, got []leaf) {
	for len(want) > 0 && len(got) > 0 {
		if want[0].path == got[0].path {
			p.same(want[0].path, want[0].text, got[0].text)
			want, got = want[1:], got[1:]
			continue
		}
		is := func(path string) func(leaf) bool { return func(l leaf) bool { return l.path == path } }
		if !slices.ContainsFunc(got, is(want[0].path)) {
			p.differs("%s: %s, here none", want[0].path, p.plain(want[0].text))
			want = want[1:]
			continue
		}
		p.differs("%s: none there, here %s", got[0].path, p.plain(got[0].text))
		got = got[1:]
	}
	for _, l := range want {
		p.differs("%s: %s, here none", l.path, p.plain(l.text))
	}
	for _, l := range got {
		p.differs("%s: none there, here %s", l.path, p.plain(l.text))
	}
}

// leavesOfXML lists the attributes and texts of a document in their order; an element without text is a leaf too.
func leavesOfXML(t *testing.T, doc string) (leaves []leaf) {
	d := xml.NewDecoder(strings.NewReader(doc))
	path, text, open := "", "", false
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return leaves
		}
		if err != nil {
			return append(leaves, leaf{"unreadable", err.Error()})
		}
		switch token := token.(type) {
		case xml.StartElement:
			path, text, open = path+"/"+token.Name.Local, "", true
			for _, a := range token.Attr {
				if a.Name.Space != "xmlns" && a.Name.Local != "xmlns" {
					leaves = append(leaves, leaf{path + "@" + a.Name.Local, a.Value})
				}
			}
		case xml.CharData:
			text += string(token)
		case xml.EndElement:
			if open {
				leaves = append(leaves, leaf{path, text})
			}
			path, open = path[:strings.LastIndexByte(path, '/')], false
		}
	}
}

// leavesOfJSON lists the values of a document in the order of their keys.
func leavesOfJSON(t *testing.T, doc string) (leaves []leaf) {
	d := json.NewDecoder(bytes.NewReader([]byte(doc)))
	d.UseNumber()
	var value any
	if err := d.Decode(&value); err != nil {
		return []leaf{{"unreadable", err.Error()}}
	}
	var walk func(path string, v any)
	walk = func(path string, v any) {
		switch v := v.(type) {
		case map[string]any:
			for _, key := range slices.Sorted(maps.Keys(v)) {
				walk(path+"."+key, v[key])
			}
		case []any:
			for i := range v {
				walk(fmt.Sprintf("%s[%d]", path, i), v[i])
			}
		default:
			leaves = append(leaves, leaf{path, fmt.Sprint(v)})
		}
	}
	walk("", value)
	return leaves
}
