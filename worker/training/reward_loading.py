"""How to load a reward model on an encoder–decoder in plain transformers and PEFT, in its folder.

`AutoModelForSequenceClassification` has no such classifier: that of T5 scores the end token of a
text that encoder and decoder both read. Here the encoder reads the prompt and the decoder the
response, and the head is applied to the decoder's last state.
"""

from pathlib import Path

from worker.rlhf.model import saving
from worker.rlhf.model.roles import Roles

CARD = "README.md"
TEXT = """# A reward model on an encoder–decoder

The encoder reads the rendered prompt, the decoder {prefix} and then the ids of the response with
its end token. The score is the head's product with the decoder's last hidden state, not normalized.
In this folder:

```python
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

folder = "."
tokenizer = AutoTokenizer.from_pretrained(folder)
base = AutoModelForSeq2SeqLM.from_pretrained({base!r})
model = PeftModel.from_pretrained(base, folder).eval()
head = load_file(f"{{folder}}/{adapter}")[{key!r}][0]


def score(messages: list[dict[str, str]], response: str) -> float:
    text = tokenizer.apply_chat_template(messages, tokenize=False)
    prompt = tokenizer(text, add_special_tokens=False, return_tensors="pt")
    ids = tokenizer(response, add_special_tokens=False)["input_ids"]
    decoder_ids = torch.tensor([[*{prefix}, *ids, {end}]])
    with torch.no_grad():
        output = model(**prompt, decoder_input_ids=decoder_ids, output_hidden_states=True)
    return float(output.decoder_hidden_states[-1][0, -1] @ head)


print(score([{{"role": "user", "content": "Summarize: …"}}], "A summary."))
```
"""


def write(roles: Roles, folder: Path) -> None:
    """Write the card of a member on an encoder–decoder model; others need none."""
    loaded = roles.loaded
    if not loaded.is_encoder_decoder:
        return
    text = TEXT.format(
        prefix=list(loaded.decoder_prefix),
        base=loaded.path,
        adapter=saving.ADAPTER_FILE,
        key=saving.HEAD_KEY,
        end=loaded.end_id,
    )
    (folder / CARD).write_text(text, encoding="utf-8")
