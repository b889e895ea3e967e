// Sorting, searching and choosing columns of tables marked with data-table="NAME"; without this module they
// are read as they are. With data-part, the table is a page of a longer list: only the server sorts it, by the
// links in its headers. With data-searched, the server searches it, and there is no second search.

const LEAST_TO_SEARCH = 6;
const states = new Map(); // by the name of the table, so that a refreshed fragment keeps its order
const languages = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });

/** Give every marked table in an element its tools. */
export function equip(root) {
  for (const table of root.querySelectorAll("table[data-table]")) {
    if (!table.dataset.equipped && isRegular(table)) equipOne(table);
  }
}

function isRegular(table) {
  return table.tHead?.rows.length === 1 && table.tBodies.length === 1 && !table.querySelector("[colspan], [rowspan]");
}

function equipOne(table) {
  table.dataset.equipped = "true";
  const name = table.dataset.table;
  const state = states.get(name) ?? { sorted: -1, isDown: false, search: "", hidden: readHidden(name) };
  states.set(name, state);
  const rows = [...table.tBodies[0].rows];
  const headers = [...table.tHead.rows[0].cells];
  const tools = element("div", { className: "table-tools" });
  const said = element("small", { role: "status" });
  const isAddressed = hasOrderInAddress(table);
  if (isAddressed && state.sorted < 0) readOrder(headers, state);
  for (const header of headers) header.dataset.sorted = header.getAttribute("aria-sort") ?? "";
  const draw = () => show(table, rows, headers, state, said);
  const onSort = () => {
    if (isAddressed) writeOrder(headers, state);
    draw();
  };
  if (table.dataset.part === undefined) for (const [at, header] of headers.entries()) addSorting(header, at, rows, state, onSort);
  const isSearched = rows.length >= LEAST_TO_SEARCH && table.dataset.searched === undefined;
  if (isSearched) tools.append(searchField(table, state, draw), said);
  if (headers.filter(title).length > 2) {
    const row = (isSearched ? null : rowAbove(table)) ?? tools;
    row.append(columnChoice(name, headers, state, draw));
  }
  if (tools.hasChildNodes()) (table.closest(".scroll-x") ?? table).before(tools);
  draw();
}

/** Return the row that has room for a button: of the card's search form or heading, or of a page's only table. */
function rowAbove(table) {
  const card = table.closest(".card");
  const form = card?.querySelector(":scope > form[role=search]");
  const own = form ? null : card?.querySelector(":scope > h2");
  if (own) {
    const row = element("div", { className: "row" });
    const end = element("div", { className: "spread" });
    own.replaceWith(row);
    row.append(own, end);
    return end;
  }
  if (form || table.closest("[data-refresh]") || document.querySelectorAll("table[data-table]").length > 1) return form;
  const heading = document.querySelector(".page > .row:has(> h1)");
  if (heading && !heading.querySelector(":scope > .spread")) heading.append(element("div", { className: "spread" }));
  return heading?.querySelector(":scope > .spread");
}

function addSorting(header, at, rows, state, draw) {
  if (!title(header) || rows.length < 2 || header.querySelector("a.sort")) return;
  const button = element("button", { className: "sort", type: "button" });
  button.append(...header.childNodes);
  header.append(button);
  button.addEventListener("click", () => {
    if (state.sorted !== at) Object.assign(state, { sorted: at, isDown: false });
    else if (!state.isDown) state.isDown = true;
    else state.sorted = -1; // the third time: as the server listed them
    draw();
  });
}

/** Return whether the address keeps the order: of the only table of a page, which the server does not sort. */
function hasOrderInAddress(table) {
  return document.querySelectorAll("table[data-table]").length === 1 && !table.querySelector("th a.sort");
}

function readOrder(headers, state) {
  const asked = new URL(location.href).searchParams;
  const at = headers.findIndex((header) => title(header) && inAddress(header) === asked.get("sort"));
  if (at >= 0) Object.assign(state, { sorted: at, isDown: asked.get("order") === "desc" });
}

function writeOrder(headers, state) {
  const address = new URL(location.href);
  for (const name of ["sort", "order"]) address.searchParams.delete(name);
  if (state.sorted >= 0) {
    address.searchParams.set("sort", inAddress(headers[state.sorted]));
    address.searchParams.set("order", state.isDown ? "desc" : "asc");
  }
  history.replaceState(history.state, "", address);
}

function inAddress(header) {
  return title(header).toLowerCase().replaceAll(" ", "-");
}

