"""azure-storage-blob: one test for each operation that the SDK has a call for, one for each error that it can be brought to meet.

A refusal changes nothing: the container lists the same before and after. Last, what the servers were asked and answered is what
test/coverage.txt says.
"""

import datetime
import json
import pathlib
import types

import pytest
from azure.core import MatchConditions
from azure.core.credentials import AccessToken
from azure.core.exceptions import HttpResponseError
from azure.storage.blob import (
    AccessPolicy, BlobBlock, BlobLeaseClient, BlobServiceClient, ContainerClient, ContainerEncryptionScope, ContentSettings, CustomerProvidedEncryptionKey,
    CorsRule, ImmutabilityPolicy, PremiumPageBlobTier, RetentionPolicy, StandardBlobTier, generate_account_sas, generate_blob_sas, generate_container_sas)

from conftest import ACCOUNT, KEY

NOBODY = "11111111-2222-3333-4444-555555555555"  # an id that nothing has


def in_an_hour():
    return datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=1)


class Scene:
    """A container of its own, and what stands in it."""

    def __init__(self, neighbours, name, on=None):
        self.n, self.name = neighbours, name
        self.service = BlobServiceClient((on or neighbours.main).blob, KEY_OF, retry_total=0)
        self.c = self.service.create_container(name)
        self.there = types.SimpleNamespace()

    def blob(self, name="b"):
        return self.c.get_blob_client(name)

    def put(self, name="b", **settings):
        return self.c.upload_blob(name, b"data", overwrite=True, **settings)

    def page(self, name="p", size=1024):
        self.blob(name).create_page_blob(size)
        return self.blob(name)

    def append(self):
        self.blob("a").create_append_blob()
        return self.blob("a")

    def leased(self, seconds=-1):
        return self.put().acquire_lease(seconds)

    def broken(self, within=0):
        lease = self.leased(60)
        lease.break_lease(within)
        return lease

    def archived(self):
        self.put().set_standard_blob_tier("Archive")
        return self.blob()

    def pending(self):
        self.there.pending = self.blob("pending").start_copy_from_url(self.n.stalling)["copy_id"]
        return self.blob("pending")

    def snapshots(self):
        page = self.page()
        return page, page.create_snapshot()["snapshot"], page.create_snapshot()["snapshot"]

    def increment(self, source, snapshot):
        return self.blob("to").start_copy_from_url(f"{source.url}?snapshot={snapshot}", incremental_copy=True)

    def incremental(self):
        page, first, second = self.snapshots()
        self.increment(page, second)
        return page, first, second

    def readable(self, name="b"):
        sas = generate_blob_sas(ACCOUNT, self.name, name, account_key=KEY, permission="r", expiry=in_an_hour())
        return f"{self.blob(name).url}?{sas}"

    def signed(self, **alter):
        """The container with a signature over the account, but for what alter says."""
        terms = dict(account_name=ACCOUNT, account_key=KEY, resource_types="sco", permission="rwdlac", expiry=in_an_hour()) | alter
        return ContainerClient(self.n.main.blob, self.name, generate_account_sas(**terms), retry_total=0)

    def guest(self, **alter):
        """The container with a signature that lets read, but for what alter says."""
        terms = dict(account_name=ACCOUNT, container_name=self.name, account_key=KEY, permission="r", expiry=in_an_hour()) | alter
        return ContainerClient(self.n.main.blob, self.name, generate_container_sas(**terms), retry_total=0)

    def at(self, url, credential=None):
        return BlobServiceClient(url, credential, retry_total=0, connection_verify=self.n.ca)

    def login(self, token):
        return self.at(self.n.login.blob, types.SimpleNamespace(get_token=lambda *scopes, **options: AccessToken(token, 2**40)))

    def elsewhere(self):
        return Scene(self.n, self.name, self.n.versions)

    def state(self):
        """All that a client can see of the container."""
        p = self.c.get_container_properties()
        blobs = self.c.list_blobs(include=["snapshots", "metadata", "uncommittedblobs", "copy", "deleted", "tags"])
        return [p.etag, p.lease.state, p.metadata, [repr(sorted(dict(b).items(), key=lambda i: i[0])) for b in blobs]]


