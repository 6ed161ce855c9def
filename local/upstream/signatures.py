"""Signatures of thinking blocks, made so that they can be checked again without remembering them.

The real API refuses a history whose thinking blocks were edited or dropped. So does this one: that is how a test
proves that a store gives back every byte.
"""

import base64
import hashlib
import hmac

# Not a secret: whoever can read this may forge the thoughts of a simulator.
_KEY = b"headwater-simulated-upstream"
_NONCE_BYTES = 16
# Real signatures are some hundred characters. 240 is a multiple of 3, so `=` never marks the end; `+` and `/` do occur.
_MAC_BYTES = 224


def sign(thinking: str, nonce: bytes) -> str:
    """Return the signature of a thought: base64 text of 320 characters.

    Args:
        thinking: the whole text of the block as the client sees it.
        nonce: 16 bytes that make signatures of equal texts differ.
    """
    return base64.b64encode(nonce + _mac(nonce, thinking)).decode()


def is_genuine(thinking: str, signature: str) -> bool:
    """Tell whether `sign` made exactly this signature for exactly this text."""
    try:
        nonce = base64.b64decode(signature, validate=True)[:_NONCE_BYTES]
    except ValueError:
        return False
    return hmac.compare_digest(sign(thinking, nonce).encode(), signature.encode())


def _mac(nonce: bytes, thinking: str) -> bytes:
    digest = hmac.digest(_KEY, nonce + thinking.encode(), hashlib.sha512)
    return hashlib.shake_256(digest).digest(_MAC_BYTES)
