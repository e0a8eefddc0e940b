"""The reader follows the card's life."""

from harness import check, ensure, wait_until

MODULE = "/usr/lib/*/opensc-pkcs11.so"


@check("presence", "opensc-tool", "pcscd")
def presence(host):
    """the reader is empty before the first certificate and after the last one's deletion"""
    desk = host.desk("visitor")
    desk.bridge.wait_line('"condition":"empty"')
    ensure(not desk.has_card(), "a card before the first certificate")
    desk.create("9A", "P-256")
    desk.wait_for_card()
    mark = desk.bridge.mark()
    desk.terminal("certificate", "delete", "9A").must_say("the card is destroyed")
    desk.bridge.wait_line('"condition":"empty"', after=mark)
    wait_until(lambda: not desk.has_card(), "pcscd sees the card go")


@check("bridge-recovers", "opensc-tool", "pcscd")
def bridge_recovers(host):
    """the bridge finds back to a pcscd that was started anew"""
    desk = host.desk("visitor")
    desk.create("9A", "P-256")
    desk.wait_for_card()
    mark = desk.bridge.mark()
    desk.restart_pcscd()
    desk.bridge.wait_line('"condition":"inserted"', after=mark)
    wait_until(desk.has_card, "the new pcscd sees the card")


@check("authenticate", "openssl")
def authenticate(host):
    """the authority accepts the card's answer with the right PIN, and not without"""
    desk = host.desk("visitor")
    if "pin" not in desk.secrets:
        desk.create("9A", "P-256")
    pin = desk.directory / "pin"
    pin.write_text(desk.pin + "\n")
    desk.terminal("authenticate", "--certificate", "9A", "--pin-file", pin).must_say("authentication: success")
    desk.terminal("authenticate", "--certificate", "9A", expect=4).must_say("pin-required")
