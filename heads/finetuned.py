"""The head of a fine-tuning run, on the embeddings of its backbone."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, Self, get_args

import numpy as np
from scipy.special import expit

from embeddings.errors import HeadError
from embeddings.questions import Question
from heads.ballots import Array, Likelihood, VoteDistribution, count_precisions, read_distributions
from heads.base import Head
from heads.layers import FILE, Layers, apply_layers, pack_layers, unpack_layers

Output = Literal["identity", "sigmoid", "softmax"]


class FineTunedHead(Head):
    """
    Layers that were trained together with a backbone, on vectors as the backbone gives them.

    Parameters
    ----------
    questions : sequence of Question
    output : {'identity', 'sigmoid', 'softmax'}
        What makes fractions of the last layer's outputs: nothing, a sigmoid for each target, or a softmax over the
        answers of each question.
    likelihood : {'multinomial', 'dirichlet-multinomial', 'beta-binomial'}
        Of a softmax: how many outputs for precisions come after the logits.

    Attributes
    ----------
    layers_ : list of (weight, bias)
    widths_ : (n_questions,) int array
        Of a softmax: how many logits each question has; one more than it has targets where all other answers have one.
    totals_ : (n_questions,) array
        How many volunteers answer each question; ``<target>_std`` is of fractions among so many.
    """

    name = "finetuned"
    saved = ("widths_", "totals_")

    def __init__(
        self,
        questions: Sequence[Question] | None = None,
        output: Output = "sigmoid",
        likelihood: Likelihood = "multinomial",
    ) -> None:
        super().__init__(questions)
        self.output = output
        self.likelihood = likelihood

    @classmethod
    def from_layers(
        cls,
        questions: Sequence[Question],
        layers: Layers,
        output: Output = "sigmoid",
        widths: Sequence[int] | None = None,
        totals: Sequence[float] | Array | None = None,
        likelihood: Likelihood = "multinomial",
    ) -> Self:
        """
        Make a head of trained layers.

        Parameters
        ----------
        questions : sequence of Question
        layers : list of ((n_in, n_out) array, (n_out,) array)
            Rectifiers stand between them; all normalisation is folded into them.
        output : {'identity', 'sigmoid', 'softmax'}
        widths : sequence of int, optional
            Logits of each question; as many as it has targets by default. Of a softmax alone.
        totals : sequence of float, optional
            Votes on each question, such as the median in training; infinitely many by default, which leaves only
            what differs between galaxies of one look.
        likelihood : {'multinomial', 'dirichlet-multinomial', 'beta-binomial'}

        Raises
        ------
        HeadError
            When the layers do not fit each other, or the questions.
        """
        head, questions = cls(tuple(questions), output, likelihood), tuple(questions)
        targets = [len(question.targets) for question in questions]
        head.widths_ = np.array(targets if widths is None else widths)
        head.totals_ = np.full(len(targets), np.inf) if totals is None else np.asarray(totals, np.float64)
        # in one order of memory, as they are after saving: else BLAS sums in another
        head.layers_ = [(np.ascontiguousarray(w, np.float32), np.asarray(b, np.float32)) for w, b in layers]
        head.n_targets_ = sum(targets)
        head._check_layers(targets)
        head.n_features_in_ = len(head.layers_[0][0])
        head.mean_, head.scale_ = np.zeros(head.n_features_in_, np.float32), np.ones(head.n_features_in_, np.float32)
        return head

    def _check_layers(self, targets: Sequence[int]) -> None:
        """Raise unless layers, questions, widths and totals belong together."""
        if self.output not in get_args(Output):
            raise HeadError(f"the output is {', '.join(get_args(Output))}; not {self.output!r}.")
        sizes = [weight.shape for weight, _ in self.layers_]
        biases = [bias.shape for _, bias in self.layers_]
        fits = all(n_out == n_in for (_, n_out), (n_in, _) in pairwise(sizes))
        if not sizes or not fits or biases != [(n_out,) for _, n_out in sizes]:
            raise HeadError(f"layers of {sizes} with biases of {biases} do not follow each other.")
        n_logits = int(self.widths_.sum())
        n_precisions = sum(count_precisions(self.widths_.tolist(), self.likelihood))
        needed = n_logits + n_precisions if self.output == "softmax" else sum(targets)
        if sizes[-1][1] != needed:
            raise HeadError(
                f"the last layer has {sizes[-1][1]} outputs; {len(targets)} questions with {sum(targets)} targets need "
                f"{needed}."
            )
        spare = self.widths_ - targets if len(self.widths_) == len(targets) else np.array([-1])
        if not np.isin(spare, (0, 1)).all() or len(self.totals_) != len(targets):
            raise HeadError("widths are one a question, its targets or one more; totals are one a question.")

    def fit(
        self,
        X: Array,
        Y: Array,
        votes: Array | None = None,
        groups: Array | None = None,
        validation: Array | None = None,
    ) -> Self:
        """
        Not possible: it is trained with its backbone.

        Raises
        ------
        HeadError
        """
        raise HeadError(
            "the head of a fine-tune is trained with its backbone: sommelier finetune CONFIG.yaml. On embeddings that "
            "are there, fit another head: sommelier head fit STORE --head ridge -o HEAD_DIR"
        )

    def predict_columns(self, X: Array) -> dict[str, Array]:
        """``<target>_std`` of each target of a softmax that has precisions or totals; nothing otherwise."""
        n_outputs = self.layers_[-1][0].shape[1]
        if self.output != "softmax" or (n_outputs == self.widths_.sum() and np.isinf(self.totals_).all()):
            return {}
        distributions = self._distribute(apply_layers(self.layers_, self._place(X)))
        std = self._join([d.std(total) for d, total in zip(distributions, self.totals_, strict=True)])
        names = [target for question in self.questions or () for target in question.targets]
        return {f"{name}_std": std[:, number] for number, name in enumerate(names)}

    def _predict(self, X: Array) -> Array:
        outputs = apply_layers(self.layers_, X)
        if self.output == "softmax":
            return self._join([distribution.means for distribution in self._distribute(outputs)])
        return np.asarray(expit(outputs) if self.output == "sigmoid" else outputs)

    def _distribute(self, outputs: Array) -> list[VoteDistribution]:
        return read_distributions(outputs, self.widths_.tolist(), self.likelihood)

    def _join(self, parts: Sequence[Array]) -> Array:
        """(n_galaxies, n_targets) from (n_galaxies, n_answers) of each question, less what stands for all others."""
        pairs = zip(parts, self.questions or (), strict=True)
        return np.concatenate([part[:, : len(question.targets)] for part, question in pairs], axis=1)

    def to_files(self) -> dict[str, bytes]:
        """The layers."""
        return {FILE: pack_layers(self.layers_)}

    def from_files(self, files: dict[str, bytes]) -> Self:
        """The inverse of `to_files`."""
        self.layers_ = unpack_layers(files[FILE])
        return self
