"""What touches files: `base` has the two verbs, `select` chooses, the others implement them."""
