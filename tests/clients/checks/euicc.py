"""The eUICC's clients."""

import sys

from harness import check

from .cards import ec
from .yubico import SCRIPTS


@check("euicc-t0", "pcscd", "/usr/lib/*/libpcsclite.so.1")
def euicc_t0(host):
    """lpac's connection to the eUICC: T=0 alone; who takes both protocols gets T=1"""
    ec(host).run([sys.executable, SCRIPTS / "local_assistant.py"]).must_say("all done")
