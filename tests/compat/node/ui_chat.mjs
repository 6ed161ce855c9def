// The chat of @ai-sdk/react, as `useChat` drives it. The transport is the default one, with its default paths.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { test } from "node:test";

import { Chat } from "@ai-sdk/react";
import { DefaultChatTransport, lastAssistantMessageIsCompleteWithToolCalls } from "ai";

import { BASE, BROKEN, CITY, KEY, native, until } from "./checks.mjs";

const headersOf = (key) => ({ authorization: `Bearer ${key}` });
const OK = "sim-ok?rate=0&tokens=12";
const SLOW = "sim-ok?rate=20&tokens=400";
const WEATHER = { name: "get_weather", description: "The weather of a city.", input_schema: CITY };

// A page's relative URLs.
const onOurServer = (url, init) => fetch(new URL(url, BASE), init);

function open({ id = randomUUID(), model = OK, body = {}, fetch = onOurServer, last = false, key = KEY, ...init } = {}) {
  const prepare = ({ id, messages, trigger, messageId, body }) => ({
    body: { ...body, id, trigger, messageId, messages: messages.slice(-1) },
  });
  const transport = new DefaultChatTransport({
    fetch,
    headers: headersOf(key),
    body: { model, ...body },
    ...(last ? { prepareSendMessagesRequest: prepare } : {}),
  });
  return new Chat({ id, transport, ...init });
}

const textOf = (message) => message.parts.filter((part) => part.type === "text").map((part) => part.text).join("");

const stop = (chat) => native(`/api/chat/${chat.id}/stop`, { method: "POST" });

async function stored(chat) {
  const found = await native(`/v1/conversations?external_id=${chat.id}`);
  return (await native(`/v1/conversations/${found.data[0].id}/messages`)).data;
}

const streamStatus = async (chat) => {
  const response = await onOurServer(`/api/chat/${chat.id}/stream`, { headers: headersOf(KEY) });
  await response.body?.cancel();
  return response.status;
};

const hasText = (chat) => chat.lastMessage?.role === "assistant" && textOf(chat.lastMessage).length > 20;

function assertReady(chat) {
  assert.equal(chat.error?.message, undefined);
  assert.equal(chat.status, "ready");
}

test("a message is answered, piece by piece", async () => {
  const chat = open({ model: "sim-ok?rate=50&tokens=40" });
  const lengths = new Set();
  const sent = chat.sendMessage({ text: "Hello" });
  const watch = setInterval(() => lengths.add(chat.lastMessage ? textOf(chat.lastMessage).length : 0), 5);
  await sent;
  clearInterval(watch);
  assertReady(chat);
  assert.ok(lengths.size > 10, `arrived in ${lengths.size} pieces`);
  assert.equal(chat.messages.length, 2);
  assert.ok(chat.lastMessage.metadata.totalTokens > 40);
  assert.equal(chat.lastMessage.id, chat.lastMessage.metadata.completionId);
  assert.deepEqual((await stored(chat))[1].content, [{ type: "text", text: textOf(chat.lastMessage) }]);
});

for (const last of [false, true]) {
  test(`a chat goes on when ${last ? "its last message alone" : "all of it"} is sent`, async () => {
    const chat = open({ model: "claude-sim", last });
    await chat.sendMessage({ text: "The first" });
    await chat.sendMessage({ text: "The second" });
    assertReady(chat);
    assert.match(textOf(chat.lastMessage), /This is turn 2; before it you said "The first"/);
    assert.deepEqual((await stored(chat)).map((message) => message.role), ["user", "assistant", "user", "assistant"]);
  });

  test(`regenerate gives another answer, and ${last ? "the last message" : "all"} is sent`, async () => {
    const chat = open({ last });
    await chat.sendMessage({ text: "One" });
    await chat.sendMessage({ text: "Two" });
    const old = chat.lastMessage.id;
    await chat.regenerate();
    assertReady(chat);
    assert.notEqual(chat.lastMessage.id, old);
    assert.equal(chat.messages.length, 4);
    assert.equal((await stored(chat)).length, 4);
    await chat.regenerate({ messageId: chat.messages[1].id });
    assertReady(chat);
    assert.equal(chat.messages.length, 2);
    assert.equal((await stored(chat)).length, 2);
  });
}

test("an edited message takes the place of the old one", async () => {
  const chat = open();
  await chat.sendMessage({ text: "One" });
  await chat.sendMessage({ text: "Two" });
  await chat.sendMessage({ text: "Another", messageId: chat.messages[2].id });
  assertReady(chat);
  const questions = (await stored(chat)).filter((message) => message.role === "user");
  assert.deepEqual(questions.map((message) => message.content[0].text), ["One", "Another"]);
});

