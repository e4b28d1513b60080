"""Whole documents in rows of a fixed length, chosen by best-fit decreasing."""
