package sas

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/auth"
	"github.com/blobd/blobd/internal/auth/authtest"
	"github.com/blobd/blobd/internal/protocol"
)

var update = flag.Bool("update", false, "write the golden files")

// query makes pairs of name=value texts; values stand as they are.
func query(nameValue ...string) authtest.Pairs {
	var p authtest.Pairs
	for _, nv := range nameValue {
		name, value, _ := strings.Cut(nv, "=")
		p = append(p, authtest.Pair{Name: name, Value: value})
	}
	return p
}

func blobRequest(q authtest.Pairs) *auth.Request {
	return &auth.Request{
		Service: auth.Blob, Method: "GET", Account: account.DevName, RawPath: "/c/dir/b", Container: "c", Blob: "dir/b",
		Headers: authtest.Pairs{{Name: "x-ms-foo", Value: "bar"}}, Query: q, ContentLength: -1, Version: protocol.Newest,
		Client: netip.MustParseAddr("10.0.0.7"), HTTPS: true, Now: now,
	}
}

func tableRequest(q authtest.Pairs) *auth.Request {
	r := blobRequest(q)
	r.Service, r.RawPath, r.Container, r.Blob, r.Table = auth.Table, "/MyTable()", "", "", "MyTable"
	return r
}

// common are the fields of most signatures.
var common = query("sp=r", "st=2026-11-23T11:00:00Z", "se=2026-11-23T13:00:00Z", "sip=10.0.0.1-10.0.0.9", "spr=https")

var overrideFields = query("rscc=cc", "rscd=cd", "rsce=ce", "rscl=cl", "rsct=ct")

var delegationFields = query("skoid=oid", "sktid=tid", "skt=2026-11-23T10:00:00Z", "ske=2026-11-24T10:00:00Z", "sks=b", "skv=2026-12-06")

// kinds are signatures of every kind, with every field that their version signs.
var kinds = []struct {
	name    string
	service auth.Service
	since   protocol.Version
	fields  func(v protocol.Version) authtest.Pairs
}{
	{"account", auth.Blob, "2015-04-05", func(v protocol.Version) authtest.Pairs {
		return join(common, query("ss=bt", "srt=sco"), since(v, "2020-12-06", "ses=scope"))
	}},
	{"blob", auth.Blob, "2012-02-12", func(v protocol.Version) authtest.Pairs {
		return join(old(v), query("sr=b"), since(v, "2020-12-06", "ses=scope"), overridesSince(v))
	}},
	{"container", auth.Blob, "2012-02-12", func(v protocol.Version) authtest.Pairs {
		return join(old(v), query("sr=c"), overridesSince(v))
	}},
	{"snapshot", auth.Blob, "2018-11-09", func(v protocol.Version) authtest.Pairs {
		return join(common, query("sr=bs", "snapshot=2026-01-01T00:00:00.0000000Z"))
	}},
	{"version", auth.Blob, "2018-11-09", func(v protocol.Version) authtest.Pairs {
		return join(common, query("sr=bv", "versionid=2026-01-01T00:00:00.0000000Z"))
	}},
	{"directory", auth.Blob, "2026-06-06", func(v protocol.Version) authtest.Pairs { return join(common, query("sr=d", "sdd=1")) }},
	{"table", auth.Table, "2012-02-12", func(v protocol.Version) authtest.Pairs {
		return join(old(v), query("tn=MyTable", "spk=a", "srk=1", "epk=b", "erk=2"))
	}},
	{"delegation", auth.Blob, "2018-11-09", func(v protocol.Version) authtest.Pairs {
		return join(common, delegationFields, query("sr=b"), overrideFields, since(v, "2020-02-10", "scid=sc"),
			since(v, "2020-12-06", "ses=scope"), since(v, "2025-07-05", "skdutid=dt", "sduoid=du"), since(v, "2026-04-06", "srh=x-ms-foo", "srq=prefix,foo", "prefix=p q", "foo=bar"))
	}},
	{"tabledelegation", auth.Table, "2025-07-05", func(v protocol.Version) authtest.Pairs {
		return join(common, delegationFields.With("sks", "t"), query("tn=MyTable", "spk=a", "epk=b", "skdutid=dt", "sduoid=du"))
	}},
}

