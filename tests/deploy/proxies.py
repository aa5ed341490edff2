"""nginx and Caddy before a server, as deploy/ has them: `make deploy-check`. Debian: apt-get install nginx caddy."""

from __future__ import annotations

import asyncio
import datetime as dt
import ipaddress
import shutil
import socket
import ssl
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import httpx2
import pytest
import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Origin, Subprotocol

from graph.operations import operation
from graph.settings import Settings
from tests.support.graphql_socket import Socket
from tests.support.own_program import SECONDS, free_port, program, running
from tests.support.real_server import RealServer, real_server

DEPLOY: Final = Path(__file__).parents[2] / "deploy"
NAME: Final = "mesh.example.com"
ALLOWED: Final = "https://ops.example.com"
"""The origin of a page that may use the API."""


@dataclass(frozen=True)
class Proxy:
    """`url` is that of the name; requests go to a port of this machine."""

    url: str
    port: int
    tls: ssl.SSLContext | None

    def client(self) -> httpx2.Client:
        origin = f"{'http' if self.tls is None else 'https'}://127.0.0.1:{self.port}"
        return httpx2.Client(
            base_url=origin, headers={"host": NAME}, verify=self.tls or True, timeout=SECONDS, trust_env=False
        )


def replaced(text: str, changes: Mapping[str, str]) -> str:
    """Each of these must be there once."""
    for old, new in changes.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


