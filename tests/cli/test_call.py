"""`sessionware call` for smoke tests: the text of the answer, one clear line for a refusal, and exit codes."""

import io
import json

import pytest

from sessionware.cli import main
from tests.mcp_servers import CONFORMANCE, McpServer
from tests.servers import free_port
from tests.serving import Server


@pytest.fixture(scope="module")
def url():
    with McpServer(name="one") as server:
        yield server.url


@pytest.fixture(scope="module")
def examined():
    with McpServer(module=CONFORMANCE) as server:
        yield server.url


@pytest.mark.parametrize("era", [[], ["--legacy"]])
def test_the_text_of_the_answer_is_printed(url, era, capsys):
    assert main(["call", url, "remember", '{"text": "tea", "handle": "mine"}', *era]) == 0
    assert main(["call", url, "recall", '{"handle": "mine"}', *era]) == 0
    assert capsys.readouterr().out.endswith("\ntea\n")


@pytest.mark.parametrize("era", [[], ["--legacy"]])
def test_without_a_tool_the_tools_are_listed(url, era, capsys):
    assert main(["call", url, *era]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines] == [
        "whoami()", "remember(text, handle?)", "recall(handle?)", "counter(handle?)", "sleep(seconds, steps?)", "pid()",
    ]  # fmt: skip
    assert lines[-1] == "pid()  Say which process answers."


def test_progress_goes_to_standard_error(url, capsys):
    assert main(["call", url, "sleep", '{"seconds": 0.02, "steps": 1}']) == 0
    assert capsys.readouterr() == ("slept 0.02 s\n", "progress 0/1 step 0 of 1\nprogress 1/1 step 1 of 1\n")


def test_a_tool_that_fails_is_exit_code_1(url, capsys):
    assert main(["call", url, "recall"]) == 1
    out, err = capsys.readouterr()
    assert (out, "pass the handle that remember gave" in err) == ("", True)


def test_the_token_may_come_from_standard_input(url, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("secret\n"))
    assert main(["call", url, "whoami", "--session", "alice-1", "--token", "-"]) == 0
    headers = json.loads(capsys.readouterr().out)["headers"]
    assert (headers["authorization"], headers["x-session-id"]) == ("Bearer secret", "alice-1")


def test_what_is_no_text_is_printed_as_json(examined, capsys):
    assert main(["call", examined, "test_multiple_content_types"]) == 0
    first, second, _ = capsys.readouterr().out.splitlines()
    assert (first, json.loads(second)["mimeType"]) == ("Multiple content types test:", "image/png")


def test_a_question_back_is_exit_code_1(examined, capsys):
    assert main(["call", examined, "test_input_required_result_elicitation"]) == 1
    assert capsys.readouterr().err == (
        "sessionware: the tool asks back, which this client cannot answer: elicitation/create\n"
    )


def test_a_refusal_is_one_clear_line(url, capsys):
    assert main(["call", url.replace("/mcp", "/elsewhere"), "recall"]) == 1
    assert capsys.readouterr().err == "sessionware: HTTP 404: Not Found\n"


def test_a_servers_words_never_move_the_cursor(capsys):
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 400, "headers": [(b"content-type", b"application/json")]})
        body = b'{"error": {"code": 1, "message": "\\u001b[2Jgone\\nsessionware: all is well"}}'
        await send({"type": "http.response.body", "body": body})

    with Server(app) as server:
        assert main(["call", server.url, "recall"]) == 1
    assert capsys.readouterr().err == "sessionware: HTTP 400, JSON-RPC 1:  [2Jgone sessionware: all is well\n"


def test_a_server_that_is_not_there_is_one_clear_line(capsys):
    nowhere = f"http://127.0.0.1:{free_port()}/mcp"
    assert main(["call", nowhere, "recall"]) == 1
    assert capsys.readouterr().err.startswith(f"sessionware: cannot reach {nowhere}: ")


def test_a_server_that_is_silent_is_one_clear_line(url, capsys):
    assert main(["call", url, "sleep", '{"seconds": 5, "steps": 1}', "--timeout", "0.3"]) == 1
    assert capsys.readouterr().err.splitlines()[-1] == f"sessionware: {url} did not answer in time"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["127.0.0.1:8080/mcp", "recall"], "the URL must start with http:// or https://"),
        (["http://127.0.0.1/mcp", "recall", "text=tea"], "the arguments must be a JSON object, got 'text=tea'"),
        (["http://127.0.0.1/mcp", "recall", "[1]"], "the arguments must be a JSON object, got '[1]'"),
        (["http://127.0.0.1/mcp", "recall", "--session", "a\r\nb"], "--session must be printable ASCII"),
        (["http://127.0.0.1/mcp", "recall", "--token", "ü"], "--token must be printable ASCII"),
    ],
)
def test_what_cannot_be_sent_is_exit_code_2(arguments, complaint, capsys):
    assert main(["call", *arguments]) == 2
    assert complaint in capsys.readouterr().err
