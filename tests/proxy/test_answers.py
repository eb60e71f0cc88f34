"""Our own answers on MCP paths: always JSON-RPC, always the same status and headers, the wait told twice."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sessionware.asgi.problems import failed, problem
from sessionware.errors import InvalidToken, LimitExceeded, StoreUnavailable
from sessionware.proxy.mcp.answers import (
    as_json_rpc,
    bad_body,
    code_for,
    error_answer,
    header_mismatch,
    refusal,
    unavailable,
    unknown_session,
)
from sessionware.proxy.mcp.era import Era
from sessionware.proxy.mcp.messages import BadBody, Body, Kind, Message

CALL = Message(kind=Kind.REQUEST, id=7, method="tools/call", target="search")
LIST = Message(kind=Kind.REQUEST, id="a", method="tools/list")
LIMITED = failed(LimitExceeded("burst", used=5, allowance=5, retry_after_ms=1_500))


def told(answer):
    return json.loads(answer.body)


def test_a_refusal_keeps_its_status_its_headers_and_its_members():
    answer = as_json_rpc(LIMITED, 7)
    assert answer.status == 429
    assert dict(answer.headers) == {
        b"content-type": b"application/json",
        b"content-length": str(len(answer.body)).encode(),
        b"cache-control": b"no-store",
        b"retry-after": b"2",
        b"retry-after-ms": b"1500",
    }
    data = {"code": "rate_limited", "limit": "burst", "used": 5, "allowance": 5, "retry_after_ms": 1500}
    error = {"code": -31429, "message": "Rate limit exceeded (retry in 2 s)", "data": data}
    assert told(answer) == {"jsonrpc": "2.0", "id": 7, "error": error}


def test_a_wait_that_only_a_header_told_stands_in_the_body_too():
    answer = as_json_rpc(failed(StoreUnavailable("redis at 10.0.0.5")), 1)
    data = {"code": "store_unavailable", "retry_after_ms": 1000}
    error = {"code": -31503, "message": "Store unavailable (retry in 1 s)", "data": data}
    assert told(answer) == {"jsonrpc": "2.0", "id": 1, "error": error}


def test_a_challenge_goes_along():
    answer = as_json_rpc(failed(InvalidToken("expired")))
    assert (answer.status, dict(answer.headers)[b"www-authenticate"]) == (401, b'Bearer error="invalid_token"')
    assert told(answer)["id"] is None


def test_no_header_is_there_twice():
    for answer in (as_json_rpc(LIMITED), unknown_session(), unavailable("gone", retry_after_ms=10)):
        names = [name for name, _ in answer.headers]
        assert len(names) == len(set(names))


def test_a_tool_result_is_for_the_model_to_read():
    answer = refusal(LIMITED, Body((CALL,)), era=Era.LEGACY, as_result=True)
    data = {"code": "rate_limited", "limit": "burst", "used": 5, "allowance": 5, "retry_after_ms": 1500}
    result = {
        "content": [{"type": "text", "text": "Rate limit exceeded (retry in 2 s)"}],
        "isError": True,
        "_meta": {"sessionware/refusal": data},
    }
    assert (answer.status, told(answer)) == (200, {"jsonrpc": "2.0", "id": 7, "result": result})
    modern = told(refusal(LIMITED, Body((CALL,)), era=Era.MODERN, as_result=True))
    assert modern["result"] == result | {"resultType": "complete"}


@pytest.mark.parametrize(
    ("problem_told", "body", "request_id"),
    [
        (LIMITED, Body((LIST,)), "a"),
        (LIMITED, Body((CALL, LIST), is_batch=True), None),
        (LIMITED, Body((Message(kind=Kind.NOTIFICATION, method="notifications/x"),)), None),
        (LIMITED, None, None),
        (failed(StoreUnavailable("x")), Body((CALL,)), 7),
    ],
)
def test_only_a_limited_tool_call_becomes_a_result(problem_told, body, request_id):
    answer = refusal(problem_told, body, era=Era.LEGACY, as_result=True)
    assert (answer.status, told(answer)["id"]) == (problem_told.status, request_id)
    assert "error" in told(answer)


def test_without_the_setting_a_tool_call_gets_an_error():
    assert refusal(LIMITED, Body((CALL,)), era=Era.LEGACY, as_result=False).status == 429


def test_a_lost_session_is_a_404_with_a_body():
    error = {
        "code": -31404,
        "message": "Session not found: initialize again",
        "data": {"code": "session_not_found"},
    }
    assert (unknown_session("q").status, told(unknown_session("q"))["error"]) == (404, error)


def test_a_mismatch_has_the_protocols_own_code():
    answer = header_mismatch("Mcp-Name does not match", 3)
    error = {"code": -32020, "message": "Header mismatch: Mcp-Name does not match"}
    assert (answer.status, told(answer)) == (400, {"jsonrpc": "2.0", "id": 3, "error": error})


def test_a_bad_body_is_told_under_its_id():
    assert told(bad_body(BadBody(413, "too large", 4)))["error"]["code"] == -31413
    assert told(bad_body(BadBody(413, "too large", 4)))["id"] == 4


@settings(deadline=None)
@given(st.integers(400, 599))
def test_our_codes_stay_out_of_the_reserved_range(status):
    assert not -32768 <= code_for(status) <= -32000
    assert told(error_answer(status, "x"))["error"]["code"] == code_for(status)


def test_a_body_that_is_no_problem_is_still_answered():
    odd = problem(403, "Forbidden", "cross_site")
    odd = type(odd)(403, odd.headers, b"plain text")
    assert told(as_json_rpc(odd))["error"] == {"code": -31403, "message": "Request refused"}
