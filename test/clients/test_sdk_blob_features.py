"""azure-storage-blob: page and append blobs, leases, snapshots, tags, soft delete, copies, batches, tiers."""

import os

import pytest
from azure.core.exceptions import HttpResponseError, ResourceModifiedError, ResourceNotFoundError
from azure.storage.blob import BlobServiceClient, BlobType, RetentionPolicy


@pytest.fixture
def service(server):
    return BlobServiceClient.from_connection_string(server.connection, retry_total=0)


@pytest.fixture
def container(service, name):
    return service.create_container(name)


def refused(code, call, *args, **kwargs):
    with pytest.raises(HttpResponseError) as e:
        call(*args, **kwargs)
    assert e.value.error_code == code


def test_page_blob(container):
    blob = container.get_blob_client("page")
    blob.create_page_blob(1 << 20)
    page = os.urandom(512)
    blob.upload_page(page, 1024, 512)
    data = blob.download_blob().readall()
    assert len(data) == 1 << 20 and data[1024:1536] == page and not data[:1024].strip(b"\0")
    assert [(r.start, r.end, r.cleared) for r in blob.list_page_ranges()] == [(1024, 1535, False)]
    snapshot = blob.create_snapshot()["snapshot"]
    blob.upload_page(page * 2, 4096, 1024)
    blob.clear_page(1024, 512)
    assert sorted((r.start, r.end, r.cleared) for r in blob.list_page_ranges(previous_snapshot=snapshot)) == [(1024, 1535, True), (4096, 5119, False)]
    blob.resize_blob(2048)
    assert blob.get_blob_properties().size == 2048
    blob.set_sequence_number("update", 7)
    refused("SequenceNumberConditionNotMet", blob.upload_page, page, 0, 512, if_sequence_number_lt=7)
    refused("InvalidPageRange", blob.upload_page, page, 2048, 512)


def test_append_blob(container):
    blob = container.get_blob_client("log")
    blob.create_append_blob()
    for i in range(5):
        assert blob.append_block(b"%d\n" % i)["blob_append_offset"] == str(2 * i)
    assert blob.download_blob().readall() == b"0\n1\n2\n3\n4\n"
    refused("AppendPositionConditionNotMet", blob.append_block, b"x", appendpos_condition=3)
    refused("MaxBlobSizeConditionNotMet", blob.append_block, b"x", maxsize_condition=5)
    blob.seal_append_blob()
    refused("BlobIsSealed", blob.append_block, b"x")
    assert container.upload_blob("whole", b"y" * 100_000, blob_type=BlobType.AppendBlob).get_blob_properties().append_blob_committed_block_count == 1


def test_leases(container):
    blob = container.upload_blob("leased", b"1")
    lease = blob.acquire_lease(15)
    refused("LeaseIdMissing", container.upload_blob, "leased", b"2", overwrite=True)
    container.upload_blob("leased", b"2", overwrite=True, lease=lease)
    refused("LeaseAlreadyPresent", blob.acquire_lease, 15)
    lease.change("00000000-0000-0000-0000-000000000001")
    lease.renew()
    assert lease.break_lease(0) == 0
    refused("LeaseIsBrokenAndCannotBeRenewed", lease.renew)
    c = container.acquire_lease()
    refused("LeaseIdMissing", container.delete_container)
    c.release()


def test_snapshots(container):
    blob = container.upload_blob("s", b"old")
    snapshot = blob.create_snapshot()
    container.upload_blob("s", b"new", overwrite=True)
    assert container.get_blob_client("s", snapshot=snapshot).download_blob().readall() == b"old"
    assert [b.snapshot for b in container.list_blobs(include=["snapshots"])] == [snapshot["snapshot"], None]
    refused("SnapshotsPresent", blob.delete_blob)
    blob.delete_blob(delete_snapshots="include")
    assert not list(container.list_blobs(include=["snapshots"]))


def test_soft_delete(service, container):
    service.set_service_properties(delete_retention_policy=RetentionPolicy(True, 3))
    try:
        blob = container.upload_blob("gone", b"back")
        blob.delete_blob()
        with pytest.raises(ResourceNotFoundError):
            blob.get_blob_properties()
        found = list(container.list_blobs(include=["deleted"]))
        assert found[0].deleted and found[0].remaining_retention_days == 2 or found[0].remaining_retention_days == 3
        blob.undelete_blob()
        assert blob.download_blob().readall() == b"back"
    finally:
        service.set_service_properties(delete_retention_policy=RetentionPolicy(False))


def test_tags(service, container, name):
    blob = container.upload_blob("t", b"x", tags={"project": name, "n": "1"})
    assert blob.get_blob_tags() == {"project": name, "n": "1"}
    assert blob.get_blob_properties().tag_count == 2
    assert [b.name for b in service.find_blobs_by_tags(f"\"project\"='{name}' and n >= '1'")] == ["t"]
    blob.set_blob_tags({"project": name, "n": "2"})
    assert [b.name for b in container.find_blobs_by_tags("n='1'")] == []
    with pytest.raises(ResourceModifiedError):
        blob.delete_blob(if_tags_match_condition="n='1'")
    blob.delete_blob(if_tags_match_condition="n='2'")


def test_copies(server, container):
    source = container.upload_blob("from", os.urandom(300_000), metadata={"m": "1"})
    copy = container.get_blob_client("copy")
    assert copy.start_copy_from_url(source.url)["copy_status"] == "success"
    assert copy.get_blob_properties().metadata == {"m": "1"}
    assert copy.download_blob().readall() == source.download_blob().readall()
    refused("NoPendingCopyOperation", copy.abort_copy, "11111111-2222-3333-4444-555555555555")


def test_batch_and_tiers(container):
    names = [f"b{i}" for i in range(20)]
    for n in names:
        container.upload_blob(n, n)
    container.set_standard_blob_tier_blobs("Cool", *names[:10])
    assert container.get_blob_client("b3").get_blob_properties().blob_tier == "Cool"
    assert [r.status_code for r in container.delete_blobs(*names)] == [202] * 20
    assert not list(container.list_blobs())


def test_archive(container):
    blob = container.upload_blob("cold", b"x")
    blob.set_standard_blob_tier("Archive")
    refused("BlobArchived", blob.download_blob)
    blob.set_standard_blob_tier("Hot")
    assert blob.get_blob_properties().archive_status in ("rehydrate-pending-to-hot", None)
