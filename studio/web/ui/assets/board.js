// The list of examined files. Only what changed is drawn anew: an opened answer stays open. An
// answer is fetched when it is opened.
const rows = new Map();  // id -> {node, state, data}
const list = element.querySelector(".answers");
const tools = element.querySelector(".board-tools");
const tally = element.querySelector(".tally");
const empty = element.querySelector(".board-empty");
const sort = element.querySelector("select[name=sort]");
const filter = element.querySelector("select[name=filter]");
const find = element.querySelector("input[name=find]");
const live = element.querySelector(".board-live");
let first = true;

const TITLES = { waiting: "waiting", working: "being examined", failed: "no answer", cancelled: "cancelled" };
const word = row => row.verdict || TITLES[row.state];

const load = async row => {
    if (row.loaded || !row.data.ended || row.data.state === "cancelled") return;
    row.loaded = true;
    const body = row.node.querySelector(".answer-body");
    try {
        const answer = await fetch(`examinations/${row.data.id}`);
        body.innerHTML = answer.ok ? await answer.text() : "<p class='soft'>This answer is no longer here. Examine the file again.</p>";
    } catch {
        row.loaded = false;
        body.innerHTML = "<p class='soft'>The studio cannot be reached. Close and open this line to try again.</p>";
    }
};

const make = data => {
    const node = document.createElement("details");
    node.className = "answer";
    node.innerHTML = "<summary><b></b> <span class='chip'></span> <span class='small soft note'></span></summary><div class='answer-body'></div>";
    node.querySelector("b").textContent = data.name;
    const row = { node, data, loaded: false };
    node.addEventListener("toggle", () => node.open && load(row));
    return row;
};

const draw = (row, data) => {
    const before = row.data.state;
    row.data = data;
    const chip = row.node.querySelector(".chip");
    const label = (data.icon ? data.icon + " " : "") + word(data);
    if (chip.textContent !== label) { chip.textContent = label; chip.className = `chip ${data.tone}`; }
    const note = row.node.querySelector(".note");
    if (note.textContent !== data.note) note.textContent = data.note;
    row.node.dataset.state = data.state;
    if (data.ended) row.node.dataset.answer = word(data);
    if (row.node.open) load(row);
    return data.ended && before !== data.state;
};

const arrange = () => {
    const wanted = filter.value, text = find.value.trim().toLowerCase();
    const shown = [...rows.values()];
    const order = { name: (a, b) => a.data.name.localeCompare(b.data.name, undefined, { numeric: true }),
                    verdict: (a, b) => a.data.rank - b.data.rank }[sort.value];
    if (order) shown.sort(order);
    shown.forEach((row, place) => {
        row.node.hidden = (wanted && word(row.data) !== wanted) || (text && !`${row.data.name} ${row.data.note}`.toLowerCase().includes(text));
        if (list.children[place] !== row.node) list.insertBefore(row.node, list.children[place] || null);
    });
};

const count = () => {
    const sums = new Map();
    for (const { data } of rows.values()) sums.set(word(data), (sums.get(word(data)) || 0) + 1);
    const text = [...sums].map(([name, sum]) => `${sum} ${name}`).join(", ");
    tally.textContent = `${rows.size} ${rows.size === 1 ? "file" : "files"}: ${text}`;
    const options = ["", ...sums.keys()];
    if (options.join() !== [...filter.options].map(option => option.value).join()) {
        const kept = filter.value;
        filter.replaceChildren(...options.map(name => new Option(name || "all", name)));
        filter.value = options.includes(kept) ? kept : "";
    }
};

const show = () => {
    const value = props.value && props.value.rows ? props.value : { rows: [] };
    const present = new Set(value.rows.map(data => data.id));
    for (const [id, row] of rows) if (!present.has(id)) { row.node.remove(); rows.delete(id); }
    const done = [];
    for (const data of value.rows) {
        const row = rows.get(data.id) || make(data);
        const known = rows.has(data.id);
        rows.set(data.id, row);
        if (draw(row, data) && known) done.push(data);
    }
    empty.hidden = rows.size > 0;
    tools.hidden = rows.size < 2;
    element.querySelector(".board-downloads").hidden = rows.size < 2 || !value.rows.some(data => data.verdict);
    if (rows.size) { count(); arrange(); }
    // A single file is shown whole; so is the only file of a page that is opened again.
    if (rows.size === 1) { const [only] = rows.values(); if (only.data.ended && (done.length || first)) only.node.open = true; }
    if (done.length) live.textContent = done.map(data => `${data.name}: ${word(data)}`).join("; ");
    first = rows.size === 0 && first;
};

for (const control of [sort, filter, find]) control.addEventListener("input", arrange);
watch("value", show);
show();
