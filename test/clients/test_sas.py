"""Signatures made by the Python SDKs and by az storage … generate-sas let in what they are for. They do not let in once any one
character or field is altered, when they have expired or are not valid yet, from another address, over HTTP, or to something else."""

import datetime
import http.client
import json
import os
import ssl
import subprocess
import time
import urllib.parse
import urllib.request

import pytest
from azure.core.credentials import AccessToken, AzureNamedKeyCredential
from azure.data.tables import TableServiceClient, generate_account_sas as generate_table_account_sas, generate_table_sas
from azure.storage.blob import BlobServiceClient, generate_account_sas, generate_blob_sas, generate_container_sas

from conftest import ACCOUNT, ANY_PORT, KEY, Server

NOW = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
TERMS = {
    "": dict(start=NOW - datetime.timedelta(minutes=10), expiry=NOW + datetime.timedelta(hours=1), ip="127.0.0.0-127.255.255.255"),
    "expired": dict(start=NOW - datetime.timedelta(minutes=10), expiry=NOW - datetime.timedelta(minutes=5)),
    "early": dict(start=NOW + datetime.timedelta(minutes=10), expiry=NOW + datetime.timedelta(hours=1)),
    "elsewhere": dict(start=NOW - datetime.timedelta(minutes=10), expiry=NOW + datetime.timedelta(hours=1), ip="10.9.8.7"),
}
CODES = {"expired": "AuthenticationFailed", "early": "AuthenticationFailed", "elsewhere": "AuthorizationSourceIPMismatch"}
LIST = "&restype=container&comp=list"


class Secure(Server):
    """A blobd over HTTPS, with its issuer for development, that holds what the signatures are for."""

    secret = "a secret of this test"

    def __init__(self, data):
        super().__init__(data, "--tls-self-signed", "--versioning", "--oauth-dev-issuer", ANY_PORT, "--oauth-dev-secret", self.secret)
        self.ca = str(next(p for p in (self.data / "tls").iterdir() if "PRIVATE KEY" not in p.read_text()))
        self.trust = ssl.create_default_context(cafile=self.ca)
        blobs = BlobServiceClient(self.blob, credential=KEY, connection_verify=self.ca)
        for container in ("con", "other"):
            blobs.create_container(container)
            for name in ("dir/b", "other"):
                blobs.get_blob_client(container, name).upload_blob(b"hello")
        client = blobs.get_blob_client("con", "dir/b")
        self.version = client.get_blob_properties().version_id
        self.snapshot = client.create_snapshot()["snapshot"]
        tables = TableServiceClient(self.table, credential=AzureNamedKeyCredential(ACCOUNT, KEY), connection_verify=self.ca)
        for table in ("MyTable", "Other"):
            tables.create_table(table)

    def delegation(self):
        """A user delegation key, asked for with a token of the issuer."""
        form = urllib.parse.urlencode(dict(
            grant_type="client_credentials", client_id="b10bd000-0000-4000-8000-000000000001", client_secret=self.secret, scope="https://storage.azure.com/.default"))
        with urllib.request.urlopen(self.issuer.replace("/v2.0", "/oauth2/v2.0/token"), form.encode(), context=self.trust, timeout=30) as answer:
            token = json.load(answer)["access_token"]

        class Credential:
            def get_token(self, *scopes, **_):
                return AccessToken(token, int(time.time()) + 3600)

        return BlobServiceClient(self.blob, credential=Credential(), connection_verify=self.ca).get_user_delegation_key(
            NOW - datetime.timedelta(minutes=20), NOW + datetime.timedelta(hours=2))


@pytest.fixture(scope="module")
def secure(tmp_path_factory):
    s = Secure(tmp_path_factory.mktemp("secure") / "data")
    yield s
    s.stop()


class Caller:
    """Sends GETs over one connection and returns the status and the error code."""

    def __init__(self, url, trust):
        self.host, self.trust, self.connection = urllib.parse.urlsplit(url).netloc, trust, None

    def get(self, path, query):
        if self.connection is None:
            self.connection = (http.client.HTTPSConnection(self.host, context=self.trust, timeout=60) if self.trust
                               else http.client.HTTPConnection(self.host, timeout=60))
        self.connection.request("GET", f"{path}?{query}", headers={"Accept": "application/json;odata=minimalmetadata"})
        answer = self.connection.getresponse()
        answer.read()
        if answer.will_close:
            self.connection.close()
            self.connection = None
        return answer.status, answer.headers.get("x-ms-error-code")


def meaning(query):
    """Equal for two queries that say the same: escapes, the case of names and that of a table's name do not matter."""
    fields = []
    for field in filter(None, query.split("&")):
        name, _, value = field.partition("=")
        name, value = urllib.parse.unquote_plus(name, errors="surrogateescape").lower(), urllib.parse.unquote_plus(value, errors="surrogateescape")
        fields.append((name, value.lower() if name == "tn" else value))
    return fields


def alterations(query):
    """All queries that differ from one in a character (another, or none) or in a field: gone, empty, doubled, or exchanged with another."""
    altered = set()
    for i, c in enumerate(query):
        for other in {chr(ord(c) ^ 1), chr(ord(c) ^ 0x20), "A", ""}:
            if other == "" or " " < other < "\x7f" and other != "#":
                altered.add(query[:i] + other + query[i + 1:])
    fields = query.split("&")
    for i, field in enumerate(fields):
        name, _, value = field.partition("=")
        altered.add("&".join(fields[:i] + fields[i + 1:]))
        altered.add("&".join(fields[:i] + [name + "="] + fields[i + 1:]))
        for twice in (field, name + "=", name + "=x"):
            altered.add("&".join(fields + [twice]))
            altered.add("&".join([twice] + fields))
        for j in range(i):
            other, _, theirs = fields[j].partition("=")
            exchanged = list(fields)
            exchanged[i], exchanged[j] = f"{name}={theirs}", f"{other}={value}"
            altered.add("&".join(exchanged))
    said = meaning(query)
    return [a for a in sorted(altered) if meaning(a) != said]


