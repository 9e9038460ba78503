"""TLS in front of the rendezvous: nginx as the documentation has it, an agent that reaches it by https, and whose
address counts.
"""

import contextlib
import datetime
import ipaddress
import os
import signal
import socket
import string
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from rendezvous.contract import relay
from rendezvous.relay_check import WebSocketLine, bind
from tests.rendezvous.test_relay_sockets import tickets
from tests.support import foreign
from tests.support.directory_client import client
from tests.support.live_rendezvous import PATIENCE, Rendezvous, Someone, running
from tests.support.programs import ROOT, Agent, free_port, furnished

MAIN = """
pid $folder/pid; error_log $folder/errors; daemon off; master_process off;
events {}
http {
    access_log off;
    client_body_temp_path $folder/body; proxy_temp_path $folder/proxy; fastcgi_temp_path $folder/fastcgi;
    uwsgi_temp_path $folder/uwsgi; scgi_temp_path $folder/scgi;
    include $folder/site.conf;
}
"""


def certificate(folder: Path) -> None:
    """Write a certificate for this machine, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a rendezvous")])
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    now, day = datetime.datetime.now(datetime.UTC), datetime.timedelta(days=1)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now - day, now + day)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "certificate.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    form, none = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (folder / "key.pem").write_bytes(key.private_bytes(serialization.Encoding.PEM, form, none))


@contextlib.contextmanager
def nginx(folder: Path, upstream: int) -> Iterator[int]:
    """Run nginx with the site of the documentation; yield its port."""
    found = foreign.program("nginx", "nginx")
    folder.mkdir()
    certificate(folder)
    port = free_port()
    site = {
        "TMGE_UPSTREAM": f"127.0.0.1:{upstream}",
        "TMGE_TLS_PORT": f"127.0.0.1:{port}",
        "TMGE_DOMAIN": "localhost",
        "TMGE_CERTIFICATE": str(folder / "certificate.pem"),
        "TMGE_CERTIFICATE_KEY": str(folder / "key.pem"),
    }
    template = string.Template((ROOT / "docker" / "nginx.conf.template").read_text(encoding="utf-8"))
    (folder / "site.conf").write_text(template.safe_substitute(site), encoding="utf-8")
    (folder / "nginx.conf").write_text(string.Template(MAIN).substitute(folder=folder), encoding="utf-8")
    command = [found.path, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", str(folder / "errors")]
    process = subprocess.Popen(command, env=found.environment)
    try:
        deadline = time.monotonic() + PATIENCE
        while not listens(port):
            assert process.poll() is None, (folder / "errors").read_text()
            assert time.monotonic() < deadline
        yield port
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE)


def listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tls")


@pytest.fixture(scope="module")
def rendezvous(folder: Path) -> Iterator[Rendezvous]:
    with running(folder / "data", "--trusted-proxy", "127.0.0.1", "--limit", "signup=9/minute") as rendezvous:
        yield rendezvous


@pytest.fixture(scope="module")
def url(folder: Path, rendezvous: Rendezvous) -> Iterator[str]:
    """Where the rendezvous is by https; this process, and what it starts, trusts the certificate meanwhile."""
    with nginx(folder / "nginx", rendezvous.port) as port, pytest.MonkeyPatch.context() as patch:
        certificate = str(folder / "nginx" / "certificate.pem")
        patch.setenv("SSL_CERT_FILE", certificate)
        patch.setenv("REQUESTS_CA_BUNDLE", certificate)
        yield f"https://localhost:{port}"


def test_a_client_of_the_directory_lives_behind_tls(url: str, rendezvous: Rendezvous) -> None:
    with client(url, Someone(1)) as alice:
        alice.directory.sign_up("alice", 5001)
        alice.until("up", "Signed up")
        alice.directory.watch(["bob"])
        with client(rendezvous.url, Someone(2)) as bob:
            bob.directory.sign_up("bob", 5001)
            alice.until_online("bob", True)
        alice.until_online("bob", False)


def test_an_agent_lives_behind_tls(url: str, folder: Path) -> None:
    agent = Agent("carol", furnished(folder / "carol"), url, "--direct")
    agent.start()
    try:
        agent.wait_until_ready()
        deadline = time.monotonic() + PATIENCE
        while not (person := requests.get(f"{url}/user?id=carol", timeout=PATIENCE).json()).get("online"):
            assert time.monotonic() < deadline
        assert person["same_network"]
    finally:
        agent.end()


def test_the_relay_is_reached_over_tls_where_udp_is_blocked(url: str, rendezvous: Rendezvous) -> None:
    lines = [WebSocketLine(url, PATIENCE), WebSocketLine(url, PATIENCE)]
    mine, theirs = (bind(one, *made) for one, made in zip(lines, tickets(rendezvous), strict=True))
    lines[0].send(*(relay.Data(mine.binding, bytes(1200)).encode() for _ in range(30)))
    for _ in range(30):
        assert lines[1].recv() == relay.Data(theirs.binding, bytes(1200)).encode()
    for one in lines:
        one.close()


def test_the_address_that_the_proxy_saw_counts_and_not_the_one_that_the_client_says(url: str) -> None:
    statuses = [
        requests.post(f"{url}/signup", headers={"X-Forwarded-For": f"192.0.2.{number}"}, timeout=PATIENCE).status_code
        for number in range(10)
    ]
    assert statuses[-1] == 429
    assert set(statuses) <= {415, 429}


def test_the_page_says_how_to_join_by_https(url: str) -> None:
    page = requests.get(url, headers={"Accept": "text/html"}, timeout=PATIENCE).text
    assert f"agent --rendezvous {url}" in page
    assert os.environ["SSL_CERT_FILE"] not in page
