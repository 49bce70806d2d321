"""Every engine, in the order of the tables."""

from benchmarks.engines.direct import Direct
from benchmarks.engines.engine import Engine
from benchmarks.engines.mitmdump import Mitmdump
from benchmarks.engines.outgate import OUTGATES
from benchmarks.engines.squid import Squid, SquidEcdsa, SquidTunnel

_ALL: tuple[Engine, ...] = (Direct(), SquidTunnel(), Squid(), SquidEcdsa(), Mitmdump(), *OUTGATES)
ENGINES = {engine.name: engine for engine in _ALL}
