"""How many people two lists share, by other libraries, in environments of their own: openmined-psi, SecretFlow's spu.

    python tests/benchmarks/other_overlaps.py NAME N       inside such an environment: one line of JSON

Both sides run in one process. CPU: from before the keys to the count, nothing of Python's start and imports, nothing of
making the lists (for spu: of writing them as the CSV files that it wants). None of them is a dependency.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import threading
from pathlib import Path

OTHERS = {
    "openmined-psi, raw": "openmined-psi==2.0.6",
    "spu, ECDH": "spu==0.9.5",
    "spu, KKRT": "spu==0.9.5",
    "spu, RR22": "spu==0.9.5",
}


def people(n: int, side: int) -> list[str]:
    """One of two lists of n people, of whom the half are in the other too."""
    return [f"user{number}@example.com" for number in range(side * n // 2, side * n // 2 + n)]


def cpu() -> float:
    """Seconds of this process and of its children that have ended."""
    spent = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in spent)


def peak_mb() -> float:
    """Of this process, or of the largest of its children that have ended."""
    return max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) / 1024


def openmined(n: int) -> dict[str, float | None]:
    import private_set_intersection.python as psi

    ours, theirs = people(n, 0), people(n, 1)
    before = cpu()
    client, server = psi.client.CreateWithNewKey(False), psi.server.CreateWithNewKey(False)  # the size alone
    setup = server.CreateSetupMessage(1e-9, n, theirs, psi.DataStructure.RAW)
    request = client.CreateRequest(ours)
    response = server.ProcessRequest(request)
    found = client.GetIntersectionSize(setup, response)
    spent = cpu() - before
    sent = sum(len(message.SerializeToString()) for message in (setup, request, response))
    return {"found": found, "cpu": spent, "bytes": sent}


def spu(n: int, protocol: str) -> dict[str, float | None]:
    import spu.libspu.link as link
    import spu.psi as psi

    found = dict[int, int]()
    with tempfile.TemporaryDirectory(prefix="other-overlap-") as name:
        folder = Path(name)
        for side in (0, 1):
            (folder / f"{side}.csv").write_text("\n".join(["id", *people(n, side), ""]))

        def run(side: int) -> None:
            config = psi.PsiExecuteConfig(
                protocol_conf=psi.PsiProtocolConfig(
                    protocol=psi.parse_protocol(f"PROTOCOL_{protocol}"),
                    receiver_rank=0,
                    broadcast_result=False,
                    ecdh_params=psi.EcdhParams(curve=psi.EllipticCurveType.CURVE_25519),
                ),
                input_params=psi.InputParams(
                    type=psi.SourceType.SOURCE_TYPE_FILE_CSV,
                    path=str(folder / f"{side}.csv"),
                    selected_keys=["id"],
                    keys_unique=True,
                ),
                output_params=psi.OutputParams(
                    type=psi.SourceType.SOURCE_TYPE_FILE_CSV,
                    path=str(folder / f"{side}.out"),
                    disable_alignment=True,
                ),
            )
            found[side] = psi.psi_execute(config, link.create_mem(parties, side)).intersection_count

        parties = link.Desc()
        for side in (0, 1):
            parties.add_party(f"party-{side}", f"thread-{side}")
        before = cpu()
        threads = [threading.Thread(target=run, args=(side,)) for side in (0, 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        spent = cpu() - before
    return {"found": found[0], "cpu": spent, "bytes": None}  # its links do not say how much they carried


def main() -> None:
    name, n = sys.argv[1], int(sys.argv[2])
    row = openmined(n) if name.startswith("openmined") else spu(n, name.split(", ")[1])
    print(json.dumps({**row, "peak_mb": peak_mb()}))


if __name__ == "__main__":
    main()
