from __future__ import annotations
import time
def test_x(room, lab, monkeypatch):
    t=time.time()
    noise = lab.NoNoise()
    monkeypatch.setattr("party_node.share.add_noise", noise)
    rel = room.run()
    print(time.time()-t, rel[0].body_.noised, lab.pooled_cuts(), rel[1].body_.answer["cohorts"])
    t=time.time(); room.run(); print(time.time()-t)
