// Requests at work and the outputs. Only what changed is drawn anew: a player stays as long as its
// output is listed, and what plays is never taken away.
const jobs = new Map(), takes = new Map();
const line = element.querySelector(".jobs"), list = element.querySelector(".takes");
const title = element.querySelector(".takes-title"), live = element.querySelector("[role=status]");
let known = false;

const send = command => window.studioCommand?.(command);
const playing = node => [...node.querySelectorAll("audio")].some(audio => !audio.paused);

const job = data => {
    let node = jobs.get(data.id);
    if (!node) {
        node = document.createElement("div");
        node.className = "job";
        node.innerHTML = "<div class='job-body'></div><p class='preview-word small' role='status'></p><button type='button'></button>";
        node.querySelector(":scope > button").addEventListener("click", () => {
            send({ [node.dataset.live ? "cancel" : "dismiss"]: data.id });
            if (!node.dataset.live) document.querySelector("#generate")?.focus();
        });
        jobs.set(data.id, node);
        line.append(node);
    }
    const body = node.querySelector(".job-body"), button = node.querySelector(":scope > button");
    if (node.dataset.shown !== data.html) { body.innerHTML = data.html; node.dataset.shown = data.html; }
    node.dataset.live = data.live ? "1" : "";
    const word = data.live ? "Cancel" : "Dismiss";
    if (button.textContent !== word) button.textContent = word;
    button.disabled = data.state === "stopping";
};

const take = (data, place) => {
    let node = takes.get(data.id);
    if (!node) {
        node = window.studioTake(data);
        takes.set(data.id, node);
        if (known) live.textContent = `Ready: ${data.title}`;
        if (!known && place === 0 || known) {
            for (const other of takes.values()) if (other !== node && !playing(other)) other.open = false;
            node.open = true;
        }
    } else window.studioTakeUpdate(node, data);
    return node;
};

const show = () => {
    const value = props.value || {}, focus = document.activeElement;
    const present = value.jobs && new Set(value.jobs.map(data => data.id));
    for (const [id, node] of jobs) if (present && !present.has(id)) {
        const focused = node.contains(document.activeElement);
        node.remove(); jobs.delete(id);
        if (focused) document.querySelector("#generate")?.focus();
    }
    (value.jobs || []).forEach(job);
    if (value.takes) {
        const rows = value.takes.map(take), listed = new Set(value.takes.map(data => data.id));
        for (const [id, node] of takes) if (!listed.has(id) && (!playing(node) || value.discarded)) { node.remove(); takes.delete(id); }
        rows.reverse().forEach(node => { if (!node.parentNode) list.prepend(node); });
        title.hidden = !takes.size;
        known = true;
    }
    const failed = (value.jobs || []).filter(data => !data.live);
    if (failed.length && live.dataset.told !== failed.map(data => data.id).join()) {
        live.dataset.told = failed.map(data => data.id).join();
        live.textContent = failed.map(data => data.word).join("; ");
        if (known) window.studioFailed?.(live.textContent);
    }
    const bar = document.querySelector("#bar-state");
    if (bar && typeof value.bar === "string") bar.textContent = value.bar;
    window.studioNow?.(value);
    window.studioPreviews?.(value, { jobs, takes, focus, say: words => { live.textContent = words; } });
};

watch("value", show);
show();
