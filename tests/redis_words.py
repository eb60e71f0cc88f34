"""The only place where the suite speaks to a redis-server without any of our code, one command a connection."""

import socket
from typing import Any, BinaryIO

ANSWER_WITHIN_S = 5.0


class Refused(Exception):
    """The server answered with an error; the message is what it said."""


def say(port: int, *words: object, user: str = "", password: str = "") -> Any:
    """The server's answer to one command: text, a number, nothing, or a list of those. Raises Refused, OSError."""
    place = ("127.0.0.1", port)
    with socket.create_connection(place, ANSWER_WITHIN_S) as connection, connection.makefile("rb") as answers:
        if password:
            connection.sendall(spelled("AUTH", *([user] if user else []), password))
            heard(answers)
        connection.sendall(spelled(*words))
        return heard(answers)


def spelled(*words: object) -> bytes:
    """The command as a client sends it."""
    texts = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    return b"*%d\r\n" % len(texts) + b"".join(b"$%d\r\n%b\r\n" % (len(text), text) for text in texts)


def heard(answers: BinaryIO) -> Any:
    """One answer. Raises Refused when it is an error, ConnectionError when the server has hung up."""
    line = answers.readline()
    if not line.endswith(b"\r\n"):
        raise ConnectionError("the server has closed the connection")
    kind, text = line[:1], line[1:-2].decode("utf-8", "surrogateescape")
    match kind:
        case b"+":
            return text
        case b"-":
            raise Refused(text)
        case b":":
            return int(text)
        case b"$":
            return None if text == "-1" else _text(answers, int(text))
        case b"*":
            return None if text == "-1" else [heard(answers) for _ in range(int(text))]
        case _:
            raise ConnectionError(f"not an answer of a redis-server: {line[:80]!r}")


def _text(answers: BinaryIO, length: int) -> str:
    found = answers.read(length + 2)
    if len(found) < length + 2:
        raise ConnectionError("the server has closed the connection")
    return found[:-2].decode("utf-8", "surrogateescape")


def info(port: int, section: str, *, password: str = "") -> dict[str, str]:
    """One section of INFO, field by field."""
    lines = str(say(port, "INFO", section, password=password)).splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line)
