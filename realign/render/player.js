"use strict";
// An interactive player on 2-d canvases: the rounded figure of the GIFs, with a camera and a time slider.
const film = JSON.parse(document.getElementById("data").textContent);
const COLOURS = { left: [37, 106, 214], right: [240, 118, 30], middle: [120, 130, 146] };
const element = (id) => document.getElementById(id);
const mix = (c, to, fraction) => `rgb(${c.map((v) => Math.round(v + (to - v) * fraction)).join(",")})`;

function decode(clip) {
  const bytes = Uint8Array.from(atob(clip.data), (letter) => letter.charCodeAt(0));
  const view = new DataView(bytes.buffer);
  const values = new Float32Array(bytes.length / 2);
  for (let i = 0; i < values.length; i++) values[i] = view.getInt16(2 * i, true) * clip.step;
  clip.values = values;
  clip.seconds = clip.frames / clip.fps;
  const low = [1e9, 1e9], high = [-1e9, -1e9];
  for (let i = 0; i < values.length; i += 3) {
    low[0] = Math.min(low[0], values[i]); high[0] = Math.max(high[0], values[i]);
    low[1] = Math.min(low[1], values[i + 2]); high[1] = Math.max(high[1], values[i + 2]);
  }
  clip.low = low; clip.high = high;
  clip.wide = Math.hypot(high[0] - low[0], high[1] - low[1]);
  let top = 2;
  for (let i = 1; i < values.length; i += 3) top = Math.max(top, values[i]);
  clip.tall = 2 * (top - 0.85) + 0.3; // raised hands and jumps stay in the picture
  clip.trajectory = [];
  for (let f = 0; f < clip.frames; f++) clip.trajectory.push([values[f * clip.points * 3], film.floor, values[f * clip.points * 3 + 2]]);
  clip.smooth = clip.trajectory.map((_, f) => { // target of a following camera: the smoothed trajectory
    const half = Math.round(clip.fps / 2), sum = [0, 0];
    for (let k = f - half; k <= f + half; k++) {
      const p = clip.trajectory[Math.min(Math.max(k, 0), clip.frames - 1)];
      sum[0] += p[0]; sum[1] += p[2];
    }
    return [sum[0] / (2 * half + 1), 0.85, sum[1] / (2 * half + 1)];
  });
}
film.clips.forEach(decode);

const duration = Math.max(...film.clips.map((clip) => clip.seconds));
const finest = Math.max(...film.clips.map((clip) => clip.fps));
const first = { azimuth: film.azimuth, elevation: film.elevation, zoom: 1, pan: [0, 0] };
const state = { time: 0, playing: true, speed: 1, follow: film.follow, ghosts: false, only: -1, ...structuredClone(first) };

function makePanels() {
  const stage = element("stage"), tabs = element("tabs");
  const tab = (label, number) => {
    const button = document.createElement("button");
    button.textContent = label;
    button.title = label;
    button.addEventListener("click", () => { state.only = number; arrange(); });
    tabs.append(button);
  };
  if (film.clips.length > film.group) { tabs.style.display = "flex"; tab("All", -1); }
  film.clips.forEach((clip, number) => {
    const figure = document.createElement("figure"), title = document.createElement("figcaption");
    const name = [clip.label, clip.caption].filter(Boolean).join(": ");
    for (const [kind, text] of [["strong", clip.label], ["span", clip.caption]]) {
      if (!text) continue;
      const line = document.createElement(kind);
      line.textContent = line.title = text; // text, never markup
      line.dir = "auto";
      title.append(line);
    }
    clip.canvas = document.createElement("canvas");
    clip.canvas.setAttribute("aria-label", name || `motion ${number + 1}`);
    if (name) figure.append(title);
    figure.append(clip.canvas);
    stage.append(figure);
    clip.figure = figure;
    listen(clip.canvas);
    if (film.clips.length > film.group && number % film.group === 0)
      tab(`${number / film.group + 1}  ${film.group > 1 ? clip.caption : name}`, number / film.group);
  });
  document.title = film.clips[0].caption || "Motion";
}

