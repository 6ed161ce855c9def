// OpenAI's own SDK: Chat Completions.

import assert from "node:assert/strict";
import { test } from "node:test";

import OpenAI from "openai";

import * as checks from "./checks.mjs";
import { BASE, BOTH, BROKEN, CITY, KEY, asked, collect, model, paced } from "./checks.mjs";

const WEATHER = { type: "function", function: { name: "get_weather", parameters: CITY } };

const open = (options) => new OpenAI({ baseURL: `${BASE}/v1`, apiKey: KEY, maxRetries: 0, ...options });
const client = open();
const user = (content) => ({ role: "user", content });
const body = (fields) => ({ model: model(), messages: [user("Hello.")], ...fields });
const textOf = (chunks) => chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join("");
const reasons = (chunks) => chunks.map((chunk) => chunk.choices[0]?.finish_reason).filter(Boolean);

// The two ways to an answer, told by the whole completion.
const WAYS = {
  "one piece": (...request) => client.chat.completions.create(...request),
  stream: (...request) => client.chat.completions.stream(...request).finalChatCompletion(),
};

test("text in one piece and as a stream is the same", async () => {
  const request = body({ messages: [user("What is unicode?")] });
  const whole = await client.chat.completions.create(request);
  const { values } = await collect(await client.chat.completions.create({ ...request, stream: true }));
  assert.equal(textOf(values), whole.choices[0].message.content);
  assert.ok(values.length > 10);
  assert.deepEqual(reasons(values), ["stop"]);
  assert.equal(new Set(values.map(({ id, created, model }) => `${id} ${created} ${model}`)).size, 1);
  assert.ok(values.every((chunk) => chunk.usage == null && chunk.choices.length === 1));
  assert.equal(whole.usage.total_tokens, whole.usage.prompt_tokens + whole.usage.completion_tokens);
  assert.match(whole._request_id, /^req_/);
});

test("text arrives as it is made", async () => {
  const { values, times } = await collect(await client.chat.completions.create(body({ model: paced(), stream: true })));
  checks.assertPaced(times.filter((_, at) => values[at].choices[0].delta.content));
});

test("usage comes where it is asked for", async () => {
  const request = body({ stream: true, stream_options: { include_usage: true } });
  const { values } = await collect(await client.chat.completions.create(request));
  const last = values.pop();
  assert.deepEqual(last.choices, []);
  assert.ok(last.usage.completion_tokens > 0);
  assert.ok(values.every((chunk) => chunk.usage === null));
});

test("a cut answer says so", async () => {
  for (const ask of Object.values(WAYS)) {
    assert.equal((await ask(body({ max_tokens: 3 }))).choices[0].finish_reason, "length");
  }
});

for (const [way, ask] of Object.entries(WAYS)) {
  test(`tools (${way})`, async () => {
    const request = body({ messages: [user(BOTH)], tools: [WEATHER] });
    const { message, finish_reason } = (await ask(request)).choices[0];
    assert.equal(finish_reason, "tool_calls");
    const inputs = message.tool_calls.map((call) => JSON.parse(call.function.arguments));
    assert.deepEqual(inputs, [{ city: "Paris" }, { city: "Rome" }]);
    const results = message.tool_calls.map((call) => ({ role: "tool", tool_call_id: call.id, content: "Rain." }));
    const answer = (await ask({ ...request, messages: [...request.messages, message, ...results] })).choices[0];
    assert.equal(answer.finish_reason, "stop");
    assert.match(answer.message.content, /Rain\./);
  });
}

for (const stream of [false, true]) {
  test(`the SDK's own tool runner${stream ? ", streaming" : ""}`, async () => {
    const cities = [];
    const run = ({ city }) => (cities.push(city), "Rain.");
    const tool = { type: "function", function: { ...WEATHER.function, function: run, parse: JSON.parse } };
    const runner = client.chat.completions.runTools(body({ messages: [user(BOTH)], tools: [tool], stream }));
    assert.match(await runner.finalContent(), /Rain\./);
    assert.deepEqual(cities, ["Paris", "Rome"]);
  });
}

