// One row for each error of the Blob service that the SDK can be brought to meet: what stands there before, and the call that is
// refused. A refusal changes nothing: the container lists the same before and after.
import assert from "node:assert/strict";
import { test as run } from "node:test";
import {
  AccountSASPermissions, AccountSASResourceTypes, AccountSASServices, BlobSASPermissions, BlobServiceClient, ContainerSASPermissions, SASProtocol,
  StorageSharedKeyCredential, generateAccountSASQueryParameters, generateBlobSASQueryParameters,
} from "@azure/storage-blob";
import { account, collect, credential, isBlobd, key, login, newContainer, options, secure, service, stalling, token, url, versions } from "./target.mjs";

const inAnHour = () => new Date(Date.now() + 3600e3);
const other = "11111111-2222-3333-4444-555555555555"; // an id that nothing has

async function put(c, name = "b", settings) {
  const b = c.getBlockBlobClient(name);
  await b.upload("data", 4, settings);
  return b;
}

async function page(c, name = "p", size = 1024) {
  const p = c.getPageBlobClient(name);
  await p.create(size);
  return p;
}

async function append(c, name = "a") {
  const a = c.getAppendBlobClient(name);
  await a.create();
  return a;
}

async function leased(client, seconds = -1) {
  const lease = client.getBlobLeaseClient();
  await lease.acquireLease(seconds);
  return lease;
}

async function broken(client) {
  const lease = await leased(client);
  await lease.breakLease(0);
  return lease;
}

async function breaking(client) {
  const lease = await leased(client, 60);
  await lease.breakLease(60);
  return lease;
}

// by is a client that has nothing but a signature over the account.
function by(c, settings) {
  const sas = generateAccountSASQueryParameters(
    { permissions: AccountSASPermissions.parse("rwdlac"), resourceTypes: AccountSASResourceTypes.parse("sco").toString(), services: AccountSASServices.parse("b").toString(),
      expiresOn: inAnHour(), ...settings }, credential);
  return new BlobServiceClient(`${url}?${sas}`, undefined, options).getContainerClient(c.containerName);
}

// guest is a client that has nothing but a signature over the container.
function guest(c, settings) {
  const sas = generateBlobSASQueryParameters({ containerName: c.containerName, permissions: ContainerSASPermissions.parse("r"), expiresOn: inAnHour(), ...settings }, credential);
  return new BlobServiceClient(`${url}?${sas}`, undefined, options).getContainerClient(c.containerName);
}

// pending is a blob that is being copied from a server that never comes to its end.
async function pending(c) {
  const b = c.getBlockBlobClient("pending");
  const poller = await b.beginCopyFromURL(stalling);
  poller.stopPolling();
  return [b, (await b.getProperties()).copyId];
}

// incremental is a page blob with a snapshot and an incremental copy of it.
async function incremental(c) {
  const from = await page(c, "from");
  const { snapshot } = await from.createSnapshot();
  const to = c.getPageBlobClient("to");
  await to.startCopyIncremental(from.withSnapshot(snapshot).url);
  return { from, to, snapshot };
}

const readable = (b) => b.generateSasUrl({ permissions: BlobSASPermissions.parse("r"), expiresOn: inAnHour() });
const trusted = () => new BlobServiceClient(login, { getToken: async () => ({ token, expiresOnTimestamp: Date.now() + 3600e3 }) }, options);

