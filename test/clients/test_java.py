"""Java: the former SDK, the newest, and Hadoop's wasb; the tests themselves are in java/*/src/test/java."""

import pathlib
import re
import subprocess

import pytest


@pytest.mark.parametrize("module", ["former", "newest", "hadoop"])
def test_java(server, module):
    done = subprocess.run(["mvn", "-B", "-ntp", "-pl", module, "test"], cwd=pathlib.Path(__file__).parent / "java", env=server.told(),
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    print(done.stdout)
    assert done.returncode == 0
    ran, skipped = re.findall(r"Tests run: (\d+), Failures: 0, Errors: 0, Skipped: (\d+)\n", done.stdout)[-1]
    assert int(ran) > 2 and int(skipped) == 0
