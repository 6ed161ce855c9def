// Anthropic's own SDK.

import assert from "node:assert/strict";
import { test } from "node:test";

import Anthropic from "@anthropic-ai/sdk";

import * as checks from "./checks.mjs";
import { BASE, BOTH, BROKEN, CITY, KEY, asked, collect, model, paced } from "./checks.mjs";

const WEATHER = { name: "get_weather", description: "The weather of a city.", input_schema: CITY };
const THINKING = { type: "enabled", budget_tokens: 1024 };

const open = (options) => new Anthropic({ baseURL: BASE, apiKey: KEY, maxRetries: 0, ...options });
const client = open();
const user = (content) => ({ role: "user", content });
const body = (fields) => ({ model: model(), max_tokens: 3000, messages: [user("Hello.")], ...fields });
const textOf = (message) => message.content.filter((block) => block.type === "text").map((block) => block.text).join("");

// The two ways to an answer, told by the final message.
const WAYS = {
  "one piece": (...request) => client.messages.create(...request),
  stream: (...request) => client.messages.stream(...request).finalMessage(),
};

const textDeltas = (events) =>
  events.filter((event) => event.delta?.type === "text_delta").map((event) => event.delta.text);

test("text in one piece and as a stream is the same message", async () => {
  const request = body({ messages: [user("What is unicode?")] });
  const whole = await client.messages.create(request);
  const pieces = [];
  const final = await client.messages.stream(request).on("text", (piece) => pieces.push(piece)).finalMessage();
  const { parsed_output, ...plain } = final; // the helper's own
  assert.deepEqual(JSON.parse(JSON.stringify(plain)), JSON.parse(JSON.stringify(whole)));
  assert.equal(pieces.join(""), textOf(whole));
  assert.ok(pieces.length > 10);
  assert.equal(final.stop_reason, "end_turn");
  assert.equal(final.usage.output_tokens, pieces.length);
  assert.match(whole._request_id, /^req_/);
});

test("events come in the order of the API", async () => {
  const { values } = await collect(await client.messages.create(body({ stream: true })));
  const types = values.map((event) => event.type).filter((type, at, all) => type !== "ping" && type !== all[at - 1]);
  assert.deepEqual(types, [
    "message_start",
    "content_block_start",
    "content_block_delta",
    "content_block_stop",
    "message_delta",
    "message_stop",
  ]);
});

test("text arrives as it is made", async () => {
  const { values, times } = await collect(await client.messages.create(body({ model: paced(), stream: true })));
  checks.assertPaced(times.filter((_, at) => values[at].delta?.type === "text_delta"));
});

test("stop reasons", async () => {
  for (const ask of Object.values(WAYS)) {
    assert.equal((await ask(body({ max_tokens: 3 }))).stop_reason, "max_tokens");
    const stopped = await ask(body({ stop_sequences: ["simulated"] }));
    assert.deepEqual([stopped.stop_reason, stopped.stop_sequence], ["stop_sequence", "simulated"]);
  }
});

for (const [way, ask] of Object.entries(WAYS)) {
  for (const thinking of [undefined, THINKING]) {
    test(`tools ${thinking ? "with thinking " : ""}(${way})`, async () => {
      const request = body({ messages: [user(BOTH)], tools: [WEATHER], thinking });
      const message = await ask(request);
      assert.equal(message.stop_reason, "tool_use");
      assert.equal(message.content[0].type, thinking ? "thinking" : "text");
      const calls = message.content.filter((block) => block.type === "tool_use");
      assert.deepEqual(calls.map((call) => call.input), [{ city: "Paris" }, { city: "Rome" }]);
      const results = calls.map((call) => ({ type: "tool_result", tool_use_id: call.id, content: "Rain." }));
      const turns = [...request.messages, { role: "assistant", content: message.content }, user(results)];
      const answer = await ask({ ...request, messages: turns });
      assert.equal(answer.stop_reason, "end_turn");
      assert.match(textOf(answer), /Rain\./);
    });
  }
}

test("the SDK's own tool runner", async () => {
  const cities = [];
  const run = async ({ city }) => (cities.push(city), "Rain.");
  const tool = { ...WEATHER, type: "custom", run, parse: (input) => input };
  const request = body({ messages: [user(BOTH)], tools: [tool], stream: true });
  const final = await client.beta.messages.toolRunner(request);
  assert.deepEqual(cities, ["Paris", "Rome"]);
  assert.match(textOf(final), /Rain\./);
});

