// One output in a list: a line that opens, with its player and what can be done with it.
// window.studioTake(data) makes one, window.studioTakeUpdate(node, data) follows a change.
(() => {
    const open = tab => document.querySelector(`button[data-tab-id="${tab}"]`)?.click();
    const act = {
        settings: id => { window.studioSettings?.(id); open("create"); },
        again: id => { window.studioCommand?.({ again: id }); open("create"); },
        vary: id => { window.studioCommand?.({ vary: id }); open("create"); },
        extend: (id, node) => {
            window.studioCommand?.({ extend: id, seconds: Number(node.querySelector(".extend input").value) });
            open("create");
        },
        star: (id, node) => shelve({ id, starred: !node.dataset.starred }),
        discard: (id, node) => shelve({ id, discarded: !node.dataset.discarded }),
        rename: (id, node) => rename(id, node),
    };
    const shelve = change => window.studioShelf?.({ ...change, query: window.studioQuery || {} });

    // A field beside the button; Enter or leaving it renames, Escape leaves it as it was.
    const rename = (id, node) => {
        if (node.querySelector(".new-title")) return;
        const field = document.createElement("input"), button = node.querySelector("[data-command=rename]");
        let closed = false;
        field.className = "new-title";
        field.maxLength = 120;
        field.value = node.dataset.title;
        field.setAttribute("aria-label", "New title");
        const close = save => {
            if (closed) return;
            closed = true;  // taking it away makes it lose the focus, which comes here again
            const title = field.value.trim();
            field.remove();
            if (save && title && title !== node.dataset.title) shelve({ id, title });
        };
        field.onkeydown = event => {
            if (event.key === "Enter" || event.key === "Escape") { event.preventDefault(); close(event.key === "Enter"); button.focus(); }
        };
        field.onblur = () => close(true);
        button.before(field);
        field.focus();
        field.select();
    };

    const family = async (id, body) => {
        try {
            const answer = await fetch(`api/v1/outputs/${id}/lineage`);
            if (!answer.ok) throw Error();
            const { relation, forebears, children } = await answer.json();
            const line = (word, step) => {
                const item = document.createElement("li"), link = document.createElement("a");
                link.href = `#library/${step.output_id}`;
                link.textContent = step.title || step.output_id;
                item.append(`${word} `, link);
                return item;
            };
            const list = document.createElement("ul");
            const words = { vary: "varies", extend: "extends" };
            forebears.forEach((step, place) => list.append(line(place ? "which comes from" : words[relation] || "comes from", step)));
            children.forEach(step => list.append(line(step.relation === "extend" ? "extended by" : "varied by", step)));
            body.replaceChildren(list.children.length ? list : "Made from tags alone; nothing was made from it yet.");
        } catch { body.textContent = "The lineage cannot be had at the moment. Close and open this line to try again."; }
    };

    window.studioTakeUpdate = (node, data) => {
        const summary = node.querySelector("summary");
        if (node.dataset.head !== data.head) { summary.innerHTML = data.head; node.dataset.head = data.head; }
        node.dataset.title = data.title;
        node.dataset.starred = data.starred ? "1" : "";
        node.dataset.discarded = data.discarded ? "1" : "";
        node.querySelector("[data-command=star]").textContent = data.starred ? "Take the star away" : "Star";
        node.querySelector("[data-command=discard]").textContent = data.discarded ? "Bring back" : "Discard";
    };
    window.studioTake = data => {
        const node = document.createElement("details");
        node.className = "take";
        node.dataset.id = data.id;
        node.innerHTML = `<summary></summary>${data.html}`;
        window.studioTakeUpdate(node, data);
        const lineage = node.querySelector(".family");
        lineage.addEventListener("toggle", () => lineage.open && family(data.id, lineage.querySelector("div")));
        return node;
    };
    addEventListener("click", event => {
        const button = event.target.closest?.("button[data-command]");
        const node = button?.closest("details.take");
        if (node) act[button.dataset.command]?.(button.dataset.id, node);
    });
})();
