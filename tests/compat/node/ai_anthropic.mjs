// The AI SDK's provider for Anthropic.

import { createAnthropic } from "@ai-sdk/anthropic";

import { check } from "./ai_sdk.mjs";
import { BASE, KEY } from "./checks.mjs";

check("anthropic", (apiKey = KEY) => createAnthropic({ baseURL: `${BASE}/v1`, apiKey }), { overloaded: 529 });
