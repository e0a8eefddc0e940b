"""Yubico's clients: yubico-piv-tool, its PKCS#11 module, and yubikit from PyPI."""

import pathlib

from harness import check, library, run

from .cards import ec, lab, rsa

MODULE = "/usr/lib/*/libykcs11.so*"
SCRIPTS = pathlib.Path(__file__).resolve().parent.parent / "scripts"


@check("ykcs11-test-ec", "pkcs11-tool", "pcscd", MODULE)
def ykcs11_test_ec(host):
    """pkcs11-tool --test over ykcs11, elliptic keys"""
    test(ec(host))


@check("ykcs11-test-rsa", "pkcs11-tool", "pcscd", MODULE)
def ykcs11_test_rsa(host):
    """pkcs11-tool --test over ykcs11, RSA keys"""
    test(rsa(host))


def test(desk):
    words = ["--module", library(MODULE), "--login", "--pin", desk.pin, "--test"]
    desk.run(["pkcs11-tool", *words]).must_say("No errors")


@check("yubikit-piv", "pcscd")
def yubikit_piv(host):
    """yubikit PivSession: keys, certificates, signatures, decryption, PIN, PUK, management key"""
    desk = lab(host)
    argv = [host.yubikit(), SCRIPTS / "piv_session.py"]
    secrets = {"PIN": desk.pin, "PUK": desk.puk, "MANAGEMENT_KEY": desk.management_key}
    desk.run(argv, env=secrets).must_say("all done")


@check("yubikit-security-domain", "pcscd")
def yubikit_security_domain(host):
    """yubikit SecurityDomainSession: SCP03 and SCP11a/b/c, keys, certificates, allowlist, content, PIV within channels"""
    desk = host.desk("domain", ("9E", "P-256"))
    argv = [host.yubikit(), SCRIPTS / "security_domain.py"]
    secrets = {"PIN": desk.pin, "MANAGEMENT_KEY": desk.management_key, "SECURITY_DOMAIN_KEYS": desk.security_domain_keys}
    desk.run(argv, env=secrets).must_say("all done")


@check("yubico-piv-tool", "yubico-piv-tool", "pcscd")
def yubico_piv_tool(host):
    """yubico-piv-tool: generate, import a certificate, test-signature, test-decipher"""
    desk = lab(host)
    key = triple_des_key(host, desk)
    tool = ["yubico-piv-tool", "--reader", "Yubi"]
    desk.run([*tool, "--action", "version"])
    desk.run([*tool, "--action", "status"])
    for slot, algorithm, test in (("9a", "ECCP256", "signature"), ("9c", "RSA2048", "signature"),
                                  ("9d", "RSA2048", "decipher")):
        public, certificate = desk.directory / f"yubico-{slot}.pub", desk.directory / f"yubico-{slot}.pem"
        desk.run([*tool, f"--key={key}", "--action", "generate", "--slot", slot, "--algorithm", algorithm,
                  "--output", public])
        certify(desk, public, certificate)
        desk.run([*tool, f"--key={key}", "--action", "import-certificate", "--slot", slot, "--input", certificate])
        desk.run([*tool, "--action", "verify-pin", "--pin", desk.pin, "--action", f"test-{test}", "--slot", slot,
                  "--input", certificate]).must_say("Successful")
        desk.run([*tool, f"--key={key}", "--action", "delete-certificate", "--slot", slot])


def triple_des_key(host, desk):
    """yubico-piv-tool 2.2 knows 3DES only: the management key becomes one."""
    if "triple_des_key" not in desk.secrets:
        argv = [host.yubikit(), SCRIPTS / "triple_des_key.py"]
        key = desk.run(argv, env={"MANAGEMENT_KEY": desk.management_key}).text.split()[-1]
        desk.secrets["triple_des_key"] = key
    return desk.secrets["triple_des_key"]


def certify(desk, public, certificate):
    """A certificate for a key of which there is only the public part."""
    authority = desk.directory / "yubico-ca.key"
    if not authority.exists():
        run(["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", authority])
    run(["openssl", "x509", "-new", "-force_pubkey", public, "-signkey", authority, "-subj", "/CN=yubico-piv-tool",
         "-days", "2", "-out", certificate])
