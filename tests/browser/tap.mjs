// Stands between tabs and a coordinator as a reverse proxy does, and notes what was fetched and how
// many bytes it was. Changes nothing, and knows no job.

import { once } from "node:events";
import { createServer, request } from "node:http";
import { connect } from "node:net";

export class Tap {
  /** @param {number} port where the coordinator listens */
  constructor(port) {
    /** Answers that came back whole, oldest first. @type {{ path: string, bytes: number }[]} */
    this.answers = [];
    this.port = port;
    this.server = createServer((asked, answer) => this.#pass(asked, answer));
    this.server.on("upgrade", (asked, socket, head) => this.#join(asked, socket, head));
  }

  /** @param {number} port */
  static async start(port) {
    const tap = new Tap(port);
    tap.server.listen(0, "127.0.0.1");
    await once(tap.server, "listening");
    return tap;
  }

  /** Where browsers find the coordinator: another site than the host page's. */
  get origin() {
    const { port } = /** @type {import("node:net").AddressInfo} */ (this.server.address());
    return `http://coordinator.localhost:${port}`;
  }

  /** @param {import("node:http").IncomingMessage} asked @param {import("node:http").ServerResponse} answer */
  #pass(asked, answer) {
    const path = asked.url ?? "/";
    // Uncompressed, so that the bytes are those of the blob.
    const headers = { ...asked.headers, "accept-encoding": "identity" };
    const onward = request({ host: "127.0.0.1", port: this.port, method: asked.method, path, headers }, (came) => {
      answer.writeHead(came.statusCode ?? 502, came.headers);
      let bytes = 0;
      came.on("data", (chunk) => (bytes += chunk.length));
      came.on("end", () => this.answers.push({ path, bytes }));
      came.on("error", () => answer.destroy());
      came.pipe(answer);
    });
    onward.on("error", () => answer.destroy());
    asked.pipe(onward);
  }

  /** A WebSocket: bytes to and fro. */
  #join(asked, socket, head) {
    const onward = connect(this.port, "127.0.0.1", () => {
      const lines = asked.rawHeaders.map((word, index) => (index % 2 === 0 ? `${word}: ` : `${word}\r\n`));
      onward.write(`${asked.method} ${asked.url} HTTP/1.1\r\n${lines.join("")}\r\n`);
      onward.write(head);
      socket.pipe(onward).pipe(socket);
    });
    const end = () => [socket, onward].forEach((one) => one.destroy());
    for (const one of [socket, onward]) one.on("error", end).on("close", end);
  }

  async stop() {
    this.server.close();
    this.server.closeAllConnections();
    await once(this.server, "close");
  }
}
