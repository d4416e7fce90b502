"""What the vendor and the resellers do with a license after it was sold."""
