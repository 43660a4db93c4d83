"""A worker that beats into Redis, and a small page that says when it last did."""

import base64
import http.server
import json
import os
import socket
import sys
import time


def redis(*words: str) -> str:
    """One command over a plain socket; the first line of the answer, or of its bulk."""
    at = json.loads(base64.b64decode(os.environ["PLATFORM_RELATIONSHIPS"]))["redis"][0]
    with socket.create_connection((at["host"], at["port"]), timeout=5) as connection:
        connection.sendall((" ".join(words) + "\r\n").encode())
        lines = connection.recv(4096).decode().split("\r\n")
    return lines[1] if lines[0].startswith("$") and len(lines) > 1 else lines[0]


class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = json.dumps({"app": "indexer", "beat": redis("GET", "beat")}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if sys.argv[1] == "serve":
    http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Page).serve_forever()
while True:
    redis("SET", "beat", str(int(time.time())))
    print("beat", flush=True)
    time.sleep(5)
