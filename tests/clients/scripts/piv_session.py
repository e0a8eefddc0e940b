"""What an independent PIV client does with a card: each step checks the card's answer with another library."""

import datetime
import os

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.x509.oid import NameOID
from piv_card import session
from yubikit.core import InvalidPinError
from yubikit.piv import KEY_TYPE, SLOT

PIN, PUK = os.environ["PIN"], os.environ["PUK"]
MANAGEMENT_KEY = bytes.fromhex(os.environ["MANAGEMENT_KEY"])
MESSAGE = b"signed in the card"


def main():
    with session() as piv:
        print("version", piv.version, "serial", piv.get_serial())
        piv.authenticate(MANAGEMENT_KEY)
        elliptic(piv, SLOT.AUTHENTICATION, KEY_TYPE.ECCP256, hashes.SHA256())
        elliptic(piv, SLOT.SIGNATURE, KEY_TYPE.ECCP384, hashes.SHA384())
        agreement(piv)
        rsa(piv)
        certificate(piv)
        pin_and_puk(piv)
        new_management_key(piv)
        tidy(piv)
    print("all done")


def elliptic(piv, slot, kind, digest):
    public = piv.generate_key(slot, kind)
    assert key_bytes(piv.get_slot_metadata(slot).public_key) == key_bytes(public)
    piv.verify_pin(PIN)
    public.verify(piv.sign(slot, kind, MESSAGE, digest), MESSAGE, ec.ECDSA(digest))
    print("signature", slot.name, kind.name)


def agreement(piv):
    public = piv.generate_key(SLOT.KEY_MANAGEMENT, KEY_TYPE.ECCP256)
    peer = ec.generate_private_key(ec.SECP256R1())
    piv.verify_pin(PIN)
    assert piv.calculate_secret(SLOT.KEY_MANAGEMENT, peer.public_key()) == peer.exchange(ec.ECDH(), public)
    print("agreement")


def rsa(piv):
    slot, kind = SLOT.RETIRED1, KEY_TYPE.RSA2048
    public = piv.generate_key(slot, kind)
    piv.verify_pin(PIN)
    scheme = padding.PKCS1v15()
    public.verify(piv.sign(slot, kind, MESSAGE, hashes.SHA256(), scheme), MESSAGE, scheme, hashes.SHA256())
    probabilistic = padding.PSS(padding.MGF1(hashes.SHA256()), hashes.SHA256.digest_size)
    signature = piv.sign(slot, kind, MESSAGE, hashes.SHA256(), probabilistic)
    public.verify(signature, MESSAGE, probabilistic, hashes.SHA256())
    assert piv.decrypt(slot, public.encrypt(MESSAGE, scheme), scheme) == MESSAGE
    oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
    assert piv.decrypt(slot, public.encrypt(MESSAGE, oaep), oaep) == MESSAGE
    print("RSA signatures and decryption")


def certificate(piv):
    public = piv.get_slot_metadata(SLOT.AUTHENTICATION).public_key
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "yubikit")])
    now = datetime.datetime.now(datetime.timezone.utc)
    authority = ec.generate_private_key(ec.SECP256R1())
    made = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(public)
            .serial_number(x509.random_serial_number()).not_valid_before(now)
            .not_valid_after(now + datetime.timedelta(days=1)).sign(authority, hashes.SHA256()))
    piv.put_certificate(SLOT.AUTHENTICATION, made)
    assert piv.get_certificate(SLOT.AUTHENTICATION) == made
    piv.delete_certificate(SLOT.AUTHENTICATION)
    print("certificate")


def pin_and_puk(piv):
    piv.change_pin(PIN, "135791")
    before = piv.get_pin_attempts()
    try:
        piv.verify_pin(PIN)
        raise AssertionError("the old PIN still opens the card")
    except InvalidPinError as wrong:
        assert wrong.attempts_remaining == before - 1
    piv.verify_pin("135791")
    piv.change_pin("135791", PIN)
    while piv.get_pin_attempts() > 0:
        wrong_pin(piv)
    piv.unblock_pin(PUK, PIN)
    piv.verify_pin(PIN)
    piv.change_puk(PUK, "97531864")
    piv.change_puk("97531864", PUK)
    print("PIN and PUK")


def wrong_pin(piv):
    try:
        piv.verify_pin("000000")
        raise AssertionError("a wrong PIN opens the card")
    except InvalidPinError:
        pass


def new_management_key(piv):
    kind = piv.get_management_key_metadata().key_type
    other = os.urandom(len(MANAGEMENT_KEY))
    piv.authenticate(MANAGEMENT_KEY)
    piv.set_management_key(kind, other)
    piv.authenticate(other)
    piv.set_management_key(kind, MANAGEMENT_KEY)
    piv.authenticate(MANAGEMENT_KEY)
    print("management key", kind.name)


def tidy(piv):
    if piv.version < (5, 7, 0):
        return
    for slot in (SLOT.AUTHENTICATION, SLOT.SIGNATURE, SLOT.KEY_MANAGEMENT, SLOT.RETIRED1):
        piv.delete_key(slot)


def key_bytes(public):
    return public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


main()
