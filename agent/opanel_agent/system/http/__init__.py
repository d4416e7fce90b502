"""Reaches the network: one sealed request, one connection, one reply."""

from opanel_agent.system.http.limits import TransferLimits, limits_for
from opanel_agent.system.http.replies import served_at
from opanel_agent.system.http.transport import HttpxTransport, Transport

__all__ = ["HttpxTransport", "TransferLimits", "Transport", "limits_for", "served_at"]
