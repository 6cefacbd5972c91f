"""rclone and restic back a real tree up, restore and check it."""

import filecmp
import http.server
import os
import pathlib
import select
import shutil
import socket
import socketserver
import subprocess
import threading

import pytest

from conftest import ACCOUNT, KEY, Server

BACKUP = "backups"  # restic takes the emulator's account to live on port 10000 only


def same(a, b):
    c = filecmp.dircmp(a, b)
    assert not c.left_only and not c.right_only and not c.funny_files, (c.left_only, c.right_only)
    _, mismatch, errors = filecmp.cmpfiles(a, b, c.common_files, shallow=False)
    assert not mismatch and not errors
    for d in c.common_dirs:
        same(os.path.join(a, d), os.path.join(b, d))


@pytest.fixture
def tree(tmp_path):
    """The project's own sources: a real tree of some hundred files; and one larger file."""
    root = pathlib.Path(__file__).parents[2]
    dst = tmp_path / "tree"
    for part in ("internal", "docs", "cmd"):
        shutil.copytree(root / part, dst / part)
    (dst / "large.bin").write_bytes(os.urandom(40 << 20))
    (dst / "empty").write_bytes(b"")
    return dst


def test_rclone(server, name, tree, tmp_path):
    env = os.environ | {"RCLONE_CONFIG": "/dev/null", "RCLONE_AZUREBLOB_ACCOUNT": ACCOUNT, "RCLONE_AZUREBLOB_KEY": KEY,
                        "RCLONE_AZUREBLOB_ENDPOINT": server.blob}

    def rclone(*args):
        r = subprocess.run([os.environ["RCLONE"], *args], env=env, capture_output=True, text=True, timeout=300)
        assert r.returncode == 0, f"rclone {args}\n{r.stderr}"
        return r.stdout

    remote = f":azureblob:{name}"
    rclone("mkdir", remote)
    rclone("sync", str(tree), remote, "--checksum")
    rclone("check", str(tree), remote, "--download")
    rclone("copy", remote, str(tmp_path / "back"))
    same(tree, tmp_path / "back")
    (tree / "empty").unlink()
    rclone("sync", str(tree), remote)
    assert "empty" not in rclone("lsf", remote).split()
    rclone("purge", remote)


class Tunnel(socketserver.ThreadingTCPServer):
    """A CONNECT proxy that leads every host to one port: restic of this age knows Azure's own host names only."""

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


def test_restic(name, tree, tmp_path):
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test", "-addext",
                    f"subjectAltName=DNS:{BACKUP}.blob.core.windows.net", "-keyout", str(tmp_path / "key.pem"), "-out", str(tmp_path / "cert.pem")],
                   check=True, capture_output=True)
    server = tls_server(tmp_path)
    tunnel = Tunnel(server.port)
    threading.Thread(target=tunnel.serve_forever, daemon=True).start()
    env = os.environ | {"AZURE_ACCOUNT_NAME": BACKUP, "AZURE_ACCOUNT_KEY": KEY, "RESTIC_PASSWORD": "secret", "RESTIC_REPOSITORY": f"azure:{name}:/repo",
                        "RESTIC_CACHE_DIR": str(tmp_path / "cache"), "HTTPS_PROXY": f"http://127.0.0.1:{tunnel.server_address[1]}"}

    def restic(*args):
        r = subprocess.run(["restic", "--cacert", str(tmp_path / "cert.pem"), *args], env=env, capture_output=True, text=True, timeout=300)
        assert r.returncode == 0, f"restic {args}\n{r.stdout}\n{r.stderr}"

    try:
        restic("init")
        restic("backup", str(tree))
        (tree / "empty").write_text("no longer")
        restic("backup", str(tree))
        restic("check", "--read-data")
        restic("restore", "latest", "--target", str(tmp_path / "back"))
        same(tree, str(tmp_path / "back") + str(tree))
        restic("forget", "--keep-last", "1", "--prune")
        restic("check", "--read-data")
    finally:
        tunnel.shutdown()
        server.stop()


def tls_server(tmp_path):
    return Server(tmp_path / "data", "--account", f"{BACKUP}:{KEY}", "--tls-cert", str(tmp_path / "cert.pem"), "--tls-key", str(tmp_path / "key.pem"))
