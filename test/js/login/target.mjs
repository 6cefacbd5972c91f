// Where the suite goes: a blobd over HTTPS with its issuer for development, whose certificate NODE_EXTRA_CA_CERTS names.
import { ClientSecretCredential } from "@azure/identity";

const { BLOBD_ISSUER: issuer, BLOBD_TENANT: tenant, BLOBD_CLIENT_ID: clientID, BLOBD_CLIENT_SECRET: secret } = process.env;

export const { BLOBD_BLOB_URL: blobURL, BLOBD_TABLE_URL: tableURL } = process.env;
export { issuer, tenant };

export const login = (withSecret = secret) =>
  new ClientSecretCredential(tenant, clientID, withSecret, { authorityHost: issuer, disableInstanceDiscovery: true, retryOptions: { maxRetries: 0 } });
