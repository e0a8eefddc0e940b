"""Replaces the card's AES management key by a 3DES one, which it prints, for clients that know 3DES only."""

import os

from piv_card import session
from yubikit.piv import MANAGEMENT_KEY_TYPE

key = bytes.fromhex("A1B2C3D4E5F60718293A4B5C6D7E8F90A0B1C2D3E4F50617")

with session() as piv:
    piv.authenticate(bytes.fromhex(os.environ["MANAGEMENT_KEY"]))
    piv.set_management_key(MANAGEMENT_KEY_TYPE.TDES, key)
    print(key.hex())
