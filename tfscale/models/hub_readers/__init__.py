"""One file for each architecture of keras-hub; see `tfscale.models.hub_reader`."""
