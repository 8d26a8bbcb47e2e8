"""
Print what training the backbone brings, on a run's test galaxies; the tables of docs/finetuning.md.

    python docs/stages.py RUN --frozen STORE... --tuned STORE... [--head ridge --head mlp]
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.stages import TUNED, compare_stages
from benchmarks.tables import show_score
from embeddings.runs import RunRecord
from embeddings.store import EmbeddingStore


def main() -> None:
    """Scores of each stage with 95 % intervals, then what the run gains over each other, paired."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--frozen", nargs="+", type=Path, required=True)
    parser.add_argument("--tuned", nargs="+", type=Path, required=True)
    parser.add_argument("--head", action="append")
    options = parser.parse_args()
    frozen, tuned = ([EmbeddingStore.open(path) for path in paths] for paths in (options.frozen, options.tuned))
    stages, n = compare_stages(RunRecord.open(options.run), frozen, tuned, options.head or ["ridge", "mlp"])
    names = [name for name in ("r", "r2", "mae", "auc") if name in stages[0].scores]
    print(f"{n} test galaxies of {options.run.name}\n")
    print(f"| model | {' | '.join(names)} | r2 of training galaxies |\n|--|{'--|' * len(names)}--|")
    for stage in stages:
        scores = [show_score(stage.scores[name], 3) for name in names]
        print(f"| {stage.name} | {' | '.join(scores)} | {stage.learned_r2:.3f} |")
    run = next(stage for stage in stages if stage.name == TUNED)
    for stage in stages:
        if stage is not run:
            gains = [show_score(run.scores[name] - stage.scores[name], 3, sign=True) for name in names]
            print(f"| {TUNED} - {stage.name} | {' | '.join(gains)} | |")


if __name__ == "__main__":
    main()
