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
		{"SharedKey and SharedKeyLite, two keys an account", "yes", "yes", "yes", "yes"},
		{"Account SAS and service SAS, every signed version", "2012-02-12 and later", "yes", "to 2019-07-07", "yes"},
		{"Stored access policies", "yes, in force at once", "yes", "yes", "yes, within 30 s"},
		{"Bearer tokens, user delegation SAS", "of any OpenID Connect issuer", "claims only (`--oauth basic`)", "no", "yes"},
		{"Anonymous reads of public containers", "yes", "yes", "yes", "yes"},
		{"CORS rules and preflight", "yes", "yes", "yes", "yes"},
		{"Secure transfer required, shared key off, public access off", "for the accounts of the command line", "no", "in part", "for each account"},
		{"Firewall and network rules", "no", "no", "no", "yes"},
	}},
	{"Blobs", [][5]string{
		{"Block, page and append blobs", "yes", "yes", "yes", "yes"},
		{"Conditional headers", "yes", "yes", "yes", "yes"},
		{"MD5 and CRC-64 checked and returned", "yes", "MD5", "MD5", "yes"},
		{"Structured message bodies (`x-ms-structured-body`)", "yes", "no", "no", "yes"},
		{"Snapshots", "yes", "yes", "yes, at most 1 000", "yes"},
		{"Page ranges compared with a snapshot, incremental copy", "yes", "no", "no", "yes"},
		{"Versions", "with `--versioning`", "no", "no", "yes"},
		{"Soft delete of blobs and snapshots, undelete", "yes", "no", "no", "yes"},
		{"Soft delete of containers", "with `--container-retention DAYS`", "no", "no", "yes"},
		{"Leases", "yes", "yes", "yes", "yes"},
		{"Copy within the server", "at once, sharing bytes", "at once", "yes", "yes"},
		{"Copy from another server, with progress and abort", "yes; after a restart from the beginning", "no", "yes", "yes"},
		{"`x-ms-copy-source-authorization` in such a copy", "outlives a restart with a master key; else the copy fails", "no", "no", "yes"},
		{"Access tiers, archive, rehydration", "yes; rehydration takes a minute", "yes", "no", "yes; hours"},
		{"Tags, Find Blobs by Tags, `x-ms-if-tags`", "yes", "yes", "no", "yes"},
		{"Immutability policies, legal hold", "no: 400 UnsupportedHeader", "no", "no", "yes"},
		{"Customer-provided keys", "no: 400 UnsupportedHeader", "no", "no", "yes"},
		{"Encryption scopes", "kept and returned, not encrypted by", "no", "no", "yes"},
		{"Query Blob Contents, change feed, lifecycle rules, static websites", "no", "no", "no", "yes"},
		{"Hierarchical namespace (`dfs` endpoint)", "no", "no", "no", "yes"},
		{"Find Blobs by Tags with `include=versions`", "current versions, as tags of earlier ones are not indexed", "", "no", "current versions"},
		{"Restore Container to another name", "no: 400 InvalidHeaderValue", "no", "no", "no; the code is not documented"},
		{"Later work (each code is documented, where it applies is not)", "409 BlobOperationNotSupported", "", "", "the feature"},
		{"Malformed structured body; a lease named after its end (as above)", "400 InvalidInput; 412 LeaseLost", "", "", "not documented"},
		{"Block lists of 50 000 blocks of 4 000 MiB", "yes, in several transactions above 512 GiB", "", "blocks of 100 MiB", "yes"},
		{"Listings as Arrow", "answered in XML, as the protocol allows", "XML", "XML", "yes"},
	}},
	{"Tables", [][5]string{
		{"Every EDM type, JSON at three levels of metadata", "yes", "yes", "yes", "yes"},
		{"Atom (versions before 2015-12-11)", "yes", "no", "yes", "yes"},
		{"Entity group transactions, a query in a batch", "yes", "yes, without a query", "yes", "yes"},
		{"The whole of `$filter`", "yes", "in part", "yes", "yes"},
		{"Table SAS with key ranges", "yes", "yes", "yes", "yes"},
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
