"""The upstream leg: a small HTTP/1.1 client that re-frames everything and never repeats what may have been done."""

from sessionware.proxy.wire.addresses import Address
from sessionware.proxy.wire.faults import BadAnswer, MayBeDelivered, NotDelivered, Reason, UnwritableRequest, WireFault
from sessionware.proxy.wire.requests import HeaderBlock, UpstreamRequest, block_of
from sessionware.proxy.wire.response import Response
from sessionware.proxy.wire.sending import Wire
from sessionware.proxy.wire.terms import Deadlines, WireLimits

__all__ = [
    "Address", "BadAnswer", "Deadlines", "HeaderBlock", "MayBeDelivered", "NotDelivered", "Reason", "Response",
    "UnwritableRequest", "UpstreamRequest", "Wire", "WireFault", "WireLimits", "block_of",
]  # fmt: skip