func join(parts ...authtest.Pairs) (all authtest.Pairs) {
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

func since(v, first protocol.Version, nameValue ...string) authtest.Pairs {
	if v < first {
		return nil
	}
	return query(nameValue...)
}

// old leaves out what versions before 2015-04-05 do not know.
func old(v protocol.Version) authtest.Pairs {
	if v < "2015-04-05" {
		return common.Without("sip").Without("spr")
	}
	return common
}

func overridesSince(v protocol.Version) authtest.Pairs {
	if v < "2013-08-15" {
		return nil
	}
	return overrideFields
}

// signed completes fields with sv and a good signature.
func signed(t testing.TB, service auth.Service, v protocol.Version, fields authtest.Pairs) *auth.Request {
	q := append(query("sv="+string(v)), fields...)
	if v == "" {
		q = fields
	}
	make := func(q authtest.Pairs) *auth.Request {
		if service == auth.Table {
			return tableRequest(q)
		}
		return blobRequest(q)
	}
	token, err := Parse(make(append(q, authtest.Pair{Name: "sig", Value: "x"})), false)
	require.NoError(t, err)
	defer token.Release()
	message, _ := token.message(make(q))
	key := dev.Keys[0]
	if token.Scheme == auth.UserDelegationSAS {
		key = token.Delegation().Derive(dev)
	}
	return make(append(q, authtest.Pair{Name: "sig", Value: key.Sign(message)}))
}

var all = &auth.Needs{SAS: "*", AccountSAS: "*", ResourceTypes: "sco"}

// The string to sign of every kind at every version, as golden files; and every such signature is accepted.
func TestStringsToSign(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			var golden strings.Builder
			for _, v := range protocol.KnownVersions() {
				if v < kind.since || v < "2012-02-12" {
					continue
				}
				r := signed(t, kind.service, v, kind.fields(v))
				token, err := Parse(r, true)
				require.NoError(t, err)
				message, ok := token.message(r)
				require.True(t, ok)
				fmt.Fprintf(&golden, "== %s\n%s\n", v, strings.ReplaceAll(string(message), "\n", "⏎\n"))
				token.Release()
				_, err = authorize(r, all, nil)
				require.NoError(t, err, v)
			}
			file := filepath.Join("testdata", "strings", kind.name+".txt")
			if *update {
				require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
				require.NoError(t, os.WriteFile(file, []byte(golden.String()), 0o644))
			}
			want, err := os.ReadFile(file)
			require.NoError(t, err)
			require.Equal(t, string(want), golden.String())
		})
	}
}

// TestAKeyOpensItsOwnServiceOnly: what is signed well with a user delegation key opens the service that the key was made for, whatever
// else the key's fields say; and no field of the key means anything under a signature that was made with another.
func TestAKeyOpensItsOwnServiceOnly(t *testing.T) {
	for _, kind := range kinds {
		v := protocol.Newest
		fields := kind.fields(v)
		own, ok := fields.Get("sks")
		if !ok {
			continue
		}
		good := signed(t, kind.service, v, fields)
		for _, name := range []string{"skoid", "sktid", "skt", "ske", "sks", "skv", "skdutid"} {
			was, _ := fields.Get(name)
			require.NotEmpty(t, was, name)
			for _, other := range []string{"b", "t", "q", "f", "bt", "tb", "B", "T", " b", was + "0", "2026-11-23T09:00:00Z", "2026-11-24T11:00:00Z", "2020-12-06"} {
				if other == was {
					continue
				}
				r := *good
				r.Query = good.Query.(authtest.Pairs).With(name, other)
				_, err := authorize(&r, all, nil)
				require.Error(t, err, "%s: %s=%s under the signature of another key", kind.name, name, other)
				if name == "sks" { // and when it is signed
					q := append(query("sv="+string(v)), fields.With(name, other)...)
					key := DelegationKey{"oid", "tid", "2026-11-23T10:00:00Z", "2026-11-24T10:00:00Z", other, "2026-12-06", "dt"}.Derive(dev)
					token, err := Parse(good, false)
					require.NoError(t, err)
					token.value[sks] = other
					message, ok := token.message(good)
					require.True(t, ok)
					token.Release()
					r.Query = append(q, authtest.Pair{Name: "sig", Value: key.Sign(message)})
					_, err = authorize(&r, all, nil)
					require.ErrorIs(t, err, protocol.ErrAuthenticationFailed, "%s: a key of %q, not %q", kind.name, other, own)
				}
			}
		}
	}
}

// Before 2012-02-12 there was no sv.
func TestWithoutVersion(t *testing.T) {
	r := signed(t, auth.Blob, "", query("sr=c", "sp=rw", "se=2026-11-23T13:00:00Z"))
	_, err := authorize(r, &auth.Needs{SAS: "r"}, nil)
	require.NoError(t, err)
	_, err = authorize(r, &auth.Needs{SAS: "d"}, nil)
	require.ErrorIs(t, err, protocol.ErrResourceNotFound, "signatures before 2015-04-05 are refused without telling why")
}

// A version that will come is taken as the newest, unless versions are strict.
func TestNewerVersions(t *testing.T) {
	r := signed(t, auth.Blob, "2031-01-02", kinds[1].fields("2031-01-02"))
	_, err := authorize(r, all, nil)
	require.NoError(t, err)
	_, err = Parse(r, true)
	require.ErrorIs(t, err, protocol.ErrAuthenticationFailed)
}

