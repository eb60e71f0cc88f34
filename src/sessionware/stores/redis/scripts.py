"""The only place that knows which Lua files make up which script."""

from __future__ import annotations

from hashlib import sha1
from importlib.resources import files
from typing import Final

from msgspec import Struct

PARTS: Final[dict[str, tuple[str, ...]]] = {
    "admit": ("prelude", "rarely", "admit"),
    "create": ("prelude", "showing", "operations", "ending", "making", "create"),
    "get": ("prelude", "showing", "get"),
    "update": ("prelude", "showing", "update"),
    "rebind": ("prelude", "showing", "ending", "rebind"),
    "link": ("prelude", "showing", "operations", "ending", "link"),
    "unlink": ("prelude", "showing", "ending", "unlink"),
    "moving": ("prelude", "moving"),
    "move": ("prelude", "showing", "ending", "making", "move"),
    "delete": ("prelude", "showing", "ending", "delete"),
    "list": ("prelude", "list"),
    "reap": ("prelude", "showing", "ending", "making", "reap"),
    "revoke": ("prelude", "showing", "ending", "revoke"),
    "append": ("prelude", "append"),
    "tail": ("prelude", "tail"),
    "record": ("prelude", "showing", "operations", "ending", "record"),
    # On Redis Cluster, what lies in other buckets than the partition's own:
    "wide": ("prelude", "operations", "wide"),
    "giving": ("prelude", "operations", "giving"),
    "holder": ("prelude", "showing", "ending", "holder"),
    "due": ("prelude", "due"),
}

# Lua makes its functions anew at every call, 0.1 us each: what an admission rarely needs is made when it is needed.
RARELY: Final = ("operations", "showing", "ending", "making")
RARELY_USED: Final = "first_answer, keep_answer, shown_link, count_binding, sweep_for_levels, room_for, make"


# What must not come back when a replica takes over: revocations, ends, the old ids of rotated sessions.
LASTING: Final = frozenset({"revoke", "delete", "move"})


class Script(Struct, frozen=True):
    """One script: its whole text, and the name by which the server knows it."""

    text: str
    sha: str
    is_lasting: bool = False


def load_scripts() -> dict[str, Script]:
    """Read and assemble every script."""
    folder = files(__package__) / "lua"
    names = {part for parts in (*PARTS.values(), RARELY) for part in parts} - {"rarely"}
    texts = {name: (folder / f"{name}.lua").read_text() for name in names}
    made_late = "\n".join(texts[part] for part in RARELY)
    texts["rarely"] = f"local function rarely()\n{made_late}\nreturn {RARELY_USED}\nend\n"
    scripts = {}
    for name, parts in PARTS.items():
        text = "\n".join(texts[part] for part in parts)
        # The server's own name for a script is its SHA-1; nothing here depends on its strength.
        scripts[name] = Script(text, sha1(text.encode(), usedforsecurity=False).hexdigest(), name in LASTING)
    return scripts
