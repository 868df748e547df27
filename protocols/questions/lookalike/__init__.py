"""Lookalike audiences: people like a seed of one party's customers, found where each owner's list stays with its owner.

    look-edges       all parties   one of 256 cells of each feature                    Δ² = d
      → Space        public        normal scores and quantile bins of the joint histograms, as integers of 2⁻¹²
    look-background  all parties   v(x): second moments, bins, frequencies             Δ = 1
    look-seed        seed's owner  Σ φ(x) over the seed                                Δ = 1
      → Scorer       public        weights of φ, edges of 64 cells of the score, what the model expects
    look-scores      each owner    one of 64 cells of the score                        Δ = 1
      → cuts         public        the edges nearest to a reach of 5, 10, 20, 30, 50 %, of each owner
    look-overlap     two parties   {seed} × the six cells between an owner's cuts      Δ = 1
    look-audit       each owner    group × within the cut, per attribute               Δ² = A

`space.py` is φ and what it is made of, `background.py` v, `scorer.py` the score of a person and its cells: a row is a
function of that person's own features and of released numbers, and in integers, so that nobody's company changes a bit
of it. `cuts.py`, `report.py` and `audit.py` make figures from noised vectors. What is fitted between the steps sees
noised sums only, and is released as a state (`coordinator/lookalike.py`); no bound depends on a state.
"""
