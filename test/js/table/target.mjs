// Where the suite goes: BLOBD_TABLE_URL names the account's table endpoint.
import { AzureNamedKeyCredential, TableClient, TableServiceClient } from "@azure/data-tables";

export const account = "devstoreaccount1";
export const key = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
export const url = process.env.BLOBD_TABLE_URL ?? "http://127.0.0.1:10002/devstoreaccount1";
export const credential = new AzureNamedKeyCredential(account, key);
const options = { allowInsecureConnection: true, retryOptions: { maxRetries: 0 } };
export const service = new TableServiceClient(url, credential, options);

let n = 0;
export const newName = () => `js${Date.now()}x${process.pid}x${n++}`;

export async function newTable() {
  const t = new TableClient(url, newName(), credential, options);
  await t.createTable();
  return t;
}

export const withSAS = (name, sas) => new TableClient(`${url}?${sas}`, name, options);

export async function collect(iterator) {
  const all = [];
  for await (const item of iterator) all.push(item);
  return all;
}