// Any signature is refused after any one character of any one field is changed, dropped or added, after a field is taken away, or
// when a field is there twice.
func TestEveryAlterationIsRefused(t *testing.T) {
	versions := []protocol.Version{"2012-02-12", "2013-08-15", "2015-02-21", "2015-04-05", "2018-11-09", "2020-02-10", "2020-12-06", "2025-07-05", "2026-04-06", "2026-06-06", protocol.Newest}
	tried := 0
	for _, kind := range kinds {
		for _, v := range versions {
			if v < kind.since {
				continue
			}
			good := signed(t, kind.service, v, kind.fields(v))
			q := good.Query.(authtest.Pairs)
			refused := func(altered authtest.Pairs, what string) {
				t.Helper()
				tried++
				r := *good
				r.Query = altered
				if grant, err := authorize(&r, all, nil); err == nil {
					// What is not signed must not matter.
					t.Errorf("%s %s: accepted with %s: %+v", kind.name, v, what, grant)
				}
			}
			for i, f := range q {
				if f.Name == "sdd" { // names the directory that is signed; see TestDirectory
					continue
				}
				for k := range f.Value {
					for _, c := range []byte{f.Value[k] ^ 1, f.Value[k] ^ 0x20, 'a', '0', ' ', '\n'} {
						altered := f.Value[:k] + string(c) + f.Value[k+1:]
						if altered == f.Value || f.Name == "tn" && strings.EqualFold(altered, f.Value) {
							continue
						}
						refused(q.With(f.Name, altered), fmt.Sprintf("%s=%q", f.Name, altered))
					}
					refused(q.With(f.Name, f.Value[:k]+f.Value[k+1:]), "a shorter "+f.Name)
				}
				refused(q.With(f.Name, f.Value+"0"), "a longer "+f.Name)
				refused(q.Without(f.Name), "no "+f.Name)
				if f.Name == "prefix" || f.Name == "foo" {
					continue // the first counts, for the signature and the operation alike
				}
				refused(append(append(authtest.Pairs{}, q...), q[i]), f.Name+" twice")
				refused(append(authtest.Pairs{{Name: strings.ToUpper(f.Name), Value: f.Value}}, q...), f.Name+" twice in another case")
			}
			for _, f := range append(join(common, overrideFields), query("si=policy", "spk=a", "epk=b", "ses=other", "sduoid=x", "skdutid=x", "saoid=x", "suoid=x", "scid=x", "srh=a", "srq=b")...) {
				if _, there := q.Get(f.Name); there {
					continue
				}
				if strings.HasPrefix(f.Name, "rsc") { // without effect where it is not signed: see TestOverrides
					continue
				}
				refused(append(append(authtest.Pairs{}, q...), f), f.Name+" added")
			}
			// For another resource.
			for _, change := range []func(r *auth.Request){
				func(r *auth.Request) { r.Account = "other" },
				func(r *auth.Request) { r.Container, r.Table = r.Container+"x", r.Table+"x" },
				func(r *auth.Request) { r.Blob += "x" },
				func(r *auth.Request) { r.Blob = strings.ToUpper(r.Blob) },
				func(r *auth.Request) {
					r.Service = map[auth.Service]auth.Service{auth.Blob: auth.Table, auth.Table: auth.Blob}[r.Service]
				},
			} {
				r := *good
				change(&r)
				if r.Account == good.Account && r.Container == good.Container && r.Table == good.Table && r.Blob == good.Blob && r.Service == good.Service {
					continue
				}
				if r.Blob != good.Blob && (kind.name == "account" || kind.name == "container" || kind.name == "directory" || kind.service == auth.Table) {
					continue // opens every blob, or knows of none
				}
				if r.Container != good.Container && kind.name == "account" || r.Service != good.Service && kind.name == "account" {
					continue // opens every container, and both services
				}
				tried++
				if _, err := authorize(&r, &auth.Needs{SAS: "r", AccountSAS: "r", ResourceTypes: "o"}, nil); err == nil {
					t.Errorf("%s %s: accepted for %s %s/%s %s", kind.name, v, r.Account, r.Container, r.Blob, r.Table)
				}
			}
		}
	}
	t.Logf("%d alterations", tried)
}

// The order of the parameters is nothing; the order of the letters is signed.
func TestOrder(t *testing.T) {
	r := signed(t, auth.Blob, protocol.Newest, join(common.With("sp", "rwd"), query("sr=c")))
	q := r.Query.(authtest.Pairs)
	var reversed authtest.Pairs
	for i := range q {
		reversed = append(reversed, q[len(q)-1-i])
	}
	r.Query = reversed
	_, err := authorize(r, all, nil)
	require.NoError(t, err)
	r.Query = q.With("sp", "dwr")
	_, err = authorize(r, all, nil)
	require.ErrorIs(t, err, protocol.ErrAuthenticationFailed)
	r = signed(t, auth.Blob, protocol.Newest, join(common.With("sp", "dwr"), query("sr=c")))
	_, err = authorize(r, all, nil)
	require.NoError(t, err, "any order that was signed")
}

