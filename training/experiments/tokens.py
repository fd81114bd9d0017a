"""Text to token ids for novels.py, little-endian uint16, curly quotes folded to straight ones. Needs the library `tokenizers`.

    python tokens.py ../../models/novels-10m/tokenizer.json train.txt train.u16
"""
import sys

import numpy as np
from tokenizers import Tokenizer

STRAIGHT = str.maketrans({"“": '"', "”": '"', "‘": "'", "’": "'"})
tokenizer, source, target = Tokenizer.from_file(sys.argv[1]), *sys.argv[2:]
with open(source, encoding="utf-8", newline="") as file:
    text = file.read().translate(STRAIGHT)
pieces, at = [], 0
while at < len(text):  # about 50,000 characters each, cut between paragraphs
    end = text.find("\n\n", at + 50_000)
    end = len(text) if end < 0 else end
    pieces.append(text[at:end])
    at = end
ids = np.concatenate([np.array(e.ids, dtype="<u2") for e in tokenizer.encode_batch(pieces)])
ids.tofile(target)
print(f"{len(text)} characters, {len(ids)} tokens")
