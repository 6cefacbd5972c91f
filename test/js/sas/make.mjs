// Makes signatures of every kind with the JS SDKs and prints them as JSON. BLOBD_TASK says for what: see task in sas_test.go.
import { AccountSASPermissions, AccountSASResourceTypes, AccountSASServices, BlobSASPermissions, BlobServiceClient, ContainerSASPermissions, SASProtocol, StorageSharedKeyCredential, generateAccountSASQueryParameters, generateBlobSASQueryParameters } from "@azure/storage-blob";
import { AzureNamedKeyCredential, generateAccountSas, generateTableSas } from "@azure/data-tables";
import { login } from "../login/target.mjs";

const { account, key, blobURL, tableURL, container, blob, table, policy, snapshot, version } = JSON.parse(process.env.BLOBD_TASK);
const at = (minutes) => new Date(Date.now() + minutes * 60_000);
const terms = { startsOn: at(-10), expiresOn: at(60) };
const ipRange = { start: "127.0.0.0", end: "127.255.255.255" };
const of = { good: { ...terms, ipRange }, expired: { startsOn: at(-10), expiresOn: at(-5) }, early: { startsOn: at(10), expiresOn: at(60) }, elsewhere: { ...terms, ipRange: { start: "10.9.8.7" } } };

const all = [];
function make(name, url, other, extra, sign) {
  const [sas, expired, early, elsewhere] = ["good", "expired", "early", "elsewhere"].map((kind) => sign(of[kind]).toString());
  all.push({ name: `JS ${name}`, url, other, extra, sas, refused: { expired, early, elsewhere } });
}

const keyed = new StorageSharedKeyCredential(account, key);
const named = new AzureNamedKeyCredential(account, key);
const https = { protocol: SASProtocol.Https };
const overrides = { cacheControl: "no-cache", contentDisposition: 'attachment; filename="ä b.txt"', contentEncoding: "identity", contentLanguage: "de", contentType: "text/x-sas; charset=utf-8" };
const theBlob = `${blobURL}/${container}/${blob}`, otherBlob = `${blobURL}/${container}/other`;
const theContainer = `${blobURL}/${container}`, otherContainer = `${blobURL}/other`;
const list = "&restype=container&comp=list";
const read = BlobSASPermissions.parse("r"), readAndList = ContainerSASPermissions.parse("rl");

function service(how, sign) {
  make(`${how}: blob`, theBlob, otherBlob, "", (v) => sign({ containerName: container, blobName: blob, permissions: read, ...https, ...overrides, ...v }));
  make(`${how}: container`, theContainer, otherContainer, list, (v) => sign({ containerName: container, permissions: readAndList, ...https, ...v }));
  make(`${how}: snapshot`, theBlob, otherBlob, "", (v) => `snapshot=${encodeURIComponent(snapshot)}&` + sign({ containerName: container, blobName: blob, snapshotTime: snapshot, permissions: read, ...https, ...v }));
  make(`${how}: version`, theBlob, otherBlob, "", (v) => `versionid=${encodeURIComponent(version)}&` + sign({ containerName: container, blobName: blob, versionId: version, permissions: read, ...https, ...v }));
}
service("service", (v) => generateBlobSASQueryParameters(v, keyed));
make("account", theBlob, `${otherContainer}?restype=container&comp=list`, "", (v) => generateAccountSASQueryParameters({ services: AccountSASServices.parse("b").toString(), resourceTypes: AccountSASResourceTypes.parse("o").toString(), permissions: AccountSASPermissions.parse("rl"), ...https, ...v }, keyed));
all.push({ name: "JS service: by policy", url: theBlob, other: otherContainer, extra: "", refused: {}, sas: generateBlobSASQueryParameters({ containerName: container, identifier: policy, ...https }, keyed).toString() });
make("table", `${tableURL}/${table}()`, `${tableURL}/Other()`, "", (v) => generateTableSas(table, named, { permissions: { query: true }, startPartitionKey: "a", startRowKey: "1", endPartitionKey: "z", endRowKey: "9", ...https, ...v }));
make("table: account", `${tableURL}/${table}()`, `${tableURL}/Tables`, "", (v) => generateAccountSas(named, { services: { table: true }, resourceTypes: "o", permissions: { query: true }, ...https, ...v }));

const delegation = await new BlobServiceClient(blobURL, login()).getUserDelegationKey(at(-20), at(120));
service("delegation", (v) => generateBlobSASQueryParameters({ correlationId: "11111111-2222-4333-8444-555555555555", ...v }, delegation, account));

console.log(JSON.stringify(all));
