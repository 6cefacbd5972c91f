package protocol

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestLocalHost(t *testing.T) {
	domains := []string{"store.example.com"}
	for host, local := range map[string]bool{
		"127.0.0.1:10000": true, "127.0.0.1": true, "[::1]:10000": true, "10.1.2.3:1": true, "": true,
		"localhost": true, "LOCALHOST:10000": true, "localhost.": true, "acct.blob.localhost:10000": true, "localhost.localdomain": true,
		"azurite:10000": true, "blobd": true, "host.docker.internal:10000": true, "host.containers.internal": true, "acct.blob.test": true,
		"devstoreaccount1.blob.core.windows.net": true, "devstoreaccount1.table.core.windows.net:10002": true,
		"acct.blob.store.example.com:1": true, "store.example.com": true,

		"evil.example": false, "evil.example:10000": false, "localhost.evil.example": false, "127.0.0.1.evil.example:10000": false,
		"devstoreaccount1.blob.evil.example": false, "notlocalhost.com": false, "evil-localhost.com": false, "evilstore.example.com": false,
		"example.com": false, "1.2.3.4.5": false, "windows.net": false, "blob.core.windows.net.evil.example": false, "evil.local": false,
		"127.0.0.1.nip.io": false, "evil.example.": false,
	} {
		require.Equal(t, local, LocalHost(host, domains), host)
	}
}