func TestRefusals(t *testing.T) {
	blob := query("sr=b")
	acct := query("ss=b", "srt=o")
	detail := func(err error) string {
		var e *protocol.Error
		if errors.As(err, &e) {
			for _, d := range e.Details {
				if d.Name == "AuthenticationErrorDetail" || d.Name == "SourceIP" {
					return e.Code + ": " + d.Value
				}
			}
			return e.Code
		}
		return fmt.Sprint(err)
	}
	const frame = "AuthenticationFailed: Signature not valid in the specified time frame: "
	for _, c := range []struct {
		name   string
		fields authtest.Pairs
		edit   func(r *auth.Request)
		needs  auth.Needs
		want   string // "" for accepted
	}{
		{name: "expired", fields: join(blob, query("sp=r", "se=2026-11-23T12:00:00Z")), want: "AuthenticationFailed: Signed expiry time [Mon, 23 Nov 2026 12:00:00 GMT] must be after signed start time [Mon, 23 Nov 2026 12:00:00 GMT]"},
		{name: "a second before expiry", fields: join(blob, query("sp=r", "se=2026-11-23T12:00:01Z"))},
		{name: "not yet valid", fields: join(blob, query("sp=r", "st=2026-11-23T12:00:01Z", "se=2026-11-24")), want: frame + "Start [Mon, 23 Nov 2026 12:00:01 GMT] - Expiry [Tue, 24 Nov 2026 00:00:00 GMT] - Current [Mon, 23 Nov 2026 12:00:00 GMT]"},
		{name: "from the second on", fields: join(blob, query("sp=r", "st=2026-11-23T12:00Z", "se=2026-11-24"))},
		{name: "start after expiry", fields: join(blob, query("sp=r", "st=2026-11-25", "se=2026-11-24")), want: "AuthenticationFailed: Signed expiry time [Tue, 24 Nov 2026 00:00:00 GMT] must be after signed start time [Wed, 25 Nov 2026 00:00:00 GMT]"},
		{name: "not a time", fields: join(blob, query("sp=r", "se=tomorrow")), want: "AuthenticationFailed: Signature fields not well formed."},
		{name: "a comma in a time", fields: join(blob, query("sp=r", "se=2026-11-24T00:00:00,5Z")), want: "AuthenticationFailed: Signature fields not well formed."},
		{name: "no expiry", fields: join(blob, query("sp=r")), want: "AuthenticationFailed: se is mandatory. Cannot be empty"},
		{name: "no permission", fields: join(blob, query("se=2026-11-24")), want: "AuthenticationFailed: sp is mandatory. Cannot be empty"},
		{name: "permission twice", fields: join(blob, query("sp=rr", "se=2026-11-24")), want: "AuthenticationFailed: Signature fields not well formed."},
		{name: "no such permission", fields: join(blob, query("sp=rz", "se=2026-11-24")), want: "AuthenticationFailed: Signature fields not well formed."},
		{name: "first address", fields: join(blob, query("sp=r", "se=2026-11-24", "sip=10.0.0.7-10.0.0.9"))},
		{name: "last address", fields: join(blob, query("sp=r", "se=2026-11-24", "sip=10.0.0.1-10.0.0.7"))},
		{name: "one address", fields: join(blob, query("sp=r", "se=2026-11-24", "sip=10.0.0.7"))},
		{name: "an address as IPv6 has it", fields: join(blob, query("sp=r", "se=2026-11-24", "sip=10.0.0.7")), edit: func(r *auth.Request) { r.Client = netip.MustParseAddr("::ffff:10.0.0.7") }},
		{name: "another address", fields: join(blob, query("sp=r", "se=2026-11-24", "sip=10.0.0.8-10.0.0.9")), want: "AuthorizationSourceIPMismatch: 10.0.0.7"},
		{name: "IPv6 caller", fields: join(blob, query("sp=r", "se=2026-11-24", "sip=10.0.0.7")), edit: func(r *auth.Request) { r.Client = netip.MustParseAddr("::1") }, want: "AuthorizationSourceIPMismatch: ::1"},
		{name: "malformed range", fields: join(blob, query("sp=r", "se=2026-11-24", "sip=10.0.0.9-10.0.0.1")), want: "AuthenticationFailed: Signature fields not well formed."},
		{name: "HTTP where HTTPS is required", fields: join(blob, query("sp=r", "se=2026-11-24", "spr=https")), edit: func(r *auth.Request) { r.HTTPS = false }, want: "AuthorizationProtocolMismatch"},
		{name: "HTTP where either is", fields: join(blob, query("sp=r", "se=2026-11-24", "spr=https,http")), edit: func(r *auth.Request) { r.HTTPS = false }},
		{name: "HTTP where none is named", fields: join(blob, query("sp=r", "se=2026-11-24")), edit: func(r *auth.Request) { r.HTTPS = false }},
		{name: "malformed protocol", fields: join(blob, query("sp=r", "se=2026-11-24", "spr=http")), want: "AuthenticationFailed: Signature fields not well formed."},
		{name: "missing letter", fields: join(blob, query("sp=r", "se=2026-11-24")), needs: auth.Needs{SAS: "w|c"}, want: "AuthorizationPermissionMismatch"},
		{name: "never by service SAS", fields: join(blob, query("sp=r", "se=2026-11-24")), needs: auth.Needs{AccountSAS: "r", ResourceTypes: "c"}, want: "AuthorizationFailure"},
		{name: "other service", fields: join(acct.With("ss", "t"), query("sp=r", "se=2026-11-24")), want: "AuthorizationServiceMismatch"},
		{name: "other resource type", fields: join(acct, query("sp=r", "se=2026-11-24")), needs: auth.Needs{AccountSAS: "r", ResourceTypes: "c"}, want: "AuthorizationResourceTypeMismatch"},
		{name: "missing account letter", fields: join(acct, query("sp=r", "se=2026-11-24")), needs: auth.Needs{AccountSAS: "w", ResourceTypes: "o"}, want: "AuthorizationPermissionMismatch"},
		{name: "never by account SAS", fields: join(acct, query("sp=r", "se=2026-11-24")), needs: auth.Needs{SAS: "r"}, want: "AuthorizationFailure"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := signed(t, auth.Blob, "2020-12-06", c.fields)
			if c.edit != nil {
				c.edit(r)
			}
			if c.needs == (auth.Needs{}) {
				c.needs = auth.Needs{SAS: "r", AccountSAS: "r", ResourceTypes: "o"}
			}
			_, err := authorize(r, &c.needs, nil)
			if c.want == "" {
				require.NoError(t, err)
				return
			}
			require.Equal(t, c.want, detail(err))
		})
	}
	for missing, q := range map[string]authtest.Pairs{
		"sig": query("sv=2020-12-06", "sr=b", "sp=r", "se=2026-11-24"),
		"sr":  query("sv=2020-12-06", "sig=x", "sp=r", "se=2026-11-24"),
		"sv":  query("ss=b", "srt=o", "sig=x", "sp=r", "se=2026-11-24"),
		"srt": query("sv=2020-12-06", "ss=b", "sig=x", "sp=r", "se=2026-11-24"),
		"ss":  query("sv=2020-12-06", "ss=", "srt=o", "sig=x", "sp=r", "se=2026-11-24"),
		"ske": query("sv=2020-12-06", "sr=b", "sig=x", "sp=r", "se=2026-11-24", "skoid=o", "sktid=t", "skt=2026-11-23", "sks=b", "skv=2020-12-06"),
	} {
		_, err := Parse(blobRequest(q), false)
		require.Equal(t, "AuthenticationFailed: "+missing+" is mandatory. Cannot be empty", detail(err))
	}
	_, err := Parse(tableRequest(query("sv=2020-12-06", "sig=x", "sp=r", "se=2026-11-24")), false)
	require.Equal(t, "AuthenticationFailed: tn is mandatory. Cannot be empty", detail(err))
	for _, q := range []authtest.Pairs{
		query("sv=2018-03-28", "sr=bs", "snapshot=x"), query("sv=2018-03-28", "sr=bv", "versionid=x"), query("sv=2018-03-28", "sr=d", "sdd=1"), query("sv=2026-04-06", "sr=d", "sdd=1"),
	} {
		_, err := Parse(blobRequest(append(q, query("sig=x", "sp=r", "se=2026-11-24")...)), false)
		require.Equal(t, "AuthenticationFailed: Signature fields not well formed.", detail(err), "%v: before sr had the value", q)
	}
	for _, v := range []string{"2011-08-18", "2020-13-01", "2020-12-07", "x"} {
		_, err := Parse(blobRequest(query("sv="+v, "sr=b", "sig=x", "sp=r", "se=2026-11-24")), false)
		require.Equal(t, "AuthenticationFailed: Signature fields not well formed.", detail(err), v)
	}
}

