"""Real input: data next to the checkout, and a model made with plain transformers."""

import json
import tarfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from app.client import Client
from app.db import Database
from app.models import Role, User
from app.services.people import accounts
from tests.conftest import PASSWORD
from tests.live import serve
from tests.worker.runs import small

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
MT_BENCH, ALPACA, HH = (
    DATA / name
    for name in ("mt_bench_question.jsonl", "alpaca_eval_slice.jsonl", "hh_rlhf_slice.jsonl")
)
needed = pytest.mark.skipif(
    not all(path.exists() for path in (MT_BENCH, ALPACA, HH)),
    reason=f"the real input is not in {DATA}",
)


@dataclass(frozen=True, slots=True)
class Office:
    """A served application, its lead and two labelers."""

    url: str
    database: Database
    lead: Client
    tokens: dict[str, str]

    def make_project(self, slug: str, **options: Any) -> None:
        """Create a project through the API and add the labelers."""
        self.lead.post("/projects", {"name": slug, "slug": slug, **options})
        for name in self.tokens:
            member = {"email": f"{name}@example.org", "role": Role.LABELER}
            self.lead.put(f"/projects/{slug}/members", member)

    def take_in(self, slug: str, file: Path) -> dict[str, int]:
        """Import a file through the API; return the outcome."""
        answer = self.lead.upload(f"/projects/{slug}/imports", file)
        if "rejects" not in answer:  # a large file: its job is run here
            with TemporaryDirectory() as folder:
                small.run_jobs(self.database, Path(folder))
            answer = self.lead.get(f"/projects/{slug}/jobs/{answer['id']}")["result"]
        counts: dict[str, int] = answer["counts"]
        return counts


@contextmanager
def opened(application: Any, database: Database) -> Iterator[Office]:
    """Serve the application to a lead, and to the labelers `ada` and `ben`."""
    with database.transaction() as session:
        lead = _user(session, "lead", is_admin=True)
        token = accounts.create_token(session, lead, name="lead", scopes=["admin"]).secret
        tokens = {
            name: accounts.create_token(
                session, _user(session, name), name=name, scopes=["label"]
            ).secret
            for name in ("ada", "ben")
        }
    with serve(application) as url, Client(url, token) as client:
        yield Office(url, database, client, tokens)


def rows(path: Path) -> list[dict[str, Any]]:
    """Read a file of JSON lines."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def save_llama(folder: Path, texts: Iterable[str]) -> Path:
    """Save a random Llama and a byte-level tokenizer for these texts, without using Attune."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    bpe.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=1024,
            special_tokens=["<pad>", "<s>", "</s>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    tokenizer = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=bpe, pad_token="<pad>", bos_token="<s>", eos_token="</s>"
    )
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        initializer_range=0.1,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def unpacked(office: Office, slug: str, checkpoint_id: int, folder: Path) -> Path:
    """Download a model as a tar and unpack it; return its folder."""
    packed = folder / f"{checkpoint_id}.tar"
    office.lead.download(f"/projects/{slug}/checkpoints/{checkpoint_id}/download", packed)
    with tarfile.open(packed) as tar:
        tar.extractall(folder, filter="data")
        return folder / tar.getnames()[0].split("/")[0]


def _user(session: Any, name: str, *, is_admin: bool = False) -> User:
    return accounts.create_user(
        session, email=f"{name}@example.org", name=name, password=PASSWORD, is_admin=is_admin
    )
