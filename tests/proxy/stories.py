"""What the stories of the proxy share: who takes part, and what is said in the eras before 2026-07-28."""

import httpx2

SESSIONS = [("alice", "one"), ("alice", "two"), ("bob", "one"), ("bob", "two")]
FORMS = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
LATER = FORMS | {"MCP-Protocol-Version": "2025-11-25"}
HELLO = {
    "jsonrpc": "2.0", "id": 1, "method": "initialize",
    "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}},
}  # fmt: skip
LIST = {"jsonrpc": "2.0", "id": 5, "method": "tools/list"}


def text(called):
    return "".join(part["text"] for part in called.content)


def begun(server, **headers):
    """An id that initialize has handed out."""
    answer = httpx2.post(f"{server.url}/mcp", headers=FORMS | headers, json=HELLO)
    assert answer.status_code == 200, answer.text
    return answer.headers["Mcp-Session-Id"]


def asked(server, legacy_id, message=LIST, **headers):
    return httpx2.post(f"{server.url}/mcp", headers=LATER | {"Mcp-Session-Id": legacy_id} | headers, json=message)


def modern(method, name=None, **headers):
    """The headers of a request of 2026-07-28."""
    named = {} if name is None else {"Mcp-Name": name}
    return FORMS | {"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": method} | named | headers


def call(tool, request_id=5, **arguments):
    params = {"name": tool, "arguments": arguments}
    return {"jsonrpc": "2.0", "id": request_id, "method": "tools/call", "params": params}


def first_asked(listening, mark):
    """The first connection on which something is said, and that up to the mark; probes only come and go."""
    while True:
        connection, _ = listening.accept()
        connection.settimeout(5)
        said = b""
        while mark not in said:
            more = connection.recv(65536)
            if not more:
                break
            said += more
        if said:
            return connection, said
        connection.close()
