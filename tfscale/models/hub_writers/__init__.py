"""One file for each architecture of transformers; see `tfscale.models.hub_writer`."""
