"""Addresses on this machine at which nobody listens."""

import socket


def free_addresses(count):
    """`count` addresses "localhost:port", each with another port."""
    holders = [socket.socket() for _ in range(count)]
    for holder in holders:
        holder.bind(("", 0))
    addresses = [f"localhost:{holder.getsockname()[1]}" for holder in holders]
    for holder in holders:
        holder.close()
    return addresses
