"""What grows with the data: processor time of a byte, memory of a large read, a directory of 100,000 names."""

import datetime
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import clients
import measure
import network
import report
import rows
import servers

GIB = 1 << 30
PARTS = ["processor", "directory", "memory"]
READ = 1 * GIB
LARGE = 20 * GIB
NAMES = int(os.environ.get("NAMES", 100_000))
CACHE = 256 << 20
# What a mount may have beside its cache.
MEMORY_BESIDE = 64 << 20


@contextmanager
def mounted(client, link, options=(), side=network.CLIENT):
    folder = Path(tempfile.mkdtemp(prefix="ftpfs-bench-run-"))
    try:
        mount = clients.Mount(client, link, folder, options, side)
        try:
            yield mount
        finally:
            mount.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def read_all(path):
    size, buffer = 0, bytearray(rows.MIB)
    with open(path, "rb", buffering=0) as file:
        while count := file.readinto(buffer):
            size += count
    return size


def processor(takers, link, runs, say):
    """Nanoseconds of the client's processor time a byte, reading on loopback; each client's, in turns."""
    found = {client.name: [] for client in takers}
    for _ in range(runs):
        for client in takers:
            with mounted(client, link, side=network.SERVER) as mount:
                cpu, began = mount.cpu_seconds(), time.monotonic()
                rows.expect("bytes", read_all(mount.mountpoint / "one-gib"), READ)
                took, cpu = time.monotonic() - began, mount.cpu_seconds() - cpu
            found[client.name].append({"ns_per_byte": cpu * 1e9 / READ, "mib_per_second": READ / rows.MIB / took})
            say(f"  processor: {client.name} {cpu * 1e9 / READ:.3f} ns/byte, {READ / rows.MIB / took:.0f} MiB/s")
    return found


def memory(client, link, options, say):
    """The most memory of a mount that has read 20 GiB in order, on loopback."""
    with mounted(client, link, options, network.SERVER) as mount:
        began = time.monotonic()
        rows.expect("bytes", read_all(mount.mountpoint / "large"), LARGE)
        found = {"seconds": time.monotonic() - began, "memory_max": mount.memory_max()}
    say(f"  memory: {client.name} {found['memory_max'] / rows.MIB:.0f} MiB, {found['seconds']:.1f} s")
    return found


def directory(client, link, patience, say):
    """A directory of many names over the link: find with size and time of each, and again."""
    with mounted(client, link) as mount:
        before, times = mount.memory_max(), []
        link.zero()
        for _ in range(2):
            began = time.monotonic()
            command = ["timeout", "-s", "KILL", str(patience), "find", mount.mountpoint / "names", "-printf", "%s %T@\\n"]
            listed = subprocess.run(command, capture_output=True)
            if listed.returncode != 0:
                say(f"  directory: {client.name} not within {patience:g} s")
                return {"more_than": patience, "names": listed.stdout.count(b"\n"), "wire": link.counts()}
            times.append(time.monotonic() - began)
            rows.expect("names", listed.stdout.count(b"\n"), NAMES + 1)
        wire = link.counts()
        found = {"first": times[0], "again": times[1], "memory": mount.memory_max() - before, "wire": wire}
    say(f"  directory: {client.name} {times[0]:.2f} s, again {times[1]:.2f} s, {found['memory'] / rows.MIB:.0f} MiB")
    return found


def make_files(folder):
    for name, size in (("one-gib", READ), ("large", LARGE)):
        with open(folder / name, "wb") as file:
            file.truncate(size)
    (folder / "names").mkdir()
    for number in range(NAMES):
        os.close(os.open(folder / "names" / f"a-file-called-{number:06}.txt", os.O_CREAT | os.O_WRONLY, 0o644))
    servers.give(folder)


def run(given, link, server, home, ftpfs, peers, say):
    """All of it; prints the figures and keeps them as JSON."""
    make_files(server.folder)
    rclone = [peer for peer in peers if peer.name == "rclone"]
    takers = [ftpfs, *rclone]
    result = {
        "date": datetime.datetime.now().astimezone().isoformat(timespec="minutes"), "server": server.version(),
        "rtt_ms": given.rtt, "mbit": given.rate, "machine": measure.machine(), "load": os.getloadavg()[0],
        "versions": {client.name: client.version() for client in takers},
    }
    wanted = [key for key in given.rows.split(",") if key] or PARTS
    if "processor" in wanted:
        result["processor"] = processor(takers, link, given.runs, say)
    if "directory" in wanted:
        result["directory"] = {client.name: directory(client, link, given.patience, say) for client in takers}
    if "memory" in wanted:
        found = memory(ftpfs, link, [f"--cache-size={CACHE}"], say)
        result["memory"] = {"ftpfs": found, "limit": CACHE + MEMORY_BESIDE}
    given.out.mkdir(parents=True, exist_ok=True)
    path = given.out / f"{given.name or 'scale-' + given.server}.json"
    report.save(result, path)
    for name, runs in result.get("processor", {}).items():
        middle = statistics.median(run["ns_per_byte"] for run in runs)
        print(f"processor: {name} {middle:.3f} ns a byte (of {len(runs)})")
    for name, found in result.get("directory", {}).items():
        if "more_than" in found:
            print(f"directory of {NAMES:,} names: {name} not within {found['more_than']:g} s: {found['names']:,} names by then")
            continue
        print(f"directory of {NAMES:,} names: {name} {found['first']:.2f} s, again {found['again']:.2f} s, {found['memory'] / rows.MIB:.0f} MiB more")
    print(path)
    if "memory" not in result:
        return 0
    used, limit = result["memory"]["ftpfs"]["memory_max"], result["memory"]["limit"]
    print(f"memory after 20 GiB: {used / rows.MIB:.0f} MiB of {limit / rows.MIB:.0f}: {'kept' if used <= limit else 'NOT kept'}")
    return 0 if used <= limit else 1