test("a page that is loaded anew resumes the running answer", async () => {
  const chat = open({ model: "sim-ok?rate=40&tokens=80" });
  const sent = chat.sendMessage({ text: "Hello" });
  await until(() => hasText(chat), "text");
  const reloaded = open({ id: chat.id, messages: [chat.messages[0]] });
  await Promise.all([sent, reloaded.resumeStream()]);
  assertReady(reloaded);
  assert.equal(reloaded.messages.length, 2);
  assert.equal(reloaded.lastMessage.id, chat.lastMessage.id);
  assert.equal(textOf(reloaded.lastMessage), textOf(chat.lastMessage));
  assert.ok(reloaded.lastMessage.parts.every((part) => part.state !== "streaming"));
  await reloaded.resumeStream(); // nothing left
  assertReady(reloaded);
  assert.equal(reloaded.messages.length, 2);
});

// A connection that breaks after so many bytes, as a browser tells it.
const breaking = (bytes) => async (url, init) => {
  const response = await onOurServer(url, init);
  if (init.method !== "POST") return response;
  let left = bytes;
  const body = response.body.pipeThrough(
    new TransformStream({
      transform(chunk, controller) {
        left -= chunk.length;
        controller.enqueue(chunk);
        if (left < 0) controller.error(new TypeError("network error"));
      },
    }),
  );
  return new Response(body, { status: response.status, headers: response.headers });
};

test("a broken connection is resumed without a letter twice", async () => {
  const chat = open({ model: "sim-ok?rate=40&tokens=60", fetch: breaking(1500) });
  await chat.sendMessage({ text: "Hello" });
  assert.equal(chat.status, "error");
  const half = textOf(chat.lastMessage);
  assert.ok(half.length > 0);
  await chat["~resumeStreamIfDisconnected"]();
  assertReady(chat);
  assert.equal(chat.messages.length, 2);
  assert.ok(textOf(chat.lastMessage).startsWith(half));
  assert.deepEqual((await stored(chat))[1].content, [{ type: "text", text: textOf(chat.lastMessage) }]);
});

test("stop closes the stream, and its endpoint stops the answer", async () => {
  const chat = open({ model: SLOW });
  const sent = chat.sendMessage({ text: "Hello" });
  await until(() => hasText(chat), "text");
  await chat.stop();
  await sent;
  assertReady(chat);
  assert.equal(await streamStatus(chat), 200); // it goes on: the page might only have been closed
  const reader = open({ id: chat.id, messages: [chat.messages[0]] });
  const reading = reader.resumeStream();
  await until(() => hasText(reader), "text");
  await stop(chat);
  assert.equal(await streamStatus(chat), 204);
  await reading;
  assertReady(reader);
  assert.ok(reader.lastMessage.parts.every((part) => part.state !== "streaming"));
  await chat.sendMessage({ text: "Go on" }, { body: { model: OK } });
  assertReady(chat);
});

test("a busy chat says so", async () => {
  const chat = open({ model: SLOW });
  const sent = chat.sendMessage({ text: "Hello" });
  await until(() => hasText(chat), "text");
  const other = open({ id: chat.id });
  await other.sendMessage({ text: "Me too" });
  assert.equal(other.status, "error");
  assert.equal(other.error.message, "This conversation has a running completion.");
  await stop(chat);
  await sent;
});

function withTool(fields = {}) {
  const chat = open({
    model: "claude-sim",
    body: { tools: [WEATHER] },
    sendAutomaticallyWhen: lastAssistantMessageIsCompleteWithToolCalls,
    onToolCall({ toolCall }) {
      assert.equal(toolCall.dynamic, true);
      chat.addToolOutput({ tool: toolCall.toolName, toolCallId: toolCall.toolCallId, output: { sky: "blue" } });
    },
    ...fields,
  });
  return chat;
}

for (const model of ["claude-sim", "claude-sim-thinking"]) {
  test(`tools of the page round-trip with ${model}`, async () => {
    const chat = withTool({ model });
    await chat.sendMessage({ text: "What is the weather in Paris and in both Rome?" });
    await until(() => chat.status === "ready" && chat.lastMessage.parts.at(-1).type === "text", "the answer");
    assertReady(chat);
    assert.equal(chat.messages.length, 2); // one message, in two steps
    const kinds = chat.lastMessage.parts.map((part) => part.type);
    assert.equal(kinds.filter((kind) => kind === "step-start").length, 2);
    const tools = chat.lastMessage.parts.filter((part) => part.type === "dynamic-tool");
    assert.equal(tools.length, 2);
    assert.ok(tools.every((tool) => tool.state === "output-available"));
    assert.match(textOf(chat.lastMessage), /the tool answered "{\\?"sky\\?":\\?"blue\\?"}"/);
    await chat.sendMessage({ text: "Thanks" });
    assertReady(chat);
    assert.equal((await stored(chat)).length, 6);
  });
}

