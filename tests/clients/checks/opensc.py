"""OpenSC: pkcs11-tool, pkcs15-tool."""

from harness import check, ensure, library, run

from .cards import ec, lab, rsa

MODULE = "/usr/lib/*/opensc-pkcs11.so"
# OpenSC's ids of the PIV keys.
ID = {"9A": "01", "9C": "02", "9D": "03", "9E": "04"}


def pkcs11(desk, *words, **options):
    """pkcs11-tool over OpenSC's module."""
    return desk.run(["pkcs11-tool", "--module", library(MODULE), *words], **options)


@check("pkcs11-test-ec", "pkcs11-tool", "pcscd", MODULE)
def pkcs11_test_ec(host):
    """pkcs11-tool --test over OpenSC, elliptic keys"""
    test(ec(host))


@check("pkcs11-test-rsa", "pkcs11-tool", "pcscd", MODULE)
def pkcs11_test_rsa(host):
    """pkcs11-tool --test over OpenSC, RSA keys"""
    test(rsa(host))


def test(desk):
    pkcs11(desk, "--login", "--pin", desk.pin, "--test").must_say("No errors")


@check("sign-rsa", "pkcs11-tool", "pcscd", MODULE)
def sign_rsa(host):
    """RSA signature by 9C, verified by openssl"""
    sign(rsa(host), "9C", "SHA256-RSA-PKCS", "sha256")


@check("sign-ec", "pkcs11-tool", "pcscd", MODULE)
def sign_ec(host):
    """ECDSA signatures by 9A and 9C, verified by openssl"""
    sign(ec(host), "9A", "ECDSA-SHA256", "sha256", "--signature-format", "openssl")
    sign(ec(host), "9C", "ECDSA-SHA384", "sha384", "--signature-format", "openssl")


def sign(desk, key, mechanism, digest, *words):
    data, signature = desk.directory / "data", desk.directory / f"{key}.signature"
    data.write_bytes(b"to be signed " * 100)
    pkcs11(desk, "--login", "--pin", desk.pin, "--sign", "--mechanism", mechanism, "--id", ID[key],
           "--input-file", data, "--output-file", signature, *words)
    verify = ["openssl", "dgst", f"-{digest}", "-verify", desk.public_key(key), "-signature", signature, data]
    run(verify).must_say("Verified OK")


@check("ecdh", "pkcs11-tool", "pcscd", MODULE)
def ecdh(host):
    """ECDH on 9D gives the secret that openssl gives"""
    desk = ec(host)
    peer, public = desk.directory / "peer.pem", desk.directory / "peer.der"
    run(["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", peer])
    run(["openssl", "pkey", "-in", peer, "-pubout", "-outform", "DER", "-out", public])
    ours, theirs = desk.directory / "ours.bin", desk.directory / "theirs.bin"
    pkcs11(desk, "--login", "--pin", desk.pin, "--derive", "--mechanism", "ECDH1-COFACTOR-DERIVE", "--id", ID["9D"],
           "--input-file", public, "--output-file", ours)
    run(["openssl", "pkeyutl", "-derive", "-inkey", peer, "-peerkey", desk.public_key("9D"), "-out", theirs])
    ensure(ours.read_bytes() == theirs.read_bytes() != b"", "the two secrets differ")


@check("pin-and-puk", "pkcs15-tool", "pcscd", MODULE)
def pin_and_puk(host):
    """change the PIN, block it, unblock it by the PUK"""
    desk = lab(host)
    first, second = desk.pin, "864209"
    desk.run(["pkcs15-tool", "--change-pin", "--pin", first, "--new-pin", second])
    login(desk, first, expect=1)
    login(desk, second)
    for _ in range(20):
        if "CKR_PIN_LOCKED" in login(desk, "00000000", expect=1).text:
            break
    login(desk, second, expect=1).must_say("CKR_PIN_LOCKED")
    desk.run(["pkcs15-tool", "--unblock-pin", "--puk", desk.puk, "--new-pin", first])
    login(desk, first)


def login(desk, pin, expect=0):
    return pkcs11(desk, "--login", "--pin", pin, "--list-objects", "--type", "privkey", expect=expect)
