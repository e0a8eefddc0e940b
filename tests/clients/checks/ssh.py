"""OpenSSH: log in with a key of the card."""

import getpass
import os

from harness import Service, check, library, run, wait_until

from .cards import ec, rsa
from .network import free_port, listens

MODULE = "/usr/lib/*/opensc-pkcs11.so"


@check("ssh-ec", "ssh", "/usr/sbin/sshd", MODULE)
def ssh_ec(host):
    """ssh -I logs in with the card's elliptic key"""
    log_in(ec(host), "ecdsa-sha2-nistp256")


@check("ssh-rsa", "ssh", "/usr/sbin/sshd", MODULE)
def ssh_rsa(host):
    """ssh -I logs in with the card's RSA key"""
    log_in(rsa(host), "ssh-rsa")


def log_in(desk, kind):
    directory = desk.directory / "ssh"
    directory.mkdir(mode=0o700, exist_ok=True)
    keys = desk.run(["ssh-keygen", "-D", library(MODULE)]).text.splitlines()
    (directory / "authorized_keys").write_text(next(line for line in keys if line.startswith(kind)) + "\n")
    port = free_port()
    with Service("sshd-" + desk.name, server(directory, port), desk.host.directory):
        wait_until(lambda: listens(port), "sshd listens")
        client = ["ssh", "-F", "none", "-I", library(MODULE), "-p", port, "-l", getpass.getuser(),
                  "-o", "StrictHostKeyChecking=no", "-o", f"UserKnownHostsFile={directory}/known_hosts",
                  "-o", "IdentitiesOnly=no", "-o", "IdentityAgent=none", "-o", "PreferredAuthentications=publickey",
                  "127.0.0.1", "echo", "logged-in-by-card"]
        desk.run(client, env=askpass(desk, directory)).must_say("logged-in-by-card")


def server(directory, port):
    os.makedirs("/run/sshd", mode=0o755, exist_ok=True)
    host_key = directory / "host_key"
    if not host_key.exists():
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", host_key])
    return ["/usr/sbin/sshd", "-D", "-e", "-f", "/dev/null", "-p", port, "-o", "ListenAddress=127.0.0.1",
            "-o", f"HostKey={host_key}", "-o", f"AuthorizedKeysFile={directory}/authorized_keys",
            "-o", "StrictModes=no", "-o", "UsePAM=no", "-o", "PidFile=none", "-o", "PermitRootLogin=yes"]


def askpass(desk, directory):
    program = directory / "askpass"
    program.write_text('#!/bin/sh\nprintf "%s\\n" "$CARD_PIN"\n')
    program.chmod(0o700)
    return {"SSH_ASKPASS": program, "SSH_ASKPASS_REQUIRE": "force", "DISPLAY": "", "CARD_PIN": desk.pin}
