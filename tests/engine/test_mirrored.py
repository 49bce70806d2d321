"""The parts of mitmproxy that the engine restates or leans on, by hash: a change to one must be read first."""

import hashlib
import inspect
from typing import Any

import pytest
from h2.connection import H2Connection
from h2.frame_buffer import FrameBuffer
from mitmproxy.connection import Connection
from mitmproxy.http import Headers
from mitmproxy.net.http import validate
from mitmproxy.proxy import context, layer, mode_servers, server, tunnel
from mitmproxy.proxy.layers import http, tls
from mitmproxy.proxy.layers.http import _http1, _http2, _http_h2

MIRRORED: dict[Any, str] = {
    Headers: "947aa0298abd4010",
    server.ConnectionHandler.server_event: "a2b42657ebe8bf6d",
    server.ConnectionHandler.open_connection: "5e0b3cbaf7a4030a",
    server.ConnectionHandler.handle_connection: "95c3f93e9824e527",
    server.ConnectionHandler.handle_client: "01f1b7cc991c4711",
    server.ConnectionHandler.close_connection: "c0d10cc05dd65b80",
    server.ConnectionHandler.drain_writers: "6b57434604561e3e",
    server.ConnectionHandler.wakeup: "6e42e075ee5fa3df",
    mode_servers.ProxyConnectionHandler: "10e340d70b3f23d9",
    mode_servers.ServerInstance.handle_stream: "21eea06f208c752e",
    mode_servers.AsyncioServerInstance.listen: "7670a9038b44170d",
    mode_servers.AsyncioServerInstance._start: "f96507081fa6236b",
    http.HttpStream: "baaac4f7cdb36a32",
    http.HttpLayer: "8da4a8a48e637b88",
    http.HttpClient: "8401d422afdaff15",
    http.validate_request: "e7cec257ce91b7c5",
    _http1.Http1Connection: "c0675638b0756013",
    _http1.Http1Server: "cc8428d0bb6f79a5",
    _http1.Http1Client: "706b7a68f2809929",
    _http1.make_body_reader: "9b076acda459637b",
    _http2.Http2Connection: "f18f3940fd55a0f0",
    _http2.Http2Server: "97aac4eab18a0294",
    _http2.Http2Client: "a113056f7d2beb2f",
    _http_h2.BufferedH2Connection: "f983b7220f47b60a",
    H2Connection._receive_goaway_frame: "de018f94938e1001",
    H2Connection.receive_data: "23c10edc87abe72d",
    H2Connection._receive_frame: "39b2e16b4fd74ed0",
    H2Connection._receive_settings_frame: "21f3689834db2a6a",
    H2Connection._prepare_for_sending: "6be16b5970454a30",
    FrameBuffer: "22fe5e16e85fce46",
    tls.TLSLayer: "c52e04ed2c416749",
    tls.ClientTLSLayer: "b76248ba39a93ae9",
    tls.ServerTLSLayer: "8666fc7667d70e23",
    tls.parse_client_hello: "537b0089913d85d9",
    tunnel.TunnelLayer: "a0a2a31af17dfacb",
    layer.Layer: "e98dedd896fb7cd2",
    context.Context: "dd52bbec90eacace",
    Connection: "fc9cbe673085d377",
    layer.NextLayer: "3cbcbafad282cba3",
    validate.validate_headers: "e7647a94704363e7",
}


def digest(part: Any) -> str:
    return hashlib.sha256(inspect.getsource(part).encode()).hexdigest()[:16]


@pytest.mark.parametrize("part", MIRRORED, ids=lambda part: part.__qualname__)
def test_mitmproxys_source_is_the_one_that_was_read(part: Any) -> None:
    assert digest(part) == MIRRORED[part], "read what changed, adapt proxy/engine, then note the new hash"
