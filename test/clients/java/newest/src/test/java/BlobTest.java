import static org.junit.jupiter.api.Assertions.*;

import com.azure.core.http.rest.Response;
import com.azure.core.util.BinaryData;
import com.azure.core.util.Context;
import com.azure.storage.blob.*;
import com.azure.storage.blob.batch.*;
import com.azure.storage.blob.models.*;
import com.azure.storage.blob.options.*;
import com.azure.storage.blob.sas.*;
import com.azure.storage.blob.specialized.*;
import java.io.ByteArrayInputStream;
import java.time.OffsetDateTime;
import java.util.*;
import org.junit.jupiter.api.*;

/** com.azure:azure-storage-blob and azure-storage-blob-batch, the newest Java. */
class BlobTest {
  final BlobServiceClient service = new BlobServiceClientBuilder().connectionString(System.getenv("BLOBD_CONNECTION")).buildClient();
  final BlobContainerClient container = service.createBlobContainer("new" + UUID.randomUUID());

  static byte[] random(int n) {
    byte[] data = new byte[n];
    new Random(n).nextBytes(data);
    return data;
  }

  static BlobStorageException fails(int status, BlobErrorCode code, org.junit.jupiter.api.function.Executable call) {
    BlobStorageException e = assertThrows(BlobStorageException.class, call);
    assertEquals(status, e.getStatusCode());
    assertEquals(code, e.getErrorCode());
    return e;
  }

  @Test
  void blocksRangesAndMetadata() {
    byte[] data = random(9 << 20);
    BlobClient blob = container.getBlobClient("a/ä b+c");
    ParallelTransferOptions parallel = new ParallelTransferOptions().setBlockSizeLong(1L << 20).setMaxSingleUploadSizeLong(1L << 20).setMaxConcurrency(4);
    blob.uploadWithResponse(new BlobParallelUploadOptions(BinaryData.fromBytes(data)).setParallelTransferOptions(parallel).setMetadata(Map.of("colour", "blue"))
        .setTags(Map.of("k", "v")).setHeaders(new BlobHttpHeaders().setContentType("text/x")).setComputeMd5(true), null, Context.NONE);
    assertEquals(9, blob.getBlockBlobClient().listBlocks(BlockListType.ALL).getCommittedBlocks().size());
    assertArrayEquals(data, blob.downloadContent().toBytes());
    byte[] part = blob.downloadContentWithResponse(new DownloadRetryOptions(), null, new BlobRange(5_000_000, 1000L), true, null, Context.NONE).getValue().toBytes();
    assertArrayEquals(Arrays.copyOfRange(data, 5_000_000, 5_001_000), part);
    assertEquals(Map.of("colour", "blue"), blob.getProperties().getMetadata());
    assertEquals("text/x", blob.getProperties().getContentType());
    assertEquals(Map.of("k", "v"), blob.getTags());
    assertEquals(List.of("a/ä b+c"), service.findBlobsByTags("@container='" + container.getBlobContainerName() + "' AND k='v'").stream().map(TaggedBlobItem::getName).toList());
  }

  @Test
  void conditionsAndErrors() {
    BlobClient blob = container.getBlobClient("b");
    assertFalse(blob.exists());
    assertTrue(fails(404, BlobErrorCode.BLOB_NOT_FOUND, blob::downloadContent).getServiceMessage().contains("The specified blob does not exist."));
    blob.upload(BinaryData.fromString("first"));
    fails(409, BlobErrorCode.BLOB_ALREADY_EXISTS, () -> blob.upload(BinaryData.fromString("second")));
    String etag = blob.getProperties().getETag();
    blob.upload(BinaryData.fromString("second"), true);
    fails(412, BlobErrorCode.CONDITION_NOT_MET,
        () -> blob.deleteWithResponse(null, new BlobRequestConditions().setIfMatch(etag), null, Context.NONE));
    BlobLeaseClient lease = new BlobLeaseClientBuilder().blobClient(blob).buildClient();
    String id = lease.acquireLease(15);
    fails(412, BlobErrorCode.LEASE_ID_MISSING, blob::delete);
    assertEquals(id, lease.renewLease());
    lease.releaseLease();
    blob.createSnapshot();
    fails(409, BlobErrorCode.SNAPSHOTS_PRESENT, blob::delete);
    assertTrue(blob.deleteIfExistsWithResponse(DeleteSnapshotsOptionType.INCLUDE, null, null, Context.NONE).getValue());
    assertFalse(blob.deleteIfExists());
  }

