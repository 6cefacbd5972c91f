import static org.junit.jupiter.api.Assertions.*;

import com.microsoft.azure.storage.*;
import com.microsoft.azure.storage.table.*;
import com.microsoft.azure.storage.table.TableQuery.*;
import java.util.*;
import org.junit.jupiter.api.*;

/** Tables with the former SDK, com.microsoft.azure:azure-storage 8.6.6. */
class FormerTableTest {
  CloudTable table;

  @BeforeEach
  void create() throws Exception {
    CloudStorageAccount account = CloudStorageAccount.parse(System.getenv("BLOBD_CONNECTION"));
    table = account.createCloudTableClient().getTableReference("old" + UUID.randomUUID().toString().replace("-", ""));
    assertTrue(table.createIfNotExists());
    assertFalse(table.createIfNotExists());
  }

  static DynamicTableEntity entity(String partition, String row, Object... values) {
    DynamicTableEntity e = new DynamicTableEntity(partition, row);
    for (int i = 0; i < values.length; i += 2) e.getProperties().put((String) values[i], property(values[i + 1]));
    return e;
  }

  static EntityProperty property(Object v) {
    if (v instanceof Integer i) return new EntityProperty(i);
    if (v instanceof Long l) return new EntityProperty(l);
    if (v instanceof Double d) return new EntityProperty(d);
    if (v instanceof Boolean b) return new EntityProperty(b);
    if (v instanceof UUID u) return new EntityProperty(u);
    if (v instanceof Date d) return new EntityProperty(d);
    if (v instanceof byte[] b) return new EntityProperty(b);
    return new EntityProperty((String) v);
  }

  DynamicTableEntity get(String partition, String row) throws StorageException {
    return table.execute(TableOperation.retrieve(partition, row, DynamicTableEntity.class)).getResultAsType();
  }

  static StorageException fails(int status, String code, org.junit.jupiter.api.function.Executable call) {
    StorageException e = assertThrows(StorageException.class, call);
    assertEquals(status, e.getHttpStatusCode(), e.getMessage());
    assertEquals(code, e.getErrorCode(), e.getMessage());
    return e;
  }

  @Test
  void typesComeBack() throws Exception {
    Date now = new Date();
    UUID id = UUID.randomUUID();
    table.execute(TableOperation.insert(
        entity("p'1", "ä", "text", "日本語", "int", 42, "long", 1L << 40, "double", 1.0, "nan", Double.NaN, "yes", true, "id", id, "when", now, "bytes", new byte[] {0, -1})));
    Map<String, EntityProperty> got = get("p'1", "ä").getProperties();
    assertEquals("日本語", got.get("text").getValueAsString());
    assertEquals(42, got.get("int").getValueAsInteger());
    assertEquals(1L << 40, got.get("long").getValueAsLong());
    assertEquals(EdmType.DOUBLE, got.get("double").getEdmType());
    assertTrue(Double.isNaN(got.get("nan").getValueAsDouble()));
    assertTrue(got.get("yes").getValueAsBoolean());
    assertEquals(id, got.get("id").getValueAsUUID());
    assertEquals(now, got.get("when").getValueAsDate());
    assertArrayEquals(new byte[] {0, -1}, got.get("bytes").getValueAsByteArray());
    assertNull(get("p'1", "none"));
  }

  @Test
  void conditionsAndErrors() throws Exception {
    DynamicTableEntity first = entity("p", "r", "a", 1, "b", 2);
    table.execute(TableOperation.insert(first));
    assertEquals("Conflict", assertThrows(TableServiceException.class, () -> table.execute(TableOperation.insert(entity("p", "r")))).getMessage());
    table.execute(TableOperation.merge(entityWithTag(first.getEtag(), "a", 3)));
    fails(412, "UpdateConditionNotSatisfied", () -> table.execute(TableOperation.replace(entityWithTag(first.getEtag(), "a", 4))));
    assertEquals(Set.of("a", "b"), get("p", "r").getProperties().keySet());
    table.execute(TableOperation.insertOrReplace(entity("p", "r", "c", 5)));
    assertEquals(Set.of("c"), get("p", "r").getProperties().keySet());
    table.execute(TableOperation.delete(entityWithTag("*")));
    fails(404, "ResourceNotFound", () -> table.execute(TableOperation.delete(entityWithTag("*"))));
  }

  static DynamicTableEntity entityWithTag(String etag, Object... values) {
    DynamicTableEntity e = entity("p", "r", values);
    e.setEtag(etag);
    return e;
  }

  @Test
  void transactionsAndQueries() throws Exception {
    Date now = new Date();
    for (int first = 0; first < 1200; first += 100) {
      TableBatchOperation batch = new TableBatchOperation();
      for (int i = first; i < first + 100; i++) batch.insert(entity("p", "%05d".formatted(i), "n", i, "when", new Date(now.getTime() + i)), i % 2 == 0);
      ArrayList<TableResult> results = table.execute(batch);
      assertEquals(100, results.size());
      assertEquals(201, results.get(0).getHttpStatusCode());
      assertEquals(204, results.get(1).getHttpStatusCode());
    }
    String filter = TableQuery.combineFilters(TableQuery.generateFilterCondition("when", QueryComparisons.GREATER_THAN_OR_EQUAL, new Date(now.getTime() + 50)),
        Operators.AND, TableQuery.generateFilterCondition("n", QueryComparisons.LESS_THAN, 60));
    List<String> rows = new ArrayList<>();
    for (DynamicTableEntity e : table.execute(TableQuery.from(DynamicTableEntity.class).where(filter).select(new String[] {"n"}))) rows.add(e.getRowKey());
    assertEquals(List.of("00050", "00051", "00052", "00053", "00054", "00055", "00056", "00057", "00058", "00059"), rows);
    int all = 0;
    for (DynamicTableEntity e : table.execute(TableQuery.from(DynamicTableEntity.class))) all++; // over a continuation
    assertEquals(1200, all);
  }

  @Test
  void aFailingTransactionChangesNothing() throws Exception {
    table.execute(TableOperation.insert(entity("p", "2")));
    TableBatchOperation batch = new TableBatchOperation();
    for (int i = 0; i < 4; i++) batch.insert(entity("p", "" + i));
    StorageException e = fails(409, "EntityAlreadyExists", () -> table.execute(batch));
    assertTrue(e.getExtendedErrorInformation().getErrorMessage().startsWith("2:The specified entity already exists."), e.getExtendedErrorInformation().getErrorMessage());
    assertNull(get("p", "0"));
  }

  @Test
  void signatures() throws Exception {
    table.execute(TableOperation.insert(entity("p", "r")));
    SharedAccessTablePolicy policy = new SharedAccessTablePolicy();
    policy.setPermissions(EnumSet.of(SharedAccessTablePermissions.QUERY));
    policy.setSharedAccessExpiryTime(new Date(System.currentTimeMillis() + 600_000));
    String sas = table.generateSharedAccessSignature(policy, null, "p", null, "p", null);
    CloudTable reader = new CloudTable(new StorageCredentialsSharedAccessSignature(sas).transformUri(table.getUri()));
    assertTrue(reader.execute(TableQuery.from(DynamicTableEntity.class)).iterator().hasNext());
    StorageException e = assertThrows(StorageException.class, () -> reader.execute(TableOperation.insert(entity("p", "new"))));
    assertEquals(403, e.getHttpStatusCode());
  }
}
