"""Kinds of archives, one a file; see `tfscale.text.archive.Archive`."""
