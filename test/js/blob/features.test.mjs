// Page and append blobs, leases, snapshots, tags, copies, batches, tiers and soft delete by the JS SDK. Azurite has not all of
// them, or answers otherwise than Azure does, so this suite is for blobd alone.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { test as run } from "node:test";
import { BlobBatchClient } from "@azure/storage-blob";
import { collect, credential, isBlobd, newContainer, service } from "./target.mjs";

const test = isBlobd ? run : () => {};
const refused = (code, promise) => assert.rejects(promise, (e) => (e.code ?? e.details?.errorCode) === code || assert.fail(`want ${code}, got ${e.code}: ${e.message}`));

test("a page blob costs and lists what is written", async () => {
  const b = (await newContainer()).getPageBlobClient("p");
  await b.create(1 << 20);
  const page = randomBytes(512);
  await b.uploadPages(page, 1024, 512);
  assert.deepEqual((await b.getPageRanges()).pageRange, [{ offset: 1024, count: 511 }]);
  assert.ok((await b.downloadToBuffer(1024, 512)).equals(page));
  await b.clearPages(1024, 512);
  assert.deepEqual((await b.getPageRanges()).pageRange, []);
  await b.resize(2048);
  assert.equal((await b.getProperties()).contentLength, 2048);
  await b.updateSequenceNumber("update", 9);
  await refused("SequenceNumberConditionNotMet", b.uploadPages(page, 0, 512, { conditions: { ifSequenceNumberLessThan: 9 } }));
  await refused("InvalidPageRange", b.uploadPages(page, 4096, 512));
});

test("an append blob grows at its end only", async () => {
  const b = (await newContainer()).getAppendBlobClient("a");
  await b.create();
  for (let i = 0; i < 3; i++) assert.equal((await b.appendBlock(`${i}`, 1)).blobAppendOffset, `${i}`);
  assert.equal((await b.downloadToBuffer()).toString(), "012");
  await refused("AppendPositionConditionNotMet", b.appendBlock("x", 1, { conditions: { appendPosition: 1 } }));
  await refused("MaxBlobSizeConditionNotMet", b.appendBlock("x", 1, { conditions: { maxSize: 3 } }));
  await b.seal();
  await refused("BlobIsSealed", b.appendBlock("x", 1));
});

test("a lease keeps others out", async () => {
  const c = await newContainer();
  const b = c.getBlockBlobClient("l");
  await b.upload("1", 1);
  const lease = b.getBlobLeaseClient();
  const { leaseId } = await lease.acquireLease(15);
  await refused("LeaseIdMissing", b.upload("2", 1));
  await b.upload("2", 1, { conditions: { leaseId } });
  await refused("LeaseAlreadyPresent", b.getBlobLeaseClient().acquireLease(15));
  await lease.renewLease();
  assert.equal((await b.getProperties()).leaseState, "leased");
  await lease.releaseLease();
  const whole = c.getBlobLeaseClient();
  await whole.acquireLease(-1);
  await refused("LeaseIdMissing", c.delete());
  await whole.breakLease(0);
  await c.delete();
});

test("a snapshot stays as it was", async () => {
  const c = await newContainer();
  const b = c.getBlockBlobClient("s");
  await b.upload("old", 3);
  const { snapshot } = await b.createSnapshot();
  await b.upload("new", 3);
  assert.equal((await b.withSnapshot(snapshot).downloadToBuffer()).toString(), "old");
  assert.deepEqual((await collect(c.listBlobsFlat({ includeSnapshots: true }))).map((i) => i.snapshot), [snapshot, undefined]);
  await refused("SnapshotsPresent", b.delete());
  await b.delete({ deleteSnapshots: "include" });
});

test("tags are set, found and asked for", async () => {
  const c = await newContainer();
  const b = c.getBlockBlobClient("t");
  await b.upload("x", 1, { tags: { project: c.containerName, n: "1" } });
  assert.deepEqual((await b.getTags()).tags, { project: c.containerName, n: "1" });
  const found = await collect(service.findBlobsByTags(`project='${c.containerName}' AND n>='1'`));
  assert.deepEqual(found.map((f) => [f.containerName, f.name]), [[c.containerName, "t"]]);
  await refused("ConditionNotMet", b.delete({ conditions: { tagConditions: "n='2'" } }));
  await b.delete({ conditions: { tagConditions: "n='1'" } });
});

test("copies are at once within the server", async () => {
  const c = await newContainer();
  const data = randomBytes(300_000);
  const from = c.getBlockBlobClient("from");
  await from.upload(data, data.length, { metadata: { m: "1" } });
  const to = c.getBlockBlobClient("to");
  const done = await (await to.beginCopyFromURL(from.url)).pollUntilDone();
  assert.equal(done.copyStatus, "success");
  assert.ok((await to.downloadToBuffer()).equals(data));
  assert.equal((await to.getProperties()).metadata.m, "1");
  const sas = await from.generateSasUrl({ permissions: "r", expiresOn: new Date(Date.now() + 3600e3) });
  const put = c.getBlockBlobClient("put");
  await put.syncUploadFromURL(sas);
  assert.ok((await put.downloadToBuffer()).equals(data));
  const blocks = c.getBlockBlobClient("blocks");
  await blocks.stageBlockFromURL("AAAA", sas, 100, 200);
  await blocks.commitBlockList(["AAAA"]);
  assert.ok((await blocks.downloadToBuffer()).equals(data.subarray(100, 300)));
});

test("a batch deletes and sets tiers, part by part", async () => {
  const c = await newContainer();
  const urls = [];
  for (let i = 0; i < 5; i++) {
    const b = c.getBlockBlobClient(`b${i}`);
    await b.upload("x", 1);
    urls.push(b.url);
  }
  const batch = new BlobBatchClient(service.url, credential);
  const tiers = await batch.setBlobsAccessTier(urls, credential, "Cool");
  assert.equal(tiers.subResponsesSucceededCount, 5);
  assert.equal((await c.getBlobClient("b2").getProperties()).accessTier, "Cool");
  const gone = await batch.deleteBlobs([...urls, `${c.url}/never`], credential);
  assert.equal(gone.subResponsesSucceededCount, 5);
  assert.equal(gone.subResponses[5].errorCode, "BlobNotFound");
});

test("an archived blob is closed until it is rehydrated", async () => {
  const b = (await newContainer()).getBlockBlobClient("cold");
  await b.upload("x", 1);
  await b.setAccessTier("Archive");
  await refused("BlobArchived", b.downloadToBuffer());
  await b.setAccessTier("Hot");
});

test("what was deleted comes back", async () => {
  await service.setProperties({ deleteRetentionPolicy: { enabled: true, days: 2 } });
  try {
    const c = await newContainer();
    const b = c.getBlockBlobClient("d");
    await b.upload("back", 4);
    await b.delete();
    assert.equal(await b.exists(), false);
    assert.equal((await collect(c.listBlobsFlat({ includeDeleted: true })))[0].deleted, true);
    await b.undelete();
    assert.equal((await b.downloadToBuffer()).toString(), "back");
  } finally {
    await service.setProperties({ deleteRetentionPolicy: { enabled: false } });
  }
});
