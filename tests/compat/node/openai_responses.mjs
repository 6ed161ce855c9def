// OpenAI's own SDK: Responses.

import assert from "node:assert/strict";
import { test } from "node:test";

import OpenAI from "openai";

import * as checks from "./checks.mjs";
import { BASE, BOTH, BROKEN, CITY, KEY, asked, collect, model, paced, until } from "./checks.mjs";
import { cuttingProxy } from "./cutting_proxy.mjs";

const WEATHER = { type: "function", name: "get_weather", parameters: CITY, strict: false };

const open = (options) => new OpenAI({ baseURL: `${BASE}/v1`, apiKey: KEY, maxRetries: 0, ...options });
const client = open();
const body = (fields) => ({ model: model(), input: "Hello.", ...fields });
const deltas = (events) => events.filter((event) => event.type === "response.output_text.delta");
const textOf = (events) => deltas(events).map((event) => event.delta).join("");
const numbers = (events) => events.map((event) => event.sequence_number);
const callsOf = (response) => response.output.filter((item) => item.type === "function_call");

const assertNumbered = (events, first) =>
  assert.deepEqual(numbers(events), events.map((_, at) => first + at));

// The two ways to an answer, told by the whole response.
const WAYS = {
  "one piece": (...request) => client.responses.create(...request),
  stream: (...request) => client.responses.stream(...request).finalResponse(),
};

test("text in one piece and as a stream is the same", async () => {
  const request = body({ input: "What is unicode?", instructions: "Be kind." });
  const whole = await client.responses.create(request);
  const { values } = await collect(await client.responses.create({ ...request, stream: true }));
  assert.equal(whole.status, "completed");
  assert.match(whole.output_text, /Be kind\./);
  assert.equal(textOf(values), whole.output_text);
  assertNumbered(values, 0);
  assert.equal(values.at(-1).type, "response.completed");
  assert.equal(whole.usage.total_tokens, whole.usage.input_tokens + whole.usage.output_tokens);
  assert.match(whole._request_id, /^req_/);
});

test("the helper puts the response together", async () => {
  const final = await WAYS.stream(body({ model: "claude-sim-thinking" }));
  assert.deepEqual(final.output.map((item) => item.type), ["reasoning", "message"]);
  assert.equal(final.output_text, (await client.responses.retrieve(final.id)).output_text);
});

test("text arrives as it is made", async () => {
  const { values, times } = await collect(await client.responses.create(body({ model: paced(), stream: true })));
  checks.assertPaced(times.filter((_, at) => values[at].type === "response.output_text.delta"));
});

test("a cut answer says so", async () => {
  for (const ask of Object.values(WAYS)) {
    const response = await ask(body({ max_output_tokens: 16, model: model("ok", { tokens: 50 }) }));
    assert.equal(response.status, "incomplete");
    assert.equal(response.incomplete_details.reason, "max_output_tokens");
  }
});

for (const [way, ask] of Object.entries(WAYS)) {
  test(`tools in a chain (${way})`, async () => {
    const request = body({ input: BOTH, tools: [WEATHER] });
    const first = await ask(request);
    const calls = callsOf(first);
    assert.deepEqual(calls.map((call) => JSON.parse(call.arguments)), [{ city: "Paris" }, { city: "Rome" }]);
    const input = calls.map(({ call_id }) => ({ type: "function_call_output", call_id, output: "Rain." }));
    const second = await ask({ ...request, input, previous_response_id: first.id });
    assert.equal(second.status, "completed");
    assert.match(second.output_text, /Rain\./);
  });

  test(`tools with all items kept by the client (${way})`, async () => {
    const request = body({ model: "claude-sim-thinking", tools: [WEATHER], store: false });
    const input = [{ role: "user", content: BOTH }];
    const first = await ask({ ...request, input, include: ["reasoning.encrypted_content"] });
    assert.equal(first.output[0].type, "reasoning");
    input.push(...first.output);
    input.push(...callsOf(first).map(({ call_id }) => ({ type: "function_call_output", call_id, output: "Rain." })));
    assert.match((await ask({ ...request, input })).output_text, /Rain\./);
  });
}

test("a structured answer", async () => {
  const text = { format: { type: "json_schema", name: "place", schema: CITY, strict: true } };
  const response = await client.responses.parse(body({ model: "claude-sim", text }));
  assert.equal(typeof response.output_parsed.city, "string");
});

test("a background response is polled", async () => {
  const { id, status } = await client.responses.create(body({ model: paced(), background: true }));
  assert.equal(status, "queued");
  await until(async () => (await client.responses.retrieve(id)).status === "completed", "its end");
});

