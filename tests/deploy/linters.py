"""`make lint-deploy`: the files of deploy/ before the programs that will read them, as far as they are installed.

python -m tests.deploy.linters            # prints what was not found; fails when a program finds a fault
"""

from __future__ import annotations

import datetime as dt
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.deploy.reading import DEPLOY, MANIFESTS, ROOT, STORES

LINTERS: Final = ROOT / "build" / "linters" / "bin"  # where make installs those that Python brings
EXPOSURE_MAX: Final = 20  # of 100, as systemd-analyze counts it
Lint = Callable[[str, Path], Sequence[str | Path]]


def nginx(program: str, folder: Path) -> Sequence[str | Path]:
    """The configuration with a certificate of the moment, and with a pid file that anybody may write."""
    text = (DEPLOY / "nginx" / "nginx.conf").read_text("utf-8")
    path = folder / "nginx.conf"
    path.write_text(text.replace("/etc/nginx/tls", str(folder)).replace("/run/nginx.pid", f"{folder}/nginx.pid"))
    return [program, "-t", "-q", "-c", path]


def haproxy(program: str, folder: Path) -> Sequence[str | Path]:
    text = (DEPLOY / "haproxy" / "haproxy.cfg").read_text("utf-8")
    path = folder / "haproxy.cfg"
    path.write_text(text.replace("/etc/haproxy/tls", str(folder)))
    return [program, "-c", "-q", "-f", path]


def envoy(program: str, folder: Path) -> Sequence[str | Path]:
    path = folder / "envoy.yaml"
    path.write_text((DEPLOY / "envoy" / "envoy.yaml").read_text("utf-8").replace("/etc/envoy/tls", str(folder)))
    return [program, "--mode", "validate", "-c", path]


def envoy_fields(program: str, _: Path) -> Sequence[str | Path]:
    return [program, Path(__file__).with_name("envoy_api.py"), DEPLOY / "envoy" / "envoy.yaml"]


def _unit(folder: Path) -> Path:
    """The unit, with a program in it that is there."""
    path = folder / "sessionware-proxy.service"
    text = (DEPLOY / "systemd" / "sessionware-proxy.service").read_text("utf-8")
    path.write_text(text.replace("/opt/sessionware/bin/sessionware", sys.executable))
    return path


def systemd(program: str, folder: Path) -> Sequence[str | Path]:
    return [program, "verify", "--man=no", _unit(folder)]


def systemd_security(program: str, folder: Path) -> Sequence[str | Path]:
    return [program, "security", "--no-pager", "--offline=true", f"--threshold={EXPOSURE_MAX}", _unit(folder)]


def kubernetes(program: str, _: Path) -> Sequence[str | Path]:
    return [program, "--strict", "--quiet", *MANIFESTS]


def compose(program: str, _: Path) -> Sequence[str | Path]:
    return [program, "--builtin-schema", "vendor.compose-spec", DEPLOY / "docker-compose.yml", *STORES]


def docker(program: str, _: Path) -> Sequence[str | Path]:
    return [program, DEPLOY / "Dockerfile"]


LINTS: Final[Sequence[tuple[str, Lint]]] = (
    ("nginx", nginx),
    ("haproxy", haproxy),
    ("envoy", envoy),
    (str(LINTERS / "python"), envoy_fields),
    ("systemd-analyze", systemd),
    ("systemd-analyze", systemd_security),
    ("kubernetes-validate", kubernetes),
    ("check-jsonschema", compose),
    ("hadolint", docker),
)


def main() -> int:
    failed = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _certify(folder)
        for program, lint in LINTS:
            found = shutil.which(program) or shutil.which(program, path=str(LINTERS))
            if found is None:
                print(f"NOT LINTED: {lint.__name__}: {Path(program).name} is not installed")
                continue
            done = subprocess.run(lint(found, folder), capture_output=True, text=True, check=False)
            print(f"{'ok' if done.returncode == 0 else 'FAILED'}: {lint.__name__} ({Path(program).name})")
            if done.returncode:
                failed += 1
                print(done.stdout + done.stderr)
    return 1 if failed else 0


def _certify(folder: Path) -> None:
    """A key and a certificate, in the files that the configurations name."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "mcp.example.com")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + dt.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = certificate.public_bytes(serialization.Encoding.PEM)
    (folder / "mcp.key").write_bytes(private)
    (folder / "mcp.crt").write_bytes(public)
    (folder / "mcp.pem").write_bytes(public + private)


if __name__ == "__main__":
    sys.exit(main())
