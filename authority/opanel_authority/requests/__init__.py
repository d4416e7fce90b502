"""Answers to what agents and data subjects ask."""