  @Test
  void appendPagesAndCopies() {
    AppendBlobClient log = container.getBlobClient("log").getAppendBlobClient();
    log.create();
    log.appendBlock(new ByteArrayInputStream("one,".getBytes()), 4);
    log.appendBlock(new ByteArrayInputStream("two".getBytes()), 3);
    assertEquals("one,two", log.downloadContent().toString());
    log.seal();
    assertThrows(BlobStorageException.class, () -> log.appendBlock(new ByteArrayInputStream("x".getBytes()), 1));
    PageBlobClient disk = container.getBlobClient("disk").getPageBlobClient();
    disk.create(1 << 20);
    disk.uploadPages(new PageRange().setStart(8192).setEnd(12287), new ByteArrayInputStream(random(4096)));
    assertEquals(List.of("bytes=8192-12287"), disk.listPageRanges(new BlobRange(0)).stream().map(r -> r.getRange().toString()).toList());
    BlockBlobClient source = container.getBlobClient("source").getBlockBlobClient();
    source.upload(BinaryData.fromString("copied"));
    String sas = source.generateSas(new BlobServiceSasSignatureValues(OffsetDateTime.now().plusHours(1), new BlobSasPermission().setReadPermission(true)));
    BlockBlobClient copy = container.getBlobClient("copy").getBlockBlobClient();
    copy.uploadFromUrl(source.getBlobUrl() + "?" + sas);
    copy.stageBlockFromUrl("YQ==", source.getBlobUrl() + "?" + sas, new BlobRange(0, 4L));
    copy.commitBlockList(List.of("YQ=="), true);
    assertEquals("copi", copy.downloadContent().toString());
    assertEquals(CopyStatusType.SUCCESS, copy.beginCopy(source.getBlobUrl(), null).waitForCompletion().getValue().getCopyStatus());
    assertEquals("copied", copy.downloadContent().toString());
  }

  @Test
  void batches() {
    List<String> urls = new ArrayList<>();
    for (int i = 0; i < 40; i++) {
      BlobClient blob = container.getBlobClient("dir/ä " + i);
      blob.upload(BinaryData.fromString("x"));
      urls.add(blob.getBlobUrl());
    }
    assertEquals(List.of("dir/"), container.listBlobsByHierarchy("").stream().map(BlobItem::getName).toList());
    for (BlobBatchClient client : List.of(new BlobBatchClientBuilder(service).buildClient(), new BlobBatchClientBuilder(container).buildClient())) {
      for (Response<Void> r : client.setBlobsAccessTier(urls, AccessTier.COOL)) assertEquals(200, r.getStatusCode());
    }
    assertEquals(AccessTier.COOL, container.getBlobClient("dir/ä 7").getProperties().getAccessTier());
    BlobBatchClient client = new BlobBatchClientBuilder(service).buildClient();
    for (Response<Void> r : client.deleteBlobs(urls, DeleteSnapshotsOptionType.INCLUDE)) assertEquals(202, r.getStatusCode());
    assertEquals(0, container.listBlobs().stream().count());
    container.getBlobClient("last").upload(BinaryData.fromString("x"));
    BlobBatch batch = client.getBlobBatch();
    Response<Void> there = batch.deleteBlob(container.getBlobClient("last").getBlobUrl());
    Response<Void> missing = batch.deleteBlob(urls.get(0));
    client.submitBatchWithResponse(batch, false, null, Context.NONE);
    assertEquals(202, there.getStatusCode());
    fails(404, BlobErrorCode.BLOB_NOT_FOUND, missing::getStatusCode);
  }

  @Test
  void signatures() {
    BlobClient blob = container.getBlobClient("s");
    blob.upload(BinaryData.fromString("signed"));
    BlobServiceSasSignatureValues values = new BlobServiceSasSignatureValues(OffsetDateTime.now().plusHours(1), new BlobContainerSasPermission().setReadPermission(true));
    BlobClient reader = new BlobClientBuilder().endpoint(blob.getBlobUrl()).sasToken(container.generateSas(values)).buildClient();
    assertEquals("signed", reader.downloadContent().toString());
    fails(403, BlobErrorCode.AUTHORIZATION_PERMISSION_MISMATCH, reader::delete);
    container.setAccessPolicy(null, List.of(new BlobSignedIdentifier().setId("readers")
        .setAccessPolicy(new BlobAccessPolicy().setPermissions("r").setStartsOn(OffsetDateTime.now().minusHours(1)).setExpiresOn(OffsetDateTime.now().plusHours(1)))));
    assertEquals("readers", container.getAccessPolicy().getIdentifiers().get(0).getId());
    reader = new BlobClientBuilder().endpoint(blob.getBlobUrl()).sasToken(container.generateSas(new BlobServiceSasSignatureValues("readers"))).buildClient();
    assertEquals("signed", reader.downloadContent().toString());
  }
}
