"""What one pass reads from the disk and writes back: state, ledger, and the records of a stopped agent."""
