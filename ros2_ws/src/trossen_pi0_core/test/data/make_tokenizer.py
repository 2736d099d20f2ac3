"""Makes ``tiny_tokenizer.model``, a SentencePiece model with the settings of PaliGemma's.

Run by hand in this folder: ``python make_tokenizer.py``. Like PaliGemma's it keeps spaces as they
are, splits digits, has a token of its own for newline, falls back to bytes, and numbers pad 0,
eos 1, bos 2, unk 3.
"""

from __future__ import annotations

import io
from pathlib import Path

from sentencepiece import SentencePieceTrainer

SENTENCES = (
    "grab and handover the red cube",
    "pick up the blue brick with the left arm and put it into the box",
    "fold the towel, then hand it over to the right arm",
    "organize the tools on the table: hammer, pliers, screwdriver",
    "Task: grab the wooden block, State: 0 12 255 128 64 -1 99 37;",
    "Action: move the gripper above the bowl and open it",
    "transfer the block from the left gripper to the right gripper",
)

if __name__ == "__main__":
    model = io.BytesIO()
    SentencePieceTrainer.Train(
        sentence_iterator=iter(SENTENCES),
        model_writer=model,
        model_type="bpe",
        vocab_size=400,
        pad_id=0,
        eos_id=1,
        bos_id=2,
        unk_id=3,
        byte_fallback=True,
        split_digits=True,
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        normalization_rule_name="identity",
        user_defined_symbols=["\n"],
        num_threads=1,
        minloglevel=2,
    )
    Path(__file__).with_name("tiny_tokenizer.model").write_bytes(model.getvalue())