function arrange() {
  const shown = state.only < 0 ? film.clips.length : film.group, stage = element("stage");
  const wide = stage.clientWidth > stage.clientHeight;
  const group = Math.min(film.group, shown), across = Math.sqrt(shown * (wide ? 1.5 : 0.5)) / group;
  const columns = shown <= 3 && group === 1 && wide ? shown : group * Math.max(1, Math.round(across));
  stage.style.gridTemplateColumns = `repeat(${columns}, minmax(0, 1fr))`;
  stage.style.gridAutoRows = "minmax(0, 1fr)";
  film.clips.forEach((clip, number) => { clip.figure.hidden = state.only >= 0 && state.only !== Math.floor(number / film.group); });
  [...element("tabs").children].forEach((button, i) => button.setAttribute("aria-pressed", String(i - 1 === state.only)));
}

function fit(clip, width, height) { // pixels per metre that show a whole clip; all panels use the smallest, whatever the height of their captions
  if (state.follow) return Math.min(width / 1.9, height / clip.tall);
  const lift = Math.max(state.elevation * Math.PI / 180, 0.3);
  return Math.min(width / (1.2 + clip.wide), height / (clip.tall + 0.35 * clip.wide * Math.sin(lift)));
}

// The camera stands `azimuth` degrees from the front of the first pose towards the person's right.
function camera(clip, frame, width, height) {
  const turn = state.azimuth * Math.PI / 180, lift = state.elevation * Math.PI / 180;
  const [ax, az] = clip.ahead, flat = [ax * Math.cos(turn) - az * Math.sin(turn), az * Math.cos(turn) + ax * Math.sin(turn)];
  const back = [flat[0] * Math.cos(lift), Math.sin(lift), flat[1] * Math.cos(lift)];
  const right = [flat[1], 0, -flat[0]];
  const up = [back[1] * right[2], back[2] * right[0] - back[0] * right[2], -back[1] * right[0]];
  const middle = [(clip.low[0] + clip.high[0]) / 2, 0.85, (clip.low[1] + clip.high[1]) / 2];
  const target = state.follow ? clip.smooth[frame] : middle;
  const distance = 3 * (state.follow ? 2.3 : 1.2 + clip.wide);
  const scale = state.zoom * Math.min(...film.clips.filter((other) => !other.figure.hidden).map((other) => fit(other, other.canvas.clientWidth, other.canvas.clientHeight)));
  return { back, right, up, target, distance, scale, x: width / 2 + state.pan[0], y: height / 2 + state.pan[1] };
}

const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
function look(c, p) { // camera axes
  const d = [p[0] - c.target[0], p[1] - c.target[1], p[2] - c.target[2]];
  return [dot(d, c.right), dot(d, c.up), dot(d, c.back)];
}
function toPixels(c, v) {
  const near = c.distance / Math.max(c.distance - v[2], 0.05 * c.distance);
  return [c.x + c.scale * v[0] * near, c.y - c.scale * v[1] * near, c.scale * near, v[2]];
}
const project = (c, p) => toPixels(c, look(c, p));

function line(ctx, c, a, b) { // clipped in front of the camera
  let u = look(c, a), v = look(c, b);
  const limit = 0.9 * c.distance;
  if (u[2] > limit && v[2] > limit) return;
  if (u[2] > limit) [u, v] = [v, u];
  if (v[2] > limit) { const s = (limit - u[2]) / (v[2] - u[2]); v = u.map((x, i) => x + s * (v[i] - x)); }
  const p = toPixels(c, u), q = toPixels(c, v);
  ctx.moveTo(p[0], p[1]); ctx.lineTo(q[0], q[1]);
}

