"""What no package manager does: lays, upgrades, rolls back and removes an installation; makes the demo's environment.

install.sh hands over to it in a checkout, in the unpacked tar, and in /opt/opanel-agent. It runs on any Python from 3.11
on, with nothing but the standard library, and contacts nobody: packaging/wheels.py does, where packages are to be fetched.

First every change is listed (`install.plan`, `remove.plan`), then said, then made: what is made is what was said.
What is laid is noted in the manifest before it is laid, so a run that was cut short is finished by the next one, and
removing knows what to remove. A new environment is made beside the old one. What an upgrade replaces is kept until the new
version has run for ten minutes, and put back where it does not (`previous`, `trial`).
"""
