"""Loopback ports and a TLS server that demands the card's certificate."""

import contextlib
import pathlib
import socket

from harness import Service, run, wait_until


def free_port():
    """A port of this network namespace, in which nobody else listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def listens(port):
    """True if a TCP server listens, found without connecting to it."""
    wanted = f"0100007F:{port:04X}"
    rows = pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]
    return any(row.split()[1] in (wanted, f"00000000:{port:04X}") and row.split()[3] == "0A" for row in rows)


def server_identity(host):
    """Files of a TLS server's certificate for localhost and of its key."""
    key, certificate = host.directory / "server.key", host.directory / "server.pem"
    if not certificate.exists():
        run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate,
             "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"])
    return certificate, key


@contextlib.contextmanager
def demanding_server(host, name):
    """openssl s_server that answers only clients with a certificate of the authority; its port and log."""
    certificate, key = server_identity(host)
    port = free_port()
    argv = ["openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-cert", certificate, "-key", key,
            "-CAfile", host.authority_ca(), "-Verify", "3", "-verify_return_error", "-www"]
    with Service(f"s_server-{name}", argv, host.directory) as service:
        wait_until(lambda: listens(port), "s_server listens")
        yield port, service
