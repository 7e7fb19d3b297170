"""Requests made up from the OpenAPI description, against the whole application.

Each operation gets a bounded number of them, the same at every run: values that the description
permits, and values that it forbids. No answer may be a fault of ours, and each must be one that the
description names, in its shape.
"""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.core.transport import Response
from starlette.testclient import TestClient

from studio.app.gateway import Gateway
from studio.web.server import create_app
from tests.support.studios import PlainGenerator, as_owner, make_studio

EXAMPLES = 6  # of an operation and a kind of values
CHECKED = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
)

load_all_checks()


@pytest.fixture(scope="module")
def application(tmp_path_factory):
    """The application over a real studio with an output, which answers this machine."""
    with make_studio(tmp_path_factory.mktemp("openapi"), generator=PlainGenerator()) as studio:
        many = {"requests_per_minute": 10**6, "jobs_at_a_time": 2, "checks_at_a_time": 2}
        accounts = studio.config.accounts.model_copy(update=many)
        studio.config = studio.config.model_copy(update={"accounts": accounts})
        owner = as_owner(studio)
        owner.generation.recover()
        owner.generation.create(owner.generation.request(["genre/jazz"], duration_s=3.0, seed=1))

        async def build():
            return create_app(Gateway(studio))

        with TestClient(
            asyncio.run(build()), base_url="http://localhost", client=("127.0.0.1", 50000)
        ) as client:
            client.follow_redirects = False
            yield client


def operations(described: dict):
    schema = schemathesis.openapi.from_dict(described)
    for result in schema.get_all_operations():
        operation = result.ok()
        if (operation.method, operation.path) != ("delete", "/session"):  # nobody is signed in
            yield operation


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_no_request_of_the_description_gets_a_fault_or_an_undescribed_answer(application, mode):
    described = application.get("/api/v1/openapi.json").json()
    answers: Counter[int] = Counter()
    faults: list[str] = []
    checks = [CHECKS.get_one(name) for name in CHECKED]
    for operation in operations(described):

        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def ask(case):
            wanted = case.as_transport_kwargs(base_url="http://localhost/api/v1")
            wanted.pop("cookies", None)
            if isinstance(wanted.get("data"), bytes):
                wanted["content"] = wanted.pop("data")
            answer = application.request(**wanted)
            answers[answer.status_code] += 1
            case.validate_response(_as_schemathesis(case, answer), checks=checks)

        try:
            ask()
        except (Failure, FailureGroup) as exc:
            faults.append(f"{operation.label}: {exc}")
    assert not faults, "\n".join(faults)
    assert sum(answers.values()) > 200
    assert answers[200] > 20, answers


def _as_schemathesis(case, answer) -> Response:
    """Without the request itself, whose body was a stream."""
    return Response(
        status_code=answer.status_code,
        headers={name: [value] for name, value in answer.headers.items()},
        content=answer.content,
        request=requests.Request(case.method, "http://localhost/api/v1").prepare(),
        elapsed=0.0,
        verify=True,
    )
