"""The learning core: functions over tensors, frozen dataclasses, loops that yield reports.

It knows no database, queue, web page or file layout beyond the folder it is told to write to, and
needs only torch, transformers, peft, safetensors and numpy.

One alphabet in every docstring and at line ends: B batch, T tokens, P prompt, R response, V
vocabulary, K completions of a prompt, H heads, d width, N positions picked out of a batch, L
layers. Masks are `is_real` and `is_response`; True means that the position counts.
"""
