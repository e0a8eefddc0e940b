"""The eUICC's clients."""

import sys

from harness import check

from .yubico import SCRIPTS


@check("euicc-t0", "pcscd", "/usr/lib/*/libpcsclite.so.1")
def euicc_t0(host):
    """lpac's connection to the eUICC by the reader for T=0: T=0 alone; who takes both protocols gets T=1"""
    desk = host.desk("euicc", ("9E", "P-256"), protocol="iso7816-t0")
    desk.run([sys.executable, SCRIPTS / "local_assistant.py"]).must_say("all done")
