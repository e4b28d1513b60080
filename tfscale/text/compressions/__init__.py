"""Compressions of single files, one a file; see `tfscale.text.compression.Compression`."""
