"""The meter of one exchange: fed what the client gets, it says what the call used, or why that is not known.

Nothing that it is fed, and no fault in it, raises.
"""

from collections.abc import Callable
from enum import StrEnum

from proxy import limits
from proxy.credentials.decode import DecodeError, Decoder, decoder_for
from proxy.metering.eventstream import EventStream
from proxy.metering.framing import Emit, Events, Frames, Framing, Lines, Unreadable, Whole
from proxy.metering.readers import READERS
from proxy.metering.services import Call
from proxy.metering.tally import Message, Tally


class Why(StrEnum):
    """Why an answer's usage is not known, or not all of it."""

    ERROR_STATUS = "error_status"
    UNKNOWN_FORM = "unknown_form"
    UNKNOWN_CODING = "unknown_coding"
    UNDECODABLE = "undecodable"
    TOO_LARGE = "too_large"
    MALFORMED = "malformed"
    IMPLAUSIBLE = "implausible"
    NO_USAGE = "no_usage"
    UNFINISHED = "unfinished"
    FAULT = "fault"


_FRAMINGS: dict[bytes, Callable[[Emit], Framing]] = {
    b"text/event-stream": Events,
    b"application/json": Whole,
    b"application/x-ndjson": Lines,
    b"application/vnd.amazon.eventstream": EventStream,
}
# The APIs whose messages do not tell which numbers are the last; the end of the body does.
_ENDED_BY_BODY = frozenset(("chat", "gemini"))


class Meter:
    """Looks on while an answer passes. `coding` is the content coding of what it will be fed; empty for none.

    `hide` masks the secret that was injected, in a text that is to be recorded.
    """

    def __init__(
        self, call: Call, status: int, content_type: bytes = b"", coding: bytes = b"", *, hide: Callable[[bytes], bytes]
    ) -> None:
        self._call = call
        self._tally = Tally(call, hide)
        self._reader = READERS[call.api]
        self._why: Why | None = None
        self._ended = False
        self._decoder: Decoder | None = None
        self._framing: Framing | None = None
        make = Frames if call.websocket else _FRAMINGS.get(content_type.partition(b";")[0].strip().lower())
        if not (status == 101 if call.websocket else 200 <= status <= 299):
            self._why = Why.ERROR_STATUS
        elif make is None:
            self._why = Why.UNKNOWN_FORM
        else:
            self._framing = make(self._read)
        if coding and self._framing is not None:
            self._decoder = decoder_for(coding.decode("latin-1"))
            if self._decoder is None:
                self._stop(Why.UNKNOWN_CODING)

    @classmethod
    def broken(cls) -> "Meter":
        """The meter of an exchange of which a fault kept even from finding out what it is."""
        meter = cls(Call("unknown", "unknown"), 0, hide=bytes)
        meter._stop(Why.FAULT)
        return meter

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the answer."""
        if self._framing is None:
            return
        try:
            if self._decoder is None:
                self._framing.feed(data)
            else:
                self._decode(self._framing, self._decoder, data)
        except Exception as error:  # noqa: BLE001 - whatever it is, the answer passes
            self._stop(_reason(error))

    def end(self) -> None:
        """The answer has come to its end."""
        if self._framing is None or self._ended:
            return
        self._ended = True
        try:
            if self._decoder is not None:
                self._decoder.finish()
            self._framing.end()
            self._settle()
        except Exception as error:  # noqa: BLE001 - as above
            self._stop(_reason(error))

    def report(self, *, over: bool) -> dict[str, object]:
        """What is known by now, as the audit event has it. `over`: nothing more will come, whether or not it ended."""
        try:
            return self._report(over=over)
        except Exception:  # noqa: BLE001 - as above
            fields = Tally(self._call, bytes).report()[0]
            return {**self._about(), **fields, "partial": False, "not_metered": str(Why.FAULT)}

    def _report(self, *, over: bool) -> dict[str, object]:
        if over and self._framing is not None and not self._ended:
            self._cut_off(self._framing)
        fields, whole = self._tally.report()
        why = self._why
        if why is None and self._tally.implausible:
            why = Why.IMPLAUSIBLE
        if why is None and fields["raw"] is None:
            why = Why.NO_USAGE if self._ended else Why.UNFINISHED
        return {**self._about(), **fields, "partial": not whole, "not_metered": None if why is None else str(why)}

    def _about(self) -> dict[str, object]:
        return {"provider": self._call.provider, "api": self._call.api}

    def _cut_off(self, framing: Framing) -> None:
        """Read what came before the answer broke off; if it had told its end before, it did not."""
        try:
            framing.end()
        except Exception as error:  # noqa: BLE001 - as above
            if not isinstance(error, Unreadable):  # which a text is that was cut short
                self._stop(_reason(error))
        if self._framing is not None and (framing.done or self._call.websocket):
            self._ended = True
            self._settle()
        self._framing = None

    def _settle(self) -> None:
        if self._call.api in _ENDED_BY_BODY:
            self._tally.settle()

    def _read(self, message: Message) -> None:
        self._reader(self._tally, message)

    def _decode(self, framing: Framing, decoder: Decoder, data: bytes) -> None:
        made = 0
        for piece in decoder.feed(data):
            made += len(piece)
            if made > limits.MAX_METERED_PIECE:
                self._stop(Why.TOO_LARGE)
                return
            framing.feed(piece)

    def _stop(self, why: Why) -> None:
        self._why = why
        self._framing = self._decoder = None


def _reason(error: Exception) -> Why:
    if isinstance(error, DecodeError):
        return Why.UNDECODABLE
    return Why.MALFORMED if isinstance(error, Unreadable) else Why.FAULT
