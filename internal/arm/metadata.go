package arm

import (
	"net/http"
)

// metadata is the cloud's description, in three shapes by the version: one object of the first kind, a list, or one object of the
// second kind, which newer clients take.
func (c *call) metadata() error {
	login := c.Base + "/adfs"
	switch c.version() {
	case "2015-01-01", "1.0", "":
		if c.Entra {
			login = c.Base + "/"
		}
		return c.reply(http.StatusOK, object{
			"galleryEndpoint": c.Base + "/", "graphEndpoint": c.Base + "/", "portalEndpoint": c.Base + "/",
			"authentication": object{"loginEndpoint": login, "audiences": []string{c.Audience()}},
		})
	case "2019-05-01", "2019-10-01", "2020-06-01":
		tenant, provider := c.Directory.Tenant(), "ADFS"
		if c.Entra {
			login, tenant, provider = c.Base+"/", "common", "AAD"
		}
		return c.reply(http.StatusOK, []object{c.cloud(login, tenant, provider)})
	}
	// Terraform's newer providers take the Entra form alone.
	return c.reply(http.StatusOK, c.cloud(c.Base+"/", "common", "AAD"))
}

func (c *call) cloud(login, tenant, provider string) object {
	return object{
		"name": "blobd", "portal": c.Base, "resourceManager": c.Base,
		"authentication": object{"loginEndpoint": login, "audiences": []string{c.Audience()}, "tenant": tenant, "identityProvider": provider},
		"graph":          c.Base + "/", "graphAudience": c.Base + "/", "microsoftGraphResourceId": c.Base + "/", "media": "", "gallery": c.Base + "/", "batch": "",
		"sqlManagement": "", "vmImageAliasDoc": "", "activeDirectoryDataLake": "",
		"suffixes": object{
			"storage": c.Suffix, "keyVaultDns": "", "acrLoginServer": "", "sqlServerHostname": "", "azureDataLakeStoreFileSystem": "",
			"azureDataLakeAnalyticsCatalogAndJob": "", "azureFrontDoorEndpointSuffix": "", "storageSyncEndpointSuffix": "", "mhsmDns": "",
			"mysqlServerEndpoint": "", "postgresqlServerEndpoint": "", "mariadbServerEndpoint": "", "synapseAnalytics": "", "attestationEndpoint": "",
		},
	}
}
