"""Which hosts may be asked, and at which of their addresses.

An entry of an allow list is one of:

=========================== =======================================================================
entry                       allows
=========================== =======================================================================
``hooks.example.org``       that name at port 443, as long as all its addresses are public
``hooks.example.org:8443``  the same at another port
``10.1.2.3``                that address, also as what an allowed name leads to
``10.1.2.3:8443``           the same at another port
``10.1.0.0/16``             nothing by itself: allowed names may lead there
=========================== =======================================================================

``http`` is for this machine's own loopback addresses; everything else is ``https``.

>>> hosts = AllowedHosts.parse(["hooks.example.org", "127.0.0.1:8130"])
>>> hosts.target("https://hooks.example.org/in?a=1").path
'/in?a=1'
>>> hosts.target("http://127.0.0.1:8130/").port
8130
>>> hosts.target("https://elsewhere.example/")
Traceback (most recent call last):
studio.core.errors.HostRefusedError: elsewhere.example, port 443, is not among the allowed hosts
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from urllib.parse import urlsplit

from studio.core.errors import HostRefusedError, HostUnreachableError

__all__ = ["AllowedHosts", "Target", "resolve"]

_Address = IPv4Address | IPv6Address
_MOST_URL = 2048  # characters
_PORTS = {"https": 443, "http": 80}
_NAME = re.compile(r"(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]{0,62})(\.[a-z0-9_]([a-z0-9_-]{0,62}))*")
_NAT64 = IPv6Network("64:ff9b::/96")
_LOCAL_NAT64 = IPv6Network("64:ff9b:1::/48")

Resolver = Callable[[str, int], Sequence[str]]
"""The addresses of a host's name."""


@dataclass(frozen=True, slots=True)
class Target:
    """What a URL asks for, of whom. Its host is allowed; its addresses are not yet known."""

    url: str
    scheme: str
    host: str  # a name or an address, without brackets
    port: int
    path: str  # with the query

    @property
    def authority(self) -> str:
        """Host and port as the ``Host`` header has them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class AllowedHosts:
    """An allow list; empty, it allows nothing."""

    names: frozenset[tuple[str, int]] = frozenset()
    networks: tuple[IPv4Network | IPv6Network, ...] = ()

    @classmethod
    def parse(cls, entries: Sequence[str]) -> AllowedHosts:
        """Read a list. Raises :class:`ValueError`, which names the entry."""
        names: set[tuple[str, int]] = set()
        networks: list[IPv4Network | IPv6Network] = []
        for entry in entries:
            network = _network(entry)
            if network is not None and "/" in entry:
                networks.append(network)
                continue
            host, port = (entry, None) if network is not None else _host_port(entry)
            if _network(host) is not None:
                networks.append(ipaddress.ip_network(host))
                host = str(ipaddress.ip_address(host))
            elif not _NAME.fullmatch(host):
                raise ValueError(
                    f"{entry!r} is no name, address or network; leave scheme and path out, and "
                    "write a name with other letters in its xn-- form"
                )
            names.add((host, port or 443))
        return cls(frozenset(names), tuple(networks))

    def __bool__(self) -> bool:
        return bool(self.names)

    def target(self, url: str) -> Target:
        """What the URL asks for. Raises :class:`HostRefusedError`; no name is looked up."""
        if len(url) > _MOST_URL or not re.fullmatch(r"[\x21-\x7e]+", url) or "\\" in url:
            raise HostRefusedError(
                f"an address has at most {_MOST_URL} characters, without spaces and in ASCII"
            )
        try:
            parts = urlsplit(url)
            host, port = (parts.hostname or "").removesuffix("."), parts.port
        except ValueError as exc:
            raise HostRefusedError(f"this is no address: {exc}") from exc
        if parts.scheme not in _PORTS or not host:
            raise HostRefusedError("an address begins with https:// and names a host")
        if "@" in parts.netloc:
            raise HostRefusedError("an address must not hold a name and password")
        if parts.scheme == "http" and not _is_loopback(host):
            raise HostRefusedError("only this machine's own addresses may be asked without https")
        if port == 0:
            raise HostRefusedError("port 0 cannot be asked")
        port = port or _PORTS[parts.scheme]
        network = _network(host)
        named = str(ipaddress.ip_address(host)) if network is not None else host
        if (named, port) not in self.names:
            raise HostRefusedError(f"{host}, port {port}, is not among the allowed hosts")
        path = parts.path or "/"
        return Target(
            url, parts.scheme, named, port, f"{path}?{parts.query}" if parts.query else path
        )

    def addresses(self, target: Target, resolver: Resolver | None = None) -> list[str]:
        """The addresses of the target, each allowed.

        Raises :class:`HostRefusedError` where one of them is neither public nor allowed by name,
        :class:`HostUnreachableError` where there is none.
        """
        if _network(target.host) is not None:
            found: Sequence[str] = [target.host]
        else:
            found = (resolver or resolve)(target.host, target.port)
        if not found:
            raise HostUnreachableError(f"{target.host} has no address")
        for each in found:
            address = ipaddress.ip_address(each)
            if not self._permits(address):
                raise HostRefusedError(
                    f"{target.host} leads to {address}, which is not public; the allow list has to "
                    "name that address or its network as well"
                )
            if target.scheme == "http" and not address.is_loopback:
                raise HostRefusedError(f"{target.host} is not this machine; use https")
        return list(found)

    def _permits(self, address: _Address) -> bool:
        if any(address in network for network in self.networks):
            return True
        inner = _embedded(address)
        if inner is not None:
            return self._permits(inner)
        return address.is_global and not (
            address.is_multicast or address.is_reserved or address in _LOCAL_NAT64
        )


def resolve(host: str, port: int) -> list[str]:
    """The addresses of a name, as the system knows them. Raises :class:`HostUnreachableError`."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as exc:
        raise HostUnreachableError(f"the name {host} cannot be looked up") from exc
    return list(dict.fromkeys(str(each[4][0]).partition("%")[0] for each in found))


def _embedded(address: _Address) -> IPv4Address | None:
    """The IPv4 address that an IPv6 address stands for, where it does."""
    if isinstance(address, IPv4Address):
        return None
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    if address.teredo is not None:
        return address.teredo[1]
    return address.ipv4_mapped or address.sixtofour


def _network(text: str) -> IPv4Network | IPv6Network | None:
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        return None


def _host_port(entry: str) -> tuple[str, int | None]:
    try:
        parts = urlsplit(f"//{entry}")
        port = parts.port
    except ValueError as exc:
        raise ValueError(f"{entry!r}: {exc}") from exc
    if parts.path or parts.query or parts.fragment or "@" in entry or port == 0:
        raise ValueError(f"{entry!r} is no host; leave scheme, path and user out")
    return (parts.hostname or "").removesuffix("."), port


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    network = _network(host)
    return network is not None and network.network_address.is_loopback
