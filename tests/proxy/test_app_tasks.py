"""Whoever asks for a task is led to the upstream that has made it, in the era without sessions of its own."""

import base64
import contextlib
import json

import httpx2
import pytest

from sessionware.core.store import Query
from sessionware.proxy.tasks import FOUND_MAX, TASKS_MAX, TaskFinder, Tasks
from tests.proxy.standing_proxy import TOKENS, installed, serving, token
from tests.proxy.stories import call, modern
from tests.proxy.telling_upstream import events, json_answer, telling


def making(name, in_events):
    """An upstream that makes a task of each call, and knows its own."""

    def answer(seen):
        asked = json.loads(seen.body)
        if asked["method"] == "tools/call":
            task = {"taskId": f"{name} é/{asked['id']}", "status": "working"}
            result = {"resultType": "task", **task} if asked["id"] % 2 else {"task": task}
        else:
            result = {"at": name}
        message = {"jsonrpc": "2.0", "id": asked["id"], "result": result}
        if not in_events:
            return json_answer(message)
        told = json.dumps(message).encode()
        return events(b"event: message\ndata: " + told[:30], told[30:45], told[45:] + b"\n\n")

    return answer


def post(door, user, session, message, *, name):
    method = message["method"]
    headers = modern(method, name, **{"X-Session-ID": session}) if session else modern(method, name)
    if user:
        headers["Authorization"] = f"Bearer {token(user)}"
    answer = httpx2.post(f"{door.url}/mcp", headers=headers, json=message)
    assert answer.status_code == 200, answer.text
    line = next(each for each in answer.text.splitlines() if "jsonrpc" in each)
    return json.loads(line.removeprefix("data: "))["result"]


def made(door, user, session, number):
    result = post(door, user, session, call("work", number), name="work")
    return result.get("taskId") or result["task"]["taskId"]


def place(door, user, session, task, encoded=None):
    message = {"jsonrpc": "2.0", "id": 1, "method": "tasks/get", "params": {"taskId": task}}
    return post(door, user, session, message, name=encoded or task)["at"]


def sentinel(task):
    return f"=?base64?{base64.b64encode(task.encode()).decode()}?="


@pytest.mark.parametrize("in_events", [False, True])
def test_a_task_is_asked_for_where_it_was_made_from_whatever_session(in_events):
    with (
        telling(making("one", in_events)) as one,
        telling(making("two", in_events)) as two,
        serving(f"{one.url},{two.url}", **TOKENS) as door,
    ):
        tasks = {made(door, "alice", f"s{number}", number) for number in range(12)}
        assert {task.partition(" ")[0] for task in tasks} == {"one", "two"}
        for task in tasks:
            for session in ["s1", "s2", "other", None]:
                assert place(door, "alice", session, task, sentinel(task)) == task.partition(" ")[0]


def test_after_the_session_has_moved_its_task_is_where_it_was():
    with (
        telling(making("one", in_events=False)) as one,
        telling(making("two", in_events=False)) as two,
        installed(f"first@{one.url},second@{two.url}", **TOKENS) as (door, sessionware),
    ):
        task = made(door, "alice", "s", 1)
        there = task.partition(" ")[0]
        was, to = ("first", "second") if there == "one" else ("second", "first")
        runtime = sessionware.engine.runtime
        key = door.run(runtime.store.list(Query(), now=runtime.now())).sessions[0].key
        assert door.run(runtime.store.rebind(key, pool="default", was=was, to=to, now=runtime.now())) == to
        assert made(door, "alice", "s", 2).partition(" ")[0] != there
        assert place(door, "alice", "s", task, sentinel(task)) == there
        assert made(door, "alice", "s", 3).partition(" ")[0] != there


def test_nobody_is_led_by_the_id_of_somebody_else_s_task():
    tasks = Tasks()
    tasks.made("pool", b"alice", "t", upstream="one")
    assert tasks.place("pool", b"alice", "t") == "one"
    assert tasks.place("pool", b"bob", "t") is tasks.place("other", b"alice", "t") is None


def test_only_so_many_are_remembered_and_the_longest_unused_goes():
    tasks = Tasks()
    for number in range(TASKS_MAX):
        tasks.made("pool", b"a", str(number), upstream="one")
    assert tasks.place("pool", b"a", "0") == "one"
    tasks.made("pool", b"a", "more", upstream="two")
    assert tasks.place("pool", b"a", "0") == "one"
    assert tasks.place("pool", b"a", "1") is None


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_ids_are_found_however_the_answer_is_cut(size):
    tasks = Tasks()
    finder = TaskFinder(tasks, "pool", b"a", upstream="one")
    told = (
        b'{"text":"\\"taskId\\":\\"fake\\"","taskId" : "a\\u00e9\\"b","x":'
        + b" " * 3000
        + b'{"taskId":"c"},"taskId":5}'
    )
    for at in range(0, len(told), size):
        finder.feed(told[at : at + size])
    assert [tasks.place("pool", b"a", each) for each in ['aé"b', "c", "fake"]] == ["one", "one", None]


def test_an_answer_full_of_ids_is_not_all_remembered():
    tasks = Tasks()
    finder = TaskFinder(tasks, "pool", b"a", upstream="one")
    for number in range(100):
        finder.feed(b'{"taskId":"%d"}' % number)
    assert tasks.place("pool", b"a", "99") is None
    assert finder.found == FOUND_MAX


def test_a_task_s_upstream_that_is_gone_leaves_the_session_its_own():
    with (
        contextlib.ExitStack() as one_s_life,
        telling(making("two", in_events=False)) as two,
    ):
        one = one_s_life.enter_context(telling(making("one", in_events=False)))
        with serving(f"{one.url},{two.url}", **TOKENS) as door:
            tasks = [made(door, "alice", f"s{number}", number) for number in range(12)]
            lost = next(task for task in tasks if task.startswith("one"))
            session = f"s{next(at for at, task in enumerate(tasks) if task.startswith('two'))}"
            one_s_life.close()
            for _ in range(2):
                assert place(door, "alice", session, lost, sentinel(lost)) == "two"
