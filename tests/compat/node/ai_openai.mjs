// The AI SDK's provider for OpenAI: its models of the Responses API, which are the default, and those of Chat Completions.

import { createOpenAI } from "@ai-sdk/openai";

import { check } from "./ai_sdk.mjs";
import { BASE, KEY } from "./checks.mjs";

const open = (apiKey = KEY) => createOpenAI({ baseURL: `${BASE}/v1`, apiKey });

check("responses", open, { cancels: false });
check("chat", (apiKey) => open(apiKey).chat, { thinks: false });
