"""Squid of Debian's squid-openssl: with ssl-bump as its documentation sets it up, and as a plain proxy for CONNECT."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.engines.engine import DENIED, ELSEWHERE, Proxy, Site, free_port, process, version_of
from benchmarks.upstream import SECRET

_HELPER = Path("/usr/lib/squid/security_file_certgen")
_MINTING = "generate-host-certificates=on dynamic_cert_mem_cache_size=16MB"
_USER = "proxy"  # who Debian's Squid becomes when root starts it

_BASE = """
visible_hostname bench
pid_filename {folder}/squid.pid
cache_log {folder}/cache.log
access_log daemon:{folder}/access.log squid
logfile_rotate 0
coredump_dir {folder}
hosts_file {folder}/hosts
cache deny all
max_filedescriptors 16384
shutdown_lifetime 0 seconds
acl ours dst 127.0.0.0/8
"""
_PLAIN = """
http_port 127.0.0.1:{port}
http_access allow CONNECT ours
http_access deny all
"""
_BUMP = """
http_port 127.0.0.1:{port} ssl-bump tls-cert={folder}/ca.pem {minting}
sslcrtd_program {helper} -s {folder}/certificates -M 16MB
sslcrtd_children 4 startup=2 idle=1
acl step1 at_step SslBump1
ssl_bump peek step1
ssl_bump bump all
tls_outgoing_options cafile={ca_file}
acl denied urlpath_regex ^{denied}
acl elsewhere dstdomain {elsewhere}
http_access deny denied
http_access deny elsewhere
http_access allow ours
http_access deny all
request_header_access Authorization deny all
request_header_add Authorization "Bearer {secret}" ours
"""


class SquidTunnel:
    """CONNECT alone: nothing is opened."""

    name = "squid-tunnel"
    can = frozenset({"inspect", "handshake", "tunnel", "http2", "end-to-end"})
    config = _BASE + _PLAIN

    def missing(self) -> str | None:
        return None if shutil.which("squid", path=_path()) and _HELPER.exists() else "apt-get install squid-openssl"

    def version(self) -> str:
        return version_of([_squid(), "-v"])

    @contextmanager
    def start(self, site: Site) -> Iterator[Proxy]:
        folder = site.folder / self.name
        folder.mkdir()
        port = free_port()
        names = "".join(f"127.0.0.1 {host}\n" for host in ("localhost", *site.hosts))
        (folder / "hosts").write_text(names)
        self.prepare(folder)
        values = {
            "folder": folder,
            "port": port,
            "helper": _HELPER,
            "minting": _MINTING,
            "ca_file": folder / "upstream-ca.pem",
        }
        (folder / "squid.conf").write_text(
            self.config.format(**values, denied=DENIED, elsewhere=ELSEWHERE, secret=SECRET)
        )
        shutil.copy(site.ca_file, folder / "upstream-ca.pem")
        if os.geteuid() == 0:
            subprocess.run(["chown", "-R", _USER, str(folder)], check=True)
        # A service name of its own, because its shared memory has that name.
        command = [_squid(), "--foreground", "-n", f"b{port}", "-f", str(folder / "squid.conf")]
        with process(command, port, folder / "out.log") as pid:
            ca_file = folder / "ca.crt" if (folder / "ca.crt").exists() else site.ca_file
            yield Proxy(("127.0.0.1", port), ca_file, pid)

    def prepare(self, folder: Path) -> None:
        """What a configuration needs beside itself."""


class Squid(SquidTunnel):
    """ssl-bump, and the secret put in with request_header_add."""

    name = "squid"
    can = frozenset({"inspect", "handshake", "hosts"})
    config = _BASE + _BUMP
    key: tuple[str, ...] = (
        "-newkey",
        "rsa:2048",
    )  # as in Squid's documentation; the certificates of hosts have the CA's key

    def prepare(self, folder: Path) -> None:
        options = ["-nodes", "-days", "30", "-subj", "/CN=bench CA", "-addext", "keyUsage=critical,keyCertSign,cRLSign"]
        files = ["-keyout", str(folder / "ca.key"), "-out", str(folder / "ca.crt")]
        subprocess.run(
            ["openssl", "req", "-new", "-x509", *self.key, *options, *files], check=True, capture_output=True
        )
        (folder / "ca.pem").write_text((folder / "ca.crt").read_text() + (folder / "ca.key").read_text())
        database = [str(_HELPER), "-c", "-s", str(folder / "certificates"), "-M", "16MB"]
        subprocess.run(database, check=True, capture_output=True)


class SquidEcdsa(Squid):
    """As `squid`, with a CA of the kind that Outgate makes: cheaper handshakes than its documentation leads to."""

    name = "squid-ecdsa"
    can = frozenset({"handshake", "hosts"})
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")


def _path() -> str:
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


def _squid() -> str:
    return shutil.which("squid", path=_path()) or "squid"
