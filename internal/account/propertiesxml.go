package account

import (
	"strconv"
	"strings"

	"github.com/blobd/blobd/internal/protocol"
)

// AppendXML appends the document of Get Service Properties: every section that the version knows, set or not.
func (p *Properties) AppendXML(b []byte, service byte, v protocol.Version) []byte {
	if p == nil {
		p = &Properties{}
	}
	b = append(b, protocol.XMLHead+"<StorageServiceProperties>"...)
	logging := Logging{Version: "1.0"}
	if p.Logging != nil {
		logging = *p.Logging
	}
	b = append(b, "<Logging>"...)
	b = protocol.AppendElement(b, "Version", logging.Version)
	b = appendBool(b, "Read", logging.Read)
	b = appendBool(b, "Write", logging.Write)
	b = appendBool(b, "Delete", logging.Delete)
	b = append(appendRetention(b, logging.Retention), "</Logging>"...)
	if v < protocol.V20130815 {
		b = appendMetrics(b, "Metrics", p.HourMetrics)
	} else {
		b = appendMetrics(b, "HourMetrics", p.HourMetrics)
		b = appendMetrics(b, "MinuteMetrics", p.MinuteMetrics)
		if len(p.CORS) == 0 {
			b = append(b, "<Cors />"...)
		} else {
			b = append(b, "<Cors>"...)
			for i := range p.CORS {
				b = appendCORSRule(b, &p.CORS[i])
			}
			b = append(b, "</Cors>"...)
		}
	}
	if service == BlobService {
		if p.DefaultServiceVersion != "" {
			b = protocol.AppendElement(b, "DefaultServiceVersion", string(p.DefaultServiceVersion))
		}
		if v >= protocol.V20170729 {
			b = append(b, "<DeleteRetentionPolicy>"...)
			b = appendDays(b, p.DeleteRetention.Retention)
			if p.DeleteRetention.Enabled && v >= protocol.V20200210 {
				b = appendBool(b, "AllowPermanentDelete", p.DeleteRetention.AllowPermanentDelete)
			}
			b = append(b, "</DeleteRetentionPolicy>"...)
		}
		if v >= protocol.V20180328 {
			b = appendWebsite(b, &p.StaticWebsite)
		}
	}
	return append(b, "</StorageServiceProperties>"...)
}

func appendBool(b []byte, name string, value bool) []byte {
	return protocol.AppendElement(b, name, strconv.FormatBool(value))
}

func appendDays(b []byte, r Retention) []byte {
	b = appendBool(b, "Enabled", r.Enabled)
	if r.Enabled {
		b = protocol.AppendElement(b, "Days", strconv.Itoa(r.Days))
	}
	return b
}

func appendRetention(b []byte, r Retention) []byte {
	b = append(b, "<RetentionPolicy>"...)
	return append(appendDays(b, r), "</RetentionPolicy>"...)
}

func appendMetrics(b []byte, name string, m *Metrics) []byte {
	if m == nil {
		m = &Metrics{Version: "1.0"}
	}
	b = append(append(append(b, '<'), name...), '>')
	b = protocol.AppendElement(b, "Version", m.Version)
	b = appendBool(b, "Enabled", m.Enabled)
	if m.Enabled {
		b = appendBool(b, "IncludeAPIs", m.IncludeAPIs)
	}
	b = appendRetention(b, m.Retention)
	return append(append(append(b, "</"...), name...), '>')
}

func appendCORSRule(b []byte, c *CORSRule) []byte {
	b = append(b, "<CorsRule>"...)
	b = protocol.AppendElement(b, "AllowedMethods", strings.Join(c.AllowedMethods, ","))
	b = protocol.AppendElement(b, "AllowedOrigins", strings.Join(c.AllowedOrigins, ","))
	b = protocol.AppendElement(b, "AllowedHeaders", strings.Join(c.AllowedHeaders, ","))
	b = protocol.AppendElement(b, "ExposedHeaders", strings.Join(c.ExposedHeaders, ","))
	b = protocol.AppendElement(b, "MaxAgeInSeconds", strconv.Itoa(c.MaxAge))
	return append(b, "</CorsRule>"...)
}

func appendWebsite(b []byte, w *StaticWebsite) []byte {
	b = append(b, "<StaticWebsite>"...)
	b = appendBool(b, "Enabled", w.Enabled)
	for _, e := range [...][2]string{
		{"IndexDocument", w.IndexDocument}, {"DefaultIndexDocumentPath", w.DefaultIndexDocumentPath}, {"ErrorDocument404Path", w.ErrorDocument404Path},
	} {
		if e[1] != "" {
			b = protocol.AppendElement(b, e[0], e[1])
		}
	}
	return append(b, "</StaticWebsite>"...)
}
