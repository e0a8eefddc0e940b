#!/usr/bin/env python3
"""A certification authority that speaks only EST (RFC 7030) and publishes a CRL: Python's HTTP and TLS over OpenSSL's
`ca`. It shares no line with the authority of this project.

  est.py FOLDER [--tls12] [--delay]

HTTP Basic with user `host` and the password in FOLDER/password. `--tls12` refuses TLS 1.3; `--delay` answers each first
request for a certificate with 202. Prints `ready https://… http://…/crl` and serves until its standard input ends. A
file FOLDER/lose makes it break the connection after it has issued.
"""

import base64
import http.server
import os
import pathlib
import ssl
import subprocess
import sys
import threading

CONFIGURATION = """
[ca]
default_ca = issuing
[issuing]
dir = .
database = index.txt
new_certs_dir = issued
serial = serial
crlnumber = crlnumber
certificate = ca.pem
private_key = ca.key
default_md = sha256
default_days = 90
default_crl_days = 1
policy = policy
x509_extensions = card
unique_subject = no
[policy]
commonName = supplied
[card]
basicConstraints = CA:false
keyUsage = digitalSignature, keyAgreement, keyEncipherment
crlDistributionPoints = URI:{crl}
[root]
basicConstraints = critical, CA:true
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[server]
subjectAltName = IP:127.0.0.1
"""


def openssl(*arguments, **options):
    done = subprocess.run(["openssl", *arguments], check=True, capture_output=True, **options)
    return done.stdout


def set_up(crl):
    pathlib.Path("openssl.cnf").write_text(CONFIGURATION.format(crl=crl))
    pathlib.Path("issued").mkdir()
    pathlib.Path("index.txt").touch()
    pathlib.Path("serial").write_text("1000\n")
    pathlib.Path("crlnumber").write_text("01\n")
    common = ["-x509", "-config", "openssl.cnf", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    openssl("req", *common, "-extensions", "root", "-subj", "/CN=foreign CA", "-days", "90", "-keyout", "ca.key",
            "-out", "ca.pem")
    openssl("req", *common, "-extensions", "server", "-subj", "/CN=127.0.0.1", "-days", "90", "-keyout", "tls.key",
            "-out", "tls.pem")


def certs_only(file):
    message = openssl("crl2pkcs7", "-nocrl", "-certfile", file, "-outform", "DER")
    return base64.encodebytes(message)


def issue(request):
    pem = openssl("req", "-inform", "DER", "-outform", "PEM", input=request)
    openssl("ca", "-config", "openssl.cnf", "-batch", "-notext", "-in", "/dev/stdin", "-out", "last.pem", input=pem)
    return certs_only("last.pem")


class Est(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    delayed = set()
    password = ""
    delay = False

    def do_GET(self):
        if self.path == "/.well-known/est/cacerts":
            return self.answer(200, certs_only("ca.pem"))
        self.answer(404, b"")

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        expected = "Basic " + base64.b64encode(f"host:{self.password}".encode()).decode()
        if self.headers.get("Authorization") != expected:
            return self.answer(401, b"who are you?", {"WWW-Authenticate": 'Basic realm="est"'})
        if self.path not in ("/.well-known/est/simpleenroll", "/.well-known/est/simplereenroll"):
            return self.answer(404, b"")
        if self.delay and body not in self.delayed:
            self.delayed.add(body)
            return self.answer(202, b"", {"Retry-After": "1"})
        answer = issue(base64.b64decode(body))
        if os.path.exists("lose"):
            self.close_connection = True
            return None
        self.answer(200, answer, {"Content-Transfer-Encoding": "base64"})

    def answer(self, status, body, headers=None):
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/pkcs7-mime; smime-type=certs-only")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Crl(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        pem = openssl("ca", "-config", "openssl.cnf", "-gencrl")
        body = openssl("crl", "-outform", "DER", input=pem)
        self.send_response(200)
        self.send_header("Content-Type", "application/pkix-crl")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def main():
    os.chdir(sys.argv[1])
    Est.password = pathlib.Path("password").read_text().strip()
    Est.delay = "--delay" in sys.argv
    crl = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Crl)
    address = f"http://127.0.0.1:{crl.server_port}/crl"
    set_up(address)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain("tls.pem", "tls.key")
    if "--tls12" in sys.argv:
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    est = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Est)
    est.socket = context.wrap_socket(est.socket, server_side=True)
    for server in (est, crl):
        threading.Thread(target=server.serve_forever, daemon=True).start()
    print(f"ready https://127.0.0.1:{est.server_port} {address}", flush=True)
    sys.stdin.read()


main()
