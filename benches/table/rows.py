"""The rows of the table: what is done, how each kind of client does it, and the least time that it can take.

A row's limit is what no client can save: its round trips over the connections that there are, or its bytes over the link.
A transfer that is one round trip for its caller holds its connection for two, for the next data connection has to be
opened; so n transfers that may overlap cost 2 n / connections round trips, and n that each wait for the one before cost n,
or 2 n where there is only one connection.
"""

import os
import random
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import network
import servers

MIB = 1 << 20
BIG = 128 * MIB
HUGE = 4 << 30
SMALL = 8 << 10
PIECE = 4 << 10
FILES = 300
PIECES = 100
AT_ONCE = 8
TREE_FILES = 5000
TREE_INNER = 10
TREE_LEAVES = 200
TREE_DIRECTORIES = 1 + TREE_INNER + TREE_LEAVES
# What listing 5,211 names from the kernel's cache takes a program on the machine of docs/performance.md.
KERNEL_SECONDS_PER_NAME = 11.5e-6
ON_SERVER_DEADLINE = 300

OFFSETS = [index * PIECE for index in random.Random(7).sample(range(HUGE // PIECE), PIECES)]
NAMES = [f"f{number:03}" for number in range(FILES)]
SMALL_GLOB = f"f[000-{FILES - 1:03}]"


def expect(what, found, wanted):
    """A row that did not do its work has no time."""
    if found != wanted:
        raise network.Failed(f"{what}: {found!r} and not {wanted!r}")


def wait_for(what, condition):
    deadline = time.monotonic() + ON_SERVER_DEADLINE
    while not condition():
        if time.monotonic() > deadline:
            raise network.Failed(f"not within {ON_SERVER_DEADLINE} s: {what}")
        time.sleep(0.001)


# ---- what lies on the server -------------------------------------------------------------------------------------------


def make_files(folder, source):
    """Everything that the rows read, below the server's folder; and what they copy in, below `source`."""
    content = random.Random(11)
    tree = folder / "tree"
    for inner in range(TREE_INNER):
        for leaf in range(TREE_LEAVES // TREE_INNER):
            path = tree / f"inner{inner:02}" / f"leaf{leaf:02}"
            path.mkdir(parents=True)
            for number in range(TREE_FILES // TREE_LEAVES):
                (path / f"file{number:02}.txt").write_bytes(b"x" * (100 + number))
    (folder / "big").write_bytes(content.randbytes(BIG))
    with open(folder / "huge", "wb") as huge:
        huge.truncate(HUGE)
        for offset in OFFSETS:
            huge.seek(offset)
            huge.write(content.randbytes(PIECE))
    (folder / "small").mkdir()
    source.mkdir()
    (source / "many").mkdir()
    for name in NAMES:
        (folder / "small" / name).write_bytes(content.randbytes(SMALL))
        (source / "many" / name).write_bytes((folder / "small" / name).read_bytes())
    (source / "one").write_bytes(content.randbytes(BIG))
    for name in ("in", "gone"):
        (folder / name).mkdir()
    # As old as most files are: what was changed a moment ago is read only when it is asked for.
    a_week_ago = time.time() - 7 * 86_400
    for path in folder.rglob("*"):
        os.utime(path, (a_week_ago, a_week_ago))
    servers.give(folder)


def refill(folder, source):
    """Before each run: nothing that a run before has written, and all that it has removed."""
    subprocess.run(["rm", "-rf", folder / "in"], check=True)
    (folder / "in").mkdir()
    subprocess.run(["cp", "-r", f"{source}/many/.", folder / "gone"], check=True)
    for name in ("in", "gone"):
        servers.give(folder / name)


def all_there(folder):
    """Whether each of the small files has arrived in this folder, whole and under its name."""
    try:
        with os.scandir(folder) as entries:
            sizes = {entry.name: entry.stat().st_size for entry in entries}
    except FileNotFoundError:
        # It is only being made, or a file has got its name between the two questions.
        return False
    return sizes == dict.fromkeys(NAMES, SMALL)


def expect_same(folder, source):
    for name in NAMES:
        expect(f"content of {name}", (folder / name).read_bytes() == (source / name).read_bytes(), True)


# ---- how a mount does it -----------------------------------------------------------------------------------------------


def walk(mount):
    found = subprocess.run(["find", mount / "tree", "-printf", "%s %T@\\n"], check=True, capture_output=True)
    return found.stdout.count(b"\n")


def read_big(mount):
    size, buffer = 0, bytearray(MIB)
    with open(mount / "big", "rb", buffering=0) as file:
        while count := file.readinto(buffer):
            size += count
    return size


def read_pieces(mount, at_once):
    with open(mount / "huge", "rb", buffering=0) as file:
        if at_once == 1:
            return [os.pread(file.fileno(), PIECE, offset) for offset in OFFSETS]
        with ThreadPoolExecutor(at_once) as threads:
            return list(threads.map(lambda offset: os.pread(file.fileno(), PIECE, offset), OFFSETS))


def read_small(mount):
    return [(mount / "small" / name).read_bytes() for name in sorted(os.listdir(mount / "small"))]


def write_big(mount, world):
    with open(world.source / "one", "rb", buffering=0) as source, open(mount / "in/one", "wb", buffering=0) as file:
        while piece := source.read(MIB):
            file.write(piece)
    wait_for("the file on the server", lambda: one_there(world.folder))


def one_there(folder):
    path = folder / "in/one"
    return path.exists() and path.stat().st_size == BIG


def copy_in(mount, world, folder="in"):
    for name in NAMES:
        with open(mount / folder / name, "xb", buffering=0) as file:
            file.write((world.source / "many" / name).read_bytes())


def copy_in_confirmed(mount, world):
    copy_in(mount, world)
    # All of it has to be there the moment that the last close() has returned; if not, that is said.
    if not all_there(world.folder / "in"):
        world.remarks.append("close() returned before the server had the file")
        wait_for("the files on the server", lambda: all_there(world.folder / "in"))


def copy_in_and_wait(mount, world):
    copy_in(mount, world)
    wait_for("the files on the server", lambda: all_there(world.folder / "in"))


def remove(mount):
    for name in sorted(os.listdir(mount / "gone")):
        os.unlink(mount / "gone" / name)


# ---- the rows ----------------------------------------------------------------------------------------------------------


@dataclass
class World:
    """What a run works on."""

    folder: Path
    source: Path
    scratch: Path
    remarks: list = field(default_factory=list)


@dataclass
class Row:
    """A piece of work; `None` for a kind of client that cannot do it."""

    key: str
    short: str
    title: str
    # RTT in seconds, bytes per second, connections: to seconds.
    limit: object
    why: str
    # Of a mount: (mountpoint, world) to a value; the same before the clock starts.
    mount: object
    before: object = None
    # Of a value and the world: raises where the work was not done.
    check: object = lambda value, world: None
    # Lines for lftp, and curl's arguments: of the world.
    lftp: object = None
    curl: object = None
    # More options of mounts, by client.
    options: dict = field(default_factory=dict)
    bound: str = "round trips"


def link_seconds(size):
    return lambda rtt, rate, connections: size / rate


def overlapping(count, ahead=0, size=0):
    return lambda rtt, rate, connections: max((2 * count / connections + ahead) * rtt, size / rate)


def serial(count, ahead=0, size=0):
    return lambda rtt, rate, connections: max((count * max(1, 2 / connections) + ahead) * rtt, size / rate)


def url(path):
    return f"ftp://{network.SERVER_ADDRESS}/{path}"


def curl_pieces(world):
    arguments = []
    for offset in OFFSETS:
        arguments += ["--next"] if arguments else []
        arguments += ["-r", f"{offset}-{offset + PIECE - 1}", "-o", "/dev/null", url("huge")]
    return arguments


def check_pieces(value, world):
    with open(world.folder / "huge", "rb") as file:
        for offset, piece in zip(OFFSETS, value):
            file.seek(offset)
            expect(f"bytes at {offset}", piece == file.read(PIECE), True)


def check_small(value, world):
    for name, content in zip(NAMES, value, strict=True):
        expect(f"content of {name}", content == (world.folder / "small" / name).read_bytes(), True)


ROWS = [
    Row(
        "walk", "walk 5,211 names", "walk a tree of 211 directories and 5,000 files, stat of each",
        overlapping(TREE_LEAVES), "the 200 directories that have the files, two round trips of a connection each",
        mount=lambda mount, world: walk(mount),
        check=lambda value, world: value is None or expect("names", value, TREE_DIRECTORIES + TREE_FILES),
        lftp=lambda world: "find -l /tree > /dev/null",
    ),
    Row(
        "rewalk", "walk them again", "walk it again",
        lambda rtt, rate, connections: (TREE_DIRECTORIES + TREE_FILES) * KERNEL_SECONDS_PER_NAME,
        "no round trip: the time of the kernel and of find",
        before=lambda mount, world: walk(mount), mount=lambda mount, world: walk(mount),
        check=lambda value, world: expect("names", value, TREE_DIRECTORIES + TREE_FILES), bound="kernel",
    ),
    Row(
        "read", "read 128 MiB", "read 128 MiB in order", link_seconds(BIG), "the bytes over the link",
        mount=lambda mount, world: read_big(mount),
        check=lambda value, world: value is None or expect("bytes", value, BIG),
        lftp=lambda world: "cat /big > /dev/null", curl=lambda world: ["-o", "/dev/null", url("big")], bound="link",
    ),
    Row(
        "random", "100 random reads", "100 random reads of 4 KiB in a file of 4 GiB, one at a time",
        serial(PIECES, 5), "a round trip each, and five to begin",
        mount=lambda mount, world: read_pieces(mount, 1),
        check=lambda value, world: value is None or check_pieces(value, world), curl=curl_pieces,
    ),
    Row(
        "random8", "the same, 8 at a time", "the same, 8 at a time",
        overlapping(PIECES, 2), "two round trips of a connection each, and two to begin",
        mount=lambda mount, world: read_pieces(mount, AT_ONCE),
        check=lambda value, world: value is None or check_pieces(value, world),
        curl=lambda world: ["-Z", "--parallel-max", "8", *curl_pieces(world)],
    ),
    Row(
        "small", "read 300 small files", "read 300 files of 8 KiB, one after another",
        overlapping(FILES, 0, FILES * SMALL), "fetched ahead: two round trips of a connection each",
        mount=lambda mount, world: read_small(mount),
        check=lambda value, world: value is None or check_small(value, world),
        lftp=lambda world: f"mirror --parallel=8 /small {world.scratch}/small",
        curl=lambda world: ["-Z", "--parallel-max", "8", "-o", f"{world.scratch}/#1", url(f"small/f[000-{FILES - 1:03}]")],
    ),
    Row(
        "write", "write 128 MiB", "write 128 MiB, until the server has it", link_seconds(BIG), "the bytes over the link",
        mount=write_big, check=lambda value, world: expect("on the server", one_there(world.folder), True),
        lftp=lambda world: f"put {world.source}/one -o /in/one",
        curl=lambda world: ["-T", f"{world.source}/one", url("in/one")], bound="link",
    ),
    Row(
        "copy", "copy 300 files, confirmed", "copy 300 files of 8 KiB in, each close() confirmed",
        serial(FILES, 10, FILES * SMALL), "a round trip each, and ten to begin",
        mount=copy_in_confirmed,
        check=lambda value, world: expect_same(world.folder / "in", world.source / "many"),
        lftp=lambda world: f"mput -O /in {world.source}/many/*",
        curl=lambda world: ["-T", f"{world.source}/many/{SMALL_GLOB}", url("in/")],
    ),
    Row(
        "journal", "copy 300 files, journal", "the same with --durability=journal, until the server has all",
        overlapping(FILES, 0, FILES * SMALL), "two round trips of a connection each",
        mount=copy_in_and_wait,
        check=lambda value, world: expect_same(world.folder / "in", world.source / "many"),
        lftp=lambda world: f"mirror -R --parallel=8 {world.source}/many /in",
        curl=None,
        options={
            "ftpfs": ["--durability=journal"],
            "rclone": ["--vfs-cache-mode", "writes", "--vfs-write-back", "0s", "--transfers", "8"],
        },
    ),
    Row(
        "remove", "remove 300 files", "remove 300 files",
        lambda rtt, rate, connections: FILES * rtt, "a round trip each",
        mount=lambda mount, world: remove(mount),
        check=lambda value, world: expect("files that are left", len(os.listdir(world.folder / "gone")), 0),
        lftp=lambda world: "mrm /gone/*",
        curl=lambda world: ["-o", "/dev/null", "-l", url(""), *(word for name in NAMES for word in ("-Q", f"-DELE gone/{name}"))],
    ),
]


def chosen(keys):
    """The rows with these keys, in the table's order."""
    unknown = set(keys) - {row.key for row in ROWS}
    if unknown:
        raise network.Failed(f"no such row: {', '.join(sorted(unknown))}; there are {', '.join(row.key for row in ROWS)}")
    return [row for row in ROWS if not keys or row.key in keys]
