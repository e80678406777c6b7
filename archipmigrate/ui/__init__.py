"""What people and scripts see: `report` prints, `text` words, `progress` paints the line."""
