"""The fields of envoy.yaml against Envoy's API: run by the interpreter that has envoy-data-plane. Fails with the field.

Envoy itself would check more; where it is not installed, a misspelt or misplaced field is still found.
"""

import sys
from pathlib import Path
from typing import Any

import yaml
from envoy_data_plane.envoy.config.bootstrap.v3 import Bootstrap
from envoy_data_plane.envoy.extensions.filters.http.router.v3 import Router
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpConnectionManager
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import DownstreamTlsContext

MESSAGES = {each.__name__: each for each in (Router, HttpConnectionManager, DownstreamTlsContext)}


def check(value: Any) -> Any:
    """The value without its typed messages, each of which has been read by its own class."""
    if isinstance(value, list):
        return [check(each) for each in value]
    if not isinstance(value, dict):
        return value
    plain = {key: check(each) for key, each in value.items() if key != "typed_config"}
    typed = value.get("typed_config")
    if typed is not None:
        message = MESSAGES[typed["@type"].rpartition(".")[2]]
        message.from_dict({key: check(each) for key, each in typed.items() if key != "@type"})
    return plain


if __name__ == "__main__":
    Bootstrap.from_dict(check(yaml.safe_load(Path(sys.argv[1]).read_text("utf-8"))))
