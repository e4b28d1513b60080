"""`Score` and `token_nll` under the name of the room; they live in `tfscale.score`, because training uses them too."""

from tfscale.score import Score, token_nll

__all__ = ["Score", "token_nll"]
