"""The smallest model that meets bounds: tries what compression and export can do, and measures the
files."""

from tfscale.workflows.search.search import search_run

__all__ = ["search_run"]