test("an answer after a tool's result is resumed whole", async () => {
  const chat = withTool({ sendAutomaticallyWhen: undefined });
  await chat.sendMessage({ text: "What is the weather in Paris?" });
  await until(() => chat.lastMessage.parts.some((part) => part.state === "output-available"), "the output");
  const calling = structuredClone(chat.messages);
  const sent = chat.sendMessage(undefined, { body: { model: "sim-ok?rate=40&tokens=60" } });
  await until(() => chat.lastMessage.parts.filter((part) => part.type === "step-start").length === 2, "a step");
  const reloaded = open({ id: chat.id, messages: calling });
  await Promise.all([sent, reloaded.resumeStream()]);
  assertReady(chat);
  assertReady(reloaded);
  assert.equal(reloaded.messages.length, 2);
  const plain = (message) => JSON.parse(JSON.stringify(message.parts.map(({ type, text, output }) => [type, text, output])));
  assert.deepEqual(plain(reloaded.lastMessage), plain(chat.lastMessage));
});

test("thoughts are shown, and go back with their signatures", async () => {
  const chat = open({ model: "claude-sim-thinking" });
  await chat.sendMessage({ text: "One" });
  const [thought] = chat.lastMessage.parts.filter((part) => part.type === "reasoning");
  assert.ok(thought.text.length > 0);
  assert.equal(thought.state, "done");
  assert.ok(thought.providerMetadata.anthropic.signature.length > 100);
  await chat.sendMessage({ text: "Two" });
  assertReady(chat);
});

test("parts of every kind are taken", async () => {
  const seen = [];
  const model = "sim-ok?rate=0&redacted=true&unknown_event=true&unknown_block=true";
  const chat = open({ model, onData: (part) => seen.push(part.type) });
  await chat.sendMessage({
    parts: [
      { type: "file", mediaType: "image/png", url: "data:image/png;base64,iVBORw0KGgo=" },
      { type: "text", text: "unicode" },
    ],
  });
  assertReady(chat);
  assert.ok(chat.lastMessage.parts.some((part) => part.providerMetadata?.anthropic?.redactedData));
  assert.ok(seen.length >= 2 && seen.every((type) => type === "data-anthropic"));
  assert.match(textOf(chat.lastMessage), /👩🏽‍🚀/u);
  assert.ok(chat.messages.every((message) => message.parts.every((part) => part.type !== "data-anthropic")));
});

test("an error before the stream is a short text, and regenerate asks again", async () => {
  const chat = open({ model: "sim-400" });
  await chat.sendMessage({ text: "Hello" });
  assert.equal(chat.status, "error");
  assert.ok(chat.error.message.length > 0 && chat.error.message.length < 200);
  assert.doesNotMatch(chat.error.message, /[{}<>]/);
  await chat.regenerate({ body: { model: OK } });
  assertReady(chat);
  assert.deepEqual((await stored(chat)).map((message) => message.role), ["user", "assistant"]);
});

for (const fault of BROKEN) {
  test(`an answer that breaks off is an error, and regenerate asks again: ${fault}`, async () => {
    const chat = open({ model: `sim-${fault}?after=8&rate=0&tokens=40` });
    await chat.sendMessage({ text: "Hello" });
    assert.equal(chat.status, "error");
    assert.ok(chat.error.message.length > 0);
    assert.ok(textOf(chat.lastMessage).length > 0);
    assert.ok(chat.lastMessage.parts.every((part) => part.state !== "streaming"));
    await chat.regenerate({ body: { model: OK } });
    assertReady(chat);
    assert.deepEqual((await stored(chat)).map((message) => message.role), ["user", "assistant"]);
  });
}

test("a wrong key is told as a short text", async () => {
  const chat = open({ key: "hw_wrong" });
  await chat.sendMessage({ text: "Hello" });
  assert.equal(chat.status, "error");
  assert.equal(chat.error.message, "This API key is not valid.");
});

test("a browser token of the chat is enough", async () => {
  const id = randomUUID();
  const conversation = await native("/v1/conversations", { method: "POST", external_id: id });
  const { token } = await native("/v1/tokens", { method: "POST", conversation_id: conversation.id });
  const chat = open({ id, key: token });
  await chat.sendMessage({ text: "Hello" });
  assertReady(chat);

  const sent = chat.sendMessage({ text: "More" }, { body: { model: SLOW } });
  await until(() => chat.messages.length === 4 && hasText(chat), "text");
  const reader = open({ id, key: token, messages: chat.messages.slice(0, 3) });
  const reading = reader.resumeStream();
  await until(() => reader.messages.length === 4 && hasText(reader), "text");
  await native(`/api/chat/${id}/stop`, { method: "POST", key: token });
  await Promise.all([sent, reading]);
  assertReady(reader);

  const elsewhere = open({ key: token });
  await elsewhere.sendMessage({ text: "Hello" });
  assert.equal(elsewhere.status, "error");
});
