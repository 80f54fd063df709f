// Somebody else's website: a page on another site than the coordinator's, with one tag in it.

import { once } from "node:events";
import { createServer } from "node:http";

/** @typedef {{ job?: string, attributes?: Record<string, string>, strict?: boolean }} Embed */

const STYLE = `
  body { max-width: 40rem; margin: 3rem auto; padding: 0 1.5rem; font: 17px/1.6 Georgia, "DejaVu Serif", serif;
         color: #222; background: #fff }
  h1 { font-size: 1.9rem; line-height: 1.2 } nav { font: 14px system-ui, sans-serif; color: #666 }
  @media (prefers-color-scheme: dark) { body { color: #ddd; background: #181818 } nav { color: #999 } }`;

const HEAD = `<!doctype html><html lang="en"><meta charset="utf-8">
  <meta name="viewport" content="width=device-width"><meta name="color-scheme" content="light dark">
  <title>The Harbour Gazette</title>`;

const ARTICLE = `<nav>The Harbour Gazette</nav><h1>How a post office learned to read</h1>
  <p>In the nineteen-eighties a letter passed through many hands before a machine could tell a 4 from a 9.</p>
  <p>Today a network with one hidden layer does it, and you can watch one being trained.</p>`;

/** @param {string} text */
const escaped = (text) => text.replace(/[&"<>]/g, (one) => `&#${one.charCodeAt(0)};`);

/** @param {string} coordinator @param {Embed} embed */
function page(coordinator, { job = "digits", attributes = {}, strict = false }) {
  const all = { src: `${coordinator}/embed.js`, "data-job": job, ...attributes };
  const words = Object.entries(all).map(([name, value]) => `${name}="${escaped(value)}"`);
  const tag = `<script ${words.join(" ")} async crossorigin></script>`;
  // A strict page has no inline style either.
  return `${HEAD}${strict ? "" : `<style>${STYLE}</style>`}<body>${ARTICLE}${tag}</body></html>`;
}

export class HostSite {
  /** @param {import("node:http").Server} server @param {string} coordinator */
  constructor(server, coordinator) {
    this.server = server;
    this.coordinator = coordinator;
    const { port } = /** @type {import("node:net").AddressInfo} */ (server.address());
    this.origin = `http://host.localhost:${port}`;
  }

  /** @param {string} coordinator origin of the coordinator */
  static async start(coordinator) {
    const server = createServer((request, response) => {
      if (request.url === "/favicon.ico") return void response.writeHead(204).end();
      const url = new URL(request.url ?? "/", "http://host.localhost");
      const embed = /** @type {Embed} */ (JSON.parse(url.searchParams.get("embed") ?? "{}"));
      response.setHeader("content-type", "text/html; charset=utf-8");
      if (embed.strict) {
        const policy = `default-src 'none'; img-src 'self'; script-src ${coordinator}; frame-src ${coordinator}`;
        response.setHeader("content-security-policy", policy);
      }
      response.end(page(coordinator, embed));
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    return new HostSite(server, coordinator);
  }

  /** Address of a page with this embedding. @param {Embed} [embed] */
  address(embed = {}) {
    const address = new URL(this.origin);
    if (Object.keys(embed).length > 0) address.searchParams.set("embed", JSON.stringify(embed));
    return address.href;
  }

  async stop() {
    this.server.closeAllConnections();
    this.server.close();
    await once(this.server, "close");
  }
}
