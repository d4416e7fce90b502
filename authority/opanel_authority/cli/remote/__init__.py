"""The management API from the command line: a reseller's desk on a machine that has no authority's directory."""
