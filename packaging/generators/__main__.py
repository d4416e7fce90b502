"""`packaging/generate`, in an environment that has what the agent and its tests need."""

import sys

from generators.command import main

sys.exit(main(sys.argv[1:]))
