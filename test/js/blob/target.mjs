// Where the suite goes: BLOBD_BLOB_URL names the account's blob endpoint, BLOBD_SERVER the server ("blobd" or "azurite"). Beside it
// stand servers with other settings.
import { BlobServiceClient, StorageSharedKeyCredential } from "@azure/storage-blob";

export const account = "devstoreaccount1";
export const key = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
export const url = process.env.BLOBD_BLOB_URL ?? "http://127.0.0.1:10000/devstoreaccount1";
export const secure = process.env.BLOBD_SECURE_URL; // wants HTTPS
export const login = process.env.BLOBD_LOGIN_URL; // HTTPS, tokens only
export const token = process.env.BLOBD_TOKEN; // one that it takes
export const versions = process.env.BLOBD_VERSIONS_URL; // keeps versions and deleted containers; no public access
export const stalling = process.env.BLOBD_STALLING_URL; // a copy source that tells its length and then nothing more
export const isBlobd = (process.env.BLOBD_SERVER ?? "blobd") === "blobd";
export const credential = new StorageSharedKeyCredential(account, key);
export const options = { retryOptions: { maxTries: 1 } };
export const service = new BlobServiceClient(url, credential, options);

let n = 0;
export async function newContainer(from = service) {
  const c = from.getContainerClient(`js${Date.now()}-${process.pid}-${n++}`);
  await c.create();
  return c;
}

export async function collect(iterator) {
  const all = [];
  for await (const item of iterator) all.push(item);
  return all;
}
