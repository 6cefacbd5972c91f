"""obstore: Rust's object_store from Python."""

import datetime
import urllib.request

import obstore
import pytest
from obstore.exceptions import AlreadyExistsError, PreconditionError
from obstore.store import AzureStore

from conftest import ACCOUNT, KEY


@pytest.fixture
def store(server, container):
    return AzureStore(container, account_name=ACCOUNT, account_key=KEY, endpoint=server.blob, client_options={"allow_http": True})


def test_objects(store):
    data = bytes(range(256)) * 100_000
    put = obstore.put(store, "a/big", data, chunk_size=5 << 20, use_multipart=True, attributes={"Content-Type": "text/x", "colour": "blue"})
    got = obstore.get(store, "a/big")
    assert (got.meta["size"], got.meta["e_tag"], got.attributes["Content-Type"], got.attributes["colour"]) == (len(data), put["e_tag"], "text/x", "blue")
    assert bytes(got.bytes()) == data
    assert [bytes(b) for b in obstore.get_ranges(store, "a/big", starts=[1, 1 << 24], lengths=[2, 3])] == [data[1:3], data[1 << 24:(1 << 24) + 3]]
    obstore.copy(store, "a/big", "a/copy")
    obstore.rename(store, "a/copy", "moved")
    listed = obstore.list_with_delimiter(store)
    assert (list(listed["common_prefixes"]), [o["path"] for o in listed["objects"]]) == (["a"], ["moved"])
    assert len(urllib.request.urlopen(obstore.sign(store, "GET", "moved", expires_in=datetime.timedelta(minutes=5))).read()) == len(data)
    with pytest.raises(FileNotFoundError):
        obstore.head(store, "a/copy")


def test_conditions(store):
    first = obstore.put(store, "lock", b"1", mode="create")
    with pytest.raises(AlreadyExistsError):
        obstore.put(store, "lock", b"2", mode="create")
    second = obstore.put(store, "lock", b"2", mode={"e_tag": first["e_tag"]})
    with pytest.raises(PreconditionError):
        obstore.put(store, "lock", b"3", mode={"e_tag": first["e_tag"]})
    assert bytes(obstore.get(store, "lock").bytes()) == b"2" and obstore.head(store, "lock")["e_tag"] == second["e_tag"]
    obstore.put(store, "other", b"x")
    with pytest.raises(AlreadyExistsError):
        obstore.copy(store, "lock", "other", overwrite=False)
    with pytest.raises(PreconditionError):
        obstore.get(store, "lock", options={"if_match": first["e_tag"]})


def test_delete_in_bulk(store):
    names = [f"{i:04} ä%20+&" for i in range(600)]
    for n in names:
        obstore.put(store, n, b"")
    assert [o["path"] for page in obstore.list(store, chunk_size=50) for o in page] == names
    with pytest.raises(FileNotFoundError, match="The specified blob does not exist."):
        obstore.delete(store, ["was never there"])
    obstore.delete(store, names)
    assert [page for page in obstore.list(store)] == []
