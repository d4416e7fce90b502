"""Defines what goes over the network and over the socket to the processes that reach it."""
