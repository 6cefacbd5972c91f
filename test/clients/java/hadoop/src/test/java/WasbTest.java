import static org.junit.jupiter.api.Assertions.*;

import com.microsoft.azure.storage.StorageCredentialsAccountAndKey;
import com.microsoft.azure.storage.blob.CloudBlobContainer;
import java.io.ByteArrayOutputStream;
import java.io.FileNotFoundException;
import java.io.IOException;
import java.net.URI;
import java.util.*;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.fs.*;
import org.apache.hadoop.io.IOUtils;
import org.junit.jupiter.api.*;

/** Hadoop's wasb:// (hadoop-azure's NativeAzureFileSystem), as MapReduce, Hive and HBase use it. It asks a host named for the account. */
class WasbTest {
  FileSystem fs;

  @BeforeEach
  void mount() throws Exception {
    String account = System.getenv("BLOBD_ACCOUNT"), key = System.getenv("BLOBD_KEY"), container = "c" + UUID.randomUUID();
    String host = account + ".blob.core.windows.net:" + new URI(System.getenv("BLOBD_BLOB")).getPort();
    new CloudBlobContainer(new URI("http://" + host + "/" + container), new StorageCredentialsAccountAndKey(account, key)).create();
    Configuration conf = new Configuration();
    conf.set("fs.azure.account.key." + host, key);
    conf.set("fs.azure.page.blob.dir", "/pages");
    conf.set("fs.azure.block.blob.with.compaction.dir", "/compacted");
    conf.setBoolean("fs.azure.enable.append.support", true);
    fs = FileSystem.newInstance(new URI("wasb://" + container + "@" + host + "/"), conf);
  }

  @AfterEach
  void close() throws IOException {
    fs.close();
  }

  static byte[] random(int n) {
    byte[] data = new byte[n];
    new Random(n).nextBytes(data);
    return data;
  }

  byte[] read(String path) throws IOException {
    ByteArrayOutputStream out = new ByteArrayOutputStream();
    try (FSDataInputStream in = fs.open(new Path(path))) {
      IOUtils.copyBytes(in, out, 65536, false);
    }
    return out.toByteArray();
  }

  void write(String path, byte[] data) throws IOException {
    try (FSDataOutputStream out = fs.create(new Path(path))) {
      out.write(data);
    }
  }

  List<String> names(String dir) throws IOException {
    List<String> names = new ArrayList<>();
    for (FileStatus s : fs.listStatus(new Path(dir))) names.add(s.getPath().getName());
    Collections.sort(names);
    return names;
  }

  @Test
  void files() throws IOException {
    byte[] data = random(9 << 20);
    write("/a/b/file", data);
    assertArrayEquals(data, read("/a/b/file"));
    try (FSDataInputStream in = fs.open(new Path("/a/b/file"))) {
      byte[] part = new byte[1000];
      in.readFully(8 << 20, part);
      assertArrayEquals(Arrays.copyOfRange(data, 8 << 20, (8 << 20) + 1000), part);
    }
    assertTrue(fs.mkdirs(new Path("/a/empty")));
    assertEquals(List.of("b", "empty"), names("/a"));
    assertThrows(FileAlreadyExistsException.class, () -> fs.create(new Path("/a/b/file"), false));
    assertThrows(FileNotFoundException.class, () -> fs.open(new Path("/a/none")));
    assertTrue(fs.rename(new Path("/a"), new Path("/moved")));
    assertFalse(fs.exists(new Path("/a")));
    assertArrayEquals(data, read("/moved/b/file"));
    assertTrue(fs.delete(new Path("/moved"), true));
    assertFalse(fs.exists(new Path("/moved/b/file")));
  }

  @Test
  void append() throws IOException {
    write("/compacted/log", "first".getBytes());
    StringBuilder want = new StringBuilder("first");
    for (int i = 0; i < 2; i++) {
      try (FSDataOutputStream out = fs.append(new Path("/compacted/log"))) {
        for (int j = 0; j < 40; j++) { // more than 32 blocks: they are compacted
          out.write(("," + j).getBytes());
          out.hflush();
          want.append(",").append(j);
        }
      }
    }
    assertEquals(want.toString(), new String(read("/compacted/log")));
    write("/plain", "one".getBytes());
    try (FSDataOutputStream out = fs.append(new Path("/plain"))) {
      out.write(",two".getBytes());
    }
    assertEquals("one,two", new String(read("/plain")));
  }

  /** A log of HBase: synced as it is written, in pages. */
  @Test
  void pages() throws IOException {
    byte[] data = random(3 << 20);
    try (FSDataOutputStream out = fs.create(new Path("/pages/wal"))) {
      for (int i = 0; i < data.length; i += 300_000) {
        out.write(data, i, Math.min(300_000, data.length - i));
        out.hsync();
      }
    }
    assertEquals(data.length, fs.getFileStatus(new Path("/pages/wal")).getLen());
    assertArrayEquals(data, read("/pages/wal"));
  }
}
