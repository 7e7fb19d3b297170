"""The server: routes and page as one application.

``studio serve`` calls :func:`serve`. It listens on this machine only unless told otherwise, and
asks nothing of any other host: no fonts, no analytics.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import (
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
    nullcontext,
    suppress,
)
from functools import partial
from importlib.resources import files
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from fastapi import Request

from studio.accounts.permissions import Permission
from studio.core.errors import ConfigError, StudioError, TooManyRequestsError
from studio.core.isolation import warn_of_weakness
from studio.generation.takes import MOST_TAKES
from studio.reports.formatting import asset
from studio.web.api.app import create_api
from studio.web.cases.examining import CaseFiles
from studio.web.cases.pages import case_page_routes
from studio.web.http.download_tokens import DownloadTokens
from studio.web.jobs.examinations import Examinations
from studio.web.jobs.making import Making, PageJobs
from studio.web.jobs.queue import JobRunner
from studio.web.jobs.shared import SharedMaking
from studio.web.metrics import Metrics
from studio.web.middleware.auth import actor_of, is_account
from studio.web.public.routes import public_line, public_routes
from studio.web.public.sharing import share_routes
from studio.web.ui.login import login_routes

if TYPE_CHECKING:
    from fastapi import FastAPI

    from studio.app.gateway import Gateway
    from studio.core.config import ServerConfig
    from studio.web.mcp.http import McpOverHttp
    from studio.web.middleware.page_gate import PageRules

__all__ = ["create_app", "serve", "server_settings", "supervise"]

_logger = logging.getLogger(__name__)

_LONG_EXAMINATION_S = 7200.0  # of one of them
_RENDITION_S = 1800.0  # of stems and the like, which servers make where workers make the music


def _runners(gateway: Gateway) -> tuple[JobRunner, JobRunner, JobRunner]:
    """What makes music, what examines recordings, and what examines long ones."""
    accounts, uploads = gateway.config.accounts, gateway.config.uploads

    def may(permission: Permission, account: str) -> bool:
        if not is_account(account):  # nobody has to sign in here
            return True
        try:
            return gateway.may(account, permission)
        except StudioError:  # the database is busy; the release asks again
            return True

    # Requests for music that run together share the steps of their model; examining is bounded by
    # the upload limits.
    making = JobRunner(
        running=MOST_TAKES,
        waiting=16 - MOST_TAKES,
        per_account=accounts.jobs_at_a_time,
        may=partial(may, Permission.GENERATE),
        admit=_admission(gateway, "making", accounts.jobs_at_a_time, _RENDITION_S),
    )
    checking = JobRunner(
        running=2,
        waiting=30,
        per_account=accounts.checks_at_a_time,
        longest_s=uploads.examination_s,
        may=partial(may, Permission.VERIFY),
        admit=_admission(gateway, "checks", accounts.checks_at_a_time, uploads.examination_s),
    )
    long = JobRunner(  # recordings longer than an upload may be
        running=1,
        waiting=30,
        per_account=accounts.checks_at_a_time,
        longest_s=_LONG_EXAMINATION_S,
        may=partial(may, Permission.VERIFY),
        admit=_admission(gateway, "long checks", accounts.checks_at_a_time, _LONG_EXAMINATION_S),
    )
    return making, checking, long


def _admission(
    gateway: Gateway, scope: str, most: int, longest_s: float
) -> Callable[[str], AbstractContextManager[None]]:
    """What lets an account's work begin: its places over all servers that share the database."""
    if not gateway.config.server.workers:
        return lambda _account: nullcontext()
    places = gateway.shared_places(scope, most, longest_s + 60.0)

    @contextmanager
    def admitted(account: str) -> Iterator[None]:
        place = places.take(account)
        if place is None:
            raise TooManyRequestsError(
                f"{most} of your requests are at work; let one of them end first", 10.0
            )
        try:
            yield
        finally:
            with suppress(StudioError):
                places.give_back(place)

    return admitted


