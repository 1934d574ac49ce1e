"""A classifier of BERT-base's shapes with random weights, in a folder: speed does not depend on what it knows.

    random_bert.py FOLDER --tokenizer FOLDER"""

import argparse
import json
import shutil
from pathlib import Path

import torch
from transformers import BertConfig, BertForSequenceClassification

parser = argparse.ArgumentParser()
parser.add_argument("folder", type=Path)
parser.add_argument("--tokenizer", type=Path, required=True)
args = parser.parse_args()
torch.manual_seed(1)
BertForSequenceClassification(BertConfig()).save_pretrained(args.folder)
for name in ("tokenizer_config.json", "vocab.txt", "special_tokens_map.json"):
    shutil.copy(args.tokenizer / name, args.folder / name)
tokenizer = json.loads((args.tokenizer / "tokenizer.json").read_text())
tokenizer["truncation"] = None  # MiniLM's 128: these shapes take 512
(args.folder / "tokenizer.json").write_text(json.dumps(tokenizer, ensure_ascii=False))
