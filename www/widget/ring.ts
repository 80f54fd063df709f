// Two thin arcs: the outer one is the whole training, the inner one the task that runs here.

import { h, setText, svg } from "../common/dom.ts";

const OUTER = 36;
const INNER = 29;

export interface Ring {
  element: HTMLElement;
  update(done: number, task: number, label: string): void;
}

export function ring(): Ring {
  const outer = arc(OUTER, "done");
  const inner = arc(INNER, "task");
  const picture = svg("svg", { viewBox: "0 0 80 80", "aria-hidden": "true" });
  picture.append(circle(OUTER, "track"), outer, circle(INNER, "track thin"), inner);
  const middle = h("span", { "aria-hidden": "true" });
  const element = h("div", { class: "ring", role: "progressbar", "aria-valuemin": "0", "aria-valuemax": "100" });
  element.append(picture, middle);
  return {
    element,
    update(done, task, label) {
      turn(outer, OUTER, done);
      turn(inner, INNER, task);
      const whole = String(Math.floor(100 * done));
      setText(middle, `${whole} %`);
      element.setAttribute("aria-valuenow", whole);
      element.setAttribute("aria-label", label);
    },
  };
}

function circle(radius: number, name: string): SVGElement {
  return svg("circle", { cx: "40", cy: "40", r: String(radius), class: name });
}

function arc(radius: number, name: string): SVGElement {
  const element = circle(radius, name);
  element.setAttribute("transform", "rotate(-90 40 40)");
  element.setAttribute("stroke-dasharray", String(2 * Math.PI * radius));
  return element;
}

function turn(element: SVGElement, radius: number, share: number): void {
  const around = 2 * Math.PI * radius;
  element.style.setProperty("stroke-dashoffset", String(around * (1 - share)));
  // A round cap on an empty arc would still draw a dot.
  element.style.setProperty("opacity", share > 0 ? "1" : "0");
}
