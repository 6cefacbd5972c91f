"""azure-storage-blob against the real binary."""

import datetime
import hashlib
import os

import pytest
from azure.core import MatchConditions
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceModifiedError, ResourceNotFoundError
from azure.storage.blob import (BlobBlock, BlobServiceClient, ContainerSasPermissions, ContentSettings, generate_container_sas)

from conftest import ACCOUNT, KEY


@pytest.fixture
def container(server, name):
    service = BlobServiceClient.from_connection_string(server.connection, retry_total=0)
    return service.create_container(name)


def test_container(server, container):
    with pytest.raises(ResourceExistsError):
        container.create_container()
    container.set_container_metadata({"a": "b"})
    assert container.get_container_properties().metadata == {"a": "b"}
    service = BlobServiceClient.from_connection_string(server.connection)
    assert [c.name for c in service.list_containers(name_starts_with=container.container_name)] == [container.container_name]
    container.delete_container()
    assert not container.exists()


@pytest.mark.parametrize("size", [0, 1, 5000, 100_000, 9 << 20])
def test_round_trip(container, size):
    data = os.urandom(size)
    blob = container.upload_blob(f"b{size}", data, metadata={"Key": "v"}, content_settings=ContentSettings(content_type="x/y"), max_concurrency=4)
    down = blob.download_blob(max_concurrency=4, validate_content=True)
    assert down.readall() == data
    p = blob.get_blob_properties()
    assert (p.size, p.content_settings.content_type, p.metadata) == (size, "x/y", {"Key": "v"})
    if size and size < 4 << 20:
        assert bytes(p.content_settings.content_md5) == hashlib.md5(data).digest()


def test_validate_content(container):
    blob = container.upload_blob("v", os.urandom(70_000), validate_content=True)
    assert len(blob.download_blob(validate_content=True).readall()) == 70_000


def test_large_in_blocks(server, name):
    service = BlobServiceClient.from_connection_string(server.connection, max_single_put_size=1 << 20, max_block_size=1 << 20)
    data = os.urandom((7 << 20) + 1)
    blob = service.create_container(name).upload_blob("big", data, max_concurrency=4)
    assert blob.download_blob().readall() == data
    assert len(blob.get_block_list("committed")[0]) == 8


def test_blocks(container):
    blob = container.get_blob_client("blocks")
    for i in ("1", "2", "3"):
        blob.stage_block(i, i * 3)
    assert len(blob.get_block_list("uncommitted")[1]) == 3
    blob.commit_block_list([BlobBlock("3"), BlobBlock("1")])
    assert blob.download_blob().readall() == b"333111"
    with pytest.raises(HttpResponseError) as e:
        blob.commit_block_list([BlobBlock("2")])
    assert e.value.error_code == "InvalidBlockList"


def test_conditions(container):
    blob = container.upload_blob("c", b"1")
    with pytest.raises(ResourceExistsError):
        container.upload_blob("c", b"2")
    etag = blob.get_blob_properties().etag
    container.upload_blob("c", b"2", overwrite=True, etag=etag, match_condition=MatchConditions.IfNotModified)
    with pytest.raises(ResourceModifiedError):
        container.upload_blob("c", b"3", overwrite=True, etag=etag, match_condition=MatchConditions.IfNotModified)
    assert blob.download_blob().readall() == b"2"


def test_list(container):
    names = ["a", "b/1", "b/2", "ümläut", "z//y"]
    for n in names:
        container.upload_blob(n, n)
    assert [b.name for b in container.list_blobs(results_per_page=2)] == sorted(names)
    assert sorted(b.name for b in container.walk_blobs()) == ["a", "b/", "z/", "ümläut"]


def test_sas(server, container):
    container.upload_blob("s", b"secret")
    sas = generate_container_sas(ACCOUNT, container.container_name, account_key=KEY, permission=ContainerSasPermissions(read=True),
                                 expiry=datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=1))
    guest = BlobServiceClient(server.blob, credential=sas, retry_total=0).get_blob_client(container.container_name, "s")
    assert guest.download_blob().readall() == b"secret"
    with pytest.raises(HttpResponseError) as e:
        guest.delete_blob()
    assert e.value.error_code == "AuthorizationPermissionMismatch"


def test_missing(container):
    with pytest.raises(ResourceNotFoundError) as e:
        container.get_blob_client("nothing").get_blob_properties()
    assert e.value.error_code == "BlobNotFound"
