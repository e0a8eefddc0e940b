"""What an independent GlobalPlatform client does with a card: SCP03 and SCP11, keys, certificates, PIV within channels."""

import contextlib
import datetime
import os

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from smartcard.System import readers
from ykman.pcsc import ScardSmartCardConnection
from yubikit.core.smartcard import SW, ApduError
from yubikit.core.smartcard.scp import KeyRef, Scp03KeyParams, Scp11KeyParams, ScpKid, StaticKeys
from yubikit.piv import KEY_TYPE, SLOT, PivSession
from yubikit.securitydomain import SecurityDomainSession

PIN, MANAGEMENT_KEY = os.environ["PIN"], bytes.fromhex(os.environ["MANAGEMENT_KEY"])
KEYS = bytes.fromhex(os.environ["SECURITY_DOMAIN_KEYS"])
INITIAL = Scp03KeyParams(KeyRef(ScpKid.SCP03, 0xFF), StaticKeys(KEYS[:16], KEYS[16:32], KEYS[32:]))
AUTHORITY = KeyRef(0x10, 0x04)
SERIAL = 0xF0123456789ABCDE
MESSAGE = b"signed in the card"


def main():
    with card() as connection:
        own = static_keys(connection)
        keys = elliptic_keys(connection, own)
        anonymous(connection, keys)
        certified(connection, own, keys)
        content(connection, own)
        piv(connection, own)
        piv(connection, keys["b"])
        tidy(connection, own)
    print("all done")


@contextlib.contextmanager
def card():
    connection = readers()[0].createConnection()
    connection.connect()
    try:
        yield ScardSmartCardConnection(connection)
    finally:
        connection.disconnect()


def opened(connection, parameters):
    domain = SecurityDomainSession(connection)
    domain.authenticate(parameters)
    return domain


def refused(status, function, *arguments):
    try:
        function(*arguments)
    except ApduError as error:
        assert error.sw == status, hex(error.sw)
    else:
        raise AssertionError(f"not refused: {function}")


def new_set(kvn):
    return Scp03KeyParams(KeyRef(ScpKid.SCP03, kvn), StaticKeys(*(os.urandom(16) for _ in range(3))))


def static_keys(connection):
    """The initial set makes room for the operator's, which is then replaced."""
    first, second = new_set(0x01), new_set(0x02)
    opened(connection, INITIAL).put_key(first.ref, first.keys)
    refused_set(connection, INITIAL)
    opened(connection, first).put_key(second.ref, second.keys, first.ref.kvn)
    refused_set(connection, first)
    domain = opened(connection, second)
    assert [key for key in domain.get_key_information() if key.kid == 1] == [second.ref]
    refused(SW.CONDITIONS_NOT_SATISFIED, domain.delete_key, 0, second.ref.kvn)
    refused_set(connection, Scp03KeyParams(second.ref, new_set(2).keys))
    print("SCP03 key sets")
    return second


def refused_set(connection, parameters):
    try:
        opened(connection, parameters)
    except (ApduError, ValueError):
        return
    raise AssertionError(f"{parameters.ref} still opens the card")


def elliptic_keys(connection, own):
    """A key made in the card, one put into it, and the authority's; certificates of the card's key."""
    domain = opened(connection, own)
    point = {kind: domain.generate_ec_key(KeyRef(kid, 1)) for kind, kid in (("a", ScpKid.SCP11a), ("b", ScpKid.SCP11b))}
    imported = ec.generate_private_key(ec.SECP256R1())
    domain.put_key(KeyRef(ScpKid.SCP11c, 1), imported)
    authority, entity = Authority("authority"), ec.generate_private_key(ec.SECP256R1())
    domain.put_key(AUTHORITY, authority.key.public_key())
    chain = authority.chain(entity)
    domain.store_certificate_bundle(KeyRef(ScpKid.SCP11b, 1), chain)
    domain.store_ca_issuer(AUTHORITY, b"\x11" * 20)
    domain = SecurityDomainSession(connection)
    assert domain.get_certificate_bundle(KeyRef(ScpKid.SCP11b, 1)) == chain
    assert domain.get_certificate_bundle(KeyRef(ScpKid.SCP11a, 1)) == []
    assert domain.get_supported_ca_identifiers() == {AUTHORITY: b"\x11" * 20}
    print("elliptic keys and certificates")
    return {
        "a": Scp11KeyParams(KeyRef(ScpKid.SCP11a, 1), point["a"], AUTHORITY, entity, chain),
        "b": Scp11KeyParams(KeyRef(ScpKid.SCP11b, 1), point["b"]),
        "c": Scp11KeyParams(KeyRef(ScpKid.SCP11c, 1), imported.public_key(), AUTHORITY, entity, chain),
    }


