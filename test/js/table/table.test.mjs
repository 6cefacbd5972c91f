import assert from "node:assert/strict";
import { test } from "node:test";
import { generateAccountSas, generateTableSas, odata, TableTransaction } from "@azure/data-tables";
import { collect, credential, newName, newTable, service, withSAS } from "./target.mjs";

const fails = (promise, statusCode, code) => assert.rejects(promise, (e) => {
  assert.equal(e.statusCode, statusCode, e);
  if (code) assert.equal(e.code ?? e.details?.odataError?.code, code, e);
  return true;
});

test("tables are made, found by filter and in pages, and deleted", async () => {
  const prefix = newName();
  const names = ["a", "b", "c"].map((s) => prefix + s);
  for (const n of names) await service.createTable(n);
  await service.createTable(names[0]); // the SDK takes TableAlreadyExists as done
  const queryOptions = { filter: odata`TableName ge ${prefix} and TableName lt ${prefix + "z"}` };
  assert.deepEqual((await collect(service.listTables({ queryOptions }))).map((t) => t.name), names);
  const pages = await collect(service.listTables({ queryOptions }).byPage({ maxPageSize: 2 }));
  assert.deepEqual(pages.map((p) => p.length), [2, 1]);
  for (const n of names) await service.deleteTable(n);
  await service.deleteTable(names[0]);
  assert.deepEqual(await collect(service.listTables({ queryOptions })), []);
});

test("every type comes back as it went", async () => {
  const t = await newTable();
  const sent = {
    partitionKey: "it's", rowKey: "ä \u{1F600}&=+%25", text: "Grüße \u{1F600} \"\\\n", empty: "", yes: true, no: false, int: -5, double: 1.5,
    whole: { type: "Double", value: "1" }, nan: { type: "Double", value: "NaN" }, inf: { type: "Double", value: "-Infinity" },
    long: 9223372036854775807n, when: new Date("2020-01-01T01:05:00.123Z"), exact: { type: "DateTime", value: "2020-01-01T01:05:00.1234567Z" },
    guid: { type: "Guid", value: "a455c695-df98-5678-aaaa-81d3367e5a34" }, bytes: new Uint8Array([0, 1, 255]),
  };
  const { etag } = await t.createEntity(sent);
  const got = await t.getEntity("it's", "ä \u{1F600}&=+%25");
  assert.equal(got.etag, etag);
  assert.equal(got.text, sent.text);
  assert.equal(got.empty, "");
  assert.deepEqual([got.yes, got.no, got.int, got.double, got.whole], [true, false, -5, 1.5, 1]);
  assert.equal(got.long, 9223372036854775807n);
  assert.equal(got.guid.value, sent.guid.value);
  assert.deepEqual(Buffer.from(got.bytes), Buffer.from([0, 1, 255]));
  const typed = await t.getEntity("it's", "ä \u{1F600}&=+%25", { disableTypeConversion: true });
  assert.equal(typed.exact.value, "2020-01-01T01:05:00.1234567Z");
  assert.equal(typed.inf.value, "-Infinity");
  assert.equal(typed.nan.value, "NaN");
  assert.equal(typed.double.value, "1.5");
  await t.deleteEntity("it's", "ä \u{1F600}&=+%25");
  await fails(t.getEntity("it's", "ä \u{1F600}&=+%25"), 404, "ResourceNotFound");
});

test("updates merge or replace, on condition of the ETag", async () => {
  const t = await newTable();
  const { etag } = await t.createEntity({ partitionKey: "p", rowKey: "r", a: 1 });
  await fails(t.createEntity({ partitionKey: "p", rowKey: "r" }), 409, "EntityAlreadyExists");
  await t.updateEntity({ partitionKey: "p", rowKey: "r", b: 2 }, "Merge", { etag });
  await fails(t.updateEntity({ partitionKey: "p", rowKey: "r", b: 3 }, "Replace", { etag }), 412, "UpdateConditionNotSatisfied");
  let e = await t.getEntity("p", "r");
  assert.deepEqual([e.a, e.b], [1, 2]);
  await t.updateEntity({ partitionKey: "p", rowKey: "r", c: 3 }, "Replace");
  e = await t.getEntity("p", "r");
  assert.deepEqual([e.a, e.b, e.c], [undefined, undefined, 3]);
  await t.upsertEntity({ partitionKey: "p", rowKey: "s", a: 1 }, "Merge");
  await t.upsertEntity({ partitionKey: "p", rowKey: "s", b: 1 }, "Replace");
  await fails(t.updateEntity({ partitionKey: "p", rowKey: "x" }, "Merge"), 404, "ResourceNotFound");
  await fails(t.deleteEntity("p", "r", { etag }), 412, "UpdateConditionNotSatisfied");
  assert.equal((await collect(t.listEntities())).length, 2);
});

