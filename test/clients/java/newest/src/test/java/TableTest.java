import static org.junit.jupiter.api.Assertions.*;

import com.azure.core.exception.HttpResponseException;
import com.azure.data.tables.*;
import com.azure.data.tables.models.*;
import com.azure.data.tables.sas.*;
import java.time.OffsetDateTime;
import java.time.ZoneOffset;
import java.util.*;
import org.junit.jupiter.api.*;

/** com.azure:azure-data-tables, the newest Java. */
class TableTest {
  final TableServiceClient service = new TableServiceClientBuilder().connectionString(System.getenv("BLOBD_CONNECTION")).buildClient();
  final TableClient table = service.createTable("new" + UUID.randomUUID().toString().replace("-", ""));

  static TableServiceException fails(int status, TableErrorCode code, org.junit.jupiter.api.function.Executable call) {
    TableServiceException e = assertThrows(TableServiceException.class, call);
    assertEquals(status, e.getResponse().getStatusCode());
    assertEquals(code, e.getValue().getErrorCode());
    return e;
  }

  @Test
  void tables() {
    fails(409, TableErrorCode.TABLE_ALREADY_EXISTS, table::createTable);
    service.createTableIfNotExists(table.getTableName());
    ListTablesOptions one = new ListTablesOptions().setFilter("TableName eq '" + table.getTableName() + "'");
    assertEquals(1, service.listTables(one, null, null).stream().count());
    table.deleteTable();
    assertEquals(0, service.listTables(one, null, null).stream().count());
  }

  @Test
  void typesComeBack() {
    OffsetDateTime now = OffsetDateTime.now(ZoneOffset.UTC).withNano(123_456_789); // to a billionth: the service keeps tenths of a millionth
    UUID id = UUID.randomUUID();
    Map<String, Object> values = new HashMap<>(Map.of("text", "日本語", "int", 42, "long", 1L << 40, "double", 1.0, "yes", true, "id", id));
    table.createEntity(new TableEntity("p'1", "ä").setProperties(values).addProperty("when", now).addProperty("bytes", new byte[] {0, -1}));
    TableEntity got = table.getEntity("p'1", "ä");
    for (String k : values.keySet()) assertEquals(values.get(k), got.getProperty(k), k);
    assertArrayEquals(new byte[] {0, -1}, (byte[]) got.getProperty("bytes"));
    assertEquals(now.withNano(123_456_800), got.getProperty("when"));
    String filter = "when le datetime'" + now + "' and when ge datetime'" + now + "'";
    assertEquals(1, table.listEntities(new ListEntitiesOptions().setFilter(filter), null, null).stream().count());
  }

  @Test
  void conditionsAndErrors() {
    table.createEntity(new TableEntity("p", "r").addProperty("a", 1).addProperty("b", 2));
    assertTrue(fails(409, TableErrorCode.ENTITY_ALREADY_EXISTS, () -> table.createEntity(new TableEntity("p", "r"))).getMessage().contains("The specified entity already exists."));
    TableEntity old = table.getEntity("p", "r");
    table.updateEntity(new TableEntity("p", "r").addProperty("a", 3));
    assertEquals(Set.of("a", "b"), userProperties(table.getEntity("p", "r")));
    fails(412, TableErrorCode.UPDATE_CONDITION_NOT_SATISFIED, () -> table.updateEntityWithResponse(old, TableEntityUpdateMode.REPLACE, true, null, null));
    table.upsertEntityWithResponse(new TableEntity("p", "r").addProperty("c", 5), TableEntityUpdateMode.REPLACE, null, null);
    assertEquals(Set.of("c"), userProperties(table.getEntity("p", "r")));
    table.deleteEntity("p", "r");
    fails(404, TableErrorCode.RESOURCE_NOT_FOUND, () -> table.getEntity("p", "r"));
  }

  static Set<String> userProperties(TableEntity e) {
    Set<String> names = new HashSet<>(e.getProperties().keySet());
    names.removeIf(n -> n.contains("odata.") || Set.of("PartitionKey", "RowKey", "Timestamp").contains(n));
    return names;
  }

  @Test
  void transactionsAndQueries() {
    for (int first = 0; first < 1200; first += 100) {
      List<TableTransactionAction> actions = new ArrayList<>();
      for (int i = first; i < first + 100; i++)
        actions.add(new TableTransactionAction(TableTransactionActionType.CREATE, new TableEntity("p", "%05d".formatted(i)).addProperty("n", i)));
      TableTransactionResult result = table.submitTransaction(actions);
      assertEquals(204, result.getTransactionActionResponses().get(7).getStatusCode());
    }
    ListEntitiesOptions some = new ListEntitiesOptions().setFilter("n ge 5 and n lt 9").setSelect(List.of("n"));
    assertEquals(List.of(5, 6, 7, 8), table.listEntities(some, null, null).stream().map(e -> e.getProperty("n")).toList());
    assertEquals(1200, table.listEntities().stream().count());
    List<TableTransactionAction> actions = new ArrayList<>();
    for (int i = 1198; i < 1202; i++) actions.add(new TableTransactionAction(TableTransactionActionType.UPSERT_MERGE, new TableEntity("p", "%05d".formatted(i)).addProperty("m", i)));
    actions.add(new TableTransactionAction(TableTransactionActionType.CREATE, new TableEntity("p", "00001")));
    TableTransactionFailedException e = assertThrows(TableTransactionFailedException.class, () -> table.submitTransaction(actions));
    assertEquals(4, e.getFailedTransactionActionIndex());
    assertEquals(TableErrorCode.ENTITY_ALREADY_EXISTS, e.getValue().getErrorCode());
    fails(404, TableErrorCode.RESOURCE_NOT_FOUND, () -> table.getEntity("p", "01200"));
    ListEntitiesOptions bad = new ListEntitiesOptions().setFilter("this is no filter");
    HttpResponseException refused = assertThrows(HttpResponseException.class, () -> table.listEntities(bad, null, null).stream().count());
    assertEquals(400, refused.getResponse().getStatusCode());
  }

  @Test
  void signatures() {
    table.createEntity(new TableEntity("p", "r"));
    TableSasSignatureValues values = new TableSasSignatureValues(OffsetDateTime.now().plusHours(1), new TableSasPermission().setReadPermission(true))
        .setStartPartitionKey("p").setStartRowKey("").setEndPartitionKey("p").setEndRowKey("s");
    TableClient reader = new TableClientBuilder().endpoint(service.getServiceEndpoint()).sasToken(table.generateSas(values)).tableName(table.getTableName()).buildClient();
    assertEquals(1, reader.listEntities().stream().count());
    assertEquals(403, assertThrows(TableServiceException.class, () -> reader.createEntity(new TableEntity("p", "new"))).getResponse().getStatusCode());
  }
}