def check(secure, server, sign, path, other, extra="", on="blob", derived=False, refused=tuple(CODES)):
    """sign makes the signature for terms; path is what it opens, other what it does not; refused are the terms that do not let in."""
    query = sign(**TERMS[""])
    caller = Caller(getattr(secure, on), secure.trust)
    path, (other, _, rest) = f"/{ACCOUNT}{path}", f"/{ACCOUNT}{other}".partition("?")
    assert caller.get(path, query + extra) == (200, None), query
    assert caller.get(path, "&".join(reversed(query.split("&"))) + extra) == (200, None), "reordered"
    for what in refused:
        assert caller.get(path, sign(**TERMS[what]) + extra) == (403, CODES[what]), what
    assert caller.get(other, f"{query}{extra}&{rest}")[0] == 403, "something else"
    plain = Caller(getattr(server, on), None)
    # The key of a user delegation is derived from a secret of the server that made it.
    assert plain.get(path, query + extra) == (403, "AuthenticationFailed" if derived else "AuthorizationProtocolMismatch")
    for altered in alterations(query):
        status, code = caller.get(path, altered + extra)
        assert status in (400, 403), f"{status} {code} for {altered}\ninstead of {query}"


OVERRIDES = dict(cache_control="no-cache", content_disposition='attachment; filename="ä b.txt"', content_encoding="identity", content_language="de",
                 content_type="text/x-sas; charset=utf-8", encryption_scope="scope")


def of_blob(**more):
    return lambda **terms: generate_blob_sas(ACCOUNT, "con", "dir/b", permission="r", protocol="https", **terms, **more)


def of_container(**more):
    return lambda **terms: generate_container_sas(ACCOUNT, "con", permission="rl", protocol="https", **terms, **more)


def test_service(secure, server):
    check(secure, server, of_blob(account_key=KEY, **OVERRIDES), "/con/dir/b", "/con/other")
    check(secure, server, of_container(account_key=KEY), "/con", "/other", LIST)


def test_moments(secure, server):
    snapshot, version = urllib.parse.quote(secure.snapshot), urllib.parse.quote(secure.version)
    of_snapshot, of_version = of_blob(account_key=KEY, snapshot=secure.snapshot), of_blob(account_key=KEY, version_id=secure.version)
    check(secure, server, lambda **terms: of_snapshot(**terms) + f"&snapshot={snapshot}", "/con/dir/b", "/con/other")
    check(secure, server, lambda **terms: of_version(**terms) + f"&versionid={version}", "/con/dir/b", "/con/other")


def test_account(secure, server):
    def sign(**terms):
        return generate_account_sas(ACCOUNT, KEY, resource_types="o", permission="rl", protocol="https", **terms)
    check(secure, server, sign, "/con/dir/b", "/con?restype=container&comp=list")


def test_user_delegation(secure, server):
    key = secure.delegation()
    check(secure, server, of_blob(user_delegation_key=key, correlation_id="11111111-2222-4333-8444-555555555555", **OVERRIDES), "/con/dir/b", "/con/other", derived=True)
    check(secure, server, of_container(user_delegation_key=key), "/con", "/other", LIST, derived=True)


def test_table(secure, server):
    named = AzureNamedKeyCredential(ACCOUNT, KEY)

    def of_table(ip=None, **terms):
        return generate_table_sas(named, "MyTable", permission="r", protocol="https", ip_address_or_range=ip, start_pk="a", start_rk="1", end_pk="z", end_rk="9", **terms)

    def of_account(ip=None, **terms):
        return generate_table_account_sas(named, resource_types="o", permission="r", protocol="https", ip_address_or_range=ip, **terms)
    check(secure, server, of_table, "/MyTable()", "/Other()", on="table")
    check(secure, server, of_account, "/MyTable()", "/Tables", on="table")


def generate(*args):
    """az storage … generate-sas, which takes seconds to start."""
    def sign(start, expiry, ip=None):
        flags = ["--start", start.strftime("%Y-%m-%dT%H:%MZ"), "--expiry", expiry.strftime("%Y-%m-%dT%H:%MZ"), "--https-only", *(["--ip", ip] if ip else [])]
        r = subprocess.run([os.environ["AZ"], "storage", *args, *flags, "--account-name", ACCOUNT, "--account-key", KEY, "-o", "tsv"], capture_output=True, text=True, timeout=300)
        assert r.returncode == 0, r.stderr
        return r.stdout.strip()
    return sign


# All terms for one of the commands only, as each takes its time; and that for tables forgets the address.
@pytest.mark.parametrize("args, path, other, extra, on, refused", [
    pytest.param("blob generate-sas -c con -n dir/b --permissions r --content-type text/x-sas", "/con/dir/b", "/con/other", "", "blob", tuple(CODES), id="blob"),
    pytest.param("container generate-sas -n con --permissions rl", "/con", "/other", LIST, "blob", (), id="container"),
    pytest.param("table generate-sas -n MyTable --permissions r", "/MyTable()", "/Other()", "", "table", (), id="table"),
    pytest.param("account generate-sas --services bt --resource-types o --permissions rl", "/con/dir/b", "/con?restype=container&comp=list", "", "blob", (), id="account"),
])
def test_az(secure, server, args, path, other, extra, on, refused):
    check(secure, server, generate(*args.split()), path, other, extra, on, refused=refused)
