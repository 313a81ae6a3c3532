"""One run of a row with a client, and the row with all clients in turns."""

import os
import shutil
import statistics
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import clients
import network
import rows


class Bench:
    """A link and a server with its files, and the runs on them."""

    def __init__(self, link, server, home, ftpfs, peers, connections, patience):
        self.link, self.server, self.home = link, server, home
        self.ftpfs, self.peers, self.connections = ftpfs, peers, connections
        self.patience = patience
        self.source = home / "source"
        rows.make_files(server.folder, self.source)

    def limit(self, row):
        return row.limit(self.link.rtt, self.link.mbit * 1e6 / 8 or float("inf"), self.connections)

    def run(self, row, client):
        """Runs a row once, and tells of it; raises Failed where the work was not done."""
        rows.refill(self.server.folder, self.source)
        # On the local disk, as a user's journal is, and not in memory with the server's files.
        folder = Path(tempfile.mkdtemp(prefix="ftpfs-bench-run-"))
        world = rows.World(self.server.folder, self.source, folder / "scratch")
        world.scratch.mkdir()
        load = os.getloadavg()[0]
        began = time.monotonic()
        try:
            result = self._mounted(row, client, world, folder) if client.is_mount else self._program(row, client, world, folder)
        except (network.Failed, OSError, subprocess.SubprocessError):
            # Ended because it had no more time: that is a figure too.
            if time.monotonic() - began < self.patience:
                raise
            result = {"more_than": self.patience}
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return {**result, "load": round(load, 1), "remarks": world.remarks}

    def _mounted(self, row, client, world, folder):
        mount = clients.Mount(client, self.link, folder, row.options.get(client.name, ()))
        # What has no more time loses its client: its calls fail then.
        guard = threading.Timer(self.patience, mount.process.kill)
        guard.start()
        try:
            if row.before:
                row.before(mount.mountpoint, world)
            told = client.status(mount) if client is self.ftpfs else {}
            cpu = mount.cpu_seconds()
            self.link.zero()
            began = time.monotonic()
            value = row.mount(mount.mountpoint, world)
            seconds = time.monotonic() - began
            wire = self.link.counts()
            cpu = mount.cpu_seconds() - cpu
            told = difference(told, client.status(mount)) if told else {}
            row.check(value, world)
        finally:
            guard.cancel()
            mount.close()
        return {"seconds": seconds, "cpu_seconds": round(cpu, 3), "wire": wire, "told": told}

    def _program(self, row, client, world, folder):
        seconds = client.run(self.link, row, world, folder, self.patience)
        wire = self.link.counts()
        row.check(None, world)
        return {"seconds": seconds, "wire": wire, "told": {}}

    def row(self, row, runs, peer_runs, say, earlier=None):
        """All runs of a row, in turns so that what slows the machine slows all: each client's, by its name.

        The runs of peers that were measured `earlier` count, where a row is bound by round trips.
        """
        takers = [self.ftpfs] if self.ftpfs else []
        found = {}
        if earlier and row.bound != "link":
            found = {name: tries for name, tries in earlier.items() if name != "ftpfs"}
        takers += [peer for peer in self.peers if (peer.is_mount or getattr(row, peer.name)) and peer.name not in found]
        found.update({client.name: [] for client in takers})
        for turn in range(max(runs, peer_runs)):
            for client in takers:
                if turn >= (runs if client is self.ftpfs else peer_runs):
                    continue
                say(f"  {row.key}: {client.name}")
                try:
                    found[client.name].append(self.run(row, client))
                    last = found[client.name][-1]
                    say(f"  {row.key}: {client.name} " + (f"{last['seconds']:.3f} s" if "seconds" in last else f"not within {self.patience} s"))
                except (network.Failed, OSError, subprocess.SubprocessError) as error:
                    found[client.name].append({"error": str(error)[:500]})
                    say(f"  {row.key}: {client.name} FAILED: {error}")
        return found


def difference(before, after):
    """What has been counted up between two answers of `ftpfs status`, by dotted names; what is no count is left out."""
    was = leaves(before)
    moved = {name: value - was.get(name, 0) for name, value in leaves(after).items() if name.startswith(COUNTED)}
    return {name: value for name, value in moved.items() if value}


COUNTED = ("connections.operations.", "connections.sent_bytes", "connections.received_bytes", "connections.transfers", "prefetch")


def leaves(value, name=""):
    """The numbers in nested objects, by dotted names."""
    if isinstance(value, dict):
        found = {}
        for key, inner in value.items():
            found.update(leaves(inner, f"{name}.{key}" if name else key))
        return found
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return {name: value} if is_number else {}


def median(runs):
    """The median time of the runs that have one."""
    times = [run["seconds"] for run in runs if "seconds" in run]
    return statistics.median(times) if times else None


def middle(runs):
    """The run with the median time, for what else it tells."""
    good = sorted((run for run in runs if "seconds" in run), key=lambda run: run["seconds"])
    return good[(len(good) - 1) // 2] if good else None


def machine():
    """What the figures were measured on."""
    with open("/proc/cpuinfo", encoding="utf-8") as table:
        model = next((line.split(":", 1)[1].strip() for line in table if line.startswith("model name")), "unknown processor")
    return {"processors": os.cpu_count(), "model": model, "kernel": os.uname().release}


def scratch(given):
    """Where the server's files lie: in memory if there is room, so that no disk is measured."""
    memory = Path("/dev/shm")
    if given:
        return given
    if memory.is_dir() and shutil.disk_usage(memory).free > 2 << 30:
        return str(memory)
    return None
