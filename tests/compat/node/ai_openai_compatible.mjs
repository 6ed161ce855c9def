// The AI SDK's provider for whatever is compatible with OpenAI's Chat Completions.

import { createOpenAICompatible } from "@ai-sdk/openai-compatible";

import { check } from "./ai_sdk.mjs";
import { BASE, KEY } from "./checks.mjs";

const open = (apiKey = KEY) =>
  createOpenAICompatible({
    name: "headwater",
    baseURL: `${BASE}/v1`,
    apiKey,
    includeUsage: true,
    supportsStructuredOutputs: true,
  });

check("compatible", open, { thinks: false });
