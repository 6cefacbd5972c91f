import static org.junit.jupiter.api.Assertions.*;

import com.microsoft.azure.storage.*;
import com.microsoft.azure.storage.blob.*;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.util.*;
import org.junit.jupiter.api.*;

/** The former SDK, com.microsoft.azure:azure-storage 8.6.6, which Hadoop, Spark and much else still carry. */
class FormerBlobTest {
  CloudBlobContainer container;

  @BeforeEach
  void create() throws Exception {
    CloudStorageAccount account = CloudStorageAccount.parse(System.getenv("BLOBD_CONNECTION"));
    container = account.createCloudBlobClient().getContainerReference("old" + UUID.randomUUID().toString().replace("-", ""));
    assertTrue(container.createIfNotExists());
    assertFalse(container.createIfNotExists());
  }

  static byte[] random(int n) {
    byte[] data = new byte[n];
    new Random(n).nextBytes(data);
    return data;
  }

  static StorageException fails(int status, String code, org.junit.jupiter.api.function.Executable call) {
    StorageException e = assertThrows(StorageException.class, call);
    assertEquals(status, e.getHttpStatusCode());
    assertEquals(code, e.getErrorCode());
    return e;
  }

  static byte[] download(CloudBlob blob) throws Exception {
    ByteArrayOutputStream out = new ByteArrayOutputStream();
    blob.download(out);
    return out.toByteArray();
  }

  @Test
  void blocksAndRanges() throws Exception {
    byte[] data = random(9 << 20);
    CloudBlockBlob blob = container.getBlockBlobReference("a/ä b+c");
    blob.setStreamWriteSizeInBytes(1 << 20);
    blob.getMetadata().put("colour", "blue");
    blob.getProperties().setContentType("text/x");
    BlobRequestOptions options = new BlobRequestOptions();
    options.setSingleBlobPutThresholdInBytes(1 << 20);
    options.setStoreBlobContentMD5(true);
    options.setUseTransactionalContentMD5(true);
    options.setConcurrentRequestCount(4);
    blob.upload(new ByteArrayInputStream(data), data.length, null, options, null);
    assertEquals(9, blob.downloadBlockList(BlockListingFilter.COMMITTED, null, null, null).size());
    assertArrayEquals(data, download(blob));
    byte[] part = new byte[1000];
    options.setUseTransactionalContentMD5(true);
    assertEquals(1000, blob.downloadRangeToByteArray(5_000_000, 1000L, part, 0, null, options, null));
    assertArrayEquals(Arrays.copyOfRange(data, 5_000_000, 5_001_000), part);
    CloudBlockBlob again = container.getBlockBlobReference("a/ä b+c");
    again.downloadAttributes();
    assertEquals("blue", again.getMetadata().get("colour"));
    assertEquals("text/x", again.getProperties().getContentType());
  }

  /** What people see of an error in this SDK is the status line. */
  @Test
  void errorsSpeak() throws Exception {
    CloudBlockBlob blob = container.getBlockBlobReference("none");
    assertEquals("The specified blob does not exist.", fails(404, "BlobNotFound", blob::downloadText).getMessage());
    blob.uploadText("x");
    assertEquals("The condition specified using HTTP conditional header(s) is not met.",
        fails(412, "ConditionNotMet", () -> blob.delete(DeleteSnapshotsOption.NONE, AccessCondition.generateIfMatchCondition("\"0x1\""), null, null)).getMessage());
    assertEquals("The specified container already exists.", fails(409, "ContainerAlreadyExists", container::create).getMessage());
  }

  @Test
  void appendAndPages() throws Exception {
    CloudAppendBlob log = container.getAppendBlobReference("log");
    log.createOrReplace();
    log.appendText("one,");
    log.appendText("two");
    assertEquals("one,two", new String(download(log), StandardCharsets.UTF_8));
    CloudPageBlob disk = container.getPageBlobReference("disk");
    disk.create(1 << 20);
    byte[] data = random(4096);
    disk.uploadPages(new ByteArrayInputStream(data), 8192, 4096);
    disk.clearPages(8704, 512);
    List<String> ranges = new ArrayList<>();
    for (PageRange r : disk.downloadPageRanges()) ranges.add(r.toString());
    assertEquals(List.of("bytes=8192-8703", "bytes=9216-12287"), ranges);
    disk.resize(2 << 20);
    assertEquals(2 << 20, download(disk).length);
    fails(409, "InvalidBlobType", () -> container.getBlockBlobReference("disk").uploadText("x"));
  }

