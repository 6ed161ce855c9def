// A way to Headwater that breaks the first connection in the middle of its answer.

import { createServer, request } from "node:http";

import { BASE } from "./checks.mjs";

/** So many bytes of the first answer go through, or a few more; `asked` has the requests that came. */
export async function cuttingProxy(t, bytes) {
  const asked = [];
  const server = createServer((incoming, outgoing) => {
    asked.push(incoming);
    let left = asked.length === 1 ? bytes : Infinity;
    const { method, headers } = incoming;
    const forward = request(new URL(incoming.url, BASE), { method, headers }, (answer) => {
      outgoing.writeHead(answer.statusCode, answer.headers);
      answer.on("data", (chunk) => {
        outgoing.write(chunk);
        left -= chunk.length;
        if (left < 0) outgoing.destroy();
      });
      answer.on("end", () => outgoing.end());
    });
    outgoing.on("close", () => forward.destroy());
    forward.on("error", () => outgoing.destroy());
    incoming.pipe(forward);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => {
    server.close();
    server.closeAllConnections();
  });
  return { url: `http://127.0.0.1:${server.address().port}`, asked };
}
