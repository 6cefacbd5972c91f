// Where the suite goes: BLOBD_BLOB_URL names the account's blob endpoint, BLOBD_SERVER the server ("blobd" or "azurite").
import { BlobServiceClient, StorageSharedKeyCredential } from "@azure/storage-blob";

export const account = "devstoreaccount1";
export const key = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
export const url = process.env.BLOBD_BLOB_URL ?? "http://127.0.0.1:10000/devstoreaccount1";
export const isBlobd = (process.env.BLOBD_SERVER ?? "blobd") === "blobd";
export const credential = new StorageSharedKeyCredential(account, key);
export const service = new BlobServiceClient(url, credential, { retryOptions: { maxTries: 1 } });

let n = 0;
export async function newContainer() {
  const c = service.getContainerClient(`js${Date.now()}-${process.pid}-${n++}`);
  await c.create();
  return c;
}

export async function collect(iterator) {
  const all = [];
  for await (const item of iterator) all.push(item);
  return all;
}