KEY_OF = {"account_name": ACCOUNT, "account_key": KEY}


@pytest.fixture
def scene(neighbours, name):
    s = Scene(neighbours, name)
    yield s
    if hasattr(s.there, "pending"):
        s.blob("pending").abort_copy(s.there.pending)


def read(client):
    return client.get_blob_client("b").download_blob().readall()


def code_of(e):
    return e.response.headers["x-ms-error-code"]  # a few calls of the SDK leave error_code out


# --- operations ---

OPERATIONS = {}


def shows(*names):
    def add(f):
        for n in names:
            OPERATIONS[n] = f
        return f
    return add


@shows("ListContainers")
def list_containers(s):
    assert [c.name for c in s.service.list_containers(name_starts_with=s.name)] == [s.name]


@shows("GetBlobServiceProperties", "SetBlobServiceProperties")
def service_properties(s):
    s.service.set_service_properties(target_version="2020-10-02")
    assert s.service.get_service_properties()["target_version"] == "2020-10-02"


@shows("GetBlobServiceStats")
def stats(s):
    secondary = BlobServiceClient(s.n.main.blob, KEY_OF, retry_total=0, secondary_hostname=s.n.main.blob.split("//")[1] + "-secondary")
    assert secondary.get_service_stats()["geo_replication"]["status"] == "live"


@shows("GetAccountInformation")
def account_information(s):
    s.put()
    assert {c.get_account_information()["account_kind"] for c in (s.service, s.c, s.blob())} == {"StorageV2"}


@shows("GetUserDelegationKey")
def user_delegation_key(s):
    now = datetime.datetime.now(datetime.timezone.utc)
    assert s.login(s.n.token).get_user_delegation_key(now, in_an_hour()).signed_service == "b"


@shows("FindBlobsByTags", "FindBlobsByTagsInContainer")
def find(s):
    s.put(tags={"of": s.name})
    for where in (s.service, s.c):
        assert [b.name for b in where.find_blobs_by_tags(f"of='{s.name}'")] == ["b"]


@shows("BlobBatchInContainer")
def batch(s):
    s.put()
    assert [r.status_code for r in s.c.delete_blobs("b")] == [202]


@shows("CreateContainer", "GetContainerProperties", "SetContainerMetadata")
def container(s):
    s.c.set_container_metadata({"a": "b"})
    assert s.c.get_container_properties().metadata == {"a": "b"}


@shows("GetContainerACL", "SetContainerACL")
def acl(s):
    s.c.set_container_access_policy({"p": AccessPolicy(permission="rl", expiry=in_an_hour())}, public_access="blob")
    got = s.c.get_container_access_policy()
    assert (got["public_access"], got["signed_identifiers"][0].access_policy.permission) == ("blob", "rl")


@shows("ListBlobs")
def listing(s):
    for n in ("a", "b/1", "b/2"):
        s.put(n)
    assert [b.name for b in s.c.list_blobs()] == ["a", "b/1", "b/2"]
    assert sorted(b.name for b in s.c.walk_blobs()) == ["a", "b/"]


@shows("DeleteContainer", "RestoreContainer")
def restore(s):
    on = s.elsewhere()
    on.put()
    on.c.delete_container()
    [gone] = on.service.list_containers(name_starts_with=on.name, include_deleted=True)
    assert read(on.service.undelete_container(on.name, gone.version)) == b"data"


@shows("LeaseContainer", "LeaseBlob")
def leases(s):
    for thing in (s.c, s.put()):
        lease = thing.acquire_lease(60)
        lease.renew()
        lease.change(NOBODY)
        assert lease.break_lease(0) == 0
        lease.release()


