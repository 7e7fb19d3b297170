"""A timestamp authority of our own (RFC 3161), listening on this machine, for tests."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_SHA256 = "2.16.840.1.101.3.4.2.1"
_TST_INFO = "1.2.840.113549.1.9.16.1.4"


def _tlv(tag: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    length = len(body)
    if length < 128:
        return bytes([tag, length]) + body
    size = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(size)]) + size + body


def _seq(*parts: bytes) -> bytes:
    return _tlv(0x30, *parts)


def _int(value: int) -> bytes:
    return _tlv(0x02, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def _oid(dotted: str) -> bytes:
    first, second, *rest = map(int, dotted.split("."))
    out = bytes([40 * first + second])
    for number in rest:
        septets = [number & 127]
        while number := number >> 7:
            septets.append(number & 127 | 128)
        out += bytes(reversed(septets))
    return _tlv(0x06, out)


def _items(der: bytes) -> list[tuple[int, bytes, bytes]]:
    """(tag, whole, content) of the members of one constructed value's content."""
    found, at = [], 0
    while at < len(der):
        length, start = der[at + 1], at + 2
        if length & 128:
            start = at + 2 + (length & 127)
            length = int.from_bytes(der[at + 2 : start], "big")
        found.append((der[at], der[at : start + length], der[start : start + length]))
        at = start + length
    return found


class Authority:
    """Signs what it is asked, with ``clock`` as its time. ``refuse`` makes it decline."""

    def __init__(self) -> None:
        self.at = datetime(2026, 7, 1, 12, tzinfo=UTC)
        self.refuse = False
        self.asked = 0
        self.root, root_key = _certificate("Test root", None, None)
        self._leaf, self._key = _certificate("Test authority", self.root, root_key)

    def root_pem(self) -> bytes:
        return self.root.public_bytes(Encoding.PEM)

    def answer(self, query: bytes) -> bytes:
        self.asked += 1
        if self.refuse:
            return _seq(_seq(_int(2)))
        (_, _, content), *_ = _items(query)
        _version, imprint, *rest = _items(content)
        nonce = next(whole for tag, whole, _ in rest if tag == 0x02)
        info = _seq(
            _int(1),
            _oid("1.3.6.1.4.1.99999.1"),
            imprint[1],
            _int(self.asked),
            _tlv(0x18, self.at.strftime("%Y%m%d%H%M%SZ").encode()),
            nonce,
        )
        return _seq(_seq(_int(0)), _seq(_oid("1.2.840.113549.1.7.2"), _tlv(0xA0, self._cms(info))))

    def _cms(self, info: bytes) -> bytes:
        """RFC 5652 SignedData with the attributes that RFC 3161 and RFC 5816 ask for."""
        leaf = self._leaf.public_bytes(Encoding.DER)
        sha256 = _seq(_oid(_SHA256))
        certificate_id = _seq(_seq(_seq(_tlv(0x04, hashlib.sha256(leaf).digest()))))
        attributes = [
            _seq(_oid("1.2.840.113549.1.9.3"), _tlv(0x31, _oid(_TST_INFO))),
            _seq(
                _oid("1.2.840.113549.1.9.4"),
                _tlv(0x31, _tlv(0x04, hashlib.sha256(info).digest())),
            ),
            _seq(_oid("1.2.840.113549.1.9.16.2.47"), _tlv(0x31, certificate_id)),
        ]
        attributes.sort()
        signature = self._key.sign(_tlv(0x31, *attributes), padding.PKCS1v15(), hashes.SHA256())
        signer = _seq(
            _int(1),
            _seq(self._leaf.issuer.public_bytes(), _int(self._leaf.serial_number)),
            sha256,
            _tlv(0xA0, *attributes),
            _seq(_oid("1.2.840.113549.1.1.1"), b"\x05\x00"),
            _tlv(0x04, signature),
        )
        return _seq(
            _int(3),
            _tlv(0x31, sha256),
            _seq(_oid(_TST_INFO), _tlv(0xA0, _tlv(0x04, info))),
            _tlv(0xA0, leaf),
            _tlv(0x31, signer),
        )

    @contextmanager
    def listening(self) -> Iterator[str]:
        """Its address, while it answers."""
        authority = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = authority.answer(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        server = HTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


def _certificate(name, issuer, issuer_key):
    key = rsa.generate_private_key(65537, 2048)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    ca = issuer is None
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if ca else issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime(2026, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=3650))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    if not ca:
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING])
        builder = builder.add_extension(usage, critical=True)
    return builder.sign(issuer_key or key, hashes.SHA256()), key
