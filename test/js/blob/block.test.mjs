import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { Readable } from "node:stream";
import { test } from "node:test";
import { BlobServiceClient, ContainerSASPermissions, StorageResponseFormat, generateBlobSASQueryParameters } from "@azure/storage-blob";
import { account, collect, credential, isBlobd, key, newContainer, service, url } from "./target.mjs";

const md5 = (b) => createHash("md5").update(b).digest();

test("a container is made, found, described and deleted", async () => {
  const c = await newContainer();
  assert.equal((await c.createIfNotExists()).succeeded, false);
  await c.setMetadata({ purpose: "test" });
  const p = await c.getProperties();
  assert.equal(p.metadata.purpose, "test");
  assert.equal(p.leaseState, "available");
  const found = await collect(service.listContainers({ prefix: c.containerName, includeMetadata: true }));
  assert.equal(found.length, 1);
  assert.equal(found[0].metadata.purpose, "test");
  await c.delete();
  assert.equal(await c.exists(), false);
});

test("blobs of all sizes come back as they went", async () => {
  const c = await newContainer();
  for (const n of [0, 1, 4096, 70000, 1 << 20, (9 << 20) + 5]) {
    const data = randomBytes(n);
    const b = c.getBlockBlobClient(`size-${n}`);
    const up = await b.upload(data, n, { metadata: { Sum: md5(data).toString("hex") }, blobHTTPHeaders: { blobContentType: "x/y" } });
    assert.deepEqual(Buffer.from(up.contentMD5), md5(data));
    const down = await b.downloadToBuffer();
    assert.ok(down.equals(data));
    const p = await b.getProperties();
    assert.equal(p.contentLength, n);
    assert.equal(p.contentType, "x/y");
    assert.equal(p.metadata.sum, md5(data).toString("hex"));
    if (n > 100) {
      const part = await b.downloadToBuffer(50, 40);
      assert.ok(part.equals(data.subarray(50, 90)));
    }
  }
});

test("uploadData and uploadStream stage blocks", async () => {
  const c = await newContainer();
  const data = randomBytes((12 << 20) + 3);
  const b = c.getBlockBlobClient("data");
  await b.uploadData(data, { blockSize: 1 << 20, maxSingleShotSize: 1 << 20, concurrency: 5 });
  assert.ok((await b.downloadToBuffer()).equals(data));
  assert.equal((await b.getBlockList("committed")).committedBlocks.length, 13);
  const s = c.getBlockBlobClient("stream");
  await s.uploadStream(Readable.from([data.subarray(0, 5 << 20), data.subarray(5 << 20)]), 1 << 20, 4);
  assert.ok((await s.downloadToBuffer()).equals(data));
});

test("listing goes flat and by hierarchy, in pages", async () => {
  const c = await newContainer();
  const names = ["a", "b/1", "b/2", "b/c/3", "z"];
  for (const n of names) await c.getBlockBlobClient(n).upload(n, n.length);
  assert.deepEqual((await collect(c.listBlobsFlat())).map((b) => b.name), names);
  const pages = await collect(c.listBlobsFlat().byPage({ maxPageSize: 2 }));
  assert.deepEqual(pages.flatMap((p) => p.segment.blobItems.map((b) => b.name)), names);
  const top = await collect(c.listBlobsByHierarchy("/"));
  assert.deepEqual(top.map((i) => `${i.kind} ${i.name}`).sort(), ["blob a", "blob z", "prefix b/"]);
});

test("listings as Arrow have what those in XML have", { skip: !isBlobd && "Azurite answers in XML" }, async () => {
  const c = await newContainer();
  for (const n of ["a", "b/1", "b/2", "c\u0001", "é/😀"]) await c.getBlockBlobClient(n).upload(n, Buffer.byteLength(n), { metadata: { m: "<1>" }, tags: { k: "v w" } });
  await c.getBlobClient("a").createSnapshot();
  const o = { includeMetadata: true, includeTags: true, includeSnapshots: true };
  const plain = (v) => JSON.parse(JSON.stringify(v, (_, x) => (x === "" || x === false || x === null ? undefined : x)));
  const [xml, arrow] = await Promise.all(["XML", "Arrow"].map((f) => collect(c.listBlobsFlat({ ...o, responseFormat: StorageResponseFormat[f] }))));
  assert.equal(arrow.length, 6);
  arrow.forEach((b, i) => assert.deepEqual(plain({ ...b.properties, name: b.name, metadata: b.metadata, tags: b.tags, snapshot: b.snapshot }), plain({ ...xml[i].properties, name: xml[i].name, metadata: xml[i].metadata, tags: xml[i].tags, snapshot: xml[i].snapshot })));
  const part = await collect(c.listBlobsFlat({ responseFormat: StorageResponseFormat.Arrow, startFrom: "b", endBefore: "b/2" }));
  assert.deepEqual(part.map((b) => b.name), ["b/1"]);
  const top = await collect(c.listBlobsByHierarchy("/", { responseFormat: StorageResponseFormat.Arrow }));
  assert.deepEqual(top.map((i) => `${i.kind} ${i.name}`).sort(), ["blob a", "blob c\u0001", "prefix b/", "prefix é/"]);
});

test("conditions hold", async () => {
  const c = await newContainer();
  const b = c.getBlockBlobClient("b");
  const { etag } = await b.upload("one", 3, { conditions: { ifNoneMatch: "*" } });
  await assert.rejects(b.upload("two", 3, { conditions: { ifNoneMatch: "*" } }), { statusCode: 409, code: "BlobAlreadyExists" });
  await assert.rejects(b.upload("two", 3, { conditions: { ifMatch: '"0x1"' } }), { statusCode: 412, code: "ConditionNotMet" });
  await b.upload("two", 3, { conditions: { ifMatch: etag } });
  assert.equal((await b.downloadToBuffer()).toString(), "two");
});

test("a container SAS opens what its letters say", async () => {
  const c = await newContainer();
  await c.getBlockBlobClient("b").upload("x", 1);
  const sas = generateBlobSASQueryParameters(
    { containerName: c.containerName, permissions: ContainerSASPermissions.parse("rl"), expiresOn: new Date(Date.now() + 3600e3) }, credential);
  const guest = new BlobServiceClient(`${url}?${sas}`, undefined, { retryOptions: { maxTries: 1 } }).getContainerClient(c.containerName);
  assert.equal((await guest.getBlobClient("b").downloadToBuffer()).toString(), "x");
  assert.equal((await collect(guest.listBlobsFlat())).length, 1);
  await assert.rejects(guest.getBlockBlobClient("b").upload("y", 1), { statusCode: 403, code: "AuthorizationPermissionMismatch" });
});

test("a connection string leads here", async () => {
  const s = BlobServiceClient.fromConnectionString(`DefaultEndpointsProtocol=http;AccountName=${account};AccountKey=${key};BlobEndpoint=${url};`);
  assert.equal((await s.getAccountInfo()).accountKind, "StorageV2");
  assert.ok((await s.getProperties()).hourMetrics);
});
