package protocol

import (
	"slices"
	"strconv"
	"strings"

	"github.com/blobd/blobd/internal/invariants"
)

// CORSRule lets pages of some origins use a service from a browser (REST page "Set Blob Service Properties").
type CORSRule struct {
	AllowedOrigins []string // exact, "*" alone, or with "*." before the domain for all that lie under it
	AllowedMethods []string
	AllowedHeaders []string // literal, or a prefix that ends in "*"
	ExposedHeaders []string // the same
	MaxAge         int      // seconds
}

// Limits on rules.
const (
	MaxCORSRules           = 5
	MaxCORSSize            = 2 << 10 // bytes of all rules as XML
	MaxCORSOrigins         = 64
	MaxCORSLiteralHeaders  = 64
	MaxCORSPrefixedHeaders = 2
	MaxCORSLength          = 256 // characters of an origin or header
	MaxCORSRequested       = 256 // headers that a preflight request asks for, each of which is compared with all of a rule
)

// CORSMethods are the methods that a rule may allow.
var CORSMethods = []string{"DELETE", "GET", "HEAD", "MERGE", "POST", "OPTIONS", "PUT", "PATCH"}

// anyOrigin reports whether the rule is for every origin.
func (c *CORSRule) anyOrigin() bool { return slices.Contains(c.AllowedOrigins, "*") }

func (c *CORSRule) allowsOrigin(origin string) bool {
	return c.anyOrigin() || slices.ContainsFunc(c.AllowedOrigins, func(allowed string) bool { return matchesOrigin(allowed, origin) })
}

// originPattern cuts an origin that is for all subdomains of a domain, as "http://*.contoso.com".
func originPattern(allowed string) (scheme, domain string, ok bool) {
	scheme, domain, ok = strings.Cut(allowed, "://*.")
	return scheme + "://", "." + domain, ok && domain != "" && !strings.Contains(scheme+domain, "*")
}

func matchesOrigin(allowed, origin string) bool {
	scheme, domain, ok := originPattern(allowed)
	if !ok {
		return allowed == origin
	}
	host, found := strings.CutPrefix(origin, scheme)
	sub, under := strings.CutSuffix(host, domain)
	return found && under && sub != "" && !strings.ContainsAny(sub, "/:@")
}

// ValidOrigin tells whether a rule may name an origin. One with a path is taken and matches no browser's; it may end in a "*".
func ValidOrigin(allowed string) bool {
	if _, _, ok := originPattern(allowed); ok || allowed == "*" || !strings.Contains(allowed, "*") {
		return true
	}
	_, rest, _ := strings.Cut(allowed, "://")
	_, path, _ := strings.Cut(rest, "/")
	return path == "*" || strings.HasSuffix(path, "/*") && strings.Count(allowed, "*") == 1
}

func (c *CORSRule) allowsHeaders(names string) bool {
	for name := range strings.SplitSeq(names, ",") {
		if name = strings.TrimSpace(name); name != "" && !matchesHeader(c.AllowedHeaders, name) {
			return false
		}
	}
	return true
}

// matchesHeader reports whether a header name is in a list of literal names and prefixes, whatever the case.
func matchesHeader(list []string, name string) bool {
	for _, pattern := range list {
		if prefix, ok := strings.CutSuffix(pattern, "*"); ok {
			if len(name) >= len(prefix) && strings.EqualFold(name[:len(prefix)], prefix) {
				return true
			}
		} else if strings.EqualFold(pattern, name) {
			return true
		}
	}
	return false
}

// Preflight answers a browser's question whether it may send a request. headers is Access-Control-Request-Headers, "" when
// absent. The answer is the headers of a 200, or the refusal.
func Preflight(rules []CORSRule, origin, method, headers string) ([]Detail, error) {
	if origin == "" || method == "" {
		return nil, ErrInvalidHeaderValue.Saying("A required CORS header is not present.")
	}
	if strings.Count(headers, ",") >= MaxCORSRequested {
		return nil, ErrCorsPreflightFailure
	}
	for i := range rules {
		c := &rules[i]
		if !c.allowsOrigin(origin) || !slices.Contains(c.AllowedMethods, method) || !c.allowsHeaders(headers) {
			continue
		}
		answer := c.allow(origin)
		answer = append(answer, Detail{"Access-Control-Allow-Methods", method})
		if headers != "" {
			answer = append(answer, Detail{"Access-Control-Allow-Headers", headers})
		}
		return append(answer, Detail{"Access-Control-Max-Age", strconv.Itoa(c.MaxAge)}), nil
	}
	return nil, ErrCorsPreflightFailure
}

// allow returns the headers that let a page of an origin read the answer.
func (c *CORSRule) allow(origin string) []Detail {
	if c.anyOrigin() {
		return []Detail{{"Access-Control-Allow-Origin", "*"}}
	}
	return []Detail{{"Access-Control-Allow-Origin", origin}, {"Vary", "Origin"}, {"Access-Control-Allow-Credentials", "true"}}
}

// ActualCORS returns the headers that an answer to an actual request gets. origin is "" when the request has none; names are
// those of the answer's headers, which it visits for what is exposed.
func ActualCORS(rules []CORSRule, origin, method string, names func(visit func(name string))) []Detail {
	readOnly := method == "GET" || method == "HEAD"
	if len(rules) == 0 || origin == "" && !readOnly {
		return nil
	}
	var answer []Detail
	varies := false
	for i := range rules {
		c := &rules[i]
		varies = varies || !c.anyOrigin()
		if answer != nil || !slices.Contains(c.AllowedMethods, method) {
			continue
		}
		if origin == "" && !c.anyOrigin() || !c.allowsOrigin(origin) {
			continue
		}
		answer = c.allow(origin)
		if exposed := c.exposed(names); exposed != "" {
			answer = append(answer, Detail{"Access-Control-Expose-Headers", exposed})
		}
	}
	// What a cache keeps for one origin (or none) must not be served to another.
	if varies && readOnly && !slices.Contains(answer, Detail{"Vary", "Origin"}) {
		answer = append(answer, Detail{"Vary", "Origin"})
	}
	return answer
}

// exposed lists the headers of an answer that the rule exposes.
func (c *CORSRule) exposed(names func(visit func(name string))) string {
	var list []string
	patterns := false
	for _, e := range c.ExposedHeaders {
		if strings.HasSuffix(e, "*") {
			patterns = true
		} else {
			list = append(list, e)
		}
	}
	if patterns {
		literal := list
		names(func(name string) {
			invariants.Look(len(literal))
			if matchesHeader(c.ExposedHeaders, name) && !slices.ContainsFunc(literal, func(l string) bool { return strings.EqualFold(l, name) }) {
				list = append(list, name)
			}
		})
	}
	return strings.Join(list, ",")
}
