"""What grows with the data: processor time of a byte, memory of a large read, a directory of many names, a file that is read again."""

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
PARTS = ["processor", "directory", "memory", "reread"]
READ = 1 * GIB
LARGE = 20 * GIB
REREAD = 2048 * rows.MIB
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


def seconds_to_read(path):
    began = time.monotonic()
    rows.expect("bytes", read_all(path), REREAD)
    return time.monotonic() - began


def drop_pages(path):
    """Has the kernel forget a local file's content, once the disk has it."""
    if path.is_file():
        file = os.open(path, os.O_RDWR)
        os.fsync(file)
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(file)


def reread(client, link, runs, say):
    """MiB a second of a file that is read again, by the kernel from the cache directory (`passthrough`) and from the kernel's own pages
    (`pages`), each in turns with a local file of the same size beside the cache directory; all of them in memory by then."""
    found = {}
    for way, options in (("passthrough", ["--ro", "-vv", "--cache-dir-size=8G"]), ("pages", ["--ro"])):
        folder = Path(tempfile.mkdtemp(prefix="ftpfs-bench-reread-", dir="/var/tmp"))
        try:
            if way == "passthrough":
                (folder / "cache").mkdir(mode=0o700)
                options = [*options, f"--cache-dir={folder / 'cache'}"]
            with open(folder / "local", "wb") as file:
                for _ in range(REREAD // rows.MIB):
                    file.write(bytes(rows.MIB))
            with mounted(client, link, options, network.SERVER) as mount:
                far = mount.mountpoint / "again"
                for path in (far, far):
                    seconds_to_read(path)
                # The kernel copies from large pieces of memory more quickly than from small ones, and a file that was just written lies in
                # pieces as it was written: both files come from the disk once.
                for path in folder.rglob("*"):
                    drop_pages(path)
                for path in (folder / "local", far):
                    seconds_to_read(path)
                cpu = mount.cpu_seconds()
                pairs = [(seconds_to_read(folder / "local"), seconds_to_read(far)) for _ in range(runs)]
                log = mount.log.read_text(errors="replace")
                cpu = mount.cpu_seconds() - cpu
            if way == "passthrough" and ("is_on=true" not in log or "does not read files of the cache directory" in log):
                say("  reread: SKIPPED passthrough: this kernel does not do it")
                continue
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        # Pairs differ by what else the machine does; the medians of both sides, and the best of both, less so.
        (local, far), (local_best, far_best) = [[of(pair[place] for pair in pairs) for place in (0, 1)] for of in (statistics.median, min)]
        found[way] = {
            "ratio": local / far, "ratio_of_best": local_best / far_best, "seconds": pairs, "cpu_seconds": cpu,
            "local_mib_per_second": REREAD / rows.MIB / local, "mib_per_second": REREAD / rows.MIB / far,
        }
        say(f"  reread: {way} {local / far:.3f} of a local file, best {local_best / far_best:.3f}, client {cpu:.2f} s of processor")
    return found


# What is done twice with a directory of many names on a fresh mount. `ls -U1` writes names as it gets them.
WALKS = {
    "find": (["find", "names", "-printf", "%s %T@\\n"], 1),
    "ls -U1": (["ls", "-U1", "names"], 0),
    "ls -l": (["ls", "-l", "names"], 1),
}


def walk_names(mount, link, command, lines, patience):
    """Seconds to the first of these lines, and to the last."""
    began = time.monotonic()
    process = subprocess.Popen(["timeout", "-s", "KILL", str(patience), *command], stdout=subprocess.PIPE, cwd=mount.mountpoint)
    written = process.stdout.read1()
    first = time.monotonic() - began
    count = written.count(b"\n")
    while written := process.stdout.read1():
        count += written.count(b"\n")
    if process.wait() != 0:
        return {"more_than": patience, "names": count, "wire": link.counts()}
    rows.expect("names", count, lines)
    return {"first": first, "all": time.monotonic() - began}


def directory(client, link, names, patience, say):
    """A directory of many names over the link."""
    found = {}
    for key, (command, more) in WALKS.items():
        with mounted(client, link) as mount:
            before = mount.memory_max()
            link.zero()
            runs = [walk_names(mount, link, command, names + more, patience)]
            if "all" in runs[0]:
                runs.append(walk_names(mount, link, command, names + more, patience))
            found[key] = {"runs": runs, "memory": mount.memory_max() - before, "wire": link.counts()}
        say(f"  directory: {client.name} {shown(key, found[key], names)}")
    return found


def shown(key, found, names):
    """What came of one walk, in a line."""
    times = [f"{run['all']:.2f} s (first line {run['first']:.2f})" if "all" in run else f"not within {run['more_than']:g} s: {run['names']:,} by then" for run in found["runs"]]
    return f"{key} of {names:,} names: {', again '.join(times)}; {found['memory'] / rows.MIB:.0f} MiB more"


def make_files(folder, names):
    for name, size in (("one-gib", READ), ("large", LARGE), ("again", REREAD)):
        with open(folder / name, "wb") as file:
            file.truncate(size)
    (folder / "names").mkdir()
    for number in range(names):
        os.close(os.open(folder / "names" / f"a-file-called-{number:06}.txt", os.O_CREAT | os.O_WRONLY, 0o644))
    servers.give(folder)
    # What was changed a moment ago is not kept in a cache directory.
    os.utime(folder / "again", (1_700_000_000, 1_700_000_000))


def run(given, link, server, home, ftpfs, peers, say):
    """All of it; prints the figures and keeps them as JSON."""
    make_files(server.folder, given.names)
    rclone = [peer for peer in peers if peer.name == "rclone"]
    takers = [client for client in (ftpfs, *rclone) if client]
    result = {
        "date": datetime.datetime.now().astimezone().isoformat(timespec="minutes"), "server": server.version(),
        "rtt_ms": given.rtt, "mbit": given.rate, "machine": measure.machine(), "load": os.getloadavg()[0],
        "versions": {client.name: client.version() for client in takers},
    }
    wanted = [key for key in given.rows.split(",") if key] or PARTS
    if "processor" in wanted:
        result["processor"] = processor(takers, link, given.runs, say)
    if "directory" in wanted:
        result["directory"] = {client.name: directory(client, link, given.names, given.patience, say) for client in takers}
    if "reread" in wanted:
        result["reread"] = reread(ftpfs, link, 10 * given.runs, say)
    if "memory" in wanted:
        found = memory(ftpfs, link, [f"--cache-size={CACHE}"], say)
        result["memory"] = {"ftpfs": found, "limit": CACHE + MEMORY_BESIDE}
    given.out.mkdir(parents=True, exist_ok=True)
    path = given.out / f"{given.name or 'scale-' + given.server}.json"
    report.save(result, path)
    for name, runs in result.get("processor", {}).items():
        middle = statistics.median(run["ns_per_byte"] for run in runs)
        print(f"processor: {name} {middle:.3f} ns a byte (of {len(runs)})")
    for name, walks in result.get("directory", {}).items():
        for key, found in walks.items():
            print(f"{name}: {shown(key, found, given.names)}")
    for way, found in result.get("reread", {}).items():
        print(f"read again, {way}: {found['mib_per_second']:.0f} MiB/s, {found['ratio']:.3f} of a local file's {found['local_mib_per_second']:.0f}")
    print(path)
    if "memory" not in result:
        return 0
    used, limit = result["memory"]["ftpfs"]["memory_max"], result["memory"]["limit"]
    print(f"memory after 20 GiB: {used / rows.MIB:.0f} MiB of {limit / rows.MIB:.0f}: {'kept' if used <= limit else 'NOT kept'}")
    return 0 if used <= limit else 1
