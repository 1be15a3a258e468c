"use strict";

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB"];

function bytes(count) {
  let unit = 0;
  while (count >= 1024 && unit < UNITS.length - 1) {
    count /= 1024;
    unit += 1;
  }
  return `${unit === 0 || count >= 100 ? Math.round(count) : count.toFixed(1)} ${UNITS[unit]}`;
}

function moved(service, direction) {
  const parts = [];
  const datagrams = service[`datagrams_${direction}`];
  if (service.accepted > 0 || datagrams === 0) parts.push(bytes(service[`bytes_${direction}`]));
  if (datagrams > 0) parts.push(`${datagrams.toLocaleString()} dg`);
  return parts.join("\n");
}

// "tcp 127.0.0.1:3333" and "udp 127.0.0.1:3333" are one place.
function places(addresses) {
  const transports = new Map();
  for (const address of addresses) {
    const [transport, place] = address.split(" ");
    transports.set(place, [...(transports.get(place) ?? []), transport]);
  }
  return [...transports].map(([place, by]) => `${place} ${by.join(", ")}`).join("\n");
}

function cell(kind, text, ...classes) {
  const made = document.createElement(kind);
  made.textContent = text;
  made.classList.add(...classes);
  if (kind === "th") made.scope = "row";
  return made;
}

function row(service) {
  const made = document.createElement("tr");
  made.classList.toggle("stopped", service.stopped);
  const quiet = (number) => (number === 0 ? ["number", "zero"] : ["number"]);
  const hits = cell("td", service.limits_hit.toLocaleString(), ...quiet(service.limits_hit));
  hits.classList.toggle("hit", service.limits_hit > 0);
  const both = (direction) =>
    cell("td", moved(service, direction), ...quiet(service[`bytes_${direction}`] + service[`datagrams_${direction}`]));
  made.append(
    cell("th", service.name),
    cell("td", places(service.addresses), "wide"),
    cell("td", service.connections.toLocaleString(), ...quiet(service.connections)),
    both("received"),
    both("sent"),
    hits,
  );
  return made;
}

const COUNTS = [
  "connections",
  "accepted",
  "bytes_received",
  "bytes_sent",
  "datagrams_received",
  "datagrams_sent",
  "limits_hit",
];

function showServices(services) {
  const total = { name: "all", addresses: [], stopped: false };
  for (const key of COUNTS) {
    total[key] = services.reduce((sum, service) => sum + service[key], 0);
  }
  document.getElementById("rows").replaceChildren(...services.map(row));
  document.getElementById("total").replaceChildren(row(total));
}

// The frame before, for the rate.
let before = null;

function showFrames(picture) {
  const now = performance.now();
  let text = "No picture: nobody publishes one";
  if (picture) {
    text = `frame ${picture.number.toLocaleString()}`;
    if (picture.size) text = `${picture.size.join("×")}, ${text}`;
    if (before && picture.number >= before.number) {
      const rate = ((picture.number - before.number) * 1000) / (now - before.at);
      text += `, ${Math.round(rate)} per second`;
    }
  }
  before = picture && { number: picture.number, at: now };
  document.getElementById("frames").textContent = text;
  document.getElementById("picture").classList.toggle("dark", !picture);
}

function tell(text, isLost) {
  const state = document.getElementById("state");
  state.textContent = text;
  state.classList.toggle("lost", isLost);
}

function uptime(seconds) {
  const parts = [
    [86400, "d"],
    [3600, "h"],
    [60, "min"],
    [1, "s"],
  ];
  const first = Math.max(0, parts.findIndex(([size]) => seconds >= size || size === 1));
  const [size, unit] = parts[first];
  const below = parts[first + 1];
  const rest = below ? ` ${Math.floor((seconds % size) / below[0])} ${below[1]}` : "";
  return `${Math.floor(seconds / size)} ${unit}${rest}`;
}

function askForPicture() {
  document.getElementById("picture").src = `/video.mjpg?${Date.now()}`;
}

// The browser connects to the events again by itself; the picture has to be asked for again.
let wasLost = false;
const events = new EventSource("/events");
events.addEventListener("services", (event) => {
  const report = JSON.parse(event.data);
  showServices(report.services);
  showFrames(report.picture);
  tell(`up for ${uptime(report.uptime)}`, false);
  if (wasLost) askForPicture();
  wasLost = false;
});
events.addEventListener("error", () => {
  wasLost = true;
  tell("the daemon does not answer, trying again…", true);
});
document.getElementById("picture").addEventListener("error", () => {
  if (!wasLost) setTimeout(askForPicture, 2000);
});