  @Test
  void leasesSnapshotsAndCopies() throws Exception {
    CloudBlockBlob blob = container.getBlockBlobReference("b");
    blob.uploadText("first");
    CloudBlob snapshot = blob.createSnapshot();
    String lease = blob.acquireLease(15, null);
    assertEquals("There is currently a lease on the blob and no lease ID was specified in the request.",
        fails(412, "LeaseIdMissing", () -> blob.uploadText("second")).getMessage());
    blob.uploadText("second", null, AccessCondition.generateLeaseCondition(lease), null, null);
    blob.renewLease(AccessCondition.generateLeaseCondition(lease));
    blob.releaseLease(AccessCondition.generateLeaseCondition(lease));
    assertEquals("first", new String(download(snapshot), StandardCharsets.UTF_8));
    CloudBlockBlob copy = container.getBlockBlobReference("copy");
    copy.startCopy(blob);
    copy.downloadAttributes();
    assertEquals(CopyStatus.SUCCESS, copy.getCopyState().getStatus());
    assertEquals("second", copy.downloadText());
    fails(409, "SnapshotsPresent", blob::delete);
    blob.delete(DeleteSnapshotsOption.INCLUDE_SNAPSHOTS, null, null, null);
    assertFalse(blob.deleteIfExists());
  }

  @Test
  void listAndDeleteInBatches() throws Exception {
    BlobDeleteBatchOperation batch = new BlobDeleteBatchOperation();
    for (int i = 0; i < 20; i++) {
      CloudBlockBlob blob = container.getBlockBlobReference("dir/" + i);
      blob.uploadText("" + i);
      batch.addSubOperation(blob, DeleteSnapshotsOption.NONE, null, null);
    }
    container.getBlockBlobReference("top").uploadText("x");
    List<String> found = new ArrayList<>();
    for (ListBlobItem item : container.listBlobs()) found.add(item.getUri().getPath().replaceFirst("^.*/" + container.getName() + "/", ""));
    assertEquals(List.of("dir/", "top"), found);
    assertEquals(20, container.getServiceClient().executeBatch(batch).size());
    assertFalse(container.listBlobs("dir/").iterator().hasNext());
    batch = new BlobDeleteBatchOperation();
    batch.addSubOperation(container.getBlockBlobReference("top"), DeleteSnapshotsOption.NONE, null, null);
    batch.addSubOperation(container.getBlockBlobReference("none"), DeleteSnapshotsOption.NONE, null, null);
    BlobDeleteBatchOperation halves = batch;
    BatchException e = assertThrows(BatchException.class, () -> container.getServiceClient().executeBatch(halves));
    assertEquals(1, e.getSuccessfulResponses().size());
    assertEquals(404, e.getExceptions().values().iterator().next().getHttpStatusCode());
  }

  @Test
  void signaturesAndPolicies() throws Exception {
    CloudBlockBlob blob = container.getBlockBlobReference("s");
    blob.uploadText("signed");
    SharedAccessBlobPolicy policy = new SharedAccessBlobPolicy();
    policy.setPermissions(EnumSet.of(SharedAccessBlobPermissions.READ));
    policy.setSharedAccessExpiryTime(new Date(System.currentTimeMillis() + 600_000));
    String sas = blob.generateSharedAccessSignature(policy, null);
    CloudBlockBlob reader = new CloudBlockBlob(new StorageCredentialsSharedAccessSignature(sas).transformUri(blob.getUri()));
    assertEquals("signed", reader.downloadText());
    fails(403, "AuthorizationPermissionMismatch", () -> reader.uploadText("x"));
    BlobContainerPermissions permissions = new BlobContainerPermissions();
    permissions.getSharedAccessPolicies().put("readers", policy);
    container.uploadPermissions(permissions);
    assertEquals(policy.getSharedAccessExpiryTime().getTime() / 1000,
        container.downloadPermissions().getSharedAccessPolicies().get("readers").getSharedAccessExpiryTime().getTime() / 1000);
    sas = blob.generateSharedAccessSignature(null, "readers");
    assertEquals("signed", new CloudBlockBlob(new URI(blob.getUri() + "?" + sas)).downloadText());
  }
}
