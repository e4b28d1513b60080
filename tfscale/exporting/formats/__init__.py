"""The export formats that tfscale brings, one a file; see `tfscale.exporting.format`."""
