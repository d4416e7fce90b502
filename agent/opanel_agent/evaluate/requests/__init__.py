"""What leaves and what came of it: requests made by command, held and sent copies, their records, the quiet between them."""
