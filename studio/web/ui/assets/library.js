// The library: what is searched for goes to the server, and the outputs found come back.
const nodes = new Map(), list = element.querySelector(".found");
const text = element.querySelector("input[type=search]"), view = element.querySelector("select");
const everybody = element.querySelector(".everybody"), all = element.querySelector("input[type=checkbox]");
const note = element.querySelector("[role=status]"), problem = element.querySelector("[role=alert]");
let timer = null;

const ask = () => {
    clearTimeout(timer);
    timer = null;
    window.studioQuery = { text: text.value, view: view.value, all: all.checked };
    props.value = { query: window.studioQuery };
    trigger("submit");
};
window.studioSearch = () => {
    if (window.studioWanted) { text.value = window.studioWanted; view.value = "kept"; }
    ask();
};
text.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(ask, 300); });
view.addEventListener("change", ask);
all.addEventListener("change", ask);

const row = data => {
    let node = nodes.get(data.id);
    if (!node) {
        node = window.studioTake(data);
        nodes.set(data.id, node);
        node.addEventListener("toggle", () => {
            const address = `#library/${data.id}`;
            if (node.open && location.hash !== address) history.pushState(null, "", address);
        });
    } else window.studioTakeUpdate(node, data);
    return node;
};

const show = () => {
    const value = props.value;
    if (!value?.rows) return;
    const listed = new Set(value.rows.map(data => data.id));
    for (const [id, node] of nodes) if (!listed.has(id)) { node.remove(); nodes.delete(id); }
    value.rows.map(row).forEach((node, place) => { if (list.children[place] !== node) list.insertBefore(node, list.children[place] || null); });
    note.textContent = value.note;
    if (value.problem !== undefined) problem.textContent = value.problem;  // only a change has one
    everybody.hidden = !value.everybody;
    const wanted = nodes.get(window.studioWanted);
    if (wanted) { window.studioWanted = null; wanted.open = true; wanted.scrollIntoView({ block: "nearest" }); }
};
watch("value", show);
window.studioSearch();
