"""Equalized odds (Hardt et al. 2016) of a classifier's labels between groups of texts, by
fairlearn."""

from collections.abc import Sequence

import numpy as np


def equalized_odds(
    truth: Sequence[str], given: Sequence[str], groups: Sequence[str], labels: Sequence[str]
) -> dict[str, float | None]:
    """Returns for each label the larger of two differences between groups: that of true and that of
    false positive rates.

    A group without a text that has the label has no true positive rate, and one whose texts all
    have it no false one: fairlearn's own `equalized_odds_difference` would take 0 for them.

    Args:
        truth: the label of each text.
        given: the label that the classifier gives it.
        groups: the group of each text.
        labels: all labels.

    Returns:
        Label -> difference, 0 to 1; None where no two groups have a rate.

    Example:
        equalized_odds(["a", "b"], ["a", "a"], ["x", "y"], ["a", "b"])["a"]
    """
    from fairlearn.metrics import false_positive_rate_difference, true_positive_rate_difference

    names = np.array(groups)
    odds: dict[str, float | None] = {}
    for label in labels:
        has = np.array([known == label for known in truth], int)
        gets = np.array([predicted == label for predicted in given], int)
        differences = []
        for value, difference in (
            (1, true_positive_rate_difference),
            (0, false_positive_rate_difference),
        ):
            rated = np.unique(names[has == value])
            rows = np.isin(names, rated)
            if len(rated) > 1:
                differences.append(
                    float(difference(has[rows], gets[rows], sensitive_features=names[rows]))
                )
        odds[label] = max(differences, default=None)
    return odds