// TestAgentsNeedAHierarchicalNamespace: a signature for somebody whom its maker did not vouch for, whose rights the namespace is to
// tell, opens nothing where there is no such namespace.
func TestAgentsNeedAHierarchicalNamespace(t *testing.T) {
	for _, v := range []protocol.Version{"2020-02-10", "2020-12-06", "2025-07-05", "2026-04-06", protocol.Newest} {
		for line, agent := range map[int]string{10: "saoid", 11: "suoid"} {
			r := signed(t, auth.Blob, v, join(common, delegationFields, query("sr=b", agent+"=someone")))
			token, err := Parse(r, true)
			require.NoError(t, err)
			require.NoError(t, token.Verify(dev, r))
			require.Equal(t, "someone", strings.Split(string(token.buf), "\n")[line], agent)
			token.Release()
			_, err = authorize(r, all, nil)
			require.ErrorIs(t, err, protocol.ErrAuthorizationFailure, "%s %s", v, agent)
		}
	}
}

// Letters open something only for the resources and from the version on that know them.
func TestLetters(t *testing.T) {
	open := func(v protocol.Version, service auth.Service, fields authtest.Pairs) string {
		letters := ""
		for c := 'a'; c <= 'z'; c++ {
			letter := string(c)
			if set, _ := auth.ParseLetters(letter); set&everLetters == 0 {
				continue
			}
			r := signed(t, service, v, join(fields, query("sp="+letter, "se=2026-11-24")))
			if _, err := authorize(r, &auth.Needs{SAS: letter, AccountSAS: letter, ResourceTypes: "o"}, nil); err == nil {
				letters += letter
			}
		}
		return letters
	}
	for _, c := range []struct {
		name    string
		service auth.Service
		fields  authtest.Pairs
		want    map[protocol.Version]string
	}{
		{"blob", auth.Blob, query("sr=b"), map[protocol.Version]string{
			"2012-02-12": "drw", "2015-04-05": "acdrw", "2019-07-07": "acdrw", "2019-12-12": "acdrtwxy", "2020-02-10": "acdemoprtwxy", protocol.Newest: "acdeimoprtwxy",
		}},
		{"container", auth.Blob, query("sr=c"), map[protocol.Version]string{
			"2012-02-12": "dlrw", "2015-04-05": "acdlrw", "2020-02-10": "acdelmoprtwx", protocol.Newest: "acdefilmoprtwx",
		}},
		{"account", auth.Blob, query("ss=b", "srt=o"), map[protocol.Version]string{
			"2015-04-05": "acdlpruw", "2019-12-12": "acdflprtuwxy", protocol.Newest: "acdefilmoprtuwxy",
		}},
		{"table", auth.Table, query("tn=MyTable"), map[protocol.Version]string{"2012-02-12": "adru", protocol.Newest: "adru"}},
	} {
		for v, want := range c.want {
			require.Equal(t, want, open(v, c.service, c.fields), "%s %s", c.name, v)
		}
	}
}

