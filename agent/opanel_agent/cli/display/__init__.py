"""How a command's output looks: tables, times, markup, colours and questions."""
