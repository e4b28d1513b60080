"""Files and folders: written whole or not at all, locked while in use, and checked when they are
read."""