// policies answers for stored access policies.
type policies struct {
	access auth.Access
	err    error
}

func (p policies) Access(_ context.Context, account, name string) (auth.Access, error) {
	if account != "devstoreaccount1" || name != "c" && name != "MyTable" {
		return auth.Access{}, protocol.ErrContainerNotFound
	}
	return p.access, p.err
}

func TestStoredAccessPolicies(t *testing.T) {
	store := func(p ...auth.Policy) policies { return policies{access: auth.Access{Policies: p}} }
	full := auth.Policy{ID: "p", Start: "2026-11-23T11:00:00.0000000Z", Expiry: "2026-11-23T13:00:00.0000000Z", Permission: "rw", HasPermission: true}
	for _, c := range []struct {
		name   string
		policy policies
		fields authtest.Pairs
		want   string
	}{
		{"everything in the policy", store(full), query("si=p"), ""},
		{"the one of several", store(auth.Policy{ID: "o"}, full), query("si=p"), ""},
		{"everything in the signature", store(auth.Policy{ID: "p"}), query("si=p", "sp=r", "se=2026-11-24"), ""},
		{"completing each other", store(auth.Policy{ID: "p", Expiry: "2026-11-24"}), query("si=p", "sp=r", "st=2026-11-23"), ""},
		{"no such policy", store(full), query("si=q"), "AuthenticationFailed"},
		{"ids have case", store(full), query("si=P"), "AuthenticationFailed"},
		{"policies taken away", store(), query("si=p"), "AuthenticationFailed"},
		{"no container", policies{err: protocol.ErrContainerNotFound}, query("si=p"), "AuthenticationFailed"},
		{"expired in the policy", store(auth.Policy{ID: "p", Expiry: "2026-11-23T12:00:00Z"}), query("si=p", "sp=r"), "AuthenticationFailed"},
		{"not yet in the policy", store(auth.Policy{ID: "p", Start: "2026-11-23T12:00:01Z"}), query("si=p", "sp=r", "se=2026-11-24"), "AuthenticationFailed"},
		{"other permission in the policy", store(auth.Policy{ID: "p", Permission: "d", HasPermission: true}), query("si=p", "se=2026-11-24"), "AuthorizationPermissionMismatch"},
		{"no expiry anywhere", store(auth.Policy{ID: "p"}), query("si=p", "sp=r"), "AuthenticationFailed"},
		{"no permission anywhere", store(auth.Policy{ID: "p"}), query("si=p", "se=2026-11-24"), "AuthenticationFailed"},
		{"expiry in both", store(full), query("si=p", "se=2026-11-24"), "AuthenticationFailed"},
		{"start in both", store(full), query("si=p", "st=2026-11-22"), "AuthenticationFailed"},
		{"permission in both", store(full), query("si=p", "sp=r"), "AuthenticationFailed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, key := range []auth.Service{auth.Blob, auth.Table} {
				fields := join(query("sr=c"), c.fields)
				if key == auth.Table {
					fields = join(query("tn=MyTable"), c.fields)
				}
				_, err := authorize(signed(t, key, "2019-02-02", fields), &auth.Needs{SAS: "r"}, c.policy)
				if c.want == "" {
					require.NoError(t, err)
					continue
				}
				var e *protocol.Error
				require.ErrorAs(t, err, &e)
				require.Equal(t, c.want, e.Code)
			}
		})
	}
	newer := store(auth.Policy{ID: "p", Expiry: "2026-11-24", Permission: "rc", HasPermission: true})
	_, err := authorize(signed(t, auth.Blob, "2014-02-14", query("sr=c", "si=p")), &auth.Needs{SAS: "r"}, newer)
	require.ErrorIs(t, err, protocol.ErrFeatureVersionMismatch)
	broken := policies{err: errors.New("disk")}
	_, err = authorize(signed(t, auth.Blob, "2019-02-02", query("sr=c", "si=p")), &auth.Needs{SAS: "r"}, broken)
	require.EqualError(t, err, "disk", "a failure of the store is no refusal")
}

