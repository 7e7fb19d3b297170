"""An S3 store on a loopback port: enough of it to list a bucket and to read objects."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

__all__ = ["object_store"]

_DATE = "Sun, 29 Nov 2026 12:00:00 GMT"


@contextmanager
def object_store(bucket: str, objects: Mapping[str, bytes]) -> Iterator[str]:
    """The endpoint of a store that holds one bucket of these objects."""
    failures = {key: 1 for key in objects if "busy" in key}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            name, _, key = unquote(parts.path).lstrip("/").partition("/")
            asked = {key: values[0] for key, values in parse_qs(parts.query).items()}
            if name != bucket:
                self._answer(404, _error("NoSuchBucket"))
            elif "list-type" in asked:
                listing = _listing(bucket, objects, asked.get("prefix", ""), asked.get("delimiter"))
                self._answer(200, listing)
            elif not key:
                self._answer(200, b"")
            elif key not in objects:
                self._answer(404, _error("NoSuchKey"))
            elif self.command == "GET" and failures.get(key):
                failures[key] -= 1
                self._answer(403, _error("AccessDenied") if "shut" in key else _error("Odd"))
            else:
                self._object(objects[key])

        def _object(self, data: bytes) -> None:
            span = self.headers.get("Range", "")
            if not span.startswith("bytes="):
                self._answer(200, data, audio=True)
                return
            first, _, last = span.removeprefix("bytes=").partition("-")
            begin, end = int(first), min(int(last or len(data)), len(data) - 1)
            self._answer(206, data[begin : end + 1], f"bytes {begin}-{end}/{len(data)}", audio=True)

        def _answer(self, status: int, body: bytes, span: str = "", *, audio: bool = False) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Content-Type", "audio/wav" if audio else "application/xml")
            self.send_header("Last-Modified", _DATE)
            self.send_header("ETag", '"0"')
            if span:
                self.send_header("Content-Range", span)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def _error(code: str) -> bytes:
    return f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode()


def _listing(
    bucket: str, objects: Mapping[str, bytes], prefix: str, delimiter: str | None
) -> bytes:
    keys, folders = [], set()
    for key in sorted(objects):
        if not key.startswith(prefix):
            continue
        rest = key[len(prefix) :]
        if delimiter and delimiter in rest:
            folders.add(prefix + rest.partition(delimiter)[0] + delimiter)
        else:
            keys.append(key)
    contents = "".join(
        f"<Contents><Key>{escape(key)}</Key><LastModified>2026-11-29T12:00:00.000Z</LastModified>"
        f"<Size>{len(objects[key])}</Size><ETag>0</ETag></Contents>"
        for key in keys
    )
    common = "".join(
        f"<CommonPrefixes><Prefix>{escape(folder)}</Prefix></CommonPrefixes>"
        for folder in sorted(folders)
    )
    return (
        '<?xml version="1.0"?><ListBucketResult><Name>'
        f"{bucket}</Name><Prefix>{escape(prefix)}</Prefix><KeyCount>{len(keys) + len(folders)}"
        f"</KeyCount><IsTruncated>false</IsTruncated>{contents}{common}</ListBucketResult>"
    ).encode()
