"""Reaches the network in two processes of its own, and is reached through `client`."""
