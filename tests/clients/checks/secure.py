"""The same clients through `bridge --secure`: they notice nothing, and nobody between bridge and card sees anything."""

import json

from harness import Failed, check, ensure, wait_until

from . import opensc, ssh, yubico

MODULE = opensc.MODULE


def paired(host):
    """A card behind a secure bridge."""
    return host.desk("paired", ("9A", "P-256"), ("9C", "P-384"), ("9D", "P-256"), ("9E", "P-256"), secure=True)


def pairings(desk, *words):
    """What the operator is told of the card's pairings."""
    return json.loads(desk.host.operate("card", "pairings", desk.name, *words).text)


@check("secure-opensc", "pkcs11-tool", "pcscd", MODULE)
def secure_opensc(host):
    """pkcs11-tool --test over OpenSC through a paired bridge"""
    desk = paired(host)
    opensc.test(desk)
    ensure(len(pairings(desk)["pairings"]) == 1, "the card is not paired with its one terminal")


@check("secure-ssh", "ssh", "/usr/sbin/sshd", MODULE)
def secure_ssh(host):
    """ssh -I logs in through a paired bridge"""
    ssh.log_in(paired(host), "ecdsa-sha2-nistp256")


@check("secure-yubikit-piv", "pcscd")
def secure_yubikit_piv(host):
    """yubikit PivSession through a paired bridge"""
    desk = host.desk("paired-lab", ("9E", "P-256"), secure=True)
    secrets = {"PIN": desk.pin, "PUK": desk.puk, "MANAGEMENT_KEY": desk.management_key}
    desk.run([host.yubikit(), yubico.SCRIPTS / "piv_session.py"], env=secrets).must_say("all done")


@check("secure-yubikit-domain", "pcscd")
def secure_yubikit_domain(host):
    """yubikit SecurityDomainSession, with SCP03 and SCP11 of their own, through a paired bridge"""
    desk = host.desk("paired-lab", ("9E", "P-256"), secure=True)
    secrets = {"PIN": desk.pin, "MANAGEMENT_KEY": desk.management_key,
               "SECURITY_DOMAIN_KEYS": desk.security_domain_keys}
    desk.run([host.yubikit(), yubico.SCRIPTS / "security_domain.py"], env=secrets).must_say("all done")


@check("secure-paired-again", "pkcs11-tool", "pcscd", MODULE)
def secure_paired_again(host):
    """a pairing that the operator deletes is made again by itself; a wrong PIN costs one try and keeps the card out"""
    desk = paired(host)
    ensure(pairings(desk, "--revoke-all")["pairings"] == [], "a pairing is left")
    wait_until(lambda: logs_in(desk), "the card is paired again")
    ensure(len(pairings(desk)["pairings"]) == 1, "the card is not paired again")
    desk.tell_pin("00000000")
    mark = desk.bridge.mark()
    pairings(desk, "--revoke-all")
    logs_in(desk)
    line = desk.bridge.wait_line('"condition":"unpaired"', after=mark)
    ensure("tries remain" in line, f"the reason is missing: {line}")
    ensure(not desk.has_card(), "a card that is not paired is shown")
    ensure(pairings(desk)["pairings"] == [], "a wrong PIN has paired")


def logs_in(desk):
    """True if OpenSC logs in with the PIN."""
    try:
        opensc.pkcs11(desk, "--login", "--pin", desk.pin, "--list-objects", "--type", "privkey")
    except Failed:
        return False
    return True
