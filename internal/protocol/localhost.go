package protocol

import (
	"net/netip"
	"strings"
)

// LocalHost tells whether a Host header is one by which clients of this machine and its containers call a server that listens on
// a loopback address: an IP address, a name that nobody can register in the public DNS, the public cloud's endpoints, which the tools
// write for the emulator's account, or a domain that the operator has configured.
//
// The web page of a stranger, whose name its own DNS may turn to 127.0.0.1 after it is loaded (DNS rebinding), has none of these.
func LocalHost(host string, domains []string) bool {
	name := host
	if strings.HasPrefix(name, "[") || name == "" { // an IPv6 address; none, as HTTP/1.0 and no browser may have it
		return true
	}
	if i := strings.LastIndexByte(name, ':'); i >= 0 {
		name = name[:i]
	}
	if c := name; c != "" && c[0] >= '0' && c[0] <= '9' {
		if _, err := netip.ParseAddr(name); err == nil {
			return true
		}
	}
	name = strings.TrimSuffix(name, ".")
	if strings.IndexByte(name, '.') < 0 { // localhost, or the name of a machine or container
		return true
	}
	for _, suffix := range localSuffixes {
		if under(name, suffix) {
			return true
		}
	}
	for _, domain := range domains {
		if under(name, domain) {
			return true
		}
	}
	return false
}

// localSuffixes are reserved (RFC 6761; ICANN for internal, of which host.docker.internal and its like are), or Microsoft's.
var localSuffixes = [...]string{"localhost", "localdomain", "internal", "test", "blob.core.windows.net", "table.core.windows.net"}

// under tells whether a name is a domain or lies in it.
func under(name, domain string) bool {
	n := len(name) - len(domain)
	return n >= 0 && strings.EqualFold(name[n:], domain) && (n == 0 || name[n-1] == '.')
}
