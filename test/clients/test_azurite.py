"""What a real Azurite has kept in its folder, imported: the SDKs find the same in both, but for times and ETags."""

import datetime
import os
import pathlib
import re
import signal
import subprocess
import time
import uuid

import pytest
from azure.core.credentials import AzureNamedKeyCredential
from azure.core.exceptions import HttpResponseError
from azure.data.tables import EdmType, EntityProperty, TableAccessPolicy, TableServiceClient
from azure.storage.blob import AccessPolicy, BlobBlock, BlobServiceClient, ContainerSasPermissions, ContentSettings, StandardBlobTier
from conftest import ACCOUNT, KEY, Server

MIB = 1 << 20


class Azurite:
    def __init__(self, location):
        self.log = pathlib.Path(f"{location}.log")
        self.process = subprocess.Popen(
            ["node", os.environ["AZURITE"], "--silent", "--disableTelemetry", "--skipApiVersionCheck", "--location", str(location),
             "--blobPort", "0", "--tablePort", "0", "--queuePort", "0"],
            stdout=self.log.open("wb"), stderr=subprocess.STDOUT, env={**os.environ, "AZURITE_ACCOUNTS": f"{ACCOUNT}:{KEY};other:{KEY}"})
        deadline = time.monotonic() + 60
        while not (found := re.findall(r"(Blob|Table) service is successfully listening at (\S+)", self.log.read_text())) or len(found) < 2:
            assert self.process.poll() is None and time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)  # poll for readiness
        at = dict(found)
        self.blob, self.table = at["Blob"], at["Table"]

    def stop(self):
        self.process.send_signal(signal.SIGINT)
        self.process.wait(60)


def clients(blob, table, account=ACCOUNT):
    credential = {"account_name": account, "account_key": KEY}
    return (BlobServiceClient(f"{blob}/{account}", credential=credential, max_single_put_size=4 * MIB, max_block_size=MIB),
            TableServiceClient(f"{table}/{account}", credential=AzureNamedKeyCredential(account, KEY)))


