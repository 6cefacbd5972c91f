package protocol

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var corsRules = []CORSRule{
	{AllowedOrigins: []string{"http://a.example", "http://b.example"}, AllowedMethods: []string{"GET", "PUT"}, AllowedHeaders: []string{"content-type", "x-ms-meta-a*"}, ExposedHeaders: []string{"x-ms-meta-*", "ETag"}, MaxAge: 60},
	{AllowedOrigins: []string{"*"}, AllowedMethods: []string{"GET"}, AllowedHeaders: []string{"*"}, ExposedHeaders: []string{"*"}, MaxAge: 0},
}

func flat(d []Detail) string {
	var lines []string
	for _, h := range d {
		lines = append(lines, h.Name+": "+h.Value)
	}
	return strings.Join(lines, "\n")
}

func TestPreflight(t *testing.T) {
	for _, c := range []struct {
		name, origin, method, headers string
		want                          string // headers, or the code of the refusal
	}{
		{"exact origin", "http://a.example", "PUT", "", "Access-Control-Allow-Origin: http://a.example\nVary: Origin\nAccess-Control-Allow-Credentials: true\nAccess-Control-Allow-Methods: PUT\nAccess-Control-Max-Age: 60"},
		{"headers, whatever their case", "http://b.example", "PUT", "Content-Type, X-MS-Meta-Abc", "Access-Control-Allow-Origin: http://b.example\nVary: Origin\nAccess-Control-Allow-Credentials: true\nAccess-Control-Allow-Methods: PUT\nAccess-Control-Allow-Headers: Content-Type, X-MS-Meta-Abc\nAccess-Control-Max-Age: 60"},
		{"the first rule that fits", "http://a.example", "GET", "x-other", "Access-Control-Allow-Origin: *\nAccess-Control-Allow-Methods: GET\nAccess-Control-Allow-Headers: x-other\nAccess-Control-Max-Age: 0"},
		{"any origin", "http://c.example", "GET", "", "Access-Control-Allow-Origin: *\nAccess-Control-Allow-Methods: GET\nAccess-Control-Max-Age: 0"},
		{"other method", "http://c.example", "PUT", "", "CorsPreflightFailure"},
		{"other header", "http://a.example", "PUT", "content-type,x-ms-meta-b", "CorsPreflightFailure"},
		{"origins have case", "http://A.example", "PUT", "", "CorsPreflightFailure"},
		{"methods have case", "http://a.example", "put", "", "CorsPreflightFailure"},
		{"a prefix of an origin", "http://a.example.evil", "PUT", "", "CorsPreflightFailure"},
		{"the null origin", "null", "PUT", "", "CorsPreflightFailure"},
		{"no origin", "", "GET", "", "InvalidHeaderValue"},
		{"no method", "http://a.example", "", "", "InvalidHeaderValue"},
	} {
		t.Run(c.name, func(t *testing.T) {
			answer, err := Preflight(corsRules, c.origin, c.method, c.headers)
			if err != nil {
				require.Equal(t, c.want, err.(*Error).Code)
				return
			}
			require.Equal(t, c.want, flat(answer))
		})
	}
	_, err := Preflight(nil, "http://a.example", "GET", "")
	require.ErrorIs(t, err, ErrCorsPreflightFailure)
}

// TestOriginsOfSubdomains: a rule may be for all that lies under a domain, but not for what only ends alike.
func TestOriginsOfSubdomains(t *testing.T) {
	rules := []CORSRule{{AllowedOrigins: []string{"http://*.contoso.com", "https://*.b.example:8443", "http://www.fabrikam.com", "https://www.fabrikam.com/*"}, AllowedMethods: []string{"GET"}}}
	for origin, want := range map[string]bool{
		"http://a.contoso.com": true, "http://a.b.contoso.com": true, "http://www.fabrikam.com": true, "https://x.b.example:8443": true,
		"http://contoso.com": false, "http://xcontoso.com": false, "http://.contoso.com": false, "https://a.contoso.com": false, "http://a.contoso.com:81": false, "http://a.contoso.com.evil": false,
		"http://evil/.contoso.com": false, "http://evil:80.contoso.com": false, "http://u@.contoso.com": false, "https://x.b.example": false, "https://www.fabrikam.com": false, "http://*.contoso.com": true,
	} {
		_, err := Preflight(rules, origin, "GET", "")
		require.Equal(t, want, err == nil, origin)
	}
	for origin, want := range map[string]bool{
		"*": true, "http://*.contoso.com": true, "http://www.abc23.com": true, "https://www.fabrikam.com/*": true, "https://www.fabrikam.com/path": true, "https://www.fabrikam.com/path/*": true,
		"http://a*.contoso.com": false, "http://*": false, "http://*.": false, "http://*.*.com": false, "*.contoso.com": false, "http://www.*.com": false,
	} {
		require.Equal(t, want, ValidOrigin(origin), origin)
	}
}