class Authority:
    """Certifies off-card entities, over one authority between."""

    def __init__(self, name):
        self.name, self.key = name, ec.generate_private_key(ec.SECP256R1())

    def chain(self, entity):
        between = Authority("between")
        return [self.certificate(between.name, between.key.public_key(), x509.random_serial_number(), True),
                between.certificate("entity", entity.public_key(), SERIAL, False)]

    def certificate(self, subject, key, serial, authority):
        now = datetime.datetime.now(datetime.timezone.utc)
        usage = dict.fromkeys(("digital_signature", "content_commitment", "key_encipherment", "data_encipherment",
                               "crl_sign", "encipher_only", "decipher_only"), False)
        usage = x509.KeyUsage(key_agreement=not authority, key_cert_sign=authority, **usage)
        return (x509.CertificateBuilder().subject_name(named(subject)).issuer_name(named(self.name)).public_key(key)
                .serial_number(serial).not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
                .add_extension(x509.BasicConstraints(authority, 0 if authority else None), True)
                .add_extension(usage, True).sign(self.key, hashes.SHA256()))


def named(text):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def anonymous(connection, keys):
    """SCP11b proves the card, and nobody to it."""
    domain = opened(connection, keys["b"])
    assert domain.get_key_information()
    refused(SW.SECURITY_CONDITION_NOT_SATISFIED, domain.generate_ec_key, KeyRef(ScpKid.SCP11b, 9))
    print("SCP11b")


def certified(connection, own, keys):
    """SCP11a and SCP11c, with and without an allowlist; each may put keys."""
    for kind in ("a", "c"):
        put = new_set(0x40)
        opened(connection, keys[kind]).put_key(put.ref, put.keys)
        opened(connection, put).delete_key(0, put.ref.kvn)
        print(f"SCP11{kind}")
    opened(connection, own).store_allowlist(AUTHORITY, [1, 2])
    refused(SW.SECURITY_CONDITION_NOT_SATISFIED, opened, connection, keys["a"])
    opened(connection, own).store_allowlist(AUTHORITY, [1, SERIAL])
    opened(connection, keys["a"])
    print("allowlist")


def content(connection, own):
    """A further security domain is made, personalised, locked and deleted; PIV is listed."""
    send = opened(connection, own).protocol.send_apdu
    aid = bytes.fromhex("A000000901")
    send(0x80, 0xE6, 0x0C, 0, bytes.fromhex("07A000000151535008A00000015153504105A00000090101800000"))
    listed = send(0x80, 0xF2, 0x40, 2, bytes.fromhex("4F00"))
    assert aid in listed and bytes.fromhex("A000000308000010000100") in listed
    assert connection.send_and_receive(bytes.fromhex("00A4040005") + aid)[1] == 0x9000
    send = opened(connection, own).protocol.send_apdu
    send(0x80, 0xF0, 0x40, 0x80, aid)
    assert connection.send_and_receive(bytes.fromhex("00A4040005") + aid)[1] == SW.FILE_NOT_FOUND
    opened(connection, own).protocol.send_apdu(0x80, 0xE4, 0, 0, b"\x4f\x05" + aid)
    print("content")


def piv(connection, parameters):
    session = PivSession(connection, parameters)
    session.authenticate(MANAGEMENT_KEY)
    session.verify_pin(PIN)
    public = session.generate_key(SLOT.AUTHENTICATION, KEY_TYPE.ECCP256)
    session.generate_key(SLOT.RETIRED2, KEY_TYPE.RSA2048)
    signature = session.sign(SLOT.AUTHENTICATION, KEY_TYPE.ECCP256, MESSAGE, hashes.SHA256())
    public.verify(signature, MESSAGE, ec.ECDSA(hashes.SHA256()))
    session.put_object(0x5FC109, os.urandom(2000))
    session.verify_pin(PIN)
    assert len(session.get_object(0x5FC109)) == 2000
    print("PIV within", type(parameters).__name__)


def tidy(connection, own):
    domain = opened(connection, own)
    for kid, kvn in ((0x11, 1), (0x13, 1), (0x15, 1), AUTHORITY):
        domain.delete_key(kid, kvn)
    assert {key.kvn for key in domain.get_key_information()} == {own.ref.kvn}


main()
