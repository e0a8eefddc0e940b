"""The daemon under test, its operator, and the desks: terminals with a card, each with a pcscd of its own."""

import contextlib
import json
import os
import pathlib
import secrets

from harness import Failed, Service, Skip, ensure, run, wait_until

PCSC_DRIVERS = pathlib.Path("/usr/lib/pcsc/drivers/serial")


class Host(contextlib.ExitStack):
    """`cardhost serve` on loopback with one user per terminal."""

    def __init__(self, programs, venv, directory):
        super().__init__()
        self.programs, self.venv, self.directory = programs, venv, directory
        self.data = directory / "data"
        self.desks = {}

    def __enter__(self):
        super().__enter__()
        for program in ("cardhost", "cardhost-terminal"):
            ensure((self.programs / program).exists(), f"there is no {self.programs / program}: build it first")
        ensure(os.access("/dev/kvm", os.R_OK | os.W_OK), "/dev/kvm cannot be opened: a card cannot run here")
        serve = [self.programs / "cardhost", "serve", "--data", self.data, "--listen", "127.0.0.1:0"]
        self.service = self.enter_context(Service("cardhost", serve, self.directory))
        self.url = self.service.wait_line("ready https://").split()[-1]
        self.ca = self.directory / "host-ca.pem"
        self.ca.write_text(self.administrator()["ca_pem"])
        return self

    def administrator(self):
        return json.loads((self.data / "admin.json").read_text())

    def operate(self, *words, stdin=None):
        """An operator's command; its JSON."""
        command = [self.programs / "cardhost", *words, "--data", self.data, "--json"]
        return run(command, stdin=stdin)

    def desk(self, name, *keys, secure=False, protocol="apdu-gate"):
        """The desk of that name; made with a card of these (key reference, algorithm) at the first call."""
        if name not in self.desks:
            desk = Desk(self, name, 35963 + 16 * len(self.desks), secure, protocol)
            self.desks[name] = self.enter_context(desk)
            for key, algorithm in keys:
                desk.create(key, algorithm)
            if keys:
                desk.wait_for_card()
        return self.desks[name]

    def authority_ca(self):
        """The file of the authority's CA, which issues the cards' certificates."""
        path = self.directory / "authority-ca.pem"
        if not path.exists():
            found = sorted(self.data.glob("authority/*ca*.pem"))
            ensure(found, "the embedded authority's CA certificate was not found")
            path.write_text(found[0].read_text())
        return path

    def yubikit(self):
        """The Python that has yubikit."""
        python = self.venv / "bin/python"
        if not python.exists():
            raise Skip(f"there is no {python}: tests/run makes it with pip install yubikey-manager")
        return python