@shows("PutBlob", "GetBlob", "GetBlobProperties", "DeleteBlob")
def blob(s):
    b = s.put()
    assert b.download_blob(1, 2).readall() == b"at"
    assert b.get_blob_properties().size == 4
    b.delete_blob()
    assert not b.exists()


@shows("SetBlobProperties", "SetBlobMetadata")
def properties(s):
    b = s.put()
    b.set_http_headers(ContentSettings(content_type="x/y"))
    b.set_blob_metadata({"a": "b"})
    p = b.get_blob_properties()
    assert (p.content_settings.content_type, p.metadata) == ("x/y", {"a": "b"})


@shows("UndeleteBlob")
def undelete(s):
    on = s.elsewhere()
    on.service.set_service_properties(delete_retention_policy=RetentionPolicy(True, 1))
    b = on.put()
    b.create_snapshot()
    b.delete_blob(delete_snapshots="include")
    b.undelete_blob()
    assert [i.snapshot is not None for i in on.c.list_blobs(include=["snapshots"])] == [True]


@shows("SnapshotBlob")
def snapshot(s):
    old = s.put().create_snapshot()
    s.c.upload_blob("b", b"new", overwrite=True)
    assert s.c.get_blob_client("b", snapshot=old).download_blob().readall() == b"data"


@shows("SetBlobTier")
def tier(s):
    s.put().set_standard_blob_tier(StandardBlobTier.COLD)
    assert s.blob().get_blob_properties().blob_tier == "Cold"


@shows("GetBlobTags", "SetBlobTags")
def tags(s):
    s.put().set_blob_tags({"a": "1"})
    assert s.blob().get_blob_tags() == {"a": "1"}


@shows("PutBlock", "PutBlockFromURL", "PutBlockList", "GetBlockList")
def blocks(s):
    s.put()
    b = s.blob("to")
    b.stage_block("1", b"one")
    b.stage_block_from_url("2", s.readable(), 1, 2)
    assert [i.size for i in b.get_block_list("uncommitted")[1]] == [3, 2]
    b.commit_block_list([BlobBlock("2"), BlobBlock("1")])
    assert b.download_blob().readall() == b"atone"


@shows("PutBlobFromURL")
def from_url(s):
    s.put()
    s.blob("to").upload_blob_from_url(s.readable())
    assert s.blob("to").download_blob().readall() == b"data"


@shows("PutAppendBlob", "AppendBlock", "AppendBlockFromURL", "SealAppendBlob")
def append(s):
    s.put()
    a = s.append()
    a.append_block(b"one")
    a.append_block_from_url(s.readable(), 1, 2)
    a.seal_append_blob()
    assert a.download_blob().readall() == b"oneat"


@shows("PutPageBlob", "PutPage", "PutPageFromURL", "GetPageRanges", "ResizePageBlob", "UpdateSequenceNumber")
def pages(s):
    p = s.page()
    p.upload_page(b"x" * 512, 512, 512)
    assert [(r.start, r.end) for r in p.list_page_ranges()] == [(512, 1023)]
    p.upload_pages_from_url(s.readable("p"), 0, 512, 512)
    assert p.download_blob().readall() == b"x" * 1024
    p.clear_page(0, 512)
    p.resize_blob(512)
    assert p.set_sequence_number("max", "9")["blob_sequence_number"] == 9
    assert p.download_blob().readall() == bytes(512)


@shows("IncrementalCopyBlob")
def incremental_copy(s):
    s.incremental()
    assert s.blob("to").get_blob_properties().copy.incremental_copy


@shows("CopyBlob", "CopyBlobFromURL")
def copies(s):
    s.put()
    assert s.blob("to").start_copy_from_url(s.blob().url)["copy_status"] == "success"
    assert s.blob("sync").start_copy_from_url(s.readable(), requires_sync=True)["copy_status"] == "success"
    assert s.blob("sync").download_blob().readall() == b"data"


@shows("AbortCopyBlob")
def abort(s):
    s.pending().abort_copy(s.there.pending)
    del s.there.pending
    assert s.blob("pending").get_blob_properties().copy.status == "aborted"


