// `EventSource` as browsers have it, in the package of that name: plain server-sent events, with a browser token in the URL.

import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { EventSource } from "eventsource";

import * as checks from "./checks.mjs";
import { BASE, CITY, KEY, completion, model, native, until } from "./checks.mjs";
import { cuttingProxy } from "./cutting_proxy.mjs";

const NAMES = ["start", "thinking", "signature", "content_block", "tool_input", "usage"];

/** Begins a completion as a page's own server would: it needs no more than the headers. */
async function begin(model, fields = {}) {
  const response = await fetch(`${BASE}/v1/completions`, {
    method: "POST",
    headers: { "x-api-key": KEY, "content-type": "application/json" },
    body: JSON.stringify({ model, input: "Hello.", max_tokens: 3000, ...fields }),
  });
  assert.equal(response.status, 200);
  await response.body.cancel();
  return response.headers.get("x-completion-id");
}

const tokenOf = async (completion_id) => (await native("/v1/tokens", { method: "POST", completion_id })).token;

/** What a page is told, until the source is closed. */
function listen(t, id, token, base = BASE) {
  const source = new EventSource(`${base}/v1/completions/${id}/stream?token=${token}`);
  t.after(() => source.close());
  const told = { source, messages: [], times: [], named: [], errors: [] };
  source.onmessage = (event) => {
    told.messages.push(event);
    told.times.push(performance.now());
  };
  for (const name of NAMES) source.addEventListener(name, (event) => told.named.push(event));
  source.onerror = (event) => told.errors.push(event);
  return told;
}

const closed = ({ source }) => until(() => source.readyState === EventSource.CLOSED, "closed");
const texts = ({ messages }) => messages.filter(({ data }) => data !== "[DONE]").map(({ data }) => JSON.parse(data).text);
const endings = ({ messages }) => messages.filter(({ data }) => data === "[DONE]").length;

/** Positions only grow: nothing came twice. */
function assertOnce({ messages }) {
  const ids = messages.map((event) => Number(event.lastEventId));
  assert.ok(ids.every((id, at) => at === 0 || id > ids[at - 1]), `${ids}`);
}

// Each waits for three seconds until the source comes back.
describe("EventSource", { concurrency: true }, () => {
  test("text arrives as it is made, and after its end the source is closed by a 204", async (t) => {
    const id = await begin(model("ok", { rate: 30, tokens: 90 })); // it does not wait for the source
    const told = listen(t, id, await tokenOf(id));
    await closed(told);
    checks.assertPaced(told.times);
    assert.equal(texts(told).join(""), (await native(`/v1/completions/${id}`)).text);
    assert.equal(endings(told), 1);
    assertOnce(told);
    assert.equal(told.errors.at(-1).code, 204);
  });

  test("a cut connection is read on from where it broke", async (t) => {
    const proxy = await cuttingProxy(t, 800);
    const id = await begin(model("ok", { rate: 30, tokens: 120 })); // it goes on while the source waits
    const told = listen(t, id, await tokenOf(id), proxy.url);
    await closed(told);
    const [first, second, third] = proxy.asked.map(({ headers }) => headers["last-event-id"]);
    assert.equal(first, undefined);
    assert.ok(Number(second) > 0 && Number(second) < Number(third), `${second}, ${third}`);
    assert.equal(proxy.asked.length, 3); // the third was the 204
    assert.equal(texts(told).length, 120);
    assert.equal(texts(told).join(""), (await native(`/v1/completions/${id}`)).text);
    assert.equal(endings(told), 1);
    assertOnce(told);
  });

  test("what is not text comes under names of its own", async (t) => {
    const tools = [{ name: "get_weather", input_schema: CITY }];
    const id = await begin("claude-sim-thinking", { input: "What is the weather in Paris?", tools });
    const told = listen(t, id, await tokenOf(id));
    await until(() => endings(told) === 1, "its end");
    told.source.close();
    const of = (name) => told.named.filter((event) => event.type === name).map((event) => JSON.parse(event.data));
    assert.ok(of("thinking").map(({ thinking }) => thinking).join("").length > 0);
    assert.equal(of("content_block")[0].content_block.name, "get_weather");
    const input = of("tool_input").map(({ partial_json }) => partial_json).join("");
    assert.deepEqual(JSON.parse(input), { city: "Paris" });
    assert.equal(of("usage").at(-1).stop_reason, "tool_use");
  });

  for (const fault of checks.BROKEN) {
    test(`an answer that breaks off is no answer: ${fault}`, async (t) => {
      const id = await begin(model(fault));
      const told = listen(t, id, await tokenOf(id));
      await closed(told);
      assert.ok(texts(told).length > 0);
      assert.equal(endings(told), 0);
      const [failure] = told.errors.filter((event) => event.data).map((event) => JSON.parse(event.data).error);
      assert.ok(failure.message && failure.code);
      assert.equal(told.errors.at(-1).code, 204); // it does not come back for ever
    });
  }

  test("who may not read is told so and does not come back", async (t) => {
    const [mine, other] = [await begin(model()), await begin(model())];
    for (const [token, code] of [["hwt_wrong", 401], [KEY, 401], [await tokenOf(other), 404]]) {
      const told = listen(t, mine, token);
      await closed(told);
      assert.equal(told.errors.at(-1).code, code);
      assert.deepEqual(told.messages, []);
    }
  });

  test("a source that is closed is a reader that has left", async (t) => {
    const name = checks.slow();
    const id = await begin(name, { on_disconnect: "cancel" });
    const told = listen(t, id, await tokenOf(id));
    await until(() => texts(told).length > 40, "text past the time that a reader may be gone");
    assert.equal((await completion(name)).status, "streaming");
    told.source.close();
    await checks.assertCancelled(name);
  });
});
