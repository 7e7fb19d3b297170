"""Tables of work that several processes share: requests for music, workers, limits.

They are written by servers and workers that share one database (``studio serve --workers``). A row
of ``job`` is changed by whoever holds its claim; ``job_output`` is written in the transaction that
records a release, and so says for certain what was released for a job. Times are seconds since
1970 by the database's clock.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    false,
)

from studio.core.db.tables.ledger import metadata

__all__ = [
    "PASSING",
    "TRANSIENT",
    "asked_sound",
    "job",
    "job_output",
    "job_worker",
    "long_check",
    "preview_piece",
    "rate_bucket",
    "shared_place",
    "upload_size",
]

PASSING = ("preview_piece", "asked_sound")
"""Tables that no backup holds: what is in them is of use for minutes."""

TRANSIENT = (
    "job",
    "job_output",
    "job_worker",
    "rate_bucket",
    "shared_place",
    "upload_size",
    "long_check",
    *PASSING,
)
"""Tables that a backup does not bring back: what stood in line is asked for anew."""

job = Table(
    "job",
    metadata,
    Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),  # in line
    Column("job_id", String(32), nullable=False, unique=True),  # random
    Column("account_id", String(32), index=True),  # whose; None: the local owner
    Column("payer", String(80), nullable=False, index=True),  # against whose limits it counts
    Column("face", String(8), nullable=False),  # rest or page: where it is listed
    Column("label", String(300), nullable=False),  # what was asked for; nothing that was typed
    Column("model", String(128), nullable=False),
    Column("seconds", Float, nullable=False),  # of music, all takes together
    Column("takes", Integer, nullable=False),
    Column("body", Text),  # the request (JSON) until the job has ended; it may hold typed texts
    Column("state", String(10), nullable=False, index=True),  # of studio.generation.job_queue
    Column("stop", Boolean, nullable=False),  # its owner asked to stop it
    Column("claim", String(32)),  # random; of the worker that holds it
    Column("leased_until", Float),  # a claim that is not renewed ends then
    Column("attempts", Integer, nullable=False),  # how often a worker began it
    Column("stage", String(16)),  # studio.generation.progress.Stage
    Column("fraction", Float, nullable=False),
    Column("text", String(200), nullable=False),
    Column("error", String(48)),  # class of studio.core.errors, or "Fault"
    Column("error_text", String(1000)),
    Column("created_at", Float, nullable=False),
    Column("started_at", Float),
    Column("ended_at", Float),
    Column("preview", Boolean, nullable=False, server_default=false()),  # heard while it is made
)
"""One request for music, from its order to an hour after its end."""

job_output = Table(
    "job_output",
    metadata,
    Column("job_id", String(32), primary_key=True),
    Column("take", Integer, primary_key=True, autoincrement=False),
    Column("output_id", String(16), nullable=False),
)
"""What was released for a job: one output for each take, whoever made it."""

job_worker = Table(
    "job_worker",
    metadata,
    Column("worker_id", String(32), primary_key=True),
    Column("models", Text, nullable=False),  # JSON list
    Column("seen_at", Float, nullable=False),
)
"""Workers that live, for /readyz and for telling that nobody makes music."""

preview_piece = Table(
    "preview_piece",
    metadata,
    Column("job_id", String(32), primary_key=True),
    Column("take", Integer, primary_key=True, autoincrement=False),
    Column("claim", String(32), primary_key=True),  # of the worker that makes it
    Column("number", Integer, primary_key=True, autoincrement=False),  # from 0
    Column("rate", Integer, nullable=False),  # Hz
    Column("channels", Integer, nullable=False),
    Column("samples", LargeBinary, nullable=False),  # sealed, 16 bit, interleaved; empty: the end
    Column("at", Float, nullable=False),
)
"""Sealed music of a job at work, until it is released or not; not in PostgreSQL's log."""

rate_bucket = Table(
    "rate_bucket",
    metadata,
    Column("scope", String(32), primary_key=True),  # which limit
    Column("subject", String(64), primary_key=True),  # SHA-256 of whom it counts
    Column("left", Float, nullable=False),  # that may be taken at ``at``
    Column("at", Float, nullable=False),
    Column("wait_s", Float, nullable=False),  # 0: the latest was granted
)
"""Requests left to a caller, over all servers; see studio.core.db.limits."""

shared_place = Table(
    "shared_place",
    metadata,
    Column("place_id", String(32), primary_key=True),  # random
    Column("scope", String(32), nullable=False),
    Column("subject", String(64), nullable=False, index=True),
    Column("until", Float, nullable=False),  # the place of a server that was killed ends then
)
"""Work that a caller has going on some server."""

upload_size = Table(
    "upload_size",
    metadata,
    Column("upload_id", String(32), primary_key=True),  # random
    Column("scope", String(32), nullable=False),
    Column("subject", String(64), nullable=False, index=True),  # SHA-256 of whom it counts
    Column("size", BigInteger, nullable=False),  # bytes so far
    Column("held", Boolean, nullable=False),  # its file is on disk
    Column("at", Float, nullable=False),  # of the latest byte
)
"""Bytes that a caller has uploaded, at whatever server; see studio.core.db.limits."""

asked_sound = Table(
    "asked_sound",
    metadata,
    Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("sketch", LargeBinary, nullable=False),  # of studio.web.public.limits
    Column("at", Float, nullable=False, index=True),
)
"""Questions of the last hour to the public detector; no sound can be made of a sketch."""

long_check = Table(
    "long_check",
    metadata,
    Column("check_id", String(32), primary_key=True),  # random
    Column("account_id", String(32)),  # whose; None: the local owner
    Column("case_id", String(64), index=True),
    Column("name", String(300), nullable=False),  # of the file
    Column("body", Text, nullable=False),  # what the REST layer tells of it (JSON)
    Column("live", Boolean, nullable=False),  # it has not ended
    Column("stop", Boolean, nullable=False),  # its owner asked to stop it
    Column("seen_at", Float, nullable=False),
)
"""How long examinations stand, for a day; see studio.core.db.long_checks."""
