"""What the demo listens on."""

import socket

from sessionware.demo.serving import listening_on


def test_a_connection_to_the_demo_waits_for_no_receipt():
    with listening_on("127.0.0.1", 0) as listening, socket.create_connection(listening.getsockname()):
        accepted, _ = listening.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
