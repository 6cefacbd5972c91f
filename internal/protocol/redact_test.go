package protocol

import (
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRedact(t *testing.T) {
	for address, want := range map[string]string{
		"/c/b?se=1&sig=a%2Bb%3D&sp=r":                         "/c/b?se=1&sig=REDACTED&sp=r",
		"/c/b?SIG=a&sIg=b":                                    "/c/b?SIG=REDACTED&sIg=REDACTED",
		"/c/b?%73%69%67=a":                                    "/c/b?%73%69%67=REDACTED",
		"/c/b%3Fsv=1%26sig=a/+=":                              "/c/b%3Fsv=1%26sig=REDACTED",
		"/c/b%3Fsv%3D1%26sig%3Da%3D":                          "/c/b%3Fsv%3D1%26sig%3DREDACTED",
		"/c/b?sv=1;sig=a;se=2":                                "/c/b?sv=1;sig=REDACTED;se=2",
		"/c/b?u=https%3A%2F%2Fh%2Fb%3Fsig%3Da%252Bb%26sp%3Dr": "/c/b?u=https%3A%2F%2Fh%2Fb%3Fsig%3DREDACTED%26sp%3Dr",
		"/c/b?u=%253Fsig%253Dabc":                             "/c/b?u=%253Fsig%253DREDACTED",
		"/c/b?u=%25%33%46sig%25%33%44abc":                     "/c/b?u=%25%33%46sig%25%33%44REDACTED",
		"https://s3/b?X-Amz-Credential=c&X-Amz-Signature=s":   "https://s3/b?X-Amz-Credential=REDACTED&X-Amz-Signature=REDACTED",
		"https://f/api?code=abc&x=1":                          "https://f/api?code=REDACTED&x=1",
		"/c/b?signal=1&design=2&comp=list":                    "/c/b?signal=1&design=2&comp=list",
		"/c/b?sig=":                                           "/c/b?sig=",
		"/c/b":                                                "/c/b",
		"/c/%":                                                "/c/%",
	} {
		require.Equal(t, want, Redact(address))
	}
}

// Whatever stands before the name, and however it is written, the secret is not there any more.
func FuzzRedact(f *testing.F) {
	f.Add("/p?a=1&", "sig", byte(0))
	f.Add("/p%3F", "%73%69%67", byte(1))
	f.Add("?;", "s%69g", byte(2))
	f.Add("/p?%", "X-Amz-Signature", byte(3))
	f.Fuzz(func(t *testing.T, before, name string, layers byte) {
		const secret = "TopSecretSignature"
		decoded, err := url.PathUnescape(name)
		if err != nil || !secretNames[strings.ToLower(decoded)] || before != "" && !strings.ContainsRune("?&;/", rune(before[len(before)-1])) {
			return
		}
		text := name + "=" + secret + "&z=1"
		for range layers % 4 {
			text = url.QueryEscape(text)
		}
		require.NotContains(t, Redact(before+text), secret)
	})
}
