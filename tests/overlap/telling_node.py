"""A party's node, as `sumroom-party` starts it, that writes down what it draws for an overlap: for tests alone.

    python -m tests.overlap.telling_node DRAWN.npy start --config node.toml

The product keeps these numbers to itself. Here its drawing function is wrapped from outside, before it runs.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from party_node import cli
from party_node.overlap import Meeting


def main() -> int:
    to, *words = sys.argv[1:]
    real = Meeting._draw

    def draw(meeting: Meeting, mechanism: Any, layout: Any) -> Any:
        drawn = real(meeting, mechanism, layout)
        np.save(to, drawn)
        return drawn

    Meeting._draw = draw  # type: ignore[method-assign]
    return cli.main(words)


if __name__ == "__main__":
    sys.exit(main())