@shows("QueryBlobContents", "SetImmutabilityPolicy", "DeleteImmutabilityPolicy", "SetLegalHold")
def later_work(s):
    b = s.put()
    for call in (lambda: b.query_blob("select * from BlobStorage"), lambda: b.set_legal_hold(True), b.delete_immutability_policy,
                 lambda: b.set_immutability_policy(ImmutabilityPolicy(expiry_time=in_an_hour(), policy_mode="Unlocked"))):
        with pytest.raises(HttpResponseError) as e:
            call()
        assert code_of(e.value) == "BlobOperationNotSupported"


@pytest.mark.parametrize("show", list(dict.fromkeys(OPERATIONS.values())), ids=lambda f: f.__name__)
def test_operation(scene, show):
    show(scene)


# --- errors: status, code, what stands there before, the call that is refused ---

def put(s):
    return s.put()


def page(s):
    return s.page()


def append_blob(s):
    return s.append()


def another(s):
    s.incremental()
    p = s.page("another")
    return p, p.create_snapshot()["snapshot"]


def sealed(s):
    s.append().seal_append_blob()
    return s.blob("a")


def higher(s):
    s.page().set_premium_page_blob_tier(PremiumPageBlobTier.P20)
    return s.blob("p")


def root(s):
    on = s.elsewhere()
    on.put()
    return on.c.delete_blob("b", version_id=on.blob().get_blob_properties().version_id)


def scoped(s):
    return s.service.create_container(s.name + "-scoped", container_encryption_scope=ContainerEncryptionScope("one", prevent_encryption_scope_override=True))


def other_lease(s):
    return BlobLeaseClient(s.blob(), NOBODY)


