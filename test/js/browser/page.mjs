// What a page does with the SDKs and a SAS. Bundled for a browser; the page's own server says where to go and is told how it went.
import { ContainerClient } from "@azure/storage-blob";
import { TableClient } from "@azure/data-tables";

const { container: containerURL, table: tableURL, tableName } = await (await fetch("/task")).json();

async function collect(iterator) {
  const all = [];
  for await (const item of iterator) all.push(item.name ?? item.rowKey);
  return all;
}

async function useBlobs(done) {
  const container = new ContainerClient(containerURL, undefined, { retryOptions: { maxTries: 1 } });
  done("list", await collect(container.listBlobsFlat()));
  const small = container.getBlockBlobClient("dir/b ä+%?#.txt");
  const uploaded = await small.upload("from a page", 11, { metadata: { page: "1" }, blobHTTPHeaders: { blobContentType: "text/x-page" } });
  done("upload", uploaded.etag !== undefined && uploaded.requestId !== undefined);
  const bytes = new Uint8Array(1_000_000).map((_, i) => (i * i) >> 7);
  const large = container.getBlockBlobClient("large");
  await large.uploadData(new Blob([bytes]), { blockSize: 300_000, maxSingleShotSize: 300_000, concurrency: 3 });
  done("blocks", (await large.getBlockList("committed")).committedBlocks.map((b) => b.size));
  done("list after", await collect(container.listBlobsFlat()));
  const got = await small.download();
  done("download", [await (await got.blobBody).text(), got.contentType, got.metadata.page]);
  const part = new Uint8Array(await (await (await large.download(400_000, 300_000)).blobBody).arrayBuffer());
  done("range", part.length === 300_000 && part.every((b, i) => b === bytes[400_000 + i]));
  await small.delete();
  await large.delete();
  done("list at the end", await collect(container.listBlobsFlat()));
  done("missing", await small.download().catch((e) => `${e.statusCode} ${e.code}`));
}

async function useTable(done) {
  const table = new TableClient(tableURL, tableName, { allowInsecureConnection: true, retryOptions: { maxRetries: 0 } });
  await table.createEntity({ partitionKey: "p", rowKey: "ä b", value: 1n });
  await table.updateEntity({ partitionKey: "p", rowKey: "ä b", more: "x" }, "Merge");
  const entity = await table.getEntity("p", "ä b");
  done("entity", [String(entity.value), entity.more]);
  await table.submitTransaction([["create", { partitionKey: "p", rowKey: "2" }], ["delete", { partitionKey: "p", rowKey: "ä b" }]]);
  done("query", await collect(table.listEntities({ queryOptions: { filter: "PartitionKey eq 'p'" } })));
  await table.deleteEntity("p", "2");
}

// outcome is what was done, up to the first refusal as the SDK tells it.
async function outcome(use) {
  const steps = {};
  await use((step, result) => (steps[step] = result)).catch((e) => (steps.refused = `${e.name} ${e.code}: ${e.message}`));
  return steps;
}

await fetch("/outcome", { method: "POST", body: JSON.stringify({ blobs: await outcome(useBlobs), table: await outcome(useTable) }) });
