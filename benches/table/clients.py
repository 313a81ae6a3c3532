"""The clients that are compared: ftpfs and rclone and curlftpfs as mounts, lftp and curl as the programs that they are.

A run is fresh in each: a new mount, or a new process. A mount has listed its root and lftp has logged in before the clock
starts; curl logs in within its time, for it has no other way.
"""

import json
import os
import shutil
import subprocess
import threading
import time

import network
import servers

MOUNT_DEADLINE = 30
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


def find(program):
    """Where a peer is: installed, or unpacked by scripts/peers; None if neither."""
    unpacked = network.target() / "peers/tree/usr/bin" / program
    return shutil.which(program) or (str(unpacked) if unpacked.exists() else None)


def environment(**more):
    """For peers that were unpacked: beside the installed libraries."""
    libraries = network.libraries(network.target() / "peers/tree")
    return {**os.environ, "LC_ALL": "C.UTF-8", "LD_LIBRARY_PATH": libraries, **more}


def is_mounted(folder):
    with open("/proc/self/mounts", encoding="utf-8", errors="replace") as table:
        return any(line.split()[1] == str(folder) for line in table)


class Mount:
    """A mount of a client, until `close`."""

    def __init__(self, client, link, folder, options=(), side=network.CLIENT):
        self.client, self.mountpoint = client, folder / "mnt"
        self.mountpoint.mkdir()
        self.log = folder / "client.log"
        command, more = client.command(self.mountpoint, folder, list(options))
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                link.inside(side, command), stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment(**more),
                start_new_session=True,
            )
        try:
            self._wait()
        except BaseException:
            self.close()
            raise

    def _wait(self):
        deadline = time.monotonic() + MOUNT_DEADLINE
        while not is_mounted(self.mountpoint):
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise network.Failed(f"{self.client.name} did not mount: {self.log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.002)
        os.listdir(self.mountpoint)

    def cpu_seconds(self):
        """What the client's process has used so far."""
        with open(f"/proc/{self.process.pid}/stat", encoding="utf-8") as stat:
            fields = stat.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / CLOCK_TICKS

    def memory_max(self):
        """The most memory that it has had, in bytes."""
        with open(f"/proc/{self.process.pid}/status", encoding="utf-8") as status:
            for line in status:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
        return 0

    def close(self):
        # Asked for once; then by force, so that nothing stays mounted whatever has happened.
        subprocess.run(["umount", self.mountpoint], capture_output=True)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            pass
        if is_mounted(self.mountpoint):
            subprocess.run(["umount", "-l", self.mountpoint], capture_output=True)
        network.end(self.process)


class Ftpfs:
    """The program of this package."""

    name, is_mount = "ftpfs", True

    def __init__(self, program, options):
        self.program, self.options = program, options

    def command(self, mountpoint, folder, options):
        for name in ("state", "run"):
            (folder / name).mkdir(mode=0o700)
        password = folder / "password"
        password.write_text(servers.PASSWORD + "\n")
        password.chmod(0o600)
        encryption = ["--tls=require", f"--ca-file={servers.authority}"] if servers.authority else ["--tls=off"]
        command = [
            self.program, "--foreground", f"--password-file={password}", *encryption, f"--state-dir={folder}/state",
            *self.options, *options, f"ftp://{servers.USER}@{network.SERVER_ADDRESS}/", mountpoint,
        ]
        return command, {"FTPFS_RUNTIME_DIR": str(folder / "run")}

    def status(self, mount):
        """What the mount tells of itself."""
        done = subprocess.run(
            [self.program, "status", "--json", mount.mountpoint], capture_output=True, text=True, timeout=20,
            env={**os.environ, "FTPFS_RUNTIME_DIR": str(mount.mountpoint.parent / "run")},
        )
        try:
            status = json.loads(done.stdout)
        except ValueError:
            return {}
        return status[0] if isinstance(status, list) and status else status

    def version(self):
        return subprocess.run([self.program, "--version"], capture_output=True, text=True).stdout.strip()


class Rclone:
    """rclone mount, which streams: nothing but the journal's row has it write to the local disk."""

    name, is_mount = "rclone", True

    def __init__(self):
        self.program = find("rclone")

    def command(self, mountpoint, folder, options):
        hidden = subprocess.run(
            [self.program, "obscure", "-"], input=servers.PASSWORD, check=True, capture_output=True, text=True
        ).stdout.strip()
        configuration = folder / "rclone.conf"
        configuration.write_text(
            f"[far]\ntype = ftp\nhost = {network.SERVER_ADDRESS}\nuser = {servers.USER}\npass = {hidden}\n"
            + ("explicit_tls = true\nno_check_certificate = true\n" if servers.authority else "")
        )
        return [
            self.program, "mount", "far:", mountpoint, "--config", configuration, "--cache-dir", folder / "cache", *options,
        ], {}

    def version(self):
        return subprocess.run([self.program, "version"], capture_output=True, text=True).stdout.split("\n")[0]


class Curlftpfs:
    """curlftpfs, where it is installed."""

    name, is_mount = "curlftpfs", True

    def __init__(self):
        self.program = find("curlftpfs")

    def command(self, mountpoint, folder, options):
        netrc = folder / ".netrc"
        netrc.write_text(f'machine {network.SERVER_ADDRESS} login {servers.USER} password "{servers.PASSWORD}"\n')
        netrc.chmod(0o600)
        return [self.program, "-f", network.SERVER_ADDRESS, mountpoint], {"HOME": str(folder)}

    def version(self):
        return subprocess.run([self.program, "--version"], capture_output=True, text=True).stdout.split("\n")[0]


class Lftp:
    """lftp with what makes it quick: pipelining, and parallel transfers where the row's work allows them."""

    name, is_mount = "lftp", False
    SETTINGS = (
        "set net:timeout 20; set net:max-retries 2; set ftp:sync-mode off; set xfer:clobber on; "
        "set cmd:fail-exit yes; set net:connection-limit 0; set mirror:set-permissions no"
    )

    def __init__(self):
        self.program = find("lftp")

    def run(self, link, row, world, folder, patience):
        """Seconds for the row's line, in a shell of lftp that is logged in."""
        process = subprocess.Popen(
            link.inside(network.CLIENT, [self.program, "--norc"]), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=open(folder / "client.log", "wb"), text=True, start_new_session=True,
            env=environment(HOME=str(folder), TERM="dumb"),
        )
        guard = threading.Timer(patience, process.kill)
        guard.start()
        try:
            user = servers.PASSWORD.replace('"', '\\"')
            encryption = f"set ftp:ssl-force yes; set ftp:ssl-protect-data yes; set ssl:ca-file {servers.authority}; set ssl:check-hostname no"
            self._do(process, f'{self.SETTINGS}\n{encryption if servers.authority else "set ftp:ssl-allow no"}\nopen -u {servers.USER},"{user}" {network.SERVER_ADDRESS}\ncls / > /dev/null')
            link.zero()
            began = time.monotonic()
            self._do(process, row.lftp(world))
            return time.monotonic() - began
        finally:
            guard.cancel()
            process.kill()
            process.wait()

    @staticmethod
    def _do(process, lines):
        process.stdin.write(lines + "\necho it-is-done\n")
        process.stdin.flush()
        while line := process.stdout.readline():
            if line.strip() == "it-is-done":
                return
        raise network.Failed("lftp ended before its work was done")

    def version(self):
        done = subprocess.run([self.program, "--version"], capture_output=True, text=True, env=environment())
        return " ".join(done.stdout.replace("|", "").split()[:3])


class Curl:
    """curl: one process for the whole row, which uses a connection again."""

    name, is_mount = "curl", False

    def __init__(self):
        self.program = find("curl")

    def run(self, link, row, world, folder, patience):
        netrc = folder / "netrc"
        netrc.write_text(f'machine {network.SERVER_ADDRESS} login {servers.USER} password "{servers.PASSWORD}"\n')
        arguments = []
        for word in row.curl(world):
            arguments.append(word)
            if word == "--next":
                arguments += self._common(netrc)
        command = [self.program, *self._common(netrc), *arguments]
        link.zero()
        began = time.monotonic()
        done = subprocess.run(
            link.inside(network.CLIENT, command), capture_output=True, text=True, timeout=patience, env=environment()
        )
        took = time.monotonic() - began
        if done.returncode != 0:
            raise network.Failed(f"curl ended with {done.returncode}: {done.stderr.strip()[-500:]}")
        return took

    @staticmethod
    def _common(netrc):
        encryption = ["--ssl-reqd", "--cacert", str(servers.authority)] if servers.authority else []
        return ["-q", "-sS", "--netrc-file", str(netrc), *encryption]

    def version(self):
        return " ".join(subprocess.run([self.program, "--version"], capture_output=True, text=True).stdout.split()[:2])


PEERS = {"rclone": Rclone, "lftp": Lftp, "curl": Curl, "curlftpfs": Curlftpfs}
