"""transformers' own `generate` on the fixed work: n completions through `num_return_sequences`."""

import sys
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoModelForCausalLM, GenerationConfig

from worker.bench import workload
from worker.bench.measured_side import MeasuredSide


def main() -> None:
    """Run the work in a folder."""
    folder = Path(sys.argv[1])
    work, side = workload.read(folder), MeasuredSide()
    workload.import_llama()
    side.report_ready(
        work.device, {"torch": torch.__version__, "transformers": transformers.__version__}
    )
    model: Any = AutoModelForCausalLM.from_pretrained(
        folder / workload.MODEL_FOLDER,
        dtype=torch.bfloat16 if work.dtype == "bf16" else torch.float32,
    )
    model.to(work.device)
    model.eval()
    model.generation_config.eos_token_id = None
    settings = GenerationConfig(  # type: ignore[no-untyped-call]
        do_sample=True,
        temperature=1.0,
        top_k=0,
        top_p=1.0,
        max_new_tokens=work.response_tokens,
        num_return_sequences=work.completions,
        pad_token_id=workload.PAD_ID,
    )
    torch.manual_seed(workload.SEED)
    for prompts in workload.draw(work):
        ids = torch.tensor([prompt.ids for prompt in prompts], device=work.device)
        side.begin()
        with torch.inference_mode():
            drawn = model.generate(
                ids, attention_mask=torch.ones_like(ids), generation_config=settings
            )
        side.end()
        nats = workload.nats_per_token(model, drawn.tolist(), work.response_tokens)
        side.report({"nats_per_token": nats})


if __name__ == "__main__":
    main()
