"""Reads and writes archives of NumPy arrays (.npz).

Read sizes are compared with the file's before anything is allocated.
"""

import io
import tokenize
import zipfile
from collections.abc import Iterable
from typing import IO

import numpy as np

_HEADER_BYTES = 1 << 16
"""Longest head of an array; those of NumPy are 128 bytes."""


def read_npz(file: IO[bytes]) -> dict[str, np.ndarray]:
    """Reads all arrays of a file that `numpy.savez` wrote.

    What it does not write is refused: compression, by which a small file becomes gigabytes, arrays
    of objects, and an array whose head speaks of more or fewer bytes than the archive has of it.

    Args:
        file: open for reading; it must be able to seek.

    Raises:
        ValueError: it is damaged or not such a file; so say zipfile.BadZipFile, OSError and
            EOFError.

    Example:
        with open("run/checkpoints/best.npz", "rb") as file:
            arrays = read_npz(file)
    """
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        file.seek(0, io.SEEK_END)
        whole = file.tell()
        if sum(entry.file_size for entry in entries) > whole:
            raise ValueError("its arrays are larger than the file")
        return {entry.filename.removesuffix(".npy"): _read(archive, entry) for entry in entries}


def write_npz(file: IO[bytes], arrays: Iterable[tuple[str, np.ndarray]]) -> None:
    """Writes arrays as `numpy.savez` does, which would take all of them at once.

    Args:
        file: open for writing; it must be able to seek.
        arrays: names and arrays, which are asked for one after the other.
    """
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays:
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)


def _read(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> np.ndarray:
    if entry.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{entry.filename} is compressed")
    with archive.open(entry) as member:
        version = np.lib.format.read_magic(member)
        readers = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }
        if version not in readers:
            raise ValueError(f"{entry.filename} is of version {version} of NumPy's format")
        try:
            shape, fortran, dtype = readers[version](member, max_header_size=_HEADER_BYTES)
        except (SyntaxError, tokenize.TokenError) as error:  # A head is Python's text.
            raise ValueError(f"{entry.filename} has a damaged head") from error
        if dtype.hasobject or dtype.itemsize == 0:
            raise ValueError(f"{entry.filename} holds {dtype}")
        count = 1
        for length in shape:  # Python's integers, which do not overflow.
            count *= length
        if (
            any(length < 0 for length in shape)
            or count * dtype.itemsize != entry.file_size - member.tell()
        ):
            raise ValueError(f"{entry.filename} has another size than its head says")
        # To its end, where the checksum is compared.
        values = np.frombuffer(bytearray(member.read()), dtype)
    return values.reshape(shape, order="F" if fortran else "C")
