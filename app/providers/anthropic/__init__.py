"""Claude through the official SDK. Importing this package imports the SDK, which takes more than a second of CPU."""

from app.providers.anthropic.adapter import AnthropicProvider

__all__ = ["AnthropicProvider"]