def create_app(gateway: Gateway) -> FastAPI:
    """Routes and page over one studio, as an ASGI application."""
    # Read by Gradio when it is imported.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    import gradio as gr

    from studio.web.ui.create.preview_routes import making_routes
    from studio.web.ui.page import build_page
    from studio.web.ui.theme import theme
    from studio.web.ui.verify_routes import verify_routes

    # Uploads lie in the home, so that users of one machine do not share a folder of Gradio's.
    os.environ["GRADIO_TEMP_DIR"] = str(gateway.paths.uploads)
    shared = gateway.config.server.workers > 0
    download_tokens = DownloadTokens(gateway.shared_secret() if shared else None)
    making, checking, long = _runners(gateway)
    public = public_line(gateway)

    mcp = _mcp(gateway, checking)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        rules.uploads.prepare()
        async with nullcontext() if mcp is None else mcp.running():
            yield
        api.state.checks.close()
        making.close()
        checking.close()
        long.close()
        public.close()
        api.state.fetching.close()
        api.state.previews.close()
        examinations.kept.close()
        rules.uploads.close()

    metrics = Metrics()
    metrics.follow("long", long)
    metrics.follow("public", public)
    if shared:
        metrics.stand("shared", gateway.job_standing)
    api = create_api(
        gateway,
        download_tokens,
        making=making,
        checking=checking,
        long=long,
        metrics=metrics,
        lifespan=lifespan,
    )
    rules: PageRules = api.state.page_rules
    api.include_router(login_routes(gateway))
    api.include_router(public_routes(gateway, public))
    api.include_router(share_routes(gateway))
    api.include_router(case_page_routes(gateway, CaseFiles(api.state.checks)))
    if mcp is not None:
        api.router.routes.append(mcp.route())
    examinations = Examinations(checking, long, rules.uploads)
    api.include_router(verify_routes(gateway, examinations))
    asked: PageJobs = (
        SharedMaking(api.state.previews)
        if shared
        else Making(making, gateway.paths.home / "page-jobs.json")
    )
    api.include_router(making_routes(gateway, asked))
    page = build_page(
        gateway,
        download_tokens,
        making=asked,
        examinations=examinations,
        discard=rules.uploads.discard,
    )
    rules.functions = {number: len(handler.inputs) for number, handler in page.fns.items()}
    # Gradio checks the paths in a request only of a page that was "launched", and mounting one does
    # not say so: the second lock, behind studio.web.middleware.page_gate.
    page.has_launched = True
    app: FastAPI = gr.mount_gradio_app(
        api,
        page,
        path="/",
        auth_dependency=_name_of,  # authentication is done by now; this is a second check
        theme=theme(),
        css=asset("style.css") + asset("compare.css"),
        favicon_path=str(files("studio.web.ui") / "assets" / "seal.svg"),
        max_file_size=gateway.config.uploads.max_bytes,
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        mcp_server=False,
        enable_monitoring=False,
        show_error=False,
    )
    return app


def _mcp(gateway: Gateway, checking: JobRunner) -> McpOverHttp | None:
    """The tools for assistants, where they are switched on."""
    if not gateway.config.server.mcp:
        return None
    from studio.web.mcp.http import McpOverHttp

    return McpOverHttp(gateway, checking)


def _name_of(request: Request) -> str | None:
    actor = actor_of(request.scope)
    return None if actor is None else actor.name


