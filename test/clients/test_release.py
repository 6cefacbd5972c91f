"""What a release is made of: built twice alike, installed, started, upgraded and removed in an empty root, run there as in an image of nothing."""

import hashlib
import json
import os
import pathlib
import signal
import subprocess
import time

import pytest
from azure.storage.blob import BlobServiceClient
from conftest import ACCOUNT, KEY

ROOT = pathlib.Path(__file__).resolve().parents[2]


def run(*args, **more):
    done = subprocess.run([str(a) for a in args], capture_output=True, text=True, **more)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Two builds of the same commit, the second in another folder."""
    outs = []
    for number in range(2):
        clone = tmp_path_factory.mktemp(f"clone{number}") / "src"
        run("git", "clone", "--quiet", ROOT, clone)
        env = {**os.environ, "PLATFORMS": "linux/amd64", "VERSION": "1.0.0", "GOFLAGS": "-pgo=off"}
        run("release/build.sh", cwd=clone, env=env)
        outs.append(clone / "dist")
    return outs


def test_two_builds_are_the_same(built):
    first, second = ((out / "SHA256SUMS").read_text() for out in built)
    assert first == second
    for line in first.splitlines():
        digest, name = line.split()
        assert hashlib.sha256((built[0] / name).read_bytes()).hexdigest() == digest


def test_what_is_in_it(built):
    binary = built[0] / "blobd-linux-amd64"
    assert run(binary, "version").startswith("blobd 1.0.0 ")
    assert "not a dynamic executable" in subprocess.run(["ldd", binary], capture_output=True, text=True).stderr
    parts = {c["name"] for c in json.loads((built[0] / "blobd-linux-amd64.cdx.json").read_text())["components"]}
    assert {"github.com/cockroachdb/pebble/v2", "github.com/valyala/fasthttp"} <= parts
    licences = (built[0] / "licences.txt").read_text()
    assert not [part for part in parts if f"==== {part} " not in licences]


def test_package_from_its_installation_to_its_removal(built, tmp_path):
    """In an empty root, where blobd is all there is to run, as in an image FROM scratch."""
    root = tmp_path / "root"
    for folder in ("var/lib/dpkg/info", "var/lib/dpkg/updates", "var/lib/blobd"):
        (root / folder).mkdir(parents=True)
    (root / "var/lib/dpkg/status").touch()
    dpkg = ["dpkg", f"--root={root}", "--force-script-chrootless", "--force-not-root", "--log=/dev/null"]
    run(*dpkg, "--install", next(built[0].glob("*.deb")))
    settings = root / "etc/blobd/blobd.yaml"
    settings.write_text(settings.read_text().replace(":10000", ":0").replace(":10002", ":0").replace(":10010", ":0"))

    def serve(**env):
        ready = root / "var/lib/blobd/ready.json"
        started = subprocess.Popen(
            ["chroot", root, "/usr/bin/blobd", "--config", "/etc/blobd/blobd.yaml", "--ready-file", "/var/lib/blobd/ready.json"],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env={"PATH": os.environ["PATH"], **env})
        deadline = time.monotonic() + 60
        while not ready.exists():
            assert started.poll() is None and time.monotonic() < deadline, started.stderr.read()
            time.sleep(0.01)  # poll for readiness
        return started, json.loads(ready.read_text())

    def stop(started):
        started.send_signal(signal.SIGTERM)
        assert started.wait(60) == 0

    def client(listens):
        return BlobServiceClient(f"{listens['blob']}/{ACCOUNT}", credential={"account_name": ACCOUNT, "account_key": KEY})

    started, listens = serve()
    client(listens).create_container("docs").upload_blob("a.txt", b"kept")
    management = listens["management"].removeprefix("http://")
    assert run("chroot", root, "/usr/bin/blobd", "health", "--management-addr", management) == "serving\n"
    stop(started)

    # The next build takes the place of this one; settings and data stay.
    newer = tmp_path / "newer"
    newer.mkdir()
    env = {**os.environ, "ARCH": "amd64", "VERSION": "1.0.1", "BINARY": str(built[0] / "blobd-linux-amd64"), "LICENCES": str(built[0] / "licences.txt")}
    run("go", "tool", "-modfile=release/go.mod", "nfpm", "package", "--config", "release/nfpm.yaml", "--packager", "deb", "--target", newer, cwd=ROOT, env=env)
    run(*dpkg, "--force-confdef", "--install", next(newer.glob("*.deb")))
    assert ":0" in settings.read_text()
    started, listens = serve(BLOBD_EXISTING="true")
    assert client(listens).get_blob_client("docs", "a.txt").download_blob().readall() == b"kept"
    stop(started)

    run(*dpkg, "--remove", "blobd")
    assert not (root / "usr/bin/blobd").exists()
    assert (root / "var/lib/blobd/data").is_dir() and settings.exists()


def test_unit_is_one_that_systemd_takes(built, tmp_path):
    unit = tmp_path / "blobd.service"
    unit.write_text((ROOT / "release/blobd.service").read_text().replace("/usr/bin/blobd", str(built[0] / "blobd-linux-amd64")))
    run("systemd-analyze", "verify", unit)
