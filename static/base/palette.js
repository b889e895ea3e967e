// The command palette: every project, page and action that the reader may open, found by a few letters.
// The server says what there is (GET /api/v1/commands); keys and screen readers use it as a combobox.

const SHOWN_MOST = 40;
let dialog;
let commands = [];
let leftOff = 0;
let chosen = 0;
let matches = [];

/** Open the palette, with what the server offers now and what was typed already. */
export async function open(typed = "") {
  dialog ??= build();
  if (dialog.open) return;
  const field = dialog.querySelector("input");
  field.value = typed;
  dialog.showModal();
  draw(); // what is known from before, until the answer comes
  say("Loading …");
  const project = document.body.dataset.project;
  const query = project ? `?${new URLSearchParams({ project })}` : "";
  try {
    const response = await fetch(`/api/v1/commands${query}`, { headers: { Accept: "application/json" } });
    if (!response.ok) throw new Error(`the server responded with status ${response.status}`);
    const offered = await response.json();
    commands = offered.commands;
    leftOff = offered.left_off;
    draw(matches[chosen]?.address);
  } catch (error) {
    commands = [];
    draw();
    say(`This cannot be shown now: ${error.message}. The menus still work.`);
  }
}

function build() {
  const made = make("dialog", { className: "palette" });
  made.setAttribute("aria-label", "Go to");
  const field = make("input", { type: "text", autocomplete: "off", spellcheck: false, placeholder: "Go to a project, page or action" });
  for (const [name, value] of Object.entries({
    role: "combobox", "aria-label": "Go to", "aria-expanded": "true", "aria-controls": "palette-list", "aria-autocomplete": "list",
  })) field.setAttribute(name, value);
  const list = make("ul", { id: "palette-list" });
  list.setAttribute("role", "listbox");
  list.setAttribute("aria-label", "Places");
  const said = make("span", { className: "said" });
  said.setAttribute("role", "status");
  const foot = make("footer");
  foot.append(said);
  made.append(field, list, foot);
  document.body.append(made);
  field.addEventListener("input", () => draw());
  field.addEventListener("keydown", onKey);
  list.addEventListener("click", (event) => go(event.target.closest("[role=option]")?.dataset.at, event));
  made.addEventListener("click", (event) => {
    if (event.target === made) made.close(); // beside it
  });
  return made;
}

function onKey(event) {
  const step = { ArrowDown: 1, ArrowUp: -1, PageDown: 8, PageUp: -8 }[event.key];
  if (step && matches.length) {
    event.preventDefault();
    const next = chosen + step;
    choose(Math.abs(step) === 1 ? (next + matches.length) % matches.length : Math.min(Math.max(next, 0), matches.length - 1));
  } else if (event.key === "Enter") {
    event.preventDefault();
    go(chosen, event);
  }
}

/** Draw what the letters leave; the place of the address given stays chosen, and the first is chosen without one. */
function draw(address) {
  const words = dialog.querySelector("input").value.toLowerCase().split(/\s+/).filter(Boolean);
  const found = rank(commands, words);
  matches = found.slice(0, SHOWN_MOST);
  const items = [];
  let group = "";
  for (const [at, command] of matches.entries()) {
    if (command.group !== group) {
      group = command.group;
      const heading = make("li", { textContent: group });
      heading.setAttribute("role", "presentation");
      items.push(heading);
    }
    items.push(option(command, at, words));
  }
  dialog.querySelector("ul").replaceChildren(...items);
  choose(Math.max(matches.findIndex((command) => command.address === address), 0));
  const count = matches.length ? `${matches.length} ${matches.length === 1 ? "place" : "places"}` : "No places found.";
  const narrowed = found.length > matches.length ? ` of ${found.length}. More letters narrow them down.` : "";
  const projects = leftOff ? ` ${leftOff} more projects are on the page “Your projects”.` : "";
  say(`${count}${narrowed}${projects && !narrowed && matches.length ? "." : ""}${projects}`);
}

/** Return the commands that contain all words; those that begin with the first word come first in their group. */
export function rank(all, words) {
  const found = all.filter((command) => {
    const text = `${command.label} ${command.detail} ${command.group}`.toLowerCase();
    return words.every((word) => text.includes(word));
  });
  if (!words.length) return found;
  const groups = [...new Set(found.map((command) => command.group))];
  const worth = (command) => (command.label.toLowerCase().startsWith(words[0]) ? 0 : 1);
  const best = (group) => Math.min(...found.filter((command) => command.group === group).map(worth));
  groups.sort((one, other) => best(one) - best(other));
  return found.sort((one, other) => groups.indexOf(one.group) - groups.indexOf(other.group) || worth(one) - worth(other));
}

function option(command, at, words) {
  const item = make("li", { id: `palette-${at}` });
  item.setAttribute("role", "option");
  item.dataset.at = at;
  const label = make("span");
  label.append(...marked(command.label, words));
  item.append(label);
  if (command.detail) item.append(make("small", { textContent: command.detail }));
  return item;
}

/** Return a label with the first place of a word marked. */
function marked(label, words) {
  const lower = label.toLowerCase();
  const word = words.find((one) => lower.includes(one));
  if (!word) return [label];
  const from = lower.indexOf(word);
  const to = from + word.length;
  return [label.slice(0, from), make("mark", { textContent: label.slice(from, to) }), label.slice(to)];
}

function choose(at) {
  chosen = at;
  for (const item of dialog.querySelectorAll("[role=option]")) {
    const is = Number(item.dataset.at) === at;
    item.setAttribute("aria-selected", String(is));
    if (is) item.scrollIntoView({ block: "nearest" });
  }
  const field = dialog.querySelector("input");
  if (matches.length) field.setAttribute("aria-activedescendant", `palette-${at}`);
  else field.removeAttribute("aria-activedescendant");
}

function go(at, event) {
  const command = matches[Number(at)];
  if (!command) return;
  if (event.ctrlKey || event.metaKey) {
    window.open(command.address, "_blank", "noopener");
    return;
  }
  dialog.close();
  window.location.assign(command.address);
}

function say(text) {
  dialog.querySelector(".said").textContent = text;
}

function make(tag, properties = {}) {
  return Object.assign(document.createElement(tag), properties);
}
