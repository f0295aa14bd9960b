"""The rivals of panels of personas: one file each, or a few that belong together.

Every file here is found by itself, and adds rungs to the ladder: in the table `rivals` and in the report's card.
A whole file, for a rival that always gives the first option:

    \"\"\"The first option of each question.\"\"\"

    from __future__ import annotations

    import numpy as np

    from mpta_pipeline.metrics.baselines.rival import Compared, Rival, Told


    def _first(of: Compared) -> Told:
        shares = np.zeros_like(of.cells.human)
        shares[:, 0] = 1.0
        return Told(of.away(shares), of.picked(shares))


    RIVALS = (Rival(name="first_option", title="always the first option", place=5, compare=_first),)
"""
