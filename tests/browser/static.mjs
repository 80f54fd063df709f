// A folder as a site of its own, for pages that need nothing but files.

import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import path from "node:path";

const TYPES = { ".html": "text/html", ".js": "text/javascript", ".wasm": "application/wasm" };

/**
 * Serves a folder, and `page` as its index.
 * @param {string} folder @param {string} page
 */
export async function serveFolder(folder, page) {
  const server = createServer(async (request, response) => {
    const name = path.posix.normalize(new URL(request.url ?? "/", "http://localhost").pathname);
    try {
      const body = name === "/" ? page : await readFile(path.join(folder, name));
      response.setHeader("content-type", TYPES[path.extname(name)] ?? "text/html");
      response.end(body);
    } catch {
      response.writeHead(404).end();
    }
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = /** @type {import("node:net").AddressInfo} */ (server.address());
  return {
    /** Secure enough for WebGPU. @param {string} host */
    address: (host) => `http://${host}.localhost:${port}/`,
    close() {
      server.closeAllConnections();
      server.close();
    },
  };
}