func TestDirectory(t *testing.T) {
	r := signed(t, auth.Blob, protocol.Newest, join(common.With("sp", "rl"), query("sr=d", "sdd=1")))
	with := func(blob, prefix string) error {
		r := *r
		r.Blob = blob
		if prefix != "" {
			r.Query = append(r.Query.(authtest.Pairs), authtest.Pair{Name: "prefix", Value: prefix})
		}
		_, err := authorize(&r, &auth.Needs{SAS: "r", Prefix: true}, nil)
		return err
	}
	for _, name := range []string{"dir/b", "dir/deeper/b", "dir/", "dir"} {
		require.NoError(t, with(name, ""), name)
	}
	for _, name := range []string{"b", "dir2/b", "dirx", "other/dir/b", "/dir/b"} {
		require.ErrorIs(t, with(name, ""), protocol.ErrAuthenticationFailed, name)
	}
	require.NoError(t, with("", "dir/"))
	require.NoError(t, with("", "dir/x"))
	for _, prefix := range []string{"", "d", "dir", "dir2/", "/dir/"} {
		require.ErrorIs(t, with("", prefix), protocol.ErrAuthenticationFailed, prefix)
	}
	whole := *r
	whole.Blob, whole.Query = "", append(r.Query.(authtest.Pairs), authtest.Pair{Name: "prefix", Value: "dir/"})
	_, err := authorize(&whole, &auth.Needs{SAS: "r"}, nil)
	require.ErrorIs(t, err, protocol.ErrAuthorizationFailure, "an operation on the container that knows of no prefix")
	deeper := *r
	deeper.Query = r.Query.(authtest.Pairs).With("sdd", "2")
	deeper.Blob = "dir/b"
	_, err = authorize(&deeper, &auth.Needs{SAS: "r"}, nil)
	require.ErrorIs(t, err, protocol.ErrAuthenticationFailed)
}

// A container's signature opens each of its blobs, snapshots and versions too; a snapshot's opens nothing else.
func TestWhatIsOpened(t *testing.T) {
	read := &auth.Needs{SAS: "r"}
	container := signed(t, auth.Blob, protocol.Newest, join(common, query("sr=c")))
	for _, extra := range []string{"snapshot=2026-01-01T00:00:00.0000000Z", "versionid=2026-01-01T00:00:00.0000000Z", "timeout=1"} {
		r := *container
		r.Query = append(r.Query.(authtest.Pairs), query(extra)...)
		_, err := authorize(&r, read, nil)
		require.NoError(t, err, extra)
	}
	snapshot := signed(t, auth.Blob, protocol.Newest, join(common, query("sr=bs", "snapshot=2026-01-01T00:00:00.0000000Z")))
	both := *snapshot
	both.Query = append(both.Query.(authtest.Pairs), query("versionid=2026-02-01T00:00:00.0000000Z")...)
	_, err := authorize(&both, read, nil)
	require.ErrorIs(t, err, protocol.ErrAuthenticationFailed)
	blob := signed(t, auth.Blob, protocol.Newest, join(common, query("sr=b")))
	level := *blob
	level.Blob = ""
	_, err = authorize(&level, &auth.Needs{SAS: "l"}, nil)
	require.ErrorIs(t, err, protocol.ErrAuthenticationFailed, "a blob's signature on its container")
}

// Names that could be read as others: a container's with a slash as a blob's, a line feed as the end of a line.
func TestNamesThatFitNoSignature(t *testing.T) {
	for _, v := range []protocol.Version{"2012-02-12", "2018-03-28", protocol.Newest} {
		r := signed(t, auth.Blob, v, join(old(v), query("sr=b")))
		swapped := *r
		swapped.Query = r.Query.(authtest.Pairs).With("sr", "c")
		swapped.Container, swapped.Blob = r.Container+"/"+r.Blob, ""
		_, err := authorize(&swapped, all, nil)
		require.ErrorIs(t, err, protocol.ErrAuthenticationFailed, v)
		for _, edit := range []func(r *auth.Request){func(r *auth.Request) { r.Container += "\nx" }, func(r *auth.Request) { r.Blob += "\nx" }} {
			split := *r
			edit(&split)
			token, err := Parse(&split, true)
			require.NoError(t, err)
			_, ok := token.message(&split)
			require.False(t, ok)
			token.Release()
		}
	}
}

func TestOverrides(t *testing.T) {
	r := signed(t, auth.Blob, "2013-08-15", join(query("sr=b", "sp=r", "se=2026-11-24"), overrideFields))
	grant, err := authorize(r, &auth.Needs{SAS: "r"}, nil)
	require.NoError(t, err)
	require.Equal(t, &auth.Override{CacheControl: "cc", ContentDisposition: "cd", ContentEncoding: "ce", ContentLanguage: "cl", ContentType: "ct"}, grant.Override)
	// Where they are not signed they have no effect.
	for _, unsigned := range []*auth.Request{
		signed(t, auth.Blob, "2012-02-12", query("sr=b", "sp=r", "se=2026-11-24")),
		signed(t, auth.Blob, protocol.Newest, query("ss=b", "srt=o", "sp=r", "se=2026-11-24")),
	} {
		unsigned.Query = append(unsigned.Query.(authtest.Pairs), overrideFields...)
		grant, err := authorize(unsigned, &auth.Needs{SAS: "r", AccountSAS: "r", ResourceTypes: "o"}, nil)
		require.NoError(t, err)
		require.Nil(t, grant.Override)
	}
	split := signed(t, auth.Blob, protocol.Newest, query("sr=b", "sp=r", "se=2026-11-24", "rsct=text/plain"))
	split.Query = split.Query.(authtest.Pairs).With("rsct", "text/plain\r\nSet-Cookie: a=b")
	_, err = authorize(split, &auth.Needs{SAS: "r"}, nil)
	require.ErrorIs(t, err, protocol.ErrAuthenticationFailed)
}

