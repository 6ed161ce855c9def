// `@microsoft/fetch-event-source`, for pages that POST: plain server-sent events.

import assert from "node:assert/strict";
import { test } from "node:test";

import * as checks from "./checks.mjs";
import { BASE, KEY, asked, completion, model, native, paced } from "./checks.mjs";
import { cuttingProxy } from "./cutting_proxy.mjs";

// It is made for pages, and looks for what they have.
globalThis.window = globalThis;
globalThis.document = new EventTarget();
const { fetchEventSource } = await import("@microsoft/fetch-event-source");

const HEADERS = { authorization: `Bearer ${KEY}`, "content-type": "application/json" };

class Refused extends Error {}

/** Follows a completion as its page would; an error, told or of the connection, rejects unless `onerror` says otherwise. */
async function follow(url, init) {
  const told = { events: [], times: [] };
  const onopen = async (response) => {
    told.location ??= response.headers.get("location");
    if (response.status !== 200) throw Object.assign(new Refused(), { status: response.status, text: await response.text() });
  };
  const onmessage = (event) => {
    told.events.push(event);
    told.times.push(performance.now());
    init.onevent?.(event);
  };
  const onerror = (error) => {
    throw error;
  };
  await fetchEventSource(url, { onopen, onmessage, onerror, ...init }).catch((error) => (told.error = error));
  return told;
}

const ask = (model, fields = {}, init = {}, base = BASE) => {
  const body = JSON.stringify({ model, input: "Hello.", max_tokens: 3000, ...fields });
  return follow(`${base}/v1/completions`, { method: "POST", headers: { ...HEADERS }, body, ...init });
};

// What has an id and no event is text; a name of "" is the default.
const messages = ({ events }) => events.filter((event) => event.event === "" && event.data);
const texts = (told) => messages(told).filter(({ data }) => data !== "[DONE]").map(({ data }) => JSON.parse(data).text);
const isWhole = (told) => messages(told).at(-1)?.data === "[DONE]";

test("text arrives as it is made", async () => {
  const name = paced();
  const told = await ask(name);
  assert.equal(told.error, undefined);
  checks.assertPaced(told.times.filter((_, at) => told.events[at].event === ""));
  assert.ok(isWhole(told));
  assert.equal(texts(told).join(""), (await completion(name)).text);
});

test("a cut connection is read on from the completion's own address", async (t) => {
  const proxy = await cuttingProxy(t, 800);
  const name = paced();
  const head = await ask(name, {}, {}, proxy.url);
  assert.ok(head.error, "it was not cut");
  assert.ok(texts(head).length > 0 && !isWhole(head));

  const headers = { authorization: HEADERS.authorization, "last-event-id": head.events.at(-1).id };
  const tail = await follow(new URL(head.location, BASE) + "/stream", { headers });
  assert.equal(tail.error, undefined);
  assert.ok(isWhole(tail));
  assert.equal(texts(head).join("") + texts(tail).join(""), (await completion(name)).text);
  assert.equal((await asked(name)).length, 1);
});

test("a reader comes back by itself, and nothing comes twice", async (t) => {
  const proxy = await cuttingProxy(t, 800);
  const { id } = await started(paced());
  const headers = { authorization: HEADERS.authorization };
  const told = await follow(`${proxy.url}/v1/completions/${id}/stream`, { headers, onerror: () => 10 });
  assert.equal(told.error, undefined);
  assert.equal(proxy.asked.length, 2);
  assert.ok(Number(proxy.asked[1].headers["last-event-id"]) > 0);
  assert.ok(isWhole(told));
  assert.equal(texts(told).join(""), (await native(`/v1/completions/${id}`)).text);
});

test("a request that is sent again by itself reads on, with an idempotency key", async (t) => {
  const proxy = await cuttingProxy(t, 800);
  const name = paced();
  const headers = { ...HEADERS, "idempotency-key": `again ${name}` };
  const told = await ask(name, {}, { headers, onerror: () => 10 }, proxy.url);
  assert.equal(told.error, undefined);
  assert.equal(proxy.asked.length, 2);
  assert.ok(isWhole(told));
  assert.equal(texts(told).join(""), (await completion(name)).text);
  assert.equal((await asked(name)).length, 1);
});

/** A completion that runs, whose first reader has left. */
async function started(name) {
  const reader = new AbortController();
  await ask(name, {}, { signal: reader.signal, onevent: () => reader.abort() });
  return completion(name);
}

for (const [fault, status] of [[400, 400], [401, 502], [404, 404], [429, 429], [500, 502], [529, 529], ["reset", 502]]) {
  test(`refused by the upstream: ${fault}`, async () => {
    const name = model(fault);
    const { error, events } = await ask(name);
    assert.ok(error instanceof Refused, `${error}`);
    assert.equal(error.status, status);
    assert.ok(JSON.parse(error.text).detail);
    assert.deepEqual(events, []);
    assert.equal((await asked(name)).length, 1);
  });
}

test("a wrong key", async () => {
  const { error } = await ask(model(), {}, { headers: { ...HEADERS, authorization: "Bearer hw_wrong" } });
  assert.equal(error.status, 401);
  assert.equal(JSON.parse(error.text).type, "/problems/invalid_api_key");
});

for (const fault of checks.BROKEN) {
  test(`an answer that breaks off is no answer: ${fault}`, async () => {
    const told = await ask(model(fault));
    assert.equal(told.error, undefined); // the stream ends as it should, and tells
    assert.ok(texts(told).length > 0);
    assert.ok(!isWhole(told));
    const last = told.events.findLast((event) => event.data);
    assert.equal(last.event, "error");
    assert.ok(JSON.parse(last.data).error.message);
  });
}

test("abort leaves the stream, and the answer goes on", async () => {
  const name = paced();
  await started(name);
  await checks.assertWentOn(name);
});

test("abort cancels where asked for", async () => {
  const name = checks.slow();
  const reader = new AbortController();
  await ask(name, { on_disconnect: "cancel" }, { signal: reader.signal, onevent: () => reader.abort() });
  await checks.assertCancelled(name);
});

test("one piece, for pages that want no stream", async () => {
  const [name, body] = [model(), { input: "Hello.", max_tokens: 3000, stream: false }];
  const whole = await native("/v1/completions", { method: "POST", model: name, ...body });
  assert.equal(texts(await ask(name)).join(""), whole.text);
});