test("a structured answer", async () => {
  const response_format = { type: "json_schema", json_schema: { name: "place", schema: CITY, strict: true } };
  const answer = await client.chat.completions.create(body({ model: "claude-sim", response_format }));
  assert.equal(typeof JSON.parse(answer.choices[0].message.content).city, "string");
});

test("models are listed", async () => {
  const { values } = await collect(client.models.list());
  assert.deepEqual(values.map((found) => found.id), ["claude-sim", "claude-sim-thinking"]);
  assert.deepEqual((await client.models.retrieve("claude-sim")).id, "claude-sim");
});

// [class, status, code]
const REFUSALS = {
  400: [OpenAI.BadRequestError, 400, null],
  401: [OpenAI.InternalServerError, 502, "upstream_credentials"],
  404: [OpenAI.NotFoundError, 404, "model_not_found"],
  429: [OpenAI.RateLimitError, 429, "rate_limit_exceeded"],
  500: [OpenAI.InternalServerError, 502, "upstream_error"],
  529: [OpenAI.InternalServerError, 503, "overloaded"],
  "error-first": [OpenAI.InternalServerError, 503, "overloaded"],
  reset: [OpenAI.InternalServerError, 502, "upstream_connection"],
};

const refused = ([kind, status, code]) => (error) => {
  assert.ok(error instanceof kind, `${error.constructor.name}: ${error.message}`);
  assert.deepEqual([error.status, error.code], [status, code]);
  assert.match(error.requestID, /^req_/);
  return true;
};

for (const stream of [false, true]) {
  const way = stream ? "stream" : "one piece";

  for (const [fault, told] of Object.entries(REFUSALS)) {
    test(`refused by the upstream: ${fault} (${way})`, async () => {
      const request = body({ model: model(fault), stream });
      await assert.rejects(client.chat.completions.create(request), refused(told));
      assert.equal((await asked(request.model)).length, 1);
    });
  }

  test(`a wrong key (${way})`, async () => {
    const stranger = open({ apiKey: "hw_wrong" });
    const told = [OpenAI.AuthenticationError, 401, "invalid_api_key"];
    await assert.rejects(stranger.chat.completions.create(body({ stream })), refused(told));
  });
}

test("a refused request is sent again where that helps", async () => {
  const request = body({ model: model(429, { retry_after: 0, times: 1 }) });
  const answer = await open({ maxRetries: 2 }).chat.completions.create(request);
  assert.equal(answer.choices[0].finish_reason, "stop");
  assert.deepEqual((await asked(request.model)).map((sent) => sent.status), [429, 200]);
});

for (const fault of BROKEN) {
  test(`an answer that breaks off is no answer: ${fault}`, async () => {
    const { values, error } = await collect(
      await client.chat.completions.create(body({ model: model(fault), stream: true })),
    );
    assert.ok(textOf(values).length > 0);
    assert.ok(error instanceof OpenAI.APIError, `${error}`);
    assert.equal(error.type, "server_error");
    assert.deepEqual(reasons(values), []);

    await assert.rejects(WAYS.stream(body({ model: model(fault) })), OpenAI.APIError);
    await assert.rejects(client.chat.completions.create(body({ model: model(fault) })), OpenAI.InternalServerError);
  });
}

test("abort leaves the stream, and the answer goes on", async () => {
  const request = body({ model: paced() });
  const stream = client.chat.completions.stream(request);
  stream.once("content", () => stream.abort());
  await assert.rejects(stream.finalChatCompletion(), OpenAI.APIUserAbortError);
  await checks.assertWentOn(request.model);
});

test("abort cancels where asked for", async () => {
  const request = body({ model: checks.slow() });
  const stream = client.chat.completions.stream(request, { headers: { "x-on-disconnect": "cancel" } });
  stream.once("content", () => stream.abort());
  await assert.rejects(stream.finalChatCompletion(), OpenAI.APIUserAbortError);
  await checks.assertCancelled(request.model);
});
