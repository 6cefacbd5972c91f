"""az storage … with a connection string."""

import json
import os
import subprocess

import pytest


@pytest.fixture
def az(server):
    def run(*args):
        r = subprocess.run([os.environ["AZ"], "storage", *args, "--connection-string", server.connection, "-o", "json"],
                           capture_output=True, text=True, timeout=300)
        assert r.returncode == 0, f"az storage {' '.join(args)}\n{r.stdout}\n{r.stderr}"
        return json.loads(r.stdout) if r.stdout.strip() else None
    return run


def test_blob(az, name, tmp_path):
    assert az("container", "create", "-n", name)["created"] is True
    src = tmp_path / "src"
    (src / "sub").mkdir(parents=True)
    (src / "one.txt").write_bytes(b"eins")
    (src / "sub" / "two.bin").write_bytes(os.urandom(300_000))
    az("blob", "upload", "-c", name, "-n", "one", "-f", str(src / "one.txt"), "--metadata", "k=v")
    az("blob", "download", "-c", name, "-n", "one", "-f", str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == b"eins"
    az("blob", "upload-batch", "-d", name, "-s", str(src))
    assert [b["name"] for b in az("blob", "list", "-c", name)] == ["one", "one.txt", "sub/two.bin"]
    (tmp_path / "dst").mkdir()
    az("blob", "download-batch", "-s", name, "-d", str(tmp_path / "dst"))
    assert (tmp_path / "dst/sub/two.bin").read_bytes() == (src / "sub/two.bin").read_bytes()
    assert az("blob", "show", "-c", name, "-n", "one")["metadata"] == {"k": "v"}
    assert az("blob", "exists", "-c", name, "-n", "none")["exists"] is False
    az("blob", "delete-batch", "-s", name)
    assert az("blob", "list", "-c", name) == []
    az("container", "delete", "-n", name)


def test_blob_by_generated_sas(az, name, server):
    az("container", "create", "-n", name)
    sas = az("container", "generate-sas", "-n", name, "--permissions", "rwl", "--expiry", "2099-01-01T00:00Z")
    r = subprocess.run([os.environ["AZ"], "storage", "blob", "list", "-c", name, "--blob-endpoint", server.blob, "--sas-token", sas],
                       capture_output=True, text=True, timeout=300)
    assert r.returncode == 0, r.stderr


def test_blob_features(az, name, tmp_path):
    (tmp_path / "f").write_bytes(b"first")
    az("container", "create", "-n", name)
    az("blob", "upload", "-c", name, "-n", "b", "-f", str(tmp_path / "f"))
    snapshot = az("blob", "snapshot", "-c", name, "-n", "b")["snapshot"]
    (tmp_path / "f").write_bytes(b"second")
    az("blob", "upload", "-c", name, "-n", "b", "-f", str(tmp_path / "f"), "--overwrite")
    az("blob", "download", "-c", name, "-n", "b", "--snapshot", snapshot, "-f", str(tmp_path / "old"))
    assert (tmp_path / "old").read_bytes() == b"first"
    lease = az("blob", "lease", "acquire", "-c", name, "-b", "b", "--lease-duration", "60")
    assert az("blob", "show", "-c", name, "-n", "b")["properties"]["lease"]["state"] == "leased"
    az("blob", "lease", "release", "-c", name, "-b", "b", "--lease-id", lease)
    az("blob", "upload", "-c", name, "-n", "b", "-f", str(tmp_path / "f"), "--overwrite", "--tags", "colour=blue")
    assert az("blob", "list", "-c", name, "--include", "t")[0]["tags"] == {"colour": "blue"}
    az("blob", "set-tier", "-c", name, "-n", "b", "--tier", "Cool")
    assert az("blob", "show", "-c", name, "-n", "b")["properties"]["blobTier"] == "Cool"
    az("blob", "copy", "start", "--source-container", name, "--source-blob", "b", "--destination-container", name, "--destination-blob", "copy")
    assert az("blob", "show", "-c", name, "-n", "copy")["properties"]["copy"]["status"] == "success"
    az("blob", "service-properties", "delete-policy", "update", "--enable", "true", "--days-retained", "5")
    az("blob", "delete", "-c", name, "-n", "copy")
    assert az("blob", "exists", "-c", name, "-n", "copy")["exists"] is False
    az("blob", "undelete", "-c", name, "-n", "copy")
    assert az("blob", "exists", "-c", name, "-n", "copy")["exists"] is True
    az("blob", "service-properties", "delete-policy", "update", "--enable", "false")


def test_blob_tags(az, name, tmp_path):
    (tmp_path / "f").write_bytes(b"x")
    az("container", "create", "-n", name)
    az("blob", "upload", "-c", name, "-n", "b", "-f", str(tmp_path / "f"), "--tags", f"of={name}", "colour=blue")
    assert az("blob", "list", "-c", name, "--include", "t")[0]["tags"] == {"of": name, "colour": "blue"}


def test_blob_lease(az, name, tmp_path):
    (tmp_path / "f").write_bytes(b"x")
    az("container", "create", "-n", name)
    az("blob", "upload", "-c", name, "-n", "b", "-f", str(tmp_path / "f"))
    first, second = "6a0a1d7e-8b2e-4f0f-9b59-111111111111", "6a0a1d7e-8b2e-4f0f-9b59-222222222222"
    assert az("blob", "lease", "acquire", "-c", name, "-b", "b", "--lease-duration", "60", "--proposed-lease-id", first) == first
    az("blob", "lease", "renew", "-c", name, "-b", "b", "--lease-id", first)
    az("blob", "lease", "change", "-c", name, "-b", "b", "--lease-id", first, "--proposed-lease-id", second)
    assert az("blob", "lease", "break", "-c", name, "-b", "b", "--lease-break-period", "0") == 0
    assert az("blob", "show", "-c", name, "-n", "b")["properties"]["lease"]["state"] == "broken"


def test_copy_batch(az, name, tmp_path):
    (tmp_path / "f").write_bytes(b"copied")
    az("container", "create", "-n", name)
    az("container", "create", "-n", name + "-to")
    az("blob", "upload", "-c", name, "-n", "dir/b", "-f", str(tmp_path / "f"))
    az("blob", "copy", "start-batch", "--source-container", name, "--destination-container", name + "-to")
    az("blob", "download", "-c", name + "-to", "-n", "dir/b", "-f", str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == b"copied"


def test_table(az, name):
    assert az("table", "create", "-n", name)["created"] is True
    az("entity", "insert", "-t", name, "-e", "PartitionKey=p", "RowKey=r", "Age=5", "Age@odata.type=Edm.Int32")
    az("entity", "merge", "-t", name, "-e", "PartitionKey=p", "RowKey=r", "Name=x")
    got = az("entity", "show", "-t", name, "--partition-key", "p", "--row-key", "r")
    assert (got["Age"], got["Name"]) == (5, "x")
    assert len(az("entity", "query", "-t", name, "--filter", "Age gt 3")["items"]) == 1
    az("entity", "delete", "-t", name, "--partition-key", "p", "--row-key", "r")
    assert az("entity", "query", "-t", name)["items"] == []
    assert name in [t["name"] for t in az("table", "list")]
    az("table", "delete", "-n", name)
