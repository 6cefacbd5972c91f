package main

import (
	"fmt"
	"strings"
)

// features are what cuts across operations; the columns are blobd, Azurite, Azure Stack Hub and Azure.
var features = []struct {
	title string
	rows  [][5]string
}{
	{"Getting in", [][5]string{
		{"SharedKey, two keys an account", "yes", "yes", "yes", "yes"},
		{"SharedKeyLite", "yes", "no", "yes", "yes"},
		{"Account SAS and service SAS, every signed version", "2012-02-12 and later", "yes", "to 2019-07-07", "yes"},
		{"Response headers set by a signature (`rscc` … `rsct`)", "yes", "no", "yes", "yes"},
		{"Stored access policies", "yes, in force at once", "yes", "yes", "yes, within 30 s"},
		{"Bearer tokens, user delegation SAS", "of any OpenID Connect issuer", "claims only (`--oauth basic`)", "no", "yes"},
		{"Anonymous reads of public containers", "yes", "yes", "yes", "yes"},
		{"CORS rules and preflight", "yes", "yes", "yes", "yes"},
		{"Secure transfer required, shared key off, public access off", "for each account", "no", "in part", "for each account"},
		{"Firewall and network rules", "ranges of addresses, by the resource manager", "no", "no", "yes"},
	}},
	{"Blobs", [][5]string{
		{"Block, page and append blobs", "yes", "yes", "yes", "yes"},
		{"Conditional headers", "yes", "yes", "yes", "yes"},
		{"Deletes by the time of the tier (`x-ms-access-tier-if-modified-since`, `-if-unmodified-since`)", "yes; a tier never set is as old as the blob", "no", "no", "yes"},
		{"What an answer tells, and what a request may ask for, by `x-ms-version`", "since the version that brought it", "whatever the version", "to 2019-07-07", "since the version that brought it"},
		{"MD5 and CRC-64 checked and returned", "yes", "yes, but no CRC-64 of a range", "MD5", "yes"},
		{"Structured message bodies (`x-ms-structured-body`)", "yes", "no", "no", "yes"},
		{"Snapshots", "yes", "yes", "yes, at most 1 000", "yes"},
		{"Page blobs of 8 TiB, pages of 512 bytes", "yes", "yes", "1 TiB, 4 KiB", "yes"},
		{"Page ranges in pieces, with a continuation", "yes", "no", "no", "yes"},
		{"Page ranges compared with a snapshot", "yes", "no", "no", "yes"},
		{"Incremental copy of page blobs", "yes", "no", "no", "yes"},
		{"Append blobs: conditions, concurrent appenders", "yes", "yes, but not concurrent", "yes", "yes"},
		{"Sealed append blobs", "yes", "yes", "no", "yes"},
		{"Versions", "with `--versioning`", "no", "no", "yes"},
		{"Soft delete of blobs and snapshots, undelete", "yes", "no", "no", "yes"},
		{"Soft delete of containers", "with `--container-retention DAYS`", "no", "no", "yes"},
		{"Leases", "yes", "yes", "yes", "yes"},
		{"Copy within the server", "at once, sharing bytes", "at once", "yes", "yes"},
		{"Copy from another server, with progress and abort", "yes; after a restart from the beginning", "no", "yes", "yes"},
		{"`x-ms-copy-source-authorization` in such a copy", "outlives a restart with a master key; else the copy fails", "no", "no", "yes"},
		{"Put Blob, Put Page and Append Block from a URL", "yes", "no", "no", "yes"},
		{"Put Block from a URL", "yes", "within the emulator", "no", "yes"},
		{"Access tiers hot, cool, cold and archive", "yes; they change no cost", "yes", "no", "yes"},
		{"Rehydration of archived blobs, in their place and by a copy", "yes; takes a minute, with high priority ten seconds", "yes", "no", "yes; hours"},
		{"Tags and `x-ms-if-tags`", "yes", "yes", "no", "yes"},
		{"Find Blobs by Tags, in the account and in a container", "yes, at once", "yes", "no", "yes, after a while"},
		{"Batches of deletes and of tiers", "yes", "yes", "no", "yes"},
		{"User delegation keys", "yes, to callers with a token", "yes", "no", "yes"},
		{"`$root`, `$web` and `$logs`", "yes, as containers", "as containers", "not documented", "yes"},
		{"Names of blobs, in characters", "1 024", "1 024", "880", "1 024"},
		{"Immutability policies, legal hold", "no: 400 UnsupportedHeader", "no", "no", "yes"},
		{"Customer-provided keys", "no: 400 UnsupportedHeader", "no", "no", "yes"},
		{"Encryption scopes", "kept and returned, not encrypted by", "no", "no", "yes"},
		{"Query Blob Contents", "no: 409 BlobOperationNotSupported", "no", "no", "yes"},
		{"Storage Analytics: logs in `$logs`, metrics in tables", "the settings are kept, nothing is written; `--access-log`, `--audit-log` and `/metrics` instead", "the settings are kept", "yes", "yes"},
		{"Static websites", "the setting is kept, no pages are served", "no", "no", "yes"},
		{"Change feed, lifecycle rules, object replication, last access times, expiry", "no", "no", "no", "yes"},
		{"Hierarchical namespace (`dfs` endpoint)", "no", "no", "no", "yes"},
		{"Find Blobs by Tags with `include=versions`", "current versions, as tags of earlier ones are not indexed", "no", "no", "current versions"},
		{"Restore Container to another name", "no: 400 InvalidHeaderValue", "no", "no", "no; the code is not documented"},
		{"The operations of immutability policies, legal holds and Query Blob Contents: refused (the code is documented, where it applies is not)", "409 BlobOperationNotSupported", "501 NotImplemented", "no", "the feature"},
		{"Malformed structured body; a lease named after its end (as above)", "400 InvalidInput; 412 LeaseLost", "not compared", "not documented", "not documented"},
		{"Block lists of 50 000 blocks of 4 000 MiB", "yes, in several transactions above 512 GiB", "not compared", "blocks of 100 MiB", "yes"},
		{"List Blobs as Apache Arrow, `endBefore`", "yes, from 2026-10-06; XML before, where `endBefore` has no effect", "XML", "XML", "yes"},
	}},
	{"Tables", [][5]string{
		{"Every EDM type, JSON at three levels of metadata", "yes", "yes", "yes", "yes"},
		{"Atom (versions before 2015-12-11)", "yes", "no", "yes", "yes"},
		{"Entity group transactions, a query in a batch", "yes", "yes, without a query", "yes", "yes"},
		{"The whole of `$filter`", "yes", "in part", "yes", "yes"},
		{"A filter's literal of another type than the property", "the property counts as less", "matches nothing, or is converted", "not documented", "the property counts as less"},
		{"`$orderby`, `$skip`, `$expand`, `$inlinecount`", "501 NotImplemented", "ignored", "501", "501 NotImplemented"},
		{"Table SAS with key ranges", "yes", "yes", "yes", "yes"},
	}},
	{"Resource manager (`--arm-addr`)", [][5]string{
		{"Accounts by `az`, the management SDKs and Terraform's calls: create, update, list, keys, signatures, delete", "yes", "no", "yes", "yes"},
		{"Subscriptions, resource groups, locations, providers, resources", "yes, in one region", "no", "yes", "yes"},
		{"Containers, tables, and the properties of their services", "yes", "no", "no", "yes"},
		{"Sign-in of users and service principals", "password, secret, device code, refresh; AD FS and Entra dialects", "no", "AD FS or Entra", "yes"},
		{"Role assignments", "built-in roles, at subscription, group, account, container and table", "no", "control plane", "yes"},
		{"Asynchronous operations", "none: every operation answers when it is done", "no", "yes", "yes"},
		{"Number of accounts of a subscription", "limited", "no", "limited", "limited"},
		{"Quotas of capacity", "of accounts and subscriptions, exact; 507 InsufficientStorage", "no", "of subscriptions", "by accounts"},
		{"Limits of requests and egress", "of accounts and subscriptions; 503 ServerBusy with Retry-After", "no", "no", "of accounts"},
		{"Daily usage for billing", "byte hours, requests, bytes in and out by subscription; CSV, JSON", "no", "yes", "yes"},
		{"Encryption scopes, management policies, private endpoints", "no; what asks for them is refused", "no", "no", "yes"},
		{"Restore of deleted accounts", "no", "no", "by the operator", "yes"},
	}},
	{"Other services", [][5]string{
		{"Queue, File", "no", "Queue", "Queue", "yes"},
	}},
}

// featureTables writes them.
func featureTables(b *strings.Builder) {
	for _, group := range features {
		fmt.Fprintf(b, "\n### %s\n\n| Feature | blobd | Azurite | Azure Stack Hub | Azure |\n| --- | --- | --- | --- | --- |\n", group.title)
		for _, r := range group.rows {
			fmt.Fprintf(b, "| %s |\n", strings.Join(r[:], " | "))
		}
	}
}
