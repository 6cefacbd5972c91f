// A bearer login from the identity library to blobs and tables, and signatures made from it.
import assert from "node:assert/strict";
import { test } from "node:test";
import { BlobSASPermissions, BlobServiceClient, BlobClient, ContainerClient, ContainerSASPermissions, SASProtocol, generateBlobSASQueryParameters } from "@azure/storage-blob";
import { TableClient, TableServiceClient } from "@azure/data-tables";
import { blobURL, issuer, login, tableURL, tenant } from "./target.mjs";

const once = { retryOptions: { maxTries: 1 } };
const service = new BlobServiceClient(blobURL, login(), once);
const text = async (blob) => (await blob.downloadToBuffer()).toString();
const refused = (status, code) => (e) => e.statusCode === status && e.code === code;

test("blobs by token", async () => {
  const container = service.getContainerClient("js-token");
  await container.create();
  await container.getBlockBlobClient("dir/b").upload("hello", 5);
  assert.equal(await text(container.getBlobClient("dir/b")), "hello");
  const names = [];
  for await (const b of container.listBlobsFlat()) names.push(b.name);
  assert.deepEqual(names, ["dir/b"]);
});

test("a user delegation key and what is signed with it", async () => {
  const container = service.getContainerClient("js-signed");
  await container.create();
  await container.getBlockBlobClient("b").upload("hello", 5);
  await container.getBlockBlobClient("other").upload("other", 5);
  const startsOn = new Date(Date.now() - 60_000), expiresOn = new Date(Date.now() + 3_600_000);
  const key = await service.getUserDelegationKey(startsOn, expiresOn);
  const sign = (values) =>
    generateBlobSASQueryParameters({ containerName: container.containerName, startsOn, expiresOn, protocol: SASProtocol.Https, ...values }, key, service.accountName).toString();

  const ofBlob = sign({ blobName: "b", permissions: BlobSASPermissions.parse("r"), contentType: "text/x-from-sas" });
  const signed = new BlobClient(`${container.url}/b?${ofBlob}`, undefined, once);
  assert.equal(await text(signed), "hello");
  assert.equal((await signed.getProperties()).contentType, "text/x-from-sas");
  await assert.rejects(signed.delete(), refused(403, "AuthorizationPermissionMismatch"));
  await assert.rejects(new BlobClient(`${container.url}/other?${ofBlob}`, undefined, once).getProperties(), { statusCode: 403 });
  await assert.rejects(new BlobClient(`${container.url}/other?${ofBlob}`, undefined, once).download(), refused(403, "AuthenticationFailed"));

  const ofContainer = new ContainerClient(`${container.url}?${sign({ permissions: ContainerSASPermissions.parse("rcl") })}`, undefined, once);
  await ofContainer.getBlockBlobClient("new").upload("new", 3);
  const names = [];
  for await (const b of ofContainer.listBlobsFlat()) names.push(b.name);
  assert.deepEqual(names, ["b", "new", "other"]);
  await assert.rejects(ofContainer.getBlockBlobClient("new").upload("again", 5), refused(403, "UnauthorizedBlobOverwrite"));

  const snapshot = (await container.getBlobClient("b").createSnapshot()).snapshot;
  const ofSnapshot = sign({ blobName: "b", snapshotTime: snapshot, permissions: BlobSASPermissions.parse("r") });
  const at = `snapshot=${encodeURIComponent(snapshot)}`;
  assert.equal(await text(new BlobClient(`${container.url}/b?${at}&${ofSnapshot}`, undefined, once)), "hello");
});

test("a key lives for seven days at most", async () => {
  await assert.rejects(service.getUserDelegationKey(new Date(), new Date(Date.now() + 8 * 86_400_000)), { statusCode: 400 });
});

test("tables by token", async () => {
  const options = { retryOptions: { maxRetries: 0 } };
  const tables = new TableServiceClient(tableURL, login(), options);
  await tables.createTable("JsToken");
  const table = new TableClient(tableURL, "JsToken", login(), options);
  await table.createEntity({ partitionKey: "p", rowKey: "r", value: 1 });
  assert.equal((await table.getEntity("p", "r")).value, 1);
  const names = [];
  for await (const t of tables.listTables()) names.push(t.name);
  assert.deepEqual(names, ["JsToken"]);
});

test("a wrong secret gets no token", async () => {
  const stranger = new BlobServiceClient(blobURL, login("wrong"), once);
  await assert.rejects(stranger.getContainerClient("js-token").getProperties(), (e) => /invalid_client: .*secret is wrong/.test(e.message));
});

test("an invented token is challenged to the issuer", async () => {
  const forged = { getToken: async () => ({ token: "a.b.c", expiresOnTimestamp: Date.now() + 3_600_000 }) };
  await assert.rejects(new BlobServiceClient(blobURL, forged, once).getProperties(), (e) => {
    assert.equal(e.statusCode, 401);
    assert.equal(e.response.headers.get("www-authenticate"), `Bearer authorization_uri=${issuer}/${tenant}/oauth2/authorize resource_id=https://storage.azure.com`);
    return true;
  });
});
