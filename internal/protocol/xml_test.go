package protocol

import (
	"encoding/xml"
	"net/url"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

func TestAppendText(t *testing.T) {
	for in, want := range map[string]string{
		"": "", "plain": "plain", `a<b>&"'`: "a&lt;b&gt;&amp;&quot;&apos;", "é\U0001F600": "é\U0001F600", "a\rb\tc\n": "a&#xD;b\tc\n",
		"\x00\uFFFF\xff": "\uFFFD\uFFFD\uFFFD", "<": "&lt;",
	} {
		require.Equal(t, want, string(AppendText(nil, in)), "%q", in)
	}
}

func TestAppendName(t *testing.T) {
	require.Equal(t, "<Name>a//../b%2Fc&amp;</Name>", string(AppendName(nil, "Name", "a//../b%2Fc&", Newest)))
	require.Equal(t, `<Name Encoded="true">dir1%2Fdir2%2Ffile%EF%BF%BF.blob</Name>`, string(AppendName(nil, "Name", "dir1/dir2/file\uFFFF.blob", Newest)))
	require.Equal(t, "<Name>file\uFFFD</Name>", string(AppendName(nil, "Name", "file\uFFFF", V20201206)))
	require.Equal(t, "<A /><B>x</B>", string(AppendElement(AppendElement(nil, "A", ""), "B", "x")))
}

// What is written reads back as the same name with a real XML parser.
func FuzzAppendName(f *testing.F) {
	f.Add("a<b>&\r\n\t")
	f.Add("\x01\uFFFE")
	f.Fuzz(func(t *testing.T, name string) {
		if !utf8.ValidString(name) {
			return
		}
		var got struct {
			Encoded bool   `xml:"Encoded,attr"`
			Text    string `xml:",chardata"`
		}
		require.NoError(t, xml.Unmarshal(AppendName(nil, "Name", name, Newest), &got))
		if got.Encoded {
			var err error
			got.Text, err = url.PathUnescape(got.Text)
			require.NoError(t, err)
		}
		require.Equal(t, name, got.Text)
	})
}

// TestXMLErrorsTellThePlace: of a document that is no XML; of one that says what it must not, the place is 0, as recorded.
func TestXMLErrorsTellThePlace(t *testing.T) {
	_, err := ParseXML([]byte("<a>\n  <b></c>\n</a>"))
	var e *Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, []Detail{{"LineNumber", "2"}, {"LinePosition", "10"}, {"Reason", ""}}, e.Details)
	_, err = ParseXML([]byte("<!DOCTYPE a><a/>"))
	require.ErrorAs(t, err, &e)
	require.Equal(t, []Detail{{"LineNumber", "0"}, {"LinePosition", "0"}, {"Reason", ""}}, e.Details)
}
