"""The learning core: functions over tensors, frozen dataclasses, and loops that yield reports.

It depends on no database, queue, web page or file layout beyond the folder it is told to write to,
and needs only torch, transformers, peft, accelerate, safetensors, tensorboard and numpy; the client
of OpenAI-compatible servers also needs httpx.

Dimension letters in docstrings and line-end comments: B batch, T tokens, P prompt, R response, V
vocabulary, K completions of a prompt, H heads, d model width, N positions selected from a batch, L
layers, S distinct prompts. Masks are `is_real` and `is_response`; True means that the position
counts.
"""
