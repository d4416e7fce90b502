"""Diagnoses this installation: the command `doctor`."""
