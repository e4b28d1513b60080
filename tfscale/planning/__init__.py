"""Scale on paper: what a training needs in memory, time and communication, before anything is
started."""

from tfscale.planning.plan import Plan, plan

__all__ = ["Plan", "plan"]
