"use strict";
(function () {
  const $ = (id) => document.getElementById(id);
  const data = JSON.parse($("explore-data").textContent);
  const INK = "#22262b", SOFT = "#5a636e", GRID = "#e4e7eb", LACKING = "#c4c9cf";
  const n = data.ids.length;

  // numbers ------------------------------------------------------------------------------------------------------

  function bytes(text) {
    const raw = atob(text), out = new Uint8Array(raw.length);
    for (let i = 0; i < raw.length; i++) out[i] = raw.charCodeAt(i);
    return out;
  }
  function floats(text) {
    const view = new DataView(bytes(text).buffer), out = new Float32Array(view.byteLength / 4);
    for (let i = 0; i < out.length; i++) out[i] = view.getFloat32(4 * i, true);
    return out;
  }
  function shorts(of) {
    const view = new DataView(bytes(of.values).buffer), out = new Float64Array(view.byteLength / 2);
    for (let i = 0; i < out.length; i++) {
      const level = view.getUint16(2 * i, true);
      out[i] = level === 65535 ? NaN : of.low + level * of.step;
    }
    return out;
  }
  function say(value, digits) {
    if (Number.isNaN(value)) return "–";
    if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
    const text = value.toLocaleString("en-GB", { minimumFractionDigits: digits, maximumFractionDigits: digits });
    return (Number(value.toFixed(digits)) === 0 ? text.replace("-", "") : text).replace("-", "−");
  }
  function brief(value) {
    if (!Number.isFinite(value)) return say(value, 0);
    const size = Math.abs(value);
    if (Number.isInteger(value) && size < 1e6) return say(value, 0);
    if (size !== 0 && (size >= 1e6 || size < 1e-3)) return value.toExponential(2).replace(/-/g, "−");
    return say(value, size >= 1000 ? 0 : size >= 100 ? 1 : size >= 1 ? 2 : 3);
  }

  const NAMES = { evidence: "log p̂(x)", elbo: "ELBO", gap: "log p̂(x) − ELBO", khat: "k̂" };
  const figures = {};
  for (const [key, text] of Object.entries(data.figures)) figures[key] = floats(text);
  const exact = new Set(data.exact);
  const axes = data.latents.map((of) => ({ name: of.name, note: of.note, values: shorts(of) }));
  const latents = axes.length;
  for (const key of ["evidence", "elbo", "gap", "khat"]) {
    if (figures[key]) axes.push({ name: NAMES[key], note: key === "khat" ? "" : "nats", values: figures[key] });
  }
  const labels = data.labels.map((of) => ({
    ...of,
    members: of.members && bytes(of.members),
    values: of.values && floats(of.values),
  }));
  const ways = labels.slice();
  for (const key of ["evidence", "elbo", "gap"]) {
    if (figures[key]) ways.push({ name: NAMES[key], unit: "nats", values: figures[key] });
  }
  ways.push({ name: "nothing" });

  // colours ------------------------------------------------------------------------------------------------------

  const scale = data.scale.map((hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16)));
  function onScale(t) {
    const at = Math.min(Math.max(t, 0), 1) * (scale.length - 1), i = Math.min(Math.floor(at), scale.length - 2);
    const mix = scale[i].map((v, c) => Math.round(v + (at - i) * (scale[i + 1][c] - v)));
    return `rgb(${mix.join(",")})`;
  }
  function extremes(values, share) {
    const finite = Array.from(values).filter(Number.isFinite).sort((a, b) => a - b);
    if (!finite.length) return [0, 1];
    const at = (q) => finite[Math.round(q * (finite.length - 1))];
    return [at(share), at(1 - share)];
  }
  function coloured(way) {
    if (way.members) return { of: (i) => way.palette[way.members[i]] || LACKING };
    if (!way.values) return { of: () => "#0072b2" };
    const [low, high] = extremes(way.values, 0.01), span = high - low || 1;
    return { low, high, of: (i) => Number.isNaN(way.values[i]) ? LACKING : onScale((way.values[i] - low) / span) };
  }

  // state --------------------------------------------------------------------------------------------------------

  const selects = { x: $("explore-x"), y: $("explore-y"), colour: $("explore-colour") };
  const canvas = $("explore-plot"), panel = $("explore-datum"), status = $("explore-status"), find = $("explore-id");
  let chosen = 0, pinned = false, px = new Float32Array(n), py = new Float32Array(n), base = null;

  function fill(select, names, start, groups) {
    let into = select;
    names.forEach((name, i) => {
      if (groups && groups[i]) {
        into = document.createElement("optgroup");
        into.label = groups[i];
        select.append(into);
      }
      into.append(new Option(name, String(i), i === start, i === start));
    });
  }
  const titles = axes.map((a) => (a.note ? `${a.name} (${a.note})` : a.name));
  const groups = axes.map((_, i) => (i === 0 ? "posterior mean of" : i === latents ? "figures of the datum" : ""));
  fill(selects.x, titles, 0, groups);
  fill(selects.y, titles, Math.min(1, axes.length - 1), groups);
  fill(selects.colour, ways.map((w) => w.name), 0);

  // the plot -----------------------------------------------------------------------------------------------------

  function ticks(low, high, most) {
    const raw = (high - low) / Math.max(most, 1), power = Math.pow(10, Math.floor(Math.log10(raw)));
    const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= raw * 0.999) || raw;
    const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9)), out = [];
    for (let k = Math.ceil(low / step); k * step <= high * (1 + 1e-12) + 1e-12 && out.length < 50; k++) {
      out.push([k * step, say(k * step, digits)]);
    }
    return out;
  }
  function range(values) {
    const [low, high] = extremes(values, 0), pad = 0.05 * (high - low) || 0.5;
    return [low - pad, high + pad];
  }
  function draw() {
    const width = canvas.parentElement.clientWidth, height = Math.round(Math.min(460, Math.max(280, 0.8 * width)));
    if (!width) return;
    const ratio = window.devicePixelRatio || 1;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    canvas.style.height = `${height}px`;
    base = document.createElement("canvas");
    base.width = canvas.width;
    base.height = canvas.height;
    const pen = base.getContext("2d");
    pen.scale(ratio, ratio);
    const x = axes[selects.x.value], y = axes[selects.y.value], way = ways[selects.colour.value], paint = coloured(way);
    const [x0, x1] = range(x.values), [y0, y1] = range(y.values);
    pen.font = "12px system-ui, sans-serif";
    const onY = ticks(y0, y1, height / 60);
    const left = 30 + Math.max(...onY.map((t) => pen.measureText(t[1]).width)), right = 10, top = 10, bottom = 46;
    const toX = (v) => left + ((v - x0) / (x1 - x0)) * (width - left - right);
    const toY = (v) => height - bottom - ((v - y0) / (y1 - y0)) * (height - top - bottom);
    pen.fillStyle = "#fff";
    pen.fillRect(0, 0, width, height);
    pen.strokeStyle = GRID;
    pen.fillStyle = SOFT;
    pen.textAlign = "center";
    pen.textBaseline = "top";
    for (const [v, text] of ticks(x0, x1, width / 80)) {
      line(pen, toX(v), top, toX(v), height - bottom);
      pen.fillText(text, toX(v), height - bottom + 6);
    }
    pen.textAlign = "right";
    pen.textBaseline = "middle";
    for (const [v, text] of onY) {
      line(pen, left, toY(v), width - right, toY(v));
      pen.fillText(text, left - 6, toY(v));
    }
    pen.fillStyle = INK;
    pen.textAlign = "center";
    pen.textBaseline = "bottom";
    pen.fillText(titles[selects.x.value], (left + width - right) / 2, height - 6);
    pen.save();
    pen.translate(6, (top + height - bottom) / 2);
    pen.rotate(-Math.PI / 2);
    pen.textBaseline = "top";
    pen.fillText(titles[selects.y.value], 0, 0);
    pen.restore();
    const radius = Math.min(4.5, Math.max(1.6, 60 / Math.sqrt(n)));
    pen.lineWidth = 0.4;
    pen.strokeStyle = "#fff";
    pen.globalAlpha = 0.85;
    let outside = 0;
    for (let i = 0; i < n; i++) {
      px[i] = toX(x.values[i]);
      py[i] = toY(y.values[i]);
      if (!Number.isFinite(px[i] + py[i])) {
        outside++;
        continue;
      }
      pen.beginPath();
      pen.arc(px[i], py[i], radius, 0, 2 * Math.PI);
      pen.fillStyle = paint.of(i);
      pen.fill();
      if (radius > 2) pen.stroke();
    }
    canvas.setAttribute("aria-label", `Scatter plot of ${n} data: ${titles[selects.x.value]} across, `
      + `${titles[selects.y.value]} upwards, coloured by ${way.name}. Arrow keys move from datum to datum.`);
    legend(way, paint, outside);
    ring();
  }
  function line(pen, ax, ay, bx, by) {
    pen.beginPath();
    pen.moveTo(ax, ay);
    pen.lineTo(bx, by);
    pen.stroke();
  }
  function ring() {
    if (!base) return;
    const pen = canvas.getContext("2d"), ratio = window.devicePixelRatio || 1;
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.drawImage(base, 0, 0);
    if (!Number.isFinite(px[chosen] + py[chosen])) return;
    pen.scale(ratio, ratio);
    for (const [colour, width] of [["#fff", 5], [INK, 2.2]]) {
      pen.beginPath();
      pen.arc(px[chosen], py[chosen], 7.5, 0, 2 * Math.PI);
      pen.strokeStyle = colour;
      pen.lineWidth = width;
      pen.stroke();
    }
  }
  function legend(way, paint, outside) {
    const box = $("explore-legend");
    box.replaceChildren();
    if (way.members) {
      way.classes.forEach((name, k) => {
        const item = make("span", "", name), dot = make("i", "dot");
        dot.style.background = way.palette[k];
        item.prepend(dot);
        box.append(item);
      });
    } else if (way.values) {
      const bar = make("i", "bar");
      bar.style.background = `linear-gradient(to right, ${data.scale.join(",")})`;
      const end = way.unit ? ` ${way.unit}` : "";
      box.append(make("span", "", brief(paint.low)), bar, make("span", "", `${brief(paint.high)}${end}`));
    }
    if (outside) box.append(make("span", "", `${outside.toLocaleString("en-GB")} without a finite value not drawn`));
  }

  // the datum ----------------------------------------------------------------------------------------------------

  function make(tag, name, text) {
    const out = document.createElement(tag);
    if (name) out.className = name;
    if (text !== undefined) out.textContent = text;
    return out;
  }
  function verdict(i) {
    const k = figures.khat[i];
    if (exact.has(i)) return ["good", "weights are constant: q(z|x) is the posterior"];
    if (k <= data.good) return ["good", "usable: weighted, its draws give the posterior"];
    if (k <= 1) return ["usable", "doubtful: log p̂(x) may be too low, do not weight its draws"];
    return ["bad", "no finite mean: neither log p̂(x) nor its draws can be trusted"];
  }
  function rows(i) {
    const out = [];
    for (const of of labels) {
      if (of.name === "k̂") continue;
      out.push([of.name, of.members ? (of.own ? of.own[i] : of.classes[of.members[i]]) : brief(of.values[i])]);
    }
    if (figures.khat) out.push(["k̂", say(figures.khat[i], 2), ...verdict(i)]);
    if (figures.evidence) out.push(["log p̂(x)", `${say(figures.evidence[i], 2)} ± ${say(figures.error[i], 2)}`]);
    if (figures.elbo) {
      out.push(["ELBO", say(figures.elbo[i], 2) + (figures.gap ? `, gap ${say(figures.gap[i], 2)}` : "")]);
    }
    return out;
  }
  function show(i, told) {
    chosen = i;
    ring();
    const found = rows(i), list = make("dl"), id = String(data.ids[i]);
    for (const [name, value, kind, words] of found) {
      const says = make("dd", "", value);
      if (words) {
        const mark = make("span", `mark ${kind}`, words.split(":")[0]);
        says.append(" ", mark);
        if (words.includes(":")) says.append(make("small", "", words.slice(words.indexOf(":") + 1).trim()));
      }
      list.append(make("dt", "", name), says);
    }
    panel.replaceChildren(make("h3", "", `datum ${id}`));
    panel.dataset.id = id;
    if (data.shown) panel.append(data.shown.kind === "images" ? images(i) : values(i));
    panel.append(list);
    if (pinned) panel.append(make("p", "soft", "Held: Esc, or another click on it, lets go."));
    if (told) {
      status.textContent = `datum ${id}; ` + found.map((r) => [r[0], r[1], r[3] || ""].join(" ").trim()).join("; ");
    }
    if (document.activeElement !== find) find.value = id;
  }

  const sheets = new Map();
  function sheet(which, page) {
    const key = `${which} ${page}`;
    let image = sheets.get(key);
    if (!image) {
      image = new Image();
      image.src = `data:image/png;base64,${data.shown[which][page]}`;
      sheets.set(key, image);
      if (sheets.size > 12) sheets.delete(sheets.keys().next().value); // a phone's memory
    }
    return image;
  }
  const SAID = {
    observed: "as observed",
    predicted: data.shown && data.shown.draws ? `mean of ${data.shown.draws} predictive draws` : "as predicted",
  };
  function images(i) {
    const { width, height, across } = data.shown, each = across * across, box = make("div", "pictures");
    for (const which of ["observed", "predicted"]) {
      if (!data.shown[which]) continue;
      const figure = make("div"), picture = make("canvas"), at = i % each;
      picture.width = width;
      picture.height = height;
      picture.dataset.which = which;
      picture.setAttribute("role", "img");
      picture.setAttribute("aria-label", `datum ${data.ids[i]}, ${SAID[which]}`);
      const image = sheet(which, Math.floor(i / each));
      const paint = () => {
        picture.getContext("2d").drawImage(
          image, (at % across) * width, Math.floor(at / across) * height, width, height, 0, 0, width, height);
        picture.dataset.drawn = "yes";
      };
      if (image.complete && image.naturalWidth) paint();
      else image.addEventListener("load", paint, { once: true });
      figure.append(picture, make("small", "", SAID[which]));
      box.append(figure);
    }
    return box;
  }

  const told = {};
  if (data.shown && data.shown.kind === "values") {
    for (const key of ["observed", "typical", "low", "high"]) {
      if (data.shown[key]) told[key] = floats(data.shown[key]);
    }
  }
  function values(i) {
    const { names, more, commonest } = data.shown, table = make("table", "values"), box = make("div");
    const head = make("tr"), body = make("tbody"), top = make("thead");
    for (const name of ["", told.observed && "observed", told.typical && "predicted"]) {
      if (name !== undefined) head.append(make("th", "", name));
    }
    top.append(head);
    names.forEach((name, j) => {
      const at = i * names.length + j, row = make("tr"), label = make("th", "", name);
      label.scope = "row";
      row.append(label);
      if (told.observed) row.append(make("td", "", Number.isNaN(told.observed[at]) ? "missing" : brief(told.observed[at])));
      if (told.typical) {
        const cell = make("td", "", brief(told.typical[at])), share = say(100 * told.low[at], 0);
        const span = commonest[j] ? `in ${share} %` : `${brief(told.low[at])} to ${brief(told.high[at])}`;
        cell.append(make("small", "", span));
        row.append(cell);
      }
      body.append(row);
    });
    table.append(top, body);
    box.append(table);
    const notes = [];
    if (told.typical) {
      const draws = data.shown.draws;
      if (commonest.includes(false)) notes.push(`predicted: mean and central 90 % of ${draws} draws`);
      if (commonest.includes(true)) notes.push(`of whole numbers with few levels: the commonest of ${draws} draws`);
    }
    if (more) notes.push(`${more.toLocaleString("en-GB")} more features are not shown`);
    if (notes.length) box.append(make("small", "", `${notes.join("; ")}.`));
    return box;
  }

  // pointer and keys ---------------------------------------------------------------------------------------------

  function nearest(event, within) {
    const box = canvas.getBoundingClientRect(), x = event.clientX - box.left, y = event.clientY - box.top;
    let best = -1, least = within * within;
    for (let i = 0; i < n; i++) {
      const d = (px[i] - x) * (px[i] - x) + (py[i] - y) * (py[i] - y);
      if (d < least) {
        least = d;
        best = i;
      }
    }
    return best;
  }
  canvas.addEventListener("pointermove", (event) => {
    if (pinned || event.pointerType === "touch") return;
    const i = nearest(event, 24);
    canvas.style.cursor = i < 0 ? "default" : "pointer";
    if (i >= 0 && i !== chosen) show(i, false);
  });
  canvas.addEventListener("click", (event) => {
    const i = nearest(event, 40);
    if (i < 0) {
      pinned = false;
      show(chosen, false);
      return;
    }
    pinned = !(pinned && i === chosen);
    show(i, true);
  });
  const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  canvas.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    let to = -1;
    if (event.key in STEPS) {
      const [dx, dy] = STEPS[event.key];
      let least = Infinity;
      for (let i = 0; i < n; i++) {
        const along = (px[i] - px[chosen]) * dx + (py[i] - py[chosen]) * dy;
        const aside = Math.abs((px[i] - px[chosen]) * dy) + Math.abs((py[i] - py[chosen]) * dx);
        if (along > 0.01 && along + 2 * aside < least) {
          least = along + 2 * aside;
          to = i;
        }
      }
    } else if (event.key === "Home") to = 0;
    else if (event.key === "End") to = n - 1;
    else if (event.key === "Escape") {
      pinned = false;
      to = chosen;
    } else return;
    event.preventDefault();
    if (to < 0) return;
    pinned = event.key !== "Escape";
    show(to, true);
  });
  find.addEventListener("change", () => {
    const to = data.ids.findIndex((id) => String(id) === find.value.trim());
    if (to < 0) {
      status.textContent = `no datum ${find.value.trim()} is shown here`;
      find.setAttribute("aria-invalid", "true");
      return;
    }
    find.removeAttribute("aria-invalid");
    pinned = true;
    show(to, true);
  });
  for (const select of Object.values(selects)) select.addEventListener("change", draw);

  canvas.at = (id) => { // where a datum is drawn, for those who script the page
    const i = data.ids.indexOf(id);
    return [px[i], py[i]];
  };
  $("explore").hidden = false;
  show(0, false);
  draw();
  let width = 0;
  new ResizeObserver(() => {
    if (canvas.parentElement.clientWidth === width) return;
    width = canvas.parentElement.clientWidth;
    draw();
  }).observe(canvas.parentElement);
})();
