"""The MCP tools: what an assistant may ask, with its account's rights.

================  ==============================================================================
``verify_audio``  the verdict on a recording; noted in the ledger, as every examination is
``list_tags``     the style tags, and whether music may be made with them for a use
``get_output``    the record of an output
``check_proof``   whether a proof of a ledger entry holds, by this studio's own keys
================  ==============================================================================

None makes, changes or deletes anything. Each goes through the same use cases as page, REST layer
and command line (:mod:`studio.app.session`), which refuse what the account may not do.
"""

# No `from __future__ import annotations` here: the server reads annotations inside the function.
import base64
import binascii
import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Protocol

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import ToolAnnotations
from pydantic import Field

from studio.core.errors import StudioError, UsageError
from studio.core.tags import listing_key
from studio.reports.record import record_of
from studio.web.api.schemas import OUTPUT_ID, tag_record
from studio.web.errors import answer_of

if TYPE_CHECKING:
    from studio.app.session import Session
    from studio.verification.report import VerifyReport

__all__ = ["Host", "create_mcp"]

_READ_ONLY = ToolAnnotations(
    read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=False
)
_MAX_PROOF = 1_000_000  # characters


class Host(Protocol):
    """The place where the tools run: the caller's own machine, or a server."""

    def session(self, context: Context) -> "Session":
        """The studio as the caller of this request may use it."""

    def examine(self, context: Context, source: bytes | str) -> "VerifyReport":
        """Examine a recording by its content or, on the caller's own machine, by its path."""


def create_mcp(host: Host) -> MCPServer:
    """The server with its tools."""
    server = MCPServer(
        "consented-music-studio",
        title="Consented Music Studio",
        instructions=(
            "Says whether recordings were made by this studio, on whose consent, and what it has "
            "on record. A verdict never says that a person or a machine made a recording, and "
            "'not-detected' proves nothing: repeat its explanation when you report it."
        ),
        log_level="WARNING",
    )

    def tool(function: Callable[..., object]) -> None:
        server.tool(annotations=_READ_ONLY)(function)

    @tool
    def verify_audio(
        context: Context,
        path: Annotated[
            str | None,
            Field(max_length=4096, description="File on this machine; only over stdio."),
        ] = None,
        content_base64: Annotated[
            str | None, Field(description="The file itself, base64; larger ones go over REST.")
        ] = None,
    ) -> dict[str, object]:
        """Say whether a recording came from this studio: which output, which seconds, how surely.

        Give either path or content_base64. The verdict is noted in the studio's ledger.
        """
        if (path is None) == (content_base64 is None):
            raise ToolError("give either path or content_base64")
        source = path if content_base64 is None else _decoded(content_base64)
        assert source is not None
        return _told(lambda: host.examine(context, source).to_json())

    @tool
    def list_tags(
        context: Context,
        use: Annotated[
            str | None,
            Field(max_length=32, description="experiment, noncommercial or commercial"),
        ] = None,
        territory: Annotated[
            str | None, Field(max_length=8, description="WORLD or a two-letter country code")
        ] = None,
        model: Annotated[str | None, Field(max_length=128)] = None,
    ) -> dict[str, object]:
        """List the style tags: granted for this use or not, by whom, until when, and why not."""

        def tags() -> dict[str, object]:
            catalog = host.session(context).catalog
            found = catalog.tag_status(model=model, use=use, territory=territory)
            ordered = sorted(found, key=lambda status: listing_key(status.tag))
            return {"tags": [tag_record(status) for status in ordered]}

        return _told(tags)

    @tool
    def get_output(
        context: Context,
        output_id: Annotated[str, Field(max_length=16, description="16 hexadecimal digits")],
    ) -> dict[str, object]:
        """Get the record of an output: request, consent, watermark, model, digest, credits."""

        def record() -> dict[str, object]:
            if not OUTPUT_ID.fullmatch(output_id):
                raise UsageError("an output id has 16 hexadecimal digits")
            return record_of(host.session(context).outputs.get(output_id))

        return _told(record)

    @tool
    def check_proof(
        context: Context,
        bundle: Annotated[
            dict[str, object], Field(description="The proof, as GET /outputs/ID/proof gives it")
        ],
    ) -> dict[str, object]:
        """Check a proof that an entry is in this studio's ledger, and say what it proves."""

        def checked() -> dict[str, object]:
            text = json.dumps(bundle)
            if len(text) > _MAX_PROOF:
                raise UsageError("the proof is too long")
            proven = host.session(context).records.check_proof(text.encode())
            return {"holds": True, **proven.to_json()}

        return _told(checked)

    return server


def _decoded(content: str) -> bytes:
    try:
        return base64.b64decode(content, validate=True)
    except (binascii.Error, ValueError) as exc:
        raise ToolError("content_base64 is no base64") from exc


def _told(call: Callable[[], Mapping[str, object]]) -> dict[str, object]:
    """What the call returns; an error of ours as one that the assistant reads."""
    try:
        return dict(call())
    except StudioError as exc:
        status, code = answer_of(exc)
        text = "the studio's records cannot be read" if code == "ledger-unavailable" else str(exc)
        raise ToolError(f"{code} ({status}): {text}") from exc
