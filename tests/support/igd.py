"""A router that opens ports by UPnP IGD, on real sockets of the loopback interface: as it should be, or hostile."""

import re
import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Final, Self

GROUP: Final = "239.255.255.250"
DESCRIPTION: Final = """<?xml version="1.0"?>
<root xmlns="urn:schemas-upnp-org:device-1-0"><specVersion><major>1</major><minor>0</minor></specVersion>{base}
<device><deviceType>urn:schemas-upnp-org:device:InternetGatewayDevice:1</deviceType><serviceList><service>
<serviceType>urn:schemas-upnp-org:service:Layer3Forwarding:1</serviceType><controlURL>/other</controlURL>
</service></serviceList><deviceList><device><deviceList><device><serviceList><service>
<serviceType>urn:schemas-upnp-org:service:WANIPConnection:1</serviceType>
<serviceId>urn:upnp-org:serviceId:WANIPConn1</serviceId><SCPDURL>/scpd.xml</SCPDURL>
<controlURL>{control}</controlURL><eventSubURL>/event</eventSubURL></service></serviceList></device></deviceList>
</device></deviceList></device></root>
"""


class FakeRouter:
    """Serves at `host` until it is left. Its fields may be changed at any time.

    `open` has whose and for how long each protocol's external ports are.
    """

    def __init__(self, host: str = "127.0.0.1", only_multicast: bool = False) -> None:
        self.host = host
        self.external = "8.8.4.4"
        self.forever = False
        self.open: dict[tuple[str, int], tuple[str, int, int]] = {}
        self.asked: list[str] = []
        self.http = ThreadingHTTPServer((host, 0), self._handler())
        self.http.daemon_threads = True
        self.url = f"http://{host}:{self.http.server_address[1]}"
        self.location = f"{self.url}/root.xml"
        self.control, self.base = "/ctl", ""
        self.description: Callable[[], bytes] = lambda: DESCRIPTION.format(
            base=self.base and f"<URLBase>{self.base}</URLBase>", control=self.control
        ).encode()
        self.raw: bytes | None = None
        """Sent instead of any answer over HTTP, and the connection is closed."""
        self._ssdp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._answering = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._answering.bind((host, 0))
        self.answers_from = self._answering
        if only_multicast:
            self._ssdp.bind((GROUP, 0))
            member = socket.inet_aton(GROUP) + socket.inet_aton("127.0.0.1")
            self._ssdp.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
        else:
            self._ssdp.bind((host, 0))
        self.ssdp_port: int = self._ssdp.getsockname()[1]
        self._ended = False
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._serve_ssdp, self._serve_http)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: object, trace: TracebackType | None) -> None:
        self._ended = True
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as waker:
            waker.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
            waker.sendto(b"", self._ssdp.getsockname())
        self.http.shutdown()
        self.http.server_close()
        for thread in self._threads:
            thread.join(5)
        self._ssdp.close()
        self._answering.close()

    def _serve_http(self) -> None:
        self.http.serve_forever(poll_interval=0.02)

    def _serve_ssdp(self) -> None:
        while True:
            data, sender = self._ssdp.recvfrom(2048)
            if self._ended:
                return
            target = re.search(rb"(?m)^ST: (\S+)\r$", data)
            if data.startswith(b"M-SEARCH * HTTP/1.1\r\n") and b'MAN: "ssdp:discover"\r\n' in data and target:
                answer = f"HTTP/1.1 200 OK\r\nEXT:\r\nST: {target[1].decode()}\r\nLocation: {self.location}\r\n\r\n"
                self.answers_from.sendto(answer.encode(), sender)

    def act(self, action: str, given: dict[str, str]) -> dict[str, str] | int:
        """Carry out an action of WANIPConnection:1; a number is an error."""
        self.asked.append(action)
        if action == "GetExternalIPAddress":
            return {"NewExternalIPAddress": self.external}
        at = (given["NewProtocol"], int(given["NewExternalPort"]))
        if action == "GetSpecificPortMappingEntry":
            return {"NewInternalClient": self.open[at][0]} if at in self.open else 714
        if action == "DeletePortMapping":
            return {} if self.open.pop(at, None) else 714
        if action != "AddPortMapping":
            return 401
        if self.forever and given["NewLeaseDuration"] != "0":
            return 725
        self.open[at] = (given["NewInternalClient"], int(given["NewInternalPort"]), int(given["NewLeaseDuration"]))
        return {}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        router = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._send(200, router.description())

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                service, _, action = self.headers["SOAPAction"].strip('"').partition("#")
                assert service == "urn:schemas-upnp-org:service:WANIPConnection:1"
                answer = router.act(action, dict(re.findall(r"<(New\w+)>([^<]*)</\1>", body)))
                if isinstance(answer, int):
                    fault = f"<UPnPError><errorCode>{answer}</errorCode></UPnPError>"
                    self._send(500, self._envelope(f"<s:Fault><detail>{fault}</detail></s:Fault>"))
                else:
                    inside = "".join(f"<{name}>{value}</{name}>" for name, value in answer.items())
                    self._send(
                        200, self._envelope(f'<u:{action}Response xmlns:u="{service}">{inside}</u:{action}Response>')
                    )

            def _envelope(self, inside: str) -> bytes:
                soap = "http://schemas.xmlsoap.org/soap/envelope/"
                return f'<s:Envelope xmlns:s="{soap}"><s:Body>{inside}</s:Body></s:Envelope>'.encode()

            def _send(self, status: int, body: bytes) -> None:
                if router.raw is not None:
                    self.wfile.write(router.raw)
                    return
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                """Keep requests out of the tests' output."""

        return Handler
