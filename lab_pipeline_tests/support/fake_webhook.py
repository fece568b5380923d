"""A receiver of webhooks, on a free port, that checks signatures by the words of the specification alone."""

import base64
import hashlib
import hmac
import json
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SECRET = "whsec_" + base64.b64encode(b"a secret of 24 bytes ...").decode()


class Receiver:
    """What came, and what the next requests are answered.

    Attributes:
        taken: (id, JSON) of each notice that was answered 204, in order.
        asked: number of requests.
        answers: statuses of the next requests; 204 when there are no more.
    """

    def __init__(self, port):
        self.url = f"http://127.0.0.1:{port}/hook?token=hush"
        self.taken, self.asked, self.answers = [], 0, []

    def take(self, headers, body):
        self.asked += 1
        status = self.answers.pop(0) if self.answers else 204
        if not is_signed(headers, body):
            status = 401
        if status == 204:
            self.taken.append((headers["webhook-id"], json.loads(body)))
        return status


def is_signed(headers, body):
    signed = b".".join((headers["webhook-id"].encode(), headers["webhook-timestamp"].encode(), body))
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    expected = "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    recent = abs(time.time() - int(headers["webhook-timestamp"])) < 300
    return recent and hmac.compare_digest(headers["webhook-signature"], expected)


@contextmanager
def receiving():
    """Listen on a free port of loopback."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            self.send_response(receiver.take(self.headers, body))
            self.end_headers()

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        receiver = Receiver(server.server_port)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield receiver
        finally:
            server.shutdown()
            thread.join()
