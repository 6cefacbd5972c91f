"""One blobd for all tests, on free ports, with the well-known account; over HTTPS as well, for clients that insist on it."""

import os
import pathlib
import signal
import socket
import subprocess
import time
import urllib.request
import uuid

import pytest

ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Server:
    def __init__(self, data, *flags):
        self.port, self.table_port, management = free_port(), free_port(), free_port()
        self.data = pathlib.Path(data)
        self.blob = f"http://127.0.0.1:{self.port}/{ACCOUNT}"
        self.table = f"http://127.0.0.1:{self.table_port}/{ACCOUNT}"
        self.connection = (
            f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={KEY};BlobEndpoint={self.blob};TableEndpoint={self.table};"
        )
        self.process = subprocess.Popen(
            [os.environ["BLOBD"], "serve", "--data", str(data), "--blob-addr", f"127.0.0.1:{self.port}",
             "--table-addr", f"127.0.0.1:{self.table_port}", "--management-addr", f"127.0.0.1:{management}", *flags],
            stdout=subprocess.DEVNULL, stderr=(self.data.parent / "blobd.log").open("ab"))
        deadline = time.monotonic() + 30
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{management}/healthz", timeout=5).close()
                return
            except OSError:
                assert self.process.poll() is None and time.monotonic() < deadline, (self.data.parent / "blobd.log").read_text()
                time.sleep(0.05)  # poll for readiness

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
