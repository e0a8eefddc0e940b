"""What lpac does first, as it does it: it asks PC/SC for T=0 and nothing else, and finds the eUICC."""

import ctypes

T0, T1 = 1, 2
COMMANDS = (
    ("0070000001", "019000"),
    ("01A4040010A0000005591010FFFFFFFF8900000100", "6F198410A0000005591010FFFFFFFF8900000100E00582030202029000"),
    ("81E2910006BF3E035C015A", "BF3E125A10"),
    ("81E2910003BF2D00", "BF2D"),
    ("0070800100", "9000"),
)
pcsc = ctypes.CDLL("libpcsclite.so.1")


class Protocol(ctypes.Structure):
    """SCARD_IO_REQUEST."""

    _fields_ = [("protocol", ctypes.c_ulong), ("length", ctypes.c_ulong)]


def main():
    context = ctypes.c_long()
    succeed(pcsc.SCardEstablishContext(2, None, None, ctypes.byref(context)))
    reader = ctypes.create_string_buffer(1024)
    succeed(pcsc.SCardListReaders(context, None, reader, ctypes.byref(ctypes.c_ulong(len(reader)))))
    # Who was here before left the card with the protocol that it had, which lasts until the next reset.
    card, _ = connect(context, reader.value, T0 | T1)
    succeed(pcsc.SCardDisconnect(card, 1))
    for protocols, expected in ((T0, T0), (T1, T1), (T0 | T1, T1)):
        card, protocol = connect(context, reader.value, protocols)
        assert protocol == expected, f"{protocol} for {protocols}"
        for command, answer in COMMANDS:
            told = transmit(card, protocol, command)
            assert told.startswith(answer) and told.endswith("9000"), f"{command}: {told}"
        succeed(pcsc.SCardDisconnect(card, 1))
    print("all done")


def connect(context, reader, protocols):
    """The card, reset when it is left, and the protocol that it got."""
    card, protocol = ctypes.c_long(), ctypes.c_ulong()
    succeed(pcsc.SCardConnect(context, reader, 1, ctypes.c_ulong(protocols), ctypes.byref(card), ctypes.byref(protocol)))
    return card, protocol.value


def transmit(card, protocol, command):
    command, answer = bytes.fromhex(command), ctypes.create_string_buffer(1024)
    header, length = Protocol(protocol, ctypes.sizeof(Protocol)), ctypes.c_ulong(len(answer))
    succeed(pcsc.SCardTransmit(card, ctypes.byref(header), command, ctypes.c_ulong(len(command)), None, answer,
                               ctypes.byref(length)))
    return answer.raw[:length.value].hex().upper()


def succeed(result):
    assert result == 0, f"{result & 0xFFFFFFFF:08X}"


main()