def serve(
    gateway: Gateway,
    *,
    host: str | None = None,
    port: int | None = None,
    public_detector: bool = False,
    mcp: bool = False,
    workers: int = 0,
) -> None:
    """Serve until stopped: by SIGTERM it returns, by Ctrl-C it raises :class:`KeyboardInterrupt`.

    ``public_detector`` opens the public detector and ``mcp`` the tools for assistants, as their
    settings do. ``workers`` says that this is one of so many servers that share the database.

    Raises :class:`ConfigError` where the address cannot be had, or where a studio without accounts
    would be open to other machines.
    """
    import uvicorn

    from studio.web.http.protocol import OrderlyServer

    server = gateway.config.server
    host, port = host or server.host, server.port if port is None else port
    if workers:
        gateway.share_jobs(workers)
    server = gateway.listen_on(host, port, public_detector=public_detector, mcp=mcp)
    detector = gateway.config.public_detector
    _check_openness(gateway, host)
    _check_address(host, port)
    for doubt in doubts_about(server):
        _logger.warning(doubt)
    if detector.enabled and detector.contact is None:
        _logger.warning(
            "public_detector.contact is not set: the public is not told where to complain"
        )
    warn_of_weakness(gateway.config.uploads)
    gateway.anchor_security_log()
    gateway.keep_watch()
    # The page promises to ask no other host; a hub model's files then have to be here already.
    # HF_HUB_OFFLINE=0 in the environment allows fetching them.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    app = create_app(gateway)  # before the models, whose import would keep the page waiting
    if not workers:
        gateway.load_models()
    settings = uvicorn.Config(app, host=host, port=port, **server_settings())
    OrderlyServer(settings).run_to_the_end()


def supervise(
    gateway: Gateway,
    servers: int,
    host: str | None,
    port: int | None,
    *,
    public_detector: bool = False,
    mcp: bool = False,
) -> None:
    """Run so many servers on the port and those that follow, until stopped; as :func:`serve`."""
    from studio.web.supervisor import Supervisor, answers_at, command_of

    config = gateway.config.server
    host, port = host or config.host, config.port if port is None else port
    gateway.share_jobs(servers)  # refused here, once
    _check_openness(gateway, host)
    ports = range(port, port + servers)
    for each in ports:
        _check_address(host, each)
    Supervisor(
        [
            command_of(host, each, servers, public_detector=public_detector, mcp=mcp)
            for each in ports
        ],
        lambda number: answers_at(host, ports[number]),
    ).run()


def server_settings() -> dict[str, Any]:
    """How uvicorn serves a studio, wherever it listens."""
    from studio.web.http.protocol import PunctualProtocol, SparingLog

    log = logging.getLogger("uvicorn.error")
    if not any(isinstance(each, SparingLog) for each in log.filters):
        log.addFilter(SparingLog())
    return {
        "http": PunctualProtocol,
        "ws": "none",
        "log_config": None,  # the command has set the log up
        "log_level": "warning",
        "access_log": False,  # studio.web.middleware.access_log writes one
        "proxy_headers": False,  # studio.web.middleware.proxy_headers believes named proxies only
        "server_header": False,
        "timeout_keep_alive": 5,
        "timeout_graceful_shutdown": 3,  # an open page keeps an event stream; do not wait for it
    }


def _check_openness(gateway: Gateway, host: str) -> None:
    """A studio without accounts lets everybody do everything: on this machine only."""
    if not _is_loopback(host) and not gateway.has_accounts():
        raise ConfigError(
            f"listening on {host} would let anybody who reaches it in, because there are no "
            "accounts yet; make one with: studio account add NAME --role administrator"
        )


def doubts_about(server: ServerConfig) -> list[str]:
    """What of the addresses cannot be meant so, in words for the log."""
    doubts = []
    if not server.hosts and (server.trusted_proxies or not _is_loopback(server.host)):
        doubts.append(
            "server.public_url is not set: the studio answers under any name, and receipts name "
            f"{server.address}"
        )
    if (server.public_url or "").startswith("https:") and not server.trusted_proxies:
        doubts.append(
            "server.public_url is https, and server.trusted_proxies names no proxy that could "
            "say so: cookies go out as if there were no TLS"
        )
    return doubts


def _is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address.

    >>> [_is_loopback(host) for host in ("127.0.0.1", "localhost", "::1", "0.0.0.0", "example.org")]
    [True, True, True, False, False]
    """
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _check_address(host: str, port: int) -> None:
    """Fail before the models are built, with a text that says what to do."""
    try:
        with socket.create_server((host, port)):
            pass
    except OSError as exc:
        raise ConfigError(
            f"cannot listen on {host}:{port} ({exc.strerror}); choose another with --port"
        ) from exc
