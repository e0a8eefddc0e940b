"""S/MIME's cryptography (CMS) by openssl over the PKCS#11 engine."""

from harness import check, ensure, library, run

from .cards import ec, rsa

MODULE = "/usr/lib/*/opensc-pkcs11.so"
ENGINE = "/usr/lib/*/engines-3/pkcs11.so"


@check("cms-sign-rsa", "openssl", MODULE, ENGINE)
def cms_sign_rsa(host):
    """openssl cms -sign with 9C, RSA"""
    sign(rsa(host))


@check("cms-sign-ec", "openssl", MODULE, ENGINE)
def cms_sign_ec(host):
    """openssl cms -sign with 9C, elliptic"""
    sign(ec(host))


def sign(desk):
    data, message, opened = (desk.directory / f"cms-{what}" for what in ("data", "signed", "opened"))
    data.write_text("signed by the card\n")
    cms(desk, "-sign", "-binary", "-md", "sha256", "-signer", desk.certificate("9C"), "-inkey", key(desk, "02"),
        "-keyform", "engine", "-in", data, "-out", message)
    run(["openssl", "cms", "-verify", "-purpose", "any", "-CAfile", desk.host.authority_ca(), "-in", message,
         "-binary", "-out", opened])
    ensure(opened.read_bytes() == data.read_bytes(), "the signed text is another one")


@check("cms-decrypt-rsa", "openssl", MODULE, ENGINE)
def cms_decrypt_rsa(host):
    """openssl cms -decrypt with 9D, RSA"""
    desk = rsa(host)
    data, message, opened = (desk.directory / f"cms-{what}" for what in ("data", "encrypted", "decrypted"))
    data.write_text("for the card only\n")
    run(["openssl", "cms", "-encrypt", "-aes-256-cbc", "-binary", "-in", data, "-out", message,
         desk.certificate("9D")])
    cms(desk, "-decrypt", "-recip", desk.certificate("9D"), "-inkey", key(desk, "03"), "-keyform", "engine",
        "-in", message, "-out", opened)
    ensure(opened.read_bytes() == data.read_bytes(), "the decrypted text is another one")


def key(desk, number):
    return f"pkcs11:id=%{number};type=private;pin-value={desk.pin}"


def cms(desk, *words):
    environment = {"PKCS11_MODULE_PATH": library(MODULE)}
    # 9C wants the PIN before each use: the engine asks for it again.
    return desk.run(["openssl", "cms", *words, "-engine", "pkcs11"], env=environment, stdin=desk.pin + "\n")
