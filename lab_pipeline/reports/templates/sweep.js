"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const written = (value) => {
    const digits = data.percent ? 1 : 2;
    const sign = value < 0 ? "\u2212" : value > 0 && data.percent ? "+" : "";
    return sign + Math.abs(value / (data.percent ? 10 : 100)).toFixed(digits) + (data.percent ? "%" : "");
  };
  const made = (name, text, attributes = {}) => {
    const element = document.createElement(name);
    element.textContent = text;
    Object.entries(attributes).forEach(([key, value]) => element.setAttribute(key, value));
    return element;
  };

  const x = document.getElementById("heat-x");
  const y = document.getElementById("heat-y");
  const reduce = document.getElementById("heat-reduce");
  if (x && data.dimensions.length > 1) {
    const draw = () => {
      const row = Number(y.value), column = Number(x.value);
      const map = data.maps[`${Math.min(row, column)} ${Math.max(row, column)}`][reduce.value];
      const values = row < column ? map : map[0].map((_, place) => map.map((line) => line[place]));
      const told = values.flat().filter((value) => value !== null);
      const range = (chosen) => chosen.length ? [Math.min(...chosen), Math.max(...chosen)] : [0, 0];
      const ranges = { up: range(told.filter((v) => v > 0)), down: range(told.filter((v) => v <= 0).map(Math.abs)) };
      const head = document.createElement("tr");
      head.append(made("th", `${data.dimensions[row].path} \u2193 ${data.dimensions[column].path} \u2192`, { scope: "col" }));
      head.append(...data.dimensions[column].labels.map((label) => made("th", label, { scope: "col" })));
      const rows = values.map((line, at) => {
        const element = document.createElement("tr");
        element.append(made("th", data.dimensions[row].labels[at], { scope: "row" }));
        line.forEach((value, place) => {
          const here = (set) => set && set[row] === at && set[column] === place;
          const marks = (here(data.winner) ? " peak" : "") + (here(data.ring) ? " ring" : "");
          if (value === null) {
            element.append(made("td", "", { class: `none${marks}` }));
            return;
          }
          const tone = value > 0 ? "up" : "down";
          const [low, high] = ranges[tone];
          const share = high > low ? Math.floor((67 * (Math.abs(value) - low)) / (high - low)) : 34;
          element.append(made("td", written(value), { class: tone + marks, style: `--s:${18 + share}%` }));
        });
        return element;
      });
      const table = document.getElementById("heat");
      table.tHead.replaceChildren(head);
      table.tBodies[0].replaceChildren(...rows);
    };
    const choose = (changed, other) => {
      if (changed.value === other.value) {
        other.value = changed.value === "0" ? "1" : "0";
      }
      draw();
    };
    x.addEventListener("change", () => choose(x, y));
    y.addEventListener("change", () => choose(y, x));
    reduce.addEventListener("change", draw);
    document.getElementById("heat-choice").hidden = false;
  }

  const lines = [...document.querySelectorAll("g.sets path")];
  if (lines.length) {
    const svg = lines[0].ownerSVGElement;
    const places = lines.map((line) => line.getAttribute("d").match(/\d+/g).map(Number));
    const axes = places[0].filter((_, at) => at % 2 === 0);
    const told = document.getElementById("lines-told");
    const chosen = new Map();
    const brushes = document.createElementNS(svg.namespaceURI, "g");
    brushes.setAttribute("class", "brush");
    svg.append(brushes);
    const show = () => {
      const kept = [];
      lines.forEach((line, number) => {
        const inside = [...chosen].every(([axis, [low, high]]) => {
          const at = places[number][2 * axis + 1];
          return low <= at && at <= high;
        });
        line.classList.toggle("off", !inside);
        if (inside) {
          kept.push(number);
        }
      });
      brushes.replaceChildren(...[...chosen].map(([axis, [low, high]]) => {
        const box = document.createElementNS(svg.namespaceURI, "rect");
        Object.entries({ x: axes[axis] - 80, y: low, width: 160, height: Math.max(1, high - low) })
          .forEach(([name, value]) => box.setAttribute(name, value));
        return box;
      }));
      const best = kept.length ? data.lines[kept[kept.length - 1]] : null;
      told.textContent = !chosen.size ? told.dataset.all : best
        ? `${kept.length.toLocaleString("en")} of ${lines.length.toLocaleString("en")} sets; the best of them is set ${best[0]}, ${written(best[1])}.`
        : "No set goes through all of that.";
    };
    const place = (event) => new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
    let axis = -1, from = 0;
    svg.addEventListener("pointerdown", (event) => {
      const at = place(event);
      const distances = axes.map((one) => Math.abs(one - at.x));
      const nearest = distances.indexOf(Math.min(...distances));
      if (distances[nearest] < 300) {
        [axis, from] = [nearest, at.y];
        svg.setPointerCapture(event.pointerId);
        event.preventDefault();
      }
    });
    svg.addEventListener("pointermove", (event) => {
      if (axis >= 0) {
        const to = place(event).y;
        chosen.set(axis, [Math.min(from, to), Math.max(from, to)]);
        show();
      }
    });
    svg.addEventListener("pointerup", (event) => {
      if (axis >= 0 && Math.abs(place(event).y - from) < 30) {
        chosen.delete(axis);
        show();
      }
      axis = -1;
    });
  }
})();