// Status, code, what stands there, the call.
const refusals = [
  // getting in
  [400, "AccountRequiresHttps", null, () => new BlobServiceClient(secure, credential, options).getProperties()],
  [401, "InvalidAuthenticationInfo", null, () => new BlobServiceClient(login, { getToken: async () => ({ token: "nonsense", expiresOnTimestamp: Date.now() + 3600e3 }) }, options).getProperties()],
  [401, "NoAuthenticationInformation", null, () => new BlobServiceClient(login, undefined, options).getContainerClient("private").getProperties()],
  [403, "AuthenticationFailed", null, () => new BlobServiceClient(url, new StorageSharedKeyCredential(account, Buffer.from("another key").toString("base64")), options).getProperties()],
  [403, "AuthorizationFailure", null, (c) => by(c).getAccessPolicy()],
  [403, "AuthorizationPermissionMismatch", put, (c) => guest(c).deleteBlob("b")],
  [403, "AuthorizationProtocolMismatch", put, (c) => guest(c, { protocol: SASProtocol.Https }).getBlobClient("b").download()],
  [403, "AuthorizationResourceTypeMismatch", put, (c) => by(c, { resourceTypes: "s" }).getBlobClient("b").download()],
  [403, "AuthorizationServiceMismatch", put, (c) => by(c, { services: "q" }).getBlobClient("b").download()],
  [403, "AuthorizationSourceIPMismatch", put, (c) => guest(c, { ipRange: { start: "10.1.2.3" } }).getBlobClient("b").download()],
  [403, "InsufficientAccountPermissions", null, () => new BlobServiceClient(`${url}-secondary`, credential, options).createContainer("more")],
  [403, "KeyBasedAuthenticationNotPermitted", null, () => new BlobServiceClient(login, credential, options).getProperties()],
  [404, "ResourceNotFound", null, () => new BlobServiceClient(url.replace(account, "nobody"), new StorageSharedKeyCredential("nobody", key), options).getProperties()],
  [409, "FeatureVersionMismatch", (c) => c.setAccessPolicy(undefined, [{ id: "p", accessPolicy: { startsOn: new Date(), expiresOn: inAnHour(), permissions: "rt" } }]),
    (c) => guest(c, { permissions: undefined, expiresOn: undefined, identifier: "p", version: "2018-11-09" }).getBlobClient("b").download()],
  [409, "PublicAccessNotPermitted", null, () => new BlobServiceClient(versions, undefined, options).getContainerClient("public").getProperties()],
  // headers, parameters, bodies
  [304, "ConditionNotMet", put, async (c, b) => b.getProperties({ conditions: { ifNoneMatch: (await b.getProperties()).etag } })],
  [400, "BothCrc64AndMd5HeaderPresent", put, (c, b) => b.stageBlock("AAAA", "x", 1, { transactionalContentMD5: new Uint8Array(16), transactionalContentCrc64: new Uint8Array(8) })],
  [400, "Crc64Mismatch", put, (c, b) => b.stageBlock("AAAA", "x", 1, { transactionalContentCrc64: new Uint8Array(8) })],
  [400, "EmptyMetadataKey", put, (c, b) => b.setMetadata({ "": "x" })],
  [400, "InvalidHeaderValue", put, (c, b) => b.stageBlock("AAAA", "x", 1, { transactionalContentCrc64: new Uint8Array(3) })],
  [400, "InvalidMd5", put, (c, b) => b.stageBlock("AAAA", "x", 1, { transactionalContentMD5: new Uint8Array(3) })],
  [400, "InvalidMetadata", put, (c, b) => b.setMetadata({ "1a": "x" })],
  [400, "InvalidQueryParameterValue", put, (c, b) => b.withSnapshot("yesterday").download()],
  [400, "InvalidResourceName", null, () => service.createContainer("UPPER")],
  [400, "InvalidXmlDocument", null, (c) => c.setAccessPolicy(undefined, [1, 2, 3, 4, 5, 6].map((id) => ({ id: `${id}`, accessPolicy: { startsOn: new Date(), expiresOn: inAnHour(), permissions: "r" } })))],
  [400, "InvalidXmlNodeValue", null, () => service.setProperties({ cors: [{ allowedMethods: "BREW", allowedOrigins: "*", allowedHeaders: "x", exposedHeaders: "x", maxAgeInSeconds: 5 }] })],
  [400, "Md5Mismatch", put, (c, b) => b.stageBlock("AAAA", "x", 1, { transactionalContentMD5: new Uint8Array(16) })],
  [400, "MetadataTooLarge", put, (c, b) => b.setMetadata({ a: "x".repeat(9000) })],
  [400, "MultipleConditionHeadersNotSupported", put, (c, b) => b.upload("x", 1, { conditions: { ifMatch: '"0x1"', ifNoneMatch: '"0x2"' } })],
  [400, "OutOfRangeInput", null, () => service.createContainer("ab")],
  [400, "OutOfRangeQueryParameterValue", null, (c) => c.listBlobsFlat().byPage({ maxPageSize: -1 }).next()],
  [400, "UnsatisfiableCondition", put, (c, b) => b.download(0, undefined, { conditions: { ifNoneMatch: "*" } })],
  [400, "UnsupportedHeader", null, () => trusted().getContainerClient("any").getBlockBlobClient("b").upload("x", 1,
    { customerProvidedKey: { encryptionKey: Buffer.alloc(32).toString("base64"), encryptionKeySha256: Buffer.alloc(32).toString("base64"), encryptionAlgorithm: "AES256" } })],
  [412, "ConditionNotMet", put, (c, b) => b.delete({ conditions: { ifMatch: '"0x1"' } })],
  [413, "RequestBodyTooLarge", (c) => page(c, "p", 8 << 20), (c, p) => p.uploadPages(Buffer.alloc((4 << 20) + 512), 0, (4 << 20) + 512)],
  [416, "InvalidRange", put, (c, b) => b.download(4)],
  // containers and blobs
  [404, "BlobNotFound", null, (c) => c.getBlobClient("none").download()],
  [404, "ContainerNotFound", null, () => service.getContainerClient("none").getProperties()],
  [409, "BlobAlreadyExists", put, (c, b) => b.upload("x", 1, { conditions: { ifNoneMatch: "*" } })],
  [409, "BlobOperationNotSupported", put, (c, b) => b.query("select * from BlobStorage")],
  [409, "ContainerAlreadyExists", null, (c) => c.create()],
  [409, "InvalidBlobType", put, (c) => c.getAppendBlobClient("b").appendBlock("x", 1)],
  [403, "RequestForbiddenByContainerEncryptionPolicy", null, async (c) => {
    const on = service.getContainerClient(`${c.containerName}-scoped`);
    await on.create({ containerEncryptionScope: { defaultEncryptionScope: "one", preventEncryptionScopeOverride: true } });
    await on.getBlockBlobClient("b").upload("x", 1, { encryptionScope: "two" });
  }],
  [403, "UnauthorizedBlobOverwrite", put, (c) => guest(c, { permissions: ContainerSASPermissions.parse("c") }).getBlockBlobClient("b").upload("x", 1)],
  // blocks
  [400, "BlockListTooLong", put, (c, b) => b.commitBlockList(Array(50001).fill("AAAA"))],
  [400, "InvalidBlobOrBlock", async (c) => { const b = c.getBlockBlobClient("b"); await b.stageBlock("AAAA", "x", 1); return b; }, (c, b) => b.stageBlock("AAAAAAAA", "x", 1)],
  [400, "InvalidBlockId", put, (c, b) => b.commitBlockList(["!!"])],
  [400, "InvalidBlockList", put, (c, b) => b.commitBlockList(["AAAA"])],
  // pages
  [400, "PreviousSnapshotCannotBeNewer", async (c) => { const p = await page(c); return [p, (await p.createSnapshot()).snapshot, (await p.createSnapshot()).snapshot]; },
    (c, [p, first, second]) => p.withSnapshot(first).getPageRangesDiff(0, 512, second)],
  [409, "BlobOverwritten", async (c) => { const p = await page(c); const { snapshot } = await p.createSnapshot(); await p.create(1024); return [p, snapshot]; },
    (c, [p, snapshot]) => p.getPageRangesDiff(0, 512, snapshot)],
  [409, "BlobTierInadequateForContentLength", (c) => page(c, "p", 2 ** 36), (c, p) => p.setAccessTier("P4")],
  [409, "CannotChangeToLowerTier", async (c) => { const p = await page(c); await p.setAccessTier("P20"); return p; }, (c, p) => p.setAccessTier("P10")],
  [409, "PreviousSnapshotNotFound", page, (c, p) => p.getPageRangesDiff(0, 512, "2020-01-01T00:00:00.0000000Z")],
  [412, "SequenceNumberConditionNotMet", page, (c, p) => p.uploadPages(Buffer.alloc(512), 0, 512, { conditions: { ifSequenceNumberLessThan: 0 } })],
  [416, "InvalidPageRange", page, (c, p) => p.uploadPages(Buffer.alloc(512), 4096, 512)],
  // appends
  [409, "BlobIsSealed", async (c) => { const a = await append(c); await a.seal(); return a; }, (c, a) => a.appendBlock("x", 1)],
  [412, "AppendPositionConditionNotMet", append, (c, a) => a.appendBlock("x", 1, { conditions: { appendPosition: 1 } })],
  [412, "MaxBlobSizeConditionNotMet", append, (c, a) => a.appendBlock("xx", 2, { conditions: { maxSize: 1 } })],
  // snapshots and versions
  [403, "OperationNotAllowedOnRootBlob", null, async () => {
    const c = new BlobServiceClient(versions, credential, options).getContainerClient(`root-${Date.now()}`);
    await c.create();
    const b = await put(c);
    await b.withVersion((await b.getProperties()).versionId).delete();
  }],
  [409, "SnapshotsPresent", async (c) => { const b = await put(c); await b.createSnapshot(); return b; }, (c, b) => b.delete()],
  // leases
  [409, "LeaseAlreadyPresent", async (c) => { const b = await put(c); await leased(b); return b; }, (c, b) => b.getBlobLeaseClient().acquireLease(-1)],
  [409, "LeaseIdMismatchWithLeaseOperation", async (c) => { const b = await put(c); await leased(b); return b; }, (c, b) => b.getBlobLeaseClient(other).renewLease()],
  [409, "LeaseIsBreakingAndCannotBeAcquired", async (c) => { const b = await put(c); return [b, await breaking(b)]; }, (c, [b, l]) => b.getBlobLeaseClient(l.leaseId).acquireLease(60)],
  [409, "LeaseIsBreakingAndCannotBeChanged", async (c) => { const b = await put(c); return breaking(b); }, (c, l) => l.changeLease(other)],
  [409, "LeaseIsBrokenAndCannotBeRenewed", async (c) => broken(await put(c)), (c, l) => l.renewLease()],
  [409, "LeaseNotPresentWithLeaseOperation", put, (c, b) => b.getBlobLeaseClient(other).changeLease(other)],
  [412, "InfiniteLeaseDurationRequired", async (c) => { const b = await put(c); return [b, await leased(b, 60)]; }, (c, [b, l]) => b.beginCopyFromURL(stalling, { conditions: { leaseId: l.leaseId } })],
  [412, "LeaseIdMismatchWithBlobOperation", async (c) => { const b = await put(c); await leased(b); return b; }, (c, b) => b.upload("x", 1, { conditions: { leaseId: other } })],
  [412, "LeaseIdMismatchWithContainerOperation", (c) => leased(c), (c) => c.setMetadata({ a: "b" }, { conditions: { leaseId: other } })],
  [412, "LeaseIdMissing", async (c) => { const b = await put(c); await leased(b); return b; }, (c, b) => b.upload("x", 1)],
  [412, "LeaseLost", async (c) => { const b = await put(c); return [b, await broken(b)]; }, (c, [b, l]) => b.upload("x", 1, { conditions: { leaseId: l.leaseId } })],
  [412, "LeaseNotPresentWithBlobOperation", put, (c, b) => b.upload("x", 1, { conditions: { leaseId: other } })],
  [412, "LeaseNotPresentWithContainerOperation", null, (c) => c.setMetadata({ a: "b" }, { conditions: { leaseId: other } })],
  // copies
  [400, "BothUserTagsAndSourceTagsCopyPresentException", put, async (c, b) => c.getBlobClient("to").syncCopyFromURL(await readable(b), { tags: { a: "b" }, sourceConditions: {}, copySourceTags: "COPY" })],
  [304, "CannotVerifyCopySource", put, async (c, b) => c.getBlobClient("to").syncCopyFromURL(await readable(b), { sourceConditions: { ifNoneMatch: (await b.getProperties()).etag } })],
  [409, "CannotVerifyCopySource", page, async (c, p) => c.getBlobClient("to").syncCopyFromURL(await readable(p))],
  [404, "CannotVerifyCopySource", null, async (c) => c.getBlockBlobClient("to").syncUploadFromURL(await readable(c.getBlobClient("none")))],
  [500, "CannotVerifyCopySource", null, (c) => c.getBlockBlobClient("to").syncUploadFromURL("http://127.0.0.1:1/nothing")],
  [409, "CopyIdMismatch", pending, (c, [b]) => b.abortCopyFromURL(other)],
  [409, "NoPendingCopyOperation", put, (c, b) => b.abortCopyFromURL(other)],
  [409, "PendingCopyOperation", pending, (c, [b]) => b.upload("x", 1)],
  [409, "IncrementalCopyBlobMismatch", async (c) => { const i = await incremental(c); const p = await page(c, "another"); return [i.to, p, (await p.createSnapshot()).snapshot]; },
    (c, [to, p, snapshot]) => to.startCopyIncremental(p.withSnapshot(snapshot).url)],
  [409, "IncrementalCopyOfEralierVersionSnapshotNotAllowed", async (c) => {
    const from = await page(c, "from");
    const [first, second] = [(await from.createSnapshot()).snapshot, (await from.createSnapshot()).snapshot];
    await c.getPageBlobClient("to").startCopyIncremental(from.withSnapshot(second).url);
    return [from, first];
  }, (c, [from, first]) => c.getPageBlobClient("to").startCopyIncremental(from.withSnapshot(first).url)],
  [409, "IncrementalCopySourceMustBeSnapshot", page, (c, p) => c.getPageBlobClient("to").startCopyIncremental(p.url)],
  [409, "InvalidSourceBlobUrl", null, (c) => c.getPageBlobClient("to").startCopyIncremental("http://203.0.113.1/elsewhere/disk?snapshot=2026-01-01T00:00:00.0000000Z")],
  [409, "OperationNotAllowedOnIncrementalCopyBlob", incremental, (c, { to }) => to.uploadPages(Buffer.alloc(512), 0, 512)],
  [409, "InvalidSourceBlobType", async (c) => { const b = await put(c); return [b, (await b.createSnapshot()).snapshot]; }, (c, [b, snapshot]) => c.getPageBlobClient("to").startCopyIncremental(b.withSnapshot(snapshot).url)],
  [412, "SourceConditionNotMet", put, (c, b) => c.getBlobClient("to").beginCopyFromURL(b.url, { sourceConditions: { ifMatch: '"0x1"' } })],
  // tiers
  [400, "AccessTierNotSupportedForBlobType", put, (c, b) => b.setAccessTier("P10")],
  [409, "BlobArchived", async (c) => { const b = await put(c); await b.setAccessTier("Archive"); return b; }, (c, b) => b.download()],
  [409, "BlobBeingRehydrated", async (c) => { const b = await put(c); await b.setAccessTier("Archive"); await b.setAccessTier("Hot"); return b; }, (c, b) => b.setAccessTier("Cool")],
  // tags
  [400, "EmptyTagName", put, (c, b) => b.setTags({ "": "x" })],
  [400, "InvalidTag", put, (c, b) => b.setTags({ "a!": "x" })],
  [400, "TagsTooLarge", put, (c, b) => b.setTags(Object.fromEntries([...Array(11).keys()].map((i) => [`t${i}`, "x"])))],
];

// state is all that a client can see of a container.
async function state(c) {
  const { etag, leaseState, metadata } = await c.getProperties();
  const blobs = await collect(c.listBlobsFlat({ includeMetadata: true, includeTags: true, includeSnapshots: true, includeUncommitedBlobs: true, includeCopy: true, includeDeleted: true }));
  return JSON.stringify([etag, leaseState, metadata, blobs]);
}

for (const [status, code, arrange, call] of refusals) {
  run(`${status} ${code}`, { skip: !isBlobd, timeout: 300e3 }, async () => {
    const c = await newContainer();
    const there = await arrange?.(c);
    const before = await state(c);
    await assert.rejects(call(c, there), (e) => {
      assert.equal(`${e.statusCode} ${e.code ?? e.details?.errorCode}`, `${status} ${code}`, e.message);
      return true;
    });
    assert.equal(await state(c), before);
    if (arrange === pending) await there[0].abortCopyFromURL(there[1]);
  });
}