func TestActualCORS(t *testing.T) {
	names := func(visit func(string)) {
		for _, n := range []string{"ETag", "x-ms-meta-One", "x-ms-request-id"} {
			visit(n)
		}
	}
	for _, c := range []struct {
		name, origin, method string
		rules                []CORSRule
		want                 string
	}{
		{"exact origin", "http://a.example", "PUT", corsRules, "Access-Control-Allow-Origin: http://a.example\nVary: Origin\nAccess-Control-Allow-Credentials: true\nAccess-Control-Expose-Headers: ETag,x-ms-meta-One"},
		{"any origin beside an exact one", "http://c.example", "GET", corsRules, "Access-Control-Allow-Origin: *\nAccess-Control-Expose-Headers: ETag,x-ms-meta-One,x-ms-request-id\nVary: Origin"},
		{"any origin alone", "http://c.example", "GET", corsRules[1:], "Access-Control-Allow-Origin: *\nAccess-Control-Expose-Headers: ETag,x-ms-meta-One,x-ms-request-id"},
		{"no origin, any allowed", "", "GET", corsRules[1:], "Access-Control-Allow-Origin: *\nAccess-Control-Expose-Headers: ETag,x-ms-meta-One,x-ms-request-id"},
		{"no origin, exact rules", "", "GET", corsRules[:1], "Vary: Origin"},
		{"other origin", "http://c.example", "GET", corsRules[:1], "Vary: Origin"},
		{"other origin writes", "http://c.example", "PUT", corsRules, ""},
		{"no rules", "http://a.example", "GET", nil, ""},
		{"no origin writes", "", "PUT", corsRules, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.Equal(t, c.want, flat(ActualCORS(c.rules, c.origin, c.method, names)))
		})
	}
}

func TestParseXML(t *testing.T) {
	n, err := ParseXML([]byte("\ufeff<?xml version=\"1.0\" encoding=\"utf-8\"?><!-- c --><A x=\"1\"><B>1 &lt;</B><B/>\n<C><D> e </D></C>\n</A>\n"))
	require.NoError(t, err)
	require.Equal(t, &XMLNode{Name: "A", Text: "\n\n", line: 3, column: 3, Children: []XMLNode{{Name: "B", Text: "1 <", line: 1, column: 69}, {Name: "B", line: 1, column: 73},
		{Name: "C", line: 2, column: 16, Children: []XMLNode{{Name: "D", Text: " e ", line: 2, column: 12}}}}}, n)
	for name, text := range map[string]string{
		"empty": "", "text": "x", "open": "<A>", "two roots": "<A/><B/>", "trailing text": "<A/>x", "wrong end": "<A></B>",
		"doctype":         `<!DOCTYPE A><A/>`,
		"entity":          `<!DOCTYPE A [<!ENTITY e "x">]><A>&e;</A>`,
		"unknown entity":  `<A>&e;</A>`,
		"billion laughs":  `<!DOCTYPE l [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]><l>&b;</l>`,
		"external entity": `<!DOCTYPE A [<!ENTITY e SYSTEM "file:///etc/passwd">]><A>&e;</A>`,
		"depth":           strings.Repeat("<A>", 1000) + strings.Repeat("</A>", 1000),
		"width":           "<A>" + strings.Repeat("<B/>", 5000) + "</A>",
		"other encoding":  `<?xml version="1.0" encoding="utf-7"?><A/>`,
		"not utf-8":       "<A>\xff</A>",
	} {
		_, err := ParseXML([]byte(text))
		require.ErrorIs(t, err, ErrInvalidXmlDocument, name)
	}
}

func FuzzCORS(f *testing.F) {
	f.Add("http://a.example", "GET", "content-type, x-ms-meta-a")
	f.Add("*", "PUT", ",,*")
	f.Fuzz(func(t *testing.T, origin, method, headers string) {
		answer, err := Preflight(corsRules[:1], origin, method, headers)
		if err != nil {
			return
		}
		if origin != "http://a.example" && origin != "http://b.example" || method != "GET" && method != "PUT" || flat(answer) == "" {
			t.Fatalf("%q %q allowed", origin, method)
		}
	})
}
