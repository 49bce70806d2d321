"""Run one target under libFuzzer: `python tests/fuzz/guided.py TARGET [libFuzzer options] [corpus folders]`.

Needs atheris. An input that breaks a target is written to `crash-*`; keep it in corpus/TARGET once it is fixed.
"""

import sys

import atheris

with atheris.instrument_imports(include=["proxy"]):
    from tests.fuzz.targets import TARGETS

if __name__ == "__main__":
    target = TARGETS[sys.argv[1]]
    atheris.Setup([sys.argv[0], *sys.argv[2:]], target)
    atheris.Fuzz()
