"""How much of a long answer is there: chrF and ROUGE-L, as sacrebleu and rouge-score compute them."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from arkor.evaluation.cases import Answered, Case


def score(case: Case, answer: Answered) -> Mapping[str, float]:
    """Return chrF (of characters; M. Popović, 2015) and ROUGE-L's F-measure (of words; C.-Y. Lin, 2004), 0 to 1."""
    chrf, rouge = _metrics()
    rouge_l = rouge.score(case.expected, answer.text)["rougeL"].fmeasure
    return {"chrf": min(1.0, chrf.sentence_score(answer.text, [case.expected]).score / 100), "rouge_l": rouge_l}


@functools.cache
def _metrics() -> tuple[Any, Any]:
    from rouge_score.rouge_scorer import RougeScorer
    from sacrebleu.metrics import CHRF

    return CHRF(), RougeScorer(["rougeL"])
