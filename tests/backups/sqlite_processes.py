"""What sqlite.rs runs: several processes that use one database in the mount at once, each with a connection of its own."""

import os
import sqlite3
import sys

PATH, JOURNAL, ORDER = sys.argv[1:4]
PATIENCE = 60


def connect(mapped=False):
    database = sqlite3.connect(PATH, timeout=PATIENCE, isolation_level=None)
    if mapped:
        # Reads go through memory that is shared with the file.
        database.execute("pragma mmap_size = 100000000")
    return database


def count(database, process=None):
    where = "" if process is None else f" where process = {process}"
    return database.execute("select count(*) from entries" + where).fetchone()[0]


def make():
    database = connect()
    journal = database.execute(f"pragma journal_mode = {JOURNAL}").fetchone()[0]
    assert journal == JOURNAL, journal
    database.execute("create table entries (number integer primary key, process integer, text text)")
    return database


def write(process, transactions):
    database = connect()
    for number in range(transactions):
        database.execute("begin immediate")
        for part in range(3):
            database.execute("insert into entries (process, text) values (?, ?)", (process, f"{number} " * 150))
        if number % 5 == 4:
            database.execute("rollback")
        else:
            database.execute("commit")
        # What this process has committed it sees, and nothing of what it has not.
        expected = 3 * (number + 1 - (number + 1) // 5)
        assert count(database, process) == expected, (process, number, count(database, process), expected)
    database.close()


def read(until):
    """Looks again and again, until all is there: the count never falls, and no transaction is seen in part."""
    database, seen = connect(mapped=True), 0
    while seen < until:
        now = count(database)
        assert now >= seen and now % 3 == 0, (seen, now)
        seen = now
    database.close()


def together(processes, transactions):
    """Several write, one reads, and the one that began reads too, all at once."""
    database = make()
    total = processes * 3 * (transactions - transactions // 5)
    jobs = [lambda process=process: write(process, transactions) for process in range(processes)]
    jobs.append(lambda: read(total))
    # SQLite's connections must not be carried over a fork.
    database.close()
    children = []
    for job in jobs:
        child = os.fork()
        if child == 0:
            try:
                job()
            except BaseException as error:
                print(f"{type(error).__name__}: {error}", file=sys.stderr)
                os._exit(1)
            os._exit(0)
        children.append(child)
    database = connect()
    failed = [child for child in children if os.waitpid(child, 0)[1] != 0]
    assert not failed, failed
    assert count(database) == total, (count(database), total)
    assert database.execute("pragma integrity_check").fetchone()[0] == "ok"
    database.close()
    print(total)


def commit_until_it_fails(told):
    """Writes a line into the file `told` for each transaction that the database says is committed."""
    database = make()
    number = 0
    with open(told, "w", buffering=1) as told:
        while True:
            database.execute("begin immediate")
            for part in range(3):
                database.execute("insert into entries (process, text) values (?, ?)", (number, "x" * 2000))
            if number % 3 == 2:
                # Pages in the middle change too, not only those at the end.
                database.execute("update entries set text = 'changed' where process = ?", (number - 2,))
            database.execute("commit")
            told.write(f"{number}\n")
            number += 1


if ORDER == "together":
    together(int(sys.argv[4]), int(sys.argv[5]))
elif ORDER == "commit":
    commit_until_it_fails(sys.argv[4])
else:
    sys.exit(f"no such order: {ORDER}")
