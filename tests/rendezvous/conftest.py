"""One real embedded server for all tests of this room; each test starts on an empty store."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from flask import Flask
from flask.testing import FlaskClient

from rendezvous.app import Settings, create_app
from rendezvous.embedded import EmbeddedServer
from rendezvous.store import Store


@pytest.fixture(scope="session")
def server() -> Iterator[EmbeddedServer]:
    with tempfile.TemporaryDirectory(prefix="tmge-test-") as folder:
        server = EmbeddedServer(Path(folder))
        server.start()
        yield server
        server.stop()


@pytest.fixture
def empty_redis(server: EmbeddedServer) -> "redis.Redis":
    client: redis.Redis = redis.Redis.from_url(server.url)
    client.flushall()
    return client


@pytest.fixture
def store(server: EmbeddedServer, empty_redis: "redis.Redis") -> Store:
    return Store(server.url)


@pytest.fixture(scope="session")
def app(server: EmbeddedServer) -> Flask:
    return create_app(Settings(async_mode="threading"), Store(server.url))


@pytest.fixture
def client(app: Flask, empty_redis: "redis.Redis") -> FlaskClient:
    return app.test_client()