function drawFloor(ctx, c, clip) {
  let step = 0.5;
  while (Math.max(clip.high[0] - clip.low[0], clip.high[1] - clip.low[1]) / step > 60) step *= 2;
  const [x0, z0] = clip.low.map((v) => Math.floor((v - 0.9) / step) * step);
  const [x1, z1] = clip.high.map((v) => Math.ceil((v + 0.9) / step) * step);
  const corners = [[x0, z0], [x1, z0], [x1, z1], [x0, z1]].map(([x, z]) => look(c, [x, film.floor, z]));
  const limit = 0.9 * c.distance, kept = [];
  corners.forEach((here, i) => {
    const next = corners[(i + 1) % 4];
    if (here[2] <= limit) kept.push(here);
    if ((here[2] <= limit) !== (next[2] <= limit)) {
      const s = (limit - here[2]) / (next[2] - here[2]);
      kept.push(here.map((v, k) => v + s * (next[k] - v)));
    }
  });
  ctx.fillStyle = "#eef1f5";
  ctx.beginPath();
  kept.forEach((v, i) => { const p = toPixels(c, v); i ? ctx.lineTo(p[0], p[1]) : ctx.moveTo(p[0], p[1]); });
  ctx.fill();
  ctx.strokeStyle = "#d4dae3"; ctx.lineWidth = 1;
  ctx.beginPath();
  for (let x = x0; x <= x1 + step / 2; x += step) line(ctx, c, [x, film.floor, z0], [x, film.floor, z1]);
  for (let z = z0; z <= z1 + step / 2; z += step) line(ctx, c, [x0, film.floor, z], [x1, film.floor, z]);
  ctx.stroke();
}

function drawTrajectory(ctx, c, clip, frame) {
  for (const [from, to, colour, width] of [[frame, clip.frames - 1, "#bec7d3", 2], [0, frame, "#54627a", 3]]) {
    ctx.strokeStyle = colour; ctx.lineWidth = width; ctx.lineCap = ctx.lineJoin = "round";
    ctx.beginPath();
    for (let f = from; f < to; f++) line(ctx, c, clip.trajectory[f], clip.trajectory[f + 1]);
    ctx.stroke();
  }
  const start = project(c, clip.trajectory[0]);
  if (start[3] < 0.9 * c.distance) { ctx.fillStyle = "#54627a"; disc(ctx, start[0], start[1], 4); }
}

function disc(ctx, x, y, r) { ctx.beginPath(); ctx.arc(x, y, Math.max(r, 0), 0, 2 * Math.PI); ctx.fill(); }

function outlineOf(ctx, points, part, grow) { // every limb of a part as one path
  ctx.beginPath();
  for (const [a, b, ra, rb] of part.capsules) {
    const p = points[a], q = points[b], r = ra * p[2] + grow, s = rb * q[2] + grow;
    const turn = Math.atan2(q[1] - p[1], q[0] - p[0]);
    ctx.moveTo(p[0] + r * Math.cos(turn + Math.PI / 2), p[1] + r * Math.sin(turn + Math.PI / 2));
    ctx.arc(p[0], p[1], r, turn + Math.PI / 2, turn + 1.5 * Math.PI);
    ctx.arc(q[0], q[1], s, turn - Math.PI / 2, turn + Math.PI / 2);
    ctx.closePath();
  }
}
function hullOf(ctx, points, part) {
  if (!part.hull.length) return;
  ctx.beginPath();
  part.hull.forEach((i, n) => (n ? ctx.lineTo(points[i][0], points[i][1]) : ctx.moveTo(points[i][0], points[i][1])));
  ctx.closePath(); ctx.fill();
}
function fillPart(ctx, points, part, colour, grow) {
  ctx.fillStyle = colour;
  outlineOf(ctx, points, part, grow); ctx.fill();
  hullOf(ctx, points, part);
}

