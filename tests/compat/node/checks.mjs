// What the checks of all clients share. Told by the environment: TEST_URL and TEST_KEY of a running Headwater, and
// TEST_UPSTREAM, its simulated upstream.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";

export const BASE = process.env.TEST_URL;
export const KEY = process.env.TEST_KEY;

export const CITY = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
export const BOTH = "What is the weather in both Paris and Rome?";

/** A model that nobody else asks for, so that its requests can be found. */
export const model = (fault = "ok", directives = {}) =>
  `sim-${fault}?${new URLSearchParams({ ...directives, key: randomUUID() })}`;

/** One that takes a second and a half. */
export const paced = () => model("ok", { rate: 30, tokens: 45 });

/** One that takes longer than any check waits for. */
export const slow = () => model("ok", { rate: 20, tokens: 2000 });

/** What goes wrong in the middle of an answer, each in its own way. */
export const BROKEN = ["error-mid", "cut-mid-event", "end-mid", "malformed"];

/** Headwater's own API. */
export async function native(path, { method = "GET", key = KEY, ...body } = {}) {
  const init = { method, headers: { "x-api-key": key, "content-type": "application/json" } };
  const response = await fetch(new URL(path, BASE), method === "GET" ? init : { ...init, body: JSON.stringify(body) });
  const answer = await response.text();
  assert.ok(response.ok, `${path}: ${response.status} ${answer}`);
  return answer ? JSON.parse(answer) : null;
}

/** What the upstream was asked with this model, oldest first. */
export async function asked(model) {
  const kept = await (await fetch(`${process.env.TEST_UPSTREAM}/_sim/requests`)).json();
  return kept.filter((request) => request.body?.model === model);
}

/** The completion with this model as it is stored. */
export async function completion(model) {
  const { data } = await native("/v1/completions?limit=200");
  return native(`/v1/completions/${data.find((found) => found.model === model).id}`);
}

export async function until(condition, what) {
  const end = Date.now() + 20_000;
  while (!(await condition())) {
    assert.ok(Date.now() < end, `never: ${what}`);
    await sleep(50);
  }
}

/** The values of a stream, when each came, and the error that it ended with if it did. */
export async function collect(stream) {
  const [values, times] = [[], []];
  try {
    for await (const value of stream) {
      values.push(value);
      times.push(performance.now());
    }
    return { values, times };
  } catch (error) {
    return { values, times, error };
  }
}

/** The pieces of an answer by `paced()` came as they were made. */
export function assertPaced(times) {
  assert.ok(times.length > 15, `${times.length} pieces`);
  const took = times.at(-1) - times[0];
  assert.ok(took > 500, `all of it came within ${took} ms`);
}

/** Headwater noticed that nobody reads any more, and left the upstream. */
export async function assertCancelled(model) {
  await until(async () => (await asked(model))[0].hung_up_at !== null, "the upstream was left");
  await until(async () => (await completion(model)).status === "cancelled", "cancelled");
}

/** The answer went to its end although its reader had left. */
export async function assertWentOn(model) {
  await until(async () => (await completion(model)).status !== "streaming", "its end");
  assert.equal((await completion(model)).status, "completed");
}
