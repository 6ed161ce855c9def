"""The sentences of the simulated model, and how they fall apart into tokens."""

import re
from collections.abc import Sequence
from itertools import cycle, islice

from local.upstream.prompt import Prompt, quote

SENTENCES = (
    "A headwater is where a river begins, often no more than a wet place under a stone.",
    "Water takes the easiest way down, and after a thousand years that way is called a valley.",
    "Two streams that meet keep their own colours for a while before they mix.",
    "The same river is loud over stones and quiet over sand.",
    "Most of a river's water travels unseen, through the gravel beside and below it.",
    "A flood leaves a thin layer of mud, and the fields are better for it the next year.",
    "Otters come back when the fish do, and the fish come back when the water is clear.",
    "A mill needs no great river, only one that never stops.",
    "Snow is a reservoir that fills in winter and opens by itself in spring.",
    "Old maps draw the source of a river with care and the mouth with a guess.",
)
SENTENCES_IN_AN_ANSWER = 4

# One of each kind that breaks careless code: outside the BMP, joined by ZWJ, with a skin tone, a flag, combining marks,
# right to left, a line separator that str.splitlines() splits at, NEL, a BOM, and what would be framing if it were not
# inside JSON.
UNICODE = (
    "Here it comes: 🙂 👩🏽‍🚀 🇨🇭 e\u0301 a\u0308\u0323 ﬁ 日本語 العربية one\u2028two\u2029three\u0085four \ufeff "
    'five\r\nsix\n\ndata: seven\n\nevent: eight \\ " \x7f end.'
)


def answer(prompt: Prompt, model: str, seed: int) -> str:
    """Return the text that answers a prompt: the same for the same request."""
    if prompt.tool_results:
        results = " and ".join(prompt.tool_results)
        return f"I asked, and the tool {results}. That is all I need to answer {quote(prompt.question)}."
    return " ".join(part for part in (*_about(prompt, model), *_sentences(seed)) if part)


def thought(prompt: Prompt) -> str:
    """Return what the model thinks before it answers."""
    return (
        f"The question is {quote(prompt.question)}. A simulated model has nothing to weigh, "
        "but a thought should be seen to pass before the answer."
    )


def pieces(text: str) -> list[str]:
    """Split text into tokens, without loss: words, and single characters where they are not ASCII.

    A real tokenizer splits rare characters too, so a combining mark may come in another event than its letter.
    """
    words = re.findall(r"\s*\S+|\s+", text)
    return [piece for word in words for piece in ([word] if word.isascii() else word)]


def stretched(tokens: Sequence[str], length: int) -> list[str]:
    """Repeat tokens until there are exactly so many."""
    return list(islice(cycle(tokens), length))


def _about(prompt: Prompt, model: str) -> tuple[str, ...]:
    return (
        f"You asked {quote(prompt.question)}.",
        f"I am {model}, the simulated model of Headwater: no real model has read this.",
        f"My instructions begin with {quote(prompt.system)}." if prompt.system else "",
        f"This is turn {prompt.turn}; before it you said {quote(prompt.earlier)}." if prompt.earlier else "",
        UNICODE if "unicode" in prompt.words else "",
    )


def _sentences(seed: int) -> list[str]:
    start = seed % len(SENTENCES)
    return list(islice(cycle(SENTENCES), start, start + SENTENCES_IN_AN_ANSWER))
