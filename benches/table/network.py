"""The link between client and server (link.c), and processes on either side of it.

Whatever is started here ends with this program, also when it is killed: the link at the end of its input, and the others
by the kernel (setpriv --pdeathsig).
"""

import json
import os
import signal
import subprocess
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2]
# Which side a process runs on.
CLIENT, SERVER = 0, 1
SERVER_ADDRESS = "10.77.0.2"
LINE_DEADLINE = 20


class Failed(Exception):
    """Something that was started did not do what it is for."""


def target():
    """Cargo's folder, where the servers and peers are unpacked too."""
    return PACKAGE / os.environ.get("CARGO_TARGET_DIR", "target")


def libraries(tree):
    """The library folders of an unpacked tree, as the loader wants them."""
    folders = {str(path.parent) for top in ("lib", "usr/lib") for path in (tree / top).rglob("*.so*")}
    return ":".join(sorted(folders))


class Link:
    """A link with an RTT in milliseconds and a rate in Mbit/s, until `close`."""

    def __init__(self, rtt_ms, mbit, folder):
        program = folder / "link"
        source = Path(__file__).with_name("link.c")
        subprocess.run(["cc", "-O2", "-pthread", "-o", program, source], check=True)
        self.rtt, self.mbit = rtt_ms / 1000, mbit
        self.process = subprocess.Popen(
            [program, str(rtt_ms), str(mbit)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
        )
        words = self.process.stdout.readline().split()
        if words[:1] != ["ready"]:
            raise Failed("the link did not start (it needs root, /dev/net/tun and iproute2)")
        self.namespaces = [f"/proc/{self.process.pid}/fd/{number}" for number in words[1:]]

    def inside(self, side, command):
        """The command line that runs `command` on one side; mounts that it makes are seen here too."""
        return ["setpriv", "--pdeathsig", "KILL", "nsenter", f"--net={self.namespaces[side]}", "--", *map(str, command)]

    def _ask(self, request):
        self.process.stdin.write(request + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def zero(self):
        """Forgets what was counted on the wire."""
        self._ask("zero")

    def counts(self):
        """What was counted on the wire since `zero`."""
        return self._ask("read")

    def measured_rtt(self):
        """The smallest of ten round trips through the link, in seconds: TCP connections that are refused."""
        script = (
            "import socket, sys, time\n"
            "best = 9.0\n"
            "for _ in range(10):\n"
            "    with socket.socket() as s:\n"
            "        began = time.monotonic()\n"
            f"        s.connect_ex(('{SERVER_ADDRESS}', 9))\n"
            "        best = min(best, time.monotonic() - began)\n"
            "print(best)\n"
        )
        done = subprocess.run(self.inside(CLIENT, ["python3", "-c", script]), check=True, capture_output=True, text=True)
        return float(done.stdout)

    def close(self):
        self.process.stdin.close()
        self.process.wait(LINE_DEADLINE)


def end(process, patience=10):
    """Ends a process that was started here: asks, waits, then kills."""
    if process.poll() is not None:
        return
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(patience)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