test("tokens are counted", async () => {
  const { max_tokens, ...request } = body();
  const { input_tokens } = await client.messages.countTokens(request);
  assert.equal(input_tokens, (await client.messages.create({ ...request, max_tokens })).usage.input_tokens);
});

test("models are listed", async () => {
  const { values } = await collect(client.models.list());
  assert.deepEqual(values.map((found) => found.id), ["claude-sim", "claude-sim-thinking"]);
  assert.equal((await client.models.retrieve("claude-sim")).display_name, "Claude Sim");
});

// [class, status, type]
const REFUSALS = {
  400: [Anthropic.BadRequestError, 400, "invalid_request_error"],
  401: [Anthropic.InternalServerError, 502, "api_error"],
  404: [Anthropic.NotFoundError, 404, "not_found_error"],
  429: [Anthropic.RateLimitError, 429, "rate_limit_error"],
  500: [Anthropic.InternalServerError, 502, "api_error"],
  529: [Anthropic.InternalServerError, 529, "overloaded_error"],
  "error-first": [Anthropic.InternalServerError, 529, "overloaded_error"],
  reset: [Anthropic.InternalServerError, 502, "api_error"],
};

const refused = ([kind, status, type]) => (error) => {
  assert.ok(error instanceof kind, `${error.constructor.name}: ${error.message}`);
  assert.deepEqual([error.status, error.type], [status, type]);
  assert.match(error.requestID, /^req_/);
  return true;
};

for (const [way, ask] of Object.entries(WAYS)) {
  for (const [fault, told] of Object.entries(REFUSALS)) {
    test(`refused by the upstream: ${fault} (${way})`, async () => {
      const request = body({ model: model(fault) });
      await assert.rejects(ask(request), refused(told));
      assert.equal((await asked(request.model)).length, 1);
    });
  }

  test(`a wrong key (${way})`, async () => {
    const authToken = { headers: { authorization: "Bearer hw_wrong" } };
    await assert.rejects(ask(body(), authToken), refused([Anthropic.AuthenticationError, 401, "authentication_error"]));
  });
}

test("a refused request is sent again where that helps", async () => {
  const request = body({ model: model(429, { retry_after: 0, times: 1 }) });
  const message = await open({ maxRetries: 2 }).messages.create(request);
  assert.equal(message.stop_reason, "end_turn");
  assert.deepEqual((await asked(request.model)).map((sent) => sent.status), [429, 200]);
});

for (const fault of BROKEN) {
  const type = fault === "error-mid" ? "overloaded_error" : "api_error";

  test(`an answer that breaks off is no answer: ${fault}`, async () => {
    const { values, error } = await collect(
      await client.messages.create(body({ model: model(fault), stream: true })),
    );
    assert.ok(textDeltas(values).length > 0);
    assert.ok(error instanceof Anthropic.APIError, `${error}`);
    assert.equal(error.type, type);
    assert.ok(values.every((event) => event.type !== "message_delta" && event.type !== "message_stop"));

    const stream = client.messages.stream(body({ model: model(fault) }));
    await assert.rejects(stream.finalMessage(), (error) => error.type === type);
    assert.equal(stream.errored, true);

    await assert.rejects(client.messages.create(body({ model: model(fault) })), Anthropic.InternalServerError);
  });
}

test("abort leaves the stream, and the answer goes on", async () => {
  const request = body({ model: paced() });
  const stream = client.messages.stream(request);
  stream.once("text", () => stream.abort());
  await assert.rejects(stream.finalMessage(), Anthropic.APIUserAbortError);
  assert.equal(stream.aborted, true);
  await checks.assertWentOn(request.model);
});

test("abort cancels where asked for", async () => {
  const request = body({ model: checks.slow() });
  const stream = client.messages.stream(request, { headers: { "x-on-disconnect": "cancel" } });
  stream.once("text", () => stream.abort());
  await assert.rejects(stream.finalMessage(), Anthropic.APIUserAbortError);
  await checks.assertCancelled(request.model);
});
