"""One module per module of `fieldwork.statistics`: studies whose truth is known, and what the functions say of them."""
