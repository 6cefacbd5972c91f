// One test for each operation of the Blob service that the SDK has a call for, by Azure's name of the operation. The server's access
// log tells whether it was that operation that was asked for (test/coverage.txt).
import assert from "node:assert/strict";
import { test as run } from "node:test";
import { BlobBatchClient, BlobServiceClient } from "@azure/storage-blob";
import { collect, credential, isBlobd, login, newContainer, options, service, stalling, token, versions } from "./target.mjs";

const inAnHour = () => new Date(Date.now() + 3600e3);
const bytes = async (b, offset, count) => (await b.downloadToBuffer(offset, count)).toString();
const readable = (b) => b.generateSasUrl({ permissions: "r", expiresOn: inAnHour() });

async function put(c, name = "b", text = "data", settings) {
  const b = c.getBlockBlobClient(name);
  await b.upload(text, text.length, settings);
  return b;
}

const operations = {
  // service
  ListContainers: async (c) => assert.deepEqual((await collect(service.listContainers({ prefix: c.containerName }))).map((i) => i.name), [c.containerName]),
  GetBlobServiceProperties: async () => assert.equal((await service.getProperties()).hourMetrics.version, "1.0"),
  SetBlobServiceProperties: async () => {
    await service.setProperties({ defaultServiceVersion: "2020-10-02" });
    assert.equal((await service.getProperties()).defaultServiceVersion, "2020-10-02");
  },
  GetBlobServiceStats: async () => assert.equal((await new BlobServiceClient(service.url.replace(/\/?$/, "-secondary"), credential, options).getStatistics()).geoReplication.status, "live"),
  GetAccountInformation: async () => assert.deepEqual(await service.getAccountInfo().then((i) => [i.skuName, i.accountKind]), ["Standard_RAGRS", "StorageV2"]),
  GetUserDelegationKey: async () => {
    const trusted = new BlobServiceClient(login, { getToken: async () => ({ token, expiresOnTimestamp: Date.now() + 3600e3 }) }, options);
    const k = await trusted.getUserDelegationKey(new Date(), inAnHour());
    assert.equal(Buffer.from(k.value, "base64").length, 32);
    assert.equal(k.signedService, "b");
  },
  BlobBatch: async (c) => {
    const b = await put(c);
    assert.equal((await new BlobBatchClient(service.url, credential).deleteBlobs([b.url], credential)).subResponsesSucceededCount, 1);
    assert.equal(await b.exists(), false);
  },
  FindBlobsByTags: async (c) => {
    await put(c, "b", "x", { tags: { of: c.containerName } });
    assert.deepEqual((await collect(service.findBlobsByTags(`of='${c.containerName}'`))).map((i) => [i.name, i.tags]), [["b", { of: c.containerName }]]);
  },
  // containers
  CreateContainer: async (c) => assert.equal(await c.exists(), true),
  GetContainerProperties: async (c) => assert.deepEqual(await c.getProperties().then((p) => [p.leaseStatus, p.hasLegalHold]), ["unlocked", false]),
  SetContainerMetadata: async (c) => {
    await c.setMetadata({ a: "b" });
    assert.deepEqual((await c.getProperties()).metadata, { a: "b" });
  },
  SetContainerACL: async (c) => {
    await c.setAccessPolicy("blob", [{ id: "p", accessPolicy: { startsOn: new Date(0), expiresOn: inAnHour(), permissions: "r" } }]);
    assert.equal((await c.getProperties()).blobPublicAccess, "blob");
  },
  GetContainerACL: async (c) => {
    await c.setAccessPolicy(undefined, [{ id: "p", accessPolicy: { startsOn: new Date(0), expiresOn: inAnHour(), permissions: "rl" } }]);
    assert.deepEqual((await c.getAccessPolicy()).signedIdentifiers.map((i) => [i.id, i.accessPolicy.permissions]), [["p", "rl"]]);
  },
  DeleteContainer: async (c) => {
    await c.delete();
    assert.equal(await c.exists(), false);
  },
  ListBlobs: async (c) => {
    for (const n of ["a", "b/1", "b/2"]) await put(c, n);
    assert.deepEqual((await collect(c.listBlobsFlat())).map((i) => i.name), ["a", "b/1", "b/2"]);
    assert.deepEqual((await collect(c.listBlobsByHierarchy("/"))).map((i) => i.name).sort(), ["a", "b/"]);
  },
  RestoreContainer: async () => {
    const keeping = new BlobServiceClient(versions, credential, options);
    const c = await newContainer(keeping);
    await put(c);
    await c.delete();
    const [gone] = await collect(keeping.listContainers({ prefix: c.containerName, includeDeleted: true }));
    assert.equal(gone.deleted, true);
    await keeping.undeleteContainer(c.containerName, gone.version);
    assert.equal(await bytes(c.getBlobClient("b")), "data");
  },
  LeaseContainer: async (c) => {
    const lease = c.getBlobLeaseClient();
    await lease.acquireLease(60);
    await lease.renewLease();
    await lease.changeLease("11111111-2222-3333-4444-555555555555");
    assert.equal((await c.getProperties()).leaseState, "leased");
    await lease.breakLease(0);
    await lease.releaseLease();
    assert.equal((await c.getProperties()).leaseState, "available");
  },
  BlobBatchInContainer: async (c) => {
    const b = await put(c);
    const batch = c.getBlobBatchClient();
    assert.equal((await batch.setBlobsAccessTier([b.url], credential, "Cool")).subResponsesSucceededCount, 1);
    assert.equal((await b.getProperties()).accessTier, "Cool");
  },
  FindBlobsByTagsInContainer: async (c) => {
    await put(c, "b", "x", { tags: { n: "1" } });
    assert.deepEqual((await collect(c.findBlobsByTags("n='1'"))).map((i) => i.name), ["b"]);
  },
  // blobs
  PutBlob: async (c) => assert.equal(await bytes(await put(c)), "data"),
  GetBlob: async (c) => assert.equal(await bytes(await put(c), 1, 2), "at"),
  GetBlobProperties: async (c) => assert.equal((await (await put(c)).getProperties()).contentLength, 4),
  SetBlobProperties: async (c) => {
    const b = await put(c);
    await b.setHTTPHeaders({ blobContentType: "x/y", blobCacheControl: "no-store" });
    assert.deepEqual(await b.getProperties().then((p) => [p.contentType, p.cacheControl]), ["x/y", "no-store"]);
  },
  SetBlobMetadata: async (c) => {
    const b = await put(c);
    await b.setMetadata({ a: "b" });
    assert.deepEqual((await b.getProperties()).metadata, { a: "b" });
  },
  DeleteBlob: async (c) => {
    const b = await put(c);
    await b.delete();
    assert.equal(await b.exists(), false);
  },
  UndeleteBlob: async () => {
    const kept = new BlobServiceClient(versions, credential, options);
    await kept.setProperties({ deleteRetentionPolicy: { enabled: true, days: 2 } });
    const c = await newContainer(kept);
    const b = await put(c);
    await b.createSnapshot();
    await b.delete({ deleteSnapshots: "include" });
    await b.undelete();
    assert.equal((await collect(c.listBlobsFlat({ includeSnapshots: true }))).filter((i) => i.snapshot).length, 1);
  },
  SnapshotBlob: async (c) => {
    const b = await put(c);
    const { snapshot } = await b.createSnapshot();
    await b.upload("new", 3);
    assert.equal(await bytes(b.withSnapshot(snapshot)), "data");
  },
  SetBlobTier: async (c) => {
    const b = await put(c);
    await b.setAccessTier("Cold");
    assert.equal((await b.getProperties()).accessTier, "Cold");
  },
  SetBlobTags: async (c) => {
    const b = await put(c);
    await b.setTags({ a: "1", b: "2" });
    assert.equal((await b.getProperties()).tagCount, 2);
  },
  GetBlobTags: async (c) => assert.deepEqual((await (await put(c, "b", "x", { tags: { a: "1" } })).getTags()).tags, { a: "1" }),
  LeaseBlob: async (c) => {
    const b = await put(c);
    const lease = b.getBlobLeaseClient();
    await lease.acquireLease(-1);
    await lease.renewLease();
    await lease.changeLease("11111111-2222-3333-4444-555555555555");
    assert.equal((await b.getProperties()).leaseDuration, "infinite");
    await lease.breakLease(0);
    assert.equal((await b.getProperties()).leaseState, "broken");
    await lease.releaseLease();
  },
  // block blobs
  PutBlock: async (c) => {
    const b = c.getBlockBlobClient("b");
    await b.stageBlock("AAAA", "one", 3);
    assert.deepEqual((await b.getBlockList("uncommitted")).uncommittedBlocks, [{ name: "AAAA", size: 3 }]);
  },
  PutBlockList: async (c) => {
    const b = c.getBlockBlobClient("b");
    for (const [id, text] of [["AAAA", "one"], ["AAAB", "two"]]) await b.stageBlock(id, text, 3);
    await b.commitBlockList(["AAAB", "AAAA"]);
    assert.equal(await bytes(b), "twoone");
  },
  GetBlockList: async (c) => {
    const b = c.getBlockBlobClient("b");
    await b.stageBlock("AAAA", "one", 3);
    await b.commitBlockList(["AAAA"]);
    assert.deepEqual((await b.getBlockList("all")).committedBlocks, [{ name: "AAAA", size: 3 }]);
  },
  PutBlobFromURL: async (c) => {
    const to = c.getBlockBlobClient("to");
    await to.syncUploadFromURL(await readable(await put(c)));
    assert.equal(await bytes(to), "data");
  },
  PutBlockFromURL: async (c) => {
    const to = c.getBlockBlobClient("to");
    await to.stageBlockFromURL("AAAA", await readable(await put(c)), 1, 2);
    await to.commitBlockList(["AAAA"]);
    assert.equal(await bytes(to), "at");
  },
  // append blobs
  PutAppendBlob: async (c) => {
    const a = c.getAppendBlobClient("a");
    await a.create();
    assert.equal((await a.getProperties()).blobType, "AppendBlob");
  },
  AppendBlock: async (c) => {
    const a = c.getAppendBlobClient("a");
    await a.create();
    for (const text of ["one", "two"]) await a.appendBlock(text, 3);
    assert.equal(await bytes(a), "onetwo");
  },
  AppendBlockFromURL: async (c) => {
    const a = c.getAppendBlobClient("a");
    await a.create();
    await a.appendBlockFromURL(await readable(await put(c)), 1, 2);
    assert.equal(await bytes(a), "at");
  },
  SealAppendBlob: async (c) => {
    const a = c.getAppendBlobClient("a");
    await a.create();
    await a.seal();
    assert.equal((await a.getProperties()).isSealed, true);
  },
  // page blobs
  PutPageBlob: async (c) => {
    const p = c.getPageBlobClient("p");
    await p.create(1024, { blobSequenceNumber: 7 });
    assert.deepEqual(await p.getProperties().then((q) => [q.contentLength, q.blobSequenceNumber]), [1024, 7]);
  },
  PutPage: async (c) => {
    const p = c.getPageBlobClient("p");
    await p.create(1024);
    await p.uploadPages("x".repeat(512), 512, 512);
    assert.equal(await bytes(p, 510, 4), "\0\0xx");
    await p.clearPages(512, 512);
    assert.equal(await bytes(p, 510, 4), "\0\0\0\0");
  },
  PutPageFromURL: async (c) => {
    const p = c.getPageBlobClient("p");
    await p.create(1024);
    await p.uploadPagesFromURL(await readable(await put(c, "b", "y".repeat(512))), 0, 512, 512);
    assert.equal(await bytes(p, 510, 4), "\0\0yy");
  },
  GetPageRanges: async (c) => {
    const p = c.getPageBlobClient("p");
    await p.create(2048);
    await p.uploadPages("x".repeat(512), 512, 512);
    assert.deepEqual((await p.getPageRanges()).pageRange, [{ offset: 512, count: 511 }]);
    const { snapshot } = await p.createSnapshot();
    await p.clearPages(512, 512);
    assert.deepEqual((await p.getPageRangesDiff(0, 2048, snapshot)).clearRange, [{ offset: 512, count: 511 }]);
  },
  ResizePageBlob: async (c) => {
    const p = c.getPageBlobClient("p");
    await p.create(1024);
    await p.resize(512);
    assert.equal((await p.getProperties()).contentLength, 512);
  },
  UpdateSequenceNumber: async (c) => {
    const p = c.getPageBlobClient("p");
    await p.create(512);
    await p.updateSequenceNumber("max", 9);
    await p.updateSequenceNumber("increment");
    assert.equal((await p.getProperties()).blobSequenceNumber, 10);
  },
  IncrementalCopyBlob: async (c) => {
    const from = c.getPageBlobClient("from");
    await from.create(512);
    const { snapshot } = await from.createSnapshot();
    const to = c.getPageBlobClient("to");
    await to.startCopyIncremental(from.withSnapshot(snapshot).url);
    assert.equal((await to.getProperties()).isIncrementalCopy, true);
  },
  // copies
  CopyBlob: async (c) => {
    const to = c.getBlobClient("to");
    assert.equal((await (await to.beginCopyFromURL((await put(c)).url)).pollUntilDone()).copyStatus, "success");
    assert.equal(await bytes(to), "data");
  },
  CopyBlobFromURL: async (c) => {
    const to = c.getBlobClient("to");
    assert.equal((await to.syncCopyFromURL(await readable(await put(c)))).copyStatus, "success");
    assert.equal(await bytes(to), "data");
  },
  AbortCopyBlob: async (c) => {
    const to = c.getBlockBlobClient("to");
    (await to.beginCopyFromURL(stalling)).stopPolling();
    const { copyId, copyStatus } = await to.getProperties();
    assert.equal(copyStatus, "pending");
    await to.abortCopyFromURL(copyId);
    assert.equal((await to.getProperties()).copyStatus, "aborted");
  },
  // refused, as blobd has it not
  QueryBlobContents: async (c) => assert.rejects((await put(c)).query("select * from BlobStorage"), { statusCode: 409 }),
  SetImmutabilityPolicy: async (c) => assert.rejects((await put(c)).setImmutabilityPolicy({ expiriesOn: inAnHour(), policyMode: "Unlocked" }), { statusCode: 409 }),
  DeleteImmutabilityPolicy: async (c) => assert.rejects((await put(c)).deleteImmutabilityPolicy(), { statusCode: 409 }),
  SetLegalHold: async (c) => assert.rejects((await put(c)).setLegalHold(true), { statusCode: 409 }),
};

for (const [operation, show] of Object.entries(operations)) {
  run(operation, { skip: !isBlobd, timeout: 300e3 }, async () => show(await newContainer()));
}
