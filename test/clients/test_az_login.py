"""az storage … --auth-mode login, with tokens of the issuer for development, as a service principal and as a person."""

import datetime
import json
import os
import re
import ssl
import subprocess
import urllib.parse
import urllib.request

import pytest

from conftest import ACCOUNT, ANY_PORT, CLIENT, Server

TENANT = "b10bd000-0000-4000-8000-000000000000"
SECRET = "a secret of this test"


@pytest.fixture(scope="module")
def login(tmp_path_factory):
    """A server that takes tokens only, and az with a cloud that knows its issuer."""
    s = Server(tmp_path_factory.mktemp("login") / "data", "--no-shared-key", "--tls-self-signed", "--oauth-dev-issuer", ANY_PORT, "--oauth-dev-secret", SECRET)
    ca = str(s.data / "tls" / "cert.pem")
    s.env = os.environ | {"AZURE_CONFIG_DIR": str(s.data.parent / "az"), "AZURE_CORE_INSTANCE_DISCOVERY": "false", "REQUESTS_CA_BUNDLE": ca}
    s.authority, s.trust = s.issuer.split(f"/{TENANT}")[0], ssl.create_default_context(cafile=ca)
    nobody = "https://management.invalid/"  # asked for nothing
    az(s, "cloud", "register", "-n", "blobd", "--skip-endpoint-discovery", "--endpoint-active-directory", s.authority,
       "--endpoint-active-directory-resource-id", nobody, "--endpoint-resource-manager", nobody)
    az(s, "cloud", "set", "-n", "blobd")
    yield s
    s.stop()


def az(s, *args):
    r = subprocess.run([os.environ["AZ"], *args, "-o", "json"], env=s.env, capture_output=True, text=True, timeout=300)
    assert r.returncode == 0, f"az {' '.join(args)}\n{r.stdout}\n{r.stderr}"
    return json.loads(r.stdout) if r.stdout.strip() else None


AS = ["login", "--tenant", TENANT, "--skip-subscription-discovery", "--allow-no-subscriptions"]


def by_secret(s):
    return az(s, *AS, "--service-principal", "-u", CLIENT, "-p", SECRET)


def by_device_code(s):
    with subprocess.Popen([os.environ["AZ"], *AS, "--use-device-code", "-o", "json"], env=s.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as p:
        asked = (re.search(r"open the page (\S+) and enter the code (\w+)", line) for line in p.stderr)
        page, code = next(filter(None, asked)).groups()
        with urllib.request.urlopen(page, urllib.parse.urlencode({"user_code": code}).encode(), context=s.trust, timeout=30) as answer:
            assert "Done" in answer.read().decode()
        out, err = p.communicate(timeout=300)
    assert p.returncode == 0, err
    return json.loads(out)


@pytest.mark.parametrize("sign_in, who", [(by_secret, CLIENT), (by_device_code, "developer@localhost")])
def test_login(login, name, tmp_path, sign_in, who):
    assert sign_in(login)[0]["user"]["name"] == who
    blob = ["--auth-mode", "login", "--blob-endpoint", login.blob]
    (tmp_path / "f").write_bytes(b"eins")
    az(login, "storage", "container", "create", "-n", name, *blob)
    az(login, "storage", "blob", "upload", "-c", name, "-n", "b", "-f", str(tmp_path / "f"), *blob)
    az(login, "storage", "blob", "download", "-c", name, "-n", "b", "-f", str(tmp_path / "back"), *blob)
    assert (tmp_path / "back").read_bytes() == b"eins"
    expiry = (datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=1)).strftime("%Y-%m-%dT%H:%MZ")
    sas = az(login, "storage", "container", "generate-sas", "-n", name, "--as-user", "--permissions", "r", "--expiry", expiry, "--account-name", ACCOUNT, *blob)
    with urllib.request.urlopen(f"{login.blob}/{name}/b?{sas}", context=login.trust, timeout=30) as answer:
        assert answer.read() == b"eins"
    table = ["--auth-mode", "login", "--table-endpoint", login.table]
    az(login, "storage", "table", "create", "-n", name, *table)
    az(login, "storage", "entity", "insert", "-t", name, "-e", "PartitionKey=p", "RowKey=r", *table)
    assert len(az(login, "storage", "entity", "query", "-t", name, *table)["items"]) == 1
    az(login, "logout")
