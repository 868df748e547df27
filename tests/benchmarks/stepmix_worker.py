"""stepmix in an environment of its own: patterns with weights come in, the likeliest classes go out; lines of JSON."""

from __future__ import annotations

import json
import sys
from typing import Any


def fitted(asked: dict[str, Any]) -> dict[str, Any]:
    """{"patterns": (p, items), "weights": (p,), "k", "all": (q, items)} → {"at": (q,) class of each of `all`}."""
    import warnings

    import numpy as np
    from stepmix.stepmix import StepMix

    warnings.filterwarnings("ignore")  # a start that has not converged is not the one that is kept
    patterns, weights = np.asarray(asked["patterns"]), np.asarray(asked["weights"], dtype=float)
    model = StepMix(n_components=asked["k"], measurement="binary", n_init=5, random_state=0, max_iter=300,
                    verbose=0, progress_bar=0)  # fmt: skip
    model.fit(patterns, sample_weight=weights)
    return {"at": model.predict(np.asarray(asked["all"])).tolist()}


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(fitted(json.loads(line))), flush=True)
