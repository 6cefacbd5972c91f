"""azure-storage-blob asking for listings in Apache Arrow, and pyarrow reading them, both beside the listing in XML."""

import datetime
import enum
import io
import urllib.parse
import urllib.request
import xml.etree.ElementTree as ET

import pyarrow as pa
import pytest
from azure.storage.blob import BlobServiceClient, ContainerSasPermissions, RetentionPolicy, StandardBlobTier, generate_container_sas
from conftest import ACCOUNT, KEY

NAMES = ["plain", "a b", "a+b%", "ä/ö", "日本語/😀", "x//y", "c\x01\x1f", "\uffff", "\ufffd", "<&>\"'", "]]>", "dir/1", "dir/2", "dir/sub/3", "n" * 1024, "😀" * 500]
MOMENTS = {"Creation-Time", "Last-Modified", "DeletedTime", "AccessTierChangeTime", "CopyCompletionTime"}


@pytest.fixture
def container(server, name):
    service = BlobServiceClient.from_connection_string(server.connection, retry_total=0)
    service.set_service_properties(delete_retention_policy=RetentionPolicy(enabled=True, days=3))
    c = service.create_container(name)
    for n in NAMES:
        c.upload_blob(n, n.encode(), metadata={"len": str(len(n)), "Mixed_Case": "<&>"}, tags={"first": n[:1] if n[:1].isalnum() and n.isascii() else "_", "k": "a b"})
    c.get_blob_client("plain").create_snapshot()
    c.get_blob_client("dir/1").acquire_lease(-1)
    c.get_blob_client("page").create_page_blob(1024, sequence_number=3)
    log = c.get_blob_client("log")
    log.create_append_blob()
    log.seal_append_blob()
    c.get_blob_client("copy").start_copy_from_url(c.get_blob_client("page").url)
    c.upload_blob("cool", b"1", standard_blob_tier=StandardBlobTier.COOL)
    c.upload_blob("gone", b"1")
    c.delete_blob("gone")
    c.get_blob_client("half").stage_block("QQ==", b"1")
    yield c
    service.set_service_properties(delete_retention_policy=RetentionPolicy(enabled=False))


def plain(value):
    """What a property is, whichever way it was read."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items() if plain(v) not in (None, {}, [], False)}
    if isinstance(value, enum.Enum):
        return value.value
    if hasattr(value, "__dict__"):
        return plain(vars(value))
    return bytes(value) if isinstance(value, bytearray) else value


def test_sdk_in_arrow(container):
    for include in ([], ["metadata"], ["tags"], ["snapshots", "metadata", "tags", "copy", "deleted", "uncommittedblobs"]):
        for prefix in (None, "dir/", "none"):
            for size in (None, 3):
                by = dict(name_starts_with=prefix, include=include, results_per_page=size)
                xml = list(container.list_blobs(**by))
                arrow = list(container.list_blobs(response_format="arrow", **by))
                assert [b.name for b in arrow] == [b.name for b in xml]
                for a, x in zip(map(plain, arrow), map(plain, xml)):
                    assert {k: (a.get(k), x.get(k)) for k in a.keys() | x.keys() if a.get(k) != x.get(k)} == {}
                assert prefix == "none" or len(xml) > 2
    assert list(container.list_blob_names(response_format="arrow")) == [b.name for b in container.list_blobs()]
    walk = lambda **kw: [b.name for b in container.walk_blobs(delimiter="/", **kw)]
    assert sorted(walk(response_format="arrow")) == sorted(walk())
    dirs = [b for b in container.walk_blobs(delimiter="/", response_format="arrow") if b.name == "dir/"]
    assert sorted(b.name for b in dirs[0]) == ["dir/1", "dir/2", "dir/sub/"]
    assert list(container.list_blob_names(response_format="arrow", start_from="cool", end_before="dir/2")) == ["cool", "copy", "dir/1"]


def test_pyarrow(server, container):
    sas = generate_container_sas(ACCOUNT, container.container_name, account_key=KEY, permission=ContainerSasPermissions(read=True, list=True, tag=True),
                                 expiry=datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=1))

    def page(accept, **query):
        url = f"{server.blob}/{container.container_name}?restype=container&comp=list&{urllib.parse.urlencode(query)}&{sas}"
        with urllib.request.urlopen(urllib.request.Request(url, headers={"x-ms-version": "2026-12-06", "Accept": accept})) as r:
            return r.headers["Content-Type"], r.read()

    for query in ({}, {"delimiter": "/"}, {"include": "snapshots,metadata,tags,copy,deleted,uncommittedblobs"}, {"maxresults": "2"}, {"prefix": "none"}):
        content_type, body = page("application/xml", **query)
        assert content_type == "application/xml"
        root, want = ET.fromstring(body.decode("utf-8-sig")), []
        for item in root.find("Blobs"):
            row = {"ResourceType": "blobprefix"} if item.tag == "BlobPrefix" else {}
            for e in [c for c in item if c.tag != "Properties"] + list(item.find("Properties") if item.find("Properties") is not None else []):
                if e.tag == "Metadata":
                    row[e.tag] = {m.tag: m.text for m in e}
                elif e.tag == "Tags":
                    row[e.tag] = {t.find("Key").text: t.find("Value").text for t in e.find("TagSet")}
                elif e.tag == "Name" and e.get("Encoded") == "true":
                    row[e.tag] = urllib.parse.unquote(e.text)
                elif e.tag in MOMENTS:
                    row[e.tag] = datetime.datetime.strptime(e.text, "%a, %d %b %Y %H:%M:%S GMT")
                elif e.text:
                    row[e.tag] = e.text
            want.append(row)
        content_type, body = page("application/vnd.apache.arrow.stream", **query)
        assert content_type == "application/vnd.apache.arrow.stream"
        table = pa.ipc.open_stream(io.BytesIO(body)).read_all()
        table.validate(full=True)
        assert table.schema.metadata == {b"NumberOfRecords": str(len(want)).encode(), b"NextMarker": (root.findtext("NextMarker") or "").encode()}
        got = []
        for r in table.to_pylist():
            row = {k: v for k, v in r.items() if v is not None}
            for k, v in row.items():
                if pa.types.is_map(table.schema.field(k).type):
                    row[k] = dict(v)
                elif isinstance(v, bool):
                    row[k] = "true" if v else "false"
                elif isinstance(v, int):
                    row[k] = str(v)
            got.append(row)
        assert got == want
