// What the AI SDK's functions do with a model of any of its providers.

import assert from "node:assert/strict";
import { test } from "node:test";

import { APICallError, Output, generateText, isStepCount, jsonSchema, streamText, tool } from "ai";

import * as checks from "./checks.mjs";
import { BOTH, BROKEN, CITY, asked, collect, model, paced } from "./checks.mjs";

const THINKING = "claude-sim-thinking";
const prompt = "Hello.";

/** What the streaming function gives: all parts, when they came, and the result's promises. */
export async function streamed(request) {
  const result = streamText({ maxRetries: 0, onError() {}, ...request });
  const { values: parts, times } = await collect(result.stream);
  return { result, parts, times };
}

export const ofType = (parts, type) => parts.filter((part) => part.type === type);
const textOf = (parts) => ofType(parts, "text-delta").map((part) => part.text).join("");

// The two ways to an answer, told by what both have in common.
const WAYS = {
  "one piece": (request) => generateText({ maxRetries: 0, ...request }),
  async stream(request) {
    const { result, parts } = await streamed(request);
    const [failure] = ofType(parts, "error");
    if (failure) throw failure.error;
    const [text, steps, finishReason] = await Promise.all([result.text, result.steps, result.finishReason]);
    return { text, steps, finishReason };
  },
};

const weather = (cities) => ({
  get_weather: tool({
    description: "The weather of a city.",
    inputSchema: jsonSchema(CITY),
    execute: async ({ city }) => (cities.push(city), { sky: "blue" }),
  }),
});

// What an upstream's status is told as, where not by its own.
const STATUS = { 401: 502, 500: 502, 529: 503, reset: 502 };

/**
 * Declares the checks of one provider.
 *
 * `open(key)` gives the provider's function from a model's name to a model; `overloaded` is the status of that error in
 * its dialect; `thinks` says that thoughts are part of the dialect; `cancels` that its requests can say what to do when
 * the reader leaves.
 */
export function check(name, open, { overloaded = 503, thinks = true, cancels = true } = {}) {
  const use = open();

  test(`${name}: text in one piece and as a stream is the same`, async () => {
    const request = { model: use(model()), prompt: "What is unicode?", maxRetries: 0 };
    const whole = await generateText(request);
    const { result, parts } = await streamed(request);
    assert.equal(textOf(parts), whole.text);
    assert.ok(ofType(parts, "text-delta").length > 10);
    assert.deepEqual([whole.finishReason, await result.finishReason], ["stop", "stop"]);
    assert.deepEqual(ofType(parts, "error"), []);
    assert.ok(whole.usage.inputTokens > 0 && whole.usage.outputTokens > 10);
  });

  test(`${name}: text arrives as it is made`, async () => {
    const { parts, times } = await streamed({ model: use(paced()), prompt });
    checks.assertPaced(times.filter((_, at) => parts[at].type === "text-delta"));
  });

  test(`${name}: a cut answer says so`, async () => {
    for (const ask of Object.values(WAYS)) {
      const request = { model: use(model("ok", { tokens: 50 })), prompt, maxOutputTokens: 16 };
      assert.equal((await ask(request)).finishReason, "length");
    }
  });

  for (const [way, ask] of Object.entries(WAYS)) {
    for (const id of [undefined, ...(thinks ? [THINKING] : [])]) {
      test(`${name}: tools${id ? " with thoughts" : ""} (${way})`, async () => {
        const cities = [];
        const request = { model: use(id ?? model()), prompt: BOTH, tools: weather(cities), stopWhen: isStepCount(3) };
        const { text, steps, finishReason } = await ask(request);
        assert.deepEqual(cities, ["Paris", "Rome"]);
        assert.equal(steps.length, 2);
        assert.equal(steps[0].finishReason, "tool-calls");
        assert.equal(finishReason, "stop");
        assert.match(text, /\{\\?"sky\\?":\\?"blue\\?"\}/);
        assert.equal(steps[0].reasoning.length > 0, id !== undefined);
      });
    }

    for (const fault of [400, 401, 404, 429, 500, 529, "reset"]) {
      test(`${name}: refused by the upstream: ${fault} (${way})`, async () => {
        const id = model(fault);
        const status = fault === 529 ? overloaded : (STATUS[fault] ?? fault);
        await assert.rejects(ask({ model: use(id), prompt }), refused(status));
        assert.equal((await asked(id)).length, 1);
      });
    }

    test(`${name}: a wrong key (${way})`, async () => {
      await assert.rejects(ask({ model: open("hw_wrong")(model()), prompt }), refused(401));
    });
  }

  test(`${name}: a structured answer`, async () => {
    const output = Output.object({ schema: jsonSchema(CITY) });
    const answer = await generateText({ model: use("claude-sim"), prompt, output, maxRetries: 0 });
    assert.equal(typeof answer.output.city, "string");
  });

  test(`${name}: a refused request is sent again where that helps`, async () => {
    const id = model(429, { retry_after: 0, times: 1 });
    assert.equal((await generateText({ model: use(id), prompt, maxRetries: 1 })).finishReason, "stop");
    assert.deepEqual((await asked(id)).map((sent) => sent.status), [429, 200]);
  });

  for (const fault of BROKEN) {
    test(`${name}: an answer that breaks off is no answer: ${fault}`, async () => {
      const { result, parts } = await streamed({ model: use(model(fault)), prompt });
      assert.ok(textOf(parts).length > 0);
      assert.equal(ofType(parts, "error").length, 1);
      const reasons = parts.map((part) => part.finishReason).filter(Boolean);
      assert.ok(reasons.every((reason) => reason === "error"), `${reasons}`);
      const told = await result.finishReason.catch(() => "error");
      assert.equal(told, "error");

      const whole = generateText({ model: use(model(fault)), prompt, maxRetries: 0 });
      await assert.rejects(whole, (error) => error.statusCode >= 500);
    });
  }

  test(`${name}: abort leaves the stream`, async () => {
    const id = cancels ? checks.slow() : paced();
    const headers = cancels ? { "x-on-disconnect": "cancel" } : {};
    const reader = new AbortController();
    const onChunk = ({ chunk }) => chunk.type === "text-delta" && reader.abort();
    const { parts } = await streamed({ model: use(id), prompt, headers, onChunk, abortSignal: reader.signal });
    assert.equal(parts.at(-1).type, "abort");
    assert.deepEqual(ofType(parts, "finish"), []);
    await (cancels ? checks.assertCancelled(id) : checks.assertWentOn(id));
  });
}

const refused = (status) => (error) => {
  assert.ok(APICallError.isInstance(error), `${error}`);
  assert.equal(error.statusCode, status);
  assert.ok(error.message);
  return true;
};
