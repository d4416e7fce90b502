"""The rows of one subject each: license, activation, delegation, status entry, report. `books.repository` joins them."""