ERRORS = [
    # getting in
    (400, "AccountRequiresHttps", None, lambda s, x: s.at(s.n.secure.blob, KEY_OF).get_service_properties()),
    (401, "InvalidAuthenticationInfo", None, lambda s, x: s.login("nonsense").get_service_properties()),
    (401, "NoAuthenticationInformation", None, lambda s, x: s.at(s.n.login.blob).get_container_client("private").get_container_properties()),
    (403, "AuthenticationFailed", None, lambda s, x: s.at(s.n.main.blob, KEY_OF | {"account_key": "YW5vdGhlciBrZXk="}).get_service_properties()),
    (403, "AuthorizationFailure", None, lambda s, x: s.signed().get_container_access_policy()),
    (403, "AuthorizationPermissionMismatch", put, lambda s, x: s.guest().delete_blob("b")),
    (403, "AuthorizationProtocolMismatch", put, lambda s, x: read(s.guest(protocol="https"))),
    (403, "AuthorizationResourceTypeMismatch", put, lambda s, x: read(s.signed(resource_types="s"))),
    (403, "AuthorizationServiceMismatch", put, lambda s, x: read(s.signed(services="q"))),
    (403, "AuthorizationSourceIPMismatch", put, lambda s, x: read(s.guest(ip="10.1.2.3"))),
    (403, "InsufficientAccountPermissions", None, lambda s, x: s.at(s.n.main.blob + "-secondary", KEY_OF).create_container("more")),
    (403, "KeyBasedAuthenticationNotPermitted", None, lambda s, x: s.at(s.n.login.blob, KEY_OF).get_service_properties()),
    (404, "ResourceNotFound", None, lambda s, x: s.at(s.n.main.blob.replace(ACCOUNT, "nobody")).get_container_client("c").get_container_properties()),
    (409, "PublicAccessNotPermitted", None, lambda s, x: s.at(s.n.versions.blob, KEY_OF).create_container("public", public_access="blob")),
    # headers, parameters, bodies
    (304, "ConditionNotMet", put, lambda s, b: b.get_blob_properties(etag=b.get_blob_properties().etag, match_condition=MatchConditions.IfModified)),
    (400, "EmptyMetadataKey", put, lambda s, b: b.set_blob_metadata({"": "x"})),
    (400, "InvalidHeaderValue", put, lambda s, b: b.acquire_lease(5)),
    (400, "InvalidMd5", put, lambda s, b: b.upload_blob(b"x", overwrite=True, content_settings=ContentSettings(content_md5=bytearray(3)))),
    (400, "InvalidMetadata", put, lambda s, b: b.set_blob_metadata({"1a": "x"})),
    (400, "InvalidQueryParameterValue", put, lambda s, b: s.c.get_blob_client("b", snapshot="yesterday").get_blob_properties()),
    (400, "InvalidResourceName", None, lambda s, x: s.service.create_container("UPPER")),
    (400, "InvalidXmlNodeValue", None, lambda s, x: s.service.set_service_properties(cors=[CorsRule(["*"], ["BREW"])])),
    (400, "Md5Mismatch", put, lambda s, b: s.blob("to").upload_blob_from_url(s.readable(), source_content_md5=bytearray(16))),
    (400, "MetadataTooLarge", put, lambda s, b: b.set_blob_metadata({"a": "x" * 9000})),
    (400, "OutOfRangeInput", None, lambda s, x: s.service.create_container("ab")),
    (400, "OutOfRangeQueryParameterValue", None, lambda s, x: list(s.c.list_blobs(results_per_page=-1))),
    (400, "UnsatisfiableCondition", put, lambda s, b: b.get_blob_properties(match_condition=MatchConditions.IfMissing)),
    (400, "UnsupportedHeader", None, lambda s, x: s.login(s.n.token).get_blob_client("any", "b").upload_blob(
        b"x", cpk=CustomerProvidedEncryptionKey("A" * 43 + "=", "A" * 43 + "="))),
    (412, "ConditionNotMet", put, lambda s, b: b.delete_blob(etag='"0x1"', match_condition=MatchConditions.IfNotModified)),
    (413, "RequestBodyTooLarge", lambda s: s.page(size=8 << 20), lambda s, p: p.upload_page(bytes((4 << 20) + 512), 0, (4 << 20) + 512)),
    (416, "InvalidRange", put, lambda s, b: b.download_blob(4).readall()),
    # containers and blobs
    (403, "RequestForbiddenByContainerEncryptionPolicy", scoped, lambda s, on: on.upload_blob("b", b"x", encryption_scope="two")),
    (403, "UnauthorizedBlobOverwrite", put, lambda s, b: s.guest(permission="c").upload_blob("b", b"x", overwrite=True)),
    (404, "BlobNotFound", None, lambda s, x: s.blob("none").download_blob()),
    (404, "ContainerNotFound", None, lambda s, x: s.service.get_container_client("none").get_container_properties()),
    (409, "BlobAlreadyExists", put, lambda s, b: b.upload_blob(b"x")),
    (409, "BlobOperationNotSupported", put, lambda s, b: b.set_legal_hold(True)),
    (409, "ContainerAlreadyExists", None, lambda s, x: s.c.create_container()),
    (409, "InvalidBlobType", put, lambda s, b: b.append_block(b"x")),
    # blocks
    (400, "BlockListTooLong", put, lambda s, b: b.commit_block_list([BlobBlock("1")] * 50001)),
    (400, "InvalidBlobOrBlock", lambda s: s.blob().stage_block("1", b"x"), lambda s, x: s.blob().stage_block("1111", b"x")),
    (400, "InvalidBlockList", put, lambda s, b: b.commit_block_list([BlobBlock("1")])),
    # pages
    (400, "PreviousSnapshotCannotBeNewer", Scene.snapshots, lambda s, x: list(s.c.get_blob_client("p", snapshot=x[1]).list_page_ranges(previous_snapshot=x[2]))),
    (409, "BlobOverwritten", lambda s: (s.snapshots(), s.page())[0], lambda s, x: list(x[0].list_page_ranges(previous_snapshot=x[1]))),
    (409, "BlobTierInadequateForContentLength", lambda s: s.page(size=1 << 36), lambda s, p: p.set_premium_page_blob_tier(PremiumPageBlobTier.P4)),
    (409, "CannotChangeToLowerTier", higher, lambda s, p: p.set_premium_page_blob_tier(PremiumPageBlobTier.P10)),
    (409, "PreviousSnapshotNotFound", page, lambda s, p: list(p.list_page_ranges(previous_snapshot="2020-01-01T00:00:00.0000000Z"))),
    (409, "SequenceNumberIncrementTooLarge", lambda s: s.blob("p").create_page_blob(512, sequence_number=2**63 - 1), lambda s, x: s.blob("p").set_sequence_number("increment")),
    (412, "SequenceNumberConditionNotMet", page, lambda s, p: p.upload_page(bytes(512), 0, 512, if_sequence_number_eq=5)),
    (416, "InvalidPageRange", page, lambda s, p: p.upload_page(bytes(512), 4096, 512)),
    # appends
    (409, "BlobIsSealed", sealed, lambda s, a: a.append_block(b"x")),
    (412, "AppendPositionConditionNotMet", append_blob, lambda s, a: a.append_block(b"x", appendpos_condition=1)),
    (412, "MaxBlobSizeConditionNotMet", append_blob, lambda s, a: a.append_block(b"xx", maxsize_condition=1)),
    # snapshots and versions
    (403, "OperationNotAllowedOnRootBlob", None, lambda s, x: root(s)),
    (409, "SnapshotsPresent", Scene.snapshots, lambda s, x: x[0].delete_blob()),
    # leases
    (409, "LeaseAlreadyPresent", Scene.leased, lambda s, l: s.blob().acquire_lease(-1)),
    (409, "LeaseIdMismatchWithLeaseOperation", Scene.leased, lambda s, l: other_lease(s).renew()),
    (409, "LeaseIsBreakingAndCannotBeAcquired", lambda s: s.broken(60), lambda s, l: l.acquire(60)),
    (409, "LeaseIsBreakingAndCannotBeChanged", lambda s: s.broken(60), lambda s, l: l.change(NOBODY)),
    (409, "LeaseIsBrokenAndCannotBeRenewed", Scene.broken, lambda s, l: l.renew()),
    (409, "LeaseNotPresentWithLeaseOperation", put, lambda s, b: other_lease(s).change(NOBODY)),
    (412, "InfiniteLeaseDurationRequired", lambda s: s.leased(60), lambda s, l: s.blob().start_copy_from_url(s.n.stalling, destination_lease=l)),
    (412, "LeaseIdMismatchWithBlobOperation", Scene.leased, lambda s, l: s.put(lease=NOBODY)),
    (412, "LeaseIdMismatchWithContainerOperation", lambda s: s.c.acquire_lease(60), lambda s, l: s.c.set_container_metadata({"a": "b"}, lease=NOBODY)),
    (412, "LeaseIdMissing", Scene.leased, lambda s, l: s.put()),
    (412, "LeaseLost", Scene.broken, lambda s, l: s.put(lease=l)),
    (412, "LeaseNotPresentWithBlobOperation", put, lambda s, b: s.put(lease=NOBODY)),
    (412, "LeaseNotPresentWithContainerOperation", None, lambda s, x: s.c.set_container_metadata({"a": "b"}, lease=NOBODY)),
    # copies
    (400, "BothUserTagsAndSourceTagsCopyPresentException", put, lambda s, b: s.blob("to").upload_blob_from_url(s.readable(), tags={"a": "b"}, headers={"x-ms-copy-source-tag-option": "COPY"})),
    (304, "CannotVerifyCopySource", put, lambda s, b: s.blob("to").upload_blob_from_url(s.readable(), source_etag=b.get_blob_properties().etag, source_match_condition=MatchConditions.IfModified)),
    (409, "CannotVerifyCopySource", Scene.page, lambda s, p: s.blob("to").start_copy_from_url(s.readable("p"), requires_sync=True)),
    (404, "CannotVerifyCopySource", None, lambda s, x: s.blob("to").upload_blob_from_url(s.readable("none"))),
    (500, "CannotVerifyCopySource", None, lambda s, x: s.blob("to").upload_blob_from_url("http://127.0.0.1:1/nothing")),
    (409, "CopyIdMismatch", Scene.pending, lambda s, b: b.abort_copy(NOBODY)),
    (409, "NoPendingCopyOperation", put, lambda s, b: b.abort_copy(NOBODY)),
    (409, "PendingCopyOperation", Scene.pending, lambda s, b: b.upload_blob(b"x", overwrite=True)),
    (409, "IncrementalCopyBlobMismatch", another, lambda s, x: s.increment(*x)),
    (409, "IncrementalCopyOfEralierVersionSnapshotNotAllowed", Scene.incremental, lambda s, x: s.increment(x[0], x[1])),
    (409, "IncrementalCopySourceMustBeSnapshot", page, lambda s, p: s.blob("to").start_copy_from_url(p.url, incremental_copy=True)),
    (409, "InvalidSourceBlobUrl", None, lambda s, _: s.blob("to").start_copy_from_url("http://203.0.113.1/elsewhere/disk?snapshot=2026-01-01T00:00:00.0000000Z", incremental_copy=True)),
    (409, "OperationNotAllowedOnIncrementalCopyBlob", Scene.incremental, lambda s, x: s.blob("to").upload_page(bytes(512), 0, 512)),
    (409, "InvalidSourceBlobType", lambda s: s.put().create_snapshot()["snapshot"], lambda s, x: s.increment(s.blob(), x)),
    (412, "SourceConditionNotMet", put, lambda s, b: s.blob("to").start_copy_from_url(b.url, source_etag='"0x1"', source_match_condition=MatchConditions.IfNotModified)),
    # tiers
    (400, "AccessTierNotSupportedForBlobType", put, lambda s, b: b.set_standard_blob_tier("P10")),
    (409, "BlobArchived", Scene.archived, lambda s, b: b.download_blob()),
    (409, "BlobBeingRehydrated", lambda s: s.archived().set_standard_blob_tier("Hot"), lambda s, x: s.blob().set_standard_blob_tier("Cool")),
    # tags
    (400, "EmptyTagName", put, lambda s, b: b.set_blob_tags({"": "x"})),
    (400, "InvalidTag", put, lambda s, b: b.set_blob_tags({"a!": "x"})),
    (400, "TagsTooLarge", put, lambda s, b: b.set_blob_tags({f"t{i}": "x" for i in range(11)})),
]


