"""What an administrator may write to move objects: no look before, no journal, no undo.

python relocate_loop.py BLOCKS
"""

import hashlib
import os
import sys

blocks = sys.argv[1]
for directory, _, names in os.walk(blocks):
    for name in names:
        if not name.startswith("archip_"):
            continue
        digits = hashlib.sha256(name.encode()).hexdigest()
        place = os.path.join(blocks, digits[:2], digits[2:4], digits[4:6])
        os.makedirs(place, exist_ok=True)
        if not os.path.exists(os.path.join(place, name)):
            os.rename(os.path.join(directory, name), os.path.join(place, name))
os.sync()
