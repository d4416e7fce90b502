"""How the installed programs live in the chamber: their days, their clock, and what a person types meanwhile."""
