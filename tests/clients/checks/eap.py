"""EAP-TLS: wpa_supplicant's eapol_test against FreeRADIUS."""

from harness import Service, check, library

from .cards import ec, rsa
from .network import free_port, server_identity

MODULE = "/usr/lib/*/opensc-pkcs11.so"
ENGINE = "/usr/lib/*/engines-3/pkcs11.so"


@check("eap-tls-rsa", "eapol_test", "freeradius", MODULE, ENGINE)
def eap_tls_rsa(host):
    """EAP-TLS with 9A, RSA"""
    authenticate(rsa(host))


@check("eap-tls-ec", "eapol_test", "freeradius", MODULE, ENGINE)
def eap_tls_ec(host):
    """EAP-TLS with 9A, elliptic"""
    authenticate(ec(host))


def authenticate(desk):
    directory = desk.directory / "eap"
    directory.mkdir(exist_ok=True)
    port = free_port()
    (directory / "radiusd.conf").write_text(server_configuration(desk, directory, port))
    (directory / "eapol.conf").write_text(client_configuration(desk))
    argv = ["freeradius", "-f", "-l", "stdout", "-x", "-d", directory]
    with Service(f"freeradius-{desk.name}", argv, desk.host.directory) as server:
        server.wait_line("Ready to process requests")
        client = ["eapol_test", "-c", directory / "eapol.conf", "-a", "127.0.0.1", "-p", port, "-s", "testing123",
                  "-t", "60"]
        desk.run(client).must_say("CTRL-EVENT-EAP-SUCCESS", "SUCCESS")


def client_configuration(desk):
    certificate, _ = server_identity(desk.host)
    return f"""\
pkcs11_engine_path={library(ENGINE)}
pkcs11_module_path={library(MODULE)}
network={{
    key_mgmt=IEEE8021X
    eap=TLS
    identity="{desk.name}"
    ca_cert="{certificate}"
    client_cert="{desk.certificate("9A")}"
    engine=1
    engine_id="pkcs11"
    key_id="pkcs11:id=%01;type=private"
    pin="{desk.pin}"
}}
"""


def server_configuration(desk, directory, port):
    certificate, key = server_identity(desk.host)
    return f"""\
name = radiusd
prefix = /usr
localstatedir = {directory}
logdir = {directory}
run_dir = {directory}
libdir = /usr/lib/freeradius
pidfile = {directory}/radiusd.pid
max_request_time = 30
security {{
    allow_core_dumps = no
    reject_delay = 0
    status_server = no
}}
client localhost {{
    ipaddr = 127.0.0.1
    secret = testing123
    require_message_authenticator = yes
}}
thread pool {{
    start_servers = 1
    max_servers = 2
    min_spare_servers = 1
    max_spare_servers = 2
}}
modules {{
    eap {{
        default_eap_type = tls
        tls-config card {{
            private_key_file = {key}
            certificate_file = {certificate}
            ca_file = {desk.host.authority_ca()}
            tls_min_version = "1.2"
            tls_max_version = "1.2"
        }}
        tls {{
            tls = card
        }}
    }}
}}
server default {{
    listen {{
        type = auth
        ipaddr = 127.0.0.1
        port = {port}
    }}
    authorize {{
        eap {{
            ok = return
        }}
    }}
    authenticate {{
        eap
    }}
}}
"""