test("queries filter, select and page", async () => {
  const t = await newTable();
  for (let i = 0; i < 3; i++) {
    await t.submitTransaction(Array.from({ length: 50 }, (_, j) => ["create", { partitionKey: `p${i}`, rowKey: String(j).padStart(3, "0"), n: j, even: j % 2 === 0 }]));
  }
  const find = async (filter, select) => (await collect(t.listEntities({ queryOptions: { filter, select } })));
  assert.equal((await find(odata`PartitionKey eq ${"p1"} and n ge ${10} and n lt ${20}`)).length, 10);
  assert.equal((await find("even and not (n lt 40) and (PartitionKey eq 'p0' or PartitionKey eq 'p2')")).length, 10);
  const [one] = await find("PartitionKey eq 'p0' and RowKey eq '007'", ["n"]);
  assert.equal(one.n, 7);
  assert.equal(one.rowKey, undefined);
  const pages = await collect(t.listEntities({ queryOptions: { filter: "n lt 40" } }).byPage({ maxPageSize: 50 }));
  assert.deepEqual(pages.map((p) => p.length), [50, 50, 20]);
  await fails(find("n eq"), 400, "InvalidInput");
});

test("a transaction is done or not", async () => {
  const t = await newTable();
  const { etag } = await t.createEntity({ partitionKey: "p", rowKey: "old", a: 1 });
  const tx = new TableTransaction();
  tx.createEntity({ partitionKey: "p", rowKey: "new" });
  tx.upsertEntity({ partitionKey: "p", rowKey: "up", b: 1n }, "Replace");
  tx.updateEntity({ partitionKey: "p", rowKey: "old", b: "'" }, "Merge", { etag });
  const result = await t.submitTransaction(tx.actions);
  assert.equal(result.status, 202);
  assert.deepEqual(result.subResponses.map((r) => r.status), [204, 204, 204]);
  assert.equal(result.getResponseForEntity("new").rowKey, "new");
  await fails(t.submitTransaction([["create", { partitionKey: "p", rowKey: "z" }], ["delete", { partitionKey: "p", rowKey: "up" }], ["create", { partitionKey: "p", rowKey: "new" }]]), 409, "EntityAlreadyExists");
  assert.deepEqual((await collect(t.listEntities())).map((e) => e.rowKey), ["new", "old", "up"]);
});

test("stored access policies and shared access signatures", async () => {
  const t = await newTable();
  await t.createEntity({ partitionKey: "a", rowKey: "1" });
  await t.createEntity({ partitionKey: "b", rowKey: "1" });
  const expiry = new Date(Date.now() + 3600e3);
  await t.setAccessPolicy([{ id: "readers", accessPolicy: { start: new Date(Date.now() - 3600e3), expiry, permission: "r" } }]);
  const [policy] = await t.getAccessPolicy();
  assert.equal(policy.id, "readers");
  assert.equal(policy.accessPolicy.permission, "r");
  const range = withSAS(t.tableName, generateTableSas(t.tableName, credential, { expiresOn: expiry, permissions: { query: true, add: true }, startPartitionKey: "b", endPartitionKey: "c" }));
  assert.deepEqual((await collect(range.listEntities())).map((e) => e.partitionKey), ["b"]);
  await range.createEntity({ partitionKey: "c", rowKey: "1" });
  await fails(range.createEntity({ partitionKey: "d", rowKey: "1" }), 403);
  await fails(range.deleteEntity("b", "1"), 403, "AuthorizationPermissionMismatch");
  const stored = withSAS(t.tableName, generateTableSas(t.tableName, credential, { identifier: "readers" }));
  assert.equal((await collect(stored.listEntities())).length, 3);
  const whole = withSAS(t.tableName, generateAccountSas(credential, { services: { table: true }, resourceTypes: "o", permissions: { query: true, delete: true }, expiresOn: expiry }));
  await whole.deleteEntity("a", "1");
});

test("service properties and statistics", async () => {
  const before = await service.getProperties();
  await service.setProperties({ ...before, cors: [{ allowedOrigins: "*", allowedMethods: "GET", allowedHeaders: "", exposedHeaders: "", maxAgeInSeconds: 5 }] });
  assert.equal((await service.getProperties()).cors[0].maxAgeInSeconds, 5);
  await service.setProperties({ ...before, cors: [] });
});
