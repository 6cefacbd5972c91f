package account

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/protocol"
)

const fullProperties = `<?xml version="1.0" encoding="utf-8"?>
<StorageServiceProperties>
  <Logging><Version>1.0</Version><Delete>true</Delete><Read>false</Read><Write>true</Write><RetentionPolicy><Enabled>true</Enabled><Days>7</Days></RetentionPolicy></Logging>
  <HourMetrics><Version>1.0</Version><Enabled>true</Enabled><IncludeAPIs>true</IncludeAPIs><RetentionPolicy><Enabled>false</Enabled></RetentionPolicy></HourMetrics>
  <MinuteMetrics><Enabled>false</Enabled></MinuteMetrics>
  <Cors><CorsRule><AllowedOrigins>http://a.example, http://b.example</AllowedOrigins><AllowedMethods>GET,PUT</AllowedMethods><AllowedHeaders>x-ms-*</AllowedHeaders><ExposedHeaders></ExposedHeaders><MaxAgeInSeconds>60</MaxAgeInSeconds></CorsRule></Cors>
  <DefaultServiceVersion>2020-10-02</DefaultServiceVersion>
  <DeleteRetentionPolicy><Enabled>true</Enabled><Days>3</Days><AllowPermanentDelete>true</AllowPermanentDelete></DeleteRetentionPolicy>
  <StaticWebsite><Enabled>true</Enabled><IndexDocument>index.html</IndexDocument><ErrorDocument404Path>404/x.html</ErrorDocument404Path></StaticWebsite>
</StorageServiceProperties>`

func TestProperties(t *testing.T) {
	p, err := (*Properties)(nil).Update(BlobService, []byte(fullProperties), protocol.Newest)
	require.NoError(t, err)
	const want = protocol.XMLHead + "<StorageServiceProperties>" +
		"<Logging><Version>1.0</Version><Read>false</Read><Write>true</Write><Delete>true</Delete><RetentionPolicy><Enabled>true</Enabled><Days>7</Days></RetentionPolicy></Logging>" +
		"<HourMetrics><Version>1.0</Version><Enabled>true</Enabled><IncludeAPIs>true</IncludeAPIs><RetentionPolicy><Enabled>false</Enabled></RetentionPolicy></HourMetrics>" +
		"<MinuteMetrics><Version>1.0</Version><Enabled>false</Enabled><RetentionPolicy><Enabled>false</Enabled></RetentionPolicy></MinuteMetrics>" +
		"<Cors><CorsRule><AllowedMethods>GET,PUT</AllowedMethods><AllowedOrigins>http://a.example,http://b.example</AllowedOrigins><AllowedHeaders>x-ms-*</AllowedHeaders><ExposedHeaders /><MaxAgeInSeconds>60</MaxAgeInSeconds></CorsRule></Cors>" +
		"<DefaultServiceVersion>2020-10-02</DefaultServiceVersion>" +
		"<DeleteRetentionPolicy><Enabled>true</Enabled><Days>3</Days><AllowPermanentDelete>true</AllowPermanentDelete></DeleteRetentionPolicy>" +
		"<StaticWebsite><Enabled>true</Enabled><IndexDocument>index.html</IndexDocument><ErrorDocument404Path>404/x.html</ErrorDocument404Path></StaticWebsite>" +
		"</StorageServiceProperties>"
	require.Equal(t, want, string(p.AppendXML(nil, BlobService, protocol.Newest)))

	// What is read back sets the same.
	again, err := (*Properties)(nil).Update(BlobService, []byte(want), protocol.Newest)
	require.NoError(t, err)
	require.Equal(t, p, again)

	// Sections that are not sent stay; an empty Cors clears the rules.
	next, err := p.Update(BlobService, []byte("<StorageServiceProperties><Cors/></StorageServiceProperties>"), protocol.Newest)
	require.NoError(t, err)
	require.Empty(t, next.CORS)
	require.Len(t, p.CORS, 1)
	next.CORS = p.CORS
	require.Equal(t, p, next)
}

