package arm

import (
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/blob/store"
	"github.com/blobd/blobd/internal/directory"
	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/protocol"
)

// A role is for what is there, and goes with it: whoever makes something of that name later has given nobody anything.
func TestRolesAreAtWhatIsThere(t *testing.T) {
	h := newHouse(t)
	o := h.tenant("one")
	reader := h.someone("reader@example")
	containers, tables := o.account+"/blobServices/default/containers/", o.account+"/tableServices/default/tables/"
	give := func(scope, role string) answer {
		return h.do(o.user, "PUT", scope+"/providers/Microsoft.Authorization/roleAssignments/"+uuid.NewString(),
			`{"properties":{"roleDefinitionId":"`+role+`","principalId":"`+reader+`"}}`)
	}
	for _, absent := range []string{
		o.sub + "/resourceGroups/none", o.account + "none", o.account + "none/blobServices/default/containers/con", containers + "none", tables + "none",
		strings.Replace(containers, "oneGroup", "none", 1) + "con",
	} {
		require.Equal(t, 404, give(absent, directory.BlobReaderRole).status, absent)
		_, err := h.KnownScope(ctx, absent)
		require.Error(t, err, absent)
	}
	for _, scope := range []string{"/", "/subscriptions/none", o.account + "/fileServices/default", containers + "CON"} {
		_, err := h.KnownScope(ctx, scope)
		require.Error(t, err, scope)
	}
	require.Empty(t, h.Directory.Held(reader, o.account))
	require.Equal(t, 201, give(strings.Replace(containers, "/default/", "/Default/", 1)+"con", directory.BlobReaderRole).status)
	require.Equal(t, 201, give(tables+"Tab", directory.TableReaderRole).status)
	a, uses := h.Accounts.Enter("oneacct")
	defer uses.Leave()
	require.Len(t, DataRoles(h.Directory, reader, a), 2, "in the case of what is there")
	for _, scope := range []string{o.sub, o.group, o.account, containers + "con", tables + "Tab"} {
		known, err := h.KnownScope(ctx, scope+"/")
		require.NoError(t, err)
		require.Equal(t, scope, known)
	}
	h.ok(200, o.user, "DELETE", containers+"con", "")
	require.Len(t, DataRoles(h.Directory, reader, a), 1)
	h.ok(204, o.user, "DELETE", tables+"Tab", "")
	require.Empty(t, DataRoles(h.Directory, reader, a))
	h.ok(204, o.user, "DELETE", containers+"con", "")
}

// It goes as well with what is deleted by its own service, and at the latest when one of that name is made: a deletion may have come no
// further than the content.
func TestRolesGoWithWhatIsDeletedByItsService(t *testing.T) {
	h := newHouse(t)
	o := h.tenant("one")
	reader := h.someone("reader@example")
	container, tab := o.account+"/blobServices/default/containers/con", o.account+"/tableServices/default/tables/Tab"
	a, uses := h.Accounts.Enter("oneacct")
	defer uses.Leave()
	con := &store.Target{Account: a, Container: "con", Version: protocol.Newest, Now: engine.StampOf(time.Now())}
	h.assign(reader, directory.BlobReaderRole, container)
	h.assign(reader, directory.TableReaderRole, tab)
	require.ErrorIs(t, h.Blobs.CreateContainer(ctx, a.Name, "con", &record.Container{}), protocol.ErrContainerAlreadyExists)
	require.ErrorIs(t, h.Tables.CreateTable(ctx, a.Name, "tab"), protocol.ErrTableAlreadyExists)
	require.Len(t, DataRoles(h.Directory, reader, a), 2, "what is there keeps its roles")

	require.NoError(t, h.Blobs.DeleteContainer(ctx, con))
	require.Len(t, DataRoles(h.Directory, reader, a), 1)
	require.NoError(t, h.Tables.DeleteTable(ctx, a.Name, "tab"))
	require.Empty(t, DataRoles(h.Directory, reader, a))

	h.assign(reader, directory.BlobReaderRole, container) // as if the deletion had not come so far
	h.assign(reader, directory.TableReaderRole, tab)
	require.NoError(t, h.Blobs.CreateContainer(ctx, a.Name, "con", &record.Container{}))
	require.Len(t, DataRoles(h.Directory, reader, a), 1)
	require.NoError(t, h.Tables.CreateTable(ctx, a.Name, "Tab"))
	require.Empty(t, DataRoles(h.Directory, reader, a))

	keeps := *a
	keeps.ContainerRetentionDays = 1
	con.Account = &keeps
	require.NoError(t, h.Blobs.DeleteContainer(ctx, con))
	h.assign(reader, directory.BlobReaderRole, container)
	version := ""
	_, err := h.Blobs.Containers(ctx, &store.ContainersQuery{Account: a.Name, Limit: 10, Deleted: true, Now: engine.StampOf(time.Now())}, func(_ string, k *record.Container) bool {
		version = k.DeletedVersion()
		return false
	})
	require.NoError(t, err)
	require.NoError(t, h.Blobs.RestoreContainer(ctx, a.Name, "con", version))
	require.Empty(t, DataRoles(h.Directory, reader, a), "what is brought back has none")
}
