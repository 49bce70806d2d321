"""JSON texts that arrive in pieces: small ones are read at once when they are whole, large ones are skimmed."""

import json
import re
from collections.abc import Callable

from proxy import limits
from proxy.metering.skim import Member, Skimmer

# What a message must hold to be worth reading: an object with usage in it, or Ollama's numbers.
_WORTH = re.compile(rb'"usage(?:Metadata)?"\s*:\s*\{|"eval_count"')


class Document:
    """One JSON text after another; `emit` gets each object that stands on top, or in a list on top.

    `selective`: only the first text, and those that can hold usage, are read. It tells which model answers.
    """

    def __init__(self, emit: Callable[[Member], None], *, selective: bool = False) -> None:
        self._emit = emit
        self._read_all = not selective
        self._first = True
        self._text = bytearray()
        self._skimmer: Skimmer | None = None

    def feed(self, data: bytes) -> None:
        if self._skimmer is None:
            self._text += data
            if len(self._text) <= limits.MAX_METERED_TEXT:
                return
            self._skimmer = Skimmer(self._emit)
            data = bytes(self._text)
            self._text.clear()
        self._skimmer.feed(data)

    def end(self) -> bool:
        """Say that the text has ended; whether it was JSON. No text is none."""
        if self._skimmer is not None:
            skimmer, self._skimmer, self._first = self._skimmer, None, False
            return skimmer.end()
        text = bytes(self._text)
        self._text.clear()
        if not text or text.isspace() or not (self._first or self._read_all or _WORTH.search(text)):
            return True
        self._first = False
        return self._parse(text)

    def _parse(self, text: bytes) -> bool:
        try:
            found = json.loads(text.decode("utf-8", "replace"))
        except (ValueError, RecursionError):
            # Cut short, perhaps after what counts.
            skimmer = Skimmer(self._emit)
            skimmer.feed(text)
            skimmer.end()
            return False
        for each in found if isinstance(found, list) else (found,):
            if isinstance(each, dict):
                self._emit(each)
        return True