class Desk(contextlib.ExitStack):
    """A terminal: user, device, bridge, and a pcscd in a mount namespace of its own, so that it sees one card."""

    def __init__(self, host, name, port, secure, protocol):
        super().__init__()
        self.host, self.name, self.port, self.secure = host, name, port, secure
        self.protocol = protocol
        self.directory = host.directory / name
        self.secrets = {}

    def __enter__(self):
        super().__enter__()
        self.directory.mkdir()
        self._admit()
        self._log_in()
        self._start_pcscd()
        self._start_bridge()
        return self

    def _admit(self):
        password = secrets.token_urlsafe(16)
        self.password_file = self.directory / "password"
        self.password_file.write_text(password + "\n")
        self.password_file.chmod(0o600)
        self.host.operate("user", "set", f"user-{self.name}", "--password-file", self.password_file)
        self.host.operate("terminal", "assign", self.name, "--owner", f"user-{self.name}")

    def _log_in(self):
        self.terminal("login", "--url", self.host.url, "--ca", self.host.ca, "--terminal", self.name,
                      "--user", f"user-{self.name}", "--password-file", self.password_file)

    def _start_pcscd(self):
        readers = self.directory / "reader.conf.d"
        readers.mkdir()
        driver = sorted(PCSC_DRIVERS.glob("libifdvpcd.so*"))
        if not driver:
            raise Skip("missing: vsmartcard-vpcd")
        (readers / "vpcd").write_text(
            'FRIENDLYNAME "Yubico YubiKey OTP+FIDO+CCID"\n'
            f"DEVICENAME /dev/null:{self.port:#x}\nLIBPATH {driver[0]}\nCHANNELID {self.port:#x}\n")
        self._run_pcscd(readers)

    def _run_pcscd(self, readers):
        script = 'mkdir -p /run/pcscd && mount -t tmpfs tmpfs /run/pcscd && exec pcscd -f -c "$1"'
        argv = ["unshare", "--mount", "bash", "-c", script, "pcscd", readers]
        self.pcscd = self.enter_context(Service(f"pcscd-{self.name}", argv, self.host.directory))
        wait_until(lambda: self._pcscd_ended() or self._pcscd_listens(), "pcscd listens")
        ensure(not self._pcscd_ended(), f"pcscd ended:\n{self.pcscd.tail()}")

    def restart_pcscd(self):
        """Ends pcscd and starts another one."""
        self.pcscd.stop()
        self._run_pcscd(self.directory / "reader.conf.d")

    def _pcscd_ended(self):
        return self.pcscd.process.poll() is not None

    def _pcscd_listens(self):
        return os.path.exists(f"/proc/{self.pcscd.process.pid}/root/run/pcscd/pcscd.comm")

    def _start_bridge(self):
        # One reader: a second one would show PIV again, and clients that search all readers would find two keys.
        argv = [*self._terminal(), "--json", "bridge", "--protocol", self.protocol, "--vpcd", f"127.0.0.1:{self.port}"]
        if self.secure:
            argv += ["--secure", "--askpass", self._askpass()]
        self.bridge = self.enter_context(Service(f"bridge-{self.name}", argv, self.host.directory))

    def _askpass(self):
        """A program that says the PIN in a file, as soon as the card's first certificate has brought it."""
        program = self.directory / "askpass"
        program.write_text(f'#!/bin/sh\nwhile [ ! -s "{self.pin_file}" ]; do sleep 0.05; done\ncat "{self.pin_file}"\n')
        program.chmod(0o700)
        return program

    @property
    def pin_file(self):
        """The file of the PIN that the bridge is told."""
        return self.directory / "pin-for-bridge"

    def tell_pin(self, pin):
        """From now on the bridge is told this PIN."""
        aside = self.directory / "pin-aside"
        aside.write_text(pin + "\n")
        aside.rename(self.pin_file)

    def _terminal(self):
        return [self.host.programs / "cardhost-terminal", "--state", self.directory / "state"]

    def terminal(self, *words, **options):
        """A `cardhost-terminal` command."""
        return run([*self._terminal(), *words], **options)

    def run(self, argv, **options):
        """A program that sees this desk's reader."""
        enter = ["nsenter", "--mount", "--target", self.pcscd.process.pid, "--"]
        return run([*enter, *argv], **options)

    def entered(self, argv):
        """The words of a program that sees this desk's reader, for a Service."""
        return ["nsenter", "--mount", "--target", self.pcscd.process.pid, "--", *argv]

    def create(self, key, algorithm, *words):
        """A certificate; the first one brings the card's secrets."""
        file = self.directory / f"secrets-{key}.json"
        self.terminal("certificate", "create", "--key", key, "--algorithm", algorithm,
                      "--subject", f"CN={self.name} {key}", "--secrets-file", file, *words)
        if file.exists():
            self.secrets.update(json.loads(file.read_text()))
            self.tell_pin(self.pin)
        self.certificate(key)

    def certificate(self, key):
        """The file of the certificate of this key, PEM."""
        path = self.directory / f"{key}.pem"
        if not path.exists():
            path.write_text(self.terminal("certificate", "show", key).text)
        return path

    def public_key(self, key):
        """The file of the public key of this certificate, PEM."""
        path = self.directory / f"{key}.pub.pem"
        path.write_bytes(run(["openssl", "x509", "-in", self.certificate(key), "-noout", "-pubkey"]).raw)
        return path

    def wait_for_card(self):
        """Waits until applications see the card."""
        self.bridge.wait_line('"condition":"inserted"')
        wait_until(self.has_card, f"pcscd of {self.name} sees the card")

    def has_card(self):
        """True if the first reader slot holds a card, as OpenSC sees it."""
        lines = self.run(["opensc-tool", "--list-readers"], expect=None).text.splitlines()
        return any(line.startswith("0 ") and " Yes " in line for line in lines)

    @property
    def pin(self):
        return self._secret("pin")

    @property
    def puk(self):
        return self._secret("puk")

    @property
    def management_key(self):
        return self._secret("management_key")

    @property
    def security_domain_keys(self):
        return self._secret("security_domain_keys")

    def _secret(self, name):
        if name not in self.secrets:
            raise Failed(f"the card of {self.name} gave no {name}")
        return self.secrets[name]