test("a background response is read while it is made", async () => {
  const { id } = await client.responses.create(body({ model: paced(), background: true }));
  const { values, times } = await collect(await client.responses.retrieve(id, { stream: true, starting_after: 4 }));
  assertNumbered(values, 5);
  checks.assertPaced(times.filter((_, at) => values[at].type === "response.output_text.delta"));
  assert.deepEqual(values.at(-1).response.output, (await client.responses.retrieve(id)).output);
});

test("a stream whose connection was cut is read on", async (t) => {
  const proxy = await cuttingProxy(t, 4000);
  const request = body({ model: paced(), stream: true, background: true });
  const head = await collect(await open({ baseURL: `${proxy.url}/v1` }).responses.create(request));
  assert.ok(head.error, "it was not cut");
  assert.ok(deltas(head.values).length > 0);
  const { id } = head.values[0].response;
  const starting_after = head.values.at(-1).sequence_number;
  const tail = await collect(await client.responses.retrieve(id, { stream: true, starting_after }));
  const whole = [...head.values, ...tail.values];
  assertNumbered(whole, 0);
  assert.equal(textOf(whole), (await client.responses.retrieve(id)).output_text);
});

test("the helper reads on too", async () => {
  const { id } = await client.responses.create(body({ model: paced(), background: true }));
  const final = await client.responses.stream({ response_id: id, starting_after: 3 }).finalResponse();
  assert.equal(final.status, "completed");
  assert.equal(final.output_text, (await client.responses.retrieve(id)).output_text);
});

test("cancel stops a response, and its readers are told", async () => {
  const { id } = await client.responses.create(body({ model: checks.slow(), background: true }));
  assert.equal((await client.responses.retrieve(id)).status, "in_progress");
  const reading = collect(await client.responses.retrieve(id, { stream: true }));
  await client.responses.cancel(id);
  const { values } = await reading;
  assert.equal(values.at(-1).type, "response.failed");
  assert.equal((await client.responses.retrieve(id)).status, "cancelled");
  assert.equal((await client.responses.cancel(id)).status, "cancelled");
});

test("what was asked is listed, and deleted", async () => {
  const input = ["One", "Two", "Three"].map((content) => ({ role: "user", content }));
  const { id } = await client.responses.create(body({ input }));
  const { values } = await collect(client.responses.inputItems.list(id, { order: "asc", limit: 2 }));
  assert.deepEqual(values.map((item) => item.content[0].text), ["One", "Two", "Three"]);
  await client.responses.delete(id);
  await assert.rejects(client.responses.retrieve(id), OpenAI.NotFoundError);
});

// [class, status, code]
const REFUSALS = {
  400: [OpenAI.BadRequestError, 400, null],
  401: [OpenAI.InternalServerError, 502, "upstream_credentials"],
  404: [OpenAI.NotFoundError, 404, "model_not_found"],
  429: [OpenAI.RateLimitError, 429, "rate_limit_exceeded"],
  500: [OpenAI.InternalServerError, 502, "upstream_error"],
  529: [OpenAI.InternalServerError, 503, "overloaded"],
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
      await assert.rejects(client.responses.create(request), refused(told));
      assert.equal((await asked(request.model)).length, 1);
    });
  }

  test(`a wrong key (${way})`, async () => {
    const told = [OpenAI.AuthenticationError, 401, "invalid_api_key"];
    await assert.rejects(open({ apiKey: "hw_wrong" }).responses.create(body({ stream })), refused(told));
  });
}

for (const fault of BROKEN) {
  test(`an answer that breaks off is no answer: ${fault}`, async () => {
    const { values } = await collect(await client.responses.create(body({ model: model(fault), stream: true })));
    const { type, response } = values.at(-1);
    assert.ok(textOf(values).length > 0);
    assert.equal(type, "response.failed");
    assert.equal(response.status, "failed");
    assert.ok(response.error.message);
    assert.ok(values.every((event) => !event.type.endsWith(".done") && event.type !== "response.completed"));

    assert.equal((await WAYS.stream(body({ model: model(fault) }))).status, "failed");

    await assert.rejects(client.responses.create(body({ model: model(fault) })), OpenAI.InternalServerError);
  });
}

test("abort leaves the stream, and the response goes on", async () => {
  const request = body({ model: paced() });
  const stream = client.responses.stream(request);
  stream.once("response.output_text.delta", () => stream.abort());
  await assert.rejects(stream.finalResponse(), OpenAI.APIUserAbortError);
  await checks.assertWentOn(request.model);
});
