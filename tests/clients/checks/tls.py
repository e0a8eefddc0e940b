"""Mutual TLS with the card's key: curl, gnutls-cli, NSS."""

from harness import Service, check, library, run

from .cards import ec, rsa
from .network import demanding_server, server_identity

MODULE = "/usr/lib/*/opensc-pkcs11.so"
ENGINE = "/usr/lib/*/engines-3/pkcs11.so"
REQUEST = "GET / HTTP/1.0\r\n\r\n"


@check("curl-mtls-ec", "curl", "openssl", MODULE, ENGINE)
def curl_mtls_ec(host):
    """curl --engine pkcs11: mutual TLS with 9A, elliptic"""
    curl(ec(host))


@check("curl-mtls-rsa", "curl", "openssl", MODULE, ENGINE)
def curl_mtls_rsa(host):
    """curl --engine pkcs11: mutual TLS with 9A, RSA"""
    curl(rsa(host))


def curl(desk):
    with demanding_server(desk.host, f"curl-{desk.name}") as (port, _):
        certificate, _ = server_identity(desk.host)
        argv = ["curl", "--silent", "--show-error", "--fail", "--engine", "pkcs11", "--cacert", certificate,
                "--cert", desk.certificate("9A"), "--key-type", "ENG",
                "--key", f"pkcs11:id=%01;type=private?pin-value={desk.pin}", f"https://localhost:{port}/"]
        answer = desk.run(argv, env={"PKCS11_MODULE_PATH": library(MODULE)})
        answer.must_say("Client certificate", f"{desk.name} 9A")


@check("gnutls-mtls-ec", "gnutls-cli", "openssl", MODULE)
def gnutls_mtls_ec(host):
    """gnutls-cli: mutual TLS with 9A, elliptic"""
    gnutls(ec(host))


@check("gnutls-mtls-rsa", "gnutls-cli", "openssl", MODULE)
def gnutls_mtls_rsa(host):
    """gnutls-cli: mutual TLS with 9A, RSA"""
    gnutls(rsa(host))


def gnutls(desk):
    with demanding_server(desk.host, f"gnutls-{desk.name}") as (port, _):
        certificate, _ = server_identity(desk.host)
        argv = ["gnutls-cli", "--provider", library(MODULE), "--x509cafile", certificate,
                "--x509certfile", desk.certificate("9A"),
                "--x509keyfile", "pkcs11:id=%01;type=private", "--port", port, "localhost"]
        answer = desk.run(argv, stdin=REQUEST, env={"GNUTLS_PIN": desk.pin})
        answer.must_say("Client certificate", f"{desk.name} 9A")


@check("nss-mtls-ec", "tstclnt", "modutil", "certutil", "openssl", MODULE)
def nss_mtls_ec(host):
    """NSS tstclnt: mutual TLS with 9A, elliptic"""
    nss(ec(host))


@check("nss-mtls-rsa", "tstclnt", "modutil", "certutil", "openssl", MODULE)
def nss_mtls_rsa(host):
    """NSS tstclnt: mutual TLS with 9A, RSA"""
    nss(rsa(host))


def nss(desk):
    database = nss_database(desk)
    with demanding_server(desk.host, f"nss-{desk.name}") as (port, _):
        # OpenSC names the token by the certificate of 9A, NSS the certificate by token and label.
        nickname = f"{desk.name} 9A:Certificate for PIV Authentication"
        request = desk.directory / "nss-request"
        request.write_text(REQUEST)
        argv = ["tstclnt", "-h", "127.0.0.1", "-p", port, "-d", database, "-n", nickname,
                "-W", desk.directory / "nss-pin", "-A", request, "-o"]
        # tstclnt does not end when the server closes the connection.
        with Service(f"tstclnt-{desk.name}", desk.entered(argv), desk.host.directory) as client:
            client.wait_line("Client certificate")
            client.wait_line(f"{desk.name} 9A")


def nss_database(desk):
    """The name of an NSS database with OpenSC's module."""
    directory = desk.directory / "nss"
    database = f"sql:{directory}"
    (desk.directory / "nss-pin").write_text(desk.pin + "\n")
    if not directory.exists():
        directory.mkdir()
        run(["certutil", "-N", "-d", database, "--empty-password"])
        desk.run(["modutil", "-dbdir", database, "-force", "-add", "card", "-libfile", library(MODULE)])
    return database
