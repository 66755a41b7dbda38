"""The simulator as a process: starting, refusing, stopping, several at once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

COMMAND = [sys.executable, "-m", "exitwave.simulators", "bl18b"]
# The first name is there, however busy the machine is; of the others nobody is to answer.
READ = """
import json, sys
from caproto.sync.client import read
found = {}
for name in sys.argv[1:]:
    try:
        found[name] = float(read(name, timeout=20 if name == sys.argv[1] else 2, repeater=False).data[0])
    except Exception as error:
        found[name] = type(error).__name__
print(json.dumps(found))
"""


def start(*arguments):
    process = subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise AssertionError(process.communicate(timeout=30)[1])
    return process, json.loads(line)


def finish(process, number=signal.SIGTERM):
    process.send_signal(number)
    return process.wait(60), process.communicate()[1]


def read(ready, *names):
    done = subprocess.run(
        [sys.executable, "-c", READ, *names],
        env={**os.environ, **ready["env"]},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--specimen", "unobtainium"], "unobtainium"),
        (["--replay", "/nowhere/series.h5"], "series.h5"),
        (["--speed", "0"], "speed"),
        (["--port", "80"], "80"),
        (["--optics", "magic"], "magic"),
    ],
)
def test_a_wrong_argument_is_one_line_and_status_2(arguments, word):
    done = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1
    assert word in done.stderr


def test_two_at_once_do_not_hear_each_other():
    first, one = start("--prefix", "A:")
    second, two = start("--prefix", "B:")
    try:
        assert one["port"] != two["port"]
        assert read(one, "A:SAM:X", "B:SAM:X") == {"A:SAM:X": 0.0, "B:SAM:X": "CaprotoTimeoutError"}
        assert read(two, "B:SAM:X", "A:SAM:X") == {"A:SAM:X": "CaprotoTimeoutError", "B:SAM:X": 0.0}
    finally:
        ends = [finish(first), finish(second, signal.SIGINT)]
    assert ends == [(0, ""), (0, "")]


def test_everything_listens_on_loopback_alone(ioc):
    own = {os.readlink(f"/proc/{ioc.ready['pid']}/fd/{fd}") for fd in os.listdir(f"/proc/{ioc.ready['pid']}/fd")}
    sockets = {link.removeprefix("socket:[").removesuffix("]") for link in own if link.startswith("socket:[")}
    for table in ("tcp", "udp"):
        with open(f"/proc/net/{table}") as lines:
            for line in list(lines)[1:]:
                fields = line.split()
                if fields[9] in sockets:
                    assert fields[1].split(":")[0] == "0100007F", line


def test_it_ends_with_its_parent():
    script = (
        "import subprocess, sys, time\n"
        f"p = subprocess.Popen({COMMAND!r} + ['--with-parent'], stdout=subprocess.PIPE, text=True)\n"
        "print(p.stdout.readline(), flush=True)\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    with parent:
        assert parent.stdout is not None
        child = json.loads(parent.stdout.readline())["pid"]
        parent.kill()
    deadline = time.monotonic() + 20
    while os.path.exists(f"/proc/{child}") and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not os.path.exists(f"/proc/{child}")


def test_truth_is_drawn_and_written(tmp_path):
    path = tmp_path / "truth.json"
    process, _ = start("--seed", "5", "--truth", str(path))
    try:
        assert json.loads(path.read_text())["seed"] == 5
    finally:
        code, said = finish(process)
    assert (code, said) == (0, "")
