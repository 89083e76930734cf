"""Texts of an explainer's heatmaps: what one shows, and what the figure beside it means."""

from dataclasses import dataclass


@dataclass(frozen=True)
class HeatmapTexts:
    """What pages and panels say of the heatmaps of an explainer.

    Args:
        heatmap: what one heatmap shows, as a sentence.
        score: what the figure beside a heatmap is, as a noun phrase.
        symbol: of that figure, as in the method's paper; empty where it has none.
        signed: whether maps tell evidence for the class from evidence against it, so that both signs are drawn.
        percent: whether the score is a probability, shown in per cent.
        comparable: whether the scores of one image compare its heatmaps, so that all are drawn on one scale.

    Example:
        >>> HeatmapTexts(score="contribution to the logit", symbol="vᵢEᵢ").figure
        'contribution to the logit, vᵢEᵢ'
    """

    heatmap: str = "Each heatmap shows where the explainer finds evidence for the explained class."
    score: str = "its score"
    symbol: str = ""
    signed: bool = False
    percent: bool = False
    comparable: bool = True

    @property
    def figure(self) -> str:
        """The score with its symbol."""
        return f"{self.score}, {self.symbol}" if self.symbol else self.score

    def score_text(self, score: float) -> str:
        """A score as pictures show it: with its sign, or in per cent."""
        return f"{100 * score:.1f} %" if self.percent else f"{score:+.2f}"
