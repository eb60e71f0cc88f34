"""The only place that reads `/metrics` for the suite."""

import httpx2
from prometheus_client.parser import text_string_to_metric_families

from tests.standalone.running_proxy import RunningProxy


def scraped(proxy: RunningProxy, url: str = "") -> dict[str, float]:
    """Every series by its name and labels: `name` or `name{label=value,other=value}`, labels in order."""

    answer = httpx2.get((url or proxy.url) + "/metrics", timeout=10)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    found = {}
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            found[sample.name + (f"{{{labels}}}" if labels else "")] = sample.value
    return found
