package protocol

import "strings"

// secretNames are parameters of addresses whose values open something: signatures of this service and of other clouds, keys, tokens.
var secretNames = map[string]bool{
	"sig": true, "signature": true, "code": true, "token": true, "access_token": true, "id_token": true, "refresh_token": true, "key": true, "apikey": true,
	"api_key": true, "api-key": true, "secret": true, "client_secret": true, "password": true, "pwd": true, "sas": true, "auth": true, "credential": true,
	"x-amz-signature": true, "x-amz-credential": true, "x-amz-security-token": true, "awsaccesskeyid": true, "x-goog-signature": true, "x-goog-credential": true,
	"googleaccessid": true, "ossaccesskeyid": true, "security-token": true, "hdnea": true, "policy": true, "key-pair-id": true,
}

// Redact replaces the values of secrets in an address. It looks for a name followed by "=" wherever one may begin, also in the path,
// after a semicolon, or in an address within the address: percent-encoded however often, in any case.
func Redact(address string) string {
	if strings.IndexByte(address, '=') < 0 && strings.IndexByte(address, '%') < 0 {
		return address
	}
	plain, ends := decodeAll(address)
	var b strings.Builder
	written := 0 // bytes of address
	for at := 0; at < len(plain); at++ {
		if plain[at] != '=' {
			continue
		}
		name := at
		for name > 0 && isNameByte(plain[name-1]) {
			name--
		}
		if !secretNames[strings.ToLower(string(plain[name:at]))] {
			continue
		}
		end := at + 1
		for end < len(plain) && !strings.ContainsRune("&;?# \t\r\n\"'<>", rune(plain[end])) {
			end++
		}
		if end > at+1 {
			b.WriteString(address[written:ends[at]])
			b.WriteString("REDACTED")
			written = ends[end-1]
		}
		at = end - 1
	}
	if written == 0 {
		return address
	}
	b.WriteString(address[written:])
	return b.String()
}

func isNameByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-'
}

// decodeAll takes away every layer of percent-encoding; ends has for each byte where it ends in the text.
func decodeAll(text string) (plain []byte, ends []int) {
	plain, ends = make([]byte, len(text)), make([]int, len(text))
	copy(plain, text)
	for i := range ends {
		ends[i] = i + 1
	}
	// A layer a pass: an escape may be made of escaped characters. Each pass that finds one makes the text shorter.
	for layers := 0; layers < maxEncodings; layers++ {
		n := 0
		for i := 0; i < len(plain); i++ {
			c := plain[i]
			if c == '%' && i+2 < len(plain) {
				if hi, lo := unhex(plain[i+1]), unhex(plain[i+2]); hi < 16 && lo < 16 {
					c = hi<<4 | lo
					i += 2
				}
			}
			plain[n], ends[n] = c, ends[i]
			n++
		}
		if n == len(plain) {
			break
		}
		plain, ends = plain[:n], ends[:n]
	}
	return plain, ends
}

// maxEncodings is how many layers are looked through.
const maxEncodings = 8

func unhex(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		return c | 0x20 - 'a' + 10
	}
	return 255
}
