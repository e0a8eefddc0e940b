"""A yubikit PIV session with the card in the first reader."""

import contextlib

from smartcard.System import readers
from ykman.pcsc import ScardSmartCardConnection
from yubikit.piv import PivSession


@contextlib.contextmanager
def session():
    """Connects, and leaves the card when done."""
    connection = readers()[0].createConnection()
    connection.connect()
    try:
        yield PivSession(ScardSmartCardConnection(connection))
    finally:
        connection.disconnect()