def fill(blobs, tables):
    docs = blobs.create_container("docs", metadata={"owner": "me"})
    expiry = datetime.datetime(2031, 2, 3, 4, 5, 6, tzinfo=datetime.timezone.utc)
    docs.set_container_access_policy({"reader": AccessPolicy(ContainerSasPermissions(read=True), expiry=expiry, start=expiry.replace(year=2030))},
                                     public_access="blob")
    blobs.create_container("open").set_container_access_policy({}, public_access="container")
    blobs.create_container("$root").upload_blob("index", b"in the root")
    blobs.create_container("nothing")

    settings = ContentSettings("text/x-test", "identity", "de", "inline", "no-store")
    docs.upload_blob("put", b"put in one", metadata={"Kind": "put", "a": "b"}, content_settings=settings, tags={"colour": "red", "n": "1 + 1"}, standard_blob_tier=StandardBlobTier.COOL)
    docs.upload_blob("empty", b"")
    docs.upload_blob("a/b c/ä€😀.txt", b"of a name", overwrite=True)
    docs.upload_blob("large", bytes(range(256)) * (3 * MIB // 256))
    docs.upload_blob("blocks", os.urandom(5 * MIB), max_concurrency=2, metadata={"m": "1"})

    def staged(name, ids, **more):
        blob = docs.get_blob_client(name)
        for id in ids:
            blob.stage_block(id, id.encode() * 100)
        blob.commit_block_list([BlobBlock(id) for id in more.get("order", ids)])
        return blob

    staged("ordered", ["aaa", "bbb", "ccc"], order=["ccc", "aaa", "ccc", "bbb"])
    blob = staged("again", ["111", "222"])
    blob.stage_block("333", b"never committed")
    blob.set_blob_metadata({"after": "commit"})
    docs.get_blob_client("uncommitted").stage_block("one", b"never committed")

    log = docs.get_blob_client("log")
    log.create_append_blob(metadata={"m": "log"}, content_settings=ContentSettings("text/plain"))
    for part in (b"one,", b"two,", os.urandom(MIB)):
        log.append_block(part)
    docs.get_blob_client("nolines").create_append_blob()

    disk = docs.get_blob_client("disk")
    disk.create_page_blob(8 * MIB, sequence_number=7)
    disk.upload_page(os.urandom(64 << 10), 4096, 64 << 10)
    disk.upload_page(os.urandom(MIB), 5 * MIB, MIB)
    disk.clear_page(8192, 4096)
    disk.upload_page(b"x" * 512, 8704, 512)
    docs.get_blob_client("nopages").create_page_blob(MIB)

    for name, kind in (("put", None), ("log", "append"), ("disk", "page"), ("ordered", None)):
        blob = docs.get_blob_client(name)
        blob.create_snapshot()
        if kind == "append":
            blob.append_block(b"after the snapshot")
        elif kind == "page":
            blob.upload_page(b"y" * 512, 0, 512)
            blob.create_snapshot()
            blob.upload_page(b"z" * 512, 512, 512)
        else:
            docs.upload_blob(name, b"in between", overwrite=True, metadata={"state": "second"})
            blob.create_snapshot(metadata={"of": "its own"})
            docs.upload_blob(name, b"the last one", overwrite=True, tags={"state": "last"})
    docs.upload_blob("archived", b"cannot be read", standard_blob_tier=StandardBlobTier.ARCHIVE)

    people = tables.create_table("People")
    people.set_table_access_policy({"p": TableAccessPolicy(start=expiry.replace(year=2030), expiry=expiry, permission="r")})
    people.create_entity({
        "PartitionKey": "p", "RowKey": "types", "text": "ä€😀\n\"", "empty": "", "int32": 42, "negative": -1, "int64": EntityProperty(2**53 + 1, EdmType.INT64),
        "double": 0.1, "whole": 1.0, "nan": float("nan"), "inf": float("inf"), "less": float("-inf"), "tiny": 5e-324, "bool": True, "no": False,
        "when": datetime.datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=datetime.timezone.utc), "guid": uuid.UUID("0b10bd00-0000-4000-8000-00000000000a"),
        "bytes": bytes(range(256)), "nobytes": b""})
    for i in range(20):
        people.create_entity({"PartitionKey": f"p{i % 3} 'ä'", "RowKey": f"{i:03}", "n": i})
    people.update_entity({"PartitionKey": "p0 'ä'", "RowKey": "000", "more": "merged"})
    people.delete_entity("p0 'ä'", "003")
    people.create_entity({"PartitionKey": "", "RowKey": ""})
    tables.create_table("Empty")


def seen(blobs, tables):
    """What clients can tell, but for times and ETags."""
    all = {}
    for c in blobs.list_containers(include_metadata=True):
        client = blobs.get_container_client(c.name)
        policy = client.get_container_access_policy()
        ids = [(i.id, i.access_policy and terms(i.access_policy)) for i in policy["signed_identifiers"]]
        all[c.name] = (c.metadata or {}, policy["public_access"], c.public_access, ids)
        states = {}
        for b in sorted(client.list_blobs(include=["snapshots"]), key=lambda b: (b.name, b.snapshot or "~")):
            n = states[b.name] = states.get(b.name, 0) + 1
            all[c.name, b.name, n if b.snapshot else "now"] = state(client.get_blob_client(b.name, snapshot=b.snapshot))
    for t in tables.list_tables():
        client = tables.get_table_client(t.name)
        all[t.name] = [(id, p and terms(p)) for id, p in client.get_table_access_policy().items()]
        for e in client.list_entities():
            all[t.name, e["PartitionKey"], e["RowKey"]] = {name: (type(value), repr(value)) for name, value in e.items()}
    return all


def terms(policy):
    """Azure writes seven digits of a second, Azurite those that it was given."""
    return [str(t).replace(".0000000Z", "Z") for t in (policy.start, policy.expiry)], policy.permission


def joined(ranges):
    """Azurite tells of ranges that touch as they were written."""
    all = []
    for r in ranges:
        if all and all[-1][1] + 1 == r["start"]:
            all[-1][1] = r["end"]
        else:
            all.append([r["start"], r["end"]])
    return all


def state(client):
    p = client.get_blob_properties()
    s = {"type": p.blob_type, "size": p.size, "metadata": p.metadata, "settings": dict(p.content_settings), "tier": p.blob_tier,
         "inferred": bool(p.blob_tier_inferred), "sequence": p.page_blob_sequence_number, "count": p.append_blob_committed_block_count}
    s["tags"] = client.get_blob_tags() if p.tag_count else {}
    if p.blob_tier == "Archive":
        return s
    s["content"] = client.download_blob().readall()
    if p.blob_type == "PageBlob":
        s["pages"] = joined(client.get_page_ranges()[0])
    if p.blob_type == "BlockBlob":
        s["blocks"] = [(b.id, b.size) for b in client.get_block_list("committed")[0]]
    return s


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Azurite's folder, when it has stopped, and what was seen in it."""
    location = tmp_path_factory.mktemp("azurite") / "data"
    azurite = Azurite(location)
    try:
        there = clients(azurite.blob, azurite.table)
        fill(*there)
        want = seen(*there)
        blobs, _ = clients(azurite.blob, azurite.table, "other")
        blobs.create_container("others").upload_blob("a", b"of another account")
    finally:
        azurite.stop()
    return location, want


@pytest.fixture
def own(tmp_path):
    server = Server(tmp_path / "data", "--dev-account", "--account", f"other:{KEY}", "--account", f"third:{KEY}")
    yield server
    server.stop()


def imported(server, location, *flags):
    return subprocess.run([os.environ["BLOBD"], "import", "azurite", str(location), "--data", str(server.data), *flags], capture_output=True, text=True)


def at(server, account):
    return clients(server.blob.rsplit("/", 1)[0], server.table.rsplit("/", 1)[0], account)


def test_everything_is_there(own, folder):
    location, want = folder
    done = imported(own, location)
    assert done.returncode == 1 and f"holds the accounts {ACCOUNT}, other: say which one (--from)" in done.stderr
    done = imported(own, location, "--from", "nobody")
    assert done.returncode == 1 and "holds nothing of an account nobody" in done.stderr
    done = imported(own, location, "--from", ACCOUNT, "--to", "nobody")
    assert done.returncode == 1 and "there is no account nobody" in done.stderr

    dry = imported(own, location, "--from", ACCOUNT, "--dry-run")
    assert dry.returncode == 0, dry.stderr
    assert dry.stdout.startswith("would be imported from ")
    assert seen(*at(own, ACCOUNT)) == {}

    done = imported(own, location, "--from", ACCOUNT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout == dry.stdout.replace("would be imported", "imported")
    assert "left out: 2 uncommitted blocks\n" in done.stdout
    got = seen(*at(own, ACCOUNT))
    assert got.keys() == want.keys()
    for key, state in want.items():
        assert got[key] == state, key
    snapshots = sum(1 for key in want if len(key) == 3 and isinstance(key[2], int))
    assert f"and {snapshots} snapshots of " in done.stdout
    blobs, _ = at(own, ACCOUNT)
    with pytest.raises(HttpResponseError) as refused:
        blobs.get_blob_client("docs", "archived").download_blob().readall()
    assert refused.value.error_code == "BlobArchived"

    done = imported(own, location, "--from", ACCOUNT)
    assert done.returncode == 1 and re.search("has a (container|table) ", done.stderr)
    assert seen(*at(own, ACCOUNT)) == got

    done = imported(own, location, "--from", "other", "--to", "third")
    assert done.returncode == 0, done.stderr
    blobs, _ = at(own, "third")
    assert blobs.get_blob_client("others", "a").download_blob().readall() == b"of another account"


def test_what_the_folder_lacks_is_named(own, folder, tmp_path):
    """An extent that was cut: what lies in it is left out and named, and all else is there."""
    location, want = folder
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-r", location, copy], check=True)
    for extent in (copy / "__blobstorage__").iterdir():
        os.truncate(extent, extent.stat().st_size // 2)
    for flags in (["--dry-run"], []):
        done = imported(own, copy, "--from", ACCOUNT, *flags)
        assert done.returncode == 1 and "cannot be imported" in done.stderr and "which ends before them" in done.stderr
    failed = int(re.search(r"(\d+) containers, blobs, snapshots", done.stderr)[1])
    got = seen(*at(own, ACCOUNT))
    assert len(got) == len(want) - failed and failed > 0
    assert {k for k in got if len(k) == 2 or isinstance(k, str)} <= want.keys()


def test_no_folder_of_azurite(own, tmp_path):
    done = imported(own, tmp_path)
    assert done.returncode == 1 and "is no folder of Azurite" in done.stderr
