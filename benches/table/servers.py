"""The servers of the measurement: unpacked by scripts/servers, with one account over a folder in memory.

The same settings as in the tests (tests/support/servers.rs), on port 21 of the far side of the link.
"""

import os
import shutil
import subprocess
import time
from pathlib import Path

import network

USER = "tester"
PASSWORD = "right #1 p@ss"
# The same as crypt(3) keeps it.
PASSWORD_HASH = "$6$ftpfstests$9aPpIi80hpA4LtSfNelP4mYIg8ibVtlbZzMwXXjkCD2fOdooNpYg4IuWUNpcRuwNZuuekQw69JQPWA62p.DQD1"
# nobody, in Debian.
SERVER_UID = 65534
# The certificate that clients are to trust, where all is encrypted.
authority = None
KINDS = ("proftpd", "vsftpd", "pure-ftpd")
START_DEADLINE = 20


class Server:
    """A server that listens on the far side of the link until `close`; `folder` is the account's root."""

    def __init__(self, kind, link, home, tls=False, rate_each=None):
        """`rate_each`: KiB a second for each download."""
        self.kind, self.home, self.folder, self.rate_each = kind, home, home / "files", rate_each
        if rate_each and kind == "pure-ftpd":
            raise network.Failed("Pure-FTPd shares its limit out in a way of its own: --rate-each is for the others")
        self.key = self._certificate() if tls else None
        self.tree = network.target() / "servers/tree"
        self.folder.mkdir()
        home.chmod(0o711)
        os.chown(self.folder, SERVER_UID, SERVER_UID)
        self.libraries = network.libraries(self.tree)
        command = {"proftpd": self._proftpd, "vsftpd": self._vsftpd, "pure-ftpd": self._pure_ftpd}[kind]()
        # The first three fork a process for each client: all of them end with the first process of their PID namespace. What
        # is mounted when the namespace begins would stay mounted there; so no server is to see the mounts of others.
        script = 'umount -a -l -t fuse.ftpfs,fuse.rclone; "$@" & wait'
        command = ["unshare", "--mount", "--pid", "--kill-child=KILL", "sh", "-c", script, "sh", *command]
        environment = {"PATH": os.environ["PATH"], "LD_LIBRARY_PATH": self.libraries, "LC_ALL": "C", "TZ": "UTC"}
        self.log = home / "server.log"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                link.inside(network.SERVER, command), stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/",
                env=environment, start_new_session=True,
            )
        self._wait(link)

    def _wait(self, link):
        probe = f"import socket; socket.create_connection(('{network.SERVER_ADDRESS}', 21), 1).recv(1)"
        deadline = time.monotonic() + START_DEADLINE
        while subprocess.run(link.inside(network.SERVER, ["python3", "-c", probe]), capture_output=True).returncode != 0:
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise network.Failed(f"{self.kind} does not listen: {self.log.read_text(errors='replace')}")
            time.sleep(0.05)

    def version(self):
        """As its package names it."""
        package = {"proftpd": "proftpd-core"}.get(self.kind, self.kind)
        for file in (network.target() / "servers/packages").glob(f"{package}_*.deb"):
            return f"{self.kind} {file.name.split('_')[1].replace('%3a', ':')}"
        return self.kind

    def close(self):
        self.process.kill()
        self.process.wait()

    def _certificate(self):
        """A certificate of the server's address and its key, in files."""
        global authority
        authority, key = self.home / "certificate.pem", self.home / "key.pem"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
             "-subj", "/CN=far", "-addext", f"subjectAltName=IP:{network.SERVER_ADDRESS}", "-keyout", key, "-out", authority],
            check=True, capture_output=True,
        )
        return key

    def _users(self, line):
        path = self.home / "users"
        path.write_text(line + "\n")
        path.chmod(0o600)
        return path

    def _proftpd(self):
        users = self._users(f"{USER}:{PASSWORD_HASH}:{SERVER_UID}:{SERVER_UID}::{self.folder}:/bin/sh")
        configuration = self.home / "proftpd.conf"
        configuration.write_text(
            f"ServerType standalone\nDefaultAddress {network.SERVER_ADDRESS}\nUseIPv6 off\nPort 21\nUser nobody\nGroup nogroup\n"
            f"ModulePath {self.tree}/usr/lib/proftpd\nLoadModule mod_site_misc.c\n"
            f"AuthOrder mod_auth_file.c\nAuthUserFile {users}\nRequireValidShell off\nDefaultRoot ~\nUmask 022\n"
            "UseReverseDNS off\nWtmpLog off\nTransferLog none\nAllowOverwrite on\nMaxInstances 60\n"
            f"SystemLog {self.home}/proftpd.log\nScoreboardFile {self.home}/scoreboard\nPidFile {self.home}/pid\nDelayEngine off\n"
            + (f"TransferRate RETR {self.rate_each}\n" if self.rate_each else "")
            + ("" if not self.key else
               "LoadModule mod_tls.c\nTLSEngine on\nTLSRequired on\nTLSProtocol TLSv1.2 TLSv1.3\n"
               f"TLSECCertificateFile {authority}\nTLSECCertificateKeyFile {self.key}\nTLSLog {self.home}/tls.log\n")
        )
        return [self.tree / "usr/sbin/proftpd", "--nodaemon", "--config", configuration]

    def _pure_ftpd(self):
        users = self._users(f"{USER}:{PASSWORD_HASH}:{SERVER_UID}:{SERVER_UID}::{self.folder}/./::::::::::::")
        database = self.home / "users.pdb"
        subprocess.run(
            [self.tree / "usr/bin/pure-pw", "mkdb", database, "-f", users], check=True,
            env={"LD_LIBRARY_PATH": self.libraries},
        )
        return [
            self.tree / "usr/sbin/pure-ftpd", "-4", "-A", "-E", "-H", "-f", "none", "-U", "133:022", "-u", "100",
            "-L", "200000:10", "-S", f"{network.SERVER_ADDRESS},21", "-l", f"puredb:{database}", "-g", self.home / "pid",
            *(["-Y", "3", "-2", self._both()] if self.key else []),
        ]

    def _both(self):
        """Certificate and key in one file, as Pure-FTPd wants them."""
        both = self.home / "both.pem"
        both.write_text(self.key.read_text() + authority.read_text())
        both.chmod(0o600)
        return both

    def _vsftpd(self):
        """vsftpd asks PAM and the list of users: private mounts put ours in the place of both."""
        pam = self.home / "pam.d"
        pam.mkdir()
        (pam / "ftpfs").write_text("auth required pam_unix.so\naccount required pam_permit.so\n")
        shadow = self.home / "shadow"
        shadow.write_text(f"{USER}:{PASSWORD_HASH}:19000:0:99999:7:::\n")
        shadow.chmod(0o600)
        users = self.home / "passwd"
        users.write_text(Path("/etc/passwd").read_text() + f"{USER}:x:{SERVER_UID}:{SERVER_UID}::{self.folder}:/bin/sh\n")
        configuration = self.home / "vsftpd.conf"
        configuration.write_text(
            f"listen=YES\nlisten_address={network.SERVER_ADDRESS}\nlisten_port=21\nbackground=NO\n"
            "anonymous_enable=NO\nlocal_enable=YES\npam_service_name=ftpfs\nchroot_local_user=YES\nallow_writeable_chroot=YES\n"
            f"write_enable=YES\nlocal_umask=022\nsecure_chroot_dir={pam}\nxferlog_enable=NO\n"
            "delay_failed_login=0\nmax_login_fails=3\n"
            + (f"local_max_rate={self.rate_each << 10}\n" if self.rate_each else "")
            + ("" if not self.key else
               "ssl_enable=YES\nssl_tlsv1=YES\nssl_sslv2=NO\nssl_sslv3=NO\nssl_ciphers=DEFAULT\nrequire_ssl_reuse=YES\n"
               f"strict_ssl_read_eof=YES\nrsa_cert_file={authority}\nrsa_private_key_file={self.key}\n")
        )
        script = (
            'mount --bind "$0" /etc/pam.d && mount --bind "$1" /etc/passwd && mount --bind "$2" /etc/shadow && '
            'shift 2 && exec "$@"'
        )
        return ["sh", "-c", script, pam, users, shadow, self.tree / "usr/sbin/vsftpd", configuration]


def give(path):
    """Makes all below `path` the server's own."""
    for folder, _, files in os.walk(path):
        os.chown(folder, SERVER_UID, SERVER_UID)
        for name in files:
            os.chown(os.path.join(folder, name), SERVER_UID, SERVER_UID)


def is_there(kind):
    """Whether the server was unpacked."""
    return shutil.which(str(network.target() / "servers/tree/usr/sbin" / kind)) is not None
