"""A mail server for tests: SMTP over TLS on a free port, with a certificate of its own."""

import shutil
import socketserver
import ssl
import subprocess
import threading
from contextlib import contextmanager

import pytest

FACTS = ("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2")


class Mailbox:
    """What was sent.

    Attributes:
        port: of the server, on 127.0.0.1.
        certificate: a file to trust it by.
        mails: text of each mail, as it came.
    """

    def __init__(self, port, certificate):
        self.port, self.certificate, self.mails = port, certificate, []


@contextmanager
def receiving_mails(directory):
    """Listen on a free port of loopback; certificate and key are written to a directory."""
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl to make a certificate with")
    certificate, key = directory / "mail.crt", directory / "mail.key"
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate, *FACTS]
    subprocess.run(make, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    class Session(socketserver.StreamRequestHandler):
        def setup(self):
            self.request = context.wrap_socket(self.request, server_side=True)
            super().setup()

        def say(self, text):
            self.wfile.write(f"{text}\r\n".encode())

        def handle(self):
            self.say("220 mailbox")
            while line := self.rfile.readline().decode().strip():
                match line.split()[0].upper():
                    case "EHLO":
                        self.say("250-mailbox\r\n250 AUTH PLAIN")
                    case "AUTH":
                        self.say("235 come in")
                    case "DATA":
                        self.say("354 go on")
                        mailbox.mails.append("".join(iter(lambda: self.rfile.readline().decode(), ".\r\n")))
                        self.say("250 taken")
                    case "QUIT":
                        self.say("221 bye")
                        return
                    case _:
                        self.say("250 ok")

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Session) as server:
        server.daemon_threads = True
        mailbox = Mailbox(server.server_address[1], certificate)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield mailbox
        server.shutdown()
