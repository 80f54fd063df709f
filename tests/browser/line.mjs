// A line between visitors and a coordinator that notes which blobs are asked for and can break once.
// Knows nothing of what blobs are.

import { once } from "node:events";
import { createServer, request as ask } from "node:http";
import { connect } from "node:net";

/** @typedef {{ id: string, bytes: number, range: string | undefined }} Asked */

export class Line {
  /** @param {number} port of the coordinator */
  constructor(port) {
    this.port = port;
    /** Blobs in the order of their answers; `bytes` of the body that was announced. @type {Asked[]} */
    this.asked = [];
    /** The first answer of this many bytes breaks off half-way. @type {number | null} */
    this.breakAt = null;
    this.server = createServer((request, response) => this.#pass(request, response));
    this.server.on("upgrade", (request, socket, head) => this.#join(request, socket, head));
  }

  /** @param {number} port */
  static async to(port) {
    const line = new Line(port);
    line.server.listen(0, "127.0.0.1");
    await once(line.server, "listening");
    return line;
  }

  /** Where browsers find the coordinator. */
  get origin() {
    const { port } = /** @type {import("node:net").AddressInfo} */ (this.server.address());
    return `http://coordinator.localhost:${port}`;
  }

  /** @param {import("node:http").IncomingMessage} request @param {import("node:http").ServerResponse} response */
  #pass(request, response) {
    const { url = "/", method, headers } = request;
    const up = ask({ host: "127.0.0.1", port: this.port, path: url, method, headers }, (answer) => {
      const bytes = Number(answer.headers["content-length"]);
      const id = /\/blobs\/([0-9a-f]{64})$/.exec(url)?.[1];
      if (id) this.asked.push({ id, bytes, range: headers.range });
      response.writeHead(answer.statusCode ?? 500, answer.headers);
      if (id && bytes === this.breakAt) {
        this.breakAt = null;
        answer.once("data", (/** @type {Buffer} */ chunk) => {
          const half = chunk.subarray(0, Math.min(chunk.length, bytes / 2));
          response.write(half, () => response.destroy());
          answer.destroy();
        });
        return;
      }
      answer.pipe(response);
    });
    up.on("error", () => response.destroy());
    request.pipe(up);
  }

  /**
   * A WebSocket's bytes, as they are.
   * @param {import("node:http").IncomingMessage} request
   * @param {import("node:stream").Duplex} socket
   * @param {Buffer} head
   */
  #join(request, socket, head) {
    const up = connect(this.port, "127.0.0.1", () => {
      const lines = [`${request.method} ${request.url} HTTP/1.1`];
      for (let i = 0; i < request.rawHeaders.length; i += 2) {
        lines.push(`${request.rawHeaders[i]}: ${request.rawHeaders[i + 1]}`);
      }
      up.write(`${lines.join("\r\n")}\r\n\r\n`);
      up.write(head);
      socket.pipe(up).pipe(socket);
    });
    up.on("error", () => socket.destroy());
    socket.on("error", () => up.destroy());
    socket.on("close", () => up.destroy());
  }

  async stop() {
    this.server.closeAllConnections();
    this.server.close();
  }
}
