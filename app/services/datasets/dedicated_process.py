"""The interpreter of a process that does nothing but import or export a file."""

import gc
import sys

_SWITCH_INTERVAL_S = 0.0005  # a tenth of Python's own
_OBJECTS_UNTIL_COLLECTED = 100_000  # about those of a batch


def adapt() -> None:
    """Adapt the interpreter to two threads, one of which reads ahead for the other.

    What is loaded stays, and what a batch makes is freed without the collector: going through all
    of it again and again takes a third of an import's time. Neither thread must keep the other
    waiting after each statement or block of a file, which is a tenth of an export's time.
    """
    gc.freeze()
    gc.set_threshold(_OBJECTS_UNTIL_COLLECTED)
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
