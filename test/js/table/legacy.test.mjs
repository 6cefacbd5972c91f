// The client of before 2020, npm azure-storage: SharedKey, MERGE, $batch with its own headers.
import assert from "node:assert/strict";
import { test } from "node:test";
import { promisify } from "node:util";
import azure from "azure-storage";
import { account, key, newName, url } from "./target.mjs";

const service = azure.createTableService(account, key, url).withFilter(new azure.LinearRetryPolicyFilter(0, 0));
const call = (name) => promisify(service[name].bind(service));
const gen = azure.TableUtilities.entityGenerator;

async function newTable() {
  const name = newName();
  await call("createTable")(name);
  return name;
}

test("tables", async () => {
  const name = await newTable();
  const again = await call("createTableIfNotExists")(name);
  assert.equal(again.created, false);
  assert.ok((await call("doesTableExist")(name)).exists);
  const found = await call("listTablesSegmentedWithPrefix")(name, null);
  assert.deepEqual(found.entries, [name]);
  assert.equal(await call("deleteTableIfExists")(name), true);
  assert.equal(await call("deleteTableIfExists")(name), false);
});

test("entities of every type", async () => {
  const t = await newTable();
  const when = new Date("2020-01-01T01:05:00.123Z");
  await call("insertEntity")(t, {
    PartitionKey: gen.String("it's"), RowKey: gen.String("ä 1"), text: gen.String("Grüße"), yes: gen.Boolean(true), int: gen.Int32(5), long: gen.Int64("9223372036854775807"),
    double: gen.Double(1.5), whole: gen.Double(1), when: gen.DateTime(when), guid: gen.Guid("a455c695-df98-5678-aaaa-81d3367e5a34"), bytes: gen.Binary(Buffer.from([0, 1, 255])),
  });
  const got = await call("retrieveEntity")(t, "it's", "ä 1");
  assert.equal(got.text._, "Grüße");
  assert.equal(got.long._, "9223372036854775807");
  assert.deepEqual([got.yes._, got.int._, got.double._, got.whole._], [true, 5, 1.5, 1]);
  assert.equal(got.when._.getTime(), when.getTime());
  assert.equal(got.guid._, "a455c695-df98-5678-aaaa-81d3367e5a34");
  assert.ok(got.bytes._.equals(Buffer.from([0, 1, 255])));
  assert.ok(got[".metadata"].etag);
  await assert.rejects(call("insertEntity")(t, { PartitionKey: gen.String("it's"), RowKey: gen.String("ä 1") }), { code: "EntityAlreadyExists", statusCode: 409 });

  await call("mergeEntity")(t, { PartitionKey: gen.String("it's"), RowKey: gen.String("ä 1"), int: gen.Int32(6) });
  assert.equal((await call("retrieveEntity")(t, "it's", "ä 1")).int._, 6);
  await call("replaceEntity")(t, { PartitionKey: gen.String("it's"), RowKey: gen.String("ä 1"), a: gen.String("b") });
  await assert.rejects(call("mergeEntity")(t, got), { statusCode: 412 });
  await call("insertOrMergeEntity")(t, { PartitionKey: gen.String("p"), RowKey: gen.String("r") });
  await call("insertOrReplaceEntity")(t, { PartitionKey: gen.String("p"), RowKey: gen.String("r") });
  await call("deleteEntity")(t, { PartitionKey: gen.String("it's"), RowKey: gen.String("ä 1") });
  await assert.rejects(call("retrieveEntity")(t, "it's", "ä 1"), { statusCode: 404 });
});

test("queries and transactions", async () => {
  const t = await newTable();
  const batch = new azure.TableBatch();
  for (let i = 0; i < 100; i++) batch.insertEntity({ PartitionKey: gen.String("p"), RowKey: gen.String(String(i).padStart(3, "0")), n: gen.Int32(i) }, { echoContent: i === 0 });
  const results = await call("executeBatch")(t, batch);
  assert.equal(results.length, 100);
  const query = new azure.TableQuery().select("n").top(60).where("PartitionKey eq ? and n ge ?int32?", "p", 30);
  const first = await call("queryEntities")(t, query, null);
  assert.equal(first.entries.length, 60);
  const second = await call("queryEntities")(t, query, first.continuationToken);
  assert.equal(second.entries.length, 10);
  assert.equal(second.continuationToken, null);

  const failing = new azure.TableBatch();
  failing.deleteEntity({ PartitionKey: gen.String("p"), RowKey: gen.String("000") });
  failing.insertEntity({ PartitionKey: gen.String("p"), RowKey: gen.String("001") });
  await assert.rejects(call("executeBatch")(t, failing), { code: "EntityAlreadyExists" });
  assert.ok(await call("retrieveEntity")(t, "p", "000"));
});

test("policies and properties", async () => {
  const t = await newTable();
  await call("setTableAcl")(t, { readers: { Permissions: "r", Expiry: new Date(Date.now() + 3600e3) } });
  assert.equal((await call("getTableAcl")(t)).signedIdentifiers.readers.Permissions, "r");
  const sas = service.generateSharedAccessSignature(t, { Id: "readers" });
  const reader = azure.createTableServiceWithSas(url, sas);
  assert.deepEqual((await promisify(reader.queryEntities.bind(reader))(t, new azure.TableQuery(), null)).entries, []);
  assert.ok((await call("getServiceProperties")()).Logging);
});
