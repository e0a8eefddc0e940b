"""The proofs, in the order in which they run."""

from . import opensc, yubico, euicc, ssh, tls, cms, eap, presence, secure  # noqa: F401