func TestTableRange(t *testing.T) {
	grant, err := authorize(signed(t, auth.Table, "2019-02-02", query("tn=mytable", "sp=raud", "se=2026-11-24", "spk=b", "srk=2", "epk=d")), &auth.Needs{SAS: "a&u"}, nil)
	require.NoError(t, err)
	require.Equal(t, &auth.KeyRange{StartPK: "b", StartRK: "2", EndPK: "d", HasStartPK: true, HasStartRK: true, HasEndPK: true}, grant.Keys)
	require.Error(t, grant.Permits(&auth.Needs{SAS: "r"}, "other"))
	require.NoError(t, grant.Permits(&auth.Needs{SAS: "r"}, "MYTABLE"))
	for _, fields := range []authtest.Pairs{query("srk=1"), query("erk=1"), query("spk=a", "erk=1")} {
		_, err := authorize(signed(t, auth.Table, "2019-02-02", join(query("tn=mytable", "sp=r", "se=2026-11-24"), fields)), &auth.Needs{SAS: "r"}, nil)
		require.ErrorIs(t, err, protocol.ErrAuthenticationFailed)
	}
}

func TestKeyRotation(t *testing.T) {
	rotated, err := dev.WithKey(0, account.GenerateKey())
	require.NoError(t, err)
	second, err := rotated.WithKey(1, dev.Keys[0])
	require.NoError(t, err)
	r := signed(t, auth.Blob, protocol.Newest, join(common, query("sr=b")))
	for acct, ok := range map[*account.Account]bool{dev: true, rotated: false, second: true} {
		token, err := Parse(r, false)
		require.NoError(t, err)
		require.Equal(t, ok, token.Verify(acct, r) == nil)
		token.Release()
	}
}

func TestParseTime(t *testing.T) {
	for text, want := range map[string]string{
		"2026-11-23": "2026-11-23T00:00:00Z", "2026-11-23T12:30Z": "2026-11-23T12:30:00Z", "2026-11-23T12:30:15Z": "2026-11-23T12:30:15Z",
		"2026-11-23T12:30:15.1234567Z": "2026-11-23T12:30:15.1234567Z", "2026-11-23T12:30:15+02:00": "2026-11-23T10:30:15Z", "2026-11-23T12:30+02:00": "2026-11-23T10:30:00Z",
	} {
		got, ok := ParseTime(text)
		require.True(t, ok, text)
		require.Equal(t, want, got.UTC().Format(time.RFC3339Nano))
	}
	for _, text := range []string{"", "2026", "2026-11", "2026-11-23T", "2026-11-23T12", "2026-11-23T12:30", "2026-11-23 12:30Z", "2026-13-01", " 2026-11-23", "23/11/2026", "2026-11-23T12:30:15,5Z"} {
		_, ok := ParseTime(text)
		require.False(t, ok, text)
	}
}

func BenchmarkServiceSAS(b *testing.B) { benchmark(b, kinds[2].fields(protocol.Newest)) }
func BenchmarkAccountSAS(b *testing.B) { benchmark(b, kinds[0].fields(protocol.Newest)) }
func BenchmarkDelegationSAS(b *testing.B) {
	benchmark(b, join(common, delegationFields, query("sr=b")))
}

func benchmark(b *testing.B, fields authtest.Pairs) {
	r := signed(b, auth.Blob, protocol.Newest, fields)
	needs := &auth.Needs{SAS: "r", AccountSAS: "r", ResourceTypes: "o"}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := authorize(r, needs, nil); err != nil {
			b.Fatal(err)
		}
	}
}

// Nothing that a stranger can write is accepted, and nothing breaks the parser.
func FuzzParse(f *testing.F) {
	for _, kind := range kinds {
		var parts []string
		for _, p := range signed(f, kind.service, protocol.Newest, kind.fields(protocol.Newest)).Query.(authtest.Pairs) {
			parts = append(parts, p.Name+"="+p.Value)
		}
		f.Add(strings.Join(parts, "&"), "c", "dir/b")
	}
	f.Add("sv=2012-02-12&sr=d&sdd=255&sig=x&sp=&se=", "", "")
	stranger := account.New(account.DevName, now, account.GenerateKey())
	f.Fuzz(func(t *testing.T, text, container, blob string) {
		for _, service := range []auth.Service{auth.Blob, auth.Table} {
			r := blobRequest(authtest.ParseQuery(text))
			r.Service, r.Container, r.Blob = service, container, blob
			token, err := Parse(r, false)
			if err != nil {
				continue
			}
			if token.Verify(stranger, r) == nil {
				t.Fatal("accepted")
			}
			_, _ = token.Grant(context.Background(), r, all, nil)
			token.Release()
		}
	})
}

var (
	now = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	dev = account.Development(now)
)

// authorize does as the gate does.
func authorize(r *auth.Request, needs *auth.Needs, resources auth.Resources) (auth.Grant, error) {
	token, err := Parse(r, false)
	if err != nil {
		return auth.Grant{}, err
	}
	defer token.Release()
	if err := token.Verify(dev, r); err != nil {
		return auth.Grant{}, err
	}
	return token.Grant(context.Background(), r, needs, resources)
}