function lightLimbs(ctx, points, part, colour) { // a lighter core makes limbs round
  for (const [a, b, ra, rb] of part.capsules) {
    const p = points[a], q = points[b], across = [q[1] - p[1], p[0] - q[0]], length = Math.hypot(...across);
    if (length < 1) continue;
    const r = Math.max(ra * p[2], rb * q[2]), x = across[0] / length * r, y = across[1] / length * r;
    const middle = [(p[0] + q[0]) / 2, (p[1] + q[1]) / 2];
    const shade = ctx.createLinearGradient(middle[0] - x, middle[1] - y, middle[0] + x, middle[1] + y);
    shade.addColorStop(0, mix(colour, 0, 0.16)); shade.addColorStop(0.42, mix(colour, 255, 0.3)); shade.addColorStop(1, mix(colour, 0, 0.16));
    ctx.fillStyle = shade;
    outlineOf(ctx, points, { capsules: [[a, b, ra, rb]] }, 0); ctx.fill();
  }
}

function drawHead(ctx, clip, points) {
  const [h, n] = clip.head, head = points[h], nose = points[n], r = film.headRadius * head[2];
  const ahead = (nose[3] - head[3]) / film.headRadius, at = (s, drop) => [head[0] + s * (nose[0] - head[0]), head[1] + s * (nose[1] - head[1]) + drop * r];
  const face = at(0.36, 0.12), tip = at(0.95, 0.1);
  const fill = (colour, p, radius) => { ctx.fillStyle = colour; disc(ctx, p[0], p[1], radius); };
  fill("#242a36", tip, 0.2 * r + 1.2);
  if (ahead < 0) fill("#e29e76", tip, 0.2 * r);
  fill("#242a36", head, r + 1.2);
  const hair = ctx.createRadialGradient(head[0] - 0.3 * r, head[1] - 0.4 * r, 0.1 * r, head[0], head[1], r);
  hair.addColorStop(0, "#78614f"); hair.addColorStop(1, "#4c3b34");
  fill(hair, head, r);
  if (ahead > -0.45) fill("#fad7b6", face, 0.74 * r);
  if (ahead >= 0) fill("#e29e76", tip, 0.2 * r);
}

function pose(clip, frame, c, flat) {
  const points = [];
  for (let i = 0; i < clip.points; i++) {
    const k = 3 * (frame * clip.points + i);
    points.push(project(c, [clip.values[k], flat ? film.floor : clip.values[k + 1], clip.values[k + 2]]));
  }
  return points;
}

function drawPerson(ctx, c, clip, frame) {
  const points = pose(clip, frame, c, false), jobs = clip.parts.map((part) => {
    const ends = part.capsules.flatMap(([a, b]) => [points[a][3], points[b][3]]);
    return [ends.reduce((sum, depth) => sum + depth, 0) / ends.length, part];
  });
  jobs.push([points[clip.head[0]][3], null]);
  jobs.sort((a, b) => a[0] - b[0]);
  for (const [, part] of jobs) {
    if (!part) { drawHead(ctx, clip, points); continue; }
    const colour = COLOURS[part.side];
    fillPart(ctx, points, part, "#242a36", 1.2);
    fillPart(ctx, points, part, mix(colour, 0, 0), 0);
    if (part.side !== "middle") lightLimbs(ctx, points, part, colour);
  }
}

function drawClip(clip) {
  const canvas = clip.canvas, ratio = window.devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight;
  if (!width || !height) return;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio); canvas.height = Math.round(height * ratio);
  }
  const ctx = canvas.getContext("2d");
  ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
  ctx.fillStyle = "#ffffff"; ctx.fillRect(0, 0, width, height);
  const frame = Math.min(Math.floor(state.time * clip.fps + 1e-6), clip.frames - 1), c = camera(clip, frame, width, height);
  drawFloor(ctx, c, clip);
  drawTrajectory(ctx, c, clip, frame);
  const shadow = pose(clip, frame, c, true);
  for (const part of clip.parts) fillPart(ctx, shadow, part, "#cdd2db", 0);
  if (state.ghosts) {
    ctx.globalAlpha = 0.22;
    const gap = Math.max(1, Math.round(clip.fps * 0.4));
    for (let f = frame % gap; f < clip.frames; f += gap) {
      if (f === frame) continue;
      const points = pose(clip, f, c, false), head = points[clip.head[0]];
      for (const part of clip.parts) fillPart(ctx, points, part, mix(COLOURS[part.side], 255, 0.35), 0);
      disc(ctx, head[0], head[1], film.headRadius * head[2]);
    }
    ctx.globalAlpha = 1;
  }
  drawPerson(ctx, c, clip, frame);
}

