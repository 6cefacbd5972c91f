package e2e

import (
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/service"
	"github.com/stretchr/testify/require"
)

// TestVersionsAndDeletedContainers has both switched on by flags, as the resource provider does in Azure.
func TestVersionsAndDeletedContainers(t *testing.T) {
	s := startBlobd(t, "--versioning", "--container-retention", "7")
	name := newContainer(t, s)
	c := s.service(t).NewContainerClient(name)
	b := c.NewBlockBlobClient("b")
	for _, content := range []string{"one", "two"} {
		up, err := b.Upload(ctx, body(content), nil)
		require.NoError(t, err)
		require.NotEmpty(t, *up.VersionID)
	}
	_, err := b.Delete(ctx, nil)
	require.NoError(t, err)
	page, err := c.NewListBlobsFlatPager(&container.ListBlobsFlatOptions{Include: container.ListBlobsInclude{Versions: true}}).NextPage(ctx)
	require.NoError(t, err)
	var contents []string
	for _, item := range page.Segment.BlobItems {
		v, err := b.WithVersionID(*item.VersionID)
		require.NoError(t, err)
		contents = append(contents, text(t, v))
	}
	require.Equal(t, []string{"one", "two"}, contents)

	_, err = c.Delete(ctx, nil)
	require.NoError(t, err)
	gone, err := s.service(t).NewListContainersPager(&service.ListContainersOptions{Prefix: &name, Include: service.ListContainersInclude{Deleted: true}}).NextPage(ctx)
	require.NoError(t, err)
	require.Len(t, gone.ContainerItems, 1)
	require.True(t, *gone.ContainerItems[0].Deleted)
	_, err = c.Restore(ctx, *gone.ContainerItems[0].Version, nil)
	require.NoError(t, err)
	page, err = c.NewListBlobsFlatPager(&container.ListBlobsFlatOptions{Include: container.ListBlobsInclude{Versions: true}, MaxResults: to.Ptr(int32(10))}).NextPage(ctx)
	require.NoError(t, err)
	require.Len(t, page.Segment.BlobItems, 2)
}
