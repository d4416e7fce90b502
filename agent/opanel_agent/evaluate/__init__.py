"""The short-lived processes: read with system, decide with core, write with system."""