function show() {
  for (const clip of film.clips) if (!clip.figure.hidden) drawClip(clip);
  element("time").value = String(state.time / duration);
  element("clock").textContent = `${state.time.toFixed(2)} / ${duration.toFixed(2)} s`;
}

function listen(canvas) {
  const fingers = new Map();
  const spread = () => { const [a, b] = [...fingers.values()]; return Math.hypot(a[0] - b[0], a[1] - b[1]); };
  const zoom = (factor) => { state.zoom = Math.min(Math.max(state.zoom * factor, 0.25), 6); };
  canvas.addEventListener("pointerdown", (e) => { fingers.set(e.pointerId, [e.clientX, e.clientY]); canvas.setPointerCapture(e.pointerId); });
  canvas.addEventListener("pointermove", (e) => {
    const old = fingers.get(e.pointerId);
    if (!old) return;
    const dx = e.clientX - old[0], dy = e.clientY - old[1], before = fingers.size === 2 ? spread() : 0;
    fingers.set(e.pointerId, [e.clientX, e.clientY]);
    if (fingers.size === 2) {
      zoom(spread() / Math.max(before, 1));
      state.pan = [state.pan[0] + dx / 2, state.pan[1] + dy / 2];
    } else if (e.shiftKey || e.buttons === 2) {
      state.pan = [state.pan[0] + dx, state.pan[1] + dy];
    } else {
      state.azimuth += 0.5 * dx;
      state.elevation = Math.min(Math.max(state.elevation + 0.4 * dy, -10), 89);
    }
  });
  for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, (e) => fingers.delete(e.pointerId));
  canvas.addEventListener("wheel", (e) => { e.preventDefault(); zoom(Math.exp(-0.0012 * e.deltaY)); }, { passive: false });
  canvas.addEventListener("contextmenu", (e) => e.preventDefault());
}

function press(id, value) { element(id).setAttribute("aria-pressed", String(value)); }
const actions = {
  play: () => { state.playing = !state.playing; element("play").textContent = state.playing ? "Pause" : "Play"; },
  follow: () => { state.follow = !state.follow; press("follow", state.follow); },
  ghosts: () => { state.ghosts = !state.ghosts; press("ghosts", state.ghosts); },
  reset: () => Object.assign(state, structuredClone(first)),
};
function step(frames) { if (state.playing) actions.play(); state.time = Math.min(Math.max(state.time + frames / finest, 0), duration - 1 / finest); }
for (const [id, action] of Object.entries(actions)) element(id).addEventListener("click", action);
element("speed").addEventListener("change", (e) => { state.speed = Number(e.target.value); });
element("time").addEventListener("input", (e) => { if (state.playing) actions.play(); state.time = Number(e.target.value) * duration; });
window.addEventListener("resize", arrange);
window.addEventListener("keydown", (e) => {
  const keys = { " ": actions.play, f: actions.follow, g: actions.ghosts, r: actions.reset, ArrowRight: () => step(1), ArrowLeft: () => step(-1) };
  if (e.target.tagName === "SELECT" || e.ctrlKey || e.metaKey || !keys[e.key]) return;
  e.preventDefault();
  if (e.key === " " && document.activeElement) document.activeElement.blur();
  keys[e.key]();
});

let last = 0;
function tick(now) {
  if (state.playing && last) state.time = (state.time + (now - last) / 1000 * state.speed) % duration;
  last = now;
  show();
  requestAnimationFrame(tick);
}
makePanels();
press("follow", state.follow);
arrange();
requestAnimationFrame(tick);