function searchField(table, state, draw) {
  const where = table.dataset.part === undefined ? "this table" : "this page";
  const field = element("input", { type: "search", placeholder: `Find in ${where}`, value: state.search, autocomplete: "off" });
  field.setAttribute("aria-label", `Find in ${where}`);
  field.addEventListener("input", () => {
    state.search = field.value;
    draw();
  });
  return field;
}

function columnChoice(name, headers, state, draw) {
  const menu = element("details", { className: "menu column-choice" });
  const summary = element("summary", { className: "btn" });
  const body = element("div", { className: "menu-body" });
  const label = () => {
    summary.textContent = state.hidden.size ? `Columns (${state.hidden.size} hidden)` : "Columns";
  };
  for (const [at, header] of headers.entries()) {
    if (!at || !title(header)) continue; // the first column says what a row is
    const tick = element("input", { type: "checkbox", checked: !state.hidden.has(title(header)) });
    tick.addEventListener("change", () => {
      if (tick.checked) state.hidden.delete(title(header));
      else state.hidden.add(title(header));
      writeHidden(name, state.hidden);
      label();
      draw();
    });
    const line = element("label");
    line.append(tick, title(header));
    body.append(line);
  }
  label();
  menu.append(summary, body);
  return menu;
}

function show(table, rows, headers, state, said) {
  const words = state.search.toLowerCase().split(/\s+/).filter(Boolean);
  const shown = rows.filter((row) => words.every((word) => row.textContent.toLowerCase().includes(word)));
  const order = state.sorted < 0 ? rows : sorted(rows, state);
  table.tBodies[0].append(...order);
  for (const row of rows) row.hidden = !shown.includes(row);
  for (const [at, header] of headers.entries()) {
    const direction = at === state.sorted ? (state.isDown ? "descending" : "ascending") : state.sorted < 0 ? header.dataset.sorted : "";
    if (direction) header.setAttribute("aria-sort", direction);
    else header.removeAttribute("aria-sort");
    const isHidden = at > 0 && state.hidden.has(title(header));
    for (const row of [table.tHead.rows[0], ...rows]) if (row.cells[at]) row.cells[at].hidden = isHidden;
  }
  said.textContent = words.length
    ? `${shown.length} of ${rows.length} rows${table.dataset.part === undefined ? "" : " on this page"}`
    : "";
}

function sorted(rows, { sorted: at, isDown }) {
  const keyed = rows.map((row, place) => ({ row, place, key: keyOf(row.cells[at]) }));
  const isNumeric = keyed.every(({ key }) => key === "" || typeof key === "number");
  const direction = isDown ? -1 : 1;
  keyed.sort((one, other) => {
    if ((one.key === "") !== (other.key === "")) return one.key === "" ? 1 : -1; // nothing comes last
    const difference = isNumeric ? one.key - other.key : languages.compare(String(one.key), String(other.key));
    return direction * difference || one.place - other.place;
  });
  return keyed.map(({ row }) => row);
}

/** Return what a cell is sorted by: its data-sort, its moment, its leading number, or its text. */
export function keyOf(cell) {
  const given = cell?.dataset.sort ?? cell?.querySelector("time")?.dateTime;
  const text = (given ?? cell?.textContent ?? "").replace(/\s+/g, " ").trim();
  if (text === "" || text === "–") return "";
  if (given !== undefined && !/^-?[\d.]+$/.test(text)) return text;
  const number = /^([-−+]?[\d,]*\.?\d+)(?:\s?(?:%|s|min|h|nats|of [\d,]+|MiB|GiB|\[.*))?$/.exec(text);
  if (!number) return text;
  const unit = { min: 60, h: 3600, GiB: 1024 }[text.split(" ")[1]] ?? 1;
  return unit * Number(number[1].replaceAll(",", "").replace("−", "-"));
}

/** Return what a column is called; nothing if only screen readers are told, as over buttons. */
function title(header) {
  if (header.querySelector(".visually-hidden")) return "";
  return header.textContent.replace(/\u00ad/g, "").replace(/\s+/g, " ").trim();
}

function readHidden(name) {
  try {
    return new Set(JSON.parse(localStorage.getItem(`attune:columns:${name}`) ?? "[]"));
  } catch {
    return new Set();
  }
}

function writeHidden(name, hidden) {
  try {
    localStorage.setItem(`attune:columns:${name}`, JSON.stringify([...hidden]));
  } catch {
    // A full or forbidden store: the choice holds until the page is left.
  }
}

function element(tag, properties = {}) {
  const { role, ...others } = properties;
  const made = Object.assign(document.createElement(tag), others);
  if (role) made.setAttribute("role", role);
  return made;
}
