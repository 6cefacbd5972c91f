"""One blobd for all tests, on free ports, with the well-known account; over HTTPS as well, for clients that insist on it."""

import contextlib
import http.server
import json
import os
import pathlib
import select
import signal
import socket
import socketserver
import ssl
import subprocess
import threading
import time
import types
import urllib.parse
import urllib.request
import uuid

import pytest
from azure.storage.blob import BlobServiceClient

ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
ANY_PORT = "127.0.0.1:0"
CLIENT = "b10bd000-0000-4000-8000-000000000001"  # of the issuer for development


class Server:
    def __init__(self, data, *flags):
        self.data = pathlib.Path(data)
        ready, log = self.data.parent / "ready.json", self.data.parent / "blobd.log"
        self.process = subprocess.Popen(
            [os.environ["BLOBD"], "serve", "--data", str(data), "--blob-addr", ANY_PORT, "--table-addr", ANY_PORT,
             "--management-addr", ANY_PORT, "--ready-file", str(ready), *flags],
            stdout=subprocess.DEVNULL, stderr=log.open("ab"))
        deadline = time.monotonic() + 30
        while not ready.exists():
            assert self.process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.01)  # poll for readiness
        listens = json.loads(ready.read_text())
        self.blob, self.table, self.issuer = f"{listens['blob']}/{ACCOUNT}", f"{listens['table']}/{ACCOUNT}", listens.get("issuer")
        self.port = urllib.parse.urlsplit(self.blob).port
        self.connection = (
            f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={KEY};BlobEndpoint={self.blob};TableEndpoint={self.table};"
        )

    def told(self):
        """The environment of clients in other languages: they are told of this server by it."""
        return {**os.environ, "BLOBD_ACCOUNT": ACCOUNT, "BLOBD_KEY": KEY, "BLOBD_BLOB": self.blob, "BLOBD_TABLE": self.table,
                "BLOBD_CONNECTION": self.connection}

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    s = Server(tmp_path_factory.mktemp("blobd") / "data")
    yield s
    s.stop()


@pytest.fixture
def name():
    return "py" + uuid.uuid4().hex


@pytest.fixture
def container(server, name):
    """The name of a container of this test's own."""
    BlobServiceClient.from_connection_string(server.connection).create_container(name)
    return name


class Stalling(http.server.BaseHTTPRequestHandler):
    """A copy source that tells its length and then nothing more."""

    def do_HEAD(self):
        self.send_response(200)
        self.send_header("Content-Length", "1048576")
        self.send_header("ETag", '"0x1"')
        self.end_headers()

    def do_GET(self):
        self.do_HEAD()
        self.wfile.flush()
        self.connection.recv(1)  # until the server gives up

    def log_message(self, *args):
        pass


class Tunnel(socketserver.ThreadingTCPServer):
    """A CONNECT proxy that leads every host to one port."""

    daemon_threads = True

    def __init__(self, port):
        self.port = port
        super().__init__(("127.0.0.1", 0), TunnelHandler)


class TunnelHandler(http.server.BaseHTTPRequestHandler):
    def do_CONNECT(self):
        with socket.create_connection(("127.0.0.1", self.server.port)) as up:
            self.send_response(200)
            self.end_headers()
            ends = {self.connection: up, up: self.connection}
            while True:
                for s in select.select(list(ends), [], [])[0]:
                    data = s.recv(65536)
                    if not data:
                        return
                    ends[s].sendall(data)

    def log_message(self, *args):
        pass


@pytest.fixture
def azure(tmp_path):
    """Starts a blobd for clients that know Azure's own host names only: a proxy leads them to it, and it has a certificate of that name.
    azure(ACCOUNT) returns the server, and the environment for the client."""
    with contextlib.ExitStack() as stack:

        def start(account):
            cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
            subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test", "-addext",
                            f"subjectAltName=DNS:{account}.blob.core.windows.net,IP:127.0.0.1", "-keyout", str(key), "-out", str(cert)],
                           check=True, capture_output=True)
            server = Server(tmp_path / "data", "--account", f"{account}:{KEY}", "--tls-cert", str(cert), "--tls-key", str(key))
            stack.callback(server.stop)
            tunnel = Tunnel(server.port)
            stack.callback(tunnel.shutdown)
            threading.Thread(target=tunnel.serve_forever, daemon=True).start()
            return server, {"HTTPS_PROXY": f"http://127.0.0.1:{tunnel.server_address[1]}", "SSL_CERT_FILE": str(cert)}

        yield start


@pytest.fixture(scope="session")
def neighbours(tmp_path_factory):
    """Servers that differ in their settings, as some errors need, and write down what they are asked."""
    dir = tmp_path_factory.mktemp("neighbours")
    logs = []

    def start(name, *flags):
        (dir / name).mkdir()
        logs.append(dir / name / "access.log")
        return Server(dir / name / "data", "--access-log-file", str(logs[-1]), *flags)

    source = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Stalling)
    source.daemon_threads = True
    threading.Thread(target=source.serve_forever, daemon=True).start()
    n = types.SimpleNamespace(logs=logs, stalling=f"http://127.0.0.1:{source.server_port}/endless")
    n.main = start("main")
    n.secure = start("secure", "--secure-transfer")
    n.versions = start("versions", "--versioning", "--container-retention", "7", "--no-public-access")
    n.login = start("login", "--no-shared-key", "--tls-self-signed", "--oauth-dev-issuer", ANY_PORT, "--oauth-dev-secret", "a secret of this test")
    n.ca = str(next(p for p in (n.login.data / "tls").iterdir() if "CERTIFICATE" in p.read_text()))
    form = urllib.parse.urlencode({"grant_type": "client_credentials", "client_id": CLIENT, "client_secret": "a secret of this test",
                                   "scope": "https://storage.azure.com/.default"}).encode()
    tenant = n.login.issuer.split("/v2.0")[0]
    with urllib.request.urlopen(f"{tenant}/oauth2/v2.0/token", form, context=ssl.create_default_context(cafile=n.ca)) as answer:
        n.token = json.load(answer)["access_token"]
    n.servers = [n.main, n.secure, n.versions, n.login]
    yield n
    for s in n.servers:
        s.stop()
    source.shutdown()
