package arm

import (
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/blobd/blobd/internal/account"
)

// The signatures that the resource provider makes are of the version of its examples, which every client and server knows.
const sasVersion = "2015-04-05"

const sasTime = "2006-01-02T15:04:05Z"

// sasMoment brings a time into the form of signatures; clients send fractions of a second.
func sasMoment(name, text string) (string, error) {
	if text == "" {
		return "", nil
	}
	for _, form := range []string{time.RFC3339Nano, "2006-01-02T15:04Z07:00", "2006-01-02"} {
		if t, err := time.Parse(form, text); err == nil {
			return t.UTC().Format(sasTime), nil
		}
	}
	return "", invalidProperty(name, text)
}

func letters(name, text, known string, needed bool) error {
	if needed && text == "" || strings.Trim(text, known) != "" {
		return invalidProperty(name, text)
	}
	for i := range text {
		if strings.IndexByte(text[i+1:], text[i]) >= 0 {
			return invalidProperty(name, text)
		}
	}
	return nil
}

// line refuses what would move the lines of the text that is signed.
func line(name, text string) error {
	if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return invalidProperty(name, text)
	}
	return nil
}

func (c *call) signingKey(name string) (account.Key, error) {
	switch {
	case name == "" || strings.EqualFold(name, "key1"):
		return c.account.Keys[0], nil
	case strings.EqualFold(name, "key2"):
		return c.account.Keys[1], nil
	}
	return account.Key{}, invalidProperty("keyToSign", name)
}

func protocolText(p string) (string, error) {
	switch lower(p) {
	case "", "https", "https,http":
		return lower(p), nil
	}
	return "", invalidProperty("signedProtocol", p)
}

func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func token(pairs ...string) string {
	var b strings.Builder
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] == "" {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte('&')
		}
		b.WriteString(pairs[i] + "=" + strings.ReplaceAll(url.QueryEscape(pairs[i+1]), "+", "%20"))
	}
	return b.String()
}

// signed is what the bodies of both kinds of signatures have.
type signed struct {
	Permission string `json:"signedPermission"`
	Start      string `json:"signedStart"`
	Expiry     string `json:"signedExpiry"`
	IP         string `json:"signedIp"`
	Protocol   string `json:"signedProtocol"`
	Key        string `json:"keyToSign"`
}

// parse returns what is signed in the form in which it is, and the key.
func (s *signed) parse(c *call) (start, expiry, protocol string, key account.Key, err error) {
	start, err1 := sasMoment("signedStart", s.Start)
	expiry, err2 := sasMoment("signedExpiry", s.Expiry)
	protocol, err3 := protocolText(s.Protocol)
	key, err4 := c.signingKey(s.Key)
	return start, expiry, protocol, key, first(err1, err2, err3, err4)
}

func (c *call) accountSAS() error {
	var b struct {
		signed
		Services string `json:"signedServices"`
		Types    string `json:"signedResourceTypes"`
	}
	if err := c.body(&b); err != nil {
		return err
	}
	start, expiry, protocol, key, err := b.parse(c)
	if err := first(err, letters("signedServices", b.Services, "bqtf", true), letters("signedResourceTypes", b.Types, "sco", true),
		letters("signedPermission", b.Permission, "rdwlacup", true), line("signedIp", b.IP)); err != nil {
		return err
	}
	if expiry == "" {
		return invalidProperty("signedExpiry", b.Expiry)
	}
	text := strings.Join([]string{c.account.Name, b.Permission, b.Services, b.Types, start, expiry, b.IP, protocol, sasVersion, ""}, "\n")
	return c.reply(http.StatusOK, object{"accountSasToken": token("sv", sasVersion, "ss", b.Services, "srt", b.Types, "sp", b.Permission, "st", start, "se", expiry,
		"sip", b.IP, "spr", protocol, "sig", key.Sign([]byte(text)))})
}

func (c *call) serviceSAS() error {
	var b struct {
		signed
		Canonical   string `json:"canonicalizedResource"`
		Resource    string `json:"signedResource"`
		Identifier  string `json:"signedIdentifier"`
		StartPK     string `json:"startPk"`
		StartRK     string `json:"startRk"`
		EndPK       string `json:"endPk"`
		EndRK       string `json:"endRk"`
		Cache       string `json:"rscc"`
		Disposition string `json:"rscd"`
		Encoding    string `json:"rsce"`
		Language    string `json:"rscl"`
		Type        string `json:"rsct"`
	}
	if err := c.body(&b); err != nil {
		return err
	}
	start, expiry, protocol, key, err := b.parse(c)
	for name, text := range map[string]string{"signedIdentifier": b.Identifier, "signedIp": b.IP, "startPk": b.StartPK, "startRk": b.StartRK, "endPk": b.EndPK, "endRk": b.EndRK,
		"rscc": b.Cache, "rscd": b.Disposition, "rsce": b.Encoding, "rscl": b.Language, "rsct": b.Type, "canonicalizedResource": b.Canonical} {
		err = first(err, line(name, text))
	}
	if err != nil {
		return err
	}
	if expiry == "" && b.Identifier == "" {
		return invalidProperty("signedExpiry", b.Expiry)
	}
	service, rest, _ := strings.Cut(strings.TrimPrefix(b.Canonical, "/"), "/")
	owner, name, _ := strings.Cut(rest, "/")
	if owner != c.account.Name || name == "" { // the key is this account's, and nothing else is signed with it
		return invalidProperty("canonicalizedResource", b.Canonical)
	}
	switch service {
	case "blob":
		if err := first(letters("signedPermission", b.Permission, "racwdl", b.Identifier == ""), letters("signedResource", b.Resource, "bc", true)); err != nil || len(b.Resource) != 1 || (b.Resource == "c") == strings.Contains(name, "/") {
			return first(err, invalidProperty("signedResource", b.Resource))
		}
		text := strings.Join([]string{b.Permission, start, expiry, b.Canonical, b.Identifier, b.IP, protocol, sasVersion, b.Cache, b.Disposition, b.Encoding, b.Language, b.Type}, "\n")
		return c.reply(http.StatusOK, object{"serviceSasToken": token("sv", sasVersion, "sr", b.Resource, "si", b.Identifier, "sp", b.Permission, "st", start, "se", expiry, "sip", b.IP, "spr", protocol,
			"rscc", b.Cache, "rscd", b.Disposition, "rsce", b.Encoding, "rscl", b.Language, "rsct", b.Type, "sig", key.Sign([]byte(text)))})
	case "table":
		if err := letters("signedPermission", b.Permission, "raud", b.Identifier == ""); err != nil || strings.Contains(name, "/") {
			return first(err, invalidProperty("canonicalizedResource", b.Canonical))
		}
		canonical := "/table/" + owner + "/" + lower(name)
		text := strings.Join([]string{b.Permission, start, expiry, canonical, b.Identifier, b.IP, protocol, sasVersion, b.StartPK, b.StartRK, b.EndPK, b.EndRK}, "\n")
		return c.reply(http.StatusOK, object{"serviceSasToken": token("sv", sasVersion, "tn", name, "si", b.Identifier, "sp", b.Permission, "st", start, "se", expiry, "sip", b.IP, "spr", protocol,
			"spk", b.StartPK, "srk", b.StartRK, "epk", b.EndPK, "erk", b.EndRK, "sig", key.Sign([]byte(text)))})
	}
	return invalidProperty("canonicalizedResource", b.Canonical)
}
