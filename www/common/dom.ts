// The least that vanilla pages need to make elements. Text is always text: nothing here parses HTML,
// which keeps owners' and devices' words harmless and Trusted Types content.

type Child = Node | string | null | undefined;
type Attributes = Record<string, string | boolean | undefined>;

/** `h("p", { class: "note" }, "text")`. */
export function h<Name extends keyof HTMLElementTagNameMap>(
  name: Name,
  attributes: Attributes = {},
  ...children: Child[]
): HTMLElementTagNameMap[Name] {
  const element = document.createElement(name);
  setAttributes(element, attributes);
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

const SVG = "http://www.w3.org/2000/svg";

/** The same for SVG; decorative unless a role is given. */
export function svg(name: string, attributes: Attributes = {}, ...children: Element[]): SVGElement {
  const element = document.createElementNS(SVG, name);
  setAttributes(element, attributes);
  element.append(...children);
  return element;
}

function setAttributes(element: Element, attributes: Attributes): void {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === false) continue;
    element.setAttribute(name, value === true ? "" : value);
  }
}

/** Writes only what changed, so that selections and screen readers are not disturbed. */
export function setText(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

/** A link to another page in a new tab that cannot reach back. */
export function outLink(address: string, text: string, hint: string): HTMLAnchorElement {
  const link = h("a", { href: address, target: "_blank", rel: "noopener noreferrer" }, text);
  link.append(h("span", { class: "sr" }, " " + hint));
  return link;
}

/** Pictures of 20 by 20, drawn with the text's colour. */
const ICONS: Record<string, string[]> = {
  mark: ["M3 10h14a7 7 0 0 1-14 0Z", "M7 17.5h6", "M6.5 6.5v-2", "M10 6.5v-4", "M13.5 6.5v-2"],
  graphics: ["M5.5 5.5h9v9h-9z", "M8 2.5v3M12 2.5v3M8 14.5v3M12 14.5v3M2.5 8h3M2.5 12h3M14.5 8h3M14.5 12h3"],
  data: ["M10 3v9.5", "M6 9l4 4 4-4", "M4 16.5h12"],
  battery: ["M2.5 6.5h13v7h-13z", "M17.5 9v2", "M9.5 7.5 7.5 10h3l-2 2.5"],
  fold: ["M5 8l5 5 5-5"],
};

export function icon(name: keyof typeof ICONS): SVGElement {
  const lines = (ICONS[name] ?? []).map((d) => svg("path", { d }));
  return svg("svg", { viewBox: "0 0 20 20", class: "icon", "aria-hidden": "true" }, ...lines);
}
