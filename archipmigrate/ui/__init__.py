"""What people and scripts see: `text` words it, `jsonl` prints objects, `progress` paints the line."""
