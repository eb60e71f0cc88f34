"""deploy/stores/postgres.yml: a real server takes its options, and the store lives in it as its head says."""

import asyncio
import re

import yaml

from sessionware.stores.open import open_store
from sessionware.stores.postgres.connecting import VERSION_MIN
from sessionware.testing.build import Maker
from tests.deploy.reading import DEPLOY
from tests.postgres_server import PostgresServer

PATH = DEPLOY / "stores" / "postgres.yml"
SERVICE = yaml.safe_load(PATH.read_text("utf-8"))["services"]["postgres"]


def test_the_image_is_new_enough():
    (version,) = re.findall(r"postgres:(\d+)-alpine", SERVICE["image"])
    assert int(version) >= VERSION_MIN


def test_the_store_in_the_head_is_the_one_that_is_made():
    (url,) = re.findall(r"SESSIONWARE_STORE=(\S+)", PATH.read_text("utf-8"))
    environment = SERVICE["environment"]
    assert url == f"postgresql://{environment['POSTGRES_USER']}:...@127.0.0.1:5432/{environment['POSTGRES_DB']}"
    assert SERVICE["ports"] == ["127.0.0.1:5432:5432"]


def test_nobody_starts_it_without_a_password_of_their_own():
    assert SERVICE["environment"]["POSTGRES_PASSWORD"].startswith("${POSTGRES_PASSWORD:?")


def test_a_real_server_takes_the_options_and_the_store_lives_in_it():
    program, *words = SERVICE["command"]
    assert (program, set(words[::2])) == ("postgres", {"-c"})

    async def keep_and_find(url):
        async with open_store(url, timeout_ms=5_000) as store:
            make = Maker.of(store)
            session = make.session()
            await store.create(make.new(session), operation=make.operation(), now=make.now)
            return await store.get(session.key, now=make.now)

    with PostgresServer(*words[1::2]) as server:
        assert asyncio.run(keep_and_find(server.url)) is not None
