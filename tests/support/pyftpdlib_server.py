"""The pyftpdlib server of the tests: one account, all permissions. Started by servers.rs with its settings as JSON."""

import json
import os
import sys
import warnings

# What Python would import when it is first needed, which may be where only root can read.
import _strptime  # noqa: F401
import encodings.idna  # noqa: F401

warnings.simplefilter("ignore")

from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.handlers import FTPHandler, TLS_FTPHandler
from pyftpdlib.servers import FTPServer

settings = json.loads(sys.argv[1])

# Root opens what it likes; the tests want a server that can be refused.
if os.getuid() == 0:
    os.setgroups([])
    os.setgid(settings["uid"])
    os.setuid(settings["uid"])
os.umask(0o022)

authorizer = DummyAuthorizer()
authorizer.add_user(settings["user"], settings["password"], settings["folder"], perm="elradfmwMT")


if settings["certificate"]:
    class Handler(TLS_FTPHandler):
        certfile = settings["certificate"]
        tls_control_required = True
        tls_data_required = True
else:
    class Handler(FTPHandler):
        pass


Handler.authorizer = authorizer
# Half a second of waiting for every wrong password would be half a second for the test too.
Handler.auth_failed_timeout = 0
if settings["idle_seconds"]:
    Handler.timeout = settings["idle_seconds"]

server = FTPServer((settings["host"], settings["port"]), Handler)
if settings["connections_max"]:
    server.max_cons_per_ip = settings["connections_max"]
# Left to itself its loop can sleep for ever instead of not at all, and then forgets its timeouts.
server.serve_forever(timeout=0.2)
