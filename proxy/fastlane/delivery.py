"""An answer that passes, on its way to the client: framed, and in portions that the client takes."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from proxy import limits
from proxy.passing import Framing, Passing

if TYPE_CHECKING:
    from proxy.fastlane.client import ClientSide


class Delivery:
    """One answer. What it makes for the wire is put into lists, so that one event makes one write.

    `closes` says that the connection ends with it.
    """

    def __init__(self, client: "ClientSide", passing: Passing) -> None:
        self._client, self._passing = client, passing
        self.closes = passing.framing is Framing.CLOSE
        self._pieces: Iterator[bytes] | None = None  # of the body's part at hand, while the client takes others

    def begin(self, status: int, out: list[bytes]) -> None:
        """The head."""
        out.append(b"HTTP/1.1 %d %s\r\n" % (status, self._passing.reason))
        out += [b"%b: %b\r\n" % field for field in self._passing.headers]
        out.append(b"\r\n")

    def feed(self, data: bytes) -> None:
        """Take the next part of the body; `portion` hands it on. Raises `DecodeError`."""
        self._pieces = iter(self._passing.body.feed(data))

    def portion(self, out: list[bytes]) -> bool:
        """Hand on what the part at hand decodes to; false if the client must take some of it first."""
        passed = 0
        for piece in self._pieces or ():
            self.frame(piece, out)
            passed += len(piece)
            if passed >= limits.MAX_PORTION:
                self._client.send(b"".join(out))
                out.clear()
                passed = 0
                if not self._client.writable:
                    return False
        self._pieces = None
        return True

    def frame(self, piece: bytes, out: list[bytes]) -> None:
        if self._passing.framing is Framing.CHUNKED:
            out += (b"%x\r\n" % len(piece), piece, b"\r\n")
        elif self._passing.framing is not Framing.NONE:
            out.append(piece)

    def end(self, out: list[bytes]) -> None:
        """What the body held back, and its end."""
        for piece in self._passing.body.flush():
            self.frame(piece, out)
        if self._passing.framing is Framing.CHUNKED:
            out.append(b"0\r\n\r\n")