// Python's former libraries write booleans with a capital.
func TestPropertiesWithCapitals(t *testing.T) {
	want, err := (*Properties)(nil).Update(BlobService, []byte(fullProperties), protocol.Newest)
	require.NoError(t, err)
	got, err := (*Properties)(nil).Update(BlobService, []byte(strings.NewReplacer(">true<", ">True<", ">false<", ">FALSE<").Replace(fullProperties)), protocol.Newest)
	require.NoError(t, err)
	require.Equal(t, want, got)
}

// Sections appear with the version that brought them.
func TestPropertiesByVersion(t *testing.T) {
	for _, c := range []struct {
		service byte
		version protocol.Version
		want    string
	}{
		{BlobService, "2012-02-12", "Logging Metrics"},
		{BlobService, "2013-08-15", "Logging HourMetrics MinuteMetrics Cors"},
		{BlobService, "2017-07-29", "Logging HourMetrics MinuteMetrics Cors DeleteRetentionPolicy"},
		{BlobService, "2018-03-28", "Logging HourMetrics MinuteMetrics Cors DeleteRetentionPolicy StaticWebsite"},
		{TableService, protocol.Newest, "Logging HourMetrics MinuteMetrics Cors"},
	} {
		root, err := protocol.ParseXML((*Properties)(nil).AppendXML(nil, c.service, c.version))
		require.NoError(t, err)
		var names []string
		for _, n := range root.Children {
			names = append(names, n.Name)
		}
		require.Equal(t, c.want, strings.Join(names, " "))
	}
}

