"""The cards that the checks share, by desk."""


def ec(host):
    """A card with elliptic keys in the four slots."""
    return host.desk("ec", ("9A", "P-256"), ("9C", "P-384"), ("9D", "P-256"), ("9E", "P-256"))


def rsa(host):
    """A card with RSA keys."""
    return host.desk("rsa", ("9A", "RSA-2048"), ("9C", "RSA-2048"), ("9D", "RSA-2048"))


def lab(host):
    """A card that checks may change: keys made, PIN blocked, management key replaced."""
    return host.desk("lab", ("9E", "P-256"))
