"""An HTTP server of this machine, with every fault a server of large files can have."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Server:
    """Files by name at an address of this machine, with every fault a server can have."""

    def __init__(self):
        self.files, self.requests, self.sent = {}, [], []
        self.ranges, self.etags, self.faults = True, True, []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                server.answer(self, self.path.partition("?")[0].rpartition("/")[2])

            def log_message(self, *args):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()

    def close(self):
        self.http.shutdown()
        self.http.server_close()

    def answer(self, handler, name):
        """Send a file; the next of ``faults`` is a status, or a number of bytes to stop after."""
        asked = handler.headers.get("Range")
        self.requests.append((name, asked))
        fault = self.faults.pop(0) if self.faults else None
        if name not in self.files or isinstance(fault, str):
            handler.send_error(int(fault or 404))
            return
        content = self.files[name]
        tag = f'"{hashlib.md5(content).hexdigest()}"' if self.etags else None
        start = 0
        if asked and self.ranges and handler.headers.get("If-Range", tag) == tag:
            start = int(asked.removeprefix("bytes=").rstrip("-"))
        handler.send_response(206 if start else 200)
        if start:
            last = len(content) - 1
            handler.send_header("Content-Range", f"bytes {start}-{last}/{len(content)}")
        if tag:
            handler.send_header("ETag", tag)
        handler.send_header("Content-Length", str(len(content) - start))
        handler.end_headers()
        body = content[start:] if fault is None else content[start : start + fault]
        handler.wfile.write(body)
        self.sent.append(len(body))