@pytest.mark.parametrize("status,code,arrange,call", ERRORS, ids=[f"{e[0]}-{e[1]}" for e in ERRORS])
def test_error(scene, status, code, arrange, call):
    there = arrange(scene) if arrange else None
    before = scene.state()
    with pytest.raises(HttpResponseError) as e:
        call(scene, there)
    assert (e.value.status_code, code_of(e.value)) == (status, code), e.value.message
    assert scene.state() == before


def test_as_claimed(neighbours):
    """What was seen is what the third column of test/coverage.txt claims."""
    for s in neighbours.servers:
        s.stop()
    seen = set()
    for log in neighbours.logs:
        for line in log.read_text().splitlines():
            r = json.loads(line)
            if r["service"] != "blob" or "azsdk-python-storage-blob" not in r["agent"]:
                continue
            code = r.get("code")
            seen.add(f"{r['status']} {code}" if code else r["operation"])
            if code == "BlobOperationNotSupported":
                seen.add(r["operation"])
    claimed = set()
    for line in (pathlib.Path(__file__).parent.parent / "coverage.txt").read_text().splitlines():
        f = line.split()
        if f and not line.startswith("#"):
            what = f[:2] if f[0].isdigit() else f[:1]
            if f[len(what) + 2] == "yes":
                claimed.add(" ".join(what))
    assert seen == claimed, f"not claimed: {sorted(seen - claimed)}; not seen: {sorted(claimed - seen)}"