func TestMalformedProperties(t *testing.T) {
	rule := func(origins, methods, headers, exposed, age string) string {
		return "<CorsRule><AllowedOrigins>" + origins + "</AllowedOrigins><AllowedMethods>" + methods + "</AllowedMethods><AllowedHeaders>" + headers +
			"</AllowedHeaders><ExposedHeaders>" + exposed + "</ExposedHeaders><MaxAgeInSeconds>" + age + "</MaxAgeInSeconds></CorsRule>"
	}
	good := rule("*", "GET", "*", "*", "1")
	for _, c := range []struct{ name, sections, code string }{
		{"nothing", "", "InvalidXmlDocument"},
		{"unknown section", "<Other/>", "InvalidXmlDocument"},
		{"section twice", "<Cors/><Cors/>", "InvalidXmlDocument"},
		{"retention without days", "<DeleteRetentionPolicy><Enabled>true</Enabled></DeleteRetentionPolicy>", "InvalidXmlDocument"},
		{"no days", "<DeleteRetentionPolicy><Enabled>true</Enabled><Days>0</Days></DeleteRetentionPolicy>", "InvalidXmlDocument"},
		{"too many days", "<DeleteRetentionPolicy><Enabled>true</Enabled><Days>366</Days></DeleteRetentionPolicy>", "InvalidXmlDocument"},
		{"too many days of logs", "<Logging><Version>1.0</Version><Delete>true</Delete><Read>true</Read><Write>true</Write><RetentionPolicy><Enabled>true</Enabled><Days>366</Days></RetentionPolicy></Logging>", "InvalidXmlDocument"},
		{"days that are no number", "<DeleteRetentionPolicy><Enabled>true</Enabled><Days>x</Days></DeleteRetentionPolicy>", "InvalidXmlNodeValue"},
		{"not a boolean", "<StaticWebsite><Enabled>yes</Enabled></StaticWebsite>", "InvalidXmlNodeValue"},
		{"no Enabled", "<StaticWebsite/>", "InvalidXmlDocument"},
		{"two index documents", "<StaticWebsite><Enabled>true</Enabled><IndexDocument>a</IndexDocument><DefaultIndexDocumentPath>b</DefaultIndexDocumentPath></StaticWebsite>", "InvalidXmlDocument"},
		{"version", "<DefaultServiceVersion>2019-01-01</DefaultServiceVersion>", "InvalidXmlNodeValue"},
		{"logging version", "<Logging><Version>3.0</Version><Delete>true</Delete><Read>false</Read><Write>true</Write></Logging>", "InvalidXmlNodeValue"},
		{"logging incomplete", "<Logging><Version>1.0</Version><Delete>true</Delete></Logging>", "InvalidXmlDocument"},
		{"rule of another name", "<Cors><Rule/></Cors>", "InvalidXmlDocument"},
		{"rule incomplete", "<Cors><CorsRule><AllowedOrigins>*</AllowedOrigins></CorsRule></Cors>", "InvalidXmlDocument"},
		{"rule without origin", "<Cors>" + rule("", "GET", "*", "*", "1") + "</Cors>", "InvalidXmlDocument"},
		{"rule with a pattern of origins", "<Cors>" + rule("http://a*.example", "GET", "*", "*", "1") + "</Cors>", "InvalidXmlNodeValue"},
		{"rule with any origin and another", "<Cors>" + rule("*,http://a", "GET", "*", "*", "1") + "</Cors>", "InvalidXmlNodeValue"},
		{"rule with another method", "<Cors>" + rule("*", "TRACE", "*", "*", "1") + "</Cors>", "InvalidXmlNodeValue"},
		{"rule with negative age", "<Cors>" + rule("*", "GET", "*", "*", "-1") + "</Cors>", "InvalidXmlNodeValue"},
		{"three prefixes", "<Cors>" + rule("*", "GET", "a*,b*,c*", "*", "1") + "</Cors>", "InvalidXmlNodeValue"},
		{"pattern within", "<Cors>" + rule("*", "GET", "a*b", "*", "1") + "</Cors>", "InvalidXmlNodeValue"},
		{"long header", "<Cors>" + rule("*", "GET", strings.Repeat("a", 257), "*", "1") + "</Cors>", "InvalidXmlNodeValue"},
		{"65 origins", "<Cors>" + rule(strings.TrimSuffix(strings.Repeat("a,", 65), ","), "GET", "*", "*", "1") + "</Cors>", "InvalidXmlNodeValue"},
		{"six rules", "<Cors>" + strings.Repeat(good, 6) + "</Cors>", "InvalidXmlDocument"},
		{"over 2 KiB", "<Cors>" + strings.Repeat(rule(strings.Repeat("a", 200)+","+strings.Repeat("b", 200), "GET", "*", "*", "1"), 5) + "</Cors>", "InvalidXmlDocument"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := (&Properties{}).Update(BlobService, []byte("<StorageServiceProperties>"+c.sections+"</StorageServiceProperties>"), protocol.Newest)
			var e *protocol.Error
			require.ErrorAs(t, err, &e)
			require.Equal(t, c.code, e.Code)
		})
	}
	_, err := (&Properties{}).Update(TableService, []byte("<StorageServiceProperties><StaticWebsite><Enabled>false</Enabled></StaticWebsite></StorageServiceProperties>"), protocol.Newest)
	require.ErrorIs(t, err, protocol.ErrInvalidXmlDocument)
	five, err := (&Properties{}).Update(BlobService, []byte("<StorageServiceProperties><Cors>"+strings.Repeat(good, 5)+"</Cors></StorageServiceProperties>"), protocol.Newest)
	require.NoError(t, err)
	require.Len(t, five.CORS, 5)
}

// What is accepted is read back as it was set.
func FuzzProperties(f *testing.F) {
	f.Add([]byte(fullProperties))
	f.Add([]byte("<StorageServiceProperties><Cors/></StorageServiceProperties>"))
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, service := range []byte{BlobService, TableService} {
			p, err := (*Properties)(nil).Update(service, body, protocol.Newest)
			if err != nil {
				continue
			}
			text := p.AppendXML(nil, service, protocol.Newest)
			again, err := (*Properties)(nil).Update(service, text, protocol.Newest)
			if err != nil {
				t.Fatalf("%v: %s", err, text)
			}
			if got := again.AppendXML(nil, service, protocol.Newest); string(got) != string(text) {
				t.Fatalf("%s\n%s", text, got)
			}
		}
	})
}