def certified(folder: Path) -> ssl.SSLContext:
    """Makes `certificate` and `key`. What trusts them."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, NAME)])
    now = dt.datetime.now(dt.UTC)
    alternatives = [x509.DNSName(NAME), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .sign(key, hashes.SHA256())
    )
    encoding, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    (folder / "certificate").write_bytes(certificate.public_bytes(encoding))
    (folder / "key").write_bytes(key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, plain))
    return ssl.create_default_context(cafile=folder / "certificate")


@contextmanager
def nginx(server: str, folder: Path) -> Iterator[Proxy]:
    port, trusting = free_port(), certified(folder)
    own = replaced(
        (DEPLOY / "nginx" / "omnirelay.conf").read_text(encoding="utf-8"),
        {
            "server 127.0.0.1:8080;": f"server {urlsplit(server).netloc};",
            "listen 443 ssl http2;": f"listen 127.0.0.1:{port} ssl http2;",
            f"/etc/nginx/{NAME}.crt": str(folder / "certificate"),
            f"/etc/nginx/{NAME}.key": str(folder / "key"),
        },
    )
    (folder / "omnirelay.conf").write_text(own)
    paths = " ".join(
        f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    main = folder / "nginx.conf"
    main.write_text(
        f"daemon off; pid {folder}/pid; error_log {folder}/errors; events {{ worker_connections 256; }}\n"
        f"http {{ access_log off; {paths} include {folder}/omnirelay.conf; }}\n"
    )
    command = (program("nginx") or "nginx", "-e", folder / "errors", "-p", folder, "-c", main)
    with running(folder, *command, port=port):
        yield Proxy(f"wss://{NAME}:{port}", port, trusting)


@contextmanager
def caddy(server: str, folder: Path) -> Iterator[Proxy]:
    """Without TLS, for which it would ask for a certificate."""
    port = free_port()
    own = replaced(
        (DEPLOY / "caddy" / "Caddyfile").read_text(encoding="utf-8"),
        {f"{NAME} {{": f"http://{NAME}:{port} {{", "127.0.0.1:8080": urlsplit(server).netloc},
    )
    (folder / "Caddyfile").write_text(own)
    command = (program("caddy") or "caddy", "run", "--adapter", "caddyfile", "--config", folder / "Caddyfile")
    with running(folder, *command, port=port):
        yield Proxy(f"ws://{NAME}:{port}", port, None)


PROXIES: Final[Mapping[str, Callable[[str, Path], object]]] = {"nginx": nginx, "caddy": caddy}


@pytest.fixture(scope="module")
def server(module_database_url: str) -> Iterator[RealServer]:
    with real_server(
        module_database_url,
        environment={"OMNIRELAY_ALLOWED_HOSTS": f"{NAME},127.0.0.1", "OMNIRELAY_ALLOWED_ORIGINS": ALLOWED},
    ) as server:
        server.change(
            "ConfigureNamespace", "NamespaceConfigured", name="orders", strategy="rendezvous", expectedVersion="0"
        )
        yield server


@pytest.fixture(scope="module", params=PROXIES)
def proxy(request: pytest.FixtureRequest, server: RealServer) -> Iterator[Proxy]:
    if program(request.param) is None:
        pytest.skip(f"cannot run: {request.param} is not installed")
    folder = Path(tempfile.mkdtemp(prefix=f"{request.param}-", dir="/tmp"))
    folder.chmod(0o755)  # nginx has its workers run as another user
    try:
        with PROXIES[request.param](server.url, folder) as proxy:  # type: ignore[attr-defined]
            yield proxy
    finally:
        shutil.rmtree(folder)


def create(server: RealServer, shard: str) -> None:
    given = {"namespace": "orders", "shardId": shard, "ownerNodeId": "node-1"}
    server.change("CreateShards", "ShardsChanged", shards=[given])


def test_a_query_is_answered(proxy: Proxy) -> None:
    with proxy.client() as client:
        answer = client.post("/graphql", json={"query": operation("ListNamespaces")})
    assert "errors" not in answer.json(), answer.text


def test_a_websocket_gets_what_is_committed(proxy: Proxy, server: RealServer) -> None:
    async def follow() -> None:
        connection = await connect(
            f"{proxy.url}/graphql",
            sock=socket.create_connection(("127.0.0.1", proxy.port)),
            ssl=proxy.tls,
            subprotocols=[Subprotocol("graphql-transport-ws")],
        )
        async with connection:
            client = Socket(connection)
            await client.send({"type": "connection_init"})
            assert await client.receive() == {"type": "connection_ack"}
            await client.subscribe(operation("WatchShards"), {"namespace": "orders"})
            assert (await client.batch())["caughtUp"]
            shard = f"ws-{proxy.port}"
            await asyncio.to_thread(create, server, shard)
            while not (diffs := (await client.batch())["diffs"]):
                pass
            assert [diff["shardId"] for diff in diffs] == [shard]

    asyncio.run(asyncio.wait_for(follow(), SECONDS))


def test_pages_of_the_proxy_and_of_allowed_origins_may_use_the_api(proxy: Proxy) -> None:
    asked = {"access-control-request-method": "POST", "access-control-request-headers": "content-type"}
    with proxy.client() as client:
        preflight = client.options("/graphql", headers={"origin": ALLOWED, **asked})
        assert (preflight.status_code, preflight.headers["access-control-allow-origin"]) == (204, ALLOWED)
        answer = client.post("/graphql", json={"query": operation("StreamHead")}, headers={"origin": ALLOWED})
        assert answer.headers["access-control-allow-origin"] == ALLOWED
        assert client.get("/graphql", headers={"accept": "text/html"}).headers["content-type"].startswith("text/html")

    async def opened(origin: str) -> None:
        connection = await connect(
            f"{proxy.url}/graphql",
            sock=socket.create_connection(("127.0.0.1", proxy.port)),
            ssl=proxy.tls,
            origin=Origin(origin),
            subprotocols=[Subprotocol("graphql-transport-ws")],
        )
        await connection.close()

    asyncio.run(opened(ALLOWED))
    asyncio.run(opened(proxy.url.replace("ws", "http", 1)))
    with pytest.raises(InvalidStatus):
        asyncio.run(opened("https://elsewhere.example"))


def test_an_event_stream_comes_event_by_event(proxy: Proxy, server: RealServer) -> None:
    request = {"query": operation("WatchShards"), "variables": {"namespace": "orders"}}
    shard = f"sse-{proxy.port}"
    with (
        proxy.client() as client,
        client.stream("POST", "/graphql", json=request, headers={"accept": "text/event-stream"}) as answer,
    ):
        lines = answer.iter_lines()
        while '"caughtUp":true' not in next(lines):
            pass
        create(server, shard)
        while shard not in next(lines):
            pass


def test_what_is_larger_than_the_server_takes_is_refused(proxy: Proxy) -> None:
    query, most = (Settings.model_fields[name].default for name in ("max_body_bytes", "max_mutation_bytes"))
    assert most == 16 * 1024**2
    assert "client_max_body_size 16m;" in (DEPLOY / "nginx" / "omnirelay.conf").read_text(encoding="utf-8")
    assert "max_size 16MiB" in (DEPLOY / "caddy" / "Caddyfile").read_text(encoding="utf-8")
    with proxy.client() as client:
        # Debian's Caddy passes on the beginning of what is too large, and calls it 502 that the server had enough.
        for size, statuses in ((query - 1, {400}), (query + 1, {413, 502}), (most + 1, {413, 502})):
            answer = client.post("/graphql", content=b" " * size, headers={"content-type": "application/json"})
            assert answer.status_code in statuses


def test_probes_are_passed_on_and_metrics_are_not(proxy: Proxy) -> None:
    with proxy.client() as client:
        assert [client.get(path).status_code for path in ("/readyz", "/healthz", "/metrics")] == [200, 200, 404]


def test_idle_connections_are_given_up_before_the_server_does() -> None:
    seconds = uvicorn.Config(app="").timeout_keep_alive
    assert "keepalive_timeout 4s;" in (DEPLOY / "nginx" / "omnirelay.conf").read_text(encoding="utf-8")
    assert "keepalive 4s" in (DEPLOY / "caddy" / "Caddyfile").read_text(encoding="utf-8")
    assert seconds > 4
